"""A slow consumer: what waits, what that does to memory, and whether the sound minds."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.compare.load import PIECES
from benchmarks.compare.onsets import speeches
from benchmarks.compare.onsets import summary as onsets
from benchmarks.compare.reading import Taken
from benchmarks.compare.stage import SLOW, Stage
from tests.kit.marks import compare, numbers, read_marks

SPOKEN = 10  # utterances whose every piece is looked for

Result = dict[str, Any]


async def measure(stage: Stage, minutes: float) -> Result:
    """Let our service run in front of somebody who takes five pictures a second.

    Returns:
        How many pictures were `waiting` whenever one had been taken; memory in MB over the time and
        its slope; what was `wrong` with the sound of some utterances after that, and their onsets.
    """
    speech, said = stage.directory / "slow.npy", stage.directory / "slow-said.npy"
    np.save(speech, speeches(0, 12, PIECES))
    np.save(said, speeches(500, SPOKEN, PIECES))
    file = stage.directory / "slow.npz"
    async with stage.party(SLOW) as process:
        steady = await process.do("steady", speech=str(speech), seconds=60 * minutes)
        paces = ["real-time"] * SPOKEN
        await process.do("utterances", speech=str(said), paces=paces, file=str(file))
    taken = Taken(file, (stage.faults.width, stage.faults.height))
    (told,) = steady["told"]
    resident = steady["resident"]
    settled = resident[len(resident) // 5 :]
    sound = np.concatenate(taken.pieces)
    heard = read_marks(sound.tobytes(), int(taken.rates[0]), among=range(500, 500 + SPOKEN * 25))
    return {
        "minutes": minutes,
        "pictures a second": round(steady["pictures a second"][0], 2),
        "waiting": dict(sorted(Counter(told["waiting"]).items())),
        "memory, MB": [round(resident[0], 1), round(settled[0], 1), round(resident[-1], 1)],
        "memory, MB a minute": round(
            slope(settled, 60 * minutes * len(settled) / len(resident)), 2
        ),
        "memory over time, MB": [round(each, 1) for each in resident],
        "wrong with the sound": asdict(compare(numbers(500, SPOKEN * PIECES), heard)),
        "onsets": onsets(taken.spoken()),
    }


def slope(values: list[float], seconds: float) -> float:
    """How much values taken over so long rise in a minute."""
    if len(values) < 2:
        return 0.0
    return float(np.polyfit(np.linspace(0.0, seconds / 60, len(values)), values, 1)[0])
