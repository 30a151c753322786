"""Which sent samples is this returned sound? Levels and normalized cross-correlation.

All sound here is mono float32 at 16 kHz in units of one 16-bit step, positions are samples.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy import fft
from numpy.typing import NDArray

from pipecat_runway.wire import SAMPLE_WIDTH as BYTES
from pipecat_runway.wire import SPEECH_RATE

Samples = NDArray[np.float32]
Places = NDArray[np.float64]

FEW_PLACES = 400  # where a window is looked for: each by itself is quicker then
BLOCK = SPEECH_RATE // 200  # 5 ms, the grain of voiced_start() and is_voiced()


@dataclass(frozen=True)
class Match:
    """The likeliest place of a window in a reference.

    Attributes:
        score: Normalized cross-correlation, 1.0 for the same wave form at any level.
        end: Position in the reference just behind the window.
    """

    score: float
    end: int


NO_MATCH = Match(0.0, 0)


def samples(pcm: bytes | bytearray) -> Samples:
    """Turn s16le bytes into samples."""
    return np.frombuffer(pcm, dtype="<i2").astype(np.float32)


def level(sound: Samples) -> float:
    """Return the root mean square, in 16-bit steps."""
    return math.sqrt(float(np.dot(sound, sound)) / len(sound)) if len(sound) else 0.0


def loudness(pcm: bytes) -> float:
    """Return the level of a short piece of s16le, in less time than it takes to make samples."""
    values = memoryview(pcm).cast("h")
    return math.hypot(*values) / math.sqrt(len(values)) if values else 0.0


def resampled(pcm: bytes | bytearray, rate: int, count: int) -> Samples:
    """Return the last samples of some sound at 16 kHz, by linear interpolation.

    Args:
        pcm: s16le mono.
        rate: Its rate in Hz.
        count: How many samples at 16 kHz are wanted.

    Returns:
        So many, or all that there are.
    """
    step = rate / SPEECH_RATE
    sound = samples(pcm[-BYTES * (math.ceil(count * step) + 1) :])
    count = min(count, round(len(sound) / step))
    if not count:
        return sound[:0]
    known, wanted = _places(len(sound), step, count)
    return np.interp(wanted, known, sound).astype(np.float32)


@lru_cache(maxsize=64)
def _places(length: int, step: float, count: int) -> tuple[Places, Places]:
    """Return where samples are known, and where the last ones are wanted."""
    return np.arange(length, dtype=float), length - step * np.arange(count, 0.0, -1.0)


def find(window: Samples, reference: Samples) -> Match:
    """Find a window in a reference.

    Args:
        window: Returned sound.
        reference: Sent sound, at least as long.

    Returns:
        The best match; :data:`NO_MATCH` if the reference is too short or either is silent.
    """
    n = len(window)
    if n == 0 or len(reference) < n:
        return NO_MATCH
    places = len(reference) - n + 1
    products: NDArray[np.floating[Any]]
    if places <= FEW_PLACES:
        products = np.correlate(reference, window)
    else:
        size = _quick_length(len(reference))  # what wraps around lies beyond the places looked at
        spectrum = fft.rfft(reference, size) * np.conj(fft.rfft(window, size))
        products = fft.irfft(spectrum, size)[:places]
    powers = np.concatenate(([0.0], np.cumsum(np.square(reference, dtype=np.float64))))
    energy = float(np.dot(window, window))
    # A floor under the reference's energy keeps near-silence from matching anything.
    energies = np.maximum(powers[n:] - powers[:-n], 0.01 * energy + n)
    if energy <= n:
        return NO_MATCH
    scores = products / np.sqrt(energies * energy)
    best = int(np.argmax(scores))
    return Match(float(scores[best]), best + n)


@lru_cache(maxsize=64)
def _quick_length(n: int) -> int:
    """Return the next length at which a Fourier transform is quick."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1


def _block_levels(sound: Samples) -> Samples:
    blocks = sound[: len(sound) // BLOCK * BLOCK].reshape(-1, BLOCK)
    levels: Samples = np.sqrt(np.mean(np.square(blocks), axis=1)).astype(np.float32)
    return levels


def voiced_start(sound: Samples, threshold: float) -> int:
    """Return the position of the first block louder than `threshold`; the length if none is."""
    loud = np.flatnonzero(_block_levels(sound) > threshold)
    return int(loud[0]) * BLOCK if len(loud) else len(sound)


def is_voiced(sound: Samples, threshold: float) -> bool:
    """Whether every block is louder than `threshold`."""
    levels = _block_levels(sound)
    return len(levels) > 0 and bool(np.all(levels > threshold))
