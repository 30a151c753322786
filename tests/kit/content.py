"""What was heard, apart from when: for tests that are about something else than timing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from .marks import PIECE, Mark, Verdict, compare

HEARD_AT_LEAST = 0.7 * PIECE


def compare_content(expected: Sequence[int], heard: Sequence[Mark]) -> Verdict:
    """As `compare`, but a piece that was only stretched is whole.

    On a busy machine the network's jitter buffer stretches sound, whatever a service does.
    """
    short = [mark.number for mark in heard if mark.heard_s < HEARD_AT_LEAST]
    verdict = compare(expected, heard)
    return replace(verdict, partial=[number for number in verdict.partial if number in short])


def damage(verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """The verdicts that find more wrong than a piece torn, stretched or cut short.

    A jitter buffer does that on a busy machine, most of all to sound that begins out of nothing.
    """

    def content(verdict: Verdict) -> Verdict:
        doubled = [number for number in verdict.doubled if number not in verdict.partial]
        return replace(verdict, doubled=doubled, partial=[])

    return {name: v for name, v in verdicts.items() if not content(v).clean}
