"""What a call costs: CPU, memory, and what it does to the event loop; for one and for many."""

import os
from typing import Any

import numpy as np

from benchmarks.compare.onsets import speeches
from benchmarks.compare.reading import figures
from benchmarks.compare.stage import PartyError, Stage

PIECES = 25  # of 100 ms: speech, and as much silence after it
WHOLE = 0.95  # of the pictures a second: fewer, and they are being dropped

Result = dict[str, Any]


async def measure(stage: Stage, parties: list[str], rounds: int, seconds: float) -> Result:
    """Run one session of each party, round after round, speaking half of the time.

    Returns:
        By party: `cpu`, the share of one core its process used, in each round and their median;
        `lag`, by how much timers of its event loop were late, in ms; `memory`, MB resident with
        the session, and how much of that it brought.
    """
    speech = _speech(stage)
    found: dict[str, list[Result]] = {party: [] for party in parties}
    for number in range(rounds):
        for party in parties:
            async with stage.party(party) as process:
                steady = await process.do("steady", speech=speech, seconds=seconds)
                found[party].append(steady | {"before": process.before})
            print(f"load: round {number + 1}, {party}: {steady['cpu']:.3f}", flush=True)
    return {party: _summary(rounds) for party, rounds in found.items()}


async def curve(stage: Stage, parties: list[str], most: int, seconds: float) -> Result:
    """Run more and more sessions in one process of each party, until pictures are dropped.

    Returns:
        By party, for each number of sessions: CPU of its process in cores, pictures a second of
        the worst session, lag, memory, and how much of the machine was in use altogether.
    """
    speech = _speech(stage)
    found: dict[str, list[Result]] = {party: [] for party in parties}
    alive = list(parties)
    for sessions in range(1, most + 1):
        for party in list(alive):
            try:
                async with stage.party(party, sessions) as process:
                    steady = await process.do("steady", speech=speech, seconds=seconds)
            except PartyError as error:
                found[party].append({"sessions": sessions, "error": str(error)})
                alive.remove(party)
                continue
            worst = min(steady["pictures a second"])
            found[party].append(
                {
                    "sessions": sessions,
                    "cpu": round(steady["cpu"], 3),
                    "machine": round(steady["machine"] / (os.cpu_count() or 1), 3),
                    "pictures a second": round(worst, 1),
                    "lag": figures(steady["lags"], per=1.0),
                    "memory": round(steady["memory"] - process.before, 1),
                }
            )
            print(f"curve: {party}", found[party][-1], flush=True)
            if worst < WHOLE * stage.faults.fps:
                alive.remove(party)
    return found


def _speech(stage: Stage) -> str:
    path = stage.directory / "load.npy"
    np.save(path, speeches(0, 12, PIECES))
    return str(path)


def _summary(rounds: list[Result]) -> Result:
    lags = np.array([lag for each in rounds for lag in each["lags"]])
    return {
        "cpu": round(float(np.median([each["cpu"] for each in rounds])), 4),
        "cpu by round": [round(each["cpu"], 4) for each in rounds],
        "lag": {f"p{p}": round(float(np.percentile(lags, p)), 2) for p in (50, 99, 99.9)},
        "memory": round(float(np.median([each["memory"] for each in rounds])), 1),
        "of the session": round(
            float(np.median([each["memory"] - each["before"] for each in rounds])), 1
        ),
        "pictures a second": round(min(min(each["pictures a second"]) for each in rounds), 2),
        "longest gap, ms": round(1000 * max(max(each["longest gaps"]) for each in rounds)),
    }
