"""Whatever goes wrong at the start: one error that helps, a voice all the same, nothing left."""

import asyncio
import logging
import secrets
import time
from typing import Any

import pytest
from loguru import logger
from pipecat.frames.frames import ErrorFrame, TTSAudioRawFrame, TTSStoppedFrame
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.security.redaction import redact_secrets
from runwayml import AsyncRunwayML

from pipecat_runway import RunwayVideoService
from pipecat_runway.errors import ConfigError
from pipecat_runway.simulator import ErrorBody, RunwaySimulator
from pipecat_runway.simulator.api import SeenRequest
from tests.kit.content import compare_content
from tests.kit.marks import compare, marked_speech, numbers
from tests.kit.pipeline import running, tts_utterance
from tests.kit.waiting import until

from .conftest import MakeService, TurnKnobs

RATE = 24_000
READY = 2.0  # s, the ready_timeout of these tests
UNKNOWN_AVATAR = "3fa85f64-5717-4562-b3fc-2c963f66afa6"

Case = tuple[dict[str, Any], dict[str, Any], list[str], ErrorCategory]

# Knobs, options of the service, what the error must say, Pipecat's category.
CASES: dict[str, Case] = {
    "wrong key": (
        {},
        {"api_key": "key_" + "0" * 128},
        ["API key was refused", "401", "RUNWAYML_API_SECRET"],
        ErrorCategory.AUTHENTICATION,
    ),
    "unknown avatar": (
        {},
        {"settings": RunwayVideoService.Settings(avatar_id=UNKNOWN_AVATAR)},
        ["avatar does not exist", "404", "avatar_id"],
        ErrorCategory.INVALID_REQUEST,
    ),
    "no credits": ({"no_credits": True}, {}, ["no credits left", "Buy"], ErrorCategory.QUOTA),
    "402": ({"create_status": 402}, {}, ["no credits left", "402"], ErrorCategory.QUOTA),
    "429": ({"create_status": 429}, {}, ["at once", "429", "tier"], ErrorCategory.RATE_LIMIT),
    "queued": (
        {"max_sessions": 0},
        {},
        ["waiting for a free slot", "tier", "session "],
        ErrorCategory.RATE_LIMIT,
    ),
    "500": ({"create_status": 500}, {}, ["Runway failed", "500"], ErrorCategory.SERVER),
    "503": ({"create_status": 503}, {}, ["Runway failed", "503"], ErrorCategory.SERVER),
    "refused field, issues": (
        {"allow_integration": False, "error_body": ErrorBody.ISSUES},
        {},
        ["refused the field `integration`", "own", "runwayml 5", "upgrade"],
        ErrorCategory.INVALID_REQUEST,
    ),
    "refused field, plain": (
        {"allow_integration": False, "error_body": ErrorBody.PLAIN},
        {},
        ["refused the field `integration`", "runwayml 5", "upgrade"],
        ErrorCategory.INVALID_REQUEST,
    ),
    "unreachable API": (
        {},
        {"base_url": "http://127.0.0.1:9"},
        ["could not be reached", "RUNWAYML_BASE_URL"],
        ErrorCategory.CONNECTIVITY,
    ),
    "unreachable LiveKit": (
        {},
        {"livekit_url": "ws://127.0.0.1:9"},
        ["LiveKit server cannot be reached", "LIVEKIT_URL"],
        ErrorCategory.CONNECTIVITY,
    ),
    "wrong LiveKit secret": (
        {},
        {"livekit_api_secret": "s" * 40},
        ["refuses the API key or secret", "LIVEKIT_API_SECRET"],
        ErrorCategory.AUTHENTICATION,
    ),
    "never joins": (
        {"never_join": True},
        {},
        ["did not join", "ready_timeout", "session "],
        ErrorCategory.SERVER,
    ),
    "joins without video": (
        {"publish_video": False},
        {},
        ["no picture", "UDP", "session "],
        ErrorCategory.SERVER,
    ),
    "session FAILED": (
        {"never_join": True, "end_after_failure": "INTERNAL"},
        {},
        ["FAILED", "INTERNAL", "session "],
        ErrorCategory.SERVER,
    ),
    "answer lost": (
        {"create_answer_lost": True, "never_join": True},
        {},
        ["did not answer", "bill"],
        ErrorCategory.CONNECTIVITY,
    ),
}


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, marks=pytest.mark.long) if c == "answer lost" else c for c in CASES],
)
async def test_a_bad_start_is_told_once_and_the_voice_is_heard(
    make_service: MakeService, faults: TurnKnobs, runway: RunwaySimulator, case: str
) -> None:
    """One ErrorFrame with cause and remedy in time, the TTS audible, nothing open, no hang."""
    knobs, options, words, category = CASES[case]
    faults(**knobs)
    speech = marked_speech(0, 6, RATE)
    began = time.monotonic()
    async with running(make_service(ready_timeout=READY, **options)) as run:
        await run.started()
        sent = []
        async for frame in tts_utterance(speech, RATE, 1, "greeting"):
            sent.append(frame)
            await run.queue(frame)
        await run.tape.wait_for(TTSStoppedFrame, timeout=READY + 8)
        waited = time.monotonic() - began
        await run.end()
    assert waited < READY + 5
    (error,) = [frame.error for frame in run.errors]
    for text in (error, redact_secrets(error)):
        assert all(word in text for word in words), text
    assert category is run.errors[0].category
    heard = run.tape.speech_pcm("greeting")
    assert compare(numbers(0, 6), heard.marks()).clean
    passed = [t.frame for t in run.tape.taped]
    assert all(any(frame is p for p in passed) for frame in sent), "the frames were changed"
    assert len(_creates(runway)) <= 1 or case == "429", "it could be billed twice"
    if case == "answer lost":  # nobody was told its id: Runway ends it at its max_duration
        for session in runway.open_sessions:
            runway.cancel(session)


