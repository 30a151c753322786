"""What arrives of an avatar: its sound, and its picture, held until the sound has got as far."""

import asyncio
import contextlib
import ctypes
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient, FfiHandle
from livekit.rtc._proto.audio_frame_pb2 import OwnedAudioFrameBuffer
from livekit.rtc._proto.video_frame_pb2 import OwnedVideoBuffer

from pipecat_runway.lipsync import (
    PICTURES_WAITING,
    JitterBuffer,
    PictureHold,
    PictureLine,
    left_decoded,
)
from pipecat_runway.sizes import Picture

LOOK_INTERVAL = 0.5  # s between looks at the jitter buffers while speech sounds…
LOOKS_SPARED = 3  # …of which so many are left out while none does: a look costs a picture's work
CLOSE_BOUND = 2.0  # s for LiveKit to say that no more comes


class Attention(Enum):
    """What is expected of an avatar, and so how it is listened to and shown."""

    IDLE = "idle"  # nothing
    EXPECTANT = "expectant"  # speech may begin
    WARY = "wary"  # and old speech may go on, which has to be told from it
    SPEAKING = "speaking"  # speech sounds: pictures wait for their sound


# Sound taken at once: a piece costs more than what is in it. While speech sounds, that stays.
FRAME_MS = {Attention.IDLE: 100, Attention.EXPECTANT: 20, Attention.WARY: 10}


@dataclass(frozen=True)
class Watched:
    """What has been seen of an avatar so far.

    Attributes:
        passed: Pictures that were passed on.
        dropped: Pictures that arrived and were not: whoever takes them was slow.
        offset: By how much the picture is late against its sound in s once they are in step, by the
            statistics of their jitter buffers; negative if it is early. None if they do not tell
            yet.
        size: Width and height in pixels in which the last picture arrived; None before the first.
    """

    passed: int = 0
    dropped: int = 0
    offset: float | None = None
    size: tuple[int, int] | None = None


class Listener(Protocol):
    """Who sees and hears it. Called on the event loop; must not block."""

    def sound(self, identity: str, pcm: bytes) -> None:
        """A piece of its sound, s16le mono at the rate asked for: 10, 20 or 100 ms."""

    def seen(self, identity: str) -> None:
        """A picture of it has arrived; it may be held for its sound, or left out."""

    async def picture(self, identity: str, picture: Picture) -> None:
        """A picture of it, at its own size."""


class Reception:
    """What arrives of one avatar.

    Args:
        identity: Whose.
        sample_rate: Rate in Hz at which its sound is wanted.
        listener: Who sees and hears it.
    """

    def __init__(self, identity: str, *, sample_rate: int, listener: Listener) -> None:
        self._identity, self._sample_rate, self._listener = identity, sample_rate, listener
        self._sounds: deque[SoundStream] = deque()  # the last, and those that come to their end
        # Until told: nobody tells of Runway's own agent, which may speak at any time.
        self._attention, self._frame_ms = Attention.SPEAKING, FRAME_MS[Attention.WARY]
        self._hold = PictureHold()
        self._passed = self._dropped = 0
        self._size: tuple[int, int] | None = None

    @property
    def watched(self) -> Watched:
        """What has been seen so far."""
        return Watched(self._passed, self._dropped, self._hold.offset, self._size)

    def attend(self, attention: Attention) -> None:
        """Listen to it, and show it, in this way from now on."""
        self._attention = attention
        before, self._frame_ms = self._frame_ms, FRAME_MS.get(attention, self._frame_ms)
        if self._sounds and self._frame_ms != before:
            # The next stream is there before the last one goes: what comes meanwhile waits in it.
            last = self._sounds[-1]
            self._sounds.append(self._open(last.track))
            last.stop()

    def _open(self, track: rtc.Track) -> "SoundStream":
        return SoundStream(track, self._sample_rate, self._frame_ms)

    async def read(self, track: rtc.Track) -> None:
        """Pass on what a track brings, until it ends."""
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            await self._read_sound(track)
        else:
            await self._read_pictures(track)

    async def _read_sound(self, track: rtc.Track) -> None:
        sounds = self._sounds = deque([self._open(track)])
        try:
            while sounds:
                async for pcm in sounds[0]:
                    self._listener.sound(self._identity, pcm)
                await sounds.popleft().aclose()
        finally:
            if self._sounds is sounds:  # not those of a track that has followed it
                self._sounds = deque()
            for stream in sounds:
                await stream.aclose()

    async def _read_pictures(self, track: rtc.Track) -> None:
        # RGB is made in LiveKit's own threads, not on the event loop. What is too much is left out
        # here, where it is counted.
        stream = PictureStream(track)
        line, news = PictureLine[Picture](), asyncio.Event()
        self._hold = PictureHold()
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as helpers:
            tasks = [
                helpers.create_task(self._show(line, news)),
                helpers.create_task(self._look_at_buffers(track)),
            ]
            try:
                async for picture in stream:
                    self._listener.seen(self._identity)
                    now, speaking = time.monotonic(), self._attention is Attention.SPEAKING
                    hold = self._hold.advance(now, speaking=speaking)
                    line.put(picture, now + hold)
                    del picture
                    self._leave_out(line)
                    if len(line) > PICTURES_WAITING:  # there may be too many once it is due
                        loop.call_later(hold, self._leave_out, line)
                    news.set()
            finally:
                for task in tasks:
                    task.cancel()
                line.clear()  # 2.8 MB each, and a task that was cancelled may keep its frame
                await stream.aclose()

    async def _show(self, line: PictureLine[Picture], news: asyncio.Event) -> None:
        try:
            while True:
                while (due := line.due) is None:
                    news.clear()
                    await news.wait()
                if (early := due - time.monotonic()) > 0:
                    await asyncio.sleep(early)
                self._leave_out(line)
                await self._pass_on(line.take())
        except asyncio.CancelledError as e:
            # The frames it came through hold the picture that was being taken, and it holds them.
            traceback.clear_frames(e.__traceback__)
            raise

    async def _pass_on(self, picture: Picture) -> None:
        self._passed += 1
        self._size = picture.size
        await self._listener.picture(self._identity, picture)

    def _leave_out(self, line: PictureLine[Picture]) -> None:
        self._dropped += line.leave_out(time.monotonic())

    async def _look_at_buffers(self, picture: rtc.Track) -> None:
        """Learn how far sound and picture are apart."""
        spared = LOOKS_SPARED  # not the first one
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            if self._attention is not Attention.SPEAKING and spared < LOOKS_SPARED:
                spared += 1
                continue
            spared = 0
            if self._sounds:
                sound = await jitter_buffer(self._sounds[-1].track)
                self._hold.look(sound, await jitter_buffer(picture))


