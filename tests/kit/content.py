"""What was heard, apart from when: for tests that are about something else than timing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .marks import Mark, Verdict, compare


def compare_content(expected: Sequence[int], heard: Sequence[Mark]) -> Verdict:
    """As `compare`, but a piece that was torn, stretched or cut short is still a piece.

    A jitter buffer does that on a busy machine, whatever a service does, and most of all to sound
    that begins out of nothing. `tests/test_speech.py` and the benchmarks measure pieces.
    """
    return _content(compare(expected, heard))


def damage(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The verdicts that find more wrong than a piece torn, stretched or cut short."""
    return {name: v for name, v in verdicts.items() if not _content(v).clean}


def _content(verdict: Verdict) -> Verdict:
    doubled = [number for number in verdict.doubled if number not in verdict.partial]
    return replace(verdict, doubled=doubled, partial=[])
