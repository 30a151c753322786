"""One face after another: who speaks for the bot, and who is seen.

:class:`Faces` decides when one comes, when another follows it, and who goes on if it fails. The
room and the sessions are :class:`~pipecat_runway.sessions.Sessions`', what is said and heard is
:class:`~pipecat_runway.avatar.Avatar`'s.
"""

import asyncio
import contextlib
import time
from typing import Any

from loguru import logger

from pipecat_runway import handover, renewal
from pipecat_runway.api import RunwayAPI
from pipecat_runway.audience import Audience, Speaker
from pipecat_runway.errors import (
    AvatarGoneError,
    CallLimitError,
    ConcurrencyError,
    RoomError,
    RoomUnreachableError,
    RunwayError,
    UnreachableError,
)
from pipecat_runway.face import Face
from pipecat_runway.joining import Connection
from pipecat_runway.lifecycle import State
from pipecat_runway.measures import HandOver
from pipecat_runway.playback import Ledger
from pipecat_runway.renewal import Need, Presence, Standing
from pipecat_runway.room import AvatarRoom, Listener
from pipecat_runway.session import AvatarSession
from pipecat_runway.sessions import AvatarOptions, Sessions

# A start that failed like this was surely not billed; it is tried again while the voice speaks.
FREE = (ConcurrencyError, UnreachableError, RoomUnreachableError)
LASTING = 30.0  # s; an avatar that lasted less is followed the later, the more often that happens
KEPT = 5.0  # s a session whose avatar has stalled or left is kept, for it may recover…
MENDED = 20.0  # s …and at most so long while LiveKit mends our own connection
_PATIENCE = {Connection.HERE: KEPT, Connection.MENDING: MENDED, Connection.NONE: 0.0}
LOOK = 0.05  # s between looks at whether it has
CHANGE_PATIENCE = 5.0  # s another character waits for a silence before it goes on in mid-word


