import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import jsonschema
import pytest
import runwayml
from runwayml import RunwayML

from pipecat_runway.simulator import ErrorBody, RunwaySimulator, SimulatedSession
from pipecat_runway.simulator.avatars import AVATARS
from pipecat_runway.simulator.worker_messages import WorkerEvent

from .api_kit import (
    HandMadeWorkers,
    Local,
    NoLiveKit,
    OpenAPI,
    Start,
    official_client,
    session_body,
)

SESSION = "/v1/realtime_sessions/{id}"
BOUND = 2.0

COMMON = {"id", "createdAt", "status"}
FIELDS = {
    "NOT_READY": COMMON,
    "QUEUED": COMMON | {"queued"},
    "READY": COMMON | {"expiresAt", "sessionKey"},
    "RUNNING": COMMON,
    "COMPLETED": COMMON | {"duration"},
    "FAILED": COMMON | {"failure", "failureCode"},
    "CANCELLED": COMMON,
}


@asynccontextmanager
async def every_status(start: Start) -> AsyncIterator[tuple[Local, dict[str, SimulatedSession]]]:
    """A simulator with a session of each status; a queued one is `QUEUED`."""
    async with start() as local:
        runway = local.runway
        made = {}
        for status in ("RUNNING", "COMPLETED", "CANCELLED"):
            made[status] = await local.create()
            await made[status].wait_for("joined", BOUND)
        local.workers.leave_now(made["COMPLETED"].id, "end_call")
        runway.cancel(made["CANCELLED"])
        made["READY"] = await local.create(integration=None)
        runway.faults = replace(runway.faults, end_after_failure="INTERNAL", failure_delay=0.0)
        made["FAILED"] = await local.create()
        await asyncio.wait_for(made["FAILED"].ended.wait(), BOUND)
        runway.faults = replace(runway.faults, end_after_failure=None, never_join=True)
        made["NOT_READY"] = await local.create()
        runway.faults = replace(runway.faults, max_sessions=1)
        made["QUEUED"] = await local.create()
        yield local, made


# -- shapes ----------------------------------------------------------------------------------------


async def test_each_status_has_exactly_its_fields(start: Start) -> None:
    """A retrieve answers with the fields of its status, none missing and none more."""
    async with every_status(start) as (local, made):
        for name, session in made.items():
            answer = await local.retrieve(session)
            assert answer.keys() == FIELDS[name], name
            assert answer["status"] == name.replace("QUEUED", "NOT_READY")
            assert answer["id"] == session.id
        assert (await local.retrieve(made["QUEUED"]))["queued"] is True
        assert (await local.retrieve(made["READY"]))["sessionKey"].startswith("stk_")


async def test_answers_are_as_the_openapi_document_says(start: Start, openapi: OpenAPI) -> None:
    """Every success of every route validates against Runway's own schemas."""
    async with every_status(start) as (local, made):
        created = await local.http.post("/v1/realtime_sessions", json=session_body())
        openapi.check("post", "/v1/realtime_sessions", created.json())
        for session in made.values():
            openapi.check("get", SESSION, await local.retrieve(session))
        for status in ("PROCESSING", "READY", "FAILED"):
            avatar = replace(AVATARS[0], status=status)
            local.runway.avatars[avatar.id] = avatar
            answer = await local.http.get(f"/v1/avatars/{avatar.id}")
            openapi.check("get", "/v1/avatars/{id}", answer.json())
            openapi.check("get", "/v1/avatars", (await local.http.get("/v1/avatars")).json())
        openapi.check("get", "/v1/organization", (await local.http.get("/v1/organization")).json())


async def test_that_check_notices_a_wrong_answer(start: Start, openapi: OpenAPI) -> None:
    """A deliberate break: a field too many, one too few, a wrong kind; each is noticed."""
    async with start() as local:
        answer = await local.retrieve(await local.create())
        without = {name: value for name, value in answer.items() if name != "createdAt"}
        for wrong in ({**answer, "room": "r"}, without, {**answer, "createdAt": "yesterday"}):
            with pytest.raises(jsonschema.ValidationError):
                openapi.check("get", SESSION, wrong)


# -- the official client ---------------------------------------------------------------------------


