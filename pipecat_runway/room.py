"""One LiveKit room, and the avatar wire protocol in it; the only module that talks to LiveKit.

The protocol is the one of LiveKit's avatar plugins: speech goes out as byte streams, the avatar
answers with a camera and a microphone track and calls back by RPC. Sources: docs/protocol.md.
"""

import asyncio
import datetime
import uuid
from collections import Counter
from typing import Any, Protocol

import aiohttp
from livekit import api, rtc
from loguru import logger

from pipecat_runway import registry, roomfacts, wire
from pipecat_runway.errors import (
    ConfigError,
    RoomCredentialsError,
    RoomError,
    RoomUnreachableError,
)
from pipecat_runway.guard import Guard
from pipecat_runway.joining import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    Connection,
    Membership,
    bounded,
    connection,
    reason_name,
    room_errors,
)
from pipecat_runway.ownership import Record, room_metadata
from pipecat_runway.reception import Attention, Watched
from pipecat_runway.sizes import AS_PUBLISHED, PictureSize
from pipecat_runway.tracks import TrackListener, Tracks

# s. A room of agents alone counts as empty: LiveKit 1.13 closes it this long after its creation,
# however busy it is, and 300 s is its default. We delete the room ourselves.
EMPTY_TIMEOUT = 24 * 3600
CUT_OFF = 0.5  # s a request that was cancelled may still open the room
CLAIM_BOUND = 2.0  # s for a session's id to get into the room's metadata
CLEAR_ROUND_TRIP = 0.5  # s; the SDK's default would fail after 7


class Listener(TrackListener, Protocol):
    """Who is told what happens in the room. Called on the event loop; must not block."""

    def avatar_joined(self, identity: str) -> None:
        """The avatar has entered the room."""

    def avatar_reachable(self, identity: str) -> None:
        """Data sent to the avatar arrives from now on; what is sent earlier may be lost."""

    def avatar_left(self, identity: str, reason: str) -> None:
        """The avatar has left the room."""

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:
        """The avatar reports that it has played everything, or was interrupted."""


class SpeechStream:
    """One utterance on its way to the avatar."""

    def __init__(self, writer: rtc.ByteStreamWriter) -> None:
        self._writer = writer

    async def write(self, pcm: bytes) -> None:
        """Send 16 kHz mono s16le samples.

        Raises:
            RoomError: If the stream is broken.
        """
        async with room_errors("send speech"):
            await self._writer.write(pcm)

    async def close(self) -> None:
        """End the utterance.

        Raises:
            RoomError: If the stream is broken.
        """
        async with room_errors("end speech"):
            await self._writer.aclose()


