"""Whatever Runway's API, or what answers in its place, says: a result or an error of ours."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipecat.frames.frames import TTSStoppedFrame
from runwayml import AsyncRunwayML

from pipecat_runway import wire
from pipecat_runway.api import RunwayAPI, SessionStatus
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    FieldRefusedError,
    NeverJoinedError,
    RunwayError,
)
from pipecat_runway.lifecycle import State
from pipecat_runway.room import AvatarRoom
from pipecat_runway.session import STATUS_INTERVAL, AvatarSession
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.answers import RawServer, http, raw_server
from tests.kit.guests import Ears
from tests.kit.marks import compare, marked_speech, numbers
from tests.kit.pipeline import running, tts_utterance

from .conftest import MakeService

RATE = 24_000
SESSION = "110817be-3d33-4d6f-9a5e-4d3d3c8d1a11"
KEY = "key_" + "0f" * 64
AVATAR = {"type": "runway-preset", "preset_id": "influencer"}
ROOM = {
    "type": "livekit",
    "url": "wss://example.com",
    "token": "eyJ-a-room-token",
    "room_name": "room",
    "agent_identity": "bot",
}
FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest_asyncio.fixture
async def raw() -> AsyncIterator[RawServer]:
    """What answers in place of the API."""
    async with raw_server() as server:
        yield server


@pytest_asyncio.fixture
async def runway_api(raw: RawServer) -> AsyncIterator[RunwayAPI]:
    """What asks it."""
    api = RunwayAPI(api_key=KEY, base_url=raw.base_url)
    yield api
    await api.close()


async def create(api: RunwayAPI) -> str:
    """Ask for a session."""
    return await api.create_session(avatar=AVATAR, integration=ROOM, max_duration=30)


async def outcome(request: Awaitable[Any]) -> Any:
    """What came of a request. Anything but an error of ours escapes."""
    try:
        return await request
    except RunwayError as e:
        return e


async def ask(api: RunwayAPI) -> list[Any]:
    """Ask everything once; what came of it."""
    asked = create(api), api.session_status(SESSION), api.delete_session(SESSION)
    return list(await asyncio.gather(*map(outcome, asked)))


def check(results: list[Any]) -> None:
    """Results are what the callers count on, and errors can be read and told."""
    created, status, deleted = results
    assert isinstance(created, APIError) or wire.NAME.fullmatch(created), created
    assert isinstance(status, APIError | SessionStatus)
    assert deleted is None or isinstance(deleted, APIError)
    if isinstance(status, SessionStatus):
        assert wire.NAME.fullmatch(status.name)
        assert status.failure is None or wire.NAME.fullmatch(status.failure)
        assert isinstance(status.queued, bool)
    for error in results:
        if isinstance(error, RunwayError):
            assert str(error).isprintable()
            assert len(str(error)) < 1_200
            assert KEY not in str(error)
            assert ROOM["token"] not in str(error)


words = st.sampled_from(
    [
        *("id", "status", "queued", "failureCode", "failure", "createdAt", "error", "issues"),
        *("path", "keys", "message", "_fields_set", "self", "__cls", "model_fields_set"),
        *("RUNNING", "COMPLETED", "FAILED", "NOT_READY", SESSION, "..", "a/../b", ""),
        *("You do not have enough credits", 'Unrecognized key: "livekit"', "\n", "\x00", "x" * 999),
    ]
)
leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), words
)
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(words | st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=12,
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "id": values,
        "status": values,
        "queued": values,
        "failureCode": values,
        "error": values,
        "issues": values,
    },
)
documents = (values | answers).map(lambda value: json.dumps(value).encode())
bodies = st.one_of(
    documents,
    st.binary(max_size=200),
    st.just(b"<!doctype html><title>Sign in to the Wi-Fi</title>"),
    st.just(b"[" * 20_000),
    st.just(b'{"id":' * 20_000),
    st.just(b'{"id": ' + b"9" * 5_000 + b"}"),
    st.just(json.dumps({"id": "é" * 10}).encode("utf-16")),
    documents.map(lambda body: body[: len(body) // 2]),
)
statuses = st.one_of(
    st.sampled_from(["200 OK", "201 Created", "204 No Content", "400 Bad Request", "422 ?", "302"]),
    st.integers(100, 999).map(lambda code: f"{code} Whatever"),
)
types = st.sampled_from(
    [
        *("application/json", "application/json; charset=utf-16", "text/html", "text/plain"),
        *("application/json; charset=nonsense", "image/png", "", "json", None),
    ]
)


whole = st.builds(http, bodies, statuses, types)
no_http = st.binary(max_size=300) | st.binary(max_size=80).map(lambda b: b"HTTP/1.1 200 " + b)
anything = whole | no_http.map(lambda answer: answer + b"\r\n\r\n")


@FUZZ
@given(answer=anything)
async def test_anything_in_answer_to_a_create_is_an_id_or_an_error(
    raw: RawServer, runway_api: RunwayAPI, answer: bytes
) -> None:
    """Wrong types, HTML, what is not UTF-8, nested without end, no HTTP: nothing else gets out."""
    raw.answer = answer
    async with asyncio.timeout(20):
        check([await outcome(create(runway_api)), APIError("unasked"), None])


@settings(FUZZ, max_examples=3)
@given(answers=st.lists(anything, min_size=60, max_size=60))
async def test_anything_in_answer_to_the_others_is_a_result_or_an_error(
    raw: RawServer, runway_api: RunwayAPI, answers: list[bytes]
) -> None:
    """The same; many at once, because these are asked again after a while."""

    async def answer(writer: asyncio.StreamWriter, request: str) -> None:
        writer.write(answers[int(request.split()[1].rpartition("/")[2])])

    raw.answer = answer
    async with asyncio.timeout(40):
        asked = [runway_api.session_status(str(n)) for n in range(60)]
        cancelled = [runway_api.delete_session(str(n)) for n in range(60)]
        results = await asyncio.gather(*(outcome(request) for request in [*asked, *cancelled]))
    for status, deleted in zip(results[:60], results[60:], strict=True):
        check([APIError("unasked"), status, deleted])


BROKEN = {
    "cut short": http(b'{"id": "' + SESSION.encode(), length=500),
    "nothing": b"",
    "no headers": b"HTTP/1.1 200 OK\r\n",
    "gzip of no gzip": http(
        b"\x1f\x8b" + b"x" * 50, "200 OK", "application/json", "Content-Encoding: gzip"
    ),
    "deflate of nothing": http(b"", "200 OK", "application/json", "Content-Encoding: deflate"),
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n{}",
    "a length below nothing": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}",
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"X-More: of the same\r\n" * 20_000,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    "a redirect to itself": http(b"", "307 Temporary", None, "Location: /v1/realtime_sessions"),
    "a redirect to nowhere": http(b"", "308 Permanent", None, "Location: http://127.0.0.1:1/"),
    "a redirect that is none": http(b"", "302 Found", None, "Location: \\\\:::"),
    "a redirect without address": http(b"", "303 See Other", None),
    "cookies": http(b"{}", "200 OK", "application/json", "Set-Cookie: \x01=\xff; expires=never"),
}


async def test_broken_http_is_an_error() -> None:
    """No answer at all, half of one, or one that points elsewhere; a create is never repeated."""

    async def hold(answer: bytes) -> None:
        async with raw_server(answer) as raw:
            api = RunwayAPI(api_key=KEY, base_url=raw.base_url)
            results = await ask(api)
            await api.close()
        check(results)
        assert isinstance(results[0], APIError)
        assert isinstance(results[1], APIError)
        assert 1 == len([line for line in raw.requests if line.startswith("POST")])

    async with asyncio.timeout(40):
        await asyncio.gather(*(hold(answer) for answer in BROKEN.values()))


async def test_a_redirect_does_not_take_the_rooms_token_elsewhere(
    raw: RawServer, runway_api: RunwayAPI
) -> None:
    """A 307 asks for the same body to be sent to another address; it is not."""
    async with raw_server(http(b"{}")) as elsewhere:
        raw.answer = http(b"", "307 Temporary", None, f"Location: {elsewhere.base_url}/v1")
        check(await ask(runway_api))
        assert [] == elsewhere.requests


@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_without_end_is_not_kept(
    raw: RawServer, runway_api: RunwayAPI, packed: bool
) -> None:
    """It is read up to a bound and then let go, however much may follow."""
    piece = gzip.compress(b" " * 1_000_000) if packed else b" " * 65_536
    written = 0

    async def endless(writer: asyncio.StreamWriter, request: str) -> None:
        nonlocal written
        encoding = b"Content-Encoding: gzip\r\n" if packed else b""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + encoding + b"\r\n")
        while True:
            writer.write(piece)
            written += len(piece)
            await writer.drain()

    raw.answer = endless
    async with asyncio.timeout(40):
        results = await ask(runway_api)
    assert all(isinstance(result, AnswerLostError) for result in results)
    assert written < 3 * 16_000_000  # what fits into the sockets' buffers


async def test_an_answer_that_comes_drop_by_drop_is_given_up(raw: RawServer) -> None:
    """Each drop comes in time, the whole does not: the bound is on the whole."""

    async def drops(writer: asyncio.StreamWriter, request: str) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    raw.answer = drops
    async with AsyncRunwayML(api_key=KEY, base_url=raw.base_url, timeout=0.4) as client:
        async with asyncio.timeout(40):
            results = await ask(RunwayAPI(client=client))
    assert all(isinstance(result, AnswerLostError) for result in results)


async def test_a_refusal_names_fields_and_repeats_nothing_else(
    raw: RawServer, runway_api: RunwayAPI
) -> None:
    """Field names are short words; whatever else stands in their place is not repeated."""
    issues = [
        {"path": ["integration"], "keys": ["room_name", KEY, "a\nb", 5, None]},
        {"path": "integration", "keys": {"x": 1}},
        {"path": 7},
        "nothing",
    ]
    raw.answer = http(json.dumps({"error": "Validation failed", "issues": issues}).encode(), "400 ")
    results = await ask(runway_api)
    check(results)
    assert isinstance(results[0], FieldRefusedError)
    assert "`integration.room_name`, `integration.5`" in str(results[0])


@pytest.mark.long
@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>", "200 OK", "text/html"),
        http(json.dumps({"id": "../../organization"}).encode()),
    ],
    ids=["a page", "a path"],
)
async def test_a_bot_goes_on_by_voice_whatever_a_create_answers(
    make_service: MakeService, runway: RunwaySimulator, raw: RawServer, answer: bytes
) -> None:
    """The session may exist, so the avatar is awaited; then one error, and every word is heard."""
    raw.answer = answer
    async with running(make_service(base_url=raw.base_url, ready_timeout=0.5)) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=15)
        await run.end()
    (error,) = run.errors
    assert isinstance(error.exception, AnswerLostError)
    assert compare(numbers(0, 4), run.tape.speech_pcm("u").marks()).clean
    assert 1 == len(raw.requests)


STATUSES = {
    "a page": b"<html>",
    "null": b"null",
    "a list": b'{"status": ["FAILED"]}',
    "an object": b'{"status": {"FAILED": true}, "queued": "yes"}',
    "an unknown word": b'{"status": "THINKING"}',
    "lines": b'{"status": "FAILED\\nERROR key=1", "failureCode": "x"}',
}


@pytest.mark.long
async def test_a_session_is_ended_whatever_its_status_is_said_to_be() -> None:
    """The avatar is awaited on, and in the end the session is cancelled; nothing escapes."""

    async def hold(status: bytes) -> None:
        async with raw_server() as raw:

            async def answer(writer: asyncio.StreamWriter, request: str) -> None:
                created = json.dumps({"id": SESSION}).encode()
                method = request.partition(" ")[0]
                writer.write(http({"POST": created, "GET": status}.get(method, b"")))

            raw.answer = answer
            api = RunwayAPI(api_key=KEY, base_url=raw.base_url)
            session = AvatarSession(
                api=api,
                room=AvatarRoom(
                    url="ws://127.0.0.1:1",
                    api_key="key",
                    api_secret="s" * 32,
                    sample_rate=RATE,
                    listener=Ears(),
                ),
                avatar=AVATAR,
                identity="avatar",
                livekit_url="wss://example.com",
                max_duration=None,
                ready_timeout=2 * STATUS_INTERVAL,
            )
            with pytest.raises(NeverJoinedError):
                await session.start()
            assert not session.queued.is_set()
            await session.end()
            await api.close()
        assert session.state in (State.ENDING, State.ENDED)  # the latter if it was confirmed
        methods = [line.partition(" ")[0] for line in raw.requests]
        assert "POST" == methods[0]
        assert "DELETE" in methods
        assert {"GET", "DELETE"} == set(methods[1:])

    await asyncio.gather(*(hold(status) for status in STATUSES.values()))


async def test_a_failure_is_told_without_what_is_no_code(
    raw: RawServer, runway_api: RunwayAPI
) -> None:
    """A failure code is a short word; anything else in its place is left out."""
    for code in ("x" * 9_000, "INTERNAL\nkey=1", ["INTERNAL"], None):
        raw.answer = http(json.dumps({"status": "FAILED", "failureCode": code}).encode())
        status = await runway_api.session_status(SESSION)
        assert ("FAILED", None) == (status.name, status.failure)
    raw.answer = http(b'{"status": "FAILED", "failureCode": "INTERNAL.BAD_OUTPUT.CODE01"}')
    status = await runway_api.session_status(SESSION)
    assert "INTERNAL.BAD_OUTPUT.CODE01" == status.failure
