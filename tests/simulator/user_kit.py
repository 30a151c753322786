"""A user of a managed room on bare livekit.rtc, and a backend that answers for its tools."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import httpx
import numpy as np
from livekit import rtc

from pipecat_runway.simulator import RunwaySimulator, SimulatedSession
from tests.kit.waiting import until

RATE = 48_000
BOUND = 15.0
FRAME = RATE // 50


class Client:
    """Runway's REST API, as somebody uses it who has read no more than its papers."""

    def __init__(self, runway: RunwaySimulator) -> None:
        self.runway = runway
        headers = {
            "Authorization": f"Bearer {runway.api_key}",
            "X-Runway-Version": "2024-11-06",
        }
        self.http = httpx.AsyncClient(base_url=runway.env["RUNWAYML_BASE_URL"], headers=headers)

    async def create(self, **more: Any) -> SimulatedSession:
        """Create a session in a room of Runway's."""
        avatar = {"type": "runway-preset", "presetId": "influencer"}
        body = {"model": "gwm1_avatars", "avatar": avatar, **more}
        answer = await self.http.post("/v1/realtime_sessions", json=body)
        assert answer.status_code == 200, answer.text
        session = self.runway.find(answer.json()["id"])
        assert session is not None
        return session

    async def retrieve(self, session: SimulatedSession) -> Any:
        """What the API says of it."""
        return (await self.http.get(f"/v1/realtime_sessions/{session.id}")).json()

    async def key(self, session: SimulatedSession) -> str:
        """Wait until it is READY; return its session key."""
        async with asyncio.timeout(BOUND):
            await session.at_ready.wait()
        key: str = (await self.retrieve(session))["sessionKey"]
        return key

    async def consume(self, session: SimulatedSession, key: str) -> httpx.Response:
        """Ask for the user's credentials."""
        path = f"/v1/realtime_sessions/{session.id}/consume"
        headers = {"Authorization": f"Bearer {key}"}
        return await self.http.post(path, json={}, headers=headers)

    async def connect_backend(self, session: SimulatedSession) -> httpx.Response:
        """Ask for the backend's credentials."""
        return await self.http.post(f"/v1/realtime_sessions/{session.id}/connect_backend")


