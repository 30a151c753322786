"""Sessions whose users are in browsers: opened for them, followed, and ended.

The user's browser talks to Runway's room itself; nothing of the conversation passes through here.
That somebody has gone is seen by the hidden participant (``connect_backend``) that answers tools.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping

from loguru import logger

from pipecat_runway import wire
from pipecat_runway.api import Credentials, RunwayAPI
from pipecat_runway.backend import Backend, Call
from pipecat_runway.errors import AvatarGoneError, RunwayError
from pipecat_runway.guard import Guard
from pipecat_runway.managed import Brief, HostedSession
from pipecat_runway.visitors import Admission, Attendance, Limits, TurnedAway

JOIN_TIMEOUT = 20.0  # s a browser is given to come into the room; it asks for nothing before
AWAY_TIMEOUT = 5.0  # s; LiveKit tells of a lost connection only when it has given it up
LOOK_INTERVAL = 5.0  # s between looks at what Runway says


class TurnedAwayError(Exception):
    """Nothing was begun for a visitor.

    Attributes:
        why: Why, and for how long.
    """

    def __init__(self, why: TurnedAway) -> None:
        super().__init__(why.reason.name)
        self.why = why


class Visit(HostedSession):
    """One session whose user is in a browser.

    Args:
        api: Runway's REST API.
        avatar: The create request's `avatar`.
        brief: What it is told.
        waits: The tools that are answered here, and how long the avatar waits for each, in s.
        call: Calls one of them.
        guard: Ends it if the event loop is taken down.
        max_duration: Longest duration in s.
        ready_timeout: How long READY is waited for, in s.
    """

    def __init__(
        self,
        *,
        api: RunwayAPI,
        avatar: dict[str, str],
        brief: Brief,
        waits: Mapping[str, float],
        call: Call,
        guard: Guard,
        max_duration: int,
        ready_timeout: float,
    ) -> None:
        super().__init__(
            api=api,
            avatar=avatar,
            brief=brief,
            guard=guard,
            max_duration=max_duration,
            ready_timeout=ready_timeout,
        )
        self._waits, self._call = waits, call
        self._backend: Backend | None = None
        self._attendance = Attendance(join_timeout=JOIN_TIMEOUT, away_timeout=AWAY_TIMEOUT)
        self._news = asyncio.Event()

    async def open(self) -> Credentials:
        """Create the session, and return what its user joins the room with.

        Raises:
            APIError: Runway refused, or could not be reached; or there was no free slot in time.
            NeverJoinedError: It was not READY within `ready_timeout`.
            SessionFailedError: Runway reports FAILED.
            CredentialsGoneError: They had expired, or were not handed out.
            RoomUnreachableError: Its tools could not be answered.
        """
        until = time.monotonic() + self._ready_timeout
        session_id = await self._create_briefed()
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                key = await self._poll()
        except TimeoutError:
            raise self._not_ready() from None
        await self._open_backend(session_id)  # before the avatar speaks, and may call
        credentials = await self._consume(key)
        self._attendance.expect(time.monotonic())
        return credentials

    async def stay(self) -> str:
        """Follow the session; return why it is over as soon as it is."""
        attendance = self._attendance
        while True:
            self._news.clear()
            status = await self._look()
            if status is not None and status.name in wire.ENDED_STATUSES:
                return f"Runway says {status.name}"
            if status is not None and status.name == wire.RUNNING_STATUS:
                attendance.note_running()  # OAS: its WebRTC connection is active
            now = time.monotonic()
            if attendance.is_over(now):
                return "the user has left" if attendance.has_come else "no user came"
            wait = LOOK_INTERVAL if attendance.until is None else attendance.until - now
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), min(wait, LOOK_INTERVAL))

    async def end(self) -> None:
        """End the session, see it confirmed, and leave its room. Safe as in BilledSession."""
        await super().end()
        if self._backend is not None:
            await self._backend.close()

    async def _open_backend(self, session_id: str) -> None:
        self._backend = Backend(
            self._api,
            session_id,
            self._waits,
            call=self._call,
            failed=lambda e: logger.error(f"the tools are not answered any more: {e}"),
            seen=self._on_seen,
        )
        try:
            await self._backend.open()
        except RunwayError as e:
            if self._waits:
                raise
            # Nobody has said that a session without such tools lets a backend in.
            logger.warning(f"whether the user is there is asked of Runway alone: {e}")

    def _on_seen(self, is_there: bool | None) -> None:
        self._attendance.note(is_there, time.monotonic())
        self._news.set()

    async def _tell_end(self) -> None:
        raise AssertionError  # nobody of ours is in the room as its user, so it is not asked for


class Visits:
    """All sessions of one server; what it has begun it ends.

    Args:
        api: Runway's REST API; it is closed with the last of them.
        limits: How many there may be.
    """

    def __init__(self, api: RunwayAPI, limits: Limits) -> None:
        self._api = api
        self._admission = Admission(limits)
        self._guard = Guard(api.close)
        self._open: dict[str, tuple[str, asyncio.Task[None]]] = {}  # by session id, whose
        self._leading: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Be ready for visitors."""
        await self._guard.begin()

    async def aclose(self) -> None:
        """End every session."""
        for leading in self._leading:
            leading.cancel()
        if self._leading:
            await asyncio.wait(self._leading)
        self._guard.dismiss()
        await self._api.close()

    async def open(
        self, visitor: str, make: Callable[[RunwayAPI, Guard], Visit]
    ) -> tuple[str, Credentials]:
        """Begin a session for a visitor; if this is cancelled, the session is ended.

        Args:
            visitor: Who it is counted for, and may end it.
            make: Makes it.

        Returns:
            Its id, and what its user joins the room with.

        Raises:
            TurnedAwayError: The visitor may not have one now.
            RunwayError: Runway did not provide it. It has been ended.
        """
        if (why := self._admission.admit(visitor, time.monotonic())) is not None:
            raise TurnedAwayError(why)
        opened: asyncio.Future[tuple[str, Credentials]] = asyncio.Future()
        leading = asyncio.create_task(self._lead(visitor, make, opened))
        self._leading.add(leading)
        leading.add_done_callback(lambda _: self._left(visitor, leading))
        try:
            return await opened
        except asyncio.CancelledError:
            leading.cancel()
            raise

    async def end(self, visitor: str, session_id: str) -> bool:
        """End a session, and wait until it has ended; return whether the visitor has one such."""
        owner, leading = self._open.get(session_id, (None, None))
        if leading is None or owner != visitor:
            return False
        leading.cancel()
        await asyncio.wait({leading})
        return True

    async def _lead(
        self,
        visitor: str,
        make: Callable[[RunwayAPI, Guard], Visit],
        opened: "asyncio.Future[tuple[str, Credentials]]",
    ) -> None:
        """A session from its create to its end, which is here."""
        visit = make(self._api, self._guard)
        failure: Exception = AvatarGoneError("the session was ended before it had begun")
        leading = asyncio.current_task()
        assert leading is not None
        try:
            credentials = await visit.open()
            assert visit.session_id is not None
            self._open[visit.session_id] = visitor, leading
            if not opened.done():
                opened.set_result((visit.session_id, credentials))
            why = await visit.stay()
            logger.info(f"Runway session {visit.session_id} is over: {why}")
        except RunwayError as e:
            failure = e
        finally:
            try:
                await visit.end()
            finally:
                self._open.pop(visit.session_id or "", None)
                if not opened.done():
                    opened.set_exception(failure)

    def _left(self, visitor: str, leading: asyncio.Task[None]) -> None:
        """Note that a session has ended; also one whose task was cancelled before it began."""
        self._leading.discard(leading)
        self._admission.leave(visitor)
