"""Colours come out as they went in."""

import pytest

from pipecat_runway.simulator import LiveKitServer
from tests.conftest import service_for
from tests.scenarios.bars import LUMA, show_bars

WORST = 3.0  # of 255


@pytest.mark.parametrize("matrix", LUMA)
async def test_colour_bars(livekit_server: LiveKitServer, matrix: str) -> None:
    """BT.601, which WebRTC means, is right to 3 of 255; bars made by BT.709 are told apart."""
    report = await show_bars(
        livekit_server, matrix, service_for, width=480, height=270, pictures=24
    )
    assert report.taken_as["BT.601"] <= WORST
    assert report.taken_as["BT.709"] > 5 * WORST
    assert report.right <= WORST if matrix == "BT.601" else report.right > 5 * WORST
