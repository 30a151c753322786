"""What is asked for again, and when; what an answer means; and what is never sent twice."""

import inspect
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.security.redaction import redact_secrets
from runwayml import AsyncRunwayML

from pipecat_runway import errors, retries
from pipecat_runway.api import RunwayAPI
from pipecat_runway.ending import cancel_session
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    ConcurrencyError,
    CreditsError,
    FieldRefusedError,
    KeyRefusedError,
    NeverJoinedError,
    OwnRoomRefusedError,
    RoomAddressError,
    RunwayError,
    UnknownAvatarError,
    UnreachableError,
    VendorFaultError,
)
from pipecat_runway.options import category_of
from pipecat_runway.refusals import CONTENT_FILTER, refused

SESSION = "0b1c2d3e-4f50-4a61-8b72-93a4b5c6d7e8"
ISSUES = "Validation of body failed"


def answered(status: int, body: object, **rest: Any) -> RunwayError:
    """What an answer to a create means."""
    given_ = {"action": "create a session", "missing": UnknownAvatarError, "session_id": None}
    return refused(status, body, **(given_ | {"retry_after": None, "sent_with": "x"} | rest))


def issue(*path: str | int, **rest: Any) -> dict[str, Any]:
    """A 400 body that tells of one issue."""
    return {"error": ISSUES, "issues": [{"code": "c", "path": list(path), "message": "m", **rest}]}


# -- what it means --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "category"),
    [
        (401, None, KeyRefusedError, ErrorCategory.AUTHENTICATION),
        (403, "no", KeyRefusedError, ErrorCategory.AUTHORIZATION),
        (402, {}, CreditsError, ErrorCategory.QUOTA),
        (400, {"error": "You do not have enough credits."}, CreditsError, ErrorCategory.QUOTA),
        (429, {"error": "slow down"}, ConcurrencyError, ErrorCategory.RATE_LIMIT),
        (404, {"error": "x"}, UnknownAvatarError, ErrorCategory.INVALID_REQUEST),
        (400, {"error": f"It {CONTENT_FILTER}"}, FieldRefusedError, ErrorCategory.INVALID_REQUEST),
        (400, issue("maxDuration"), FieldRefusedError, ErrorCategory.INVALID_REQUEST),
        (400, issue(keys=["integration"]), OwnRoomRefusedError, ErrorCategory.INVALID_REQUEST),
        (
            400,
            {"error": 'Unrecognized key: "integration"'},
            OwnRoomRefusedError,
            ErrorCategory.INVALID_REQUEST,
        ),
        (400, issue("integration", "type"), OwnRoomRefusedError, ErrorCategory.INVALID_REQUEST),
        (400, issue("integration", "url"), RoomAddressError, ErrorCategory.INVALID_REQUEST),
        (422, "what?", FieldRefusedError, ErrorCategory.INVALID_REQUEST),
        (503, "<html>", VendorFaultError, ErrorCategory.SERVER),
        (418, "", APIError, None),
    ],
)
def test_each_cause_has_its_type_and_pipecats_category(
    status: int, body: object, kind: type[RunwayError], category: ErrorCategory | None
) -> None:
    """By the status, and by the field where one was refused; the session's id is kept."""
    error = answered(status, body, session_id=SESSION)
    assert type(error) is kind
    assert category is category_of(error)
    assert (status, SESSION) == (error.status_code, error.session_id)
    assert str(status) in str(error)
    assert error.advice or kind is APIError


def test_every_error_has_one_of_pipecats_categories() -> None:
    """And what can pass is retryable in both senses: no permanent one is."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, RunwayError):
            category = ErrorCategory(kind.category)
            assert not (kind.retryable and category.is_permanent), kind
            if not kind.__subclasses__() and kind is not FieldRefusedError:
                assert category is not ErrorCategory.UNKNOWN, kind


def test_every_advice_survives_pipecats_redaction() -> None:
    """A word that Pipecat takes for a secret would be masked in the ErrorFrame."""
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, RunwayError):
            text = str(kind("something went wrong", status_code=403, session_id=SESSION))
            assert text == redact_secrets(text)
    for body in (issue("integration", "url"), issue(keys=["integration"]), issue("avatar"), "x"):
        for status in (400, 401, 402, 403, 404, 429, 503):
            text = str(answered(status, body))
            assert text == redact_secrets(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "error": JSON,
        "issues": JSON | st.lists(st.fixed_dictionaries({}, optional={"path": JSON, "keys": JSON})),
    },
)


@given(status=st.integers(300, 599), body=JSON | LIKELY)
def test_no_body_is_too_strange(status: int, body: object) -> None:
    """Whatever stands in an error answer, it becomes one of our errors."""
    assert isinstance(answered(status, body), RunwayError)


# -- when -----------------------------------------------------------------------------------------


@given(chance=st.floats(0, 1), attempt=st.integers(0, 9), asked=st.none() | st.floats(0, 100))
def test_a_pause_is_as_long_as_was_asked_for(
    chance: float, attempt: int, asked: float | None
) -> None:
    """At least that, at least the backoff, and at most half a backoff more."""
    pause = retries.pause(ConcurrencyError("x", retry_after=asked), attempt, chance)
    backoff = min(8.0, 0.5 * 2**attempt)
    assert max(backoff, asked or 0) <= pause <= max(backoff, asked or 0) + backoff / 2


def test_only_what_surely_created_nothing_is_created_again() -> None:
    """A second create can be a second bill."""
    again = {
        error: retries.may_create_again(error, 0)
        for error in (
            UnreachableError("x"),
            ConcurrencyError("x", status_code=429),
            VendorFaultError("x", status_code=503, retry_after=1),
            VendorFaultError("x", status_code=503),
            VendorFaultError("x", status_code=500, retry_after=1),
            VendorFaultError("x", status_code=504),
            AnswerLostError("x"),
            CreditsError("x", status_code=402),
            NeverJoinedError("x"),
        )
    }
    assert [True, True, True, False, False, False, False, False, False] == list(again.values())
    assert not retries.may_create_again(UnreachableError("x"), retries.ATTEMPTS - 1)
    assert retries.may_repeat(AnswerLostError("x"), 0)
    assert not retries.may_repeat(KeyRefusedError("x"), 0)


# -- at the API -----------------------------------------------------------------------------------


Answers = Callable[[httpx.Request], httpx.Response]


def api_with(answer: Answers) -> RunwayAPI:
    """The API on Runway's own client, with somebody else at the other end."""
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    return RunwayAPI(client=AsyncRunwayML(api_key="key", http_client=http))


