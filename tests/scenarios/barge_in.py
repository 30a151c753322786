"""Barge-ins of every kind, and what was heard after each of them."""

import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

from pipecat.frames.frames import Frame, InterruptionFrame, TTSAudioRawFrame, TTSStoppedFrame

from pipecat_runway import RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.marks import Verdict, compare, marked_speech, numbers
from tests.kit.pipeline import Run, Tape, recording_of, running, tts_utterance

RATE = 24_000
OLD_PIECES, NEW_PIECES = 25, 8  # of 100 ms
WHEN = ("before the first sound", "mid-word", "near the end", "twice in a row")


@dataclass
class Report:
    """What was counted.

    Attributes:
        old: Old marks heard after an interruption.
        verdicts: What was wrong with the utterance after it, by barge-in.
        calm_onsets: What passes between an uninterrupted utterance's first frame and its first
            sound apart from the worker's own time, in s.
        delays: How much longer that took right after a barge-in than in the last calm ones, in s.
        spreads: How much longer each calm one took than those just before it, in s: what the
            network and the machine do to an onset by themselves.
        errors: Messages of the errors reported.
    """

    old: list[str] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    calm_onsets: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def delay_p95(self) -> float:
        """How much later an onset is after a barge-in than without one, in s, 95th percentile."""
        return _p95(self.delays)

    @property
    def spread_p95(self) -> float:
        """How much later an onset without a barge-in is than the last ones, in s, the same."""
        return _p95(self.spreads)


async def barge_ins(
    service: RunwayVideoService,
    runway: RunwaySimulator,
    count: int,
    *,
    seed: int = 1,
    followed_up: float = 0.5,
    old_pieces: int = OLD_PIECES,
    calm: int = 4,
) -> Report:
    """Interrupt speech `count` times.

    Args:
        service: The service, not running yet.
        runway: The local Runway it uses.
        count: How many barge-ins, all kinds in turn.
        seed: Of the instants.
        followed_up: Which part of them is followed by new speech within 20 ms; the others are
            followed by new speech after half a second.
        calm: Before every so many of them comes an utterance that is not interrupted: the network's
            jitter buffer changes its delay as it goes along. 0: none.
        old_pieces: Length of the interrupted speech, in marks of 100 ms.
    """
    report, rng = Report(), random.Random(seed)
    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        mark = interruptions = 0
        for i in range(count):
            if calm and i % calm == 0:
                onset = await _say(run, service, runway, f"calm-{i}", mark, NEW_PIECES)
                if report.calm_onsets:
                    report.spreads.append(onset - median(report.calm_onsets[-3:]))
                report.calm_onsets.append(onset)
                mark += NEW_PIECES
            kind = WHEN[i % len(WHEN)]
            label = f"{i} {kind}"
            old, new = f"old-{i}", f"new-{i}"
            speech = marked_speech(mark, old_pieces, RATE)
            old_marks = numbers(mark, old_pieces)
            await run.feed(tts_utterance(speech, RATE, 1, old, pace="burst"))
            # An interrupted TTS makes no more: all it made has left it by now.
            await run.head.wait_for(_end_of(old))
            await _moment(run.tape, old, old_pieces / 10, kind, rng)
            await run.interrupt()
            interruptions += 1
            if kind == "twice in a row":
                await _pause(rng.uniform(0.005, 0.06))
                await run.interrupt()
                interruptions += 1
            cut = await run.tape.wait_for(InterruptionFrame, count=interruptions)
            place = run.tape.taped.index(cut)
            prompt = rng.random() < followed_up
            await _pause(rng.uniform(0, 0.02) if prompt else 0.5)
            mark += old_pieces
            onset = await _say(run, service, runway, new, mark, NEW_PIECES)
            if prompt and calm:
                report.delays.append(onset - median(report.calm_onsets[-3:]))
            after = [
                (t.at, t.frame)
                for t in run.tape.taped[place:]
                if isinstance(t.frame, TTSAudioRawFrame)
            ]
            heard = recording_of((0.0, frame) for _, frame in after)
            expected = numbers(mark, NEW_PIECES)
            marks = heard.marks(among=[*old_marks, *expected])
            verdict = compare(expected, marks)
            report.old += [f"{label}: {n}" for n in verdict.foreign if n in old_marks]
            report.old += [f"{label}: frame" for _, f in after if f.context_id == old]
            if not verdict.clean:
                report.verdicts[label] = verdict
            mark += NEW_PIECES
        await run.end()
        report.errors = [frame.error for frame in run.errors]
    return report


async def _say(
    run: Run,
    service: RunwayVideoService,
    runway: RunwaySimulator,
    context: str,
    mark: int,
    pieces: int,
) -> float:
    """Speak, and return what passed until the first sound apart from the worker's own time.

    It is infinite where the face has not said it.
    """
    speech = marked_speech(mark, pieces, RATE)
    began = time.monotonic()
    await run.feed(tts_utterance(speech, RATE, 1, context, pace="burst"))
    await run.tape.wait_for(_end_of(context), timeout=30)
    session = runway.find(service.session_id or "")
    events = [event for event in session.events if event.at >= began] if session else []
    played = [event for event in events if event.kind == "playing"]
    if not played:
        return math.inf  # the voice has said it
    # The last: a slow worker may tell of the interrupted stream only now.
    opened = [event for event in events if event.kind == "stream_opened"][-1]
    first = next(event for event in played if event.data["stream"] == opened.data["stream"])
    # When its first sample leaves: what is reported then holds 20 ms, old speech before it or none.
    left: float = first.data["at"]
    return (opened.at - began) + (run.tape.audio(context)[0][0] - left)


def _p95(times: list[float]) -> float:
    """Return the 95th percentile of those the face has said; infinite if there are none."""
    times = sorted(time for time in times if math.isfinite(time))
    return times[min(len(times) - 1, int(0.95 * len(times)))] if times else math.inf


def _end_of(context: str) -> Callable[[Frame], bool]:
    return lambda frame: isinstance(frame, TTSStoppedFrame) and frame.context_id == context


async def _moment(tape: Tape, context: str, length: float, kind: str, rng: random.Random) -> None:
    """Wait for the instant of the interruption."""
    if kind == "before the first sound":
        await _pause(rng.uniform(0, 0.05))
        return
    onset = await tape.wait_for(
        lambda f: isinstance(f, TTSAudioRawFrame) and f.context_id == context
    )
    at = rng.uniform(length - 0.05, length) if kind == "near the end" else rng.uniform(0.1, 2.2)
    await _pause(onset.at + at - time.monotonic())


async def _pause(seconds: float) -> None:
    """Let an instant that is part of the scenario pass."""
    await asyncio.sleep(max(0.0, seconds))
