"""Runway's REST API on the official client; the only module that talks to it.

Everything the client raises is translated here, once, into the errors of
:mod:`pipecat_runway.errors`.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import runwayml
from runwayml import AsyncRunwayML

from pipecat_runway import wire
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    ConcurrencyError,
    ConfigError,
    CreditsError,
    FieldRefusedError,
    KeyRefusedError,
    UnknownAvatarError,
    UnreachableError,
    VendorFaultError,
)
from pipecat_runway.ownership import digest

CONNECT_ATTEMPTS = 3  # for a create: only a connection that never came about is tried again
REQUEST_TIMEOUT = httpx.Timeout(30.0, connect=5.0)  # s; a create answers in about a second


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
    """

    name: str
    failure: str | None
    queued: bool


class RunwayAPI:
    """The few routes of Runway's API that a realtime session needs.

    Args:
        api_key: The API secret.
        base_url: Where the API is; None for Runway's own.
        client: A client to use instead. It stays the caller's: it is not closed here.

    Raises:
        ConfigError: If there is neither a key nor a client.
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
            client = self._own = AsyncRunwayML(
                api_key=api_key, base_url=base_url or wire.BASE_URL, timeout=REQUEST_TIMEOUT
            )
        # A create that is sent twice can bill twice, and no idempotency header exists.
        self._client = client.with_options(max_retries=0)

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
        integration: dict[str, str],
        max_duration: int | None,
    ) -> str:
        """Create a realtime session. It is billed from here on.

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
            APIError: Runway refused.
        """
        body: dict[str, Any] = {"model": wire.MODEL, "avatar": avatar, "integration": integration}
        if max_duration is not None:
            body["max_duration"] = max_duration
        for attempt in range(1, CONNECT_ATTEMPTS + 1):
            try:
                with _translated("create a session"):
                    answer = await self._client.realtime_sessions.create(**body)
                    return str(answer.id)
            except UnreachableError:
                if attempt == CONNECT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def session_status(self, session_id: str) -> SessionStatus:
        """Return a session's status.

        Raises:
            APIError: Runway refused, or could not be reached.
        """
        with _translated("read the session", session_id):
            answer = await self._client.realtime_sessions.retrieve(session_id)
        return SessionStatus(
            answer.status,
            getattr(answer, "failure_code", None),
            bool(getattr(answer, "queued", False)),
        )

    async def delete_session(self, session_id: str) -> None:
        """Cancel a session.

        Raises:
            APIError: Runway refused, or could not be reached.
        """
        with _translated("end the session", session_id):
            await self._client.realtime_sessions.delete(session_id)

    async def close(self) -> None:
        """Close the client, if it is ours."""
        if self._own is not None:
            await self._own.close()


@contextmanager
def _translated(action: str, session_id: str | None = None) -> Iterator[None]:
    try:
        yield
    except runwayml.APIStatusError as e:
        raise _refusal(e, action, session_id) from e
    except runwayml.APIResponseValidationError as e:
        raise AnswerLostError(
            f"Runway's API answered the request to {action} with something unreadable",
            status_code=e.status_code,
            session_id=session_id,
        ) from e
    except runwayml.APIConnectionError as e:
        if isinstance(e.__cause__, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            raise UnreachableError(
                f"Runway's API could not be reached to {action} ({type(e.__cause__).__name__})",
                session_id=session_id,
            ) from e
        raise AnswerLostError(
            f"Runway's API did not answer the request to {action} ({type(e.__cause__).__name__})",
            session_id=session_id,
            advice=None if session_id is None else "The request can be repeated.",
        ) from e


def _refusal(e: runwayml.APIStatusError, action: str, session_id: str | None) -> APIError:
    """Name the cause of an error answer."""
    status, text = e.status_code, _error_text(e.body)
    kind: type[APIError]
    match status:
        case 401 | 403:
            kind, what = KeyRefusedError, "the API key was refused"
        case 402:
            kind, what = CreditsError, "the organization has no credits left"
        case 400 if "credits" in text:
            kind, what = CreditsError, "the organization has no credits left"
        case 404 if session_id is None:
            kind, what = UnknownAvatarError, "the avatar does not exist for this API key"
        case 429:
            kind, what = ConcurrencyError, "too many sessions or requests at once"
        case 400 | 422:
            kind, what = FieldRefusedError, _refused_field(e.body, text)
        case _ if status >= 500:
            kind, what = VendorFaultError, "Runway failed"
        case _:
            kind, what = APIError, "the request was refused"
    error = kind(
        f"Runway's API would not {action}, {what} (HTTP {status})",
        status_code=status,
        session_id=session_id,
        advice=_field_advice(what) if kind is FieldRefusedError else None,
    )
    return error


def _error_text(body: object) -> str:
    if isinstance(body, dict):
        return str(body.get("error", ""))
    return str(body or "")


def _refused_field(body: object, text: str) -> str:
    """Say which field was refused; both forms of body seen in the wild are read."""
    names: list[str] = []
    issues = body.get("issues") if isinstance(body, dict) else None
    for issue in issues if isinstance(issues, list) else []:
        if isinstance(issue, dict):
            path = [str(part) for part in issue.get("path") or []]
            keys = [str(key) for key in issue.get("keys") or []]
            names += [".".join([*path, key]) for key in keys] or [".".join(path)]
    if not names and (match := re.search(r"Unrecognized keys?:?\s*\"?(\w+)", text)):
        names = [match[1]]
    named = ", ".join(f"`{name}`" for name in names if name)
    # The bare word, not "key: word": Pipecat's redaction masks what follows such a colon.
    return f"it refused the field {named}" if named else "it refused the request's body"


def _field_advice(what: str) -> str:
    hint = (
        "This account or API version may not have own-room sessions yet. "
        if "`integration" in what
        else ""
    )
    return (
        f"{hint}Sent with runwayml {runwayml.__version__}; upgrade it and pipecat-runway, "
        "or check the value."
    )
