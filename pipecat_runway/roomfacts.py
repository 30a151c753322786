"""What LiveKit's statistics tell of a room: how media gets through, and in which form it comes."""

from dataclasses import dataclass
from typing import Any

from livekit import rtc


@dataclass(frozen=True)
class TrackFacts:
    """A track as its publisher announced it, and as it arrives.

    Attributes:
        kind: ``audio`` or ``video``.
        name: Its name.
        source: LiveKit's word for where it comes from.
        simulcast: Whether it is sent in several sizes.
        codec: The codec it arrives in; empty if nothing has arrived.
        rate: The codec's clock rate in Hz.
        channels: Its channels, of sound.
    """

    kind: str
    name: str
    source: str
    simulcast: bool
    codec: str = ""
    rate: int = 0
    channels: int = 0


async def media_path(room: rtc.Room) -> str | None:
    """Return how media gets to the server, such as ``"udp, host"``; None if nothing tells yet.

    Args:
        room: A room that was joined.
    """
    try:
        stats = await room.get_rtc_stats()
    except RuntimeError:
        return None
    for side in (list(stats.subscriber_stats), list(stats.publisher_stats)):
        found = {kind: [s for s in side if s.WhichOneof("stats") == kind] for kind in _ICE}
        local = {s.local_candidate.rtc.id: s.local_candidate.candidate for s in found[_ICE[0]]}
        for pair in (s.candidate_pair.candidate_pair for s in found[_ICE[1]]):
            candidate = local.get(pair.local_candidate_id)
            if pair.nominated and candidate is not None:
                kind = _name(candidate, "candidate_type").lower()
                return f"{candidate.protocol}, {kind}"
    return None


async def tracks(room: rtc.Room, identity: str) -> list[TrackFacts]:
    """Return what is known of the tracks somebody has published.

    Args:
        room: A room that was joined.
        identity: Whose tracks.
    """
    participant = room.remote_participants.get(identity)
    found = []
    for publication in participant.track_publications.values() if participant else ():
        codec = await _codec(publication.track) if publication.track else None
        found.append(
            TrackFacts(
                kind="audio" if publication.kind == rtc.TrackKind.KIND_AUDIO else "video",
                name=publication.name,
                source=rtc.TrackSource.Name(publication.source),
                simulcast=publication.simulcasted,
                codec=codec.mime_type if codec else "",
                rate=codec.clock_rate if codec else 0,
                channels=codec.channels if codec else 0,
            )
        )
    return found


_ICE = ("local_candidate", "candidate_pair")


async def _codec(track: rtc.Track) -> Any:
    stats = list(await track.get_stats())
    used = {s.inbound_rtp.stream.codec_id for s in stats if s.WhichOneof("stats") == "inbound_rtp"}
    codecs = [s.codec for s in stats if s.WhichOneof("stats") == "codec"]
    return next((codec.codec for codec in codecs if codec.rtc.id in used), None)


def _name(message: Any, field: str) -> str:
    """Return the name of an enumeration's value."""
    kind = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(kind.values_by_number[getattr(message, field)].name)
