import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from livekit import api

from pipecat_runway.simulator import RunwaySimulator, SimulatedSession
from pipecat_runway.simulator.livekit_binary import BUILD_TIMEOUT
from tests.kit.machine import children

from .api_kit import session_body

# The first use on a machine builds the server.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT)

BOUND = 10.0


class Whole:
    """A simulator with its own LiveKit server and real workers, and somebody who creates."""

    def __init__(self, runway: RunwaySimulator, livekit: api.LiveKitAPI) -> None:
        self.runway = runway
        self.livekit = livekit

    def body(self, room: str) -> dict[str, object]:
        env = self.runway.env
        token = api.AccessToken(env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"])
        token.with_identity("avatar").with_kind("agent")
        token.with_grants(api.VideoGrants(room_join=True, room=room))
        room_of_ours = {
            "type": "livekit",
            "url": env["LIVEKIT_URL"],
            "token": token.to_jwt(),
            "roomName": room,
        }
        return session_body(integration=room_of_ours)

    def create(self, room: str) -> SimulatedSession:
        return self.runway.create(self.body(room))

    async def is_left(self, room: str) -> bool:
        """Whether the LiveKit server sees nobody there, now or within a bound."""
        for _ in range(100):
            if not await self.avatars_in(room):
                return True
            await asyncio.sleep(0.05)
        return False

    async def avatars_in(self, room: str) -> list[str]:
        request = api.ListParticipantsRequest(room=room)
        found = await self.livekit.room.list_participants(request)
        return [participant.identity for participant in found.participants]


@asynccontextmanager
async def whole() -> AsyncIterator[Whole]:
    async with RunwaySimulator() as runway:
        env = runway.env
        keys = env["LIVEKIT_URL"], env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"]
        async with api.LiveKitAPI(*keys) as livekit:
            yield Whole(runway, livekit)


async def test_a_deleted_session_leaves_nobody_in_the_room() -> None:
    """Whenever a DELETE comes, before, while or after the worker joins, the room is left."""
    async with whole() as local:
        for number, delay in enumerate((0.0, 0.005, 0.02, 0.05, 0.1, 0.3)):
            session = local.create(f"room-{number}")
            await asyncio.sleep(delay)
            local.runway.cancel(session)
            await local.runway.wait_ended(BOUND)
            assert session.status == "CANCELLED"
            assert await local.is_left(f"room-{number}"), f"deleted after {delay} s"


async def test_a_session_deleted_while_its_workers_process_starts_is_over() -> None:
    """Two avatars need two processes; a call back while the second one starts is heard."""
    async with whole() as local:
        await local.create("one").wait_for("joined", BOUND)
        other = local.create("other")
        await asyncio.sleep(0.05)
        local.runway.cancel(other)
        await asyncio.wait_for(other.worker_gone.wait(), BOUND)
        await local.create("third").wait_for("joined", BOUND)


async def test_a_wrong_token_fails_the_session() -> None:
    """A worker that the LiveKit server refuses is a FAILED session."""
    async with whole() as local:
        body = local.body("room")
        body["integration"]["token"] += "x"  # type: ignore[index]
        session = local.runway.create(body)
        await asyncio.wait_for(session.ended.wait(), BOUND)
        assert session.status == "FAILED"
        assert session.events[-1].kind == "join_failed"


async def test_killed_workers_fail_their_sessions_and_new_ones_come() -> None:
    """When the workers' process dies its sessions fail; the next create starts another."""
    async with whole() as local:
        session = local.create("room")
        await session.wait_for("joined", BOUND)
        assert await local.avatars_in("room") == ["avatar"]
        local.runway.workers.kill()
        await local.runway.wait_ended(BOUND)
        assert session.status == "FAILED"
        await local.create("other").wait_for("joined", BOUND)


async def test_nothing_is_left_of_a_simulator_left_in_mid_session() -> None:
    """Leaving with an avatar in the room ends session, workers, server and API, within a bound."""
    before, tasks = children(), asyncio.all_tasks()
    async with whole() as local:
        session = local.create("room")
        await session.wait_for("published", BOUND)
        env = local.runway.env
        began = time.monotonic()
    assert time.monotonic() - began < 5
    assert session.status == "CANCELLED"
    assert session.events[-1].kind == "left"
    assert children() <= before
    assert asyncio.all_tasks() <= tasks
    for url in (env["RUNWAYML_BASE_URL"], env["LIVEKIT_URL"].replace("ws", "http")):
        with pytest.raises(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as http, http.get(url):
                pass
