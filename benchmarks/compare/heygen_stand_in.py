"""A local stand-in for HeyGen's cloud: its REST routes, its websocket, and the painted avatar.

What it speaks was read from the client (pipecat 1.14, services/heygen/api_interactive_avatar.py and
client.py). The avatar is the one the others get, so the speech goes on to it as a byte stream. That
detour is HeyGen's only disadvantage here; it is measured.
"""

import asyncio
import base64
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import WSMsgType, web
from livekit import rtc

AGENT = "heygen-stand-in"
USER = "pipecat"
RATE = 24_000  # pipecat 1.14, services/heygen/client.py: HEY_GEN_SAMPLE_RATE


class Avatars(Protocol):
    """Who has rooms and avatars."""

    async def room_with_avatar(self, session: str, agent: str) -> None:
        """Make a room with an avatar in it that listens to `agent`."""

    async def joined(self, session: str, identity: str) -> None:
        """Wait until somebody is in a room."""

    async def send_away(self, session: str) -> None:
        """Let the avatar go."""

    def token(self, session: str, identity: str) -> str:
        """What opens the room."""

    def avatar_of(self, session: str) -> str:
        """The avatar's identity."""

    @property
    def livekit_url(self) -> str:
        """The LiveKit server."""


@dataclass
class _Session:
    """One session: who speaks to the avatar, and what is open."""

    room: rtc.Room
    avatar: str
    writer: rtc.ByteStreamWriter | None = None
    event_id: str | None = None


@dataclass
class StandIn:
    """HeyGen's side of the protocol.

    Attributes:
        avatars: Who has rooms and avatars.
        url: Where its API is, once started.
        detours: How long each piece of speech took from the websocket into LiveKit, in s.
    """

    avatars: Avatars
    url: str = ""
    detours: list[float] = field(default_factory=list)
    _sessions: dict[str, _Session] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on loopback."""
        app = web.Application()
        app.router.add_post("/v1/streaming.new", self._new)
        app.router.add_post("/v1/streaming.start", self._start)
        app.router.add_post("/v1/streaming.stop", self._stop)
        app.router.add_get("/ws/{session}", self._talk)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"

    async def aclose(self) -> None:
        """End it."""
        if self._runner is not None:
            await self._runner.cleanup()
        for session in list(self._sessions):
            await self._end(session)

    async def _new(self, request: web.Request) -> web.Response:
        session = f"heygen-{uuid.uuid4().hex[:12]}"
        await self.avatars.room_with_avatar(session, AGENT)
        self._sessions[session] = _Session(rtc.Room(), self.avatars.avatar_of(session))
        return _data(
            {
                "session_id": session,
                "access_token": self.avatars.token(session, USER),
                "livekit_agent_token": self.avatars.token(session, f"{USER}-agent"),
                "realtime_endpoint": f"{self.url.replace('http', 'ws', 1)[:-3]}/ws/{session}",
                "url": self.avatars.livekit_url,
            }
        )

    async def _start(self, request: web.Request) -> web.Response:
        return _data({})

    async def _stop(self, request: web.Request) -> web.Response:
        await self._end((await request.json())["session_id"])
        return _data({})

    async def _end(self, name: str) -> None:
        if (session := self._sessions.pop(name, None)) is not None:
            await session.room.disconnect()
            await self.avatars.send_away(name)

    async def _talk(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        name = request.match_info["session"]
        session = self._sessions[name]
        entering = asyncio.create_task(self._enter(name, session.room))
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await entering
                    await self._obey(session, json.loads(message.data))
        finally:
            entering.cancel()
        return socket

    async def _enter(self, session: str, room: rtc.Room) -> None:
        """Come last: the client takes whom it sees first for the avatar."""
        await self.avatars.joined(session, USER)
        token = self.avatars.token(session, AGENT)
        await room.connect(self.avatars.livekit_url, token, rtc.RoomOptions(auto_subscribe=False))

    async def _obey(self, session: _Session, event: dict[str, Any]) -> None:
        match event["type"]:
            case "agent.speak":
                came = time.monotonic()
                if session.event_id != event["event_id"]:
                    await _close(session)
                    session.event_id = event["event_id"]
                    session.writer = await session.room.local_participant.stream_bytes(
                        f"AUDIO_{uuid.uuid4().hex[:12]}",
                        topic="lk.audio_stream",
                        destination_identities=[session.avatar],
                        attributes={"sample_rate": str(RATE), "num_channels": "1"},
                    )
                assert session.writer is not None
                await session.writer.write(base64.b64decode(event["audio"]))
                self.detours.append(time.monotonic() - came)
            case "agent.speak_end":
                await _close(session)
            case "agent.interrupt":
                await _close(session)
                await session.room.local_participant.perform_rpc(
                    destination_identity=session.avatar, method="lk.clear_buffer", payload=""
                )


async def _close(session: _Session) -> None:
    writer, session.writer, session.event_id = session.writer, None, None
    if writer is not None:
        await asyncio.wait_for(writer.aclose(), 2.0)


def _data(data: dict[str, Any]) -> web.Response:
    return web.json_response({"code": 100, "data": data, "message": "success"})
