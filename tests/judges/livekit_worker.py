"""A judge: an avatar made of LiveKit's own `AvatarRunner` and `DataStreamAudioReceiver`.

A process of its own for every avatar, in the environment that `environment/` describes. The first
line of stdin says where to go; the next one, or stdin's end, calls the avatar back. Lines of JSON
on stdout tell what happens to it.
"""

import asyncio
import base64
import json
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc
from livekit.agents.voice.avatar import (
    AudioSegmentEnd,
    AvatarOptions,
    AvatarRunner,
    DataStreamAudioReceiver,
    VideoGenerator,
)

RATE = 16_000
LOOKAHEAD = RATE // 5 * 2  # bytes a segment holds before it is begun: the mouth needs to know
IDLE_LUMA, TALKING_LUMA = 90, 200


def report(kind: str, **data: Any) -> None:
    """Tell whoever started this process."""
    print(json.dumps({"kind": kind, "at": time.monotonic(), "data": data}), flush=True)


@dataclass
class Segment:
    """What came on one byte stream and has not been played."""

    stream: str
    pcm: bytearray = field(default_factory=bytearray)
    samples: int = 0
    begun: bool = False
    ended: bool = False


class Face(VideoGenerator):  # type: ignore[misc]
    """A light that is on while it speaks what it hears.

    Args:
        options: Its picture and sound.
        idle_sound: Whether it sends silence while it has nothing to say, or no sound at all.
    """

    def __init__(self, options: AvatarOptions, *, idle_sound: bool) -> None:
        self._tick = round(options.audio_sample_rate / options.video_fps) * 2
        self._silence = bytes(self._tick) if idle_sound else b""
        self._segments: deque[Segment] = deque()
        self._streams = 0
        self._idle, self._talking = (
            self._picture(options, luma) for luma in (IDLE_LUMA, TALKING_LUMA)
        )

    @staticmethod
    def _picture(options: AvatarOptions, luma: int) -> rtc.VideoFrame:
        width, height = options.video_width, options.video_height
        pixels = bytes([luma]) * (width * height) + bytes([128]) * (width * height // 2)
        return rtc.VideoFrame(width, height, rtc.VideoBufferType.I420, pixels)

    async def push_audio(self, frame: rtc.AudioFrame | AudioSegmentEnd) -> None:
        segment = self._segments[-1] if self._segments else None
        if segment is None or segment.ended:
            self._streams += 1
            segment = Segment(f"stream-{self._streams}")
            self._segments.append(segment)
            if isinstance(frame, rtc.AudioFrame):  # else it was cleared before its end came
                report("stream_opened", stream=segment.stream)
        if isinstance(frame, rtc.AudioFrame):
            pcm = bytes(frame.data)
            segment.pcm += pcm
            segment.samples += len(pcm) // 2
            text = base64.b64encode(pcm).decode()
            report("audio", stream=segment.stream, samples=len(pcm) // 2, pcm=text)
        else:
            segment.ended = True
            report("stream_closed", stream=segment.stream, samples=segment.samples)

    def clear_buffer(self) -> None:
        self._segments.clear()
        report("clear_buffer")

    async def __aiter__(self) -> AsyncIterator[rtc.VideoFrame | rtc.AudioFrame | AudioSegmentEnd]:
        while True:  # at the pace at which the runner takes it
            sound, ended = self._next_sound()
            yield self._talking if sound else self._idle
            if sound := sound or self._silence:
                yield rtc.AudioFrame(sound, RATE, 1, len(sound) // 2)
            if ended:
                yield AudioSegmentEnd()

    def _next_sound(self) -> tuple[bytes, bool]:
        """The speech beside the next picture, and whether its segment ends there."""
        if not self._segments:
            return b"", False
        segment = self._segments[0]
        if not segment.begun:
            if len(segment.pcm) < LOOKAHEAD and not segment.ended:
                return b"", False
            segment.begun = True
            report("playing", stream=segment.stream, sample=0, at=time.monotonic())
        sound = bytes(segment.pcm[: self._tick])
        del segment.pcm[: self._tick]
        over = segment.ended and not segment.pcm
        if over:
            self._segments.popleft()
        return sound, over


async def open_stdin() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


def leave_reason(line: "asyncio.Task[bytes]") -> str:
    """Why the avatar is called back."""
    order = b"" if line.cancelled() else line.result()
    return str(json.loads(order)["leave"]) if order else "deleted"


async def main() -> None:
    stdin = await open_stdin()
    report("ready")
    order = json.loads(await stdin.readline())
    options = AvatarOptions(
        video_width=order["width"],
        video_height=order["height"],
        video_fps=order["fps"],
        audio_sample_rate=RATE,
        audio_channels=1,
    )
    called_back = asyncio.create_task(stdin.readline())
    end: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def leave(reason: str) -> None:
        if not end.done():
            end.set_result(reason)

    def on_data(packet: rtc.DataPacket) -> None:
        if json.loads(packet.data) == {"type": "END_CALL"}:
            report("end_call")
            leave("end_call")

    room = rtc.Room()
    room.on("data_received", on_data)
    room.on("disconnected", lambda _: leave("room_lost"))
    called_back.add_done_callback(lambda task: leave(leave_reason(task)))
    await room.connect(order["url"], order["token"], rtc.RoomOptions(auto_subscribe=False))
    report("joined", identity=room.local_participant.identity)
    runner = AvatarRunner(
        room,
        audio_recv=DataStreamAudioReceiver(room, sender_identity=order["sender_identity"]),
        video_gen=Face(options, idle_sound=order["idle_sound"]),
        options=options,
    )
    starting = asyncio.create_task(runner.start())  # it waits for whoever is to be heard
    await asyncio.wait([starting, end], return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        await end
        await runner.aclose()
    else:
        starting.cancel()
    await room.disconnect()
    report("left", reason=end.result())
    called_back.cancel()


if __name__ == "__main__":
    asyncio.run(main())
    # LiveKit's native threads may call into an interpreter that is ending, and abort it (1.1.21).
    os._exit(0)
