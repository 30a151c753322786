"""The face a bot has: readiness, speech, barge-in and end, over one room and its session.

:class:`Avatar` owns the room, the session and the tasks that move speech; it is begun once and
ended once. What is said lives in the :class:`~pipecat_runway.playback.Ledger`, what is heard is
decided by :class:`~pipecat_runway.hearing.Hearing`; this module performs what they decide.
"""

import asyncio
import time
import uuid
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from livekit import rtc
from loguru import logger

from pipecat_runway import hearing, wire
from pipecat_runway.addresses import check_room_address
from pipecat_runway.api import RunwayAPI
from pipecat_runway.errors import (
    AvatarGoneError,
    ProtocolError,
    RoomError,
    RoomLostError,
    RunwayError,
)
from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.room import AvatarRoom, SpeechStream
from pipecat_runway.session import AvatarSession

CLEAR_BOUND = 0.5  # s the next stream waits for the answer to lk.clear_buffer
CLEAR_BOUND_MUTE = 0.03  # s, once this avatar has left one unanswered
REPEAT_AFTER = 1.0  # s without onset, after an unanswered clear: the speech is sent once more
ONSET_BOUND = 3.0  # s without onset: the speech goes on by voice
DEAF_BOUND = 1.5  # s without any sound from the track while an utterance sounds
OPEN_BOUND = 3.0  # s without speech for an utterance that the TTS never finishes
WAITING_BOUND = 60.0  # s of speech that wait for the avatar
TICK = 0.05  # s between looks at these bounds
DRAIN_SLACK = 2.0  # s beyond the speech owed


