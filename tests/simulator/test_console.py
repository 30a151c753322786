"""The switchboard over HTTP, and the API's own faults, against workers made by hand."""

import asyncio
import json
import time

import httpx
import pytest

from pipecat_runway.simulator import Faults, Garbage, SwitchError
from tests.kit.waiting import until

from .api_kit import Start, session_body

PATH = "/_simulator/faults"
BOUND = 2.0


async def test_what_there_is_and_what_was_thrown(start: Start) -> None:
    """A look shows knobs, actions and sessions; a post turns and does, in this order."""
    async with start() as local:
        session = await local.create()
        await session.wait_for("joined", BOUND)
        shown = (await local.http.get(PATH)).json()
        assert shown["knobs"]["gain"] == 1.0
        assert "kill" in shown["actions"]
        assert shown["sessions"] == [{"id": session.id, "status": "RUNNING"}]
        switches = ["no_credits=yes", "gain=0.5", "muted=yes@speech:1.2", "kill"]
        answer = await local.http.post(PATH, json={"switches": switches})
        assert answer.json() == {"thrown": switches}
        assert local.runway.faults == Faults(no_credits=True, gain=0.5)
        assert session.faults.gain == 0.5
        assert local.workers.done == [(session.id, text) for text in switches[1:]]
        answer = await local.http.post(PATH, json={"switches": ["leave"], "session": session.id})
        assert answer.status_code == 200
        assert PATH not in [request.path for request in local.runway.requests]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"x" * 70_000, "longer than"),
        (b"[]", "must be an object"),
        (b'{"switches": ["kill"], "room": "x"}', "must be an object"),
        (b'{"switches": "kill"}', "list of 1 to 100"),
        (b'{"switches": []}', "list of 1 to 100"),
        (b'{"switches": ["gain=2", 7]}', "a text of 1 to 200"),
        (b'{"switches": ["gain=2", "gain=loud"]}', "not a number"),
        (b'{"switches": ["gain=2"], "session": 7}', "session must be a text"),
    ],
)
async def test_what_cannot_be_read_changes_nothing(start: Start, body: bytes, why: str) -> None:
    """400 with the reason, and no switch before the bad one is thrown either."""
    async with start() as local:
        answer = await local.http.post(PATH, content=body)
        assert answer.status_code == 400
        assert why in answer.json()["error"]
        assert local.runway.faults == Faults()


@pytest.mark.parametrize(
    ("switch", "whose", "why"),
    [
        ("kill", None, "no session is open"),
        ("muted=yes@speech:1", None, "no session is open"),
        ("kill", "nobody", "there is no session 'nobody'"),
        ("kill", "ended", "has ended"),
        ("create_status=500", "open", "does not belong to one session"),
        ("restart_livekit", "open", "does not belong to one session"),
        ("restart_livekit", None, "not the simulator's to restart"),
        ("thaw@speech:1", "open", "cannot wait for speech"),
        ("kill", "waiting", "not on its way"),
    ],
)
async def test_what_cannot_be_thrown_is_said(
    start: Start, switch: str, whose: str | None, why: str
) -> None:
    """409 with the reason, and the names of those that were thrown before it."""
    async with start(join_delay=30 if whose == "waiting" else 0) as local:
        session = None
        if whose in ("open", "ended", "waiting"):
            session = (await local.create()).id
        if whose == "ended":
            await local.http.delete(f"/v1/realtime_sessions/{session}")
        body = {"switches": ["no_credits=yes"], "session": session or whose}
        body["switches"] = ["no_credits=yes", switch] if whose is None else [switch]
        answer = await local.http.post(
            PATH, json={key: value for key, value in body.items() if value is not None}
        )
        assert answer.status_code == 409
        assert why in answer.json()["error"]
        assert answer.json()["thrown"] == body["switches"][:-1]


async def test_nobody_without_the_key_turns_anything(start: Start) -> None:
    """The key of the simulator is needed; another path is not the switchboard's."""
    async with start() as local:
        url = local.runway.env["RUNWAYML_BASE_URL"] + PATH
        async with httpx.AsyncClient(headers={"Authorization": "Bearer key_wrong"}) as stranger:
            assert (await stranger.get(url)).status_code == 401
            answer = await stranger.post(url, json={"switches": ["no_credits=yes"]})
            assert answer.status_code == 401
        assert local.runway.faults == Faults()
        assert (await local.http.get("/_simulator/other")).status_code == 404