class Faces:
    """The avatars of one call.

    Args:
        api: Runway's REST API.
        options: What an avatar is made of.
        ledger: What is to be said. A change of faces may divide an utterance.
        audience: Who sees and hears them.
        speaker: Who has them speak.
        listener: Who is told what happens in the room.

    Attributes:
        presence: Whether there is a face.
        current: Who says what is said from now on; None before the first one is there.
        shown: Whose picture is seen.
        began_at: When the first one was asked for, in s.
        quiet: Set while nothing is owed.
        moved: Set by every change of the ledger.
        settled: Set once the face asked for is there, or could not come.
        sessions: The room, and the sessions in it.
    """

    def __init__(
        self,
        api: RunwayAPI,
        options: AvatarOptions,
        ledger: Ledger,
        *,
        audience: Audience,
        speaker: Speaker,
        listener: Listener,
    ) -> None:
        self.presence = Presence.ABSENT
        self.current: Face | None = None
        self.shown: Face | None = None
        self.began_at = 0.0
        self.quiet, self.moved, self.settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.quiet.set()
        self._options, self._ledger = options, ledger
        self._audience, self._speaker = audience, speaker
        self._character = options.character
        self.sessions = Sessions(api, options, used=audience.used, listener=listener)
        self._news = asyncio.Event()
        self._stirred_at = time.monotonic()

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session that speaks, or is to; None before it exists."""
        session = self.current.session if self.current else self.sessions.newest
        return session.session_id if session else None

    def present(self) -> list[Face]:
        """Return whoever speaks, or is about to."""
        return self.all() if self.presence is Presence.PRESENT else []

    def holder(self) -> Face | None:
        """Return whose turn it is to be heard."""
        if self.presence is not Presence.PRESENT:
            return None
        head = self._ledger.head
        return head.speaker if head is not None and head.speaker is not None else self.current

    def all(self) -> list[Face]:
        """Return whoever may still hold speech."""
        return [face for face in dict.fromkeys((self.shown, self.current)) if face is not None]

    async def end(self, was: Presence) -> None:
        """End every session and leave the room.

        Args:
            was: The presence before the end began.
        """
        for face in self.all():
            await face.aclose()
        await self.sessions.close()
        self.settled.set()
        if was is Presence.PRESENT:
            self._audience.disconnected(self.session_id, "ended")

    # -- what the call needs -----------------------------------------------------------------------

    async def run(self) -> None:
        """Have a first avatar come, and others follow it."""
        self.began_at = self._stirred_at = time.monotonic()
        try:
            first = await self._join(await self.sessions.enter())
        except RunwayError as e:
            if not self._options.voice_fallback or not isinstance(e, FREE):
                self.lose(e)  # each further attempt would be billed, or fail as well
                return
            self._go_without(e)
            self.settled.set()
        else:
            self._appear(first)
        falls = 0
        while (need := await self._next_need(self.current)) is not Need.END:
            match need, self.current:
                case ((Need.RENEW | Need.CHANGE), Face() as face):
                    await self._follow(face)
                case Need.PARK, Face() as face:
                    await self._park(face)
                case Need.RETURN, last:
                    lasted = time.monotonic() - last.session.asked_at if last else 0.0
                    falls = falls + 1 if lasted < LASTING else 0
                    await self._come_back(last, falls)
                case _:
                    await self._stop()

    async def _next_need(self, face: Face | None) -> Need:
        """Wait until something has to be done, and return what."""
        options = self._options
        while True:
            self._news.clear()
            now = time.monotonic()
            standing = Standing(
                presence=self.presence,
                age=now - face.session.asked_at if face else 0.0,
                limit=renewal.limit(options.max_duration),
                join=face.session.arrival.took if face else 0.0,
                other=face is not None and self._is_other(face),
                call_age=now - self.began_at,
                call_limit=options.max_call_duration,
                idle=now - self._stirred_at,
                idle_limit=options.idle_timeout,
            )
            need, patience = renewal.need(standing)
            if need is not Need.NOTHING:
                return need
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), patience)

    def _is(self, presence: Presence) -> bool:
        return self.presence is presence

    def change(self, character: dict[str, str]) -> None:
        """Have another character speak, from a silence soon."""
        self._character = character
        if self.current is None or self._is_other(self.current):
            self.settled.clear()
        self._news.set()

    def stir(self) -> None:
        """Note that somebody speaks: a face that was parked comes back."""
        self._stirred_at = time.monotonic()
        if self.presence is Presence.PARKED:
            self.presence = Presence.AWAY
            self._news.set()

    # -- coming ------------------------------------------------------------------------------------

    async def _join(self, room: AvatarRoom) -> Face:
        """Have an avatar come into the room.

        Raises:
            RunwayError: It does not; its session is being ended.
        """
        session = self.sessions.new(room, self._character)
        await self.sessions.start(session)
        return self._new_face(session)

    def _new_face(self, session: AvatarSession) -> Face:
        self._audience.arrived(session.arrival)
        return Face(
            room=session.room,
            session=session,
            ledger=self._ledger,
            sample_rate=self._options.sample_rate,
            picture_timeout=self._options.picture_timeout,
            on_sent=self._audience.sent,
        )

    def _appear(self, face: Face) -> None:
        """Have a face speak from the next utterance on."""
        self.current = self.shown = face
        self.presence = Presence.PRESENT
        self._stirred_at = time.monotonic()
        if not self._is_other(face):
            self.settled.set()
        self._audience.connected(face.session.session_id)
        self._speaker.spoke()

    # -- one session after another -----------------------------------------------------------------

    async def _follow(self, old: Face) -> None:
        """Let another session follow this one, without a word lost."""
        self._audience.renewing(old.session.session_id)
        by = old.session.asked_at + renewal.limit(self._options.max_duration) - renewal.MARGIN
        attempt = 0
        while not self._is(Presence.GONE) and self.current is old:
            try:
                new = await self._successor(old, by)
            except RunwayError as e:
                logger.info(f"the next session did not come ({type(e).__name__})")
                self.settled.set()
                if old.session.state is State.LOST:
                    return
                if not e.retryable and self._is_other(old) and self._is(Presence.PRESENT):
                    self._character = old.session.character
                    self._audience.failed(e)
                    return
                if not e.retryable and self._is(Presence.AWAY):
                    self.lose(e)
                    return
                if isinstance(e, ConcurrencyError) or time.monotonic() > by:
                    await self._step_aside(old, by)
                await asyncio.sleep(renewal.pause(attempt))
                attempt += 1
                continue
            if old.session.state is State.LOST:  # it has failed meanwhile
                self.sessions.end(old.session)
                self._appear(new)
            else:
                await self._hand_over(old, new, by)

    def _is_other(self, face: Face) -> bool:
        return face.session.character != self._character

    async def _successor(self, old: Face, by: float) -> Face:
        """Return the next face.

        Raises:
            RunwayError: It did not come.
        """
        session = self.sessions.new(old.session.room, self._character)
        joining = asyncio.create_task(self.sessions.start(session))
        queued = asyncio.create_task(session.queued.wait())
        try:
            await asyncio.wait(
                {joining, queued},
                timeout=by - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not joining.done():
                await self._step_aside(old, by)
            await joining
            return self._new_face(session)
        finally:
            await cancelled(joining, queued)

    async def _step_aside(self, old: Face, by: float) -> None:
        """Make room for the next session: the voice goes on alone from the next silence on."""
        if self._is(Presence.PRESENT):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(_loop_time(by)):
                    await self.quiet.wait()
        if self._is(Presence.PRESENT):
            self.presence = Presence.AWAY
            self._speaker.give_up()
        await self.sessions.end(old.session)

    async def _hand_over(self, old: Face, new: Face, by: float) -> None:
        """Have the new face say what the old one has not begun, and, at the latest, its rest."""
        if self._is_other(old):
            by = min(by, time.monotonic() + CHANGE_PATIENCE)
        self.current, self.presence = new, Presence.PRESENT
        handover.reassign(self._ledger, old)
        self._speaker.spoke()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(by)):
                await self._done_with(old)
        head = self._ledger.head
        if head is not None and head.speaker is old and self.current is new:
            handover.divide(self._ledger, head)
            self._speaker.spoke()
        await self._done_with(old)
        if self.current is not new:
            return  # it has failed already, and the old one goes on
        self.shown = new
        self._audience.handed_over(
            HandOver(
                session_id=new.session.session_id,
                followed=old.session.session_id,
                asked_at=new.session.asked_at,
                done_at=time.monotonic(),
            )
        )
        await old.aclose()
        self.sessions.end(old.session)
        if self._is(Presence.PRESENT):
            self.settled.set()
            self._audience.renewed(new.session.session_id)

    async def _done_with(self, face: Face) -> None:
        """Wait until nothing is owed by a face that is to be followed."""
        while handover.owes(self._ledger, face) and self.current is not face:
            self.moved.clear()
            await self.moved.wait()

    # -- away and back -----------------------------------------------------------------------------

    async def _park(self, face: Face) -> None:
        """End the session until somebody speaks."""
        self.presence = Presence.PARKED
        self._audience.disconnected(face.session.session_id, "idle")
        await self.sessions.end(face.session)

    async def _come_back(self, old: Face | None, attempt: int) -> None:
        """Have the avatar come back, or another one; it speaks from the next utterance on."""
        if old is not None and await self._recovers(old):
            return
        wanted = 0.0
        while self._is(Presence.AWAY):
            await asyncio.sleep(max(wanted, renewal.pause(attempt)))
            attempt += 1
            if time.monotonic() - self.began_at > self._options.max_call_duration:
                return
            try:
                face = await self._join(await self.sessions.enter())
            except RunwayError as e:
                logger.info(f"the avatar did not come back yet ({type(e).__name__})")
                if not e.retryable:
                    self.lose(e)
                    return
                wanted = e.retry_after or 0.0
                continue
            self._appear(face)

    async def _recovers(self, old: Face) -> bool:
        """Wait a while for an avatar whose session is kept; end the session if it is in vain."""
        fell_at = time.monotonic()
        kept = old.session.state in (State.LIVE, State.LOST) and not await old.session.is_over()
        while kept and self._is(Presence.AWAY):
            if old.is_steady() and old.session.state is State.LIVE:
                old.recover()
                self._appear(old)
                return True
            kept = time.monotonic() - fell_at < _PATIENCE[old.session.room.connection]
            await asyncio.sleep(LOOK)
        await old.aclose()
        await self.sessions.end(old.session)
        return False

    async def _stop(self) -> None:
        """Have no face any more, from the end of the utterance on if that is soon."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.quiet.wait(), renewal.MARGIN)
        self.lose(
            CallLimitError(
                f"the call has had a face for {self._options.max_call_duration:g} s",
                session_id=self.session_id,
            )
        )

    def fall(self, error: RunwayError, face: Face, *, keep: bool, told: bool = False) -> None:
        """Have somebody else speak for a face that has failed: another face, or the voice.

        Args:
            error: What happened.
            face: Who failed.
            keep: Whether its session is kept a while, as it may recover.
            told: Whether the error was reported already.
        """
        if face not in self.present():
            return
        face.session.lost()
        others = [each for each in self.present() if each.session.state is State.LIVE]
        if others:
            self._go_on_with(others[0], face)
            return
        if not self._options.voice_fallback:
            self.lose(error)
            return
        owed = [utterance for utterance in self._ledger if utterance.speaker is face]
        self._go_without(None if told else error)
        face.cut(owed)
        for each in self.all():
            if each is not face or not keep:
                self.sessions.end(each.session)
        self.current = self.shown = face
        self._audience.disconnected(face.session.session_id, type(error).__name__)
        self._news.set()

    def _go_without(self, error: RunwayError | None) -> None:
        """Have the voice go on until there is a face again."""
        self.presence = Presence.AWAY
        if error is not None:
            self._audience.failed(error)
        self._speaker.give_up()

    def _go_on_with(self, face: Face, gone: Face) -> None:
        """Have one of two faces say all that the other one, which is gone, still owed."""
        logger.info("one of two avatars has failed; the other one goes on")
        self.current = self.shown = face
        head = self._ledger.head
        heard = gone.sure(head) if head is not None else 0
        self._audience.release(handover.inherit(self._ledger, gone, heard))
        self.sessions.end(gone.session)
        self._speaker.spoke()

    def lose(self, error: RunwayError) -> None:
        """Go on without a face."""
        if self.presence is Presence.GONE:
            return
        was, self.presence = self.presence, Presence.GONE
        self.settled.set()
        self._audience.failed(error)
        self._speaker.give_up()
        if was is Presence.PRESENT:
            self._audience.disconnected(self.session_id, type(error).__name__)
        self._news.set()
        self.sessions.close()

    # -- what the room tells ----------------------------------------------------------------------

    def joined(self, identity: str) -> None:
        """Note that an avatar has entered the room."""
        if (session := self.sessions.find(identity)) is not None:
            session.joined()

    def reachable(self, identity: str) -> None:
        """Note that data sent to an avatar arrives."""
        if (session := self.sessions.find(identity)) is not None:
            session.reachable()

    def left(self, identity: str, reason: str) -> None:
        """Note that an avatar has left the room."""
        if (session := self.sessions.find(identity)) is None:
            return
        session.left()
        for face in self.present():
            if face.identity == identity:
                error = AvatarGoneError(
                    f"the avatar left the room ({reason})", session_id=session.session_id
                )
                self.fall(error, face, keep=True)

    def seen(self, identity: str) -> None:
        """Note that a picture has arrived."""
        if (session := self.sessions.find(identity)) is not None:
            session.pictured()
        for face in self.all():
            if face.identity == identity:
                face.seen()

    def shows(self, identity: str) -> bool:
        """Return whether an avatar's pictures are to be shown."""
        if self.sessions.find(identity) is None:
            return False
        return self.shown is None or self.shown.identity == identity

    def disconnected(self, error: RoomError) -> None:
        """Note that the room is gone."""
        for session in self.sessions.all():
            session.left()
            session.lost()
        if self._is(Presence.COMING) or not self._options.voice_fallback:
            self.lose(error)
        elif self.current is not None:
            self.fall(error, self.current, keep=False)


def _loop_time(at: float) -> float:
    """Return an instant of `time.monotonic()` on the event loop's clock."""
    return asyncio.get_running_loop().time() + at - time.monotonic()


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
