"""The router for pages in browsers: who gets a session, what they are told, and that it ends."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI, HTTPException, Request
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema

from pipecat_runway.errors import ConfigError
from pipecat_runway.server import Character, Limits, by_address, character_router
from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.script import Call, Script, Turn
from pipecat_runway.visitors import Admission, Attendance, Reason, TurnedAway
from tests.kit.marks import marked_speech
from tests.kit.waiting import until
from tests.kit.web import serving
from tests.simulator.user_kit import RATE, User

from .conftest import TurnKnobs

ORIGIN = "https://shop.test"
PREFIX = "/api/avatar"
BOUND = 15.0
GUIDE = Character(
    preset_id="game-character",
    personality="You show people around.",
    start_script="Hello! I am an AI.",
)


async def get_price(params: Any, article: str) -> None:
    """Say what something costs.

    Args:
        params: Pipecat's.
        article: Its name.
    """
    await params.result_callback({"article": article, "price": "ten crowns"})


class Shop:
    """An app with the router, and pages that ask it.

    Attributes:
        http: A page's requests.
        said: Every answer, headers and all.
    """

    def __init__(self, runway: RunwaySimulator, url: str) -> None:
        self.runway = runway
        self.said: list[str] = []
        self.http = httpx.AsyncClient(
            base_url=url,
            headers={"origin": ORIGIN},
            timeout=30.0,
            event_hooks={"response": [self._keep]},
        )

    async def _keep(self, answer: httpx.Response) -> None:
        await answer.aread()
        self.said.append(f"{answer.headers} {answer.text}")

    async def connect(self, name: str | None = "guide", **headers: str) -> httpx.Response:
        """Ask for a session as the React SDK does."""
        body = {} if name is None else {"avatarId": name}
        return await self.http.post(f"{PREFIX}/connect", json=body, headers=headers)

    async def end(self, session_id: str, **headers: str) -> httpx.Response:
        """End a session as a page's beacon does."""
        return await self.http.post(f"{PREFIX}/end/{session_id}", headers=headers)


def named(request: Request) -> str:
    """Who a request is from, in these tests."""
    if request.headers.get("user") == "nobody":
        raise HTTPException(401, "Log in first.")
    return request.headers.get("user", "somebody")


OpenShop = Callable[..., Any]
A_TOKEN = "eyJ"  # how every JWT begins


def told_of(runway: RunwaySimulator, text: str) -> list[str]:
    """The account's key, and sessions' keys, that a text tells."""
    keys = [runway.api_key, *(s._session_key for s in runway.sessions if s._session_key)]
    return [key for key in keys if key in text]


