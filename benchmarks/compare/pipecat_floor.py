"""Pipecat's floor: the bare client as a processor of Pipecat's, and nothing more.

It sends speech as it comes and pushes the pictures and whatever can be heard: no ledger, no ear,
nothing held back, no barge-in. What it costs beyond the floor is Pipecat's way of a frame.
"""

import asyncio
from typing import Any

from livekit import rtc
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from benchmarks.compare.floor import speech_stream
from benchmarks.compare.pacing import RATE
from benchmarks.compare.pipecats import PipecatParty, main
from benchmarks.compare.record import AUDIBLE


class BareFace(FrameProcessor):
    """A room, its picture and sound, and a byte stream an utterance.

    Args:
        where: Where everything is.
    """

    def __init__(self, where: dict[str, Any]) -> None:
        super().__init__(enable_direct_mode=True)
        self._where = where
        self._room = rtc.Room()
        self._writer: rtc.ByteStreamWriter | None = None
        self._reading: list[asyncio.Task[None]] = []

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TTSStartedFrame():
                self._writer = await speech_stream(self._room, self._where["avatar"])
            case TTSAudioRawFrame() if self._writer is not None:
                await self._writer.write(frame.audio)
                return
            case TTSStoppedFrame() if self._writer is not None:
                await self._writer.aclose()
                self._writer = None
            case EndFrame():
                await self._leave()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            await self._join()

    async def _join(self) -> None:
        self._room.on("track_subscribed", self._on_track)
        await self._room.connect(self._where["url"], self._where["token"])
        for method in ("lk.playback_started", "lk.playback_finished"):
            self._room.local_participant.register_rpc_method(method, lambda _: "ok")

    async def _leave(self) -> None:
        for task in self._reading:
            task.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._room.disconnect()

    def _on_track(self, track: rtc.Track, *_: Any) -> None:
        take = self._pictures if track.kind == rtc.TrackKind.KIND_VIDEO else self._sound
        self._reading.append(asyncio.create_task(take(track)))

    async def _pictures(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24, capacity=2)
        async for event in stream:
            frame = event.frame
            size = frame.width, frame.height
            await self.push_frame(OutputImageRawFrame(bytes(frame.data), size, "RGB"))

    async def _sound(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=10)
        async for event in stream:
            pcm = bytes(event.frame.data)
            if max(memoryview(pcm).cast("h")) > AUDIBLE:
                await self.push_frame(TTSAudioRawFrame(pcm, RATE, 1))


class PipecatFloor(PipecatParty):
    """A pipeline with the bare client in it."""

    async def service(self, where: dict[str, Any]) -> FrameProcessor:
        return BareFace(where)


if __name__ == "__main__":
    main(PipecatFloor)
