"""A bot that dies leaves no session: ended by itself, or by the reaper. One of each kind."""

from pathlib import Path

import pytest

from pipecat_runway.simulator import RunwaySimulator
from tests.scenarios.kills import WAYS, kills

SOME = ("SIGTERM", "SIGKILL, reaped")


@pytest.mark.timeout(240)
async def test_a_process_that_dies_leaves_nothing_open(
    runway: RunwaySimulator, tmp_path: Path
) -> None:
    """No session, no room, no file; a call beside it goes on."""
    ways = {name: WAYS[name] for name in SOME}
    seen = []
    async for name, report in kills(runway, tmp_path / "state", count=1, ways=ways):
        assert (1, 1) == (report.deaths, report.sessions), name
        assert (0, 0, 0, 0) == (report.open, report.rooms, report.files, report.hung), report.said
        assert report.sibling_untouched == ways[name].reaped, name
        seen.append(name)
    assert seen == list(SOME)


def test_every_way_of_dying_is_told_or_a_signal() -> None:
    """What only a signal can do needs the reaper, and nothing else does."""
    for name, way in WAYS.items():
        assert way.reaped == (name.startswith("SIGKILL") or not way.handled), name