@pytest_asyncio.fixture
async def open_shop(
    runway: RunwaySimulator, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[OpenShop]:
    """Open shops. In the end no key of Runway's may be in any answer or log of theirs."""
    lines: list[str] = []
    sink = logger.add(lambda m: lines.append(str(m)), level="TRACE")
    caplog.set_level(logging.DEBUG)
    shops: list[Shop] = []

    @asynccontextmanager
    async def open_(characters: Any = None, **options: Any) -> AsyncIterator[Shop]:
        router = character_router(
            characters or {"guide": GUIDE},
            **{
                "origins": [ORIGIN],
                "visitor_of": named,
                "limits": Limits(per_minute=1000),
                "api_key": runway.api_key,
                "base_url": runway.env["RUNWAYML_BASE_URL"],
            }
            | options,
        )
        app = FastAPI()
        app.include_router(router, prefix=PREFIX)
        async with serving(lambda _: app) as url:
            shop = Shop(runway, url)
            shops.append(shop)
            async with shop.http:
                yield shop

    yield open_
    logger.remove(sink)
    said = "\n".join([*lines, caplog.text, *(text for shop in shops for text in shop.said)])
    assert not told_of(runway, said)
    assert A_TOKEN not in "\n".join([*lines, caplog.text]), "a room's token is in a log"


@pytest_asyncio.fixture
async def shop(open_shop: OpenShop) -> AsyncIterator[Shop]:
    """A shop with one guide."""
    async with open_shop() as shop:
        yield shop


@asynccontextmanager
async def user_in(credentials: dict[str, str]) -> AsyncIterator[User]:
    """A user in the room, as the SDK joins it."""
    user = User()
    await user.join({"url": credentials["serverUrl"], "token": credentials["token"]})
    try:
        yield user
    finally:
        await user.aclose()


async def test_a_page_gets_what_the_sdk_takes(shop: Shop) -> None:
    """A session is created as the owner has it, whatever the page asks; it is joined and ended."""
    answer = await shop.http.post(
        f"{PREFIX}/connect",
        json={"avatarId": "guide", "personality": "You are mine.", "maxDuration": 1800},
    )
    assert answer.status_code == 200, answer.text
    credentials = answer.json()
    assert sorted(credentials) == ["roomName", "serverUrl", "sessionId", "token"]
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["cache-control"] == "no-store"
    (session,) = shop.runway.open_sessions
    assert session.id == credentials["sessionId"] == credentials["roomName"]
    assert session.body == {
        "model": "gwm1_avatars",
        "avatar": {"type": "runway-preset", "presetId": "game-character"},
        "personality": "You show people around.",
        "startScript": "Hello! I am an AI.",
        "maxDuration": 300,
    }
    async with user_in(credentials) as user:
        await user.until(lambda: user.pictures > 5 and user.said("assistant"))
        assert (await shop.end(session.id)).status_code == 204
        assert not session.is_open
        await asyncio.wait_for(user.gone.wait(), BOUND)
    assert (await shop.end(session.id)).status_code == 404


async def test_a_key_that_is_told_would_be_noticed(shop: Shop) -> None:
    """What looks for them can fail."""
    (await shop.connect()).raise_for_status()
    (session,) = shop.runway.open_sessions
    assert told_of(shop.runway, f"Bearer {shop.runway.api_key}") == [shop.runway.api_key]
    assert told_of(shop.runway, f"key {session._session_key}") == [session._session_key]
    assert A_TOKEN in shop.said[-1]  # the page's own answer has the room's token


async def test_a_user_who_ends_the_call(shop: Shop) -> None:
    """END_CALL, which the SDK sends, ends the session; it can be called again at once."""
    credentials = (await shop.connect()).json()
    (session,) = shop.runway.open_sessions
    async with user_in(credentials) as user:
        await user.until(lambda: user.pictures)
        await user.end_call()
        await asyncio.wait_for(session.ended.wait(), BOUND)
    assert session.status == "COMPLETED"

    async def again() -> httpx.Response:
        while (answer := await shop.connect()).status_code == 429:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        return answer

    assert (await asyncio.wait_for(again(), BOUND)).status_code == 200


async def test_a_user_who_vanishes(shop: Shop) -> None:
    """A user who leaves the room without a word has the session ended 5 s later."""
    credentials = (await shop.connect()).json()
    (session,) = shop.runway.open_sessions
    async with user_in(credentials) as user:
        await user.until(lambda: user.pictures)
        # LiveKit tells of somebody who does not publish up to 3 s late; of a shorter visit, never.
        await session.wait_for("foreign_track", BOUND)
    assert session.is_open
    await asyncio.wait_for(session.ended.wait(), BOUND)
    assert session.status == "CANCELLED"


@pytest.mark.long
async def test_a_page_that_never_joins(shop: Shop, faults: TurnKnobs) -> None:
    """Credentials that nobody uses cost 20 s."""
    faults(consumed_timeout=300.0)
    await shop.connect()
    (session,) = shop.runway.open_sessions
    await asyncio.wait_for(session.ended.wait(), 40.0)
    assert session.status == "CANCELLED"


async def test_a_page_that_vanishes_while_it_waits(shop: Shop, faults: TurnKnobs) -> None:
    """A page that is closed while its session is provisioned has it ended at once."""
    faults(join_delay=60.0)
    asking = asyncio.create_task(shop.connect())
    await until(lambda: shop.runway.open_sessions)
    (session,) = shop.runway.open_sessions
    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.wait_for(session.ended.wait(), BOUND)
    assert session.status == "CANCELLED"


async def test_a_page_that_vanishes_during_the_create(shop: Shop, faults: TurnKnobs) -> None:
    """What was being created is ended as soon as its id is known."""
    faults(create_delay=1.0)
    asking = asyncio.create_task(shop.connect())
    await until(lambda: shop.runway.open_sessions)
    (session,) = shop.runway.open_sessions
    asking.cancel()
    await asyncio.wait({asking})
    await asyncio.wait_for(session.ended.wait(), BOUND)


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "", f"{ORIGIN}.evil.test", "*"])
async def test_other_origins(shop: Shop, origin: str) -> None:
    """A page of another origin begins nothing and ends nothing."""
    assert (await shop.connect()).status_code == 200
    (session,) = shop.runway.open_sessions
    for answer in (
        await shop.connect(origin=origin, user="another"),
        await shop.end(session.id, origin=origin),
        await shop.http.options(f"{PREFIX}/connect", headers={"origin": origin}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "origin")
        assert "access-control-allow-origin" not in answer.headers
    assert shop.runway.open_sessions == [session]
    await shop.end(session.id)


async def test_a_page_of_another_host_may_ask(shop: Shop) -> None:
    """Its browser is told so, for the answer as for the errors."""
    asked = {"access-control-request-method": "POST"}
    answer = await shop.http.options(f"{PREFIX}/connect", headers=asked)
    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-headers"] == "content-type"
    answer = await shop.connect("nobody")
    assert answer.json() == {
        "code": "character",
        "error": "There is no character of this avatarId.",
    }
    assert answer.headers["access-control-allow-origin"] == ORIGIN


async def test_too_many(open_shop: OpenShop) -> None:
    """A visitor has one session, all together two; who comes too often waits."""
    limits = Limits(open=2, open_per_visitor=1, per_minute=2)
    async with open_shop(limits=limits) as shop:
        ann, bob = await asyncio.gather(shop.connect(user="ann"), shop.connect(user="bob"))
        assert (ann.status_code, bob.status_code) == (200, 200)
        first = ann.json()["sessionId"]
        answer = await shop.connect(user="ann")
        assert (answer.status_code, answer.json()["code"]) == (429, "open")
        answer = await shop.connect(user="cid")
        assert (answer.status_code, answer.json()["code"]) == (503, "busy")
        await shop.end(first, user="ann")
        second = (await shop.connect(user="ann")).json()["sessionId"]
        await shop.end(second, user="ann")
        answer = await shop.connect(user="ann")
        assert (answer.status_code, answer.json()["code"]) == (429, "rate")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert len(shop.runway.open_sessions) == 1


async def test_many_at_once(shop: Shop) -> None:
    """Twenty requests of one visitor at once begin one session."""
    answers = await asyncio.gather(*(shop.connect() for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [200] + [429] * 19
    assert len(shop.runway.open_sessions) == 1


async def test_forged_ids(shop: Shop) -> None:
    """Nobody ends a session that is not theirs, by whatever name they call it."""
    (await shop.connect(user="ann")).raise_for_status()
    (session,) = shop.runway.open_sessions
    deletes = [r for r in shop.runway.requests if r.method == "DELETE"]
    forged = [session.id, str(uuid.uuid4()), session.id.upper(), "..", "%2e%2e%2fconnect", "*"]
    for name in forged:
        answer = await shop.end(name, user="bob")
        assert answer.status_code in (404, 405), name
    assert session.is_open
    assert [r for r in shop.runway.requests if r.method == "DELETE"] == deletes
    assert (await shop.end(session.id, user="ann")).status_code == 204


async def test_who_is_not_known(shop: Shop) -> None:
    """What the app's own check says is the answer."""
    answer = await shop.connect(user="nobody")
    assert (answer.status_code, answer.json()) == (
        401,
        {"code": "visitor", "error": "Log in first."},
    )


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=30),
    st.lists(st.none(), max_size=3),
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
)
BODIES = st.one_of(
    st.binary(max_size=300),
    ODD.map(lambda value: json.dumps(value).encode()),
    ODD.map(lambda value: json.dumps({"avatarId": value}).encode()),
    st.integers(1, 6000).map(lambda deep: b"[" * deep),
    st.integers(4097, 9000).map(lambda long: b" " * long),
).filter(lambda body: body != b'{"avatarId": "guide"}')


@pytest_asyncio.fixture
async def two_guides(open_shop: OpenShop) -> AsyncIterator[Shop]:
    """A shop whose pages have to say whom they want."""
    async with open_shop({"guide": GUIDE, "other": GUIDE}) as shop:
        yield shop


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=BODIES,
    path=st.sampled_from(["connect", "end/x", "end/", "connect/", "", "end/a/b"]),
    method=st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "DELETE", "HEAD"]),
    kind=st.sampled_from(["application/json", "text/plain", "", "multipart/form-data"]),
)
async def test_malformed_requests(
    two_guides: Shop, body: bytes, path: str, method: str, kind: str
) -> None:
    """Whatever is sent is answered with an error of the client's, and asks nothing of Runway."""
    before = len(two_guides.runway.requests)
    answer = await two_guides.http.request(
        method, f"{PREFIX}/{path}", content=body, headers={"content-type": kind}
    )
    assert 400 <= answer.status_code < 500 or answer.is_redirect, answer.text
    assert len(two_guides.runway.requests) == before


