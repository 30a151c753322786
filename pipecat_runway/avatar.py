"""The face a bot has: readiness, speech, barge-in and end, over one room and its session.

:class:`Avatar` owns the room, the session and the tasks that move speech; it is begun once and
ended once. What is said lives in the :class:`~pipecat_runway.playback.Ledger`, what is heard is
decided by :class:`~pipecat_runway.hearing.Hearing`; this module performs what they decide.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from livekit import rtc
from loguru import logger

from pipecat_runway import hearing, renewal, wire
from pipecat_runway.addresses import check_room_address
from pipecat_runway.api import RunwayAPI
from pipecat_runway.errors import (
    AvatarGoneError,
    ConcurrencyError,
    ProtocolError,
    RoomError,
    RoomLostError,
    RunwayError,
)
from pipecat_runway.face import ONSET_BOUND, Effect, Face, Mute, Repeat
from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.room import AvatarRoom
from pipecat_runway.session import AvatarSession

OPEN_BOUND = 3.0  # s without speech for an utterance that the TTS never finishes
WAITING_BOUND = 60.0  # s of speech that wait for the avatar
TICK = 0.05  # s between looks at these bounds
DRAIN_SLACK = 2.0  # s beyond the speech owed
AHEAD = wire.SPEECH_RATE * 3 // 10  # samples, of where a word is divided between two faces
AHEAD_OF_TURN = 0.12  # s before its turn a face is given its speech: what it needs to begin


class Presence(Enum):
    """Whether there is a face."""

    ABSENT = auto()  # nothing was asked of Runway yet
    COMING = auto()  # it is being provisioned; speech waits
    PRESENT = auto()  # its picture has been seen
    AWAY = auto()  # its successor is awaited; meanwhile there is only voice
    GONE = auto()  # it failed, left or was ended; there is only voice


@dataclass(frozen=True, kw_only=True)
class AvatarOptions:
    """What an avatar is made of.

    Attributes:
        character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        livekit_url: The LiveKit server.
        livekit_api_key: Its API key.
        livekit_api_secret: Its API secret.
        sample_rate: Rate in Hz at which the avatar's sound is wanted.
        max_duration: Longest duration of a session in s; None for Runway's default.
        max_call_duration: After so many s no session follows another any more.
        ready_timeout: How long avatar and first picture are waited for, in s.
    """

    character: dict[str, str]
    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: str
    sample_rate: int
    max_duration: int | None
    max_call_duration: float
    ready_timeout: float

    def __repr__(self) -> str:
        return f"AvatarOptions({self.character})"


class Audience(Protocol):
    """Who sees and hears the avatar. Called on the event loop; must not block."""

    def release(self, items: list[Any]) -> None:
        """These held items may go on, in this order."""

    def tail(self, utterance: Utterance) -> bytes:
        """Return the last samples of an utterance that the TTS never finished, 16 kHz mono."""

    def sent(self, utterance: Utterance) -> None:
        """The first sample of an utterance has been sent."""

    def heard(self, utterance: Utterance) -> None:
        """The first sound of an utterance has come back."""

    def sound(self, utterance: Utterance, pcm: bytes) -> None:
        """A piece of an utterance has come back: s16le mono."""

    async def picture(self, frame: rtc.VideoFrame) -> None:
        """The avatar's picture: tight RGB24."""

    def connected(self, session_id: str | None) -> None:
        """The avatar's first picture has been seen."""

    def disconnected(self, session_id: str | None, reason: str) -> None:
        """The avatar, once connected, is gone."""

    def renewing(self, session_id: str | None) -> None:
        """The session comes to its limit, another one is asked for."""

    def renewed(self, session_id: str | None) -> None:
        """The avatar goes on in this session."""

    def failed(self, error: RunwayError) -> None:
        """Something went wrong; speech goes on by voice."""


