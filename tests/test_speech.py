"""Every piece of speech comes out once, in order, and only once it is due."""

import pytest

from pipecat_runway.simulator import RunwaySimulator
from tests.kit.marks import compare, numbers
from tests.kit.timing import timed
from tests.scenarios.marked import RATES, Report, Shape, shapes, speak_all

from .conftest import MakeService, TurnKnobs


def assert_clean(report: Report, count: int) -> None:
    """Nothing lost, doubled or out of order at the output; as many samples as due at the worker."""
    assert {} == report.verdicts
    assert [] == report.brackets
    assert [] == report.errors
    assert count == len(report.received)
    assert all(abs(samples) <= 16 for samples in report.received), report.received
    assert all(abs(ms) <= 20 for ms in report.lengths), report.lengths


@timed
async def test_speech_of_every_shape_comes_out_whole(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """8 to 48 kHz, mono and stereo, frames of 10 to 100 ms (20 utterances: see benchmarks)."""
    wanted = list(shapes(8, longest=30))
    assert {shape.rate for shape in wanted} == set(RATES)
    assert_clean(await speak_all(make_service(), runway, wanted), 8)


@pytest.mark.parametrize("join_delay", [0.5, 2.0])
@timed
async def test_what_is_said_before_the_avatar_is_there_is_spoken_whole(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, join_delay: float
) -> None:
    """A greeting queued together with the EndFrame is heard to its last word."""
    faults(join_delay=join_delay)
    wanted = [Shape(8, 24_000, 1, 20, "burst"), Shape(5, 16_000, 1, 20, "burst")]
    assert_clean(await speak_all(make_service(), runway, wanted, at_once=True), 2)


async def test_a_swallowed_piece_is_noticed(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """The count can fail: a worker that drops a piece is found out."""
    faults(drop_piece=7)
    report = await speak_all(make_service(), runway, [Shape(12, 24_000, 1, 20, "burst")])
    (verdict,) = report.verdicts.values()
    assert verdict.lost


def test_a_doubled_piece_is_noticed() -> None:
    """The count can fail: a piece heard twice, and one out of place, are found out."""
    assert [3] == compare(numbers(0, 5), [0, 1, 2, 3, 3, 4]).doubled
    assert compare(numbers(0, 5), [0, 2, 1, 3, 4]).out_of_order
