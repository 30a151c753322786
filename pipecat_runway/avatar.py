"""What a bot says through its face: speech, barge-in and end.

:class:`Avatar` owns the ledger and the tasks that move speech; it is begun once and ended once.
What is said lives in the :class:`~pipecat_runway.playback.Ledger`, who says it is the matter of
:class:`~pipecat_runway.faces.Faces`, and what is heard is decided by
:class:`~pipecat_runway.hearing.Hearing`; this module performs what they decide.
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from loguru import logger

from pipecat_runway import hearing, wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.audience import Audience
from pipecat_runway.errors import (
    AvatarStalledError,
    ProtocolError,
    RoomError,
    RoomLostError,
    RunwayError,
)
from pipecat_runway.face import Effect, Face, Mute, Repeat
from pipecat_runway.faces import Faces, cancelled
from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.reception import Watched
from pipecat_runway.renewal import Presence
from pipecat_runway.sessions import AvatarOptions
from pipecat_runway.sizes import Picture

OPEN_BOUND = 3.0  # s without speech for an utterance that the TTS never finishes
WAITING_BOUND = 60.0  # s of speech that wait for the avatar
TICK = 0.05  # s between looks at these bounds
LATE = 0.15  # s; after a look as late as that, what has arrived has to be taken first
METER_EVERY = 10.0  # s between reports of what is used
DRAIN_SLACK = 2.0  # s beyond the speech owed
MISSED = wire.SPEECH_RATE // 5  # samples that are missing at an end before the voice says them
HANDING_BOUND = 0.01  # s: even frames of 10 ms come in real time
AHEAD_OF_TURN = 0.12  # s before its turn a face is given its speech: what it needs to begin


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
        self._faces = Faces(
            api, options, self.ledger, audience=audience, speaker=self, listener=self
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.Task[None] | None = None
        self._silences = 0  # utterances in a row that were not spoken to their end
        self._voice_until = 0.0  # until then the voice is still being heard
        self._work = asyncio.Event()
        self._handed_at = 0.0  # when a frame of speech last came to be sent

    @property
    def presence(self) -> Presence:
        """Whether there is a face."""
        return self._faces.presence

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session that speaks, or is to; None before it exists."""
        return self._faces.session_id

    @property
    def watched(self) -> Watched:
        """What has been seen so far of the face that is shown."""
        return self._faces.shown.watched if self._faces.shown else Watched()

    # -- beginning and end --------------------------------------------------------------------

    def begin(self) -> None:
        """Provision the avatar in the background. Does nothing the second time."""
        if self.presence is Presence.ABSENT and self._ending is None:
            self._faces.presence = Presence.COMING
            self._tasks = [
                asyncio.create_task(self._faces.run()),
                asyncio.create_task(self._send_speech()),
                asyncio.create_task(self._mind_bounds()),
            ]
            for task in self._tasks:
                task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        """Tell of a mistake of ours, instead of going silent."""
        if not task.cancelled() and (e := task.exception()) is not None:
            logger.opt(exception=e).debug("the avatar's task failed")
            self._faces.lose(
                RunwayError(f"internal error, {type(e).__name__}", advice="Please report it.")
            )

    async def settled(self) -> bool:
        """Wait until the avatar asked for is there or has failed; return whether there is one."""
        await self._faces.settled.wait()
        return self.presence is Presence.PRESENT

    async def drain(self) -> None:
        """Wait until everything owed has been heard; bounded."""
        for utterance in list(self.ledger):
            if not utterance.closed:
                self.ledger.close(utterance, self._audience.tail(utterance))
        self.spoke()
        waited = time.monotonic() - self._faces.began_at
        ready = max(0.0, self._options.ready_timeout - waited)
        bound = self.ledger.owed + DRAIN_SLACK
        bound += ready if self.presence is Presence.COMING else 0.0
        try:
            await asyncio.wait_for(self._faces.quiet.wait(), bound)
        except TimeoutError:
            logger.warning(f"{self.ledger.owed:.1f} s of speech were not heard in time")
            self.give_up()

    async def end(self) -> None:
        """End session, room and tasks. Safe at any time and more than once; bounded.

        It goes on if the caller is cancelled.
        """
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        self._faces.presence, was = Presence.GONE, self._faces.presence
        await cancelled(*self._tasks)
        await self._faces.end(was)
        await self._api.close()
        self.give_up()

    def change(self, character: dict[str, str]) -> None:
        """Have another character speak, from a silence soon.

        Args:
            character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        """
        self._faces.change(character)

    def stir(self) -> None:
        """Note that somebody speaks: a face that was parked comes back."""
        self._faces.stir()

    # -- speech -------------------------------------------------------------------------------

    def spoke(self) -> None:
        """Note that the ledger has changed."""
        if len(self.ledger):
            self.stir()
        while (head := self.ledger.head) is not None and head.closed and not head.samples:
            # The TTS made no sound: there is nothing to wait for.
            self._audience.release(self.ledger.start(head) + self.ledger.finish(head))
        self._work.set()
        self._faces.moved.set()
        if len(self.ledger):
            self._faces.quiet.clear()
        else:
            self._faces.quiet.set()

    async def handed(self) -> None:
        """Wait until LiveKit has been given what there is of the speech whose turn it is; bounded.

        That is answered in a thread of LiveKit's. While one frame follows another without a rest,
        it gets Python's lock after :func:`sys.getswitchinterval` only, which is 5 ms. After a rest
        nothing is waited for.
        """
        before, self._handed_at = self._handed_at, time.monotonic()
        await asyncio.sleep(0)  # what there is comes to be sent
        if self._handed_at - before > sys.getswitchinterval():
            return
        holder = self._faces.holder()
        if holder is not None and not holder.handed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HANDING_BOUND):
                    while not holder.handed.is_set():
                        await holder.handed.wait()

    def voiced(self, seconds: float) -> None:
        """Note that so much speech was passed on without the avatar."""
        self._voice_until = max(time.monotonic(), self._voice_until) + seconds
        self.stir()

    def interrupt(self) -> list[Any]:
        """Cut all speech that may be interrupted, at once.

        Returns:
            Held items that survived and wait for nothing any more.
        """
        cut = self.ledger.interrupt()
        self._voice_until = 0.0
        for face in self._faces.all():
            face.cut([utterance for utterance in cut.utterances if utterance.speaker is face])
        self.spoke()
        return cut.released

    async def _send_speech(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while (job := self._next_speech()) is not None:
                await self._perform_on(job.speaker, job.speaker.say(job))
            for face in self._faces.present():
                await self._perform_on(face, face.hang_up())

    async def _perform_on(self, face: Face, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except RoomError as e:
            self._faces.fall(e, face, keep=True)

    def _next_speech(self) -> Utterance | None:
        """Return the utterance whose turn it is to be sent, if anything of it can be."""
        head, holder = self.ledger.head, self._faces.holder()
        if holder is None or time.monotonic() < self._voice_until - AHEAD_OF_TURN:
            return None
        owed = 0.0
        for utterance in self.ledger:
            # What an interruption would treat differently is not sent ahead: the avatar can only
            # be cleared of everything it holds.
            if head is not None and utterance.keep != head.keep:
                return None
            face = utterance.speaker or self._faces.current
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

    def give_up(self) -> None:
        """Let everything held go on by voice, from where it was surely heard to."""
        head = self.ledger.head
        if head is not None and head.stage is Stage.SOUNDING and head.speaker is not None:
            self.ledger.rewind(head, head.speaker.sure(head))
        self._audience.release(self.ledger.give_up())
        self._faces.moved.set()
        self._faces.quiet.set()

    async def _mind_bounds(self) -> None:
        now = metered = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            before, now = now, time.monotonic()
            if len(self.ledger) or now < self._voice_until:
                self.stir()
                if self._next_speech() is not None:  # the voice has ended, or a face is there
                    self._work.set()
            if now - metered > METER_EVERY:
                metered = now
                self._faces.sessions.meter()
            self._close_forgotten(now)
            if self.presence is Presence.COMING and self.ledger.owed > WAITING_BOUND:
                logger.warning(f"{WAITING_BOUND:g} s of speech wait for the avatar; voice goes on")
                self.give_up()
            if now - before > TICK + LATE:
                continue  # pictures and sounds are waiting to be taken
            for face in self._faces.present():
                if face.is_still():
                    error = AvatarStalledError(
                        "the avatar's picture has stopped", session_id=face.session.session_id
                    )
                    self._faces.fall(error, face, keep=True)
            if (holder := self._faces.holder()) is not None:
                self._perform(holder, holder.look())

    def _close_forgotten(self, now: float) -> None:
        for utterance in list(self.ledger):
            if not utterance.closed and now - utterance.fed_at > OPEN_BOUND:
                logger.debug("the TTS did not finish an utterance; it is taken as finished")
                # Without its tail: those few milliseconds would sound far too late by now.
                self.ledger.close(utterance)
                self.spoke()

    # -- what is heard ------------------------------------------------------------------------

    def _perform(self, face: Face, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case hearing.Started(utterance):
                    face.started(utterance)
                    self._audience.release(self.ledger.start(utterance))
                    self._audience.heard(utterance)
                case hearing.Sound(utterance, pcm, heard):
                    if pcm:
                        self._audience.sound(utterance, pcm)
                    self._audience.release(self.ledger.advance(utterance, heard))
                case hearing.Finished(utterance, lost):
                    if lost > MISSED:
                        self._speak_up(face, lost)
                        return
                    self._silences = 0
                    self._audience.release(self.ledger.finish(utterance))
                    for each in self._faces.present():
                        each.finished()
                    self.spoke()
                case Repeat():
                    self.spoke()
                case Mute():
                    self._speak_up(face, 0)
                case hearing.StillSpeaking():
                    self._audience.failed(
                        ProtocolError(
                            "the avatar goes on speaking after lk.clear_buffer",
                            session_id=self.session_id,
                            advice="Its old speech is kept from the user, new speech has to wait.",
                        )
                    )

    def _speak_up(self, face: Face, lost: int) -> None:
        """Let the voice say what the avatar was given and does not say."""
        message = "the avatar does not speak"
        if lost:
            message = f"the avatar left out {lost / wire.SPEECH_RATE:.1f} s of its speech"
        error = AvatarStalledError(message, session_id=face.session.session_id)
        self._silences += 1
        if self._silences > 1:  # the first one was told of, and it was given another chance
            self._silences = 0
            self._faces.fall(error, face, keep=False, told=True)
            return
        self._audience.failed(error)
        owed = list(self.ledger)
        self.give_up()
        face.cut(owed)

    # -- what the room tells (room.Listener) ----------------------------------------------------

    def avatar_joined(self, identity: str) -> None:  # noqa: D102 - see room.Listener
        self._faces.joined(identity)

    def avatar_reachable(self, identity: str) -> None:  # noqa: D102
        self._faces.reachable(identity)

    def avatar_left(self, identity: str, reason: str) -> None:  # noqa: D102
        self._faces.left(identity, reason)

    def sound(self, identity: str, pcm: bytes) -> None:  # noqa: D102
        holder = self._faces.holder()
        if holder is not None and holder.identity == identity:
            for piece in (*holder.take_early(), pcm):
                self._perform(holder, holder.sound(piece))
            if len(self._faces.present()) > 1:
                self._work.set()  # the next speaker has to begin in time
            return
        for face in self._faces.present():
            if face.identity == identity and any(u.speaker is face for u in self.ledger):
                face.early(pcm)

    def seen(self, identity: str) -> None:  # noqa: D102
        self._faces.seen(identity)

    async def picture(self, identity: str, picture: Picture) -> None:  # noqa: D102
        if self._faces.shows(identity):
            await self._audience.picture(picture)

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:  # noqa: D102
        holder = self._faces.holder()
        if holder is not None and holder.identity == identity and not report.interrupted:
            holder.end_reported()

    def room_lost(self, reason: str) -> None:  # noqa: D102
        self._faces.disconnected(
            RoomLostError(f"the LiveKit room was lost ({reason})", session_id=self.session_id)
        )
