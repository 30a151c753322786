"""Whether sound and picture belong together as they come out, and stay together.

The signal is the mouth itself: it follows the loudness of speech that comes in bursts, and from
both together the lag is found more exactly than from single pictures, which are 42 ms apart.
"""

import random
from typing import Any

import av
import numpy as np

from benchmarks.compare.buffered import LONGER
from benchmarks.compare.pacing import RATE
from benchmarks.compare.party import QUIET
from benchmarks.compare.reading import Spoken, Taken, figures
from benchmarks.compare.stage import CHARACTER, Stage
from pipecat_runway.cli.measure import SOUND_RATE, Film, sync
from pipecat_runway.simulator.face import Face, mouth_openness
from tests.kit.marks import marked_speech, resampled

PIECES = 24  # of 100 ms, an utterance; with its pauses some 6 s
LONGEST = 6.4  # s
ROUND = 5  # utterances whose mouths are kept at a time
BUFFER = 0.06  # s a player waits, so that pieces that come late leave no gap
ALIKE = 0.5  # correlation of mouth and sound below which the lag says nothing
SMALL = (480, 270)  # of the picture the mouth's own lag is found with

Result = dict[str, Any]


async def measure(stage: Stage, parties: list[str], minutes: float) -> Result:
    """Let each party's avatar speak for so long.

    Returns:
        By party, in ms: `offset` of the picture, later if above 0; `distance`, without the sign;
        `slope` in ms a minute of the line through all; `at` the s and the ms of each of them.
    """
    rounds = max(1, round(60 * minutes / (LONGEST + QUIET) / ROUND))
    found = {}
    for party in parties:
        offsets: list[tuple[float, float]] = []
        async with stage.party(party) as process:
            for number in range(rounds):
                speech, file = stage.directory / "lips.npy", stage.directory / "lips.npz"
                said = bursts(number * ROUND, ROUND)
                np.save(speech, said)
                paces = ["real-time"] * ROUND
                told = await process.do(
                    "utterances", speech=str(speech), paces=paces, file=str(file)
                )
                taken = Taken(file, (stage.faults.width, stage.faults.height))
                own = own_lag(said[0], stage.faults.fps)
                for spoken in taken.spoken():
                    late = offset(taken, spoken, stage.faults.fps, own)
                    if late is not None:
                        # Whoever plays it shows both together, as a browser does.
                        offsets.append((spoken.into, late + told.get(LONGER, 0.0)))
                print(f"lips: {party}, {len(offsets)} utterances", flush=True)
        found[party] = summary(offsets) | {"not measurable": rounds * ROUND - len(offsets)}
    return found


def summary(offsets: list[tuple[float, float]]) -> Result:
    """What was found at which time."""
    times = np.array([at for at, _ in offsets])
    begun = times.min(initial=np.inf)
    lags = np.array([lag for _, lag in offsets])
    slope = 0.0
    if len(offsets) > 2:
        slope = float(np.polyfit((times - begun) / 60, lags * 1000, 1)[0])
    return {
        "offset": figures(lags.tolist()),
        "distance": figures(np.abs(lags).tolist()),
        "slope": round(slope, 2),
        "at": [[round(at - begun, 1), round(lag * 1000, 1)] for at, lag in offsets],
    }


def bursts(seed: int, count: int) -> np.ndarray[Any, Any]:
    """Speech in bursts of one to three pieces, with pauses of a dice between them."""
    dice = random.Random(seed)
    found = []
    for number in range(count):
        pauses, place = {}, 0
        while (place := place + dice.randint(1, 3)) < PIECES:
            pauses[place] = dice.uniform(0.15, 0.35)
        pcm = marked_speech((seed + number) * PIECES, PIECES, RATE, pauses=pauses)
        samples = np.zeros(round(LONGEST * RATE), "<i2")
        wave = np.frombuffer(pcm, "<i2")[: len(samples)]
        samples[: len(wave)] = wave
        found.append(samples)
    return np.array(found)


def own_lag(pcm: np.ndarray[Any, Any], fps: float) -> float:
    """How late the painted mouth is by itself, in s: it opens at once, and shuts more slowly."""
    sound = resampled(np.asarray(pcm / 32768, np.float32), RATE, SOUND_RATE).astype(float)
    times = np.arange(0.0, len(pcm) / RATE, 1 / fps)
    silent = Film((0, 0), fps, times, np.zeros(len(times)), sound)
    face = Face(CHARACTER, *SMALL)
    mouths = []
    for at, level in zip(times, silent.level(times, 1 / fps), strict=True):
        picture = face.paint(float(at), float(level), 1900.0)
        mouths.append(mouth_openness(rgb(picture)))
    found = sync(Film(SMALL, fps, times, np.array(mouths), sound))
    assert found is not None
    return found.lag


def offset(taken: Taken, spoken: Spoken, fps: float, own: float) -> float | None:
    """How much later an utterance's pictures came out than its sound, in s; None: no telling.

    Args:
        taken: What came out.
        spoken: The utterance.
        fps: Pictures a second.
        own: What the mouth lags by itself, in s.
    """
    if spoken.first is None or spoken.last is None:
        return None
    begin, end = spoken.first - 1.0, spoken.last + 1.0
    heard = (taken.heard_at >= begin) & (taken.heard_at < end)
    seen = (taken.seen_at >= begin) & (taken.seen_at < end)
    pieces = [piece for piece, wanted in zip(taken.pieces, heard, strict=True) if wanted]
    rate = int(taken.rates[0])
    sound = np.zeros(round((end - begin + 1.0) * rate), np.float32)
    free = 0
    for at, piece in zip(taken.heard_at[heard], pieces, strict=True):
        due = round((at - begin + BUFFER) * rate) if at - begin > free / rate else free
        piece = piece[: len(sound) - due]
        sound[due : due + len(piece)] = piece / 32768
        free = due + len(piece)
    sound = sound[round(BUFFER * rate) :]
    film = Film(
        (0, 0),
        fps,
        taken.seen_at[seen] - begin,
        taken.openness[seen],
        resampled(sound, rate, SOUND_RATE).astype(float),
    )
    found = sync(film)
    return None if found is None or found.correlation < ALIKE else found.lag - own


def rgb(picture: Any) -> np.ndarray[Any, Any]:
    """The colours of a small painted picture."""
    width, height = SMALL
    frame = av.VideoFrame.from_ndarray(picture.reshape(height * 3 // 2, width), "yuv420p")
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