class User:
    """Somebody in the room who speaks, listens, looks and reads."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.sound: list[bytes] = []  # 10 ms each, of whoever else is there
        self.pictures = 0
        self.messages: list[dict[str, Any]] = []
        self.segments: list[rtc.TranscriptionSegment] = []
        self.streams: list[tuple[str, dict[str, str], str]] = []  # (identity, attributes, text)
        self.gone = asyncio.Event()
        self._source = rtc.AudioSource(RATE, 1, queue_size_ms=200)
        self._streams: list[Any] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def join(self, credentials: dict[str, str]) -> None:
        """Enter with what a consume has answered, and publish a microphone."""
        self.room.on("track_subscribed", self._on_track)
        self.room.on("data_received", self._on_data)
        self.room.on("transcription_received", self._on_segments)
        self.room.on("disconnected", lambda _: self.gone.set())
        self.room.register_text_stream_handler("lk.transcription", self._on_stream)
        await self.room.connect(credentials["url"], credentials["token"])
        track = rtc.LocalAudioTrack.create_audio_track("mic", self._source)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False
        )
        options.audio_encoding.max_bitrate = 96_000
        await self.room.local_participant.publish_track(track, options)

    async def say(self, pcm: bytes) -> None:
        """Say something, 48 kHz s16le mono, at the pace of speech, and then nothing for a while."""
        sound = np.concatenate([np.frombuffer(pcm, np.int16), np.zeros(RATE // 2, np.int16)])
        for start in range(0, len(sound), FRAME):
            piece = sound[start : start + FRAME]
            await self._source.capture_frame(rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)))

    async def end_call(self) -> None:
        """Say that the call is over, up to three times: who has just come may not hear it yet."""

        def over() -> bool:
            return self.gone.is_set() or not self.room.remote_participants

        for _ in range(3):
            await self.room.local_participant.publish_data('{"type":"END_CALL"}', reliable=True)
            with suppress(TimeoutError):
                await until(over, 1.0)
                return

    async def until_alone(self) -> None:
        """Wait until nobody else is there."""
        await until(lambda: not self.room.remote_participants, BOUND)

    async def until(self, condition: Callable[[], object], timeout: float = BOUND) -> None:
        """Wait until something that is heard, seen or read makes it true."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hear_out(self) -> None:
        """Wait until what was said has been heard, however late a busy machine is."""
        since = len(self.sound)
        await self.until(lambda: len(self.sound) > since + 40 and self._quiet())

    def _quiet(self) -> bool:
        lately = np.frombuffer(b"".join(self.sound[-40:]), np.int16).astype(int)
        return int(np.abs(lately).max()) < 150

    @property
    def heard(self) -> bytes:
        """All that was heard, 48 kHz s16le mono."""
        return b"".join(self.sound)

    def said(self, role: str) -> dict[int, str]:
        """The turns of a role, put together of their deltas."""
        turns: dict[int, str] = {}
        for message in self.messages:
            if message.get("type") == "transcription" and message.get("role") == role:
                turns[message["turn"]] = turns.get(message["turn"], "") + message["text"]
        return turns

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """The client events, acknowledgements among them."""
        found = [m for m in self.messages if m.get("type") == "client_event"]
        return [(m["tool"], m["args"]) for m in found]

    async def aclose(self) -> None:
        await self.room.disconnect()
        for stream in self._streams:
            await stream.aclose()
        for task in self._tasks:  # a stream that was closed does not always end its reader
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.aclose()

    def _on_track(
        self, track: rtc.Track, _: rtc.RemoteTrackPublication, who: rtc.RemoteParticipant
    ) -> None:
        if isinstance(track, rtc.RemoteAudioTrack):
            stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
            self._streams.append(stream)
            self._tasks.append(asyncio.create_task(self._listen(stream)))
        else:
            pictures = rtc.VideoStream(track)
            self._streams.append(pictures)
            self._tasks.append(asyncio.create_task(self._look(pictures)))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        self.messages.append(json.loads(packet.data))
        self._news.set()

    def _on_segments(self, segments: list[rtc.TranscriptionSegment], *_: object) -> None:
        self.segments.extend(segments)
        self._news.set()

    def _on_stream(self, reader: rtc.TextStreamReader, identity: str) -> None:
        async def read() -> None:
            text = await reader.read_all()
            self.streams.append((identity, dict(reader.info.attributes or {}), text))
            self._news.set()

        self._tasks.append(asyncio.create_task(read()))

    async def _listen(self, stream: rtc.AudioStream) -> None:
        async for event in stream:
            self.sound.append(bytes(event.frame.data))
            self._news.set()

    async def _look(self, stream: rtc.VideoStream) -> None:
        async for _ in stream:
            self.pictures += 1
            self._news.set()


class Call:
    """A session with its user in the room."""

    def __init__(self, client: Client, session: SimulatedSession, user: User, key: str) -> None:
        self.client, self.session, self.user, self.key = client, session, user, key
        self.calls: list[tuple[str, str, Any]] = []  # (caller, tool, payload) the backend was asked

    async def backend(self, stack: AsyncExitStack, **tools: Callable[[Any], Any]) -> rtc.Room:
        """Join as the backend, and answer for tools."""
        answer = await self.client.connect_backend(self.session)
        assert answer.status_code == 200, answer.text
        room = rtc.Room()
        await room.connect(answer.json()["url"], answer.json()["token"])
        stack.push_async_callback(room.disconnect)
        for name, tool in tools.items():
            room.local_participant.register_rpc_method(name, self._answering(name, tool))
        return room

    def _answering(self, name: str, tool: Callable[[Any], Any]) -> Any:
        async def answer(call: rtc.RpcInvocationData) -> str:
            payload = json.loads(call.payload)
            self.calls.append((call.caller_identity, name, payload))
            result = tool(payload.get("args", payload))
            return json.dumps(await result if asyncio.iscoroutine(result) else result)

        return answer


@asynccontextmanager
async def call(runway: RunwaySimulator, **more: Any) -> AsyncIterator[Call]:
    """A call in a managed room; it is ended by END_CALL if it has not ended."""
    client, user = Client(runway), User()
    async with client.http:
        session = await client.create(**more)
        try:
            key = await client.key(session)
            answer = await client.consume(session, key)
            assert answer.status_code == 200, answer.text
            await user.join(answer.json())
            yield Call(client, session, user, key)
            if session.is_open:
                await user.end_call()
                await asyncio.wait_for(session.ended.wait(), BOUND)
        finally:
            await user.aclose()
            runway.cancel(session)
            await runway.wait_ended(BOUND)
