"""What may be asked of the service: when it begins, what it shows, what it measures."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from loguru import logger
from pipecat.frames.frames import (
    ClientConnectedFrame,
    Frame,
    OutputImageRawFrame,
    OutputTransportMessageFrame,
    ServiceUpdateSettingsFrame,
    TTSStoppedFrame,
    TTSUpdateSettingsFrame,
)
from pipecat.metrics.metrics import TTFBMetricsData
from pipecat.pipeline.worker import PipelineParams
from pipecat.services.settings import ServiceSettings, TTSSettings
from pipecat.transports.base_transport import TransportParams

from pipecat_runway import RunwayVideoService
from pipecat_runway.errors import ConfigError
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import Run, Tape, running, tts_utterance
from tests.kit.timing import timed
from tests.kit.transport import LoopbackTransport

from .conftest import MakeService, TurnKnobs

RATE = 24_000
CUSTOM = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NATIVE = (320, 180)  # the simulated avatar's, see conftest.py

Settings = RunwayVideoService.Settings


async def passes(run: Run, frame: Frame) -> None:
    """Send a frame through the pipeline and wait until it has passed."""
    await run.queue(frame)
    await run.tape.wait_for(lambda passed: passed is frame)


async def note(run: Run) -> None:
    """Wait until everything queued so far has passed."""
    await passes(run, OutputTransportMessageFrame(message={}))


async def spoken(run: Run, context_id: str = "u", first: int = 0, count: int = 1) -> None:
    """Speak six marks, and have them heard."""
    await run.feed(tts_utterance(marked_speech(first, 6, RATE), RATE, 1, context_id))
    await run.tape.wait_for(TTSStoppedFrame, count=count, timeout=20)
    heard = run.tape.speech_pcm(context_id).marks()
    assert compare_content(numbers(first, 6), heard).clean


# -- when the session begins --------------------------------------------------------------------


async def test_with_start_on_client_connected_nothing_is_billed_before(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """The session is created with the first client, and only once."""
    service = make_service(start_on="client_connected")
    async with running(service) as run:
        await run.started()
        await note(run)
        assert [] == runway.requests
        assert service.session_id is None
        await passes(run, ClientConnectedFrame())
        await passes(run, ClientConnectedFrame())
        await run.tape.wait_for_pictures(1, timeout=20)
        await spoken(run)
        await run.end()
    assert 1 == _creates(runway)


@pytest.mark.parametrize("start_on", ["first_speech", "client_connected"])
async def test_speech_always_begins_the_session(
    make_service: MakeService, runway: RunwaySimulator, start_on: str
) -> None:
    """Nothing is asked of Runway before the first word, which is spoken whole."""
    async with running(make_service(start_on=start_on)) as run:
        await run.started()
        await note(run)
        if start_on == "first_speech":
            await passes(run, ClientConnectedFrame())
        assert [] == runway.requests
        await spoken(run)
        await run.end()
    assert 1 == _creates(runway)


@pytest.mark.parametrize("rate", [16_000, 48_000])
async def test_a_prewarmed_avatar_is_there_when_the_pipeline_starts(
    make_service: MakeService, runway: RunwaySimulator, rate: int
) -> None:
    """`prewarm()` waits for it; the pipeline takes it over, whatever its sample rate."""
    service = make_service(start_on="first_speech")
    assert await service.prewarm()
    assert "RUNNING" == runway.sessions[-1].status
    async with running(service, params=PipelineParams(audio_out_sample_rate=rate)) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=5)
        await spoken(run)
        await run.end()
    assert 1 == _creates(runway)


async def test_a_prewarm_that_fails_says_so(make_service: MakeService, faults: TurnKnobs) -> None:
    """It returns False, and the pipeline that follows reports the error and speaks by voice."""
    faults(create_status=429)
    service = make_service()
    assert not await service.prewarm()
    async with running(service) as run:
        await run.started()
        await spoken(run)
        await run.end()
    (error,) = run.errors
    assert "429" in error.error


# -- settings -----------------------------------------------------------------------------------


def test_giving_one_id_clears_the_other() -> None:
    """A character has exactly one of the two ids, after every update."""
    settings = Settings(model="m", preset_id="cooking-teacher", avatar_id=None)
    assert {"preset_id", "avatar_id"} == set(settings.apply_update(Settings(avatar_id=CUSTOM)))
    assert (None, CUSTOM) == (settings.preset_id, settings.avatar_id)
    settings.apply_update(Settings(preset_id="influencer"))
    assert ("influencer", None) == (settings.preset_id, settings.avatar_id)


@pytest.mark.parametrize(
    "delta", [Settings(preset_id="a", avatar_id="b"), Settings(preset_id=None)]
)
def test_an_update_that_leaves_no_one_character_is_refused(delta: Any) -> None:
    """Both ids at once, or taking the only one away, is an error that changes nothing."""
    settings = Settings(model="m", preset_id="cooking-teacher", avatar_id=None)
    with pytest.raises(ConfigError, match="exactly one"):
        settings.apply_update(delta)
    assert ("cooking-teacher", None) == (settings.preset_id, settings.avatar_id)


async def test_updates_before_the_session_choose_its_character(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Our own deltas are taken, and a wrong one is reported; all others pass as they are."""
    service, other = make_service(start_on="first_speech"), make_service()
    foreign: list[Frame] = [
        TTSUpdateSettingsFrame(delta=TTSSettings(voice="v")),
        ServiceUpdateSettingsFrame(delta=ServiceSettings(model="m")),
        ServiceUpdateSettingsFrame(delta=Settings(preset_id="influencer"), service=other),
    ]
    ours = ServiceUpdateSettingsFrame(delta=Settings(preset_id="cat-character"))
    wrong = ServiceUpdateSettingsFrame(delta=Settings(preset_id="a", avatar_id="b"))
    async with running(service) as run:
        await run.started()
        await run.queue(wrong, ours, *foreign)
        await spoken(run)
        await run.end()
    passed = [t.frame for t in run.tape.taped]
    assert all(any(frame is p for p in passed) for frame in foreign)
    assert not any(p is ours or p is wrong for p in passed)
    assert "cat-character" == runway.sessions[-1].character
    (error,) = run.errors
    assert "exactly one" in error.error
    await other.cleanup()