async def test_the_official_async_client_reads_every_answer(start: Start) -> None:
    """`AsyncRunwayML` creates, retrieves every status, deletes, and reads account and avatars."""
    async with every_status(start) as (local, made), official_client(local) as client:
        for name, session in made.items():
            read = await client.realtime_sessions.retrieve(session.id)
            status = name.replace("QUEUED", "NOT_READY")
            assert type(read).__name__.upper() == status.replace("_", "")
            assert read.status == status
        local.runway.faults = replace(local.runway.faults, max_sessions=None, never_join=False)
        created = await client.realtime_sessions.create(
            model="gwm1_avatars",
            avatar={"type": "custom", "avatar_id": AVATARS[0].id},
            integration={
                "type": "livekit",
                "url": "ws://127.0.0.1:1",
                "token": "t",
                "room_name": "r",
                "agent_identity": "bot",
            },
            max_duration=60,
        )
        session = local.runway.sessions[-1]
        assert session.id == created.id
        assert session.limit == 60
        assert session.character == AVATARS[0].id
        await client.realtime_sessions.delete(created.id)
        assert not session.is_open
        organization = await client.organization.retrieve()
        assert organization.tier.models["gwm1_avatars"].max_concurrent_generations == 20
        assert organization.usage.models["gwm1_avatars"].daily_generations == len(made) + 1
        assert 0 < organization.credit_balance < 10_000
        names = [avatar.name async for avatar in await client.avatars.list(limit=1)]
        assert names == [avatar.name for avatar in AVATARS]
        assert (await client.avatars.retrieve(AVATARS[1].id)).voice.type == "runway-live-preset"


async def test_the_official_sync_client_reads_every_answer(start: Start) -> None:
    """`RunwayML` does the same, from a thread."""

    def talk(env: dict[str, str], ids: list[str]) -> list[str]:
        with RunwayML(
            api_key=env["RUNWAYML_API_SECRET"], base_url=env["RUNWAYML_BASE_URL"]
        ) as client:
            created = client.realtime_sessions.create(
                model="gwm1_avatars",
                avatar={"type": "runway-preset", "preset_id": "tennis-coach"},
                livekit={"url": "ws://127.0.0.1:1", "token": "t", "room_name": "r"},
            )
            client.realtime_sessions.delete(created.id)
            assert client.organization.retrieve().credit_balance
            assert len(list(client.avatars.list(limit=50))) == len(AVATARS)
            assert client.avatars.retrieve(AVATARS[0].id).status == "READY"
            return [client.realtime_sessions.retrieve(one).status for one in [*ids, created.id]]

    async with every_status(start) as (local, made):
        local.runway.faults = replace(local.runway.faults, max_sessions=None)
        ids = [session.id for session in made.values()]
        statuses = await asyncio.to_thread(talk, local.runway.env, ids)
        wanted = [name.replace("QUEUED", "NOT_READY") for name in made]
        assert statuses == [*wanted, "CANCELLED"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, runwayml.BadRequestError),
        (401, runwayml.AuthenticationError),
        (402, runwayml.APIStatusError),
        (403, runwayml.PermissionDeniedError),
        (404, runwayml.NotFoundError),
        (429, runwayml.RateLimitError),
        (500, runwayml.InternalServerError),
        (503, runwayml.InternalServerError),
    ],
)
@pytest.mark.parametrize("json_errors", [True, False])
async def test_refusals_told_by_knob(
    start: Start, status: int, error: type[Exception], json_errors: bool
) -> None:
    """Create, retrieve and delete can be made to answer with any status, in JSON or in text."""
    knobs = {"create_status": status, "retrieve_status": status, "delete_status": status}
    async with (
        start(**knobs, json_errors=json_errors) as local,
        official_client(local, max_retries=0) as client,
    ):
        with pytest.raises(error):
            await client.realtime_sessions.create(
                model="gwm1_avatars", avatar={"type": "custom", "avatar_id": AVATARS[0].id}
            )
        with pytest.raises(error):
            await client.realtime_sessions.retrieve("any")
        with pytest.raises(error):
            await client.realtime_sessions.delete("any")
        assert local.runway.sessions == []
        assert [request.status for request in local.runway.requests] == [status] * 3


async def test_a_lost_answer_leaves_a_session_behind(start: Start) -> None:
    """The client sees a broken connection; the session exists and is billed all the same."""
    async with start(create_answer_lost=True) as local:
        async with official_client(local, max_retries=0) as client:
            with pytest.raises(runwayml.APIConnectionError):
                await client.realtime_sessions.create(
                    model="gwm1_avatars", avatar={"type": "custom", "avatar_id": AVATARS[0].id}
                )
        assert len(local.runway.open_sessions) == 1
        assert local.runway.requests[-1].status == 0


# -- what every route checks -----------------------------------------------------------------------


