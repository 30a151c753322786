"""The example bot holds a conversation with a real WebRTC client; no key is needed for that."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError
from av import AudioFrame, AudioResampler, VideoFrame
from pipecat.frames.frames import (
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.runner.types import SmallWebRTCRunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings, STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection

from pipecat_runway.simulator import RunwaySimulator
from tests.kit.marks import Recording, compare
from tests.kit.pipeline import MarkedTTSService

EXAMPLE = Path(__file__).parent.parent / "examples" / "video_service.py"
RATE = 48_000
ANSWER = "I am made of numbers."


@pytest.fixture
def example() -> ModuleType:
    """The example, as its own file is imported."""
    spec = spec_from_file_location("video_service", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DeafSTT(STTService):
    """Hears nothing."""

    def __init__(self) -> None:
        super().__init__(ttfs_p99_latency=0.1, settings=STTSettings(model="deaf", language=None))

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None


class OneAnswerLLM(LLMService[Any]):
    """Gives one answer to everything, and remembers what it was asked."""

    def __init__(self) -> None:
        none: dict[str, Any] = {field.name: None for field in fields(LLMSettings)}
        super().__init__(settings=LLMSettings(**none | {"model": "one answer", "extra": {}}))
        self.asked: list[list[Any]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        self.asked.append(list(frame.context.get_messages()))
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMTextFrame(ANSWER))
        await self.push_frame(LLMFullResponseEndFrame())


class Client:
    """A browser, as far as a WebRTC call is concerned; made by `call`.

    Attributes:
        sizes: Sizes of the pictures that came.
        sound: What was heard, mono at 48 kHz.
        told: Types of the messages that came.
    """

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []
        self.sound = bytearray()
        self.told: list[str] = []
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._peer.addTransceiver(AudioStreamTrack(), direction="sendrecv")
        self._peer.addTransceiver("video", direction="recvonly")
        self._channel = self._peer.createDataChannel("chat")
        self._open = asyncio.Event()
        self._channel.on("open", self._open.set)
        self._channel.on("message", self._on_message)
        self._peer.on("track", self._on_track)
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def dial(self) -> SmallWebRTCConnection:
        """Call; the bot's end of the line is returned."""
        await self._peer.setLocalDescription(await self._peer.createOffer())
        connection = SmallWebRTCConnection()
        offer = self._peer.localDescription
        await connection.initialize(offer.sdp, offer.type)
        answer = connection.get_answer()  # type: ignore[no-untyped-call]
        await self._peer.setRemoteDescription(
            RTCSessionDescription(sdp=answer["sdp"], type=answer["type"])
        )
        return connection

    async def type(self, text: str) -> None:
        """Type to the bot, as RTVI clients do."""
        await self._open.wait()
        ready = {"version": "2.0.0", "about": {"library": "pipecat-runway-tests"}}
        for kind, data in (("client-ready", ready), ("send-text", {"content": text})):
            message = {"label": "rtvi-ai", "type": kind, "id": kind, "data": data}
            self._channel.send(json.dumps(message))

    async def until_told(self, kind: str, count: int = 1) -> None:
        """Wait until the bot has sent so many messages of that type."""
        while self.told.count(kind) < count:
            self._news.clear()
            await self._news.wait()

    async def listen_on(self, seconds: float) -> None:
        """Wait until so much more sound has come, silence included."""
        wanted = len(self.sound) + seconds * RATE * 2
        while len(self.sound) < wanted:
            self._news.clear()
            await self._news.wait()

    async def hang_up(self) -> None:
        """End the call."""
        await self._peer.close()
        await asyncio.gather(*self._tasks)

    def _on_message(self, message: str) -> None:
        self.told.append(json.loads(message)["type"])
        self._news.set()

    def _on_track(self, track: MediaStreamTrack) -> None:
        watch = self._listen if track.kind == "audio" else self._look
        self._tasks.append(asyncio.create_task(watch(track)))

    async def _listen(self, track: MediaStreamTrack) -> None:
        resampler = AudioResampler("s16", "mono", RATE)
        async for frame in _frames(track):
            assert isinstance(frame, AudioFrame)
            for piece in resampler.resample(frame):
                self.sound += piece.to_ndarray().astype(np.int16).tobytes()
            self._news.set()

    async def _look(self, track: MediaStreamTrack) -> None:
        async for frame in _frames(track):
            assert isinstance(frame, VideoFrame)
            self.sizes.append((frame.width, frame.height))


async def _frames(track: MediaStreamTrack) -> AsyncIterator[Any]:
    while True:
        try:
            yield await track.recv()
        except MediaStreamError:  # the line was closed
            return


@asynccontextmanager
async def call() -> AsyncIterator[tuple[Client, SmallWebRTCConnection]]:
    """Call the bot, and hang up in the end."""
    client = Client()
    try:
        yield client, await client.dial()
    finally:
        await client.hang_up()


async def test_the_example_greets_answers_and_ends_its_session(
    example: ModuleType, runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face is seen, an AI says that it is one, a question is answered, hanging up ends it."""
    for name, value in runway.env.items():
        monkeypatch.setenv(name, value)
    llm, tts = OneAnswerLLM(), MarkedTTSService()
    services = example.Services(stt=DeafSTT(), llm=llm, tts=tts)
    async with call() as (client, connection):
        arguments = SmallWebRTCRunnerArguments(webrtc_connection=connection)
        transport = await create_transport(arguments, example.transport_params)
        conversation = asyncio.create_task(example.run_bot(transport, services, arguments))
        async with asyncio.timeout(40):
            try:
                await client.until_told("bot-stopped-speaking")
                await client.type("What are you?")
                await client.until_told("bot-stopped-speaking", 2)
                await client.listen_on(0.5)
            finally:
                await client.hang_up()
                await asyncio.wait_for(conversation, 20)
    greeting, answer = tts.spoken
    assert "AI" in greeting.text
    assert ANSWER == answer.text
    assert set(client.sizes) == {(1280, 720)}
    marks = greeting.marks + answer.marks
    verdict = compare(marks, Recording(bytes(client.sound), RATE).marks(among=marks))
    # aiortc, at both ends of the line, codes the sound once more and may stretch it.
    assert len(verdict.lost) <= len(marks) // 10
    assert not verdict.out_of_order
    assert llm.asked[0][0]["role"] == "system"
    assert "Never claim to be a person" in llm.asked[0][0]["content"]
    assert {"role": "assistant", "content": greeting.text} in llm.asked[0]
    assert {"role": "user", "content": "What are you?"} in llm.asked[0]
    (session,) = runway.sessions[-1:]
    assert not session.is_open
