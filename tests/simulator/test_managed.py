"""Managed rooms as the API has them; who joins is made by hand."""

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from pipecat_runway.simulator import Garbage, Route, SimulatedSession

from .api_kit import Local, Start

BOUND = 2.0
NO_KEY = {"Authorization": "", "X-Runway-Version": ""}


async def ready(local: Local, **more: Any) -> tuple[SimulatedSession, str]:
    """A READY session in a managed room, and its key."""
    session = await local.create(integration=None, **more)
    await asyncio.wait_for(session.at_ready.wait(), BOUND)
    return session, (await local.retrieve(session))["sessionKey"]


async def consume(local: Local, session: SimulatedSession, key: str) -> httpx.Response:
    """What Runway's React SDK sends."""
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=local.http.base_url) as browser:
        path = f"/v1/realtime_sessions/{session.id}/consume"
        return await browser.post(path, headers=headers)


async def connect_backend(local: Local, session: SimulatedSession) -> httpx.Response:
    return await local.http.post(f"/v1/realtime_sessions/{session.id}/connect_backend")


def identity(answer: httpx.Response) -> str:
    claims = jwt.decode(answer.json()["token"], options={"verify_signature": False})
    name: str = claims["sub"]
    return name


async def test_consume_hands_out_what_opens_the_room(start: Start) -> None:
    """By the session key, without the version header: address, token and name of the room."""
    async with start() as local:
        session, key = await ready(local)
        answer = await consume(local, session, key)
        assert answer.status_code == 200
        assert answer.json().keys() == {"url", "token", "roomName"}
        assert answer.json()["roomName"] == session.id
        assert (await local.retrieve(session))["status"] == "READY"
        local.workers.say(session.id, "user_joined")
        assert (await local.retrieve(session)).keys() == {"id", "createdAt", "status"}
        assert session.status == "RUNNING"
        assert key not in repr((session, local.runway.requests))
        assert answer.json()["token"] not in repr((session, local.runway.requests))


async def test_a_browser_may_consume(start: Start) -> None:
    """The preflight is answered without a key, and refusals can be read as well."""
    async with start() as local:
        session, _ = await ready(local)
        path = f"/v1/realtime_sessions/{session.id}/consume"
        asked = await local.http.options(path, headers=NO_KEY)
        assert asked.status_code == 204
        assert "authorization" in asked.headers["Access-Control-Allow-Headers"]
        refused = await consume(local, session, "stk_wrong")
        assert refused.status_code == 401
        assert refused.headers["Access-Control-Allow-Origin"] == "*"
        of_another = await local.http.get(f"/v1/realtime_sessions/{session.id}")
        assert "Access-Control-Allow-Origin" not in of_another.headers


@pytest.mark.parametrize("status", [400, 409])
async def test_consume_is_refused(start: Start, status: int) -> None:
    """Too early, a second time, too late, for a room of the customer's: as the knob says."""
    async with start(consume_refusal=status, never_join=True) as local:
        early = await local.create(integration=None)
        assert (await consume(local, early, "stk_none")).status_code == status
        local.runway.faults = replace(local.runway.faults, never_join=False)
        session, key = await ready(local)
        assert (await consume(local, session, local.runway.api_key)).status_code == 401
        assert (await consume(local, session, key)).status_code == 200
        assert (await consume(local, session, key)).status_code == status
        local.runway.cancel(session)
        assert (await consume(local, session, key)).status_code == status
        theirs = await local.create()
        assert (await consume(local, theirs, "stk_none")).status_code == status


async def test_consume_by_its_knobs(start: Start) -> None:
    """Again and again, not without JSON, with another address, or never."""
    knobs = {"consume_once": False, "consumed_url": "ws://127.0.0.1:2"}
    async with start(**knobs) as local:
        session, key = await ready(local)
        for _ in range(2):
            assert (await consume(local, session, key)).json()["url"] == knobs["consumed_url"]
    async with start(consume_needs_json=True, content_type_status=415) as local:
        session, key = await ready(local)
        path = f"/v1/realtime_sessions/{session.id}/consume"
        headers = {"Authorization": f"Bearer {key}"}
        refused = await local.http.post(path, headers=headers)
        assert (refused.status_code, refused.json()["error"]) == (415, "Incorrect content type")
        assert (await local.http.post(path, headers=headers, json={})).status_code == 200
    async with start(consume_status=503) as local:
        session, key = await ready(local)
        assert (await consume(local, session, key)).status_code == 503


async def test_what_becomes_of_a_ready_session(start: Start) -> None:
    """Unconsumed it expires; consumed, it waits for its user, and no longer."""
    expiry: dict[str, Any] = {"ready_expired_status": "CANCELLED"}
    async with start(ready_lifetime=0.5, **expiry) as local:
        session, key = await ready(local)
        await asyncio.wait_for(session.ended.wait(), BOUND)
        assert session.status == "CANCELLED"
        assert local.workers.leaves == [(session.id, "deleted")]
        assert (await consume(local, session, key)).status_code == 400
    async with start(consumed_timeout=0.2, **expiry) as local:
        session, key = await ready(local)
        assert (await consume(local, session, key)).status_code == 200
        await asyncio.wait_for(session.ended.wait(), BOUND)
        assert session.status == "CANCELLED"
    async with start(ready_lifetime=1.0, effective_limit=1.2) as local:
        session, key = await ready(local)
        assert (await consume(local, session, key)).status_code == 200
        local.workers.say(session.id, "user_joined")
        await asyncio.wait_for(session.ended.wait(), BOUND)
        assert session.status == "COMPLETED"
        assert local.workers.leaves == [(session.id, "limit")]


