"""One billed session in a room of Runway's: create, poll, consume, and its end.

The order, and what each step may cost, is in docs/protocol.md. Credentials are consumed once. What
goes wrong between that and the first picture leaves a session that is of no use to anybody.
"""

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipecat_runway import registry, wire
from pipecat_runway.api import Credentials, RunwayAPI
from pipecat_runway.backend import Backend
from pipecat_runway.billed import BilledSession
from pipecat_runway.errors import (
    APIError,
    ConcurrencyError,
    CredentialsGoneError,
    KeyRefusedError,
    NeverJoinedError,
    NoPictureError,
    RoomError,
    RunwayError,
)
from pipecat_runway.guard import Guard
from pipecat_runway.managedroom import ManagedRoom
from pipecat_runway.ownership import Record

POLL_INTERVAL = 1.0  # s between looks until it is READY (CORE pollUntilReady)
IDENTITY = "runway"  # stands in the records for whoever Runway sends
SLOW_ADVICE = "It takes 5 to 15 s as a rule; raise ready_timeout if it only takes longer."


@dataclass(frozen=True, kw_only=True)
class Brief:
    """What a session's avatar is told, see :meth:`RunwayAPI.create_session`.

    Attributes:
        personality: Who it is; None for the character's own.
        start_script: What it says first; None for the character's own.
        tools: What it can call.
        integration: Who thinks for it, if not Runway.
    """

    personality: str | None = field(default=None, repr=False)
    start_script: str | None = field(default=None, repr=False)
    tools: list[dict[str, Any]] | None = None
    integration: dict[str, str] | None = field(default=None, repr=False)


class HostedSession(BilledSession):
    """One session in a room of Runway's, up to its credentials and back from them.

    Args:
        api: Runway's REST API.
        avatar: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        brief: What it is told.
        guard: Ends it if the event loop is taken down.
        max_duration: Longest duration in s.
        ready_timeout: How long READY, and whoever is to come then, are waited for, in s.
    """

    def __init__(
        self,
        *,
        api: RunwayAPI,
        avatar: dict[str, str],
        brief: Brief,
        guard: Guard,
        max_duration: int,
        ready_timeout: float,
    ) -> None:
        super().__init__(
            api=api,
            character=avatar,
            guard=guard,
            max_duration=max_duration,
            ready_timeout=ready_timeout,
        )
        self._brief = brief
        self._name = wire.ROOM_PREFIX + uuid.uuid4().hex

    async def _create_briefed(self) -> str:
        """Create the session with what its avatar is told; return its id."""
        brief = self._brief
        await self._create(
            personality=brief.personality,
            start_script=brief.start_script,
            tools=brief.tools or None,
            integration=brief.integration,
        )
        assert self.session_id is not None
        return self.session_id

    async def _poll(self) -> str:
        """Return the key to a READY session."""
        assert self.session_id is not None
        while True:
            try:
                status = await self._api.session_status(self.session_id)
            except KeyRefusedError:
                raise
            except APIError:
                pass  # the next look may be luckier
            else:
                self._check(status)
                if status.session_key is not None:
                    return status.session_key
                if status.name == wire.RUNNING_STATUS:
                    raise CredentialsGoneError(
                        "the session runs already, with somebody else", session_id=self.session_id
                    )
            await asyncio.sleep(POLL_INTERVAL)

    async def _consume(self, key: str) -> Credentials:
        assert self.session_id is not None
        try:
            return await self._api.consume(self.session_id, key)
        except APIError as e:  # even a lost answer: they are handed out once
            raise CredentialsGoneError(
                f"the session's credentials were not handed out (HTTP {e.status_code})"
                if e.status_code
                else "Runway did not answer when asked for the session's credentials",
                session_id=self.session_id,
                status_code=e.status_code,
            ) from e

    def _not_ready(self) -> RunwayError:
        """Return the error for a session that was not READY in time."""
        if self._waits_since is not None:
            return ConcurrencyError(
                f"the session was still waiting for a free slot after {self._ready_timeout:g} s",
                session_id=self.session_id,
            )
        return NeverJoinedError(
            f"the session was not READY within {self._ready_timeout:g} s",
            session_id=self.session_id,
            advice=SLOW_ADVICE,
        )

    def _record(self) -> Record:
        return Record(
            owner=registry.here(),
            room=self._name,
            livekit_url="",  # Runway's own: there is nothing of ours to be deleted
            identity=IDENTITY,
            session_id=None,
            base_url=self._api.base_url,
            key=self._api.key_digest,
            asked_at=time.time(),
        )


