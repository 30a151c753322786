"""A pipeline starts at once, however long Runway takes."""

from pipecat_runway.simulator import RunwaySimulator
from tests.scenarios.starts import starts

from .conftest import MakeService, TurnKnobs


async def test_a_pipeline_starts_while_runway_takes_its_time(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """The StartFrame is through before the create is answered, and before the face comes."""
    faults(create_delay=1.5)
    report = await starts(make_service, runway, 1)
    assert report.create[0] >= 1.5
    assert report.started[0] < report.until_create[0] + report.create[0]
    assert report.started[0] < report.face[0]
