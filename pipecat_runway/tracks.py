"""Subscribes to what somebody publishes in a LiveKit room: one sound and one picture each."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from livekit import rtc
from loguru import logger

from pipecat_runway.reception import Attention, Listener, Reception, Watched
from pipecat_runway.sizes import Layer, PictureSize

_QUALITIES = {
    Layer.WHOLE: rtc.VideoQuality.VIDEO_QUALITY_HIGH,
    Layer.HALF: rtc.VideoQuality.VIDEO_QUALITY_MEDIUM,
    Layer.QUARTER: rtc.VideoQuality.VIDEO_QUALITY_LOW,
}


class TrackListener(Listener, Protocol):
    """Who is given what is read. Called on the event loop; must not block."""

    def room_lost(self, reason: str) -> None:
        """The connection to the room has ended, and not by us."""


class Tracks:
    """Subscribes to the newest track of each kind, of those who are wanted, and reads it.

    Args:
        room: The room, not joined yet.
        sample_rate: Rate in Hz at which sound is wanted.
        picture_size: What is to become of the pictures. Of those that are published in several
            sizes the smallest that is enough is taken.
        wanted: Whose tracks are.
        listener: Who is given what is read.
        name: What the room is called in logs.
    """

    def __init__(
        self,
        room: rtc.Room,
        *,
        sample_rate: int,
        picture_size: PictureSize,
        wanted: Callable[[str], bool],
        listener: TrackListener,
        name: str,
    ) -> None:
        self._sample_rate, self._picture_size, self._wanted = sample_rate, picture_size, wanted
        self._listener, self._name = listener, name
        self._readers: dict[str, asyncio.Task[None]] = {}  # by track sid
        self._receptions: dict[str, Reception] = {}  # by identity
        room.on("track_published", self._on_published)
        room.on("track_subscribed", self._on_subscribed)
        room.on("track_unsubscribed", self._on_unsubscribed)

    def watched(self, identity: str) -> Watched:
        """Return what has been seen of somebody so far."""
        reception = self._receptions.get(identity)
        return reception.watched if reception is not None else Watched()

    def attend(self, identity: str, attention: Attention) -> None:
        """Listen to somebody, and show them, in this way, see :meth:`Reception.attend`."""
        if (reception := self._receptions.get(identity)) is not None:
            reception.attend(attention)

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
        if publication.kind == rtc.TrackKind.KIND_VIDEO and publication.simulcasted:
            native = (publication.width, publication.height)
            publication.set_video_quality(_QUALITIES[self._picture_size.layer(native)])

    def _on_subscribed(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        identity = participant.identity
        if identity not in self._receptions:
            self._receptions[identity] = Reception(
                identity, sample_rate=self._sample_rate, listener=self._listener
            )
        reader = asyncio.create_task(self._receptions[identity].read(track))
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
