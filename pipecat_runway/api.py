"""Runway's REST API, as far as a realtime session needs it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import httpx
import runwayml

from pipecat_runway import wire
from pipecat_runway.client import RunwayClient, repeated
from pipecat_runway.errors import UnknownAvatarError


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
        room_name: The room's name.
    """

    url: str
    token: str = field(repr=False)
    room_name: str = ""


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


class RunwayAPI(RunwayClient):
    """The few routes of Runway's API that a realtime session needs."""

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
        async with self._asking("create a session", missing=UnknownAvatarError, lost=None):
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

        return await repeated(ask)

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

        return await repeated(read)

    async def avatar_status(self, avatar_id: str) -> str:
        """Return the status of a custom avatar: PROCESSING, READY or FAILED.

        Raises:
            UnknownAvatarError: The key cannot see it.
            APIError: Runway refused, or could not be reached, several times.
        """

        async def read() -> str:
            async with self._asking("read the avatar", missing=UnknownAvatarError):
                return _status(await self._client.avatars.retrieve(avatar_id)).name

        return await repeated(read)

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
        case {"url": str(url), "token": str(token), **rest} if token and wire.ROOM_URL.match(url):
            name = rest.get("roomName")
            return Credentials(url, token, name if isinstance(name, str) else "")
    raise ValueError("no credentials")


def _fields(answer: object) -> Iterable[str]:
    return answer.to_dict() if isinstance(answer, runwayml.BaseModel) else ()


def _limit(value: int | None) -> int | None:
    return None if value is None else int(value)
