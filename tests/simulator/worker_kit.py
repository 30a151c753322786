"""What the tests of the avatar worker share: a bot that talks to it, and what came of that."""

import asyncio
import base64
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import numpy as np
from livekit import api, rtc
from numpy.typing import NDArray

from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.livekit_server import LiveKitServer
from pipecat_runway.simulator.worker_host import WorkerEvent, WorkerHost

AGENT = "bot"
AVATAR = "avatar"
RATE = 16_000
HEARD_RATE = 48_000


def token(
    server: LiveKitServer,
    identity: str,
    room: str,
    *,
    kind: Any = "agent",
    attributes: dict[str, str] | None = None,
) -> str:
    """Mint a token as a bot would."""
    grants = api.VideoGrants(room_join=True, room=room)
    minted = api.AccessToken(server.api_key, server.api_secret).with_identity(identity)
    return minted.with_kind(kind).with_attributes(attributes or {}).with_grants(grants).to_jwt()


class Events:
    """What the workers reported, and waiting for it."""

    def __init__(self) -> None:
        self.all: list[WorkerEvent] = []
        self._news = asyncio.Event()

    def __call__(self, event: WorkerEvent) -> None:
        self.all.append(event)
        self._news.set()

    def of(self, kind: str, session_id: str) -> list[WorkerEvent]:
        return [e for e in self.all if e.kind == kind and e.session_id == session_id]

    async def wait_for(
        self, kind: str, count: int = 1, *, session_id: str, timeout: float = 15.0
    ) -> WorkerEvent:
        """Wait for the count-th event of a kind."""
        try:
            async with asyncio.timeout(timeout):
                while len(self.of(kind, session_id)) < count:
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            seen = [e.kind for e in self.all if e.session_id == session_id]
            raise AssertionError(f"no {kind!r} number {count} among {seen}") from None
        return self.of(kind, session_id)[count - 1]


class Bot:
    """The agent's side of a room, on bare livekit.rtc."""

    def __init__(self, session_id: str, events: Events) -> None:
        self.session_id, self._events = session_id, events
        self.room = rtc.Room()
        self.calls: list[tuple[float, str, str]] = []  # (when, method, payload)
        self.sound: list[tuple[float, bytes]] = []  # (when, 10 ms of the avatar's voice)
        self._pictures: list[tuple[float, rtc.VideoFrame]] = []
        self._way = math.inf
        self._streams: list[rtc.AudioStream | rtc.VideoStream] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def connect(
        self, url: str, bot_token: str, *, avatar: str = AVATAR, watch: bool = False
    ) -> None:
        for method in ("lk.playback_started", "lk.playback_finished"):
            self._handler(method)

        def on_track(
            track: rtc.Track, _: rtc.RemoteTrackPublication, who: rtc.RemoteParticipant
        ) -> None:
            if who.identity != avatar:
                return
            if isinstance(track, rtc.RemoteAudioTrack):
                stream = rtc.AudioStream(track, sample_rate=HEARD_RATE, num_channels=1)
                self._streams.append(stream)
                self._tasks.append(asyncio.create_task(self._listen(stream)))
            elif watch:
                pictures = rtc.VideoStream(track)
                self._streams.append(pictures)
                self._tasks.append(asyncio.create_task(self._watch(pictures)))

        self.room.on("track_subscribed", on_track)
        await self.room.connect(url, bot_token)
        for method in ("lk.playback_started", "lk.playback_finished"):
            self.room.local_participant.register_rpc_method(method, self._handler(method))

    async def aclose(self) -> None:
        await self.room.disconnect()
        for stream in self._streams:
            await stream.aclose()
        for task in self._tasks:  # a stream that was closed does not always end its reader
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def events(self, kind: str) -> list[WorkerEvent]:
        """What the worker reported of this kind."""
        return self._events.of(kind, self.session_id)

    async def event(self, kind: str, count: int = 1, timeout: float = 15.0) -> WorkerEvent:
        """Wait for the count-th report of this kind."""
        return await self._events.wait_for(kind, count, session_id=self.session_id, timeout=timeout)

    @property
    def finished(self) -> list[dict[str, Any]]:
        """The payloads of lk.playback_finished."""
        return [json.loads(p) for _, method, p in self.calls if method == "lk.playback_finished"]

    @property
    def started(self) -> list[float]:
        """When lk.playback_started came."""
        return [at for at, method, _ in self.calls if method == "lk.playback_started"]

    async def until(self, condition: Callable[[], bool], timeout: float = 15.0) -> None:
        """Wait until something that the bot hears, sees or is told makes it true."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hear_until(self, when: float) -> None:
        """Wait until the sound that arrived then has arrived; idle avatars never pause."""
        await self.until(lambda: self.sound[-1][0] > when, timeout=20.0)

    async def hear_out(self, ended: float) -> None:
        """Wait until what left up to then has been heard, however late a busy machine is."""
        await self.until(lambda: self.sound[-1][0] > ended + 0.3 and self._quiet(), timeout=20.0)

    def _quiet(self) -> bool:
        lately = b"".join(pcm for _, pcm in self.sound[-20:])
        return int(np.abs(np.frombuffer(lately, np.int16).astype(int)).max()) < 150

    @property
    def pictures(self) -> list[tuple[float, rtc.VideoFrame]]:
        """The avatar's pictures and when they came."""
        return [(sent + self._way, frame) for sent, frame in self._pictures]

    @property
    def received(self) -> bytes:
        """The samples the worker says it received."""
        return b"".join(base64.b64decode(event.data["pcm"]) for event in self.events("audio"))

    async def open(
        self, rate: int | str = RATE, channels: int = 1, *, avatar: str = AVATAR
    ) -> rtc.ByteStreamWriter:
        return await self.room.local_participant.stream_bytes(
            name="AUDIO_1",
            topic="lk.audio_stream",
            destination_identities=[avatar],
            attributes={"sample_rate": str(rate), "num_channels": str(channels)},
        )

    async def say(self, pcm: NDArray[np.int16], rate: int | str = RATE, **where: Any) -> float:
        """Send an utterance at once; returns when its first byte went."""
        writer = await self.open(rate, **where)
        sent = time.monotonic()
        await writer.write(pcm.tobytes())
        await writer.aclose()
        return sent

    async def clear(self, timeout: float = 2.0, *, avatar: str = AVATAR) -> str:
        return await self.room.local_participant.perform_rpc(
            destination_identity=avatar,
            method="lk.clear_buffer",
            payload="",
            response_timeout=timeout,
        )

    async def end_call(self) -> None:
        await self.room.local_participant.publish_data(
            b'{"type":"END_CALL"}', destination_identities=[AVATAR]
        )

    def heard(self, since: float = 0.0) -> NDArray[np.int16]:
        """The avatar's voice that arrived since then."""
        data = b"".join(pcm for at, pcm in self.sound if at >= since)
        return np.frombuffer(data, np.int16)

    def _handler(self, method: str) -> Callable[[rtc.RpcInvocationData], str]:
        def handle(call: rtc.RpcInvocationData) -> str:
            self.calls.append((time.monotonic(), method, call.payload))
            self._news.set()
            return "ok"

        return handle

    async def _listen(self, stream: rtc.AudioStream) -> None:
        async for event in stream:
            self.sound.append((time.monotonic(), bytes(event.frame.data)))
            self._news.set()

    async def _watch(self, stream: rtc.VideoStream) -> None:
        async for event in stream:
            # By the sender's clock, put where the pictures that came quickest were: a busy machine
            # holds up single ones.
            sent = event.timestamp_us / 1e6
            self._way = min(self._way, time.monotonic() - sent)
            self._pictures.append((sent, event.frame))
            self._news.set()


