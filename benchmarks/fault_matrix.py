"""The fault matrix: every cause at every moment, played once each, and the table of it."""

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipecat_runway.simulator import RunwaySimulator, Voice
from pipecat_runway.simulator.worker_host import WorkerHost
from tests.conftest import service_for
from tests.scenarios.causes import CAUSES
from tests.scenarios.faults import Cause, Cell, Moment, options_for, play

PAGE = Path(__file__).parent.parent / "docs" / "fault-matrix.md"
RESULTS = Path(__file__).parent / "results" / "faults.json"
BEGIN, END = "<!-- made by python -m benchmarks faults -->", "<!-- end -->"
PACKAGES = ("pipecat-runway", "pipecat-ai", "livekit", "runwayml")
TITLES = {
    Voice.PLAIN: "Avatars that say what they are given",
    Voice.SCRAMBLED: "Avatars with another voice",
}

Played = dict[Voice, list[Cell]]


async def play_all(runway: RunwaySimulator, only: Sequence[str]) -> Played:
    """Play the matrix, or the causes and moments whose names are given."""
    played: Played = {voice: [] for voice in TITLES if _wanted(only, voice.value, Voice)}
    assert isinstance(runway.workers, WorkerHost)
    for voice, cells in played.items():
        for cause, moment in _cells(only):
            if voice is not Voice.PLAIN and moment is Moment.BEFORE and not cause.is_the_faces:
                continue  # no avatar says anything
            await runway.workers.prepare(2)
            service = service_for(runway, **options_for(cause, moment))
            cell = await play(runway, service, cause, moment, voice=voice)
            cells.append(cell)
            found = "; ".join(cell.complaints(cause.errors)) or "as it should be"
            print(
                f"{voice.value} | {cause.name} | {moment.value}: {told(cell)} | {found}", flush=True
            )
    return played


def result(played: Played) -> dict[str, Any]:
    """The matrix as JSON, and how many cells are not as they should be."""
    allowed = {cause.name: cause.errors for cause in CAUSES}
    return {
        voice.value: {
            "cells": [asdict(cell) for cell in cells],
            "complaints": {
                f"{cell.cause}, {cell.moment}": found
                for cell in cells
                if (found := cell.complaints(allowed[cell.cause]))
            },
        }
        for voice, cells in played.items()
    }


def write(played: Played) -> None:
    """Write the table between the page's markers, and the cells as JSON."""
    made = datetime.now(UTC).date().isoformat()
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    lines = [
        f"Made on {made} on {platform.platform()}, Python {platform.python_version()}, {versions}.",
        "",
    ]
    for voice, cells in played.items():
        lines += [f"### {TITLES[voice]}", "", *_table(cells), ""]
    lines += ["### Cells that cannot be", "", *_senseless()]
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{after}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"made": made, **result(played)}, indent=1) + "\n")


def told(cell: Cell) -> str:
    """A cell in a few words."""
    noticed = "not noticed" if cell.noticed is None else f"{cell.noticed:.1f} s"
    soon = "" if cell.soon is None else f", next sound {1000 * cell.soon:.0f} ms"
    error = ", ".join(cell.errors) or "no error"
    return f"{noticed}{soon}; {cell.lost} lost, {cell.twice} twice; {error}; {cell.left} open"


def _cells(only: Sequence[str]) -> Iterator[tuple[Cause, Moment]]:
    moments = [moment for moment in Moment if _wanted(only, moment.value, Moment)]
    names = {name.value for kind in (Moment, Voice) for name in kind}
    causes = [name for name in only if name not in names]
    for cause in CAUSES:
        if not causes or any(name in cause.name for name in causes):
            yield from ((cause, moment) for moment in moments if moment not in cause.senseless)


def _wanted(only: Sequence[str], name: str, kind: Any) -> bool:
    """Whether one of a kind is among those named, or none of that kind is named."""
    named = {each.value for each in kind} & set(only)
    return not named or name in named


def _table(cells: Sequence[Cell]) -> Iterator[str]:
    yield "| what goes wrong | " + " | ".join(moment.value for moment in Moment) + " |"
    yield "|---" * (len(Moment) + 1) + "|"
    by_place = {(cell.cause, cell.moment): cell for cell in cells}
    for cause in CAUSES:
        row = []
        for moment in Moment:
            cell = by_place.get((cause.name, moment.value))
            if moment in cause.senseless:
                row.append("not possible")
            elif cell is None:
                row.append("as above: no avatar speaks")
            else:
                found = cell.complaints(cause.errors)
                row.append(
                    told(cell) + (f". **Not as it should be: {'; '.join(found)}**" if found else "")
                )
        yield f"| {cause.name} | " + " | ".join(row) + " |"


def _senseless() -> Iterator[str]:
    reasons: dict[tuple[str, str], list[str]] = {}
    for cause in CAUSES:
        for moment, why in cause.senseless.items():
            reasons.setdefault((moment.value, why), []).append(cause.name)
    for (moment, why), names in reasons.items():
        yield f"- {moment}: {why} ({'; '.join(names)})"