async def test_key_version_route_and_method(start: Start) -> None:
    """A wrong key is 401 anywhere, then a wrong version 400, an unknown route 404, a method 405."""
    async with start() as local:
        http = local.http
        for wrong in ("", "Bearer", "Bearer key_0", f"Basic {local.runway.api_key}"):
            answer = await http.get("/v1/avatars", headers={"Authorization": wrong})
            assert answer.status_code == 401
            assert answer.json().keys() == {"error"}
        for version in ("", "2023-01-01"):
            answer = await http.get("/v1/avatars", headers={"X-Runway-Version": version})
            assert answer.status_code == 400
        assert (await http.get("/v1/nothing")).json() == {"error": "Not Found"}
        answer = await http.put("/v1/realtime_sessions", json=session_body())
        assert answer.status_code == 405
        assert answer.headers["Allow"] == "POST"
        assert answer.json().keys() == {"error"}
        for method in ("GET", "DELETE"):
            assert (await http.request(method, "/v1/realtime_sessions/x")).status_code == 404


async def test_bodies_that_cannot_be_read(start: Start) -> None:
    """A create must be JSON and say so."""
    async with start(content_type_status=415) as local:
        text = await local.http.post("/v1/realtime_sessions", content=b"{}")
        assert text.status_code == 415
        assert text.json() == {"error": "Incorrect content type"}
        headers = {"Content-Type": "application/json"}
        broken = await local.http.post("/v1/realtime_sessions", content=b"{", headers=headers)
        assert broken.status_code == 400
        assert local.runway.sessions == []


async def test_a_refused_body(start: Start) -> None:
    """A body over a limit is a 400 in the form the knob names; nothing begins."""
    async with start(allow_livekit_key=False, error_body=ErrorBody.PLAIN) as local:
        livekit = {"url": "ws://127.0.0.1:1", "token": "t", "roomName": "r"}
        answer = await local.http.post("/v1/realtime_sessions", json=session_body(livekit=livekit))
        assert answer.status_code == 400
        assert answer.json() == {"error": "Unrecognized key: livekit"}
        local.runway.faults = replace(local.runway.faults, error_body=ErrorBody.ISSUES)
        answer = await local.http.post("/v1/realtime_sessions", json=session_body(maxDuration=9))
        assert answer.json()["issues"][0]["path"] == ["maxDuration"]
        answer = await local.http.get("/v1/avatars?limit=101")
        assert answer.json()["error"] == "Validation of query failed"
        assert local.runway.sessions == []


async def test_avatars_credits_and_slots(start: Start) -> None:
    """An unknown or unready avatar, an empty account and a full one refuse, each in its way."""
    async with start(
        no_credits_status=402, queue_when_full=False, avatar_not_ready_status=409, retry_after=7
    ) as local:

        async def create(**more: Any) -> httpx.Response:
            return await local.http.post("/v1/realtime_sessions", json=session_body(**more))

        unknown = {"type": "custom", "avatarId": "00000000-0000-4000-8000-000000000000"}
        answer = await create(avatar=unknown)
        assert answer.status_code == 404
        assert answer.json() == {"error": "Could not find Avatar"}
        runway = local.runway
        runway.avatars[AVATARS[0].id] = replace(AVATARS[0], status="PROCESSING")
        assert (await create(avatar={**unknown, "avatarId": AVATARS[0].id})).status_code == 409
        runway.faults = replace(runway.faults, no_credits=True)
        answer = await create()
        assert answer.status_code == 402
        assert "credits" in answer.json()["error"]
        assert (await local.http.get("/v1/organization")).json()["creditBalance"] == 0
        runway.faults = replace(runway.faults, no_credits=False, max_sessions=0)
        answer = await create()
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "7"
        assert runway.sessions == []


# -- lives -----------------------------------------------------------------------------------------


async def ended(session: SimulatedSession) -> str:
    await asyncio.wait_for(session.worker_gone.wait(), BOUND)
    return session.status.value


async def test_the_worker_is_told_all_it_needs(start: Start) -> None:
    """The room, the token, whom to hear and whom to paint go to the worker as the body says."""
    async with start() as local:
        session = await local.create()
        await session.wait_for("joined", BOUND)
        (order,) = local.workers.joins
        assert order == {
            "session_id": session.id,
            "url": "ws://127.0.0.1:1",
            "token": "a-room-token",
            "room_name": "room",
            "agent_identity": "bot",
            "character": "cat-character",
            "faults": local.runway.faults,
            "part": None,
        }
        assert (await local.retrieve(session))["status"] == "RUNNING"


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("end_call", "COMPLETED"),
        ("agent_left", "COMPLETED"),
        ("room_lost", "FAILED"),
        ("killed", "FAILED"),
        ("fault", "COMPLETED"),
    ],
)
async def test_how_a_worker_left_decides_the_status(start: Start, reason: str, status: str) -> None:
    """A worker that leaves ends its session, well or badly."""
    async with start() as local:
        session = await local.create()
        await session.wait_for("joined", BOUND)
        local.workers.leave_now(session.id, reason)
        assert await ended(session) == status
        await local.runway.wait_ended(BOUND)


