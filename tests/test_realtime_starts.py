"""Whatever goes wrong with Runway's own agent: one error that helps or a new session, none left."""

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.frames.frames import ErrorFrame
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.security.redaction import redact_secrets

from pipecat_runway import RunwayRealtimeLLMService, RunwayUsageMetricsData
from pipecat_runway.api import RunwayAPI
from pipecat_runway.errors import APIError, ConfigError
from pipecat_runway.simulator import RunwaySimulator, Script, Turn
from tests.conftest import TurnKnobs
from tests.kit.pipeline import UP, Run, running
from tests.kit.talks import llm_for, talking
from tests.kit.waiting import until

READY = 15.0  # s, the ready_timeout of these tests, but for those that wait for its end
UNKNOWN = RunwayRealtimeLLMService.Settings(avatar_id="3fa85f64-5717-4562-b3fc-2c963f66afa6")


async def ask(params: Any) -> None:
    """Ask."""
    await params.result_callback("yes")


# Knobs, options of the service, what the error must say, Pipecat's category, sessions created: so
# many, or one of these.
CASES: dict[
    str, tuple[dict[str, Any], dict[str, Any], list[str], ErrorCategory, int | set[int]]
] = {
    "wrong key": (
        {},
        {"api_key": "key_" + "0" * 128},
        ["API key was refused", "401"],
        ErrorCategory.AUTHENTICATION,
        0,
    ),
    "unknown avatar": (
        {},
        {"settings": UNKNOWN},
        ["avatar does not exist", "404"],
        ErrorCategory.INVALID_REQUEST,
        0,
    ),
    "no credits": ({"no_credits": True}, {}, ["no credits left"], ErrorCategory.QUOTA, 0),
    "unreachable API": (
        {},
        {"base_url": "http://127.0.0.1:9"},
        ["could not be reached", "RUNWAYML_BASE_URL"],
        ErrorCategory.CONNECTIVITY,
        0,
    ),
    "queued for 60 s": (
        {"queue_for": 60.0},
        {"ready_timeout": 2.0},
        ["waiting for a free slot after 2 s", "ready_timeout", "session "],
        ErrorCategory.RATE_LIMIT,
        1,
    ),
    "never READY": (
        {"never_join": True},
        {"ready_timeout": 2.0},
        ["not READY within 2 s", "ready_timeout", "session "],
        ErrorCategory.SERVER,
        1,
    ),
    "READY expires": (
        {"ready_lifetime": 0.0},
        {},
        ["FAILED", "session "],
        ErrorCategory.SERVER,
        {1, 2},  # a look that falls between READY and its end is worth another session
    ),
    "consume refused": (
        {"consume_status": 400},
        {},
        ["credentials were not handed out (HTTP 400)", "session "],
        ErrorCategory.SERVER,
        2,
    ),
    "FAILED before READY": (
        {"end_after_failure": "INTERNAL.SAD", "failure_delay": 0.2, "join_delay": 9.0},
        {},
        ["FAILED (INTERNAL.SAD)", "session "],
        ErrorCategory.SERVER,
        1,
    ),
    "room out of reach": (
        {"consumed_url": "ws://127.0.0.1:9"},
        {"ready_timeout": 20.0},
        ["Runway's room cannot be joined", "UDP or TURN", "session "],
        ErrorCategory.CONNECTIVITY,
        2,
    ),
    "no picture": (
        {"publish_video": False},
        {"ready_timeout": 6.0},
        ["sent no picture", "session "],
        ErrorCategory.SERVER,
        1,
    ),
    "no backend": (
        {"backend_status": 403},
        {"tools": [ask]},
        ["let a backend join", "403"],
        ErrorCategory.AUTHORIZATION,
        1,
    ),
}


@pytest.fixture
def logs() -> Iterator[list[str]]:
    """Everything that is logged."""
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG", format="{message} {exception}")
    yield lines
    logger.remove(sink)


async def first_error(run: Run, timeout: float = 30.0) -> ErrorFrame:
    taped = await run.head.wait_for(ErrorFrame, timeout, direction=UP)
    assert isinstance(taped.frame, ErrorFrame)
    return taped.frame


