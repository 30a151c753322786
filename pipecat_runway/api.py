"""Runway's REST API on the official client; the only module that talks to it.

Everything the client raises is translated here, once, into the errors of
:mod:`pipecat_runway.errors`.
"""

import asyncio
import email.utils
import itertools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
import runwayml
from runwayml import AsyncRunwayML

from pipecat_runway import retries, wire
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    ConfigError,
    UnknownAvatarError,
    UnreachableError,
)
from pipecat_runway.refusals import refused

REQUEST_TIMEOUT = httpx.Timeout(30.0, connect=5.0)  # s; a create answers in about a second
REPEAT_BOUND = 5.0  # s within which a request that does no harm is repeated
CREATE = "create a session"
NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
LONGEST_TEXT = 200  # characters of an id or a status; nothing that long is one

_Answer = TypeVar("_Answer")


class _NoRequestBodies(logging.Filter):
    """Keeps out the client's DEBUG records that print whole requests, room token included."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Request options")


logging.getLogger("runwayml._base_client").addFilter(_NoRequestBodies())


@dataclass(frozen=True)
class SessionStatus:
    """What Runway says of a session.

    Attributes:
        name: Its status.
        failure: The code of its failure, if it has failed.
        queued: Whether it waits for a free slot.
        duration: What it lasted, in s, if it was COMPLETED.
        fields: The names of all fields that were answered.
    """

    name: str
    failure: str | None
    queued: bool
    duration: int | None = None
    fields: tuple[str, ...] = ()


@dataclass(frozen=True)
class Account:
    """What Runway says of the organization a key belongs to.

    Attributes:
        credits: What is left of them.
        at_once: How many sessions may be open at once; None for no limit.
        daily: How many may be created in a day; None for no limit.
        today: How many were created in the past day.
        has_characters: Whether the tier names the model of realtime avatars at all.
    """

    credits: int
    at_once: int | None
    daily: int | None
    today: int
    has_characters: bool


@dataclass(frozen=True)
class RawAnswer:
    """An answer as it came.

    Attributes:
        status: Its HTTP status.
        headers: Its headers.
        text: Its body.
    """

    status: int
    headers: httpx.Headers
    text: str


class RunwayAPI:
    """The few routes of Runway's API that a realtime session needs.

    Args:
        api_key: The API secret.
        base_url: Where the API is; None for Runway's own.
        client: A client to use instead. It stays the caller's: it is not closed here.

    Raises:
        ConfigError: If there is neither a key nor a client, or `base_url` is no address.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        client: AsyncRunwayML | None = None,
    ) -> None:
        self._own: AsyncRunwayML | None = None
        if client is None:
            if not api_key:
                raise ConfigError(
                    "api_key is missing",
                    advice=f"Pass api_key or set {wire.ENV_API_SECRET}.",
                )
            try:
                client = self._own = AsyncRunwayML(
                    api_key=api_key, base_url=base_url or wire.BASE_URL, timeout=REQUEST_TIMEOUT
                )
            except httpx.InvalidURL as e:
                raise ConfigError(
                    "base_url is not an address", advice=f"Check {wire.ENV_BASE_URL}."
                ) from e
        # A create that is sent twice can bill twice, and no idempotency header exists.
        self._client = client.with_options(max_retries=0)

    @property
    def host(self) -> str:
        """The host requests go to."""
        return self._client.base_url.host

    async def create_session(
        self,
        *,
        avatar: dict[str, str],
        integration: dict[str, str],
        max_duration: int | None,
    ) -> str:
        """Create a realtime session. It is billed from here on. One request, never repeated here.

        Args:
            avatar: ``type``, and ``preset_id`` or ``avatar_id``. Fields are spelled as the SDK
                spells them.
            integration: ``type``, ``url``, ``token``, ``room_name`` and ``agent_identity``.
            max_duration: Longest duration in s, 10 to 1800; None for Runway's default.

        Returns:
            The session's id.

        Raises:
            UnreachableError: No connection came about, so nothing was created.
            AnswerLostError: The answer was lost; the session may exist.
            RoomAddressError: Runway takes another address for none it can reach.
            APIError: Runway refused.
        """
        body: dict[str, Any] = {"model": wire.MODEL, "avatar": avatar, "integration": integration}
        if max_duration is not None:
            body["max_duration"] = max_duration
        with _translated(CREATE, missing=UnknownAvatarError):
            answer = await self._client.realtime_sessions.create(**body)
            return _text(answer, "id")

    async def session_status(self, session_id: str) -> SessionStatus:
        """Return a session's status.

        Raises:
            APIError: Runway refused, or could not be reached, several times.
        """

        async def read() -> SessionStatus:
            with _translated("read the session", session_id):
                answer = await self._client.realtime_sessions.retrieve(session_id)
                return SessionStatus(
                    _text(answer, "status"),
                    getattr(answer, "failure_code", None),
                    bool(getattr(answer, "queued", False)),
                    getattr(answer, "duration", None),
                    tuple(sorted(answer.model_dump(by_alias=True, exclude_unset=True))),
                )

        return await _repeated(read)

    async def delete_session(self, session_id: str) -> None:
        """Cancel a session.

        Raises:
            APIError: Runway refused, or could not be reached, several times.
        """

        async def delete() -> None:
            with _translated("end the session", session_id):
                await self._client.realtime_sessions.delete(session_id)

        await _repeated(delete)

    async def account(self) -> Account:
        """Return what the key's organization has left, and may do.

        Raises:
            APIError: Runway refused, or could not be reached, several times.
        """

        async def read() -> Account:
            with _translated("read the account"):
                answer = await self._client.organization.retrieve()
                limits = answer.tier.models.get(wire.MODEL)
                used = answer.usage.models.get(wire.MODEL)
                return Account(
                    credits=int(answer.credit_balance),
                    at_once=_limit(limits.max_concurrent_generations if limits else None),
                    daily=_limit(limits.max_daily_generations if limits else None),
                    today=int(used.daily_generations) if used else 0,
                    has_characters=limits is not None,
                )

        return await _repeated(read)

    async def avatar_status(self, avatar_id: str) -> str:
        """Return the status of a custom avatar: PROCESSING, READY or FAILED.

        Raises:
            UnknownAvatarError: The key cannot see it.
            APIError: Runway refused, or could not be reached, several times.
        """

        async def read() -> str:
            with _translated("read the avatar", missing=UnknownAvatarError):
                return _text(await self._client.avatars.retrieve(avatar_id), "status")

        return await _repeated(read)

    async def look(
        self, path: str, *, key: str | None = None, with_version: bool = True
    ) -> RawAnswer:
        """Return the answer to a GET as it came, whatever its status.

        Args:
            path: Below the base URL.
            key: Another API key than ours.
            with_version: Whether the API's version is named.

        Raises:
            APIError: Runway could not be reached.
        """
        headers: dict[str, Any] = {"Authorization": f"Bearer {key}"} if key else {}
        if not with_version:
            headers[wire.VERSION_HEADER] = runwayml.Omit()
        with _translated("look at it"):
            try:
                answer = await self._client.get(
                    path, cast_to=httpx.Response, options={"headers": headers}
                )
            except runwayml.APIStatusError as e:
                answer = e.response
            return RawAnswer(answer.status_code, answer.headers, answer.text)

    async def close(self) -> None:
        """Close the client, if it is ours."""
        if self._own is not None:
            await self._own.close()


