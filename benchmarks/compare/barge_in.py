"""Barge-in: when the last old sound comes out, and how much later the next utterance begins."""

import random
from typing import Any

import numpy as np

from benchmarks.compare.onsets import speeches
from benchmarks.compare.reading import Spoken, Taken, figures
from benchmarks.compare.stage import Stage

OLD, NEW = 25, 8  # pieces of 100 ms
THEN = 0.25  # s from the interruption to the next utterance
GAP = 0.06  # s of silence that end the old speech
BLOCK = 5

Result = dict[str, Any]


async def measure(stage: Stage, parties: list[str], count: int, *, seed: int = 1) -> Result:
    """Interrupt each party `count` times, at instants of a dice.

    Returns:
        By party, in ms: `last old sound` after the interruption, `avatar told` when
        `lk.clear_buffer` reached the avatar, `next delayed by` how much later the next utterance
        sounded than one that nothing came before.
    """
    dice = random.Random(seed)
    old: dict[str, list[float]] = {party: [] for party in parties}
    told: dict[str, list[float]] = {party: [] for party in parties}
    onsets: dict[str, dict[str, list[float]]] = {p: {"next": [], "calm": []} for p in parties}
    for block in range(-(-count // BLOCK)):
        size = min(BLOCK, count - block * BLOCK)
        at = [dice.uniform(0.1, 1.8) for _ in range(size)]
        speech = stage.directory / f"barge-in-{block}.npz"
        first = block * 300
        np.savez(
            speech,
            long=speeches(first, size, OLD),
            short=speeches(first + size * OLD, 2 * size, NEW),
        )
        for party in parties:
            file = stage.directory / f"{party}-barge-in.npz"
            async with stage.party(party) as process:
                await process.do("barge_ins", speech=str(speech), at=at, then=THEN, file=str(file))
            taken = Taken(file, (stage.faults.width, stage.faults.height))
            cleared = stage.reported("clear_buffer")
            for each in taken.spoken():
                kind = each.said.split()[3]
                if kind != "old":
                    onsets[party][kind] += [] if each.first is None else [each.first - each.into]
                    continue
                cut = interrupted(each)
                old[party].append(last_old(taken.audible, cut) - cut)
                told[party] += [clear - cut for clear in cleared if 0 <= clear - cut < THEN][:1]
            print(f"barge-in: block {block + 1}, {party}", flush=True)
    return {
        party: {
            "last old sound": figures(old[party]),
            "avatar told": figures(told[party]),
            "next delayed by": figures(
                [onset - float(np.median(onsets[party]["calm"])) for onset in onsets[party]["next"]]
            ),
            "onset without": figures(onsets[party]["calm"]),
        }
        for party in parties
    }


def interrupted(spoken: Spoken) -> float:
    """When an utterance was interrupted."""
    return spoken.when("interrupted")[0]


def last_old(audible: Any, cut: float) -> float:
    """When the last sound came out that went on without a gap from before an interruption.

    Returns:
        The interruption itself where nothing came after it.
    """
    last = cut
    for at in audible[audible > cut].tolist():
        if at - last > GAP:
            break
        last = at
    return last
