"""Reads the sound and the pictures that somebody publishes in a LiveKit room."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from livekit import rtc
from loguru import logger

from pipecat_runway.lipsync import JitterBuffer, PictureHold

SOUND_FRAME_MS = 10
PICTURES_WAITING = 2  # newest wins
PICTURES_HELD = 12  # for their sound, at most
LOOK_INTERVAL = 0.5  # s between looks at the jitter buffers


class TrackListener(Protocol):
    """Who is given what is read. Called on the event loop; must not block."""

    def sound(self, identity: str, pcm: bytes) -> None:
        """A piece of somebody's sound: 10 ms s16le mono at the `sample_rate` asked for."""

    def seen(self, identity: str) -> None:
        """A picture of somebody has arrived; it may be held for its sound, or left out."""

    async def picture(self, identity: str, frame: rtc.VideoFrame) -> None:
        """A picture of somebody: tight RGB24 at its own size."""

    def room_lost(self, reason: str) -> None:
        """The connection to the room has ended, and not by us."""


class Tracks:
    """Subscribes to the newest track of each kind, of those who are wanted, and reads it.

    Args:
        room: The room, not joined yet.
        sample_rate: Rate in Hz at which sound is wanted.
        wanted: Whose tracks are.
        listener: Who is given what is read.
        name: What the room is called in logs.
    """

    def __init__(
        self,
        room: rtc.Room,
        *,
        sample_rate: int,
        wanted: Callable[[str], bool],
        listener: TrackListener,
        name: str,
    ) -> None:
        self._sample_rate, self._wanted = sample_rate, wanted
        self._listener, self._name = listener, name
        self._readers: dict[str, asyncio.Task[None]] = {}  # by track sid
        self._sound_tracks: dict[str, rtc.Track] = {}  # by identity
        room.on("track_published", self._on_published)
        room.on("track_subscribed", self._on_subscribed)
        room.on("track_unsubscribed", self._on_unsubscribed)

    def take(self, participant: rtc.RemoteParticipant) -> None:
        """Subscribe to what somebody had published before we came."""
        for publication in participant.track_publications.values():
            self._on_published(publication, participant)

    async def aclose(self) -> None:
        """Read no more."""
        for reader in list(self._readers.values()):
            reader.cancel()
        await asyncio.gather(*self._readers.values(), return_exceptions=True)
        self._readers.clear()

    def _on_published(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        """Take one track of each kind from an avatar, the newest; from others nothing."""
        if not self._wanted(participant.identity):
            return
        for other in participant.track_publications.values():
            if other.kind == publication.kind and other.sid != publication.sid:
                other.set_subscribed(False)
        publication.set_subscribed(True)

    def _on_subscribed(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        read = self._read_sound if track.kind == rtc.TrackKind.KIND_AUDIO else self._read_pictures
        reader = asyncio.create_task(read(participant.identity, track))
        reader.add_done_callback(self._on_reader_done)
        self._readers[publication.sid] = reader

    def _on_reader_done(self, reader: asyncio.Task[None]) -> None:
        """Tell of a mistake of ours, instead of going deaf or blind."""
        if not reader.cancelled() and (e := reader.exception()) is not None:
            logger.opt(exception=e).debug(f"{self._name}: a track can no longer be read")
            self._listener.room_lost(f"internal error, {type(e).__name__}")

    def _on_unsubscribed(
        self, _: rtc.Track, publication: rtc.RemoteTrackPublication, __: rtc.RemoteParticipant
    ) -> None:
        reader = self._readers.pop(publication.sid, None)
        if reader is not None:
            reader.cancel()

    async def _read_sound(self, identity: str, track: rtc.Track) -> None:
        self._sound_tracks[identity] = track
        stream = rtc.AudioStream(
            track, sample_rate=self._sample_rate, num_channels=1, frame_size_ms=SOUND_FRAME_MS
        )
        try:
            async for event in stream:
                self._listener.sound(identity, bytes(event.frame.data))
        finally:
            if self._sound_tracks.get(identity) is track:  # not one that has followed it
                del self._sound_tracks[identity]
            await stream.aclose()

    async def _read_pictures(self, identity: str, track: rtc.Track) -> None:
        # RGB is made in LiveKit's own threads, not on the event loop.
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24, capacity=PICTURES_WAITING)
        held: asyncio.Queue[tuple[float, rtc.VideoFrame]] = asyncio.Queue()
        showing = asyncio.create_task(self._show(identity, held))
        showing.add_done_callback(self._on_reader_done)
        hold = PictureHold()
        looking = asyncio.create_task(self._look_at_buffers(identity, track, hold))
        try:
            async for event in stream:
                self._listener.seen(identity)
                while held.qsize() > PICTURES_HELD:
                    held.get_nowait()
                held.put_nowait((time.monotonic() + hold.seconds, event.frame))
        finally:
            showing.cancel()
            looking.cancel()
            await asyncio.gather(showing, looking, return_exceptions=True)
            await stream.aclose()

    async def _show(self, identity: str, held: asyncio.Queue[tuple[float, rtc.VideoFrame]]) -> None:
        while True:
            due, frame = await held.get()
            if (early := due - time.monotonic()) > 0:
                await asyncio.sleep(early)
            elif held.qsize() >= PICTURES_WAITING:
                continue  # whoever takes them is slow: the newest win
            await self._listener.picture(identity, frame)

    async def _look_at_buffers(self, identity: str, picture: rtc.Track, hold: PictureHold) -> None:
        """Learn how far sound and picture are apart."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            if (track := self._sound_tracks.get(identity)) is not None:
                sound = await _jitter_buffer(track)
                hold.look(sound, await _jitter_buffer(picture))


async def _jitter_buffer(track: rtc.Track) -> JitterBuffer:
    for stats in await track.get_stats():
        if stats.WhichOneof("stats") == "inbound_rtp":
            inbound = stats.inbound_rtp.inbound
            return JitterBuffer(inbound.jitter_buffer_delay, inbound.jitter_buffer_emitted_count)
    return JitterBuffer()