class ManagedSession(HostedSession):
    """One session in a room of Runway's.

    Args:
        api: Runway's REST API.
        avatar: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        brief: What it is told.
        guard: Ends it if the event loop is taken down.
        max_duration: Longest duration in s.
        ready_timeout: How long READY, avatar and first picture are waited for, in s.
        make_room: Makes the room, of credentials and the session's id.
        make_backend: Makes what answers its tools, of its id; None if there is nothing to answer.

    Attributes:
        room: The room; None until its credentials were consumed.
    """

    def __init__(
        self,
        *,
        api: RunwayAPI,
        avatar: dict[str, str],
        brief: Brief,
        guard: Guard,
        max_duration: int,
        ready_timeout: float,
        make_room: Callable[[Credentials, str], ManagedRoom],
        make_backend: Callable[[str], Backend] | None,
    ) -> None:
        super().__init__(
            api=api,
            avatar=avatar,
            brief=brief,
            guard=guard,
            max_duration=max_duration,
            ready_timeout=ready_timeout,
        )
        self.room: ManagedRoom | None = None
        self._make_room, self._make_backend = make_room, make_backend
        self._backend: Backend | None = None

    # -- starting -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Create the session, join its room, and wait for the avatar's first picture.

        Raises:
            APIError: Runway refused, or could not be reached; or there was no free slot in time.
            NeverJoinedError: It was not READY, or the avatar not there, within `ready_timeout`.
            NoPictureError: The avatar came without a picture.
            SessionFailedError: Runway reports FAILED.
            CredentialsGoneError: They had expired, or somebody else was first.
            RoomError: The room cannot be joined, or was lost again.
        """
        until = time.monotonic() + self._ready_timeout
        session_id = await self._create_briefed()
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                key = await self._poll()
                if self._make_backend is not None:  # before the avatar speaks, and may call
                    self._backend = self._make_backend(session_id)
                    await self._backend.open()
                self.room = self._make_room(await self._consume(key), session_id)
                await self.room.connect()
                await self._watch()
        except TimeoutError:
            self.lost()
            raise self._missing() from None
        except RunwayError:
            self.lost()
            raise

    async def _watch(self) -> None:
        """Wait for the first picture, with an eye on what Runway says meanwhile."""
        while not self._pictured.is_set():
            try:
                await asyncio.wait_for(self._pictured.wait(), POLL_INTERVAL)
            except TimeoutError:
                if (status := await self._look()) is not None:
                    self._check(status)

    def _missing(self) -> RunwayError:
        wait = f"within {self._ready_timeout:g} s"
        if self.room is None:
            return self._not_ready()
        if self._joined.is_set():
            return NoPictureError(
                f"the avatar sent no picture {wait}",
                session_id=self.session_id,
                advice="Its media does not get through: check that UDP or TURN may leave here.",
            )
        return NeverJoinedError(
            f"the avatar did not come into Runway's room {wait}",
            session_id=self.session_id,
            advice=SLOW_ADVICE,
        )

    # -- its end ------------------------------------------------------------------------------

    async def end(self) -> None:
        """End the session, see it confirmed, and leave its room. Safe as in BilledSession."""
        await super().end()
        if self._backend is not None:
            await self._backend.close()
        if self.room is not None:
            await self.room.close()

    async def _tell_end(self) -> None:
        if self.room is None:
            raise RoomError("the avatar is not in the room")
        await self.room.end_call()