class Presence(Enum):
    """Whether there is a face."""

    ABSENT = auto()  # nothing was asked of Runway yet
    COMING = auto()  # it is being provisioned; speech waits
    PRESENT = auto()  # its picture has been seen
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
        ready_timeout: How long avatar and first picture are waited for, in s.
    """

    character: dict[str, str]
    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: str
    sample_rate: int
    max_duration: int | None
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
        self._hearing = hearing.Hearing(self.ledger, options.sample_rate)
        self._presence = Presence.ABSENT
        self._began_at = 0.0
        self._room: AvatarRoom | None = None
        self._session: AvatarSession | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._releasing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()  # PRESENT or GONE
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._stream: SpeechStream | None = None
        self._streamed: Utterance | None = None
        self._gate: asyncio.Task[bool] | None = None
        self._clear_bound = CLEAR_BOUND
        self._doubtful: Utterance | None = None  # sent after a clear that nobody answered
        self._sent_at = 0.0
        self._sound_at = 0.0

    @property
    def presence(self) -> Presence:
        """Whether there is a face."""
        return self._presence

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session; None before it exists."""
        return self._session.session_id if self._session else None

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
        await _cancelled(*self._tasks, self._gate)
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
        session = self._session = AvatarSession(
            api=self._api,
            room=room,
            avatar=options.character,
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            livekit_url=options.livekit_url,
            max_duration=options.max_duration,
            ready_timeout=options.ready_timeout,
        )
        failure: RunwayError | None = None
        try:
            check_room_address(options.livekit_url, self._api.host)
            await room.reserve()  # a wrong address or secret shows before anything is billed
            async with asyncio.TaskGroup() as group:
                group.create_task(room.connect())
                group.create_task(session.start())
        except* RunwayError as errors:
            failure = _first(errors)
        if failure is not None:
            self._lose(failure)
            return
        self._presence = Presence.PRESENT
        self._settled.set()
        self._audience.connected(session.session_id)
        self.spoke()

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
        if self._session is not None:
            await self._session.end()
        if self._room is not None:
            await self._room.close()

    # -- speech -------------------------------------------------------------------------------

    def spoke(self) -> None:
        """Note that the ledger has changed."""
        while (head := self.ledger.head) is not None and head.closed and not head.samples:
            # The TTS made no sound: there is nothing to wait for.
            self._audience.release(self.ledger.start(head) + self.ledger.finish(head))
        self._work.set()
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
        now = time.monotonic()
        self._hearing.interrupted(cut.utterances, now)
        if self._presence is Presence.PRESENT and any(u.sent for u in cut.utterances):
            self._doubtful = None
            self._gate = asyncio.create_task(self._clear(self._gate))
        self.spoke()
        return cut.released

    async def _clear(self, before: asyncio.Task[bool] | None) -> bool:
        """Have the avatar drop what it holds; return whether it confirmed."""
        assert self._room is not None
        assert self._session is not None
        if before is not None and not before.done():
            before.cancel()
        confirmed = await self._room.clear_buffer(self._session.identity, self._clear_bound)
        self._clear_bound = CLEAR_BOUND if confirmed else CLEAR_BOUND_MUTE
        if confirmed:
            self._hearing.cleared(time.monotonic())
        return confirmed

    async def _send_speech(self) -> None:
        await self._settled.wait()
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                while self._presence is Presence.PRESENT and (job := self._next_speech()):
                    await self._send(job)
                if self._streamed is not None and self._streamed.over:
                    await self._close_stream()
            except RoomError as e:
                self._lose(e)

    def _next_speech(self) -> Utterance | None:
        """Return the utterance whose turn it is to be sent, if anything of it can be."""
        head = self.ledger.head
        for utterance in self.ledger:
            # What an interruption would treat differently is not sent ahead: the avatar can only
            # be cleared of everything it holds.
            if head is not None and utterance.keep != head.keep:
                return None
            if utterance.unsent or (utterance is self._streamed and utterance.closed):
                return utterance
            if not utterance.closed:
                return None
        return None

    async def _send(self, utterance: Utterance) -> None:
        assert self._room is not None
        assert self._session is not None
        if utterance is not self._streamed:
            await self._close_stream()
            confirmed = await self._pass_gate()
            if utterance.over:
                return
            self._stream = await self._room.open_speech(self._session.identity)
            self._streamed = utterance
            if utterance.over:
                return
            self._sent_at = time.monotonic()
            self._doubtful = None if confirmed else utterance
            self._audience.sent(utterance)
        assert self._stream is not None
        start, utterance.sent = utterance.sent, utterance.samples
        if utterance.sent > start:
            await self._stream.write(utterance.speech(start, utterance.sent))
        if utterance.closed and not utterance.unsent and utterance is self._streamed:
            await self._close_stream()

    async def _pass_gate(self) -> bool:
        """Wait for the answer to the latest clear; return whether there was one."""
        confirmed = True
        while (gate := self._gate) is not None:
            await asyncio.wait({gate})
            if gate is self._gate:
                self._gate = None
                confirmed = not gate.cancelled() and gate.result()
        return confirmed

    async def _close_stream(self) -> None:
        stream, self._stream, self._streamed = self._stream, None, None
        if stream is not None:
            await stream.close()

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
            head = self.ledger.head
            if self._presence is Presence.PRESENT and head is not None and head.sent:
                self._mind_head(head, now)

    def _mind_head(self, head: Utterance, now: float) -> None:
        if head.stage is Stage.SOUNDING:
            if now - self._sound_at > DEAF_BOUND:
                logger.warning("the avatar's sound has stopped arriving")
                self._perform([hearing.Finished(head, head.samples - head.heard)])
            return
        silent = now - max(self._sent_at, self._hearing.old_heard_at)
        lead = self._hearing.lead(head)
        silent -= lead / wire.SPEECH_RATE
        if head.closed and not head.unsent and lead == head.sent:  # nothing of it can be heard
            if silent > 0:
                self._perform([hearing.Started(head), hearing.Finished(head, 0)])
        elif head is self._doubtful and silent > REPEAT_AFTER:
            logger.debug("no sound after an unanswered lk.clear_buffer; the speech is sent again")
            self._doubtful = None
            self._hearing.repeated(head, now)
            head.sent = 0
            self._streamed = None
            self.spoke()
        elif silent > ONSET_BOUND:
            self._audience.failed(
                ProtocolError(
                    f"the avatar did not speak within {ONSET_BOUND:g} s",
                    session_id=self.session_id,
                    advice="The speech goes on by voice.",
                )
            )
            self._hearing.interrupted(list(self.ledger), now)
            self._give_up()
            self._gate = asyncio.create_task(self._clear(self._gate))

    # -- what is heard ------------------------------------------------------------------------

    def _perform(self, effects: list[hearing.Effect]) -> None:
        for effect in effects:
            match effect:
                case hearing.Started(utterance):
                    self._doubtful = None
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
                    self._sent_at = max(self._sent_at, time.monotonic())
                    self.spoke()
                case hearing.StillSpeaking():
                    self._audience.failed(
                        ProtocolError(
                            "the avatar goes on speaking after lk.clear_buffer",
                            session_id=self.session_id,
                            advice="Its old speech is kept from the user, new speech has to wait.",
                        )
                    )

    # -- what the room tells (room.Listener) ----------------------------------------------------

    def _is_ours(self, identity: str) -> bool:
        return self._session is not None and identity == self._session.identity

    def avatar_joined(self, identity: str) -> None:  # noqa: D102 - see room.Listener
        if self._session is not None and self._is_ours(identity):
            self._session.joined()

    def avatar_reachable(self, identity: str) -> None:  # noqa: D102
        if self._session is not None and self._is_ours(identity):
            self._session.reachable()

    def avatar_left(self, identity: str, reason: str) -> None:  # noqa: D102
        if self._session is None or not self._is_ours(identity):
            return
        self._session.left()
        if self._presence is Presence.PRESENT and self._ending is None:
            self._session.lost()
            self._lose(
                AvatarGoneError(f"the avatar left the room ({reason})", session_id=self.session_id)
            )

    def sound(self, identity: str, pcm: bytes) -> None:  # noqa: D102
        if self._is_ours(identity) and self._presence is Presence.PRESENT:
            now = self._sound_at = time.monotonic()
            self._perform(self._hearing.feed(pcm, now))

    async def picture(self, identity: str, frame: rtc.VideoFrame) -> None:  # noqa: D102
        if self._session is not None and self._is_ours(identity):
            self._session.pictured()
            await self._audience.picture(frame)

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:  # noqa: D102
        if self._is_ours(identity) and not report.interrupted:
            self._hearing.end_reported()

    def room_lost(self, reason: str) -> None:  # noqa: D102
        if self._session is not None:
            self._session.left()
            self._session.lost()
        self._lose(
            RoomLostError(f"the LiveKit room was lost ({reason})", session_id=self.session_id)
        )


def _first(errors: BaseExceptionGroup[RunwayError]) -> RunwayError:
    """Return the cause of a failed start; what it cancelled has nothing to add."""
    for error in errors.exceptions:
        return error if isinstance(error, RunwayError) else _first(error)
    raise AssertionError("an empty group")


async def _cancelled(*tasks: asyncio.Task[Any] | None) -> None:
    running = [task for task in tasks if task is not None and not task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