async def create(api: RunwayAPI) -> str:
    """Create a session."""
    return await api.create_session(
        avatar={"type": "runway-preset", "preset_id": "influencer"},
        integration={"type": "livekit", "url": "wss://x.example", "token": "t", "room_name": "r"},
        max_duration=None,
    )


async def test_reading_and_cancelling_are_repeated_and_a_create_is_not() -> None:
    """A 503, then an answer: a GET and a cancellation get it; of a create there is one request."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        if seen.count(request.method) < 2:
            return httpx.Response(503, headers={"retry-after": "0"})
        if request.method == "DELETE":
            return httpx.Response(204)
        status = "CANCELLED" if seen.count("DELETE") > 1 else "RUNNING"
        return httpx.Response(200, json={"id": SESSION, "status": status})

    api = api_with(answer)
    assert "RUNNING" == await api.avatar_status(SESSION)
    assert "CANCELLED" == await cancel_session(api, SESSION, bound=5)
    assert 2 == seen.count("DELETE")
    with pytest.raises(VendorFaultError) as caught:
        await create(api)
    assert 0.0 == caught.value.retry_after
    assert 1 == seen.count("POST")


async def test_a_wait_that_is_too_long_is_not_begun() -> None:
    """Who asks for an hour is believed, and told of at once."""
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.method)
        return httpx.Response(429, headers={"retry-after": "3600"})

    with pytest.raises(ConcurrencyError) as caught:
        await api_with(answer).avatar_status(SESSION)
    assert (3600.0, 1) == (caught.value.retry_after, len(seen))


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("7", 7, 7), ("-1", None, None), ("soon", None, None), ("inf", None, None), ("", None, None)],
)
async def test_retry_after_is_read_as_far_as_it_can_be(
    header: str, least: float | None, most: float | None
) -> None:
    """Seconds; what makes no sense is left out."""
    api = api_with(lambda _: httpx.Response(429, headers={"retry-after": header}))
    with pytest.raises(ConcurrencyError) as caught:
        await create(api)
    assert least == caught.value.retry_after == most


async def test_retry_after_can_be_a_date() -> None:
    """HTTP has both forms."""
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 100))
    api = api_with(lambda _: httpx.Response(503, headers={"retry-after": date}))
    with pytest.raises(VendorFaultError) as caught:
        await create(api)
    assert 90 < (caught.value.retry_after or 0) <= 100


GARBAGE: list[tuple[str, bytes]] = [
    ("text/html", b"<html>hello</html>"),
    ("application/json", b"{"),
    ("application/json", b"null"),
    ("application/json", b"[]"),
    ("application/json", b"3"),
    ("application/json", b'"id"'),
    ("application/json", b"\xff\xfe\x00"),
    ("application/json", json.dumps({"id": None, "status": 3}).encode()),
    ("application/json", json.dumps({"id": "", "status": []}).encode()),
    ("application/json", json.dumps({"id": "x" * 10_000, "status": "y" * 10_000}).encode()),
    ("application/json", json.dumps({"creditBalance": "many", "tier": []}).encode()),
    ("", b""),
]


@pytest.mark.parametrize("status", [200, 400, 404])
@pytest.mark.parametrize(("kind", "body"), GARBAGE)
async def test_no_answer_is_too_strange(kind: str, body: bytes, status: int) -> None:
    """Any body becomes one of our errors; a create's that cannot be read may have created."""
    headers = {"content-type": kind} if kind else {}
    api = api_with(lambda _: httpx.Response(status, content=body, headers=headers))
    with pytest.raises(RunwayError) as caught:
        await create(api)
    assert (status == 200) == isinstance(caught.value, AnswerLostError)
    assert len(str(caught.value)) < 500


async def test_what_only_reads_says_that_it_can_be_read_again() -> None:
    """The advice about bills is a create's alone."""
    api = api_with(lambda _: httpx.Response(200, text="hello"))
    with pytest.raises(AnswerLostError) as caught:
        await api.account()
    assert "bill" not in str(caught.value)
    assert "RUNWAYML_BASE_URL" in str(caught.value)
