"""Ours behind Pipecat's LiveKit transport, as a `livekit.rtc` client in the user's room gets it."""

from typing import Any

from livekit import rtc
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.livekit.transport import LiveKitParams, LiveKitTransport

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
        await self._room.connect(where["LIVEKIT_URL"], where["users"]["user"])

    async def leave(self) -> None:
        await self._ears.aclose()
        await self._room.disconnect()
        await super().leave()


if __name__ == "__main__":
    main(OverLiveKit)
