"""Speech at any rate becomes 16 kHz mono, with a delay of 1 ms.

What is sent late is heard late. Those of LiveKit and Pipecat (both soxr) hold back 6 to 40 ms of a
stream in their better qualities; the quickest folds what is above 8 kHz back into the speech.
A short windowed sinc does neither.
"""

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.wire import SPEECH_RATE

HALF = 0.001  # s the filter looks ahead, and back…
FEWEST = 16  # …but so many samples at least, for low rates
FEW = 2  # places between two samples; to filter at each of them at once is quicker then
KAISER = 5.0  # of its window: what is folded back is 50 dB below

Samples = NDArray[np.float32]


class SpeechResampler:
    """Turns one utterance's sound into 16 kHz mono, piece by piece.

    It holds back 1 ms (2 ms of sound at 8 kHz), which :meth:`flush` returns.
    """

    def __init__(self) -> None:
        self._rate = SPEECH_RATE
        self._input = np.zeros(0, np.float32)  # from the first sample that is still needed on
        self._taken = 0  # samples before that
        self._made = 0  # samples returned at this rate

    def push(self, pcm: bytes, sample_rate: int, num_channels: int) -> bytes:
        """Take a piece of s16le sound.

        Args:
            pcm: Interleaved samples.
            sample_rate: Their rate in Hz. It may change from piece to piece.
            num_channels: Their channels; they are mixed to one.

        Returns:
            What is ready at 16 kHz mono, perhaps nothing.
        """
        ready = b"" if sample_rate == self._rate else self.flush()
        if sample_rate == SPEECH_RATE and num_channels == 1:
            return ready + pcm
        frames = np.frombuffer(pcm, "<i2").reshape(-1, num_channels)
        sound = frames.mean(axis=1, dtype=np.float32)
        if sample_rate == SPEECH_RATE:
            return ready + _s16(sound)
        if sample_rate != self._rate:
            self._begin(sample_rate)
        self._input = np.concatenate((self._input, sound))
        return ready + self._make(_filter(sample_rate)[0] // 2)

    def flush(self) -> bytes:
        """Return what was held back."""
        if self._rate == SPEECH_RATE:
            return b""
        half = _filter(self._rate)[0] // 2
        self._input = np.concatenate((self._input, np.zeros(half, np.float32)))
        rest = self._make(half)
        self._begin(SPEECH_RATE)
        return rest

    def _begin(self, rate: int) -> None:
        self._rate = rate
        # Silence was before the first sample.
        before = 0 if rate == SPEECH_RATE else _filter(rate)[0] // 2 - 1
        self._input = np.zeros(before, np.float32)
        self._taken, self._made = -before, 0

    def _make(self, half: int) -> bytes:
        """Return the samples whose surroundings are there."""
        width, table = _filter(self._rate)
        up, down = len(table), self._rate * len(table) // SPEECH_RATE
        known = self._taken + len(self._input) - half  # before this all is there
        places = np.arange(self._made, max(self._made, -(-known * up // down))) * down
        self._made += len(places)
        if not len(places):
            return b""
        first, phase = places // up - half + 1 - self._taken, places % up
        if up <= FEW:  # 8, 24 and 48 kHz
            every = [np.convolve(self._input, weights[::-1], "valid") for weights in table]
            made = np.choose(phase, [each[first] for each in every])
        else:
            around = np.lib.stride_tricks.sliding_window_view(self._input, width)[first]
            made = np.einsum("ij,ij->i", around, table[phase])
        spent = max(0, self._made * down // up - half + 1 - self._taken)
        self._input = self._input[spent:]
        self._taken += spent
        return _s16(made)


@cache
def _filter(rate: int) -> tuple[int, Samples]:
    """Return a filter's width in samples, and its weights for each place between two samples."""
    up = SPEECH_RATE // math.gcd(rate, SPEECH_RATE)
    half = max(FEWEST, round(HALF * rate))
    cutoff = min(1.0, SPEECH_RATE / rate)  # of the input's own half rate
    at = np.arange(-half + 1, half + 1) - np.arange(up)[:, None] / up
    window = np.i0(KAISER * np.sqrt(np.maximum(0.0, 1 - (at / half) ** 2))) / np.i0(KAISER)
    weights = np.sinc(cutoff * at) * window
    return 2 * half, (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _s16(sound: Samples) -> bytes:
    return np.clip(np.rint(sound), -32768, 32767).astype("<i2").tobytes()
