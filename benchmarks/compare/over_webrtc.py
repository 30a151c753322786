"""Ours behind Pipecat's SmallWebRTC transport, as an aiortc client gets it.

The client plays nothing: its times are those at which aiortc yields a picture or a piece of sound.
Its jitter buffers keep four packets of sound, and a picture until the next one begins.
"""

import asyncio
import contextlib
import time
from typing import Any

import aioice.ice
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.jitterbuffer import JitterBuffer
from aiortc.mediastreams import MediaStreamError
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_transport import TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport

from benchmarks.compare.buffered import Buffers
from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import main, shown
from benchmarks.compare.record import Record
from pipecat_runway.lipsync import JitterBuffer as Kept

RATE = 48_000  # Hz, as aiortc decodes it


class OverWebRTC(Ours):
    """A pipeline with our service, and its user."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._bot = SmallWebRTCConnection()
        self._user = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._readers: list[asyncio.Task[None]] = []
        self._buffers = Buffers()
        self._kept = watched_buffers()
        self._user.on("track", self._on_track)

    async def processors(self, where: dict[str, Any]) -> list[FrameProcessor]:
        transport = SmallWebRTCTransport(self._bot, TransportParams(**shown(where)))
        return [
            transport.input(),
            self.entrance(self._record),
            await self.service(where),
            transport.output(),
        ]

    async def join(self, where: dict[str, Any]) -> None:
        # aioice leaves loopback out; nothing else is wanted here.
        aioice.ice.get_host_addresses = lambda *_, **__: ["127.0.0.1"]  # type: ignore[assignment]
        await super().join(where)
        self._user.addTransceiver("audio", direction="sendrecv")
        self._user.addTransceiver("video", direction="sendrecv")
        self._user.createDataChannel("pipecat")
        await self._user.setLocalDescription(await self._user.createOffer())
        await self._bot.initialize(
            self._user.localDescription.sdp, self._user.localDescription.type
        )
        answer = self._bot.get_answer()
        assert answer is not None
        await self._user.setRemoteDescription(
            RTCSessionDescription(sdp=answer["sdp"], type=answer["type"])
        )

    async def leave(self) -> None:
        await super().leave()
        await self._user.close()
        for reader in self._readers:
            reader.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)

    async def told(self) -> dict[str, Any]:
        return self._buffers.look(dict(self._kept))

    def _on_track(self, track: MediaStreamTrack) -> None:
        self._readers.append(asyncio.create_task(self._read(track)))

    async def _read(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):  # the track has ended
            while True:
                frame: Any = await track.recv()
                if track.kind == "video":
                    pixels = frame.to_ndarray(format="rgb24")
                    self._record.picture(pixels, frame.width, frame.height)
                else:
                    left = np.ascontiguousarray(frame.to_ndarray().reshape(-1, 2)[:, 0])
                    self._record.sound(left.astype("<i2").tobytes(), RATE)


def watched_buffers() -> dict[str, Kept]:
    """Have aiortc's jitter buffers tell how long they keep what."""
    found = {"audio": Kept(), "video": Kept()}
    come: dict[tuple[int, int], float] = {}
    inner = JitterBuffer.add

    def add(buffer: JitterBuffer, packet: Any) -> Any:
        now = time.monotonic()
        come.setdefault((id(buffer), packet.timestamp), now)
        lost, frame = inner(buffer, packet)
        if frame is not None and (since := come.pop((id(buffer), frame.timestamp), None)):
            kind = "video" if buffer._is_video else "audio"
            found[kind] = Kept(found[kind].delay + now - since, found[kind].emitted + 1)
        return lost, frame

    JitterBuffer.add = add  # type: ignore[method-assign]
    return found


if __name__ == "__main__":
    main(OverWebRTC)
