"""Marked speech as an avatar with another voice says it, read all the same."""

from collections.abc import Iterable

import numpy as np

from .marks import PIECE, Mark, mono, read_marks

CARRIER = 3650.0  # Hz, of the simulator's scrambled voice
PHASES = 6  # the carrier's is not known; with this many one is within 30 degrees
PACES = {"faster": 1.25, "slower": 0.8}


def read_altered(pcm: bytes, rate: int, voice: str, among: Iterable[int]) -> list[Mark]:
    """Find the marks in the simulator's altered voice, see `Voice`.

    Args:
        pcm: Signed 16 bit, little endian, mono.
        rate: Samples per second.
        voice: `plain`, `faster`, `slower` or `scrambled`.
        among: Look only for these numbers.

    Returns:
        As `read_marks`, by the recording's own clock.
    """
    among = list(among)
    if (pace := PACES.get(voice)) is not None:
        found = read_marks(pcm, round(rate / pace), among=among)
        return [m._replace(start_s=m.start_s / pace, end_s=m.end_s / pace) for m in found]
    if voice == "plain":
        return read_marks(pcm, rate, among=among)
    wave = mono(pcm) * 32768 * np.sqrt(2.0)
    angle = 2 * np.pi * CARRIER * np.arange(len(wave)) / rate
    best: list[Mark] = []
    for phase in np.arange(PHASES) * 2 * np.pi / PHASES:
        for mark in read_marks(wave * np.cos(angle + phase), rate, among=among):
            same = [m for m in best if m.number == mark.number and _near(m, mark)]
            if not same:
                best.append(mark)
            elif mark.heard_s > same[0].heard_s:
                best[best.index(same[0])] = mark
    return sorted(best, key=lambda mark: mark.start_s)


def _near(one: Mark, other: Mark) -> bool:
    return abs(one.start_s - other.start_s) < PIECE
