"""What an avatar has been given to say, in order, and how much of it has been taken to be said.

No clock and no event loop in here: whoever takes the sound says what time it is.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

RATE = 48_000  # Opus' own rate; every stream is brought to it as it arrives
# Sound that starts, or starts again, waits until this much is there: TTS that comes at the pace
# of speech would otherwise stutter with every late packet.
HEAD_START = 0.06

Samples = NDArray[np.int16]


@dataclass(eq=False)
class Speech:
    """The speech of one byte stream, at :data:`RATE`, mono.

    Attributes:
        stream: The id of the byte stream.
        rate: The byte stream's own sample rate.
        closed: No more of it will come.
        taken: Samples taken so far.
    """

    stream: str
    rate: int = RATE
    closed: bool = False
    taken: int = 0
    _waiting: int = 0
    _flowing: bool = False
    _pieces: deque[tuple[float, Samples]] = field(default_factory=deque)

    def push(self, samples: Samples, ready_at: float) -> None:
        """Add sound that may be taken from `ready_at` on; once closed it hears nothing more."""
        if len(samples) and not self.closed:
            self._pieces.append((ready_at, samples))
            self._waiting += len(samples)

    @property
    def waiting(self) -> int:
        """Samples not yet taken."""
        return self._waiting

    @property
    def over(self) -> bool:
        """Nothing is left and nothing will come."""
        return self.closed and not self._waiting

    def take(self, count: int, now: float) -> Samples:
        """Take up to `count` samples, fewer or none when it runs dry."""
        if not self._flowing and not self._may_start(now):
            return np.empty(0, np.int16)
        taken: list[Samples] = []
        while count and self._pieces and self._pieces[0][0] <= now:
            ready_at, samples = self._pieces.popleft()
            taken.append(samples[:count])
            if len(samples) > count:
                self._pieces.appendleft((ready_at, samples[count:]))
            count -= len(taken[-1])
        self._flowing = count == 0
        result = np.concatenate(taken) if taken else np.empty(0, np.int16)
        self.taken += len(result)
        self._waiting -= len(result)
        return result

    def cut(self, keep: int) -> None:
        """Let go of all but the next `keep` samples, and take no more."""
        rest = [samples for _, samples in self._pieces]
        self._pieces.clear()
        self._waiting = 0
        self.closed = False
        for samples in rest:
            self.push(samples[: keep - self._waiting], ready_at=0.0)
        self.closed = True

    def _may_start(self, now: float) -> bool:
        if self.closed or self._waiting >= HEAD_START * RATE:
            return True
        return bool(self._pieces) and now >= self._pieces[0][0] + HEAD_START


@dataclass(frozen=True)
class Piece:
    """A run of samples to be played: of a speech, or silence."""

    samples: Samples
    speech: Speech | None


class Line:
    """The speeches that wait, one behind the other."""

    def __init__(self) -> None:
        self._speeches: deque[Speech] = deque()

    def open(self, stream: str) -> Speech:
        """Put a new speech at the end of the line."""
        speech = Speech(stream)
        self._speeches.append(speech)
        return speech

    def take(self, count: int, now: float) -> list[Piece]:
        """Take exactly `count` samples, silence where there is no speech.

        A speech that has come to its end is left out of the line; its last piece may be empty.
        """
        pieces: list[Piece] = []
        while self._speeches:
            speech = self._speeches[0]
            samples = speech.take(count, now)
            count -= len(samples)
            if len(samples) or speech.over:
                pieces.append(Piece(samples, speech))
            if not speech.over:
                break
            self._speeches.popleft()
        if count:
            pieces.append(Piece(np.zeros(count, np.int16), None))
        return pieces

    def clear(self, keep: float = 0.0) -> list[Speech]:
        """Drop everything but the next `keep` seconds; returns what was in the line."""
        speeches = list(self._speeches)
        room = round(keep * RATE)
        self._speeches.clear()
        for speech in speeches:
            speech.cut(room)
            room -= speech.waiting
            if speech.waiting:
                self._speeches.append(speech)
        return speeches


class Cues:
    """What is to happen once so much has been said."""

    def __init__(self) -> None:
        self._said = 0
        self._waiting: list[tuple[int, Callable[[], None]]] = []

    def add(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something called after so much more speech."""
        self._waiting.append((self._said + round(seconds * RATE), call))

    def said(self, count: int) -> list[tuple[float, Callable[[], None]]]:
        """Count speech; return what is to happen, and how many seconds after its first sample."""
        before, self._said = self._said, self._said + count
        due = [cue for cue in self._waiting if cue[0] < self._said]
        self._waiting = [cue for cue in self._waiting if cue[0] >= self._said]
        return [((at - before) / RATE, call) for at, call in due]