# -- pictures -----------------------------------------------------------------------------------


def edges(frame: OutputImageRawFrame) -> tuple[bool, bool]:
    """Whether the top row and the left column are black."""
    width, height = frame.size
    rgb = np.frombuffer(frame.image, np.uint8).reshape(height, width, 3)
    return bool(rgb[0].max() < 16), bool(rgb[:, 0].max() < 16)


@pytest.mark.parametrize(
    ("options", "size", "bars"),
    [
        ({}, NATIVE, (False, False)),
        ({"video_out_width": 160}, (160, 90), (False, False)),
        ({"video_out_height": 90}, (160, 90), (False, False)),
        ({"video_out_width": 200, "video_out_height": 200}, (200, 200), (True, False)),
        (
            {"video_out_width": 200, "video_out_height": 200, "fit": "cover"},
            (200, 200),
            (False, False),
        ),
    ],
)
async def test_pictures_have_the_size_asked_for(
    make_service: MakeService, options: dict[str, Any], size: tuple[int, int], bars: Any
) -> None:
    """The avatar's own aspect is kept: with bars, cropped, or by the side that was not given."""
    async with running(make_service(**options), Tape(look=edges)) as run:
        await run.started()
        picture = await run.tape.wait_for_pictures(3, timeout=20)
        await run.end()
    assert {(size, "RGB")} == {(p.size, p.format) for p in run.tape.pictures}
    assert bars == picture.look


@timed
async def test_no_more_pictures_come_than_were_asked_for(make_service: MakeService) -> None:
    """`video_out_framerate=8` of the avatar's 24, evenly."""
    async with running(make_service(video_out_framerate=8)) as run:
        await run.started()
        last = await run.tape.wait_for_pictures(24, timeout=30)
        first = run.tape.pictures[7]
        await run.end()
    assert 16 / (last.at - first.at) == pytest.approx(8, rel=0.15)


@pytest.fixture
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning."""
    lines: list[str] = []
    sink = logger.add(lambda m: lines.append(str(m)), level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


@pytest.mark.parametrize(
    ("params", "options", "words"),
    [
        ({"video_out_width": 640, "video_out_height": 360}, {}, ["320x180", "640x360"]),
        ({"video_out_framerate": 10}, {"video_out_framerate": 20}, ["20 pictures", "10"]),
        ({"video_out_enabled": False}, {}, ["video_out_enabled=False"]),
        ({}, {}, []),
        ({"video_out_framerate": 30}, {"video_out_framerate": 20}, []),
    ],
)
async def test_a_transport_that_shows_another_size_or_rate_is_named(
    make_service: MakeService,
    warnings: list[str],
    params: dict[str, Any],
    options: dict[str, Any],
    words: list[str],
) -> None:
    """One warning with both numbers, and none where they agree."""
    same = {"video_out_enabled": True, "video_out_width": 320, "video_out_height": 180}
    same["audio_out_end_silence_secs"] = 0
    transport = LoopbackTransport(TransportParams(**(same | params)))
    tape = Tape()
    async with running(make_service(**options), tape, transport.output()) as run:
        await run.started()
        await tape.wait_for_pictures(3, timeout=20)
        await run.end()
    ours = [line for line in warnings if "RunwayVideoService" in line]
    assert bool(words) == len(ours)
    assert all(word in ours[0] for word in words)


# -- metrics ------------------------------------------------------------------------------------


@timed
async def test_ttfb_is_told_once_per_utterance_and_never_for_one_that_was_cut(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """It runs from the first sample sent to the first sound; an interruption leaves no number."""
    faults(render_delay=0.4)
    service = make_service()
    params = PipelineParams(enable_metrics=True, send_initial_empty_metrics=False)
    async with running(service, params=params) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        session = runway.find(service.session_id or "")
        assert session is not None
        await spoken(run, "one", 0, 1)
        await run.feed(tts_utterance(marked_speech(20, 10, RATE), RATE, 1, "cut"))
        await session.wait_until(
            lambda e: e.kind == "audio" and e.data["stream"] == _stream(session, 1), 10
        )
        await run.interrupt()
        await spoken(run, "two", 40, 2)
        await run.end()
    assert [] == run.tape.audio("cut")
    told = run.tape.metrics(TTFBMetricsData)
    values = [data.value for data in told if data.processor == service.name]
    assert 2 == len(values)
    for value, context, stream in zip(values, ("one", "two"), (0, 2), strict=True):
        opened = next(e for e in session.events if e.data.get("stream") == _stream(session, stream))
        between = run.tape.audio(context)[0][0] - opened.at
        assert value == pytest.approx(between, abs=0.15)
        assert 0.35 < value


def _stream(session: Any, index: int) -> str | None:
    """The id of a session's n-th utterance, once it has been opened."""
    opened = [e.data["stream"] for e in session.events if e.kind == "stream_opened"]
    return opened[index] if index < len(opened) else None


def _creates(runway: RunwaySimulator) -> int:
    return len([r for r in runway.requests if r.method == "POST" and r.path.endswith("_sessions")])