async def test_a_character_has_to_be_named_where_there_are_two(two_guides: Shop) -> None:
    """Where there is one it need not be."""
    assert (await two_guides.connect(None)).status_code == 404
    assert (await two_guides.connect("other")).status_code == 200


@pytest.mark.parametrize(
    ("knobs", "status", "code"),
    [
        ({"create_status": 401}, 500, "server"),
        ({"create_status": 500}, 502, "runway"),
        ({"no_credits": True}, 500, "server"),
        ({"queue_for": 1000.0}, 503, "busy"),
        ({"join_delay": 1000.0}, 504, "timeout"),
        ({"consume_status": 400}, 502, "runway"),
        ({"end_after_failure": "INTERNAL", "failure_delay": 0.1, "join_delay": 9.0}, 502, "runway"),
    ],
)
async def test_what_runway_does_not_give(
    open_shop: OpenShop, faults: TurnKnobs, knobs: dict[str, Any], status: int, code: str
) -> None:
    """One clear error that says nothing of the server, and no session that is billed on."""
    faults(**knobs)
    async with open_shop(ready_timeout=3.0) as shop:
        answer = await shop.connect()
        assert (answer.status_code, answer.json()["code"]) == (status, code)
        assert "RUNWAYML" not in answer.text
        assert not shop.runway.open_sessions


