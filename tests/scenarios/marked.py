"""Marked speech in every shape a TTS makes, counted at both ends."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

from pipecat.frames.frames import TTSStoppedFrame

from pipecat_runway import RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.marks import Verdict, compare, marked_speech, numbers, onset_end
from tests.kit.pipeline import bracket_faults, running, tts_utterance

RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)
FRAMES_MS = (10, 20, 40, 100)


@dataclass(frozen=True)
class Shape:
    """One utterance.

    Attributes:
        pieces: Its length, in marks of 100 ms.
        rate: The TTS's sample rate in Hz.
        channels: The TTS's channels.
        frame_ms: Length of its frames.
        pace: How it arrives.
    """

    pieces: int
    rate: int
    channels: int
    frame_ms: int
    pace: str


@dataclass
class Report:
    """What was counted.

    Attributes:
        verdicts: What was wrong with the marks that came out, by utterance.
        received: Samples at 16 kHz the worker received too many or too few, by utterance.
        lengths: Heard length less sent length in ms, by utterance.
        brackets: What was wrong with the frames around the speech.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    received: list[int] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    brackets: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def shapes(count: int, seed: int = 1, longest: int = 80) -> Iterator[Shape]:
    """Yield `count` shapes: every rate, channel count and frame length in turn, 0.3 s and up."""
    rng = random.Random(seed)
    rates, channels, frames = cycle(RATES), cycle((1, 2, 1)), cycle(FRAMES_MS)
    for i in range(count):
        pieces = 3 if i == 0 else longest if i == 1 else rng.randint(3, longest)
        frame_ms = next(frames)
        # At the pace of speech a frame must come before the one ahead of it is over.
        pace = "realtime" if i % 2 and frame_ms <= 20 else "burst"
        yield Shape(pieces, next(rates), next(channels), frame_ms, pace)


async def speak_all(
    service: RunwayVideoService,
    runway: RunwaySimulator,
    wanted: list[Shape],
    *,
    at_once: bool = False,
) -> Report:
    """Speak utterances one after another, and compare what comes out with what went in.

    Args:
        service: The service, not running yet.
        runway: The local Runway it uses, keeping audio.
        wanted: The utterances.
        at_once: Queue everything and the EndFrame before the avatar is there.
    """
    report = Report()
    first = 0
    async with running(service) as run:
        await run.started()
        if not at_once:
            await run.tape.wait_for_pictures(1, timeout=20)
        for i, shape in enumerate(wanted):
            speech = marked_speech(first, shape.pieces, shape.rate, shape.channels)
            first += shape.pieces
            context = f"utterance-{i}"
            pace = "burst" if at_once else shape.pace
            await run.feed(
                tts_utterance(
                    speech,
                    shape.rate,
                    shape.channels,
                    context,
                    frame_ms=shape.frame_ms,
                    pace=pace,
                )
            )
            if not at_once:
                await run.tape.wait_for(TTSStoppedFrame, count=i + 1, timeout=20)
        await run.end(timeout=60 + first / 10)
        report.errors = [frame.error for frame in run.errors]
    first = 0
    session = runway.sessions[-1]
    streams = [event.data["stream"] for event in session.events if event.kind == "stream_opened"]
    for i, shape in enumerate(wanted):
        recording = run.tape.speech_pcm(f"utterance-{i}")
        expected = numbers(first, shape.pieces)
        verdict = compare(expected, recording.marks(among=range(first - 90, first + 90)))
        first += shape.pieces
        if not verdict.clean:
            report.verdicts[f"{i} {shape}"] = verdict
        if i < len(streams):
            report.received.append(len(session.received(streams[i])) // 2 - shape.pieces * 1600)
        begin, end = onset_end(recording.pcm, recording.rate)
        report.lengths.append((end - begin - shape.pieces / 10) * 1000)
    report.brackets = bracket_faults(run.tape)
    return report