async def _repeated(request: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Make a request that does no harm when it is carried out twice."""
    until = time.monotonic() + REPEAT_BOUND
    for attempt in itertools.count():
        try:
            return await request()
        except APIError as e:
            pause = retries.pause(e, attempt, random.random())
            if not retries.may_repeat(e, attempt) or time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def _text(answer: object, name: str) -> str:
    """Return a field of an answer that the rest depends on.

    Raises:
        ValueError: It is not there, or nothing that could be one.
    """
    value = getattr(answer, name, None)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_TEXT:
        raise ValueError(f"no {name} was answered")
    return value


def _limit(value: int | None) -> int | None:
    return None if value is None else int(value)


@contextmanager
def _translated(
    action: str, session_id: str | None = None, missing: type[APIError] = APIError
) -> Iterator[None]:
    try:
        yield
    except runwayml.APIStatusError as e:
        raise refused(
            e.status_code,
            e.body,
            action=action,
            missing=missing,
            session_id=session_id,
            retry_after=_retry_after(e.response.headers),
            sent_with=f"runwayml {runwayml.__version__}",
        ) from e
    except runwayml.APIConnectionError as e:
        if isinstance(e.__cause__, NEVER_SENT):
            raise UnreachableError(
                f"Runway's API could not be reached to {action} ({type(e.__cause__).__name__})",
                session_id=session_id,
            ) from e
        raise AnswerLostError(
            f"Runway's API did not answer the request to {action} ({type(e.__cause__).__name__})",
            session_id=session_id,
            advice=None if action == CREATE else "The request can be repeated.",
        ) from e
    # What is no JSON, or not of the form that was promised, the client notices only in part.
    except (runwayml.APIResponseValidationError, ValueError, AttributeError, TypeError) as e:
        raise AnswerLostError(
            f"Runway's API answered the request to {action} with something unreadable",
            session_id=session_id,
            advice=None if action == CREATE else f"Check {wire.ENV_BASE_URL}.",
        ) from e


def _retry_after(headers: httpx.Headers) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(given).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None