async def test_the_end_of_the_app_ends_all(open_shop: OpenShop, runway: RunwaySimulator) -> None:
    """Also what is being provisioned."""
    async with open_shop(limits=Limits(open=5)) as shop:
        await asyncio.gather(*(shop.connect(user=user) for user in ("ann", "bob")))
        asking = asyncio.create_task(shop.connect(user="cid"))
        await until(lambda: len(runway.open_sessions) == 3)
    with pytest.raises(httpx.HTTPError):
        await asking
    assert not runway.open_sessions


async def test_tools_run_here_and_events_arrive_there(
    open_shop: OpenShop, runway: RunwaySimulator
) -> None:
    """A function of the server's answers the avatar; an event changes the page."""
    show = FunctionSchema(
        name="show",
        description="Show an article.",
        properties={"article": {"type": "string", "description": "Its name."}},
        required=["article"],
    )
    calls = [Call("get_price", {"article": "lamp"}), Call("show", {"article": "lamp"})]
    runway.partner = Script([Turn("It costs {get_price[price]}.", calls)])
    guide = Character(preset_id="influencer", tools=[get_price], client_events=[show])
    async with open_shop({"guide": guide}) as shop:
        credentials = (await shop.connect()).json()
        (session,) = runway.open_sessions
        async with user_in(credentials) as user:
            await user.say(marked_speech(1, 4, RATE))
            await user.until(lambda: ("show", {"article": "lamp"}) in user.events())
            await until(lambda: session.calls and session.calls[0].seconds is not None)
        (call,) = session.calls
        assert call.result == {"article": "lamp", "price": "ten crowns"}
    runway.partner = Script()