class Avatar:
    """A face that speaks what is put into its ledger.

    Args:
        api: Runway's REST API; closed with the avatar.
        options: What it is made of.
        audience: Who sees and hears it.

    Attributes:
        ledger: What it has to say, and what waits behind that. Call :meth:`spoke` after a change.
    """

    def __init__(self, api: RunwayAPI, options: AvatarOptions, audience: Audience) -> None:
        self.ledger = Ledger()
        self._api, self._options, self._audience = api, options, audience
        self._presence = Presence.ABSENT
        self._began_at = 0.0
        self._room: AvatarRoom | None = None
        self._sessions: dict[str, AvatarSession] = {}  # those that may be open, by identity
        self._newest: AvatarSession | None = None
        self._face: Face | None = None  # who says what is said from now on
        self._shown: Face | None = None  # whose picture is seen
        self._tasks: list[asyncio.Task[None]] = []
        self._retiring: set[asyncio.Task[None]] = set()
        self._releasing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # PRESENT or GONE
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._moved = asyncio.Event()  # something of the ledger has

    @property
    def presence(self) -> Presence:
        """Whether there is a face."""
        return self._presence

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session that speaks, or is to; None before it exists."""
        session = self._face.session if self._face else self._newest
        return session.session_id if session else None

    # -- beginning and end --------------------------------------------------------------------

    def begin(self) -> None:
        """Provision the avatar in the background. Does nothing the second time."""
        if self._presence is Presence.ABSENT and self._ending is None:
            self._presence = Presence.COMING
            self._began_at = time.monotonic()
            self._tasks = [
                asyncio.create_task(self._provision()),
                asyncio.create_task(self._send_speech()),
                asyncio.create_task(self._mind_bounds()),
            ]
            for task in self._tasks:
                task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """Tell of a mistake of ours, instead of going silent."""
        if not task.cancelled() and (e := task.exception()) is not None:
            logger.opt(exception=e).debug("the avatar's task failed")
            self._lose(
                RunwayError(f"internal error, {type(e).__name__}", advice="Please report it.")
            )

    async def settled(self) -> bool:
        """Wait until the avatar is there or has failed; return whether it is there."""
        await self._settled.wait()
        return self._presence is Presence.PRESENT

    async def drain(self) -> None:
        """Wait until everything owed has been heard; bounded."""
        for utterance in list(self.ledger):
            if not utterance.closed:
                self.ledger.close(utterance, self._audience.tail(utterance))
        self.spoke()
        waited = time.monotonic() - self._began_at
        ready = max(0.0, self._options.ready_timeout - waited)
        bound = self.ledger.owed + DRAIN_SLACK
        bound += ready if self._presence is Presence.COMING else 0.0
        try:
            await asyncio.wait_for(self._quiet.wait(), bound)
        except TimeoutError:
            logger.warning(f"{self.ledger.owed:.1f} s of speech were not heard in time")
            self._give_up()

    async def end(self) -> None:
        """End session, room and tasks. Safe at any time and more than once; bounded.

        It goes on if the caller is cancelled.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        was, self._presence = self._presence, Presence.GONE
        await _cancelled(*self._tasks)
        for face in {self._face, self._shown} - {None}:
            assert face is not None
            await face.aclose()
        await self._release()
        await self._api.close()
        self._give_up()
        self._settled.set()
        if was is Presence.PRESENT:
            self._audience.disconnected(self.session_id, "ended")

    async def _provision(self) -> None:
        options = self._options
        room = self._room = AvatarRoom(
            url=options.livekit_url,
            api_key=options.livekit_api_key,
            api_secret=options.livekit_api_secret,
            sample_rate=options.sample_rate,
            listener=self,
        )
        try:
            check_room_address(options.livekit_url, self._api.host)
            # A wrong address or secret shows before anything is billed, and whoever is in the room
            # first is told of the avatar at once: LiveKit tells latecomers up to 3 s later.
            await room.reserve()
            await room.connect()
            session = self._new_session(room)
            await self._join(session)
            self._face = self._shown = self._new_face(room, session)
        except RunwayError as e:
            self._lose(e)
            return
        self._presence = Presence.PRESENT
        self._settled.set()
        self._audience.connected(self.session_id)
        self.spoke()
        while (
            self._presence is Presence.PRESENT
            and time.monotonic() - self._began_at < options.max_call_duration
        ):
            await self._renew(room, self._face)

    def _new_session(self, room: AvatarRoom) -> AvatarSession:
        options = self._options
        session = AvatarSession(
            api=self._api,
            room=room,
            avatar=options.character,
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            livekit_url=options.livekit_url,
            max_duration=options.max_duration,
            ready_timeout=options.ready_timeout,
        )
        self._sessions[session.identity] = self._newest = session
        return session

    def _new_face(self, room: AvatarRoom, session: AvatarSession) -> Face:
        return Face(
            room=room,
            session=session,
            ledger=self.ledger,
            sample_rate=self._options.sample_rate,
            on_sent=self._audience.sent,
        )

    async def _join(self, session: AvatarSession) -> None:
        """Have an avatar come into the room.

        Raises:
            RunwayError: It does not; its session is being ended.
        """
        try:
            await session.start()
        except RunwayError:
            self._retire(session)
            raise

    def _retire(self, session: AvatarSession) -> asyncio.Task[None]:
        """End a session while the call goes on."""

        async def end() -> None:
            await session.end()
            self._sessions.pop(session.identity, None)

        task = asyncio.create_task(end())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    # -- one session after another ----------------------------------------------------------------

    async def _renew(self, room: AvatarRoom, old: Face) -> None:
        """Let another session follow this one when it is due, without a word lost."""
        limit = renewal.limit(self._options.max_duration)
        ends_at = old.session.asked_at + limit
        due = old.session.asked_at + renewal.renew_after(limit, old.session.join)
        await asyncio.sleep(due - time.monotonic())
        if self._presence is not Presence.PRESENT:
            return
        self._audience.renewing(old.session.session_id)
        by = ends_at - renewal.MARGIN
        attempt = 0
        while (new := await self._successor(room, old, by)) is None:
            await asyncio.sleep(renewal.pause(attempt))
            attempt += 1
            if self.presence is Presence.GONE:
                return
        await self._hand_over(old, new, by)
        self._audience.renewed(new.session.session_id)

    async def _successor(self, room: AvatarRoom, old: Face, by: float) -> Face | None:
        """Return the next face, or None if it did not come: then it is to be tried again."""
        session = self._new_session(room)
        joining = asyncio.create_task(self._join(session))
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
        except RunwayError as e:
            logger.info(f"the next session did not come ({type(e).__name__})")
            if isinstance(e, ConcurrencyError) or time.monotonic() > by:
                await self._step_aside(old, by)
            return None
        finally:
            await _cancelled(joining, queued)
        return self._new_face(room, session)

    async def _step_aside(self, old: Face, by: float) -> None:
        """Make room for the next session: the voice goes on alone from the next silence on."""
        if self._presence is not Presence.PRESENT:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(by)):
                await self._quiet.wait()
        self._presence = Presence.AWAY
        self._give_up()
        await self._retire(old.session)

    async def _hand_over(self, old: Face, new: Face, by: float) -> None:
        """Have the new face say what the old one has not begun, and, at the latest, its rest."""
        self._face = new
        self._presence = Presence.PRESENT
        for utterance in self.ledger:
            if utterance.speaker is old and utterance is not self.ledger.head:
                utterance.speaker, utterance.sent = None, 0
        self.spoke()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(by)):
                await self._done_with(old)
        head = self.ledger.head
        if head is not None and head.speaker is old:
            self._divide(head)
            await self._done_with(old)
        self._shown = new
        await old.aclose()
        self._retire(old.session)

    def _divide(self, head: Utterance) -> None:
        """Have the face of the hour say the rest of an utterance that another one is saying."""
        at = min(head.heard + AHEAD, head.samples)
        rest = self.ledger.split(head, at)
        rest.sent, rest.speaker = 0, None
        self.spoke()

    async def _done_with(self, face: Face) -> None:
        """Wait until nothing is owed by a face any more."""
        while any(utterance.speaker is face for utterance in self.ledger):
            self._moved.clear()
            await self._moved.wait()

    def _lose(self, error: RunwayError) -> None:
        """Go on without a face."""
        if self._presence is Presence.GONE:
            return
        was, self._presence = self._presence, Presence.GONE
        self._settled.set()
        self._audience.failed(error)
        self._give_up()
        if was is Presence.PRESENT:
            self._audience.disconnected(self.session_id, type(error).__name__)
        self._release()

    def _release(self) -> asyncio.Task[None]:
        """End the session and leave the room, once: the one place where both end."""
        if self._releasing is None:
            self._releasing = asyncio.create_task(self._unwind())
        return self._releasing

    async def _unwind(self) -> None:
        await asyncio.gather(*(session.end() for session in self._sessions.values()))
        if self._room is not None:
            await self._room.close()

    # -- speech -------------------------------------------------------------------------------

    def spoke(self) -> None:
        """Note that the ledger has changed."""
        while (head := self.ledger.head) is not None and head.closed and not head.samples:
            # The TTS made no sound: there is nothing to wait for.
            self._audience.release(self.ledger.start(head) + self.ledger.finish(head))
        self._work.set()
        self._moved.set()
        if len(self.ledger):
            self._quiet.clear()
        else:
            self._quiet.set()

    def interrupt(self) -> list[Any]:
        """Cut all speech that may be interrupted, at once.

        Returns:
            Held items that survived and wait for nothing any more.
        """
        cut = self.ledger.interrupt()
        for face in {self._face, self._shown} - {None}:
            assert face is not None
            face.cut([utterance for utterance in cut.utterances if utterance.speaker is face])
        self.spoke()
        return cut.released

    async def _send_speech(self) -> None:
        await self._settled.wait()
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                while (job := self._next_speech()) is not None:
                    await job.speaker.say(job)
                for face in self._faces():
                    await face.hang_up()
            except RoomError as e:
                self._lose(e)

    def _faces(self) -> list[Face]:
        """Return whoever speaks, or is about to."""
        if self._presence is not Presence.PRESENT:
            return []
        return [face for face in dict.fromkeys((self._shown, self._face)) if face is not None]

    def _holder(self) -> Face | None:
        """Return whose turn it is to be heard."""
        if self._presence is not Presence.PRESENT:
            return None
        head = self.ledger.head
        return head.speaker if head is not None and head.speaker is not None else self._face

    def _next_speech(self) -> Utterance | None:
        """Return the utterance whose turn it is to be sent, if anything of it can be."""
        head, holder = self.ledger.head, self._holder()
        if holder is None:
            return None
        owed = 0.0
        for utterance in self.ledger:
            # What an interruption would treat differently is not sent ahead: the avatar can only
            # be cleared of everything it holds.
            if head is not None and utterance.keep != head.keep:
                return None
            face = utterance.speaker or self._face
            assert isinstance(face, Face)
            if face is not holder and owed > AHEAD_OF_TURN:
                return None
            if utterance.unsent or (face.has_open(utterance) and utterance.closed):
                utterance.speaker = face
                return utterance
            if not utterance.closed:
                return None
            owed += utterance.owed
        return None

    def _give_up(self) -> None:
        """Let everything held go on by voice."""
        self._audience.release(self.ledger.give_up())
        self._quiet.set()

    async def _mind_bounds(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            for utterance in list(self.ledger):
                if not utterance.closed and now - utterance.fed_at > OPEN_BOUND:
                    logger.debug("the TTS did not finish an utterance; it is taken as finished")
                    # Without its tail: those few milliseconds would sound far too late by now.
                    self.ledger.close(utterance)
                    self.spoke()
            if self._presence is Presence.COMING and self.ledger.owed > WAITING_BOUND:
                logger.warning(f"{WAITING_BOUND:g} s of speech wait for the avatar; voice goes on")
                self._give_up()
            if (face := self._holder()) is not None:
                self._perform(face, face.look())

    # -- what is heard ------------------------------------------------------------------------

    def _perform(self, face: Face, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case hearing.Started(utterance):
                    face.started()
                    self._audience.release(self.ledger.start(utterance))
                    self._audience.heard(utterance)
                case hearing.Sound(utterance, pcm, heard):
                    if pcm:
                        self._audience.sound(utterance, pcm)
                    self._audience.release(self.ledger.advance(utterance, heard))
                case hearing.Finished(utterance, lost):
                    if lost > wire.SPEECH_RATE // 10:
                        logger.warning(f"{lost / wire.SPEECH_RATE:.2f} s of speech never came back")
                    self._audience.release(self.ledger.finish(utterance))
                    for each in self._faces():
                        each.finished()
                    self.spoke()
                case Repeat():
                    self.spoke()
                case Mute():
                    self._audience.failed(
                        ProtocolError(
                            f"the avatar did not speak within {ONSET_BOUND:g} s",
                            session_id=self.session_id,
                            advice="The speech goes on by voice.",
                        )
                    )
                    owed = list(self.ledger)
                    self._give_up()
                    face.cut(owed)
                case hearing.StillSpeaking():
                    self._audience.failed(
                        ProtocolError(
                            "the avatar goes on speaking after lk.clear_buffer",
                            session_id=self.session_id,
                            advice="Its old speech is kept from the user, new speech has to wait.",
                        )
                    )

    # -- what the room tells (room.Listener) ----------------------------------------------------

    def avatar_joined(self, identity: str) -> None:  # noqa: D102 - see room.Listener
        if (session := self._sessions.get(identity)) is not None:
            session.joined()

    def avatar_reachable(self, identity: str) -> None:  # noqa: D102
        if (session := self._sessions.get(identity)) is not None:
            session.reachable()

    def avatar_left(self, identity: str, reason: str) -> None:  # noqa: D102
        if (session := self._sessions.get(identity)) is None:
            return
        session.left()
        if self._ending is not None or identity not in [face.identity for face in self._faces()]:
            return
        session.lost()
        if self._face is not None and self._face.identity != identity:
            self._take_over()
            return
        self._lose(
            AvatarGoneError(f"the avatar left the room ({reason})", session_id=session.session_id)
        )

    def _take_over(self) -> None:
        """Have the new face say all that the old one, which is gone, still owed."""
        for utterance in list(self.ledger):
            if utterance.speaker in (None, self._face):
                continue
            if utterance.stage is Stage.SOUNDING:
                self.ledger.split(utterance, utterance.heard)
                self._audience.release(self.ledger.finish(utterance))
            else:
                utterance.speaker, utterance.sent = None, 0
        self.spoke()

    def sound(self, identity: str, pcm: bytes) -> None:  # noqa: D102
        holder = self._holder()
        if holder is not None and holder.identity == identity:
            for piece in (*holder.take_early(), pcm):
                self._perform(holder, holder.sound(piece))
            if len(self._faces()) > 1:
                self._work.set()  # the next speaker has to begin in time
            return
        for face in self._faces():
            if face.identity == identity and any(u.speaker is face for u in self.ledger):
                face.early(pcm)

    async def picture(self, identity: str, frame: rtc.VideoFrame) -> None:  # noqa: D102
        if (session := self._sessions.get(identity)) is None:
            return
        session.pictured()
        if self._shown is None or self._shown.identity == identity:
            await self._audience.picture(frame)

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:  # noqa: D102
        holder = self._holder()
        if holder is not None and holder.identity == identity and not report.interrupted:
            holder.end_reported()

    def room_lost(self, reason: str) -> None:  # noqa: D102
        for session in self._sessions.values():
            session.left()
            session.lost()
        self._lose(
            RoomLostError(f"the LiveKit room was lost ({reason})", session_id=self.session_id)
        )


def _loop_time(at: float) -> float:
    """Return an instant of `time.monotonic()` on the event loop's clock."""
    return asyncio.get_running_loop().time() + at - time.monotonic()


async def _cancelled(*tasks: asyncio.Task[Any] | None) -> None:
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
