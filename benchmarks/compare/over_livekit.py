"""Ours behind Pipecat's LiveKit transport, as a `livekit.rtc` client in the user's room gets it."""

from typing import Any

from livekit import rtc
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.livekit.transport import LiveKitParams, LiveKitTransport

from benchmarks.compare.buffered import Buffers
from benchmarks.compare.floor import Ears
from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import main, shown
from benchmarks.compare.record import Record
from pipecat_runway.reception import jitter_buffer


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
        return self._buffers.look(
            {kind: await jitter_buffer(t) for kind, t in self._tracks.items()}
        )

    def _on_track(self, track: rtc.Track, *_: Any) -> None:
        kind = "video" if track.kind == rtc.TrackKind.KIND_VIDEO else "audio"
        self._tracks[kind] = track


if __name__ == "__main__":
    main(OverLiveKit)
