"""A simulated account with what it keeps, without any LiveKit server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx

from pipecat_runway import wire
from pipecat_runway.characters import RunwayCharacters
from pipecat_runway.simulator import Faults, RunwaySimulator
from pipecat_runway.simulator.worker_messages import WorkerEvent
from tests.simulator.api_kit import HandMadeWorkers, NoLiveKit, session_body

BOUND = 5.0  # s


@dataclass
class Account:
    """The account, and who uses it."""

    runway: RunwaySimulator
    workers: HandMadeWorkers
    characters: RunwayCharacters
    http: httpx.AsyncClient

    async def talked(self, said: str, *, end: bool = True) -> str:
        """A conversation in which a user and the character speak, and tools are called; its id."""
        tool = {"type": "backend_rpc", "name": "weather", "description": "Tells it."}
        body = {
            "model": wire.MODEL,
            "avatar": {"type": "runway-preset", "presetId": "cat-character"},
            "tools": [tool],
        }
        answer = await self.http.post("/v1/realtime_sessions", json=body)
        session = self.runway.find(answer.json()["id"])
        assert session is not None
        await session.wait_for("joined", BOUND)
        say, call = self.workers.say, {"call": "1", "name": "weather"}
        say(session.id, "user_joined")
        say(session.id, "turn_heard", turn=0, seconds=1.0, text="Is it warm?")
        say(session.id, "backend_call", **call, args={"city": "Paris"})
        say(session.id, "backend_result", **call, seconds=0.5, result={"degrees": 21})
        say(session.id, "said", turn=0, text=said, cut=False)
        if end:
            self.workers.leave_now(session.id, "end_call")
        return session.id

    async def called(self) -> str:
        """A session in a LiveKit room of the customer's; its id."""
        answer = await self.http.post("/v1/realtime_sessions", json=session_body())
        session = self.runway.find(answer.json()["id"])
        assert session is not None
        await session.wait_for("joined", BOUND)
        self.workers.leave_now(session.id, "end_call")
        return session.id

    def turn(self, **knobs: Any) -> None:
        """Turn knobs of the account's Runway."""
        self.runway.faults = replace(self.runway.faults, **knobs)

    def asked(self, method: str, path: str) -> int:
        """How many such requests there were."""
        seen = self.runway.requests
        return sum(r.method == method and r.path.startswith(path) for r in seen)


@asynccontextmanager
async def account(**knobs: Any) -> AsyncIterator[Account]:
    """An account with these knobs; it leaves no session and no task behind."""
    before = asyncio.all_tasks()
    made: list[HandMadeWorkers] = []

    def workers(on_event: Callable[[WorkerEvent], None]) -> HandMadeWorkers:
        made.append(HandMadeWorkers(on_event))
        return made[0]

    async with RunwaySimulator(Faults(**knobs), livekit=NoLiveKit(), workers=workers) as runway:
        url, key = runway.env[wire.ENV_BASE_URL], runway.api_key
        headers = {"Authorization": f"Bearer {key}", wire.VERSION_HEADER: "2024-11-06"}
        async with (
            httpx.AsyncClient(base_url=url, headers=headers) as http,
            RunwayCharacters(api_key=key, base_url=url) as characters,
        ):
            yield Account(runway, made[0], characters, http)
        open_at_the_end = runway.open_sessions
    assert not open_at_the_end
    assert asyncio.all_tasks() <= before
