"""One billed Runway session, from its create to its end.

What may follow what stands in :mod:`pipecat_runway.lifecycle`; this module performs it. A session
belongs to one room and is heard under one identity there.
"""

import asyncio
import contextlib
import datetime
import itertools
import random
import time
from dataclasses import dataclass, replace

from loguru import logger

from pipecat_runway import registry, retries, wire
from pipecat_runway.api import RunwayAPI, SessionStatus
from pipecat_runway.ending import CONFIRM_INTERVAL, cancel_session
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    AvatarGoneError,
    ConcurrencyError,
    NeverJoinedError,
    NoPictureError,
    RoomError,
    RunwayError,
    SessionFailedError,
)
from pipecat_runway.lifecycle import Event, State, step
from pipecat_runway.measures import Arrival
from pipecat_runway.ownership import Record
from pipecat_runway.room import AvatarRoom

STATUS_INTERVAL = 1.0  # s between looks at the API while the avatar is awaited (CORE: 1 s)
TOKEN_SLACK = 60.0  # s the avatar's token outlives the wait for it
END_CALL_BOUND = 1.5  # s for the avatar to leave by itself, after which the session is cancelled
END_CALL_EVERY = 0.5  # s until it is told once more: what is sent just after a join may be lost
CONFIRM_BOUND = 3.0  # s until the API says that a session whose avatar has left is over
CANCEL_BOUND = 6.0  # s the API is tried for, when the avatar did not do it
REACHABLE_BOUND = 2.0  # s after the picture until data is sent, even if nobody said it arrives
LATECOMER_BOUND = 10.0  # s for an avatar to come whose create was never answered
ANSWER_BOUND = 10.0  # s an end waits for a create that is still under way


@dataclass(frozen=True)
class Usage:
    """What Runway bills for.

    Attributes:
        creates: Sessions created.
        seconds: For which sessions were open, in s, by this machine's clock.
    """

    creates: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.creates + other.creates, self.seconds + other.seconds)