async def test_knobs_for_the_status_after_a_loss(start: Start) -> None:
    """What a lost room or a lost worker makes of the session, and with which code, is a knob."""
    knobs = {"room_lost_status": "COMPLETED", "leave_status": "FAILED", "failure_code": "ROOM.GONE"}
    async with start(**knobs) as local:
        lost, left = await local.create(), await local.create()
        for session, reason in ((lost, "room_lost"), (left, "fault")):
            await session.wait_for("joined", BOUND)
            local.workers.leave_now(session.id, reason)
        assert await ended(lost) == "COMPLETED"
        assert (await local.retrieve(left))["failureCode"] == "ROOM.GONE"


async def test_a_session_may_outlive_its_worker(start: Start) -> None:
    """With `leave_status` RUNNING a lost worker is not noticed, and the bill runs on."""
    async with start(leave_status="RUNNING") as local:
        session = await local.create()
        await session.wait_for("joined", BOUND)
        local.workers.leave_now(session.id, "fault")
        assert session.is_open
        assert (await local.http.delete(f"/v1/realtime_sessions/{session.id}")).status_code == 204
        assert await ended(session) == "CANCELLED"
        assert local.workers.leaves == []


async def test_a_worker_that_cannot_join_fails_the_session(start: Start) -> None:
    """A room that cannot be entered is a FAILED session with a code."""
    async with start() as local:
        local.workers.hold_joins = True
        session = await local.create()
        await asyncio.wait_for(local.workers.joined.wait(), BOUND)
        local.workers.inside.clear()
        local.workers.say(session.id, "join_failed", error="no such room")
        assert await ended(session) == "FAILED"
        assert (await local.retrieve(session))["failureCode"] == "INTERNAL"


async def test_the_time_limit_ends_a_running_session(start: Start) -> None:
    """At the effective limit, counted from the join, the worker is called back: COMPLETED."""
    async with start(effective_limit=0.05, join_delay=0.1) as local:
        session = await local.create(maxDuration=1800)
        assert await ended(session) == "COMPLETED"
        assert local.workers.leaves == [(session.id, "limit")]
        assert (session.events[-1].at - session.events[0].at) >= 0.05


async def test_delete_calls_the_worker_back(start: Start) -> None:
    """A DELETE cancels at once and the worker leaves; a second one meets a session that ended."""
    async with start() as local:
        session = await local.create()
        await session.wait_for("joined", BOUND)
        path = f"/v1/realtime_sessions/{session.id}"
        answer = await local.http.delete(path)
        assert answer.status_code == 204
        assert answer.content == b""
        assert (await local.retrieve(session))["status"] == "CANCELLED"
        assert await ended(session) == "CANCELLED"
        assert local.workers.leaves == [(session.id, "deleted")]
        assert (await local.http.delete(path)).status_code == 204
        local.runway.faults = replace(local.runway.faults, delete_ended_status=409)
        assert (await local.http.delete(path)).status_code == 409


async def test_deleted_before_the_worker_was_sent(start: Start) -> None:
    """A session deleted during `join_delay` never has a worker."""
    async with start(join_delay=60) as local:
        session = await local.create()
        await local.http.delete(f"/v1/realtime_sessions/{session.id}")
        assert await ended(session) == "CANCELLED"
        assert local.workers.joins == []
        assert local.workers.leaves == []


async def test_deleted_while_the_worker_is_joining(start: Start) -> None:
    """A worker on its way is called back, and the session never runs."""
    async with start() as local:
        local.workers.hold_joins = True
        session = await local.create()
        await asyncio.wait_for(local.workers.joined.wait(), BOUND)
        await local.http.delete(f"/v1/realtime_sessions/{session.id}")
        assert await ended(session) == "CANCELLED"
        assert local.workers.leaves == [(session.id, "deleted")]
        local.workers.say(session.id, "joined")
        assert session.status == "CANCELLED"


