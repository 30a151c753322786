"""Pipecat's Flows with a face: what is to follow the words follows them."""

from pipecat_runway import RunwayVideoService
from tests.kit.content import damage
from tests.scenarios.flows import conversations

from .conftest import MakeService


async def test_actions_and_functions_wait_for_the_words_before_them(
    make_service: MakeService,
) -> None:
    """No handler runs ahead of the last mark, the goodbye is whole (50 of 50: see benchmarks)."""
    report = await conversations(make_service, 1)
    assert [] == report.errors
    assert {} == damage(report.verdicts)
    assert [] == report.early
    assert [] == report.miscounted


async def test_a_frame_that_overtakes_the_sound_is_noticed(make_service: MakeService) -> None:
    """The check can fail: a service that holds nothing back is found out."""

    def make() -> RunwayVideoService:
        service = make_service()
        # The deliberate break.
        service._hold = lambda avatar, frame: service._out.put_nowait(frame)  # type: ignore[method-assign]
        return service

    report = await conversations(make, 1)
    assert "conversation 0: seated" in report.early
