"""Other participants of a LiveKit room: avatars made by hand, and strangers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from livekit import api, rtc

from pipecat_runway import wire
from tests.kit.waiting import until

from .marks import marked_speech

RATE = 48_000
FRAME_MS = 10


@dataclass
class Ears:
    """A listener that writes down what it is told."""

    told: list[tuple[Any, ...]] = field(default_factory=list)
    sounds: dict[str, list[bytes]] = field(default_factory=dict)
    pictures: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)

    def avatar_joined(self, identity: str) -> None:
        self.told.append(("joined", identity))

    def avatar_reachable(self, identity: str) -> None:
        self.told.append(("reachable", identity))

    def avatar_left(self, identity: str, reason: str) -> None:
        self.told.append(("left", identity, reason))

    def sound(self, identity: str, pcm: bytes) -> None:
        self.sounds.setdefault(identity, []).append(pcm)

    def seen(self, identity: str) -> None:
        self.told.append(("seen", identity))

    async def picture(self, identity: str, frame: rtc.VideoFrame) -> None:
        self.pictures.add(identity)

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:
        self.told.append(("finished", identity, report))

    def room_lost(self, reason: str) -> None:
        self.lost.append(reason)

    async def hear(self, identity: str, more: int = 20) -> None:
        """Wait for so many more pieces of sound."""
        wanted = len(self.sounds.get(identity, [])) + more
        await until(lambda: len(self.sounds.get(identity, [])) >= wanted, every=0.02)


class Guest:
    """Somebody in a room; made by `guest`.

    Attributes:
        room: LiveKit's own.
        taken: Sids of the tracks somebody has subscribed to.
    """

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.taken: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self.room.on("local_track_subscribed", lambda track: self.taken.add(track.sid))

    @property
    def me(self) -> rtc.LocalParticipant:
        """It itself."""
        return self.room.local_participant

    async def join(self, url: str, token: str) -> None:
        """Enter a room."""
        await self.room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))

    async def speak(self, first_mark: int, pieces: int) -> rtc.LocalTrackPublication:
        """Publish marked speech, over and over."""
        pcm = marked_speech(first_mark, pieces, RATE)
        source = rtc.AudioSource(RATE, 1, queue_size_ms=200)
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self.me.publish_track(track, options)
        self._tasks.append(asyncio.create_task(self._play(source, pcm)))
        return publication

    async def _play(self, source: rtc.AudioSource, pcm: bytes) -> None:
        samples = RATE * FRAME_MS // 1000
        while True:
            for place in range(0, len(pcm), samples * 2):
                frame = pcm[place : place + samples * 2]
                await source.capture_frame(rtc.AudioFrame(frame, RATE, 1, len(frame) // 2))

    async def show(self, width: int = 160, height: int = 96) -> rtc.LocalTrackPublication:
        """Publish a picture of noise."""
        source = rtc.VideoSource(width, height)
        track = rtc.LocalVideoTrack.create_video_track("picture", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA)
        publication = await self.me.publish_track(track, options)
        self._tasks.append(asyncio.create_task(self._paint(source, width, height)))
        return publication

    async def _paint(self, source: rtc.VideoSource, width: int, height: int) -> None:
        noise = np.random.default_rng(1)
        while True:
            picture = noise.integers(0, 255, width * height * 4, np.uint8).tobytes()
            source.capture_frame(rtc.VideoFrame(width, height, rtc.VideoBufferType.RGBA, picture))
            await asyncio.sleep(1 / 15)

    async def call(self, whom: str, method: str, payload: str) -> str:
        """Call somebody's RPC method; return the answer, or the name of the error's code."""
        try:
            return await self.me.perform_rpc(
                destination_identity=whom, method=method, payload=payload, response_timeout=5
            )
        except rtc.RpcError as e:
            return rtc.RpcError.ErrorCode(e.code).name

    async def leave(self) -> None:
        """Stop everything and leave."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()


@asynccontextmanager
async def guest(url: str, token: str) -> AsyncIterator[Guest]:
    """Be in a room until the block is left."""
    somebody = Guest()
    await somebody.join(url, token)
    try:
        yield somebody
    finally:
        await somebody.leave()


def token_for(
    key: str, secret: str, room: str, identity: str, *, name: str = "", **attributes: str
) -> str:
    """What opens a room to anybody who knows the server's secret."""
    grants = api.VideoGrants(room_join=True, room=room, can_update_own_metadata=True)
    token = api.AccessToken(key, secret).with_identity(identity).with_name(name)
    return token.with_grants(grants).with_attributes(attributes).to_jwt()
