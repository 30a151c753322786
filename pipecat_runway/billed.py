"""One session that Runway bills for, whatever room it is in: its create, its use, its end.

What may follow what stands in :mod:`pipecat_runway.lifecycle`; this module performs it.
"""

import asyncio
import contextlib
import itertools
import random
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from loguru import logger

from pipecat_runway import registry, retries, wire
from pipecat_runway.api import RunwayAPI, SessionStatus
from pipecat_runway.ending import CONFIRM_INTERVAL, cancel_session
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    AvatarGoneError,
    ConcurrencyError,
    RoomError,
    RunwayError,
    SessionFailedError,
)
from pipecat_runway.guard import Guard
from pipecat_runway.lifecycle import Event, State, step
from pipecat_runway.measures import Arrival
from pipecat_runway.ownership import Record

END_CALL_BOUND = 1.5  # s for the avatar to leave by itself, after which the session is cancelled
END_CALL_EVERY = 0.5  # s until it is told once more: what is sent just after a join may be lost
CONFIRM_BOUND = 3.0  # s until the API says that a session whose avatar has left is over
CANCEL_BOUND = 6.0  # s the API is tried for, when the avatar did not do it
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


class BilledSession(ABC):
    """One session with Runway.

    Args:
        api: Runway's REST API.
        character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        guard: Ends it if the event loop is taken down.
        max_duration: Longest duration in s; None for Runway's default.
        ready_timeout: How long avatar and first picture are waited for, in s.

    Attributes:
        session_id: Runway's id; None before the create is answered.
        character: The `avatar` it was created with.
        asked_at: When the create that counts was sent, in s of `time.monotonic()`: it is billed
            from then on.
        queued: Set once Runway says that there is no free slot yet.
    """

    def __init__(
        self,
        *,
        api: RunwayAPI,
        character: dict[str, str],
        guard: Guard,
        max_duration: int | None,
        ready_timeout: float,
    ) -> None:
        self.session_id: str | None = None
        self.character = character
        self.asked_at = 0.0
        self._created_at: float | None = None
        self._joined_at = self._pictured_at = 0.0
        self.queued = asyncio.Event()
        self._api, self._guard = api, guard
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

    # -- what depends on the room ---------------------------------------------------------------

    @abstractmethod
    def _record(self) -> Record:
        """Return how it is written down, without its id."""

    @abstractmethod
    async def _tell_end(self) -> None:
        """Tell the avatar that the call is over.

        Raises:
            RoomError: If it cannot be told.
        """

    async def _claim(self, record: Record) -> None:  # noqa: B027 - not every room takes notes
        """Note that Runway has given it an id."""

    def _disclaim(self) -> None:  # noqa: B027
        """Note that its end is confirmed."""

    async def _end_unanswered(self) -> bool:
        """End a session whose id was never answered; return whether it surely has ended."""
        logger.warning("a Runway session may exist whose id was never answered")
        return False

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

    # -- creating -----------------------------------------------------------------------------

    async def _create(self, **body: Any) -> None:
        """Create the session, once; whoever waits may be cancelled, and the answer is still read.

        Args:
            **body: See :meth:`RunwayAPI.create_session`.

        Raises:
            APIError: Runway refused, or could not be reached.
        """
        self._state = step(self._state, Event.CREATE)
        self.asked_at = time.monotonic()
        self._guard.add(self.end)
        self._creating = asyncio.create_task(self._ask(body))
        # Shielded: an answer that nobody reads would leave a session that nobody ends.
        await asyncio.shield(self._creating)

    async def _ask(self, body: dict[str, Any]) -> None:
        record = self._record()
        await self._entry.write(record)  # before the create: its answer may be lost
        until = self.asked_at + self._ready_timeout
        for attempt in itertools.count():
            self.asked_at = time.monotonic()
            try:
                self.session_id = await self._api.create_session(
                    avatar=self.character, max_duration=self._max_duration, **body
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
        await self._claim(record)

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

    def _check(self, status: SessionStatus) -> None:
        """Take a look at what Runway says while the avatar is awaited.

        Raises:
            SessionFailedError: Runway reports FAILED.
            AvatarGoneError: It has ended otherwise.
        """
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
            self._guard.discard(self.end)
            self._disclaim()
            await self._entry.remove()

    async def _end_call(self) -> bool:
        """End the call the way a user does, so that the session ends as COMPLETED."""
        if not self._joined.is_set():
            return False
        try:
            async with asyncio.timeout(END_CALL_BOUND):
                while not self._left.is_set():
                    await self._tell_end()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._left.wait(), END_CALL_EVERY)
            async with asyncio.timeout(CONFIRM_BOUND):
                while self.session_id is not None:
                    status = await self._look()
                    if status is not None and status.name in wire.ENDED_STATUSES:
                        break
                    await asyncio.sleep(CONFIRM_INTERVAL)
        except (TimeoutError, RoomError) as e:
            logger.debug(f"the avatar did not end the call ({type(e).__name__})")
            return False
        return True

    async def _cancel(self) -> bool:
        if self.session_id is None:
            return await self._end_unanswered()
        try:
            await cancel_session(self._api, self.session_id, bound=CANCEL_BOUND)
        except (RunwayError, RuntimeError) as e:  # RuntimeError: of a client that was closed
            logger.error(
                f"Runway session {self.session_id} could not be ended and may be billed: {e} "
                "`pipecat-runway sessions reap` tries again once this process is over."
            )
            return False
        return True
