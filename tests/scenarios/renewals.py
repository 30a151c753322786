"""Speech that goes on while one session follows another, and what was heard of it."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pipecat.frames.frames import TTSStoppedFrame

from pipecat_runway import RunwayUpdateSettingsFrame, RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content
from tests.kit.marks import Verdict, marked_speech, numbers
from tests.kit.pipeline import bracket_faults, running, tts_utterance

RATE = 24_000
SHORTEST, LONGEST = 5, 90  # marks of 100 ms
SPACING = 0.2  # s between utterances, at most


@dataclass
class Report:
    """What was counted.

    Attributes:
        renewed: How often a session followed another.
        utterances: How many were spoken meanwhile.
        verdicts: What was wrong with the marks that came out, by utterance.
        brackets: What was wrong with the frames around the speech.
        gaps: The longest time without a picture around each change, in s.
        doubled: How long two sessions were open at each change, in s: from the new one's tracks
            to the old one's leaving.
        billed: Seconds billed for all sessions, and of the call.
        shown: The characters of the sessions, in order.
        left: Sessions still open at the end.
        errors: Messages of the errors reported.
    """

    renewed: int = 0
    utterances: int = 0
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    brackets: list[str] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    doubled: list[float] = field(default_factory=list)
    billed: tuple[int, float] = (0, 0.0)
    shown: list[str] = field(default_factory=list)
    left: int = 0
    errors: list[str] = field(default_factory=list)


async def renewals(
    service: RunwayVideoService,
    runway: RunwaySimulator,
    count: int,
    *,
    seed: int = 1,
    characters: Sequence[str] = (),
) -> Report:
    """Speak until sessions have followed each other `count` times.

    Args:
        service: The service, not running yet; its `max_duration` is short, or `characters` are
            given.
        runway: The local Runway it uses.
        count: How often.
        seed: Of the lengths and pauses.
        characters: Presets to change to in turn, each while an utterance sounds.
    """
    report, rng = Report(), random.Random(seed)
    changes: list[float] = []
    before = len(runway.sessions)
    loop = asyncio.get_running_loop()

    @service.event_handler("on_avatar_renewed")
    async def on_avatar_renewed(_service: object, _session_id: str) -> None:
        changes.append(loop.time())

    spoken: list[tuple[int, int]] = []
    mark = asked = 0
    began = loop.time()
    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        while len(changes) < count:
            pieces = rng.randint(SHORTEST, LONGEST)
            speech = marked_speech(mark, pieces, RATE)
            context = f"u{len(spoken)}"
            await run.feed(tts_utterance(speech, RATE, 1, context))
            if characters and asked == len(changes):
                settings = RunwayVideoService.Settings(
                    preset_id=characters[asked % len(characters)]
                )
                await run.queue(RunwayUpdateSettingsFrame(delta=settings))
                asked += 1
            spoken.append((mark, pieces))
            mark += pieces
            await run.tape.wait_for(TTSStoppedFrame, timeout=30, count=len(spoken))
            await asyncio.sleep(rng.uniform(0, SPACING))
        await run.end()
        report.errors = [frame.error for frame in run.errors]
    report.renewed, report.utterances = len(changes), len(spoken)
    for n, (first, pieces) in enumerate(spoken):
        heard = run.tape.speech_pcm(f"u{n}").marks(among=range(first - 100, first + pieces + 100))
        verdict = compare_content(numbers(first, pieces), heard)
        if not verdict.clean:
            report.verdicts[f"u{n}"] = verdict
    report.brackets = bracket_faults(run.tape)
    shown = [picture.at for picture in run.tape.pictures]
    for change in changes:
        near = [at for at in shown if change - 3 < at < change + 1]
        report.gaps.append(max(b - a for a, b in pairwise(near)))
    sessions = runway.sessions[before:]
    for old, new in pairwise(sessions):
        left = [event.at for event in old.events if event.kind == "left"]
        came = [event.at for event in new.events if event.kind == "published"]
        if left and came:
            report.doubled.append(max(0.0, left[-1] - came[0]))
    report.billed = (sum(s.billed_seconds for s in sessions), loop.time() - began)
    report.shown = [session.character for session in sessions]
    report.left = sum(session.is_open for session in sessions)
    return report