async def test_an_avatar_whose_answer_was_lost_may_come_all_the_same(
    make_service: MakeService, faults: TurnKnobs, runway: RunwaySimulator
) -> None:
    """The create is never repeated; if the avatar comes it speaks, and is ended by END_CALL."""
    faults(create_answer_lost=True, join_delay=0.5)
    async with running(make_service(ready_timeout=10)) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "greeting"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=15)
        await run.end()
    # Without an id nobody can ask whether it has ended; the avatar left before Runway noticed.
    await asyncio.wait_for(runway.sessions[-1].ended.wait(), 5)
    assert "COMPLETED" == runway.sessions[-1].status
    assert compare_content(numbers(0, 6), run.tape.speech_pcm("greeting").marks()).clean
    assert [] == run.errors
    assert 1 == len(_creates(runway))


def _creates(runway: RunwaySimulator) -> list[SeenRequest]:
    """The creates that Runway was asked for."""
    return [r for r in runway.requests if r.method == "POST" and r.path.endswith("_sessions")]


async def _asked(runway: RunwaySimulator) -> None:
    """Wait until Runway has been asked for a session."""
    await until(lambda: _creates(runway))


@pytest.mark.parametrize(
    "refusal", [{"create_status": 429}, {"create_status": 503, "retry_after": 0.3}]
)
async def test_a_refusal_that_passes_is_no_error(
    make_service: MakeService, faults: TurnKnobs, runway: RunwaySimulator, refusal: dict[str, Any]
) -> None:
    """Too many at once, or turned away: asked again within ready_timeout, and nothing is lost."""
    faults(**refusal)
    async with running(make_service()) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "greeting"))
        await _asked(runway)
        faults(create_status=None)
        await run.tape.wait_for(TTSStoppedFrame, timeout=15)
        await run.end()
    assert compare_content(numbers(0, 6), run.tape.speech_pcm("greeting").marks()).clean
    assert [] == run.errors
    assert {refusal["create_status"], 200} == {request.status for request in _creates(runway)}


async def test_a_wait_longer_than_ready_timeout_is_not_begun(
    make_service: MakeService, faults: TurnKnobs, runway: RunwaySimulator
) -> None:
    """What Runway asks for cannot be kept: it is told at once, by one request."""
    faults(create_status=429, retry_after=60.0)
    service = make_service()
    assert not await asyncio.wait_for(service.prewarm(), 5)
    await service.cleanup()
    assert 1 == len(_creates(runway))


async def test_an_end_does_not_wait_for_the_next_try(
    make_service: MakeService, faults: TurnKnobs, runway: RunwaySimulator
) -> None:
    """Nothing exists yet, so nothing is waited for."""
    faults(create_status=429, retry_after=20.0)
    async with running(make_service()) as run:
        await run.started()
        await _asked(runway)
        await asyncio.wait_for(run.cancel(), 8)
    assert 1 == len(_creates(runway))


async def test_a_queue_is_told_of_as_it_moves(
    make_service: MakeService, faults: TurnKnobs, runway: RunwaySimulator, log: list[str]
) -> None:
    """In the log: that the session waits, and that it waits no longer."""
    faults(max_sessions=1)
    first, second = make_service(), make_service()
    assert await first.prewarm()
    coming = asyncio.create_task(second.prewarm())
    await until(lambda: any("waits for a free slot" in line for line in log), every=0.05)
    await first.cleanup()
    assert await coming
    await second.cleanup()
    (told,) = [line for line in log if "has a slot after" in line]
    assert runway.sessions[-1].id in told


