"""Avatars that die, freeze or fall silent in the middle of a word, and what was heard."""

import asyncio
import random
from dataclasses import dataclass, field
from itertools import pairwise

from pipecat.frames.frames import TTSStoppedFrame

from pipecat_runway import RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content
from tests.kit.marks import Verdict, marked_speech, numbers, stretches
from tests.kit.pipeline import bracket_faults, running, tts_utterance

RATE = 24_000
PIECES = 30  # of 100 ms, in the utterance that is hit
AFTER = 8  # in those that follow: one by voice, one by the face that has come back


@dataclass
class Report:
    """What was counted.

    Attributes:
        verdicts: What was wrong with the marks that came out, by utterance.
        brackets: What was wrong with the frames around the speech.
        silences: The longest silence within each utterance that was hit, in s.
        repeated: What was heard twice of it, in s.
        errors: The types of the errors reported, by fault.
        away: How long there was no face, in s.
        same: How often the session went on.
        left: Sessions still open at the end.
    """

    verdicts: dict[str, Verdict] = field(default_factory=dict)
    brackets: list[str] = field(default_factory=list)
    silences: list[float] = field(default_factory=list)
    repeated: list[float] = field(default_factory=list)
    errors: list[list[str]] = field(default_factory=list)
    away: list[float] = field(default_factory=list)
    same: int = 0
    left: int = 0


def comings(service: RunwayVideoService) -> tuple[asyncio.Queue[str], asyncio.Queue[str]]:
    """The sessions whose avatars come from now on, and the reasons for which they go."""
    connected: asyncio.Queue[str] = asyncio.Queue()
    gone: asyncio.Queue[str] = asyncio.Queue()

    @service.event_handler("on_avatar_connected")
    async def on_avatar_connected(_service: object, session_id: str) -> None:
        connected.put_nowait(session_id)

    @service.event_handler("on_avatar_disconnected")
    async def on_avatar_disconnected(_service: object, _session_id: str, reason: str) -> None:
        gone.put_nowait(reason)

    return connected, gone


async def deaths(
    service: RunwayVideoService,
    runway: RunwaySimulator,
    count: int,
    *,
    fault: str,
    undo: str | None = None,
    seed: int = 1,
) -> Report:
    """Let the avatar die `count` times while it speaks.

    Args:
        service: The service, not running yet.
        runway: The local Runway it uses.
        count: How often.
        fault: The switch that is thrown, in mid-word.
        undo: The switch that is thrown as soon as the service has noticed.
        seed: Of the moments.
    """
    report, rng = Report(), random.Random(seed)
    connected, gone = comings(service)
    before = len(runway.sessions)
    loop = asyncio.get_running_loop()

    mark = said = 0
    async with running(service) as run:
        await run.started()
        current = await asyncio.wait_for(connected.get(), 20)
        for n in range(count):
            for name, pieces in (("hit", PIECES), ("voice", AFTER), ("face", AFTER)):
                context = f"{n}-{name}"
                before_errors = len(run.errors)
                speech = marked_speech(mark, pieces, RATE)
                await run.feed(tts_utterance(speech, RATE, 1, context))
                said += 1
                if name == "hit":
                    await runway.fault(f"{fault}@speech:{rng.uniform(0.3, 2.2):.2f}", current)
                    await asyncio.wait_for(gone.get(), 10)
                    fell_at = loop.time()
                    if undo:
                        await runway.fault(undo, current)
                await run.tape.wait_for(TTSStoppedFrame, timeout=20, count=said)
                timeline = run.tape.timeline_pcm(context)
                marks = timeline.marks(among=range(mark - 50, mark + pieces + 50))
                verdict = compare_content(numbers(mark, pieces), marks)
                if name == "hit":
                    again = [m.heard_s for m in marks if m.number in verdict.doubled]
                    report.repeated.append(sum(again) / 2)
                    report.silences.append(_longest_silence(timeline.pcm, timeline.rate))
                    report.errors.append([])
                    if verdict.lost or verdict.foreign or verdict.out_of_order:
                        report.verdicts[context] = verdict
                elif not verdict.clean:
                    report.verdicts[context] = verdict
                report.errors[-1] += [
                    type(e.exception).__name__ for e in run.errors[before_errors:]
                ]
                mark += pieces
                if name == "voice":
                    after = await asyncio.wait_for(connected.get(), 40)
                    report.away.append(loop.time() - fell_at)
                    report.same += after == current
                    current = after
        await run.end()
    report.brackets = bracket_faults(run.tape)
    report.left = sum(session.is_open for session in runway.sessions[before:])
    return report


def _longest_silence(pcm: bytes, rate: int) -> float:
    audible = stretches(pcm, rate)
    return max((later[0] - earlier[1] for earlier, later in pairwise(audible)), default=0.0)
