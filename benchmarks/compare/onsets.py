"""How soon lips and sound follow speech, and how soon it is known that they are over."""

from collections import defaultdict
from typing import Any

import numpy as np

from benchmarks.compare.pacing import RATE
from benchmarks.compare.reading import Spoken, Taken, figures
from benchmarks.compare.stage import Stage
from tests.kit.marks import marked_speech

PIECES = 12  # of 100 ms, an utterance
BLOCK = 5  # utterances of each pace in one process
FIRST = "burst, a session's first"

Result = dict[str, Any]


async def measure(stage: Stage, parties: list[str], paces: list[str], count: int) -> Result:
    """Say `count` utterances of each pace by each party, party by party in turn.

    Returns:
        By party and pace, in ms: `lips` and `sound` after the first TTS sample; after the last
        audible sound came out: `stopped`, when the service (for the floor and LiveKit's:
        `lk.playback_finished`) said it was over, and `bot stopped`, when Pipecat's transport did,
        after it had played the last audible sample.
    """
    found: dict[str, dict[str, list[Spoken]]] = {p: defaultdict(list) for p in parties}
    block = 0
    while block * BLOCK < count:
        size = min(BLOCK, count - block * BLOCK)
        order = ["burst"] + [pace for _ in range(size) for pace in paces]
        speech = stage.directory / f"speech-{block}.npy"
        np.save(speech, speeches(block * 1000, len(order), PIECES))
        for party in parties:
            file = stage.directory / f"{party}-{block}.npz"
            async with stage.party(party) as process:
                await process.do("utterances", speech=str(speech), paces=order, file=str(file))
            taken = Taken(file, (stage.faults.width, stage.faults.height))
            file.unlink()
            # The first data sent opens the connection it goes over.
            first, *others = taken.spoken()
            found[party][FIRST].append(first)
            for spoken in others:
                found[party][spoken.said.split()[2]].append(spoken)
            print(f"onsets: block {block + 1}, {party}", flush=True)
        block += 1
    return {
        party: {pace: summary(spoken) for pace, spoken in by_pace.items()}
        for party, by_pace in found.items()
    }


def speeches(first: int, count: int, pieces: int) -> np.ndarray[Any, Any]:
    """So many utterances, no two alike."""
    marked = (marked_speech(first + n * pieces, pieces, RATE) for n in range(count))
    return np.array([np.frombuffer(pcm, "<i2") for pcm in marked])


def summary(spoken: list[Spoken]) -> Result:
    """What came of utterances of one kind."""
    heard = [each for each in spoken if each.first is not None and each.last is not None]
    stopped, bot_stopped = [], []
    for each in heard:
        stopped += [at - each.last for at in each.when("stopped")[-1:]]  # type: ignore[operator]
        played = each.when("played")
        bot_stopped += [at - played[-1] for at in each.when("bot stopped")[-1:] if played]
    errors = sorted({what for each in spoken for _, what in each.notes if what[:5] == "error"})
    return {
        "not heard": len(spoken) - len(heard),
        "lips": figures([each.lips - each.into for each in heard if each.lips is not None]),
        "sound": figures([each.first - each.into for each in heard if each.first is not None]),
        "stopped": figures(stopped),
        "bot stopped": figures(bot_stopped),
        "errors": errors,
    }
