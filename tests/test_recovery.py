"""The avatar fails, and the conversation goes on."""

import asyncio

import pytest
from pipecat.frames.frames import (
    OutputImageRawFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
)
from pipecat.pipeline.worker import PipelineParams

from pipecat_runway import RunwayUsageMetricsData
from pipecat_runway.faces import KEPT
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content, damage
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import Tape, running, tts_utterance
from tests.scenarios.deaths import comings, deaths

from .conftest import MakeService, TurnKnobs

RATE = 24_000
REPEATED_AT_MOST = 0.2  # s


@pytest.mark.parametrize(
    ("fault", "undo", "same", "error"),
    [
        ("kill", None, False, "AvatarStalledError"),
        pytest.param("freeze", None, False, "AvatarStalledError", marks=pytest.mark.long),
        pytest.param("freeze", "thaw", True, "AvatarStalledError", marks=pytest.mark.long),
        pytest.param("rejoin", None, True, "AvatarGoneError", marks=pytest.mark.long),
        ("vanish", None, False, "RoomLostError AvatarGoneError"),  # whichever is told first
    ],
)
async def test_the_voice_says_the_rest_and_a_face_returns(
    make_service: MakeService,
    runway: RunwaySimulator,
    fault: str,
    undo: str | None,
    same: bool,
    error: str,
) -> None:
    """Nothing unheard is lost, one error tells of it, and a session that recovers is kept."""
    service = make_service(picture_timeout=0.5)
    # Twice where the same avatar goes on: what it was saying must not come back in what follows.
    report = await deaths(service, runway, 2 if same else 1, fault=fault, undo=undo)
    assert {} == damage(report.verdicts)
    assert [] == report.brackets
    assert all(len(told) == 1 and told[0] in error.split() for told in report.errors)
    assert (2 if same else 0) == report.same
    assert max(report.repeated) <= REPEATED_AT_MOST
    assert 0 == report.left


async def test_a_session_is_not_kept_for_a_room_that_is_gone(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """A frozen avatar is waited for; where its room vanishes meanwhile, nobody can come back."""
    service = make_service(picture_timeout=0.5)
    connected, gone = comings(service)
    async with running(service) as run:
        await run.started()
        frozen = await asyncio.wait_for(connected.get(), 20)
        await run.feed(tts_utterance(marked_speech(0, 20, RATE), RATE, 1, "a"))
        await runway.fault("freeze@speech:0.5", frozen)
        await asyncio.wait_for(gone.get(), 10)
        await runway.fault("vanish", frozen)
        session = runway.find(frozen)
        assert session is not None
        await asyncio.wait_for(session.ended.wait(), KEPT - 1)
        await run.end()


async def test_an_avatar_without_a_voice_is_given_one_more_chance(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """The voice says what the mute one does not; the second time another avatar follows it."""
    service = make_service()
    connected, _ = comings(service)
    async with running(service) as run:
        await run.started()
        first = await asyncio.wait_for(connected.get(), 20)
        for n in range(4):
            if n == 1:
                await runway.fault("muted=yes", first)
            if n == 3:
                assert first != await asyncio.wait_for(connected.get(), 20)
            await run.feed(tts_utterance(marked_speech(8 * n, 8, RATE), RATE, 1, f"u{n}"))
            await run.tape.wait_for(TTSStoppedFrame, timeout=20, count=n + 1)
        await run.end()
    assert ["AvatarStalledError"] == [type(error.exception).__name__ for error in run.errors]
    for n in range(4):
        heard = run.tape.speech_pcm(f"u{n}").marks(among=range(50))
        verdict = compare_content(numbers(8 * n, 8), heard)
        assert not verdict.lost, (n, verdict)
    opened = [e for e in runway.sessions[-1].events if e.kind == "stream_opened"]
    assert 1 == len(opened)


async def test_nobody_speaks_and_the_face_is_parked(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Its session ends; the voice answers at once, and another face returns behind it."""
    service = make_service(idle_timeout=1.0)
    connected, gone = comings(service)
    async with running(service) as run:
        await run.started()
        first = await asyncio.wait_for(connected.get(), 20)
        assert "idle" == await asyncio.wait_for(gone.get(), 10)
        session = runway.find(first)
        assert session is not None
        await asyncio.wait_for(session.ended.wait(), 10)
        await run.feed(tts_utterance(marked_speech(0, 8, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        assert first != await asyncio.wait_for(connected.get(), 20)
        assert "idle" == await asyncio.wait_for(gone.get(), 10)
        await run.queue(UserStartedSpeakingFrame())
        await asyncio.wait_for(connected.get(), 20)
        await run.end()
    assert [] == run.errors
    heard = run.tape.speech_pcm("u").marks(among=range(30))
    assert compare_content(numbers(0, 8), heard).clean


async def test_something_is_seen_without_a_face(make_service: MakeService) -> None:
    """The placeholder stands in before the face, the avatar's picture takes its place."""
    red = OutputImageRawFrame(bytes((255, 0, 0)) * 32 * 18, (32, 18), "RGB")
    service = make_service(
        placeholder=red, video_out_width=64, video_out_height=36, start_on="first_speech"
    )
    async with running(service, Tape(look=lambda picture: picture.image[:3])) as run:
        await run.started()
        stand_in = await run.tape.wait_for_pictures(1, timeout=10)
        assert ((64, 36), bytes((255, 0, 0))) == (stand_in.size, stand_in.look)
        await run.feed(tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=20)
        await run.end()
    assert run.tape.pictures[-1].look != stand_in.look


async def test_the_call_has_a_face_for_as_long_as_it_may(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Then the session is ended, one error says so, and the voice goes on."""
    service = make_service(max_call_duration=3)
    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await asyncio.wait_for(runway.sessions[-1].ended.wait(), 20)
        await run.feed(tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        assert service.is_usable
        await run.end()
    assert ["CallLimitError"] == [type(error.exception).__name__ for error in run.errors]
    heard = run.tape.speech_pcm("u").marks(among=range(30))
    assert compare_content(numbers(0, 4), heard).clean


async def test_usage_is_counted(make_service: MakeService, runway: RunwaySimulator) -> None:
    """Creates and session seconds come as metrics, in parts that add up to what was billed."""
    params = PipelineParams(enable_usage_metrics=True)
    async with running(make_service(), params=params) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await run.end()
    used = run.tape.metrics(RunwayUsageMetricsData)
    assert 1 == sum(data.creates for data in used)
    assert abs(sum(data.seconds for data in used) - runway.sessions[-1].billed_seconds) < 2


async def test_a_start_that_cost_nothing_is_tried_again(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """Without a free slot the voice speaks behind one error; the face comes when there is one."""
    connected = asyncio.Event()
    faults(create_status=429)
    service = make_service()

    @service.event_handler("on_avatar_connected")
    async def on_avatar_connected(_service: object, _session_id: str) -> None:
        connected.set()

    async with running(service) as run:
        await run.started()
        for n in range(2):
            await run.feed(tts_utterance(marked_speech(8 * n, 8, RATE), RATE, 1, f"u{n}"))
            await run.tape.wait_for(TTSStoppedFrame, timeout=20, count=n + 1)
            faults(create_status=None)
            await asyncio.wait_for(connected.wait(), 30)
        await run.end()
    assert ["ConcurrencyError"] == [type(error.exception).__name__ for error in run.errors]
    assert 1 == len([e for e in runway.sessions[-1].events if e.kind == "stream_opened"])
    for n in range(2):
        heard = run.tape.speech_pcm(f"u{n}").marks(among=range(30))
        assert compare_content(numbers(8 * n, 8), heard).clean