SMALL = Faults(width=160, height=90, fps=8.0)  # where only the sound matters


class Stage:
    """A LiveKit server and the avatar workers, for as many conversations as a test wants."""

    def __init__(self, server: LiveKitServer, host: WorkerHost, events: Events) -> None:
        self.server, self.host, self.events = server, host, events
        self._count = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def open(cls, *, keep_audio: bool = False) -> AsyncIterator["Stage"]:
        events = Events()
        async with LiveKitServer() as server:
            host = WorkerHost(events, keep_audio=keep_audio)
            try:
                await host.start()
                yield cls(server, host, events)
            finally:
                await host.aclose()

    def new_session(self) -> str:
        return f"session-{next(self._count)}"

    async def send_avatar(
        self,
        session_id: str,
        faults: Faults = SMALL,
        *,
        agent_identity: str | None = AGENT,
        character: str = "influencer",
    ) -> None:
        """Send an avatar into the room that is named like its session."""
        attributes = {"lk.publish_on_behalf": AGENT}
        await self.host.join(
            session_id=session_id,
            url=self.server.url,
            token=token(self.server, AVATAR, session_id, attributes=attributes),
            room_name=session_id,
            agent_identity=agent_identity,
            character=character,
            faults=faults,
        )

    @asynccontextmanager
    async def conversation(
        self, faults: Faults = SMALL, *, watch: bool = False, **avatar: Any
    ) -> AsyncIterator["Bot"]:
        """A bot and its avatar in one room, the avatar published and heard."""
        session_id = self.new_session()
        async with AsyncExitStack() as stack:
            bot = Bot(session_id, self.events)
            await bot.connect(self.server.url, token(self.server, AGENT, session_id), watch=watch)
            stack.push_async_callback(bot.aclose)
            await self.send_avatar(session_id, faults, **avatar)
            stack.push_async_callback(self.call_back, session_id)
            await bot.event("published")
            if faults.publish_audio:
                await bot.until(lambda: bool(bot.sound))
            yield bot

    @asynccontextmanager
    async def participant(
        self, identity: str, session_id: str, **options: Any
    ) -> AsyncIterator["Bot"]:
        """Somebody else in a session's room."""
        bot = Bot(session_id, self.events)
        await bot.connect(self.server.url, token(self.server, identity, session_id, **options))
        try:
            yield bot
        finally:
            await bot.aclose()

    async def call_back(self, session_id: str) -> None:
        """Make sure that a session's avatar has left."""
        if not self.events.of("left", session_id):
            await self.host.leave(session_id, "deleted")
            await self.events.wait_for("left", session_id=session_id)
