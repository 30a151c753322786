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
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
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
from pipecat_runway.ownership import digest
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
ANSWER_BYTES = 64 * 1024  # of an answer that are read; Runway's have a few hundred

_Answer = TypeVar("_Answer")


class _NoRequestBodies(logging.Filter):
    """Keeps out the client's DEBUG records that print whole requests, room token included."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Request options")


logging.getLogger("runwayml._base_client").addFilter(_NoRequestBodies())


class _Bounded(httpx.AsyncByteStream):
    """An answer's body, which breaks off where it gets too long."""

    def __init__(self, body: httpx.AsyncByteStream) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for piece in self._body:
            read += len(piece)
            if read > ANSWER_BYTES:
                raise httpx.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


async def _bound_body(answer: httpx.Response) -> None:
    """Keep an answer without end out of memory."""
    assert isinstance(answer.stream, httpx.AsyncByteStream)
    answer.stream = _Bounded(answer.stream)


@dataclass(frozen=True)
class SessionStatus:
    """What Runway says of a session.

    Attributes:
        name: Its status.
        failure: The code of its failure, if it has failed.
        queued: Whether it waits for a free slot.
        duration: What it lasted, in s, if it was COMPLETED.
        fields: The names of all fields that were answered.
        session_key: What a READY session's credentials are fetched with.
    """

    name: str
    failure: str | None
    queued: bool
    duration: int | None = None
    fields: tuple[str, ...] = ()
    session_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Credentials:
    """What one joins a room of Runway's with (CORE types.ts: ConsumeSessionResponse).

    Attributes:
        url: The LiveKit server.
        token: A token for one room.
    """

    url: str
    token: str = field(repr=False)


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
                    api_key=api_key,
                    base_url=base_url or wire.BASE_URL,
                    timeout=REQUEST_TIMEOUT,
                    # A redirect would take the room's token elsewhere; Runway sends none.
                    http_client=runwayml.DefaultAsyncHttpxClient(
                        follow_redirects=False, event_hooks={"response": [_bound_body]}
                    ),
                )
            except httpx.InvalidURL as e:
                raise ConfigError(
                    "base_url is not an address", advice=f"Check {wire.ENV_BASE_URL}."
                ) from e
        # A create that is sent twice can bill twice, and no idempotency header exists.
        self._client = client.with_options(max_retries=0)
        timeout = self._client.timeout
        # A body may come drop by drop: a request as a whole may take as long as one read.
        self._bound = timeout.read if isinstance(timeout, httpx.Timeout) else timeout

    @property
    def host(self) -> str:
        """The host requests go to."""
        return self._client.base_url.host

    @property
    def base_url(self) -> str:
        """Where the API is."""
        return str(self._client.base_url).rstrip("/")

    @property
    def key_digest(self) -> str:
        """What tells the key from others, and does not show it."""
        return digest(self._client.api_key)

    async def create_session(
        self,
        *,
        avatar: dict[str, str],
        max_duration: int | None,
        **optional: Any,
    ) -> str:
        """Create a realtime session. It is billed from here on. One request, never repeated here.

        Args:
            avatar: ``type``, and ``preset_id`` or ``avatar_id``. Fields are spelled as the SDK
                spells them.
            max_duration: Longest duration in s, 10 to 1800; None for Runway's default.
            **optional: ``integration`` (with ``type``, ``url``, ``token``, ``room_name`` and
                ``agent_identity``, or ``type`` and ``signed_url``), ``personality``,
                ``start_script`` and ``tools``; those that are None are left out.

        Returns:
            The session's id.

        Raises:
            UnreachableError: No connection came about, so nothing was created.
            AnswerLostError: The answer was lost; the session may exist.
            RoomAddressError: Runway takes another address for none it can reach.
            APIError: Runway refused.
        """
        body: dict[str, Any] = {"model": wire.MODEL, "avatar": avatar}
        optional["max_duration"] = max_duration
        body |= {name: value for name, value in optional.items() if value is not None}
        async with self._asking(CREATE, missing=UnknownAvatarError):
            return _session_id(await self._client.realtime_sessions.create(**body))

    async def session_status(self, session_id: str) -> SessionStatus:
        """Return a session's status. Asks once: whoever follows a session looks again.

        Raises:
            APIError: Runway refused, or could not be reached.
        """
        async with self._asking("read the session", session_id):
            return _status(await self._client.realtime_sessions.retrieve(session_id))

    async def delete_session(self, session_id: str) -> None:
        """Cancel a session. Asks once, see :func:`pipecat_runway.ending.cancel_session`.

        Raises:
            APIError: Runway refused, or could not be reached.
        """
        async with self._asking("end the session", session_id):
            await self._client.realtime_sessions.delete(session_id)

    async def consume(self, session_id: str, session_key: str) -> Credentials:
        """Return a READY session's credentials. They can be fetched once: never repeated here.

        Args:
            session_id: The session.
            session_key: From its status.

        Raises:
            APIError: Runway refused, or did not answer.
        """
        async with self._asking("hand out the session's credentials", session_id):
            return _credentials(
                await self._client.post(
                    f"/v1/realtime_sessions/{session_id}/consume",  # CORE api/consume.ts
                    cast_to=httpx.Response,
                    body=wire.CONSUME_BODY,
                    options={"headers": {"Authorization": f"Bearer {session_key}"}},
                )
            )

    async def connect_backend(self, session_id: str) -> Credentials:
        """Return the credentials of the hidden participant that answers a session's tools.

        They cost nothing, and more than one may be asked for.

        Raises:
            APIError: Runway refused, or could not be reached, several times.
        """

        async def ask() -> Credentials:
            async with self._asking("let a backend join the session", session_id):
                return _credentials(
                    await self._client.post(
                        f"/v1/realtime_sessions/{session_id}/connect_backend",  # NRPC src/api.ts
                        cast_to=httpx.Response,
                        body=wire.CONSUME_BODY,
                    )
                )

        return await _repeated(ask)

    async def account(self) -> Account:
        """Return what the key's organization has left, and may do.

        Raises:
            APIError: Runway refused, or could not be reached, several times.
        """

        async def read() -> Account:
            async with self._asking("read the account"):
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
            async with self._asking("read the avatar", missing=UnknownAvatarError):
                return _status(await self._client.avatars.retrieve(avatar_id)).name

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
        async with self._asking("look at it"):
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

    @asynccontextmanager
    async def _asking(
        self, action: str, session_id: str | None = None, missing: type[APIError] = APIError
    ) -> AsyncIterator[None]:
        """Bound a request, and name the cause of whatever goes wrong with it."""
        with _translated(action, session_id, missing):
            async with asyncio.timeout(self._bound):
                yield


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