async def test_credits_run_out_at_a_moment(start: Start) -> None:
    """A script turns the simulator's knobs too: later creates are refused, the session goes on."""
    async with start(no_credits_status=402, script=("no_credits=yes@0.1",)) as local:
        session = await local.create()
        await until(lambda: local.runway.faults.no_credits, BOUND)
        answer = await local.http.post("/v1/realtime_sessions", json=session_body())
        assert answer.status_code == 402
        assert session.is_open


async def test_a_script_ends_with_its_session(start: Start) -> None:
    """What was to happen to a session that has ended does not happen to anything."""
    async with start(script=("no_credits=yes@0.2", "fail=INTERNAL@0.2")) as local:
        session = await local.create()
        await local.http.delete(f"/v1/realtime_sessions/{session.id}")
        await local.runway.wait_ended(BOUND)
        other = await local.create(integration=None)
        await asyncio.wait_for(other.ended.wait(), BOUND)
        assert (session.status, other.status) == ("CANCELLED", "FAILED")


async def test_a_session_is_queued_although_slots_are_free(start: Start) -> None:
    """For a while, then it begins by itself; or for ever, until it is deleted."""
    async with start(queue_for=0.2) as local:
        session = await local.create()
        assert (await local.retrieve(session))["queued"] is True
        await session.wait_for("joined", BOUND)
        await local.runway.fault("queue_for=inf")
        stuck = await local.create()
        await local.runway.fault("queue_for=0")
        await (await local.create()).wait_for("joined", BOUND)
        assert stuck.queued
        await local.http.delete(f"/v1/realtime_sessions/{stuck.id}")
        assert stuck.status == "CANCELLED"


async def test_every_answer_is_late(start: Start) -> None:
    """Refusals as well as successes; what was asked for has been done by then."""
    async with start(answer_delay=0.2) as local:
        for path in ("/v1/organization", "/v1/avatars", "/v1/nothing"):
            before = time.monotonic()
            await local.http.get(path)
            assert time.monotonic() - before > 0.2
        slow = asyncio.create_task(local.create())
        await until(lambda: local.runway.sessions, BOUND)
        assert not slow.done()
        await slow


@pytest.mark.parametrize("kind", list(Garbage))
async def test_garbage_on_every_route(start: Start, kind: Garbage) -> None:
    """Success, with a body that is not what it should be; refusals are left alone."""
    async with start() as local:
        session = await local.create()
        local.runway.faults = Faults(garbage=kind)
        path = f"/v1/realtime_sessions/{session.id}"
        for method, where in (("GET", path), ("GET", "/v1/organization"), ("DELETE", path)):
            answer = await local.http.request(method, where)
            assert answer.status_code == 200
            assert is_garbage(answer.content, kind), answer.content[:100]
        assert session.status == "CANCELLED"
        answer = await local.http.get("/v1/realtime_sessions/nobody")
        assert answer.json()["error"].startswith("Could not find")


def is_garbage(body: bytes, kind: Garbage) -> bool:
    try:
        fields = json.loads(body)
    except ValueError:
        return kind in (Garbage.EMPTY, Garbage.HTML, Garbage.BYTES, Garbage.CUT)
    match kind:
        case Garbage.LIST:
            return fields == []
        case Garbage.MISSING:
            return fields == {}
        case Garbage.NULLS:
            return all(value is None for value in fields.values())
        case Garbage.TYPES:
            return not isinstance(fields.get("id"), str)
        case Garbage.HUGE:
            return len(body) > 8_000_000
    return False


async def test_garbage_on_one_route(start: Start) -> None:
    """The others answer as ever."""
    async with start() as local:
        await local.runway.fault("garbage_route=retrieve")
        await local.runway.fault("garbage=missing")
        session = await local.create()
        answer = await local.http.get(f"/v1/realtime_sessions/{session.id}")
        assert answer.json() == {}


async def test_python_says_what_cannot_be_thrown(start: Start) -> None:
    """As HTTP does; and what has a moment is thrown then, or never if it is over before."""
    async with start() as local:
        with pytest.raises(SwitchError, match="no switch 'kil'; is it kill"):
            await local.runway.fault("kil")
        with pytest.raises(SwitchError, match="no session is open"):
            await local.runway.fault("kill")
        await local.runway.fault("no_credits=yes@0.05")
        await local.runway.fault("kill@0.05")  # nobody is there by then either: it is logged
        await until(lambda: local.runway.faults.no_credits, BOUND)
        await local.runway.fault("no_credits=no@30")
