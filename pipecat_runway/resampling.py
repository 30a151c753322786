"""Speech at any rate becomes 16 kHz mono, with a delay of 1 ms.

What is sent late is heard late. Those of LiveKit and Pipecat (both soxr) hold back 6 to 40 ms of a
stream in their better qualities; the quickest folds what is above 8 kHz back into the speech.
A short windowed sinc does neither.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.wire import SAMPLE_WIDTH, SPEECH_RATE

HALF = 0.001  # s the filter looks ahead, and back…
FEWEST = 16  # …but so many samples at least, for low rates
FEW = 2  # places between two samples; all of them are filtered in one product then
KAISER = 5.0  # of its window: what is folded back is 50 dB below
LOWEST, HIGHEST = np.float32(-32768), np.float32(32767)  # of a sample

Samples = NDArray[np.float32]
Index = TypeVar("Index", int, NDArray[np.int64])


class SpeechResampler:
    """Turns one utterance's sound into 16 kHz mono, piece by piece.

    It holds back 1 ms (2 ms of sound at 8 kHz), which :meth:`flush` returns.
    """

    def __init__(self) -> None:
        self._rate = SPEECH_RATE
        self._input = b""  # s16le mono, from the first sample that is still needed on
        self._taken = 0  # samples before that
        self._made = 0  # samples returned at this rate

    def push(self, pcm: bytes, sample_rate: int, num_channels: int) -> bytes:
        """Take a piece of s16le sound.

        Args:
            pcm: Interleaved samples. A mono sample may be divided between two pieces.
            sample_rate: Their rate in Hz. It may change from piece to piece.
            num_channels: Their channels; they are mixed to one.

        Returns:
            What is ready at 16 kHz mono, perhaps nothing.
        """
        ready = b"" if sample_rate == self._rate else self.flush()
        if sample_rate == SPEECH_RATE and num_channels == 1:
            return ready + pcm
        if num_channels > 1:
            pcm = _s16(np.frombuffer(pcm, "<i2").reshape(-1, num_channels).mean(1, np.float32))
        if sample_rate == SPEECH_RATE:
            return ready + pcm
        if sample_rate != self._rate:
            self._begin(sample_rate)
        self._input += pcm
        return ready + self._make(self._known)

    def flush(self) -> bytes:
        """Return what was held back."""
        if self._rate == SPEECH_RATE:
            return b""
        by = _filter(self._rate)
        known = self._known + by.half  # as if silence came after the last sample
        silence = bytes((by.half + by.down) * SAMPLE_WIDTH)
        self._input = self._input[: self._held * SAMPLE_WIDTH] + silence
        rest = self._make(known, last=True)
        self._begin(SPEECH_RATE)
        return rest

    def _begin(self, rate: int) -> None:
        self._rate = rate
        # Silence was before the first sample.
        before = 0 if rate == SPEECH_RATE else _filter(rate).half - 1
        self._input = bytes(before * SAMPLE_WIDTH)
        self._taken, self._made = -before, 0

    @property
    def _held(self) -> int:
        """How many whole samples of the input are there."""
        return len(self._input) // SAMPLE_WIDTH

    @property
    def _known(self) -> int:
        """Before which place in the input all surroundings are there."""
        return self._taken + self._held - _filter(self._rate).half

    def _make(self, known: int, *, last: bool = False) -> bytes:
        """Return the samples before a place in the input, in whole rounds but for the last."""
        by = _filter(self._rate)
        count = max(0, -(-known * by.up // by.down) - self._made)
        if by.product is not None and not last:
            count -= count % by.up
        if not count:
            return b""
        if by.product is not None:
            rounds, start = -(-count // by.up), by.start(self._made) - self._taken
            around = np.ndarray(
                (rounds, len(by.product)),
                "<i2",
                self._input,
                start * SAMPLE_WIDTH,
                (by.down * SAMPLE_WIDTH, SAMPLE_WIDTH),
            )
            made = around.astype(np.float32).dot(by.product).reshape(-1)[:count]
        else:
            numbers = np.arange(self._made, self._made + count)
            sound = np.frombuffer(self._input, "<i2", self._held).astype(np.float32)
            around = np.lib.stride_tricks.sliding_window_view(sound, 2 * by.half)
            around = around[by.start(numbers) - self._taken]
            made = np.einsum("ij,ij->i", around, by.table[numbers * by.down % by.up])
        self._made += count
        spent = max(0, by.start(self._made) - self._taken)
        self._input = self._input[spent * SAMPLE_WIDTH :]
        self._taken += spent
        return _s16(made)


@dataclass(frozen=True)
class _Filter:
    """How a rate becomes 16 kHz.

    Attributes:
        half: Samples it looks ahead, and back.
        up: Places between two samples. So many samples that come out make a round…
        down: …of so many that go in.
        table: Weights of the surroundings, for each place between two samples.
        product: The weights of a whole round, one column for each sample; None if it would be
            nearly all zeros.
    """

    half: int
    up: int
    down: int
    table: Samples
    product: Samples | None

    def start(self, number: Index) -> Index:
        """Return where in all the input the surroundings of a sample that comes out begin."""
        return number * self.down // self.up - self.half + 1


@cache
def _filter(rate: int) -> _Filter:
    """Return how this rate in Hz becomes 16 kHz."""
    up = SPEECH_RATE // math.gcd(rate, SPEECH_RATE)
    down = rate * up // SPEECH_RATE
    half = max(FEWEST, round(HALF * rate))
    cutoff = min(1.0, SPEECH_RATE / rate)  # of the input's own half rate
    at = np.arange(-half + 1, half + 1) - np.arange(up)[:, None] / up
    window = np.i0(KAISER * np.sqrt(np.maximum(0.0, 1 - (at / half) ** 2))) / np.i0(KAISER)
    weights = np.sinc(cutoff * at) * window
    table = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
    product = None
    if up <= FEW:  # 8, 24 and 48 kHz
        product = np.zeros((2 * half + (up - 1) * down // up, up), np.float32)
        for n in range(up):
            first = n * down // up
            product[first : first + 2 * half, n] = table[n * down % up]
    return _Filter(half, up, down, table, product)


def _s16(sound: Samples) -> bytes:
    np.rint(sound, sound)
    np.maximum(sound, LOWEST, out=sound)  # the two take less than np.clip
    np.minimum(sound, HIGHEST, out=sound)
    return sound.astype("<i2").tobytes()
