"""One avatar in the room: what it is given to say, and what is heard of it.

:class:`Face` owns the byte stream to the avatar, the wait for its answer to `lk.clear_buffer`, and
the ear for its sound. Whose turn it is, and what happens when it fails, is decided by
:class:`~pipecat_runway.avatar.Avatar`.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from loguru import logger

from pipecat_runway import hearing, wire
from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.reception import Attention, Watched
from pipecat_runway.room import AvatarRoom, SpeechStream
from pipecat_runway.session import AvatarSession

PIECE = 7_500  # samples sent at once: as many as LiveKit's library puts into one packet
CLEAR_BOUND = 0.5  # s the next stream waits for the answer to lk.clear_buffer
CLEAR_BOUND_MUTE = 0.02  # s, once this avatar has left one unanswered
REPEAT_AFTER = 1.0  # s without onset, after an unanswered clear: the speech is sent once more
ONSET_BOUND = 3.0  # s without a first onset: the avatar does not speak
ONSET_SLACK = 0.7  # s beyond its slowest onset so far, for all that follow
EARLY_PIECES = 50  # 0.5 to 1 s that are kept at most before its turn
DEAF_BOUND = 0.7  # s without any sound from the track while an utterance sounds
SILENT = 0.3  # s without its voice: then a picture that stands still is no hiccup of the picture
BLIND_BOUND = 3.0  # s without a picture, whatever is heard
REST_AFTER = 0.5  # s without speech before sound is taken by larger pieces
STEADY = 0.3  # s of pictures before an avatar is taken as recovered


@dataclass(frozen=True)
class Repeat:
    """The head of the line has to be sent once more."""


@dataclass(frozen=True)
class Mute:
    """The avatar does not speak what it was given."""


Effect = hearing.Effect | Repeat | Mute


class Face:
    """An avatar that is there.

    Args:
        room: The room it is in.
        session: Its session.
        ledger: What is to be said; read, and told how much of it was sent.
        sample_rate: Rate of its sound in Hz.
        picture_timeout: How long its picture may stand still while it should speak, in s.
        on_sent: Called when the first sample of an utterance has been sent.

    Attributes:
        session: Its session.
        handed: Set unless LiveKit is being given something of its speech.
    """

    def __init__(
        self,
        *,
        room: AvatarRoom,
        session: AvatarSession,
        ledger: Ledger,
        sample_rate: int,
        picture_timeout: float,
        on_sent: Callable[[Utterance], None],
    ) -> None:
        self.session = session
        self.handed = asyncio.Event()
        self.handed.set()
        self._picture_timeout = picture_timeout
        self._room, self._ledger, self._on_sent = room, ledger, on_sent
        self._hearing = hearing.Hearing(ledger, sample_rate)
        self._stream: SpeechStream | None = None
        self._streamed: Utterance | None = None
        self._gate: asyncio.Task[bool] | None = None
        self._clear_bound = CLEAR_BOUND
        self._doubtful: Utterance | None = None  # sent after a clear that nobody answered
        self._slowest: float | None = None  # s, of its onsets
        self._sent_at = 0.0
        self._sound_at = 0.0
        self._seen_at = self._steady_since = time.monotonic()
        self._early: list[bytes] = []
        self._dropped: list[Utterance] = []  # cut last

    @property
    def identity(self) -> str:
        """The avatar's identity in the room."""
        return self.session.identity

    @property
    def watched(self) -> Watched:
        """What has been seen of it so far."""
        return self._room.watched(self.identity)

    # -- to the avatar ------------------------------------------------------------------------

    def has_open(self, utterance: Utterance) -> bool:
        """Whether this utterance's stream is open."""
        return utterance is self._streamed

    async def say(self, utterance: Utterance) -> None:
        """Send what there is of an utterance, and its end if the TTS has finished it.

        Raises:
            RoomError: If it cannot be sent.
        """
        if utterance is not self._streamed:
            self._expect()
            await self._close_stream()
            confirmed = await self._pass_gate()
            if utterance.over:
                return
            with self._handing():
                self._stream = await self._room.open_speech(self.session.identity)
            self._streamed = utterance
            if utterance.over:
                return
            self._sent_at = time.monotonic()
            self._doubtful = None if confirmed else utterance
            self._on_sent(utterance)
        assert self._stream is not None
        # By the piece, so that the rest of a burst is not in the way of an lk.clear_buffer.
        while utterance.unsent and utterance is self._streamed and not utterance.over:
            start = utterance.sent
            utterance.sent = min(start + PIECE, utterance.samples)
            with self._handing():
                await self._stream.write(utterance.speech(start, utterance.sent))
        if utterance.closed and not utterance.unsent and utterance is self._streamed:
            await self._close_stream()

    @contextmanager
    def _handing(self) -> Iterator[None]:
        self.handed.clear()
        try:
            yield
        finally:
            self.handed.set()

    async def hang_up(self) -> None:
        """Close the stream of an utterance that is over.

        Raises:
            RoomError: If it is broken.
        """
        if self._streamed is not None and self._streamed.over:
            await self._close_stream()

    def cut(self, utterances: Sequence[Utterance]) -> None:
        """Have the avatar drop these utterances; what still comes back of them is old speech."""
        self._early.clear()
        self._dropped = list(utterances) or self._dropped
        self._hearing.interrupted(utterances, time.monotonic())
        self._expect()
        if any(utterance.sent for utterance in utterances):
            self._doubtful = None
            self._gate = asyncio.create_task(self._clear(self._gate))

    def recover(self) -> None:
        """Go on after it had failed: what it was saying then may still come, and is old speech."""
        self.cut(self._dropped)

    async def aclose(self) -> None:
        """Wait for nothing any more."""
        if self._gate is not None:
            self._gate.cancel()
            await asyncio.wait({self._gate})

    async def _clear(self, before: asyncio.Task[bool] | None) -> bool:
        """Have the avatar drop what it holds; return whether it confirmed."""
        if before is not None and not before.done():
            before.cancel()
        confirmed = await self._room.clear_buffer(self.session.identity, self._clear_bound)
        self._clear_bound = CLEAR_BOUND if confirmed else CLEAR_BOUND_MUTE
        if confirmed:
            self._hearing.cleared(time.monotonic())
        return confirmed

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

    # -- from the avatar ----------------------------------------------------------------------

    def sound(self, pcm: bytes) -> list[hearing.Effect]:
        """Take a piece of its sound, see :meth:`~pipecat_runway.hearing.Hearing.feed`."""
        self._sound_at = time.monotonic()
        return self._hearing.feed(pcm, self._sound_at)

    def early(self, pcm: bytes) -> None:
        """Keep a piece of its sound that belongs behind what another one is still saying."""
        self._early.append(pcm)
        del self._early[:-EARLY_PIECES]

    def take_early(self) -> list[bytes]:
        """Return what came early, once."""
        early, self._early = self._early, []
        return early

    def end_reported(self) -> None:
        """Note that it has reported the end of its playback."""
        self._hearing.end_reported()

    def started(self, utterance: Utterance) -> None:
        """Note that the first sound of the head of the line has come back."""
        self._room.attend(self.identity, Attention.SPEAKING)
        self._doubtful = None
        onset = time.monotonic() - self._sent_at - self._hearing.lead(utterance) / wire.SPEECH_RATE
        self._slowest = max(self._slowest or 0.0, onset)

    def _expect(self) -> None:
        """Be ready for the beginning of speech, unless some is on its way already."""
        head = self._ledger.head
        if head is None or (head.stage is not Stage.SOUNDING and not head.sent):
            wary = self._hearing.is_wary
            self._room.attend(self.identity, Attention.WARY if wary else Attention.EXPECTANT)

    def seen(self) -> None:
        """Note that a picture of it has arrived."""
        now = time.monotonic()
        if now - self._seen_at > self._picture_timeout:
            self._steady_since = now
        self._seen_at = now

    def is_still(self) -> bool:
        """Whether its picture has stopped: it is dead, frozen or cut off."""
        head, now = self._ledger.head, time.monotonic()
        unseen = now - self._seen_at
        owes = head is not None and head.speaker is self and head.heard < head.sent
        unheard = now - max(self._sent_at, self._hearing.voiced_at)
        return unseen > BLIND_BOUND or (
            owes and unseen > self._picture_timeout and unheard > SILENT
        )

    def is_steady(self) -> bool:
        """Whether its pictures arrive, and have done so for a while."""
        now = time.monotonic()
        arrive = now - self._seen_at < self._picture_timeout
        return arrive and now - self._steady_since > STEADY

    def sure(self, utterance: Utterance) -> int:
        """Return how far an utterance that sounds has been heard beyond doubt, in samples."""
        return self._hearing.sure(utterance)

    def finished(self) -> None:
        """Note that the head of the line is over: the next one's onset is due from now on."""
        self._sent_at = max(self._sent_at, time.monotonic())

    def look(self) -> list[Effect]:
        """Return what its silence means by now."""
        head, now = self._ledger.head, time.monotonic()
        if head is None:
            spoke_at = max(self._sent_at, self._hearing.voiced_at)
            if now - spoke_at > REST_AFTER and not self._hearing.is_wary:
                self._room.attend(self.identity, Attention.IDLE)
            else:
                self._expect()
            return []
        if not head.sent:
            return []
        if head.stage is Stage.SOUNDING:
            if now - self._sound_at <= DEAF_BOUND:
                return []
            logger.warning("the avatar's sound has stopped arriving")
            return [hearing.Finished(head, head.samples - head.heard)]
        silent = now - max(self._sent_at, self._hearing.old_heard_at)
        lead = self._hearing.lead(head)
        silent -= lead / wire.SPEECH_RATE
        if head.closed and not head.unsent and lead == head.sent:  # nothing of it can be heard
            return [hearing.Started(head), hearing.Finished(head, 0)] if silent > 0 else []
        if head is self._doubtful and silent > REPEAT_AFTER:
            logger.debug("no sound after an unanswered lk.clear_buffer; the speech is sent again")
            self._doubtful = None
            self._hearing.repeated(head, now)
            head.sent = 0
            self._streamed = None
            return [Repeat()]
        known = math.inf if self._slowest is None else self._slowest + ONSET_SLACK
        return [Mute()] if head is not self._doubtful and silent > min(ONSET_BOUND, known) else []
