"""The service, unchanged, with an avatar that LiveKit wrote.

`AvatarRunner` and `DataStreamAudioReceiver` of livekit-agents 1.8.9, told whom to hear or not.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio
from pipecat.frames.frames import (
    EndFrame,
    LLMFullResponseEndFrame,
    OutputTransportMessageFrame,
    TextFrame,
)

from pipecat_runway.simulator import LiveKitServer, RunwaySimulator
from tests.conftest import STRICT, MakeService, TurnKnobs
from tests.kit.content import damage
from tests.kit.marks import compare, marked_speech, numbers
from tests.kit.pipeline import bracket_faults, running, tts_utterance
from tests.kit.timing import timed
from tests.scenarios.barge_in import Report, barge_ins
from tests.scenarios.marked import shapes, speak_all

from .workers import JudgeWorkers

RATE = 24_000

both = pytest.mark.parametrize(
    "sender_identity", [True, False], ids=["sender_identity", "first agent"]
)


@pytest_asyncio.fixture(scope="module")
async def _simulator(
    livekit_server: LiveKitServer, judges_python: Path
) -> AsyncIterator[RunwaySimulator]:
    """Takes the place of tests/conftest.py's: every avatar here is LiveKit's."""
    workers = partial(JudgeWorkers, python=judges_python)
    async with RunwaySimulator(faults=STRICT, livekit=livekit_server, workers=workers) as simulator:
        yield simulator


@pytest_asyncio.fixture(autouse=True)
async def _ready(runway: RunwaySimulator) -> None:
    """No bot waits for the start of a process."""
    await workers_of(runway).prepare(1)


def workers_of(runway: RunwaySimulator) -> JudgeWorkers:
    assert isinstance(runway.workers, JudgeWorkers)
    return runway.workers


async def assert_ended_well(runway: RunwaySimulator) -> None:
    """Every avatar left because it was told END_CALL, and its process ended by itself."""
    statuses = await workers_of(runway).gone()
    for session in runway.sessions:
        assert not session.is_open
        assert {"reason": "end_call"} == session.events[-1].data
        assert 0 == statuses[session.id]


@both
async def test_speech_comes_out_whole_once_and_in_order(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, sender_identity: bool
) -> None:
    """Marked speech of several shapes; LiveKit's receiver gets every sample of it."""
    faults(sender_required=sender_identity)
    report = await speak_all(make_service(), runway, list(shapes(4, longest=16)))
    assert {} == damage(report.verdicts)
    assert [] == report.brackets
    assert [] == report.errors
    assert 4 == len(report.received)
    assert all(abs(samples) <= 16 for samples in report.received), report.received
    await assert_ended_well(runway)


@timed  # the judges' avatars take long to begin beside another test
@both
async def test_the_last_words_are_heard_and_frames_keep_their_place(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, sender_identity: bool
) -> None:
    """Two utterances, frames between them and the EndFrame, queued before the avatar is there."""
    faults(sender_required=sender_identity)
    between = [
        OutputTransportMessageFrame(message={"n": 1}),
        TextFrame("caption"),
        LLMFullResponseEndFrame(),
    ]
    async with running(make_service()) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "first"))
        await run.queue(*between)
        await run.feed(tts_utterance(marked_speech(6, 5, RATE), RATE, 1, "last"))
        await run.end(timeout=40)
    assert [] == run.errors
    assert [] == bracket_faults(run.tape)
    assert {} == damage({"both": compare(numbers(0, 11), run.tape.speech_pcm().marks())})
    taped = [t.frame for t in run.tape.taped]
    first, last = ([frame for _, frame in run.tape.audio(name)] for name in ("first", "last"))
    places = [taped.index(frame) for frame in (first[-1], *between, last[0], last[-1])]
    assert places == sorted(places)
    assert isinstance(taped[-1], EndFrame)
    await assert_ended_well(runway)


@pytest.mark.long
async def test_after_a_barge_in_nothing_old_is_heard_and_everything_new_is(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """Four of all kinds with each, both at a time."""
    await workers_of(runway).prepare(2)
    bots: list[asyncio.Task[Report]] = []
    for sender_identity in (True, False):
        faults(sender_required=sender_identity)
        sessions = len(runway.sessions)
        service = make_service()
        bots.append(asyncio.create_task(barge_ins(service, runway, 4, seed=len(bots), calm=0)))
        async with asyncio.timeout(10):
            while len(runway.sessions) == sessions:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)  # until the bot has this kind
    for report in await asyncio.gather(*bots):
        assert [] == report.old
        assert {} == damage(report.verdicts)
        assert [] == report.errors
    await assert_ended_well(runway)