@pytest.mark.parametrize(
    "url", ["ws://livekit.example.com", "wss://localhost:7880", "wss://192.168.1.4:7880"]
)
async def test_an_address_the_cloud_cannot_reach_is_refused_before_any_request(
    make_service: MakeService, runway: RunwaySimulator, url: str
) -> None:
    """For Runway's cloud the room must be public; nothing is requested from anyone."""
    service = make_service(base_url="https://api.dev.runwayml.com", livekit_url=url)
    async with running(service) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 3, RATE), RATE, 1, "greeting"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=5)
        await run.end()
    (error,) = run.errors
    assert "livekit_url" in error.error
    assert "wss://" in error.error
    assert [] == runway.requests


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": RunwayVideoService.Settings()}, "exactly one of preset_id and avatar_id"),
        (
            {"settings": RunwayVideoService.Settings(preset_id="influencer", avatar_id="x")},
            "exactly one of preset_id and avatar_id",
        ),
        ({"api_key": ""}, "RUNWAYML_API_SECRET"),
        ({"livekit_url": ""}, "LIVEKIT_URL"),
        ({"livekit_api_key": ""}, "LIVEKIT_API_KEY"),
        ({"livekit_api_secret": ""}, "LIVEKIT_API_SECRET"),
        ({"video_out_width": 0}, "video_out_width"),
        ({"video_out_framerate": -1}, "video_out_framerate"),
        ({"ready_timeout": 0}, "ready_timeout"),
        ({"fit": "stretch"}, "contain, cover"),
        ({"start_on": "later"}, "first_speech"),
        ({"max_duration": 5}, "10 to 1800"),
        ({"max_duration": 1801}, "10 to 1800"),
        ({"max_duration": 60.5}, "whole number"),
    ],
)
def test_bad_arguments_are_refused_at_construction(
    make_service: MakeService, runway: RunwaySimulator, options: dict[str, Any], words: str
) -> None:
    """A ValueError names the field, and nothing is requested."""
    with pytest.raises(ValueError, match=words) as caught:
        make_service(**options)
    assert isinstance(caught.value, ConfigError)
    assert [] == runway.requests


async def test_a_client_of_the_users_is_used_and_left_open(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """`client` takes the place of key and address, and is never closed by us."""
    async with AsyncRunwayML(
        api_key=runway.env["RUNWAYML_API_SECRET"], base_url=runway.env["RUNWAYML_BASE_URL"]
    ) as client:
        async with running(make_service(api_key=None, base_url=None, client=client)) as run:
            await run.started()
            await run.tape.wait_for_pictures(1, timeout=20)
            await run.end()
        assert not client.is_closed()
        assert (await client.realtime_sessions.retrieve(runway.sessions[-1].id)).status in (
            "COMPLETED",
            "CANCELLED",
        )


class Log(logging.Handler):
    """Everything that any logger says, at every level."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Any:
    """Listen to loguru and to the standard loggers at every level."""
    handler = Log()
    root = logging.getLogger()
    names = ["", "runwayml", "livekit", "httpx", "httpcore"]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    root.addHandler(handler)
    sink = logger.add(lambda m: handler.lines.append(str(m)), level=0, format="{name} {message}")
    yield handler.lines
    logger.remove(sink)
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("broken", [False, True])
async def test_logs_hold_no_key_no_token_and_no_spoken_text(
    make_service: MakeService,
    faults: TurnKnobs,
    runway: RunwaySimulator,
    log: list[str],
    broken: bool,
) -> None:
    """At every level, in success and failure; the session id is there."""
    faults(create_status=500 if broken else None)
    text = secrets.token_hex(8)
    service = make_service(ready_timeout=READY)
    async with running(service) as run:
        await run.started()
        await run.feed(
            tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "greeting", text=f"hello {text}")
        )
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.interrupt()
        await run.end()
    ours = [
        line
        for line in log
        if line.startswith(("pipecat_runway", "runwayml")) or "Request options" in line
    ]
    said = "\n".join([*ours, repr(service), *(frame.error for frame in run.errors)])
    for secret in (
        runway.env["RUNWAYML_API_SECRET"],
        runway.env["LIVEKIT_API_SECRET"],
        text,
        "eyJ",  # how every JWT begins
    ):
        assert secret not in said
    if not broken:
        assert runway.sessions[-1].id in said


async def test_errors_reach_on_error_handlers(make_service: MakeService, faults: TurnKnobs) -> None:
    """Pipecat's own event tells of them, with the exception."""
    faults(create_status=429)
    service = make_service()
    seen: list[ErrorFrame] = []

    @service.event_handler("on_error")
    async def on_error(_: RunwayVideoService, error: ErrorFrame) -> None:
        seen.append(error)

    async with running(service) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 3, RATE), RATE, 1, "greeting"))
        await run.tape.wait_for(TTSAudioRawFrame, timeout=5)
        await run.end()
    assert [429] == [getattr(error.exception, "status_code", None) for error in seen]
    assert service.is_usable