def _session_id(answer: object) -> str:
    """Read the answer to a create; the client hands on whatever came.

    Raises:
        ValueError: It is none.
    """
    value = getattr(answer, "id", None)
    if not isinstance(value, str) or not wire.SESSION_ID.fullmatch(value):
        raise ValueError("no session id")
    return value


def _status(answer: object) -> SessionStatus:
    """Read what was answered of a session; the client hands on whatever came.

    Raises:
        ValueError: It is no status.
    """
    name = wire.named(getattr(answer, "status", None))
    if name is None:
        raise ValueError("no status")
    # Under its own spelling where the client did not recognise the answer as that of a failure.
    code = getattr(answer, "failure_code", None) or getattr(answer, "failureCode", None)
    failure = wire.named(code)
    duration = getattr(answer, "duration", None)
    key = getattr(answer, "session_key", None) or getattr(answer, "sessionKey", None)
    return SessionStatus(
        name,
        failure,
        getattr(answer, "queued", None) is True,
        duration if isinstance(duration, int) else None,
        tuple(sorted(filter(wire.named, _fields(answer)))),
        key if isinstance(key, str) and key.isascii() and key.isprintable() else None,
    )


def _credentials(answer: httpx.Response) -> Credentials:
    """Read the credentials of a room.

    Raises:
        ValueError: They are none.
    """
    match answer.json():
        case {"url": str(url), "token": str(token)} if token and wire.ROOM_URL.match(url):
            return Credentials(url, token)
    raise ValueError("no credentials")


def _fields(answer: object) -> Iterable[str]:
    return answer.to_dict() if isinstance(answer, runwayml.BaseModel) else ()


def _limit(value: int | None) -> int | None:
    return None if value is None else int(value)


@contextmanager
def _translated(action: str, session_id: str | None, missing: type[APIError]) -> Iterator[None]:
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
    except TimeoutError as e:
        raise AnswerLostError(
            f"Runway's API did not come to the end of its answer to {action}",
            session_id=session_id,
            advice=None if action == CREATE else "The request can be repeated.",
        ) from e
    except Exception as e:  # whatever the client makes of an answer that is none
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
