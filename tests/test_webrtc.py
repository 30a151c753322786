"""The whole way to a person: a real WebRTC client sees the face and hears every word."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray
from pipecat.frames.frames import TTSSpeakFrame, TTSStoppedFrame
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport

from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content
from tests.kit.marks import Recording, numbers
from tests.kit.pipeline import MarkedTTSService, Tape, running

from .conftest import MakeService

SIZE = 480, 270


class Client:
    """A browser's part: offers to receive, and records what comes.

    Attributes:
        sound: Stereo at 48 kHz, as aiortc decodes it.
        pictures: The latest pictures, in grey.
    """

    def __init__(self) -> None:
        self.sound = bytearray()
        self.pictures: list[NDArray[np.uint8]] = []
        self._peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()
        self._peer.on("track", self._on_track)

    async def connect(self, bot: SmallWebRTCConnection) -> None:
        """Make the connection, as Pipecat's runner does for a browser."""
        self._peer.addTransceiver("audio", direction="sendrecv")
        self._peer.addTransceiver("video", direction="sendrecv")
        self._peer.createDataChannel("pipecat")
        await self._peer.setLocalDescription(await self._peer.createOffer())
        offer = self._peer.localDescription
        await bot.initialize(offer.sdp, offer.type)
        answer = bot.get_answer()  # type: ignore[no-untyped-call]
        assert answer is not None
        await self._peer.setRemoteDescription(
            RTCSessionDescription(sdp=answer["sdp"], type=answer["type"])
        )

    async def close(self) -> None:
        """Hang up."""
        await self._peer.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    @property
    def recording(self) -> Recording:
        """The sound so far, mono."""
        stereo = np.frombuffer(bytes(self.sound), "<i2").reshape(-1, 2)
        return Recording(stereo[:, 0].tobytes(), 48_000)

    async def wait_for_pictures(self, count: int, timeout: float) -> None:
        """Wait until so many have been shown since the beginning."""
        async with asyncio.timeout(timeout):
            while len(self.pictures) < count:
                self._news.clear()
                await self._news.wait()

    async def listen(self, seconds: float, timeout: float) -> None:
        """Wait until so much more has been heard."""
        wanted = len(self.sound) + round(seconds * 48_000) * 4
        async with asyncio.timeout(timeout):
            while len(self.sound) < wanted:
                self._news.clear()
                await self._news.wait()

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._readers.append(asyncio.create_task(self._read(track)))

    async def _read(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):  # the track has ended
            while True:
                frame: Any = await track.recv()
                if track.kind == "audio":
                    self.sound += frame.to_ndarray().tobytes()
                else:
                    self.pictures.append(frame.to_ndarray(format="gray"))
                self._news.set()


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Client]:
    """A client on this machine only."""
    # aioice leaves loopback out; the machine may have no other address.
    monkeypatch.setattr("aioice.ice.get_host_addresses", lambda *_, **__: ["127.0.0.1"])
    client = Client()
    yield client
    await client.close()


async def test_a_webrtc_client_sees_the_face_and_hears_every_word(
    make_service: MakeService, runway: RunwaySimulator, client: Client
) -> None:
    """Pipecat's SmallWebRTC transport: pictures of the size asked for that move; 0 marks lost."""
    width, height = SIZE
    params = TransportParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        video_out_enabled=True,
        video_out_is_live=True,
        video_out_width=width,
        video_out_height=height,
    )
    bot = SmallWebRTCConnection()
    transport, tape = SmallWebRTCTransport(bot, params), Tape()
    service = make_service(
        start_on="client_connected", video_out_width=width, video_out_height=height
    )
    pipeline = [transport.input(), MarkedTTSService(), service, transport.output(), tape]
    async with running(*pipeline) as run:
        await run.started()
        assert [] == runway.requests
        await client.connect(bot)
        await client.wait_for_pictures(24, timeout=30)
        for n in range(2):
            await run.queue(TTSSpeakFrame(f"marks {20 * n}-{20 * n + 14}"))
        await tape.wait_for(TTSStoppedFrame, count=2, timeout=20)
        await client.listen(1.0, timeout=10)
        await run.end()
    expected = [*numbers(0, 15), *numbers(20, 15)]
    verdict = compare_content(expected, client.recording.marks())
    # A late piece leaves a gap in what a client hears: it may tear a mark, but not take it away.
    assert [] == verdict.lost
    assert [] == verdict.out_of_order
    assert [] == verdict.foreign
    assert {(height, width)} == {picture.shape for picture in client.pictures}
    assert 0.001 < moving(client.pictures)


def moving(pictures: list[NDArray[np.uint8]]) -> float:
    """Which part of the picture changed by much more than a codec changes it."""
    some = np.stack(pictures[:: max(1, len(pictures) // 40)])
    return float((np.ptp(some, axis=0) > 60).mean())
