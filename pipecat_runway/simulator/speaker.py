"""The avatar's voice: speech in real time, by an absolute clock, and what the mouth needs of it."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from pipecat_runway.simulator.faults import Faults, Voice
from pipecat_runway.simulator.playout import RATE, Cues, Line, Piece, Samples, Speech

STEP = 0.02  # what is handed to the audio source at a time; one Opus frame
STEP_SAMPLES = round(STEP * RATE)
# How far ahead of its leaving sound is handed over: what a busy machine may stall this loop by
# before it can be heard. A picture, too, is painted from sound that is known already.
LEAD = 0.05
QUEUE_MS = 200  # of the audio source; not reached while it speaks, so handing over never waits
TICK = 0.01  # s; as much of it, and as often, LiveKit's source takes out of its queue
HANDING = 0.002  # s it takes to get a step there
TRIES = 10  # to find out when exactly that is
BLOCKS = 4  # loudness is kept in quarters of a step
BLOCK = STEP / BLOCKS
PLAYING_EVERY = round(0.2 * RATE)
CARRIER = 3650.0  # Hz, of the scrambled voice


@dataclass(frozen=True)
class Heard:
    """How the voice sounds over some span of time."""

    level: float  # root mean square, 1.0 is full scale
    brightness: float  # zero crossings a second


SILENCE = Heard(0.0, 0.0)


@dataclass
class _Playback:
    """What has been, and will be, told about one speech."""

    next_report: int = 0
    end_told: bool = False
    timers: list[asyncio.TimerHandle] = field(default_factory=list)


class Speaker:
    """Plays what is in the line through an audio source.

    The clock is absolute: step after step is due at a multiple of :data:`STEP` after the start.
    Only a stall longer than :data:`LEAD`, in which nothing could sound, begins it anew. It is the
    clock of LiveKit's source as well, so that the mouth moves when the sound really leaves.

    Args:
        line: What to say.
        source: Where to; None plays to nobody, in the same time.
        faults: For the knobs of the sound and of its end.
        cues: What is to happen once so much has been said.
        on_started: Called when a speech's first sample leaves.
        on_finished: Called when a speech's last sample has left, or is said to have.
        on_playing: Called with a speech, how many of its samples went before, and when the next
            one leaves: at its first sample and about five times a second.

    Attributes:
        faults: The knobs; they may be turned meanwhile.
    """

    def __init__(
        self,
        line: Line,
        source: rtc.AudioSource | None,
        faults: Faults,
        cues: Cues,
        *,
        on_started: Callable[[Speech], None],
        on_finished: Callable[[Speech], None],
        on_playing: Callable[[Speech, int, float], None],
    ) -> None:
        self._line = line
        self._source = source
        self.faults = faults
        self._cues = cues
        self._on_started = on_started
        self._on_finished = on_finished
        self._on_playing = on_playing
        self._random = np.random.default_rng()
        self._phase = 0  # of the carrier, in samples
        self._end = 0.0  # when the last sample handed over will have left
        self._leaving: deque[tuple[float, Piece]] = deque()  # (when, what): handed over, not gone
        self._playbacks: WeakKeyDictionary[Speech, _Playback] = WeakKeyDictionary()
        kept = LEAD + 2 * STEP + abs(faults.picture_delay) + 2.0 / faults.fps
        self._loudness: deque[tuple[float, float, float]] = deque(maxlen=round(kept / BLOCK))

    async def run(self) -> None:
        """Play until cancelled."""
        tick = await self._find_tick()
        while True:
            await self._begin(tick)
            while await self._play_in_time():
                pass

    async def clear(self, keep: float = 0.0) -> float | None:
        """Fall silent, but for the next `keep` seconds.

        Returns:
            The seconds heard of what was being said, or None if there was nothing to fall
            silent about.
        """
        now = time.monotonic()
        self._forget_what_left(now)
        ahead = max(0.0, self._end - now)
        leaving = [(at, piece) for at, piece in self._leaving if piece.speech]
        dropped = self._line.clear(max(0.0, keep - ahead))
        sounding = [piece.speech for _, piece in leaving if piece.speech]
        speeches = list(dict.fromkeys(sounding + dropped))
        for speech in speeches:
            self._never_tell(speech)
        if not keep:
            await self._fall_silent(now)
        if not speeches:
            return None
        first = speeches[0]
        unheard = sum(
            min(len(piece.samples) / RATE, at + len(piece.samples) / RATE - now)
            for at, piece in leaving
            if piece.speech is first
        )
        return max(0.0, first.taken / RATE - unheard)

    def heard(self, start: float, duration: float) -> Heard:
        """Tell how the sound that leaves in this span of time sounds."""
        blocks = [
            (power, crossings)
            for at, power, crossings in self._loudness
            if start - BLOCK / 2 <= at < start + duration - BLOCK / 2
        ]
        total = sum(power for power, _ in blocks)
        if not total:
            return SILENCE
        brightness = sum(power * crossings for power, crossings in blocks) / total
        return Heard((total / len(blocks)) ** 0.5, brightness)

    async def _play_in_time(self) -> bool:
        """Play a step :data:`LEAD` ahead; False if it was late, and nothing is left to be taken."""
        leaves_at = self._end
        await asyncio.sleep(leaves_at - LEAD - time.monotonic())
        if time.monotonic() + HANDING > leaves_at:
            return False
        await self._play_step(leaves_at)
        if time.monotonic() > leaves_at:  # nobody knows when it was there
            await asyncio.sleep(STEP + TICK)
            return False
        return True

    async def _play_step(self, leaves_at: float) -> None:
        pieces = self._line.take(STEP_SAMPLES, leaves_at - LEAD)
        at = leaves_at
        for piece in pieces:
            if piece.speech is not None:
                self._follow(piece.speech, len(piece.samples), at)
            if len(piece.samples):
                self._leaving.append((at, piece))
                at += len(piece.samples) / RATE
        self._end = at
        self._forget_what_left(time.monotonic())
        voice = np.concatenate([piece.samples for piece in pieces])
        if self.faults.gain != 1.0:
            voice = _limited(voice * self.faults.gain)
        self._listen(voice, leaves_at)
        await self._hand_over(self._altered(voice))

    def _altered(self, voice: Samples) -> Samples:
        """The voice as these knobs make it."""
        if self.faults.muted:
            return np.zeros_like(voice)
        if self.faults.voice is Voice.SCRAMBLED:
            times = np.arange(self._phase, self._phase + len(voice)) / RATE
            self._phase += len(voice)
            voice = _limited(voice * np.sqrt(2.0) * np.cos(2 * np.pi * CARRIER * times))
        return voice

    async def _hand_over(self, voice: Samples) -> None:
        if self._source is None:
            return
        if floor := self.faults.noise_floor:
            noise = self._random.integers(-floor, floor, len(voice), endpoint=True)
            voice = _limited(voice + noise)
        await self._source.capture_frame(rtc.AudioFrame(voice.tobytes(), RATE, 1, len(voice)))

    async def _begin(self, tick: float) -> None:
        """Hand over silence for :data:`LEAD` while nothing is left, between two ticks."""
        for _ in range(TRIES):
            start = tick + math.ceil((time.monotonic() - tick) / TICK) * TICK
            self._end = start + LEAD
            await self._hand_over(_silence(LEAD))
            if self._source is None or time.monotonic() < start:
                break
            self._source.clear_queue()  # some of it may have left: begin again

    async def _find_tick(self) -> float:
        """Find out when the source takes sound: so long, in multiples of :data:`TICK`, after this.

        It tells so of sound that was more than it holds. On a busy machine that is heard late.
        """
        if self._source is None:
            return time.monotonic()
        seen = []
        for _ in range(TRIES):
            await self._hand_over(_silence(QUEUE_MS / 1000 + TICK))
            seen.append(time.monotonic())
            self._source.clear_queue()
        return min(seen, key=lambda at: sum((other - at) % TICK for other in seen))

    async def _fall_silent(self, now: float) -> None:
        self._leaving.clear()
        while self._loudness and self._loudness[-1][0] >= now:
            self._loudness.pop()
        if self._source is not None:
            self._source.clear_queue()
        # The clock goes on: what was taken back out of the queue is silence now.
        ahead = max(0.0, self._end - time.monotonic())
        await self._hand_over(_silence(int(ahead / TICK) * TICK))

    def _follow(self, speech: Speech, count: int, leaves_at: float) -> None:
        playback = self._playbacks.setdefault(speech, _Playback())
        before = speech.taken - count
        loop = asyncio.get_running_loop()
        for delay, call in self._cues.said(count):
            loop.call_later(leaves_at + delay - time.monotonic(), call)
        if count and before == 0:
            self._tell_at(leaves_at, self._on_started, speech)
        if count and before >= playback.next_report:
            playback.next_report = before + PLAYING_EVERY
            self._on_playing(speech, before, leaves_at)
        if speech.closed and not playback.end_told:
            ends = leaves_at + (count + speech.waiting) / RATE
            told = ends + self.faults.playback_finished_delay
            if speech.over or told <= time.monotonic() + STEP:
                playback.end_told = True
                self._tell_at(told, self._on_finished, speech)

    def _tell_at(self, at: float, tell: Callable[[Speech], None], speech: Speech) -> None:
        loop = asyncio.get_running_loop()  # its clock may have another zero than time.monotonic()
        timer = loop.call_later(at - time.monotonic(), tell, speech)
        self._playbacks[speech].timers.append(timer)

    def _never_tell(self, speech: Speech) -> None:
        playback = self._playbacks.setdefault(speech, _Playback())
        playback.end_told = True
        for timer in playback.timers:
            timer.cancel()

    def _listen(self, voice: Samples, leaves_at: float) -> None:
        blocks = voice.reshape(BLOCKS, -1).astype(np.float32) / 32768.0
        power = (blocks**2).mean(axis=1)
        crossings = (np.diff(np.signbit(blocks), axis=1).sum(axis=1)) / BLOCK
        for number in range(BLOCKS):
            at = leaves_at + number * BLOCK
            self._loudness.append((at, float(power[number]), float(crossings[number])))

    def _forget_what_left(self, now: float) -> None:
        while self._leaving:
            at, piece = self._leaving[0]
            if at + len(piece.samples) / RATE > now:
                break
            self._leaving.popleft()


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.int16)


def _limited(wave: NDArray[Any]) -> Samples:
    samples: Samples = np.clip(np.rint(wave), -32768, 32767).astype(np.int16)
    return samples
