"""What the parties meet: one LiveKit server, one local Runway, painted avatars."""

import asyncio
import datetime
import json
import os
import sys
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from livekit import api

from benchmarks.compare.heygen_stand_in import StandIn
from pipecat_runway.simulator import Faults, LiveKitServer, RunwaySimulator
from pipecat_runway.simulator.face import mouth_box
from pipecat_runway.simulator.worker_host import WorkerHost
from pipecat_runway.simulator.worker_messages import WorkerEvent
from tests.kit.waiting import until

ROOT = Path(__file__).parent.parent.parent
CHARACTER = "cooking-teacher"
AVATAR = "runway-avatar-agent"
CLIENT = "agent"
PARTIES = {
    "floor": "benchmarks.compare.floor",
    "ours": "benchmarks.compare.ours",
    "livekit": "benchmarks.compare.livekits",
    "heygen": "benchmarks.compare.heygens",
}
PROBED, SLOW, ALONE = "ours, probed", "ours, slowly taken", "ours, no transport"
PIPECAT_FLOOR = "pipecat"
DELIVERED = {
    "ours, SmallWebRTC": "benchmarks.compare.over_webrtc",
    "ours, LiveKit": "benchmarks.compare.over_livekit",
}
MODULES = {
    **PARTIES,
    **DELIVERED,
    PIPECAT_FLOOR: "benchmarks.compare.pipecat_floor",
    PROBED: "benchmarks.compare.probed",
    SLOW: "benchmarks.compare.slow",
    ALONE: "benchmarks.compare.ours_alone",
}
START_BOUND = 60.0  # s for a process; importing Pipecat on a busy machine takes some
ORDER_BOUND = 900.0  # s
END_BOUND = 25.0  # s


class PartyError(RuntimeError):
    """A party's process could not do as it was told."""


