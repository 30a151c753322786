"""A slow consumer: what waits, what that does to memory, and whether the sound minds."""

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from benchmarks.compare.load import PIECES
from benchmarks.compare.onsets import speeches
from benchmarks.compare.onsets import summary as onsets
from benchmarks.compare.party import MEMORY_EVERY
from benchmarks.compare.reading import Taken
from benchmarks.compare.stage import SLOW, Stage
from tests.kit.marks import compare, numbers, read_marks

SPOKEN = 10  # utterances whose every piece is looked for

Result = dict[str, Any]


async def measure(stage: Stage, minutes: float) -> Result:
    """Let our service run in front of somebody who takes five pictures a second.

    Returns:
        How many pictures were `waiting` whenever one had been taken; memory in MB, the median of
        each minute and the most; what was `wrong` with the sound of some utterances after that, and
        their onsets.
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
    per_minute = round(60 / MEMORY_EVERY)
    sound = np.concatenate(taken.pieces)
    heard = read_marks(sound.tobytes(), int(taken.rates[0]), among=range(500, 500 + SPOKEN * 25))
    return {
        "minutes": minutes,
        "pictures a second": round(steady["pictures a second"][0], 2),
        "waiting": dict(sorted(Counter(told["waiting"]).items())),
        "memory, MB": [
            round(float(np.median(resident[start : start + per_minute])), 1)
            for start in range(0, len(resident) - 1, per_minute)
        ],
        "most memory, MB": round(max(resident), 1),
        "wrong with the sound": asdict(compare(numbers(500, SPOKEN * PIECES), heard)),
        "onsets": onsets(taken.spoken()),
    }
