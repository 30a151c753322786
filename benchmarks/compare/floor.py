"""The floor: `livekit.rtc` and nothing else, speaking the avatar protocol.

Speech comes at 24 kHz as it does for everybody, and is sent as it comes: the painted avatar takes
any rate, so not even a resampler stands in the way.
"""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc

from benchmarks.compare.pacing import RATE
from benchmarks.compare.party import main
from benchmarks.compare.record import Record


class Ears:
    """Takes an avatar's picture as RGB24 and its sound as it is; for those who have no own way."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._tasks: list[asyncio.Task[None]] = []

    def attach(self, room: rtc.Room) -> None:
        """Take whatever is published in a room."""
        room.on("track_subscribed", self._on_track)

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _on_track(self, track: rtc.Track, *_: Any) -> None:
        take = self._pictures if track.kind == rtc.TrackKind.KIND_VIDEO else self._sound
        self._tasks.append(asyncio.create_task(take(track)))

    async def _pictures(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24, capacity=2)
        try:
            async for event in stream:
                frame = event.frame
                self._record.picture(frame.data, frame.width, frame.height)
        finally:
            await stream.aclose()

    async def _sound(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=48_000, num_channels=1, frame_size_ms=10)
        try:
            async for event in stream:
                self._record.sound(bytes(event.frame.data), event.frame.sample_rate)
        finally:
            await stream.aclose()


class Floor:
    """A bare client."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._room = rtc.Room()
        self._ears = Ears(record)
        self._avatar = ""

    async def join(self, where: dict[str, Any]) -> None:
        self._avatar = where["avatar"]
        self._ears.attach(self._room)
        await self._room.connect(where["url"], where["token"])
        me = self._room.local_participant
        me.register_rpc_method("lk.playback_started", lambda _: "ok")
        me.register_rpc_method("lk.playback_finished", self._on_finished)

    async def say(self, speech: AsyncIterator[bytes], context: str) -> None:
        writer = None
        async for pcm in speech:
            if writer is None:
                self._record.note("in")
                writer = await speech_stream(self._room, self._avatar)
            await writer.write(pcm)
        if writer is not None:
            await writer.aclose()

    async def interrupt(self) -> None:
        self._record.note("interrupted")
        await self._room.local_participant.perform_rpc(
            destination_identity=self._avatar, method="lk.clear_buffer", payload=""
        )
        self._record.note("cleared")

    async def leave(self) -> None:
        await self._ears.aclose()
        await self._room.disconnect()

    async def told(self) -> dict[str, Any]:
        return {}

    def _on_finished(self, call: rtc.RpcInvocationData) -> str:
        if not json.loads(call.payload)["interrupted"]:
            self._record.note("stopped", time.monotonic())
        return "ok"


async def speech_stream(room: rtc.Room, avatar: str) -> rtc.ByteStreamWriter:
    """Open the byte stream of one utterance, 24 kHz mono."""
    return await room.local_participant.stream_bytes(
        f"AUDIO_{uuid.uuid4().hex[:12]}",
        topic="lk.audio_stream",
        destination_identities=[avatar],
        attributes={"sample_rate": str(RATE), "num_channels": "1"},
    )


if __name__ == "__main__":
    main(Floor)