async def test_a_backend_that_is_not_let_in(
    open_shop: OpenShop, faults: TurnKnobs, runway: RunwaySimulator
) -> None:
    """Without tools the call goes on, and ends with the app; with tools it does not begin."""
    faults(backend_status=403)
    guides = {"plain": GUIDE, "tools": Character(preset_id="influencer", tools=[get_price])}
    async with open_shop(guides) as shop:
        answer = await shop.connect("tools")
        assert (answer.status_code, answer.json()["code"]) == (500, "server")
        assert not runway.open_sessions
        credentials = (await shop.connect("plain")).json()
        async with user_in(credentials) as user:
            await user.until(lambda: user.pictures)
    assert not runway.open_sessions


APP = """
import asyncio
from fastapi import FastAPI
from pipecat_runway.server import Character, character_router
from tests.kit.web import serving

def make(url):
    app = FastAPI()
    guides = {"guide": Character(preset_id="influencer")}
    app.include_router(character_router(guides, origins=["https://shop.test"]))
    return app

async def main():
    async with serving(make) as url:
        print(url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""
REAP = (
    "import sys; from pipecat_runway.cli import main; sys.argv[1:] = ['sessions', 'reap']; main()"
)


@pytest.mark.long
async def test_what_a_killed_server_leaves_is_reaped(runway: RunwaySimulator) -> None:
    """The command ends the session of a page whose server is no more."""
    env = os.environ | runway.env
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", APP, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        url = (await asyncio.wait_for(server.stdout.readline(), 40)).decode().strip()
        async with httpx.AsyncClient(headers={"origin": ORIGIN}, timeout=30.0) as http:
            (await http.post(f"{url}/connect", json={})).raise_for_status()
    finally:
        server.kill()
        await server.wait()
    (session,) = runway.open_sessions
    command = [sys.executable, "-c", REAP]
    reap = await asyncio.to_thread(
        subprocess.run, command, env=env, capture_output=True, text=True, timeout=40, check=False
    )
    assert reap.returncode == 0, reap.stdout + reap.stderr
    assert session.status == "CANCELLED"


@pytest.mark.long
async def test_a_body_that_does_not_come(shop: Shop) -> None:
    """Whoever announces a body and sends none is answered all the same."""
    host, _, port = shop.http.base_url.netloc.decode().partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST {PREFIX}/connect HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\n"
    writer.write(f"{head}Content-Length: 20\r\n\r\n{{".encode())
    answer = await asyncio.wait_for(reader.readline(), BOUND)
    assert b"408" in answer
    writer.close()
    await writer.wait_closed()


async def test_a_router_that_was_not_started(runway: RunwaySimulator) -> None:
    """An app that is mounted inside another one has no lifespan: nothing is begun."""
    options = {"api_key": runway.api_key, "base_url": runway.env["RUNWAYML_BASE_URL"]}
    app = FastAPI()
    app.include_router(character_router({"guide": GUIDE}, origins=[ORIGIN], **options))
    async with AsyncExitStack() as stack:
        transport = httpx.ASGITransport(app)
        http = await stack.enter_async_context(
            httpx.AsyncClient(transport=transport, base_url="http://x", headers={"origin": ORIGIN})
        )
        answer = await http.post("/connect", json={})
    assert (answer.status_code, answer.json()["code"]) == (500, "server")
    assert not runway.open_sessions


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"origins": []}, "origins names none"),
        ({"origins": ["*"]}, r"origins has '\*'"),
        ({"origins": ["https://a.test/page"]}, "no origin"),
        ({"origins": ["a.test"]}, "no origin"),
        ({"characters": {}}, "characters names none"),
        ({"max_duration": 5}, "max_duration"),
        ({"ready_timeout": 0}, "ready_timeout"),
        ({"api_key": None}, "api_key is missing"),
    ],
)
def test_what_cannot_work_is_said_at_once(wrong: dict[str, Any], says: str) -> None:
    """Before an app starts."""
    right: dict[str, Any] = {"characters": {"guide": GUIDE}, "origins": [ORIGIN], "api_key": "key"}
    with pytest.raises(ConfigError, match=says):
        character_router(**(right | wrong))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({}, "exactly one of preset_id and avatar_id"),
        ({"preset_id": "a", "avatar_id": "b"}, "both were given"),
        ({"preset_id": "a", "personality": "x" * 10_001}, "personality has 10001 characters"),
        ({"preset_id": "a", "start_script": ""}, "start_script has 0 characters"),
        ({"preset_id": "a", "client_events": [get_price]}, "get_price"),
    ],
)
def test_characters_are_checked(wrong: dict[str, Any], says: str) -> None:
    """Before any browser asks for one."""
    with pytest.raises(ConfigError, match=says):
        Character(**wrong)


JOIN, AWAY = 20.0, 5.0


def attendance() -> Attendance:
    """Of a user who is expected from 100 s on."""
    found = Attendance(join_timeout=JOIN, away_timeout=AWAY)
    found.expect(100.0)
    return found


def test_a_user_is_expected_for_a_while() -> None:
    """Until they come, and for a shorter while when they have gone."""
    user = attendance()
    user.note(False, 101.0)
    assert not user.is_over(119.9)
    assert user.is_over(120.0)
    user.note(True, 119.0)
    assert not user.is_over(1000.0)
    user.note(False, 200.0)
    user.note(False, 204.0)  # somebody else has left: that does not put it off
    assert not user.is_over(204.9)
    assert user.is_over(205.0)
    user.note(True, 204.9)
    assert not user.is_over(1000.0)


def test_who_cannot_be_seen_is_believed_to_be_there() -> None:
    """If Runway says so, or they were seen before."""
    user = attendance()
    assert user.is_over(120.0)
    user.note_running()
    assert not user.is_over(1000.0)
    user.note(True, 150.0)
    user.note(False, 160.0)
    user.note_running()  # it says so for a while after they have left
    assert user.is_over(165.0)
    user.note(None, 161.0)
    assert not user.is_over(1000.0)


def test_who_was_there_before_is_not_expected_again() -> None:
    """A user may come before the answer has been read."""
    user = Attendance(join_timeout=JOIN, away_timeout=AWAY)
    user.note(True, 99.0)
    user.expect(100.0)
    assert user.until is None


def test_admission_forgets_who_has_left() -> None:
    """A minute later nothing is known of a visitor any more."""
    admission = Admission(Limits(open=3, open_per_visitor=2, per_minute=3))
    for at in (0.0, 1.0, 2.0):
        assert admission.admit("ann", at) is None
        admission.leave("ann")
    assert admission.admit("ann", 3.0) == TurnedAway(Reason.TOO_OFTEN, 57.0)
    assert admission.admit("ann", 60.0) is None
    assert admission.admit("ann", 61.0) is None
    assert admission.admit("ann", 61.5) == TurnedAway(Reason.HAS_ONE)
    assert admission.admit("bob", 62.0) is None
    assert admission.admit("cid", 62.0) == TurnedAway(Reason.FULL)


@pytest.mark.parametrize("wrong", [{"open": 0}, {"per_minute": 1.5}, {"open_per_visitor": True}])
def test_limits_are_checked(wrong: dict[str, Any]) -> None:
    """No limit is no limit anybody can have meant."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Limits(**wrong)


@pytest.mark.parametrize(
    ("host", "visitor"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8::17", "2001:db8::/64"),
        ("2001:db8::ffff:1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("testclient", "testclient"),
    ],
)
def test_who_a_visitor_is(host: str, visitor: str) -> None:
    """Of an IPv6 address the half that is given to a customer counts."""
    assert by_address(Request({"type": "http", "client": (host, 1), "headers": []})) == visitor