class _ReadHere:
    """What both streams do otherwise than LiveKit's.

    Those have a task each that takes what comes, copies it, and wakes whoever iterates. Here
    whoever iterates takes it: a call has fifty pieces of sound a second, or a hundred.
    """

    _ended = False

    async def _run(self) -> None:
        """Leave what comes to whoever iterates."""

    async def _next(self: Any, kind: str) -> Any:
        """Return what came, which the caller has to let go of; None at the end."""
        while not self._ended:
            event = getattr(await self._ffi_queue.wait_for(self._is_event), kind)
            if event.HasField("frame_received"):
                return event.frame_received
            self._ended = event.HasField("eos")
        return None

    def stop(self: Any) -> None:
        """Have LiveKit send no more; whoever iterates comes to the end."""
        self._ffi_handle.dispose()

    async def aclose(self: Any) -> None:
        """Have LiveKit send no more, and let go of what is still on its way; bounded."""
        self.stop()
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_BOUND):
                    async for _ in self:
                        pass
        finally:
            FfiClient.instance.queue.unsubscribe(self._ffi_queue)
            await super().aclose()  # type: ignore[misc]  # of the stream this is mixed into


class SoundStream(_ReadHere, rtc.AudioStream):
    """A track's sound, s16le mono.

    Args:
        track: The track.
        sample_rate: Rate in Hz at which the sound is wanted.
        frame_ms: How much of it at a time, in ms.

    Attributes:
        track: The track.
    """

    def __init__(self, track: rtc.Track, sample_rate: int, frame_ms: int) -> None:
        self.track = track
        super().__init__(track, sample_rate=sample_rate, num_channels=1, frame_size_ms=frame_ms)

    def __aiter__(self) -> AsyncIterator[bytes]:  # type: ignore[override]
        return self

    async def __anext__(self) -> bytes:  # type: ignore[override]
        if (received := await self._next("audio_stream_event")) is None:
            raise StopAsyncIteration
        return _taken_sound(received.frame)


class PictureStream(_ReadHere, rtc.VideoStream):
    """A track's pictures, copied once: from LiveKit's memory into what Pipecat's frames hold.

    LiveKit's own stream copies each into a bytearray, which would have to be copied again.

    Args:
        track: The track.
    """

    def __init__(self, track: rtc.Track) -> None:
        super().__init__(track, format=rtc.VideoBufferType.RGB24)

    def __aiter__(self) -> AsyncIterator[Picture]:  # type: ignore[override]
        return self

    async def __anext__(self) -> Picture:  # type: ignore[override]
        if (received := await self._next("video_stream_event")) is None:
            raise StopAsyncIteration
        return _taken_picture(received.buffer)


def _taken_sound(buffer: OwnedAudioFrameBuffer) -> bytes:
    """Take a piece of sound out of LiveKit's memory, and let that go."""
    info = buffer.info
    pcm = ctypes.string_at(info.data_ptr, 2 * info.num_channels * info.samples_per_channel)
    FfiHandle(buffer.handle.id).dispose()
    return pcm


def _taken_picture(buffer: OwnedVideoBuffer) -> Picture:
    """Take a picture out of LiveKit's memory, and let that go."""
    info = buffer.info  # rows without gaps: the stream asks for `normalize_stride`
    rgb = ctypes.string_at(info.data_ptr, 3 * info.width * info.height)
    FfiHandle(buffer.handle.id).dispose()
    return Picture(rgb, (info.width, info.height))


async def jitter_buffer(track: rtc.Track) -> JitterBuffer:
    """Look at a track's jitter buffer."""
    for stats in await track.get_stats():
        if stats.WhichOneof("stats") == "inbound_rtp":
            inbound = stats.inbound_rtp.inbound
            emitted = inbound.jitter_buffer_emitted_count
            decoded = emitted + inbound.concealed_samples
            decoded += inbound.inserted_samples_for_deceleration
            decoded -= inbound.removed_samples_for_acceleration
            left = left_decoded(decoded, inbound.total_samples_received)  # of pictures: none
            return JitterBuffer(inbound.jitter_buffer_delay, emitted, left)
    return JitterBuffer()