SLOW = {"no picture"}  # waits for its time-out behind READY


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name in SLOW else ()) for name in CASES],
)
async def test_a_bad_start(
    runway: RunwaySimulator, faults: TurnKnobs, name: str, logs: list[str]
) -> None:
    """One error names cause and remedy, nothing is left open, and no secret is told."""
    knobs, options, words, category, sessions = CASES[name]
    faults(**knobs)
    before = len(runway.sessions)
    async with running(llm_for(runway, **({"ready_timeout": READY} | options))) as run:
        await run.started()
        error = await first_error(run)
        await until(lambda: not runway.open_sessions)
        await run.end()
    assert len(run.errors) == 1
    assert error.category is category
    text = redact_secrets(error.error)
    for word in words:
        assert word in text
    created = len(runway.sessions) - before
    assert created in sessions if isinstance(sessions, set) else created == sessions
    told = "".join(logs) + error.error
    for secret in (runway.api_key, "Hello there", "eyJ"):
        assert secret not in told


async def test_a_queue_is_told_apart(runway: RunwaySimulator, faults: TurnKnobs) -> None:
    """A wait for a slot is an event of its own; then the talk begins as ever."""
    faults(queue_for=1.5)
    told: list[str | None] = []

    async def note(_: object, session_id: str | None) -> None:
        told.append(session_id)

    async with talking(runway, handlers=[("on_session_queued", note)]) as talk:
        await until(lambda: told)
        assert told == [talk.session.id]
        await talk.run.end()


async def test_credentials_are_fetched_once(runway: RunwaySimulator) -> None:
    """A second consume is refused by Runway, and nothing here asks for one."""
    api = RunwayAPI(api_key=runway.api_key, base_url=runway.env["RUNWAYML_BASE_URL"])
    avatar = {"type": "runway-preset", "preset_id": "influencer"}
    session_id = await api.create_session(avatar=avatar, max_duration=30)
    session = runway.find(session_id)
    assert session is not None
    await asyncio.wait_for(session.at_ready.wait(), 10)
    status = await api.session_status(session_id)
    assert status.session_key is not None
    assert status.session_key not in repr(status)
    credentials = await api.consume(session_id, status.session_key)
    assert credentials.token not in repr(credentials)
    with pytest.raises(APIError):
        await api.consume(session_id, status.session_key)
    await api.delete_session(session_id)
    await api.close()


async def test_an_answer_that_is_lost(runway: RunwaySimulator, faults: TurnKnobs) -> None:
    """The error says that a session may exist; it is never asked for twice."""
    faults(create_answer_lost=True, ready_lifetime=0.5)
    before = len(runway.sessions)
    async with running(llm_for(runway)) as run:
        await run.started()
        error = await first_error(run)
        await until(lambda: not runway.open_sessions)
        await run.end()
    assert "bill twice" in error.error
    assert len(runway.sessions) - before == 1


@pytest.mark.parametrize("how", ["FAILED", "room deleted", "avatar leaves"])
async def test_a_loss_in_the_middle(runway: RunwaySimulator, how: str) -> None:
    """Without continue_with the conversation is over: one error, one event, nothing left."""
    told: list[str] = []

    async def note(_: object, __: str | None, reason: str) -> None:
        told.append(reason)

    async with talking(runway, handlers=[("on_avatar_disconnected", note)]) as talk:
        await talk.answered(1)
        await lose(runway, how)
        error = await first_error(talk.run)
        await until(lambda: not runway.open_sessions)
        await talk.run.end()
    assert len(talk.run.errors) == 1
    assert "continue_with" in error.error
    assert len(told) == 1


async def lose(runway: RunwaySimulator, how: str) -> None:
    session = runway.sessions[-1]
    match how:
        case "FAILED":
            await runway.fault("fail=INTERNAL", session)
        case "avatar leaves":
            await runway.fault("leave", session)
        case "room deleted":
            await runway.fault("vanish", session)


@pytest.mark.long
async def test_a_conversation_goes_on(runway: RunwaySimulator, faults: TurnKnobs) -> None:
    """At the limit another session goes on: told who it is and what was said, and it says no hello.

    Both sessions are counted, and both have ended.
    """
    faults(effective_limit=9.0)
    runway.partner = Script([Turn("One two three.", heard="Hello you.")])
    before = len(runway.sessions)
    personality = "You teach cooking. " * 20
    told: list[str] = []

    async def note(_: object, session_id: str | None) -> None:
        told.append(str(session_id))

    async with talking(
        runway,
        personality=personality,
        continue_with="turns",
        handlers=[("on_avatar_connected", note)],
    ) as talk:
        await talk.answered(1)
        talk.say_marks(1, 5)
        await talk.answered(2)
        await until(lambda: len(told) == 2, 30)
        faults(effective_limit=300.0)
        talk.say_marks(20, 5)
        await talk.answered(3)
        bodies = [session.body for session in runway.sessions[before:]]
        await talk.run.end()
    assert not talk.run.errors
    assert told == [session.id for session in runway.sessions[before:]]
    assert bodies[0]["personality"] == personality
    assert bodies[0]["startScript"] == "Hello there."
    second = bodies[1]["personality"]
    assert second.startswith(personality)
    for line in ("You: Hello there.", "They: Hello you.", "You: One two three."):
        assert line in second
    assert "startScript" not in bodies[1]
    used = [
        data
        for taped in talk.tape.taped
        for data in getattr(taped.frame, "data", None) or []
        if isinstance(data, RunwayUsageMetricsData)
    ]
    assert sum(data.creates for data in used) == 2


