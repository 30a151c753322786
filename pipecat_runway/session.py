"""One billed Runway session in a LiveKit room of ours.

A session belongs to one room and is heard under one identity there.
"""

import asyncio
import contextlib
import datetime
import time

from loguru import logger

from pipecat_runway import registry
from pipecat_runway.api import RunwayAPI
from pipecat_runway.billed import BilledSession
from pipecat_runway.errors import (
    AnswerLostError,
    AvatarGoneError,
    ConcurrencyError,
    NeverJoinedError,
    NoPictureError,
    RunwayError,
)
from pipecat_runway.lifecycle import State
from pipecat_runway.ownership import Record
from pipecat_runway.room import AvatarRoom

STATUS_INTERVAL = 1.0  # s between looks at the API while the avatar is awaited (CORE: 1 s)
TOKEN_SLACK = 60.0  # s the avatar's token outlives the wait for it
REACHABLE_BOUND = 2.0  # s after the picture until data is sent, even if nobody said it arrives
LATECOMER_BOUND = 10.0  # s for an avatar to come whose create was never answered


class AvatarSession(BilledSession):
    """One session in a room of ours.

    Args:
        api: Runway's REST API.
        room: The room the avatar is to join.
        avatar: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        identity: The avatar's identity in the room; no two sessions share one.
        livekit_url: The room's server as Runway is to reach it.
        max_duration: Longest duration in s; None for Runway's default.
        ready_timeout: How long avatar and first picture are waited for, in s.

    Attributes:
        identity: The avatar's identity in the room.
        room: The room it is in.
    """

    def __init__(
        self,
        *,
        api: RunwayAPI,
        room: AvatarRoom,
        avatar: dict[str, str],
        identity: str,
        livekit_url: str,
        max_duration: int | None,
        ready_timeout: float,
    ) -> None:
        super().__init__(
            api=api,
            character=avatar,
            guard=room.guard,
            max_duration=max_duration,
            ready_timeout=ready_timeout,
        )
        self.identity, self.room = identity, room
        self._livekit_url = livekit_url

    # -- starting -----------------------------------------------------------------------------

    async def start(self) -> None:
        """Create the session and wait for the avatar's first picture.

        Raises:
            APIError: Runway refused, or could not be reached; or there was no free slot in time.
            RoomAddressError: Runway takes the room's address for none it can reach.
            NeverJoinedError: The avatar did not come within `ready_timeout`.
            NoPictureError: It came without a picture.
            SessionFailedError: Runway reports FAILED.
        """
        ttl = datetime.timedelta(seconds=self._ready_timeout + TOKEN_SLACK)
        integration = {
            "type": "livekit",
            "url": self._livekit_url,
            "token": self.room.avatar_token(self.identity, ttl),
            "room_name": self.room.name,
            "agent_identity": self.room.identity,
        }
        began = time.monotonic()
        unanswered: AnswerLostError | None = None
        try:
            await self._create(integration=integration)
        except AnswerLostError as e:
            # It may exist all the same: then the avatar comes, and is as good as any.
            unanswered = e
        watch = asyncio.create_task(self._watch_status())
        ready = asyncio.create_task(self._ready())
        try:
            await asyncio.wait(
                {watch, ready},
                timeout=self._ready_timeout - (self.asked_at - began),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._pictured.is_set():
                self._note_queue(False)  # it may have come between two looks
                return
            self.lost()
            if watch.done():
                watch.result()
            raise unanswered or self._missing()
        finally:
            for task in (watch, ready):
                task.cancel()
            await asyncio.gather(watch, ready, return_exceptions=True)

    async def _ready(self) -> None:
        await self._pictured.wait()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._reachable.wait(), REACHABLE_BOUND)

    def _missing(self) -> RunwayError:
        wait = f"within {self._ready_timeout:g} s"
        if self._waits_since is not None:
            return ConcurrencyError(
                f"the session was still waiting for a free slot after {self._ready_timeout:g} s",
                session_id=self.session_id,
            )
        if self._joined.is_set():
            return NoPictureError(
                f"the avatar joined the room but sent no picture {wait}", session_id=self.session_id
            )
        return NeverJoinedError(
            f"the avatar did not join the LiveKit room {wait}", session_id=self.session_id
        )

    async def _watch_status(self) -> None:
        """Return only by raising, when Runway reports an end before the avatar came."""
        while True:
            await asyncio.sleep(STATUS_INTERVAL)
            if self._state is State.LOST:
                raise AvatarGoneError(
                    "the room was lost before the first picture", session_id=self.session_id
                )
            if (status := await self._look()) is None:
                continue
            self._check(status)

    # -- its room -----------------------------------------------------------------------------

    def _record(self) -> Record:
        return Record(
            owner=registry.here(),
            room=self.room.name,
            livekit_url=self._livekit_url,
            identity=self.identity,
            session_id=None,
            base_url=self._api.base_url,
            key=self._api.key_digest,
            asked_at=time.time(),
        )

    async def _claim(self, record: Record) -> None:
        await self.room.claim(record)

    def _disclaim(self) -> None:
        self.room.disclaim(self.identity)

    async def _tell_end(self) -> None:
        await self.room.end_call(self.identity)

    async def _end_unanswered(self) -> bool:
        """Its avatar can be told, if it comes."""
        creating = self._creating
        assert creating is not None
        if creating.cancelled() or isinstance(creating.exception(), AnswerLostError):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._joined.wait(), LATECOMER_BOUND)
            if await self._end_call():
                return True
        logger.warning(
            "a Runway session may exist whose id was never answered; its room is deleted"
        )
        return False
