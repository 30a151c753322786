"""When somebody speaks, by the sound alone: a track sounds all the time, a bracket must not.

Nothing here does IO or knows the time: pieces of sound come in, and each stands for its length.
"""

from collections import deque
from dataclasses import dataclass, field
from enum import Enum, auto

from pipecat_runway.matching import loudness

QUIET_LEVEL = 40.0  # RMS in 16-bit steps: what is softer is silence (-58 dBFS)…
NOISE_FACTOR = 4.0  # …or softer than this many times the idle noise
NOISE_SHARE = 0.02  # of a new piece in the idle noise
PRE_ROLL = 0.08  # s passed on ahead of the first loud piece, for soft beginnings
SURE = 0.02  # s of loud sound; less is a click
PAUSE = 0.6  # s of silence after which an utterance is over
OLD_QUIET = 0.12  # s of silence after which nothing old follows an interruption…
OLD_BOUND = 1.0  # …or so many s, for one who speaks on


@dataclass(frozen=True)
class Began:
    """An utterance begins."""


@dataclass(frozen=True)
class Sound:
    """A piece of it.

    Attributes:
        pcm: s16le mono.
    """

    pcm: bytes = field(repr=False)


@dataclass(frozen=True)
class Ended:
    """It is over."""


class _State(Enum):
    SILENT = auto()
    SPEAKING = auto()
    CUT = auto()  # what sounds now is old


class Speaking:
    """Finds the utterances in a track.

    Args:
        rate: Its sample rate in Hz.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._state = _State.SILENT
        self._noise = 0.0
        self._loud = self._quiet = self._old = 0.0  # s
        self._before: deque[bytes] = deque()
        self._kept = 0.0  # s in it

    @property
    def is_on(self) -> bool:
        """Whether an utterance is going on."""
        return self._state is _State.SPEAKING

    def feed(self, pcm: bytes) -> list[Began | Sound | Ended]:
        """Take the next piece of sound, s16le mono."""
        seconds = len(pcm) / 2 / self._rate
        volume = loudness(pcm)
        is_loud = volume > max(QUIET_LEVEL, NOISE_FACTOR * self._noise)
        self._quiet = 0.0 if is_loud else self._quiet + seconds
        match self._state:
            case _State.SPEAKING:
                if self._quiet < PAUSE:
                    return [Sound(pcm)]
                self._silence()
                return [Sound(pcm), Ended()]
            case _State.CUT:
                self._old += seconds
                if self._quiet >= OLD_QUIET or self._old >= OLD_BOUND:
                    self._silence()
                return []
        if not is_loud:
            self._noise += NOISE_SHARE * (volume - self._noise)
        return self._maybe_begin(pcm, seconds, is_loud=is_loud)

    def cut(self) -> list[Ended]:
        """End what is being said; the rest of it is old, and is not passed on."""
        if not self.is_on:
            return []
        self._state, self._old, self._quiet = _State.CUT, 0.0, 0.0
        return [Ended()]

    def stop(self) -> list[Ended]:
        """End what is being said: nothing more of it comes."""
        was_on = self.is_on
        self._silence()
        return [Ended()] if was_on else []

    def _maybe_begin(
        self, pcm: bytes, seconds: float, *, is_loud: bool
    ) -> list[Began | Sound | Ended]:
        self._before.append(pcm)
        self._kept += seconds
        while self._kept > PRE_ROLL + self._loud + seconds:
            self._kept -= len(self._before.popleft()) / 2 / self._rate
        self._loud = self._loud + seconds if is_loud else 0.0
        if self._loud < SURE - 1e-6:
            return []
        kept = list(self._before)
        self._silence()
        self._state = _State.SPEAKING
        return [Began(), *map(Sound, kept)]

    def _silence(self) -> None:
        self._state = _State.SILENT
        self._loud = self._quiet = self._kept = 0.0
        self._before.clear()
