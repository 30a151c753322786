"""Reads what a party's process wrote down: mouths and sounds by utterance."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.compare.record import AUDIBLE
from pipecat_runway.simulator.face import mouth_box, mouth_openness

OPEN = 0.03  # of the mouth's box, more than it was before: the lips have moved
BEFORE = 0.25  # s before speech in which the mouth is shut

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spoken:
    """One utterance as it came out. Times are of the machine's monotonic clock, in s.

    Attributes:
        said: What the client's process called it.
        into: When its first frame was there.
        lips: When the first picture of it with a mouth that opens came out.
        first: When its first audible piece of sound came out.
        last: When its last one did.
        notes: What else was noted, and when.
    """

    said: str
    into: float
    lips: float | None
    first: float | None
    last: float | None
    notes: list[tuple[float, str]]

    def when(self, what: str) -> list[float]:
        """When something was noted of it."""
        return [at for at, noted in self.notes if noted == what]


class Taken:
    """A record, read back.

    Args:
        path: The file.
        size: Of the whole picture, of which the file has the mouths.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        with np.load(path) as data:
            self.seen_at: Floats = data["seen_at"]
            self.openness: Floats = np.array(list(_openness(data["mouths"], size)))
            self.heard_at: Floats = data["heard_at"]
            self.rates: npt.NDArray[np.int64] = data["rates"]
            ends = np.cumsum(data["sizes"])
            self.pieces = np.split(data["sound"], ends[:-1]) if len(ends) else []
            notes = zip(data["noted_at"].tolist(), data["notes"].tolist(), strict=True)
            self.notes = sorted(notes)
        peaks = [int(np.abs(piece.astype(np.int32)).max(initial=0)) for piece in self.pieces]
        self.audible: Floats = self.heard_at[np.array(peaks, int) > AUDIBLE]

    def spoken(self) -> list[Spoken]:
        """The utterances, in order."""
        says = [(at, what) for at, what in self.notes if what.startswith("say ")]
        ends = [at for at, _ in says[1:]] + [np.inf]
        return [self._one(at, what, end) for (at, what), end in zip(says, ends, strict=True)]

    def _one(self, begin: float, said: str, end: float) -> Spoken:
        notes = [(at, what) for at, what in self.notes if begin <= at < end]
        into = next(at for at, what in notes if what == "in")
        sounds = self.audible[(self.audible >= into) & (self.audible < end)]
        before = (self.seen_at >= into - BEFORE) & (self.seen_at < into)
        shut = float(np.median(self.openness[before])) if before.any() else 0.0
        moving = (self.seen_at >= into) & (self.seen_at < end) & (self.openness > shut + OPEN)
        return Spoken(
            said=said,
            into=into,
            lips=float(self.seen_at[moving][0]) if moving.any() else None,
            first=float(sounds[0]) if len(sounds) else None,
            last=float(sounds[-1]) if len(sounds) else None,
            notes=notes,
        )


def _openness(mouths: npt.NDArray[Any], size: tuple[int, int]) -> Iterator[float]:
    left, top, right, bottom = mouth_box(*size)
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for mouth in mouths:
        picture[top:bottom, left:right] = mouth
        yield mouth_openness(picture)


def figures(values: list[float], *, per: float = 1000.0, digits: int = 1) -> dict[str, Any]:
    """How many, and their median, 95th and 99th percentile and extremes, in ms."""
    if not values:
        return {"count": 0}
    found = np.array(values) * per
    p50, p95, p99 = np.percentile(found, [50, 95, 99])
    return {
        "count": len(values),
        "p50": round(float(p50), digits),
        "p95": round(float(p95), digits),
        "p99": round(float(p99), digits),
        "min": round(float(found.min()), digits),
        "max": round(float(found.max()), digits),
    }
