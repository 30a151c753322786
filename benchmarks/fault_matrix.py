"""The fault matrix: every cause at every moment, played once each, and the table of it."""

import json
import os
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

ALLOWED = {cause.name: cause.errors for cause in CAUSES}

Played = dict[Voice, list[Cell]]


async def play_all(runway: RunwaySimulator, only: Sequence[str]) -> Played:
    """Play the matrix, or the causes and moments whose names are given."""
    played: Played = {voice: [] for voice in TITLES if _wanted(only, voice.value, Voice)}
    assert isinstance(runway.workers, WorkerHost)
    for voice, cells in played.items():
        for cause, moment in _cells(only, voice):
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
    """What was played as JSON, and which cells are not as they should be."""
    return {
        voice.value: {
            "cells": [asdict(cell) for cell in cells],
            "complaints": {
                f"{cell.cause}, {cell.moment}": found
                for cell in cells
                if (found := cell.complaints(ALLOWED[cell.cause]))
            },
        }
        for voice, cells in played.items()
    }


def write(played: Played) -> None:
    """Put what was played among the results, and all of them on the page."""
    made = datetime.now(UTC).date().isoformat()
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    stored = {(row["voice"], row["cause"], row["moment"]): row for row in rows}
    for voice, cells in played.items():
        for cell in cells:
            row = {"voice": voice.value, "made": made, **asdict(cell)}
            stored[voice.value, cell.cause, cell.moment] = row
    rows = [row for key, row in sorted(stored.items()) if key[1] in ALLOWED]
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")
    if missing := len(set(_places()) - {(r["voice"], r["cause"], r["moment"]) for r in rows}):
        print(f"{missing} cells were never played, so {PAGE.name} is left as it is", flush=True)
        return
    text = PAGE.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n\n" + "\n".join(_page(rows)) + f"\n\n{END}{after}")


def _page(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    days = sorted({row["made"] for row in rows})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    yield f"Played {when} on {machine}, Python {platform.python_version()}, {versions}."
    for voice, title in TITLES.items():
        cells = [_cell(row) for row in rows if row["voice"] == voice.value]
        bad = sum(bool(cell.complaints(ALLOWED[cell.cause])) for cell in cells)
        yield from ("", f"## {title}", "")
        yield f"{len(cells)} cells, {len(cells) - bad} as they should be."
        yield from ("", *_table(cells))
    yield from ("", "## Cells that cannot be", "", *_senseless())


def _cell(row: dict[str, Any]) -> Cell:
    lists = {name: tuple(row[name]) for name in ("errors", "brackets")}
    return Cell(**{name: row[name] for name in row if name not in ("voice", "made")} | lists)


def told(cell: Cell) -> str:
    """A cell in a few words."""
    noticed = "not noticed" if cell.noticed is None else f"{cell.noticed:.1f} s"
    soon = "" if cell.soon is None else f", next sound {1000 * cell.soon:.0f} ms"
    error = ", ".join(cell.errors) or "no error"
    return f"{noticed}{soon}; {cell.lost} lost, {cell.twice} twice; {error}; {cell.left} open"


def _places() -> Iterator[tuple[str, str, str]]:
    for voice in TITLES:
        for cause, moment in _cells((), voice):
            yield voice.value, cause.name, moment.value


def _cells(only: Sequence[str], voice: Voice) -> Iterator[tuple[Cause, Moment]]:
    moments = [moment for moment in Moment if _wanted(only, moment.value, Moment)]
    names = {name.value for kind in (Moment, Voice) for name in kind}
    causes = [name for name in only if name not in names]
    for cause in CAUSES:
        if causes and not any(name in cause.name for name in causes):
            continue
        for moment in moments:
            mute = moment is Moment.BEFORE and not cause.is_the_faces  # no avatar says anything
            if moment not in cause.senseless and not (mute and voice is not Voice.PLAIN):
                yield cause, moment


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
