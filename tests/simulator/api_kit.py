"""Avatar workers made by hand, a client for the API, and Runway's OpenAPI document."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from runwayml import AsyncRunwayML

from pipecat_runway.simulator import RunwaySimulator, SimulatedSession
from pipecat_runway.simulator.switchboard import Switch
from pipecat_runway.simulator.worker_messages import WorkerEvent


class HandMadeWorkers:
    """Workers that live in this process: they join when told to and say what a test wants said."""

    def __init__(self, on_event: Callable[[WorkerEvent], None]) -> None:
        self._on_event = on_event
        self.hold_joins = False
        self.joined = asyncio.Event()
        self.joins: list[dict[str, Any]] = []
        self.leaves: list[tuple[str, str]] = []
        self.done: list[tuple[str, str]] = []
        self.inside: set[str] = set()
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def aclose(self) -> None:
        self.running = False

    def kill(self) -> None:
        for session_id in list(self.inside):
            self.leave_now(session_id, "killed")

    async def join(self, **order: Any) -> None:
        self.joins.append(order)
        self.joined.set()
        self.inside.add(order["session_id"])
        if not self.hold_joins:
            asyncio.get_running_loop().call_soon(self.say, order["session_id"], "joined")

    async def leave(self, session_id: str, reason: str) -> None:
        self.leaves.append((session_id, reason))
        self.leave_now(session_id, reason)

    async def do(self, session_id: str, switch: Switch) -> None:
        if session_id not in self.inside:
            raise LookupError(session_id)
        self.done.append((session_id, str(switch)))

    def leave_now(self, session_id: str, reason: str) -> None:
        if session_id in self.inside:
            self.inside.remove(session_id)
            self.say(session_id, "left", reason=reason)

    def say(self, session_id: str, kind: str, **data: Any) -> None:
        if kind == "joined" and session_id not in self.inside:
            return  # called back before it got there
        self._on_event(WorkerEvent(session_id, kind, time.monotonic(), data))


@dataclass
class NoLiveKit:
    """Where a LiveKit server would be."""

    url: str = "ws://127.0.0.1:1"
    api_key: str = "key"
    api_secret: str = "a secret of the length that JWTs ask for"


@dataclass
class Local:
    """A simulator, its workers, and a client that sends what every request needs."""

    runway: RunwaySimulator
    workers: HandMadeWorkers
    http: httpx.AsyncClient

    async def create(self, **more: Any) -> SimulatedSession:
        """Create a session that is expected to be accepted."""
        answer = await self.http.post("/v1/realtime_sessions", json=session_body(**more))
        assert answer.status_code == 200, answer.text
        session = self.runway.find(answer.json()["id"])
        assert session is not None
        return session

    async def retrieve(self, session: SimulatedSession) -> Any:
        """What the API says of it."""
        answer = await self.http.get(f"/v1/realtime_sessions/{session.id}")
        assert answer.status_code == 200, answer.text
        return answer.json()


def session_body(**more: Any) -> dict[str, Any]:
    """The body of a create that asks for a room of the customer's."""
    integration = {
        "type": "livekit",
        "url": "ws://127.0.0.1:1",
        "token": "a-room-token",
        "roomName": "room",
        "agentIdentity": "bot",
    }
    body: dict[str, Any] = {
        "model": "gwm1_avatars",
        "avatar": {"type": "runway-preset", "presetId": "cat-character"},
        "integration": integration,
    }
    return {name: value for name, value in {**body, **more}.items() if value is not None}


@asynccontextmanager
async def official_client(local: Local, **options: Any) -> AsyncIterator[AsyncRunwayML]:
    """The official client of this simulator."""
    env = local.runway.env
    async with AsyncRunwayML(
        api_key=env["RUNWAYML_API_SECRET"], base_url=env["RUNWAYML_BASE_URL"], **options
    ) as client:
        yield client


Start = Callable[..., AbstractAsyncContextManager[Local]]


class OpenAPI:
    """Runway's own document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._paths = document["paths"]

    def body(self, method: str, path: str) -> dict[str, Any]:
        """The schema of a request's body."""
        content = self._paths[path][method]["requestBody"]["content"]
        schema: dict[str, Any] = content["application/json"]["schema"]
        return schema

    def parameters(self, method: str, path: str) -> dict[str, Any]:
        """The schemas of a request's query."""
        listed = self._paths[path][method]["parameters"]
        return {entry["name"]: entry["schema"] for entry in listed if entry.get("in") == "query"}

    def check(self, method: str, path: str, answer: Any) -> None:
        """Raise `jsonschema.ValidationError` unless the 200 answer is as documented."""
        content = self._paths[path][method]["responses"]["200"]["content"]
        Draft202012Validator(content["application/json"]["schema"]).validate(answer)