class AvatarSession:
    """One session with Runway.

    Args:
        api: Runway's REST API.
        room: The room the avatar is to join.
        avatar: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        identity: The avatar's identity in the room; no two sessions share one.
        livekit_url: The room's server as Runway is to reach it.
        max_duration: Longest duration in s; None for Runway's default.
        ready_timeout: How long avatar and first picture are waited for, in s.

    Attributes:
        session_id: Runway's id; None before the create is answered.
        identity: The avatar's identity in the room.
        character: The `avatar` it was created with.
        room: The room it is in.
        asked_at: When the create that counts was sent, in s of `time.monotonic()`: it is billed
            from then on.
        queued: Set once Runway says that there is no free slot yet.
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
        self.session_id: str | None = None
        self.identity = identity
        self.character = avatar
        self.asked_at = 0.0
        self._created_at: float | None = None
        self._joined_at = self._pictured_at = 0.0
        self.queued = asyncio.Event()
        self._api, self.room = api, room
        self._livekit_url = livekit_url
        self._max_duration, self._ready_timeout = max_duration, ready_timeout
        self._state = State.NEW
        self._billed_from: float | None = None
        self._counted = self._ended_at = 0.0
        self._creating: asyncio.Task[None] | None = None
        self._joined = asyncio.Event()
        self._pictured = asyncio.Event()
        self._reachable = asyncio.Event()
        self._left = asyncio.Event()
        self._ending: asyncio.Task[None] | None = None
        self._unwanted = asyncio.Event()
        self._waits_since: float | None = None  # for a free slot
        self._entry = registry.Entry()

    @property
    def state(self) -> State:
        """Where the session is."""
        return self._state

    @property
    def arrival(self) -> Arrival:
        """How its avatar came; of one whose first picture was seen."""
        return Arrival(
            session_id=self.session_id,
            asked_at=self.asked_at,
            created_at=self._created_at,
            joined_at=self._joined_at,
            pictured_at=self._pictured_at,
        )

    # -- what the room tells ------------------------------------------------------------------

    def joined(self) -> None:
        """Note that the avatar has entered the room."""
        self._joined_at = self._joined_at or time.monotonic()
        self._joined.set()
        self._left.clear()

    def reachable(self) -> None:
        """Note that data sent to the avatar arrives."""
        self._reachable.set()

    def pictured(self) -> None:
        """Note a picture."""
        if self._state in (State.JOINING, State.LOST) and self._ending is None:
            self._state = step(self._state, Event.PICTURE)
            if not self._pictured.is_set():
                self._pictured_at = time.monotonic()
                self._pictured.set()

    def left(self) -> None:
        """Note that the avatar has left the room."""
        self._joined.clear()
        self._reachable.clear()
        self._left.set()

    def lost(self) -> None:
        """Note that nothing can be expected of it any more, but that it may still be billed."""
        if self._state in (State.JOINING, State.LIVE):
            self._state = step(self._state, Event.LOSE)

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
        self._state = step(self._state, Event.CREATE)
        self.asked_at = began = time.monotonic()
        self.room.guard.add(self.end)
        self._creating = asyncio.create_task(self._create(integration))
        unanswered: AnswerLostError | None = None
        try:
            # Shielded: an answer that nobody reads would leave a session that nobody ends.
            await asyncio.shield(self._creating)
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

    async def _create(self, integration: dict[str, str]) -> None:
        record = Record(
            owner=registry.here(),
            room=self.room.name,
            livekit_url=self._livekit_url,
            identity=self.identity,
            session_id=None,
            base_url=self._api.base_url,
            key=self._api.key_digest,
            asked_at=time.time(),
        )
        await self._entry.write(record)  # before the create: its answer may be lost
        until = self.asked_at + self._ready_timeout
        for attempt in itertools.count():
            self.asked_at = time.monotonic()
            try:
                self.session_id = await self._api.create_session(
                    avatar=self.character, integration=integration, max_duration=self._max_duration
                )
                break
            except AnswerLostError:
                self._state = step(self._state, Event.CREATED)
                raise
            except RunwayError as e:
                if await self._may_ask_again(e, attempt, until):
                    continue
                # A failing server may have created it all the same; anything else surely has not.
                failed = e.status_code is not None and e.status_code >= 500
                self._state = step(self._state, Event.CREATED if failed else Event.REFUSED)
                raise
        self._state = step(self._state, Event.CREATED)
        self._created_at, self._billed_from = time.monotonic(), self.asked_at
        logger.info(f"Runway session {self.session_id} created, the avatar is awaited")
        record = replace(record, session_id=self.session_id)
        await self._entry.write(record)
        await self.room.claim(record)

    async def _may_ask_again(self, error: RunwayError, attempt: int, until: float) -> bool:
        """Wait as long as it takes until the create may be sent again; return whether to."""
        pause = retries.pause(error, attempt, random.random())
        if not retries.may_create_again(error, attempt) or time.monotonic() + pause > until:
            return False
        if isinstance(error, ConcurrencyError):
            self.queued.set()
        logger.info(f"no Runway session yet, it is asked for again in {pause:.1f} s: {error}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unwanted.wait(), pause)
        return not self._unwanted.is_set()

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
            self._note_queue(status.queued)
            if status.name == wire.FAILED_STATUS:
                raise SessionFailedError(
                    f"Runway reports the session as FAILED ({status.failure})",
                    session_id=self.session_id,
                )
            if status.name in wire.ENDED_STATUSES:
                raise AvatarGoneError(
                    f"the session ended as {status.name} before its first picture",
                    session_id=self.session_id,
                )

    async def is_over(self) -> bool:
        """Whether it has ended, or is being ended; asks Runway."""
        if self._ending is not None or self.session_id is None:
            return True
        status = await self._look()
        return status is not None and status.name in wire.ENDED_STATUSES

    async def _look(self) -> SessionStatus | None:
        """Return what Runway says of it; None if that cannot be read."""
        if self.session_id is None:
            return None
        try:
            return await self._api.session_status(self.session_id)
        except APIError as e:
            logger.debug(f"could not read the status: {e}")
            return None

    # -- what it uses -------------------------------------------------------------------------

    def take_usage(self) -> Usage:
        """Return what was used since this was last asked."""
        if self._billed_from is None:
            return Usage()
        until = self._ended_at or time.monotonic()
        creates, since = (1, self._billed_from) if not self._counted else (0, self._counted)
        self._counted = until
        return Usage(creates, until - since)

    def _note_queue(self, queued: bool) -> None:
        if queued and self._waits_since is None:
            self._waits_since = time.monotonic()
            self.queued.set()
            logger.info(f"Runway session {self.session_id} waits for a free slot")
        elif not queued and self._waits_since is not None:
            waited, self._waits_since = time.monotonic() - self._waits_since, None
            logger.info(f"Runway session {self.session_id} has a slot after {waited:.0f} s")

    # -- ending -------------------------------------------------------------------------------

    async def end(self) -> None:
        """Tell the avatar or the API that the session is over, and see it confirmed.

        Safe in any state and more than once; bounded; goes on if the caller is cancelled, and is
        begun again if it is cancelled itself.
        """
        while self._ending is None or not self._ending.done() or self._ending.cancelled():
            if self._ending is None or self._ending.done():
                self._ending = asyncio.create_task(self._end())
            await asyncio.wait({self._ending})
        self._ending.result()

    async def _end(self) -> None:
        self._unwanted.set()
        if self._creating is not None:
            await asyncio.wait({self._creating}, timeout=ANSWER_BOUND)
            if not self._creating.done():
                self._creating.cancel()
                await asyncio.wait({self._creating})
            if self._state is State.CREATING:
                self._state = step(self._state, Event.CREATED)
            if not self._creating.cancelled():
                self._creating.exception()  # told to whoever started the session
        lost = self._state is State.LOST  # it would not listen
        self._state = step(self._state, Event.END)
        if self._state is not State.ENDED and (
            (not lost and await self._end_call()) or await self._cancel()
        ):
            self._state = step(self._state, Event.TOLD)
            logger.info(f"Runway session {self.session_id} ended")
        self._ended_at = time.monotonic()
        if self._state is State.ENDED:
            self.room.guard.discard(self.end)
            self.room.disclaim(self.identity)
            await self._entry.remove()

    async def _end_call(self) -> bool:
        """End the call the way a user does, so that the session ends as COMPLETED."""
        if not self._joined.is_set():
            return False
        try:
            async with asyncio.timeout(END_CALL_BOUND):
                while not self._left.is_set():
                    await self.room.end_call(self.identity)
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._left.wait(), END_CALL_EVERY)
            async with asyncio.timeout(CONFIRM_BOUND):
                while self.session_id is not None:
                    status = await self._api.session_status(self.session_id)
                    if status.name in wire.ENDED_STATUSES:
                        break
                    await asyncio.sleep(CONFIRM_INTERVAL)
        except (TimeoutError, APIError, RoomError) as e:
            logger.debug(f"the avatar did not end the call ({type(e).__name__})")
            return False
        return True

    async def _cancel(self) -> bool:
        if self.session_id is None:
            return await self._end_latecomer()
        try:
            await cancel_session(self._api, self.session_id, bound=CANCEL_BOUND)
        except (RunwayError, RuntimeError) as e:  # RuntimeError: of a client that was closed
            logger.error(
                f"Runway session {self.session_id} could not be ended and may be billed: {e} "
                "`pipecat-runway sessions reap` tries again once this process is over."
            )
            return False
        return True

    async def _end_latecomer(self) -> bool:
        """End a session whose id was never answered: only its avatar can be told, if it comes."""
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
