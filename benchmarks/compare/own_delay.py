"""What this package itself adds, on the way out and on the way back."""

from bisect import bisect_left
from collections import deque
from typing import Any

import numpy as np

from benchmarks.compare.onsets import PIECES, speeches
from benchmarks.compare.pacing import FRAME, RATE, due
from benchmarks.compare.reading import Spoken, Taken, figures
from benchmarks.compare.stage import PROBED, Stage
from pipecat_runway.resampling import SpeechResampler
from pipecat_runway.wire import SPEECH_RATE

Result = dict[str, Any]
Notes = list[tuple[float, str]]


async def measure(stage: Stage, paces: list[str], count: int) -> Result:
    """Follow every frame through our service.

    Returns:
        In ms: `out`, by pace, from a TTS frame in front of the service to the call that hands what
        it brought to LiveKit; `whole`, by pace, from the first of an utterance's frames to the last
        of these calls, less what its frames take to come; `sound` and `picture`, from LiveKit's
        stream yielding one to the frame behind the service; `picture, beyond its hold`: the same
        less what pictures are held back for their sound; `hold`; and what the resampler holds back.
    """
    order = [pace for _ in range(count) for pace in paces]
    speech, file = stage.directory / "probed.npy", stage.directory / "probed.npz"
    np.save(speech, speeches(0, len(order), PIECES))
    async with stage.party(PROBED) as process:
        await process.do("utterances", speech=str(speech), paces=order, file=str(file))
    taken = Taken(file, (stage.faults.width, stage.faults.height))
    spoken = taken.spoken()

    def of_pace(pace: str) -> list[Spoken]:
        return [each for each in spoken if each.said.split()[2] == pace]

    pictures = delays(taken.notes, "picture")
    holds = [(at, float(what[5:])) for at, what in taken.notes if what.startswith("hold ")]
    return {
        "out": {
            pace: figures(
                [delay for each in of_pace(pace) for delay in handed(each.notes)], digits=3
            )
            for pace in paces
        },
        "whole": {
            pace: figures([whole(each.notes, pace) for each in of_pace(pace)], digits=3)
            for pace in paces
        },
        "resampler holds back, ms": round(held_back() * 1000, 2),
        "sound": figures([delay for _, delay in delays(taken.notes, "sound")], digits=3),
        "picture": figures([delay for _, delay in pictures], digits=3),
        "hold": figures([held for _, held in holds], digits=3),
        "picture, beyond its hold": figures(
            [delay - _held(holds, at - delay) for at, delay in pictures], digits=3
        ),
    }


def handed(notes: Notes) -> list[float]:
    """How long it took from each TTS frame until what it brought was handed over, in s.

    What a frame brings is what the resampler gives back for it; the same one is asked here.
    """
    resampler = SpeechResampler()
    due, written = 0, 0
    waiting: list[tuple[float, int]] = []  # when a frame came, and how much is due with it
    found = []
    for at, what in notes:
        if what.startswith("tts "):
            brought = len(resampler.push(bytes(2 * int(what[4:])), RATE, 1)) // 2
            if brought:
                due += brought
                waiting.append((at, due))
        elif what.startswith("wrote "):
            written += int(what[6:])
            while waiting and waiting[0][1] <= written:
                found.append(at - waiting.pop(0)[0])
    return found


def whole(notes: Notes, pace: str) -> float:
    """How much longer than its frames took to come it took until all was handed over, in s."""
    came = [at for at, what in notes if what.startswith("tts ")]
    handed_over = [at for at, what in notes if what.startswith("wrote ")]
    return handed_over[-1] - came[0] - due(len(came) - 1, pace)


def delays(notes: Notes, kind: str) -> list[tuple[float, float]]:
    """When something was pushed, and how long after LiveKit had yielded it, in s.

    They come in order, but one may be left out, and one may look like the next.
    """
    yielded: deque[tuple[str, float]] = deque()
    found = []
    for at, what in notes:
        key = what.rpartition(" ")[2]
        if what.startswith(f"{kind} yielded "):
            yielded.append((key, at))
        elif what.startswith(f"{kind} pushed ") and any(key == other for other, _ in yielded):
            while (first := yielded.popleft())[0] != key:
                pass
            found.append((at, at - first[1]))
    return found


def held_back() -> float:
    """What the resampler has not given back yet of speech at the TTS's rate, in s; the median."""
    resampler, piece = SpeechResampler(), bytes(2 * round(RATE * FRAME))
    given = 0.0
    held = []
    for index in range(50):
        given += len(resampler.push(piece, RATE, 1)) / 2 / SPEECH_RATE
        held.append((index + 1) * FRAME - given)
    return float(np.median(held))


def _held(holds: list[tuple[float, float]], at: float) -> float:
    """How long the picture is held that was yielded then."""
    after = bisect_left(holds, (at, 0.0))
    return holds[after][1] if after < len(holds) else 0.0
