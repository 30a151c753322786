"""Where speech has voice and where it pauses, and which of its pauses belong to which of a text's.

Places are counted in samples at 16 kHz. `voice` is what remains of them without the pauses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.wire import SAMPLE_WIDTH, SPEECH_RATE

HOP = SPEECH_RATE // 100  # samples of which it is known whether they are silent
BATCH = SPEECH_RATE * SAMPLE_WIDTH  # bytes measured at once: a call costs more than what is in it
PAUSE = 10  # hops of silence that are a pause; a shorter one belongs to a word
QUIET_LEVEL = 40.0  # RMS in 16-bit steps: what is softer is silence…
QUIET_PART = 0.05  # …or softer than this part of the loud

# What makes a pause of the speech and one of the text the same: costs, as of likelihoods.
WORD = 5.5  # weight of a usual word
WORD_SPREAD = 0.45  # of the logarithm of a word's length
PACE_SPREAD = 0.12  # of the logarithm of the pace from one pause to the next
UNHEARD = 1.5  # a text's pause that the speech does not make; a sentence's end costs twice that
UNWRITTEN = 1.5  # a pause of the speech of 0.1 s that no text has; a longer one costs more
SKIPPED = 2  # pauses that may go without a counterpart in a row
REACH, REACH_PART = 1.0 * SPEECH_RATE, 0.4  # how far off the expected place it is looked for


class Voice:
    """The speech of one context, as far as it has come."""

    def __init__(self) -> None:
        self._levels: list[float] = []  # RMS of every hop
        self._unmeasured = bytearray()
        self._count = np.zeros(1, np.int64)  # voice up to every hop
        self._pauses: list[tuple[int, int]] = []

    @property
    def samples(self) -> int:
        """Length of the speech so far."""
        return len(self._levels) * HOP + len(self._unmeasured) // SAMPLE_WIDTH

    def hear(self, pcm: bytes) -> None:
        """Take more speech, 16 kHz mono s16le."""
        self._unmeasured += pcm
        if len(self._unmeasured) >= BATCH:
            self._measure()

    def voice(self, place: float) -> float:
        """Return how much voice there is up to a place."""
        count = self._counted()
        hop = int(place) // HOP
        if hop >= len(count) - 1:
            return float(count[-1])
        part = place / HOP - hop
        return float(count[hop] + part * (count[hop + 1] - count[hop]))

    def place(self, voice: float, *, after_pause: bool) -> int:
        """Return the place up to which there is so much voice, before or behind a pause there.

        Beyond the speech so far, voice without pauses is expected.
        """
        count, wanted = self._counted(), round(voice)
        if after_pause or wanted > count[-1]:
            hop = int(np.searchsorted(count, wanted, side="right")) - 1
            return hop * HOP + wanted - int(count[hop])
        hop = int(np.searchsorted(count, wanted, side="left"))
        return hop * HOP - int(count[hop]) + wanted

    def pauses(self, start: float, end: float) -> list[tuple[float, float]]:
        """Return the pauses between two amounts of voice: (voice before it, its length in s)."""
        self._counted()
        return [
            (float(at), length * HOP / SPEECH_RATE)
            for at, length in self._pauses
            if start < at < end
        ]

    def _measure(self) -> None:
        whole = len(self._unmeasured) // (HOP * SAMPLE_WIDTH) * HOP
        hops = np.frombuffer(self._unmeasured, "<i2", whole).reshape(-1, HOP).astype(np.float32)
        self._levels += np.sqrt(np.mean(hops**2, axis=1)).tolist()
        self._unmeasured = self._unmeasured[whole * SAMPLE_WIDTH :]

    def _counted(self) -> NDArray[np.int64]:
        self._measure()
        if len(self._count) == len(self._levels) + 1:
            return self._count
        levels = np.array(self._levels)
        # Sorted, because the first np.percentile() of a process takes 40 ms.
        loudest = float(np.sort(levels)[int(0.95 * (len(levels) - 1))])
        voiced = levels > max(QUIET_LEVEL, QUIET_PART * loudest)
        if not voiced.any():
            voiced[:] = True
        loud = np.flatnonzero(voiced)
        gaps = np.diff(loud) - 1
        for gap in np.flatnonzero((gaps > 0) & (gaps < PAUSE)):
            voiced[loud[gap] : loud[gap + 1]] = True
        self._count = np.concatenate([[0], np.cumsum(voiced) * HOP]).astype(np.int64)
        self._pauses = [
            (int(self._count[loud[gap] + 1]), int(gaps[gap]))
            for gap in np.flatnonzero(gaps >= PAUSE)
        ]
        return self._count


@dataclass(frozen=True)
class Rest:
    """A place in a text where a speaker pauses.

    Attributes:
        weight: Of the text up to there.
        full: Whether a sentence ends there.
    """

    weight: float
    full: bool


def matched(
    rests: Sequence[Rest],
    pauses: Sequence[tuple[float, float]],
    begins: float,
    pace: float,
    end: tuple[float, float] | None,
) -> list[tuple[float, float]]:
    """Match the rests of a text with the pauses of its speech.

    The likeliest match is taken: no word much longer or shorter than its letters let expect.

    Args:
        rests: The text's, in order.
        pauses: The speech's, in order, as (voice before it, its length in s).
        begins: Voice before the text.
        pace: Voice for a weight of 1, as expected.
        end: Weight of the whole text, and voice at its end; None if that has not come.

    Returns:
        The places that are known then, as (weight, voice), in order, the beginning included.
    """
    knots: list[tuple[float, float]] = [(0.0, begins)]
    places: list[tuple[int, int]] = [(-1, -1)]  # of each knot: its rest and its pause
    for row, rest in enumerate(rests):
        reach = REACH_PART * rest.weight * pace + REACH
        for column, (at, _) in enumerate(pauses):
            if abs(at - begins - rest.weight * pace) <= reach:
                knots.append((rest.weight, at))
                places.append((row, column))
    unheard = [0.0, *accumulate(UNHEARD * (1 + rest.full) for rest in rests)]
    unwritten = [0.0, *accumulate(UNWRITTEN * min(3.0, length / 0.1) for _, length in pauses)]
    costs, before = [0.0], [0]

    def step(i: int, to: tuple[float, float], row: int, column: int) -> float:
        """Return the cost of a way to a knot if the knot before it is `i`."""
        length, said = to[0] - knots[i][0], to[1] - knots[i][1]
        if length <= 0 or said <= 0:
            return math.inf
        spread = WORD_SPREAD**2 * WORD / length + PACE_SPREAD**2
        cost = costs[i] + math.log(said / (pace * length)) ** 2 / (2 * spread)
        first, left = places[i]
        return cost + unheard[row] - unheard[first + 1] + unwritten[column] - unwritten[left + 1]

    by_place = {place: i for i, place in enumerate(places)}
    for to, (row, column) in zip(knots[1:], places[1:], strict=True):
        ways = [
            (step(i, to, row, column), i)
            for r in range(max(0, row - 1 - SKIPPED), row)
            for c in range(max(0, column - 1 - SKIPPED), column)
            if (i := by_place.get((r, c))) is not None
        ]
        if row <= SKIPPED and column <= SKIPPED:
            ways.append((step(0, to, row, column), 0))
        cost, i = min(ways, default=(math.inf, 0))
        costs.append(cost)
        before.append(i)
    if end is not None:
        finals = [step(i, end, len(rests), len(pauses)) for i in range(len(knots))]
    else:  # wherever the text has got to, the last pauses count
        finals = [costs[i] + unwritten[-1] - unwritten[places[i][1] + 1] for i in range(len(knots))]
    last = min(range(len(knots)), key=finals.__getitem__)
    path = [knots[last]]
    while last:
        last = before[last]
        path.append(knots[last])
    return path[::-1]
