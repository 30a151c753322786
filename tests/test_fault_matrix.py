"""Some cells of the fault matrix; all of it is `python -m benchmarks faults`."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipecat_runway.simulator import RunwaySimulator, Voice
from tests.scenarios.causes import CAUSES
from tests.scenarios.faults import Cell, Moment, options_for, play

from .conftest import MakeService

PAGE = Path(__file__).parent.parent / "docs" / "fault-matrix.md"
BY_NAME = {cause.name: cause for cause in CAUSES}


@pytest.mark.parametrize(
    ("name", "moment", "voice"),
    [
        ("no credits, from then on (402)", Moment.BEFORE, Voice.PLAIN),
        ("its process stands still", Moment.MID_WORD, Voice.PLAIN),
        pytest.param(*("it falls mute", Moment.MID_WORD, Voice.SCRAMBLED), marks=pytest.mark.long),
        ("its process dies", Moment.IDLE, Voice.SCRAMBLED),
    ],
)
async def test_nothing_is_lost_and_nothing_left(
    make_service: MakeService, runway: RunwaySimulator, name: str, moment: Moment, voice: Voice
) -> None:
    """One error of the right type, every mark heard, none more than twice, no session open."""
    cause = BY_NAME[name]
    service = make_service(**options_for(cause, moment))
    cell = await play(runway, service, cause, moment, voice=voice)
    assert not replace(cell, soon=None).complaints(cause.errors), cell


@pytest.mark.parametrize(
    ("flaw", "complaint"),
    [
        ({"lost": 1}, "1 marks lost"),
        ({"twice": 3}, "3 marks heard twice"),
        ({"wrong": 1}, "1 out of place"),
        ({"soon": 0.6}, "0.6 s without sound"),
        ({"errors": ()}, "errors none"),
        ({"errors": ("CreditsError", "CreditsError")}, "errors CreditsError, CreditsError"),
        ({"errors": ("RunwayError",)}, "errors RunwayError"),
        ({"brackets": ("u0: never stopped",)}, "never stopped"),
        ({"left": 1}, "1 sessions left open"),
        ({"trouble": "TimeoutError"}, "TimeoutError"),
    ],
)
def test_a_flaw_is_noticed(flaw: dict[str, object], complaint: str) -> None:
    """The judge can fail: each flaw alone is complained of, and without one there is nothing."""
    good = Cell(cause="x", moment="idle", noticed=0.5, soon=0.1, errors=("CreditsError",))
    allowed = frozenset({"CreditsError"})
    assert not good.complaints(allowed)
    (found,) = replace(good, **flaw).complaints(allowed)  # type: ignore[arg-type]
    assert complaint in found


def test_every_cell_is_played_or_has_a_reason() -> None:
    """No two causes share a name, and each has at least one moment."""
    assert len(BY_NAME) == len(CAUSES)
    assert all(set(cause.senseless) < set(Moment) for cause in CAUSES)


def test_the_page_has_a_row_for_every_cause() -> None:
    """The table in the docs is of this matrix, and shows no older one."""
    rows = [
        line.split("|")[1].strip() for line in PAGE.read_text().splitlines() if line[:2] == "| "
    ]
    assert set(rows) - {"what goes wrong"} == set(BY_NAME)