async def test_the_partner_may_come_late(start: Start) -> None:
    """With `joins_after_consume` nobody is in the room of a READY session."""
    async with start(joins_after_consume=0.05) as local:
        session, key = await ready(local)
        assert not local.workers.joins
        assert (await consume(local, session, key)).status_code == 200
        await session.wait_for("joined", BOUND)
        assert session.status == "READY"
        local.workers.say(session.id, "user_joined")
        assert session.status == "RUNNING"


async def test_it_fails_before_and_after_it_is_ready(start: Start) -> None:
    """By its knobs, by a switch, and when its worker cannot join."""
    async with start(end_after_failure="SAFETY.INPUT.TEXT", failure_delay=0.0) as local:
        session = await local.create(integration=None)
        await asyncio.wait_for(session.ended.wait(), BOUND)
        assert (await local.retrieve(session))["failureCode"] == "SAFETY.INPUT.TEXT"
        assert not session.at_ready.is_set()
    async with start() as local:
        session, key = await ready(local)
        await local.runway.fault("fail=INTERNAL.BAD_OUTPUT.CODE01", session)
        assert (await local.retrieve(session))["failureCode"] == "INTERNAL.BAD_OUTPUT.CODE01"
        assert (await consume(local, session, key)).status_code == 400
        local.workers.hold_joins = True
        session = await local.create(integration=None)
        await asyncio.wait_for(local.workers.joined.wait(), BOUND)
        local.workers.inside.clear()
        local.workers.say(session.id, "join_failed", error="ConnectError")
        assert session.status == "FAILED"


async def test_the_backend_has_a_place_of_its_own(start: Start) -> None:
    """From READY to the end, by the API key; it and the user and the partner differ."""
    async with start(never_join=True, backend_refusal=409) as local:
        early = await local.create(integration=None)
        assert (await connect_backend(local, early)).status_code == 409
        local.runway.faults = replace(local.runway.faults, never_join=False)
        session, key = await ready(local)
        before = await connect_backend(local, session)
        user = await consume(local, session, key)
        local.workers.say(session.id, "user_joined")
        after = await connect_backend(local, session)
        assert before.json().keys() == {"url", "token", "roomName"}
        assert identity(before) == identity(after) == f"backend:{session.id}"
        (order,) = [o for o in local.workers.joins if o["session_id"] == session.id]
        assert order["part"].backend == identity(before)
        partner = jwt.decode(order["token"], options={"verify_signature": False})["sub"]
        assert partner.startswith("worker:")
        assert len({partner, identity(user), identity(before)}) == 3
        local.runway.cancel(session)
        assert (await connect_backend(local, session)).status_code == 409
        assert (await connect_backend(local, await local.create())).status_code == 409
        local.http.headers["Authorization"] = f"Bearer {key}"
        assert (await connect_backend(local, session)).status_code == 401
    async with start(backend_status=403) as local:
        session, _ = await ready(local)
        assert (await connect_backend(local, session)).status_code == 403


async def test_how_a_partner_left_decides_the_status(start: Start) -> None:
    """A call that was ended, a user who went away, a room that was lost."""
    reasons = {"end_call": "COMPLETED", "user_left": "COMPLETED", "room_lost": "FAILED"}
    async with start() as local:
        for reason, status in reasons.items():
            session, _ = await ready(local)
            local.workers.say(session.id, "user_joined")
            local.workers.leave_now(session.id, reason)
            assert session.status == status


async def test_the_part_is_cast_from_the_body(start: Start) -> None:
    """The start script of the session, else of its avatar, and its tools go to the partner."""
    tools = [{"type": "client_event", "name": "show", "description": "Shows", "parameters": []}]
    otto = {"type": "custom", "avatarId": "b28e4d17-90ca-4f63-8d5b-1a7e36c2f904"}
    async with start() as local:
        await ready(local, startScript="Hello!", tools=tools)
        await ready(local, avatar=otto)
        await ready(local)
        parts = [order["part"] for order in local.workers.joins]
        assert [part.greeting and part.greeting.text for part in parts] == [
            "Hello!",
            "Good morning! What can I do for you?",
            None,
        ]
        assert [part.tools for part in parts] == [tools, [], []]
        assert parts[0].turn(0).calls[0].name == "show"  # nobody has written a script


async def test_garbage_reaches_these_routes_too(start: Start) -> None:
    """`garbage_route` tells them from the create."""
    async with start(garbage=Garbage.MISSING, garbage_route=Route.CONSUME) as local:
        session = await local.create(integration=None)
        await asyncio.wait_for(session.at_ready.wait(), BOUND)
        key = (await local.retrieve(session))["sessionKey"]
        assert (await connect_backend(local, session)).json() != {}
        assert (await consume(local, session, key)).json() == {}