@pytest.mark.long
async def test_a_callback_ends_it(runway: RunwaySimulator, faults: TurnKnobs) -> None:
    """A continue_with of one's own sees the turns, and may say that it is enough."""
    faults(effective_limit=8.0)
    seen: list[list[str]] = []

    def enough(turns: Any) -> str | None:
        seen.append([turn.text for turn in turns])
        return None

    async with talking(runway, continue_with=enough) as talk:
        await talk.answered(1)
        await first_error(talk.run)
        await talk.run.end()
    assert seen == [["Hello there."]]


@pytest.mark.parametrize("moment", ["at once", "provisioning", "talking"])
async def test_a_cancel_leaves_nothing(runway: RunwaySimulator, moment: str) -> None:
    """Whenever a pipeline is cancelled, its session ends."""
    async with talking(runway, connected=moment == "talking") as talk:
        if moment == "provisioning":
            await until(lambda: talk.llm.session_id)
        await talk.run.cancel()
    await until(lambda: not runway.open_sessions)


SCHEMA = FunctionSchema("look", "Look.", {}, [])
OPTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no character": (
        {"settings": RunwayRealtimeLLMService.Settings()},
        ["exactly one of preset_id and avatar_id"],
    ),
    "personality": ({"personality": "x" * 10_001}, ["personality", "10000", "10001"]),
    "start script": ({"start_script": ""}, ["start_script", "1 to 2000"]),
    "duration": ({"max_duration": 5}, ["max_duration", "10 to 1800"]),
    "start_on": ({"start_on": "first_speech"}, ["start_on", "setup"]),
    "system instruction": (
        {
            "settings": RunwayRealtimeLLMService.Settings(
                preset_id="influencer", system_instruction="Be kind."
            )
        },
        ["system_instruction", "personality"],
    ),
    "turns without a personality": ({"continue_with": "turns"}, ["continue_with", "personality"]),
    "continue_with": ({"continue_with": "sometimes"}, ["continue_with"]),
    "an event with a handler": ({"client_events": [ask]}, ["client event `ask`", "handler"]),
    "no function": ({"tools": ["ask"]}, ["tool", "FunctionSchema"]),
    "twice": (
        {"tools": [ask], "client_events": [FunctionSchema("ask", "Ask.", {}, [])]},
        ["twice"],
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_mistake_is_told_before_anything_is_asked(runway: RunwaySimulator, name: str) -> None:
    """The constructor says what is wrong, by the argument's name."""
    options, words = OPTIONS[name]
    with pytest.raises(ConfigError) as caught:
        llm_for(runway, **options)
    for word in words:
        assert word in str(caught.value)


async def test_a_tool_that_nothing_runs(runway: RunwaySimulator) -> None:
    """It is told before the create; one that is registered in time is as good as any."""
    before = len(runway.sessions)
    async with running(llm_for(runway, tools=[SCHEMA])) as run:
        await run.started()
        error = await first_error(run)
        await run.cancel()
    assert "`look` has no handler" in error.error
    assert len(runway.sessions) == before
    llm = llm_for(runway, tools=[SCHEMA])
    llm.register_function("look", ask, timeout_secs=7.5)
    async with running(llm) as run:
        await run.started()
        await until(lambda: len(runway.sessions) > before)
        assert runway.sessions[-1].body["tools"][0]["timeoutSeconds"] == 7.5
        await run.end()


def test_a_key_is_in_no_repr() -> None:
    """Neither the service nor its options show it."""
    key = "key_" + secrets.token_hex(64)
    settings = RunwayRealtimeLLMService.Settings(preset_id="influencer")
    llm = RunwayRealtimeLLMService(settings=settings, api_key=key, personality="Be kind.")
    assert key not in repr(llm.__dict__)