class Stage:
    """Everything but the parties; an async context manager.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        fps: Pictures a second.
        judges: The Python of the judges' environment, where livekit-agents is.
        **knobs: Other knobs of the avatars.

    Attributes:
        events: What the painted avatars reported, newest last.
        directory: Where records go meanwhile.
    """

    def __init__(
        self,
        *,
        width: int = 1280,
        height: int = 720,
        fps: float = 24.0,
        judges: Path | None = None,
        **knobs: Any,
    ) -> None:
        self.faults = Faults(width=width, height=height, fps=fps, effective_limit=7200, **knobs)
        self.events: list[WorkerEvent] = []
        self.directory = Path()
        self._judges = judges
        self._livekit = LiveKitServer()
        self._workers = WorkerHost(self.events.append)
        self._runway = RunwaySimulator(self.faults, livekit=self._livekit)
        self._stand_in = StandIn(self)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            temporary = tempfile.TemporaryDirectory()
            self.directory = Path(stack.enter_context(temporary))
            await stack.enter_async_context(self._livekit)
            stack.push_async_callback(self._workers.aclose)
            await self._workers.start()
            await stack.enter_async_context(self._runway)
            stack.push_async_callback(self._stand_in.aclose)
            await self._stand_in.start()
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def detours(self) -> list[float]:
        """What the stand-in for HeyGen's cloud cost each piece of speech, in s."""
        return self._stand_in.detours

    def reported(self, kind: str) -> list[float]:
        """When any painted avatar reported something, in order."""
        theirs = [event for session in self._runway.sessions for event in session.events]
        return sorted(event.at for event in [*self.events, *theirs] if event.kind == kind)

    @property
    def pictured(self) -> dict[str, Any]:
        """What the picture is."""
        size = self.faults.width, self.faults.height
        return {
            "width": size[0],
            "height": size[1],
            "fps": round(self.faults.fps),
            "mouth": mouth_box(*size),
            "character": CHARACTER,
        }

    @asynccontextmanager
    async def party(self, name: str, sessions: int = 1) -> AsyncIterator["PartyProcess"]:
        """A party's process with so many sessions, until the block is left.

        Raises:
            PartyError: It did not get there.
        """
        await self._workers.prepare(sessions)
        process = await PartyProcess.start(name, self._python(name))
        rooms: list[str] = []
        try:
            for _ in range(sessions):
                process.joined = await process.do("join", where=await self._where(name, rooms))
            yield process
            await process.do("leave")
        finally:
            await process.aclose()
            for room in rooms:
                await self.send_away(room)

    def _python(self, name: str) -> Path:
        if name != "livekit":
            return Path(sys.executable)
        if self._judges is None:
            raise PartyError("livekit-agents has no environment here")
        return self._judges

    async def _where(self, name: str, rooms: list[str]) -> dict[str, Any]:
        if name.startswith("ours"):
            room = f"users-{uuid.uuid4().hex[:12]}"
            users = {who: self.token(room, who) for who in ("bot", "user")}
            return self.pictured | self._runway.env | {"room": room, "users": users}
        if name == "heygen":
            return self.pictured | {"api": self._stand_in.url}
        room = f"{name}-{uuid.uuid4().hex[:12]}"
        rooms.append(room)
        await self.room_with_avatar(room, CLIENT)
        return self.pictured | {
            "url": self.livekit_url,
            "token": self.token(room, CLIENT),
            "avatar": AVATAR,
        }

    # -- rooms and avatars (heygen_stand_in.Avatars) ----------------------------------------------

    @property
    def livekit_url(self) -> str:
        return self._livekit.url

    async def room_with_avatar(self, session: str, agent: str) -> None:
        async with self._api() as livekit:
            await livekit.room.create_room(
                api.CreateRoomRequest(name=session, empty_timeout=24 * 3600)
            )
        await self._workers.join(
            session_id=session,
            url=self.livekit_url,
            token=self.token(session, AVATAR, behalf=agent),
            room_name=session,
            agent_identity=agent,
            character=CHARACTER,
            faults=self.faults,
        )
        await until(lambda: self._told(session, "published"), START_BOUND)

    def _told(self, session: str, kind: str) -> bool:
        return any(event.session_id == session and event.kind == kind for event in self.events)

    async def joined(self, session: str, identity: str) -> None:
        request = api.ListParticipantsRequest(room=session)
        async with self._api() as livekit, asyncio.timeout(START_BOUND):
            while True:
                there = (await livekit.room.list_participants(request)).participants
                if any(participant.identity == identity for participant in there):
                    return
                await asyncio.sleep(0.1)

    async def send_away(self, session: str) -> None:
        await self._workers.leave(session, "deleted")
        async with self._api() as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=session))

    def avatar_of(self, session: str) -> str:
        return AVATAR

    def token(self, session: str, identity: str, *, behalf: str | None = None) -> str:
        token = (
            api.AccessToken(self._livekit.api_key, self._livekit.api_secret)
            .with_identity(identity)
            .with_kind("agent")
            .with_ttl(datetime.timedelta(hours=3))
            .with_grants(api.VideoGrants(room_join=True, room=session))
        )
        if behalf is not None:
            token = token.with_attributes({"lk.publish_on_behalf": behalf})
        return token.to_jwt()

    def _api(self) -> api.LiveKitAPI:
        return api.LiveKitAPI(self._livekit.url, self._livekit.api_key, self._livekit.api_secret)


class PartyProcess:
    """A party's process, seen from outside.

    Attributes:
        before: What it had resident before its first session, in MB.
        joined: What it told of its last session's beginning.
    """

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self.before = 0.0
        self.joined: dict[str, Any] = {}
        self._process = process

    @classmethod
    async def start(cls, name: str, python: Path) -> Self:
        """Start it; over when everything is imported.

        Raises:
            PartyError: It did not start.
        """
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-m", MODULES[name]),
            stdin=PIPE,
            stdout=PIPE,
            env=environment,
            cwd=ROOT,
            limit=1 << 24,
            start_new_session=True,  # a Ctrl-C is for the owner, who closes this one's stdin
        )
        party = cls(name, process)
        try:
            party.before = (await party._answer(START_BOUND))["memory"]
        except BaseException:
            await party.aclose()
            raise
        return party

    async def do(self, what: str, **how: Any) -> dict[str, Any]:
        """Have it do something, and wait until it has.

        Raises:
            PartyError: It could not.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, **how}).encode() + b"\n")
        return await self._answer(ORDER_BOUND)

    async def aclose(self) -> None:
        """End it, and see that it does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_BOUND)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    async def _answer(self, bound: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), bound)
        if not line:
            raise PartyError(f"{self.name}: its process has ended")
        answer: dict[str, Any] = json.loads(line)
        if error := answer.get("error"):
            raise PartyError(f"{self.name}: {error}")
        return answer