async def test_a_session_that_fails_by_itself(start: Start) -> None:
    """`end_after_failure` fails a session with that code and calls its worker back."""
    async with start(end_after_failure="INTERNAL.BAD_OUTPUT", failure_delay=0.05) as local:
        session = await local.create()
        assert await ended(session) == "FAILED"
        assert local.workers.leaves == [(session.id, "fault")]
        assert (await local.retrieve(session))["failureCode"] == "INTERNAL.BAD_OUTPUT"


async def test_ready_is_passed_or_not(start: Start) -> None:
    """Whether a LiveKit session is READY while its worker joins is a knob; then it is RUNNING."""
    async with start(passes_ready=True) as local:
        local.workers.hold_joins = True
        session = await local.create()
        await asyncio.wait_for(local.workers.joined.wait(), BOUND)
        assert (await local.retrieve(session))["status"] == "READY"
        local.workers.say(session.id, "joined")
        assert (await local.retrieve(session)).keys() == COMMON


async def test_ready_expires(start: Start) -> None:
    """A session that nobody consumes ends as its knob says."""
    async with start(ready_lifetime=0.05, ready_expired_status="CANCELLED") as local:
        session = await local.create(integration=None)
        assert await ended(session) == "CANCELLED"


async def test_the_queue_is_a_queue(start: Start) -> None:
    """Over the limit sessions wait, first come first served; a queued one can be deleted."""
    async with start(max_sessions=1) as local:
        first, second, third, fourth = [await local.create() for _ in range(4)]
        await first.wait_for("joined", BOUND)
        assert [session.queued for session in (first, second, third, fourth)] == [False] + [
            True
        ] * 3
        local.runway.cancel(second)
        assert await ended(second) == "CANCELLED"
        local.runway.cancel(first)
        await third.wait_for("joined", BOUND)
        assert "queued" not in await local.retrieve(third)
        assert fourth.queued
        assert [order["session_id"] for order in local.workers.joins] == [first.id, third.id]


async def test_a_slow_create_has_begun_before_it_is_answered(start: Start) -> None:
    """During `create_delay` the session exists already."""
    async with start(create_delay=0.2) as local:
        answer = asyncio.create_task(local.create())
        await asyncio.wait_for(local.workers.joined.wait(), BOUND)
        await local.runway.sessions[0].wait_for("joined", BOUND)
        assert not answer.done()
        assert await answer is local.runway.sessions[0]


async def test_everything_ends_with_the_simulator(start: Start) -> None:
    """On leaving, open sessions of every kind are cancelled and their workers gone."""
    async with every_status(start) as (local, made):
        runway, open_before = local.runway, {s.id for s in local.runway.open_sessions}
        assert open_before == {
            made[name].id for name in ("RUNNING", "READY", "NOT_READY", "QUEUED")
        }
    assert runway.open_sessions == []
    assert all(session.worker_gone.is_set() for session in runway.sessions)
    await runway.aclose()


async def test_a_simulator_that_cannot_start_leaves_nothing(start: Start) -> None:
    """With its port taken the simulator ends what it had already started."""
    async with start() as local:
        made: list[HandMadeWorkers] = []

        def workers(on_event: Callable[[WorkerEvent], None]) -> HandMadeWorkers:
            made.append(HandMadeWorkers(on_event))
            return made[0]

        port = int(local.runway.env["RUNWAYML_BASE_URL"].rpartition(":")[2])
        other = RunwaySimulator(livekit=NoLiveKit(), workers=workers, port=port)
        with pytest.raises(OSError, match="address already in use"):
            await other.start()
        assert not made[0].running


async def test_wait_ended_names_what_is_left(start: Start) -> None:
    """A wait for the end of all sessions is bounded and says which go on."""
    async with start() as local:
        session = await local.create()
        with pytest.raises(TimeoutError, match=session.id):
            await local.runway.wait_ended(0.01)


async def test_no_token_is_kept_or_shown(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Request records, sessions, reprs and logs hold no token and no key."""
    caplog.set_level(logging.DEBUG, "pipecat_runway")
    caplog.set_level(logging.DEBUG, "aiohttp")
    async with start() as local:
        session = await local.create()
        await session.wait_for("joined", BOUND)
        shown = f"{local.runway.requests} {local.runway!r} {session!r} {session.body} {caplog.text}"
        assert "a-room-token" not in shown
        assert local.runway.api_key not in shown
        (request,) = local.runway.requests
        assert request[:3] == ("POST", "/v1/realtime_sessions", 200)
        assert request.body["integration"]["token"] == "[removed]"