class AvatarRoom:
    """A LiveKit room of our own, for one bot and its avatar.

    Args:
        url: The LiveKit server.
        api_key: Its API key.
        api_secret: Its API secret.
        sample_rate: Rate in Hz at which the avatar's sound is wanted.
        listener: Who is told what happens.
        picture_size: What is to become of the avatar's picture.

    Attributes:
        name: The room's name.
        identity: Our own identity in it.
        calls: How often each of our RPC methods was called.
        guard: Ends it, and the sessions added to it, if the event loop is taken down.
    """

    def __init__(
        self,
        *,
        url: str,
        api_key: str,
        api_secret: str,
        sample_rate: int,
        listener: Listener,
        picture_size: PictureSize = AS_PUBLISHED,
    ) -> None:
        self.name = wire.ROOM_PREFIX + uuid.uuid4().hex
        self.identity = wire.AGENT_IDENTITY
        self.calls: Counter[str] = Counter()
        self.guard = Guard(self.close)
        self._url, self._api_key, self._api_secret = url, api_key, api_secret
        self._listener = listener
        self._api: api.LiveKitAPI | None = None
        self._room = rtc.Room()
        self._reserving: asyncio.Task[Any] | None = None
        self._membership = Membership(self._room)
        self._invited: set[str] = set()  # identities; what anybody else does in here is ignored
        self._records: dict[str, Record] = {}  # of its sessions, by identity
        self._closing = False
        self._tracks = Tracks(
            self._room,
            sample_rate=sample_rate,
            picture_size=picture_size,
            wanted=lambda identity: identity in self._invited,
            listener=listener,
            name=self.name,
        )
        self._room.on("participant_connected", self._on_participant)
        self._room.on("participant_active", self._on_active)
        self._room.on("participant_disconnected", self._on_participant_left)
        self._room.on("disconnected", self._on_disconnected)

    @property
    def connection(self) -> Connection:
        """Whether we are in the room."""
        return connection(self._room)

    # -- opening and closing ------------------------------------------------------------------

    async def reserve(self) -> None:
        """Create the room on the server, which proves address, key and secret at no cost.

        Raises:
            RoomCredentialsError: The server refuses the key or secret.
            RoomUnreachableError: There is no such server.
        """
        await self.guard.begin()
        self._api = api.LiveKitAPI(
            self._url,
            self._api_key,
            self._api_secret,
            timeout=aiohttp.ClientTimeout(total=CONNECT_TIMEOUT),
        )
        request = api.CreateRoomRequest(
            name=self.name,
            empty_timeout=EMPTY_TIMEOUT,
            metadata=room_metadata(registry.here(), ()),
        )
        self._reserving = asyncio.create_task(self._api.room.create_room(request))
        try:
            # Shielded: a request given up half-way can still open the room. close() waits for it.
            await asyncio.shield(self._reserving)
        except api.TwirpError as e:
            if e.status in (401, 403):
                raise RoomCredentialsError(
                    "the LiveKit server refuses the API key or secret"
                ) from e
            code = wire.named(e.code) or "an error"
            raise RoomUnreachableError(f"the LiveKit server answered {code}") from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise RoomUnreachableError(
                f"the LiveKit server cannot be reached ({type(e).__name__})"
            ) from e
        except Exception as e:  # whatever LiveKit's client makes of an answer it cannot read
            raise RoomUnreachableError(
                f"what answers there is no LiveKit server ({type(e).__name__})"
            ) from e

    async def connect(self) -> None:
        """Join the room.

        Raises:
            RoomUnreachableError: No connection came about.
        """
        token = self._token(self.identity, ttl=datetime.timedelta(minutes=10))
        await self._membership.join(self._url, token)
        self._membership.answer(wire.RPC_PLAYBACK_STARTED, self._on_playback_started)
        self._membership.answer(wire.RPC_PLAYBACK_FINISHED, self._on_playback_finished)
        for participant in self._room.remote_participants.values():
            self._on_participant(participant)

    async def close(self) -> None:
        """Leave the room and delete it. Safe in any state, and more than once."""
        self._closing = True
        await self._tracks.aclose()
        if self._reserving is not None:
            await asyncio.wait({self._reserving}, timeout=CLOSE_TIMEOUT)
        cut_off = self._reserving is not None and self._reserving.cancelled()
        self._reserving = None
        await self._membership.leave()
        if (livekit := self._api) is not None:
            for pause in (0.0, CUT_OFF) if cut_off else (0.0,):
                await asyncio.sleep(pause)
                await bounded(
                    "delete the room",
                    livekit.room.delete_room(api.DeleteRoomRequest(room=self.name)),
                )
            self._api = None
            await livekit.aclose()
        self.guard.dismiss()

    # -- whose it is --------------------------------------------------------------------------

    async def claim(self, record: Record) -> None:
        """Write a session into the room's metadata, for whoever finds it without an owner."""
        self._records[record.identity] = record
        if self._api is None or self._closing:
            return
        metadata = room_metadata(record.owner, self._records.values())
        request = api.UpdateRoomMetadataRequest(room=self.name, metadata=metadata)
        try:
            await asyncio.wait_for(self._api.room.update_room_metadata(request), CLAIM_BOUND)
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as e:
            logger.debug(f"{self.name}: its metadata was not updated ({type(e).__name__})")

    def disclaim(self, identity: str) -> None:
        """Leave a session out of the metadata, from its next update on."""
        self._records.pop(identity, None)

    # -- tokens -------------------------------------------------------------------------------

    def avatar_token(self, identity: str, ttl: datetime.timedelta) -> str:
        """Mint the token Runway's worker joins with (LKP: kind, grants and attribute).

        From now on whoever joins under this identity is believed to be an avatar.

        Args:
            identity: The avatar's identity.
            ttl: How long the worker may take to join.

        Returns:
            A JWT for this room only, of at most 2048 characters.

        Raises:
            ConfigError: If it is longer than Runway takes.
        """
        token = self._token(identity, ttl, {wire.PUBLISH_ON_BEHALF: self.identity})
        if len(token) > wire.MAX_TOKEN_LENGTH:
            raise ConfigError(
                f"the room token has {len(token)} characters, Runway takes {wire.MAX_TOKEN_LENGTH}",
                advice="Use a shorter LiveKit API key.",
            )
        self._invited.add(identity)
        return token

    def _token(
        self, identity: str, ttl: datetime.timedelta, attributes: dict[str, str] | None = None
    ) -> str:
        token = (
            api.AccessToken(self._api_key, self._api_secret)
            .with_identity(identity)
            .with_name(identity)
            .with_kind(wire.PARTICIPANT_KIND)
            .with_ttl(ttl)
            .with_grants(api.VideoGrants(room_join=True, room=self.name))
        )
        return token.with_attributes(attributes).to_jwt() if attributes else token.to_jwt()

    # -- to the avatar ------------------------------------------------------------------------

    async def open_speech(self, identity: str) -> SpeechStream:
        """Begin an utterance.

        Raises:
            RoomError: If it cannot be sent.
        """
        async with room_errors("begin speech"):
            writer = await self._room.local_participant.stream_bytes(
                wire.AUDIO_STREAM_NAME + uuid.uuid4().hex[:12],
                topic=wire.AUDIO_STREAM_TOPIC,
                destination_identities=[identity],
                attributes=wire.speech_attributes(),
            )
        return SpeechStream(writer)

    async def clear_buffer(self, identity: str, timeout: float) -> bool:
        """Ask the avatar to drop all speech it holds.

        Args:
            identity: The avatar's identity.
            timeout: How long to wait for its answer, in s.

        Returns:
            Whether it confirmed.
        """
        call = self._room.local_participant.perform_rpc(
            destination_identity=identity,
            method=wire.RPC_CLEAR_BUFFER,
            payload="",
            response_timeout=timeout,
            max_round_trip_latency=CLEAR_ROUND_TRIP,
        )
        try:
            return await asyncio.wait_for(call, timeout) == wire.RPC_OK
        except (rtc.RpcError, TimeoutError) as e:
            logger.debug(f"{self.name}: lk.clear_buffer was not confirmed ({type(e).__name__})")
            return False

    async def end_call(self, identity: str) -> None:
        """Tell the avatar that the call is over; the session then ends as COMPLETED.

        Raises:
            RoomError: If it cannot be told.
        """
        if identity not in self._room.remote_participants:
            raise RoomError("the avatar is not in the room")
        async with room_errors("end the call"):
            await self._room.local_participant.publish_data(
                wire.END_CALL, reliable=True, destination_identities=[identity]
            )

    def attend(self, identity: str, attention: Attention) -> None:
        """Listen to an avatar, and show it, in this way from now on."""
        self._tracks.attend(identity, attention)

    # -- what can be said of it ---------------------------------------------------------------

    async def media_path(self) -> str | None:
        """Return how media gets through, such as ``"udp, host"``; None if nothing tells yet."""
        return await roomfacts.media_path(self._room)

    def watched(self, identity: str) -> Watched:
        """Return what has been seen of an avatar so far."""
        return self._tracks.watched(identity)

    async def tracks(self, identity: str) -> list[roomfacts.TrackFacts]:
        """Return what is known of the tracks somebody has published."""
        return await roomfacts.tracks(self._room, identity)

    # -- from the avatar ----------------------------------------------------------------------

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity not in self._invited:
            # Such as an agent that LiveKit sends into every room of a project.
            logger.debug(f"{self.name}: somebody else has joined")
            return
        self._listener.avatar_joined(participant.identity)
        if participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE:
            self._on_active(participant)
        self._tracks.take(participant)

    def _on_active(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity in self._invited:
            self._listener.avatar_reachable(participant.identity)

    def _on_participant_left(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity in self._invited:
            self._listener.avatar_left(
                participant.identity, reason_name(participant.disconnect_reason)
            )

    def _is_called(self, call: rtc.RpcInvocationData, method: str) -> bool:
        """Whether somebody who was invited calls; strangers count for nothing."""
        if call.caller_identity not in self._invited:
            return False
        self.calls[method] += 1
        return True

    def _on_playback_started(self, call: rtc.RpcInvocationData) -> str:
        # The sound itself tells when.
        return wire.RPC_OK if self._is_called(call, wire.RPC_PLAYBACK_STARTED) else wire.RPC_REJECT

    def _on_playback_finished(self, call: rtc.RpcInvocationData) -> str:
        if not self._is_called(call, wire.RPC_PLAYBACK_FINISHED):
            return wire.RPC_REJECT
        try:
            report = wire.PlaybackFinished.parse(call.payload)
        except ValueError as e:
            logger.debug(f"{self.name}: {e}")  # no warning: it may come without end
            return wire.RPC_REJECT
        self._listener.playback_finished(call.caller_identity, report)
        return wire.RPC_OK

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self._closing:
            self._listener.room_lost(reason_name(reason))
