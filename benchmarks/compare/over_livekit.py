"""Ours behind Pipecat's LiveKit transport, as a `livekit.rtc` client in the user's room gets it."""

from typing import Any

from livekit import rtc
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.livekit.transport import LiveKitParams, LiveKitTransport

from benchmarks.compare.buffered import Buffers, Kept
from benchmarks.compare.floor import Ears
from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import main, shown
from benchmarks.compare.record import Record


class OverLiveKit(Ours):
    """A pipeline with our service, and its user."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._room = rtc.Room()
        self._ears = Ears(record)
        self._buffers = Buffers()
        self._tracks: dict[str, rtc.Track] = {}

    async def processors(self, where: dict[str, Any]) -> list[FrameProcessor]:
        transport = LiveKitTransport(
            where["LIVEKIT_URL"],
            where["users"]["bot"],
            where["room"],
            LiveKitParams(**shown(where)),
        )
        return [
            transport.input(),
            self.entrance(self._record),
            await self.service(where),
            transport.output(),
        ]

    async def join(self, where: dict[str, Any]) -> None:
        await super().join(where)
        self._ears.attach(self._room)
        self._room.on("track_subscribed", self._on_track)
        await self._room.connect(where["LIVEKIT_URL"], where["users"]["user"])

    async def leave(self) -> None:
        await self._ears.aclose()
        await self._room.disconnect()
        await super().leave()

    async def told(self) -> dict[str, Any]:
        return self._buffers.look({kind: await kept(t) for kind, t in self._tracks.items()})

    def _on_track(self, track: rtc.Track, *_: Any) -> None:
        kind = "video" if track.kind == rtc.TrackKind.KIND_VIDEO else "audio"
        self._tracks[kind] = track


async def kept(track: rtc.Track) -> Kept:
    """What a track's jitter buffer has done so far (W3C webrtc-stats: inbound RTP)."""
    (inbound,) = (
        stats.inbound_rtp.inbound
        for stats in await track.get_stats()
        if stats.WhichOneof("stats") == "inbound_rtp"
    )
    return Kept(inbound.jitter_buffer_delay, inbound.jitter_buffer_emitted_count)


if __name__ == "__main__":
    main(OverLiveKit)
