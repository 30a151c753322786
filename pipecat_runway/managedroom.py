"""A room of Runway's, and what passes in it: the user's voice in, the avatar's out, and data.

Sources: CORE (client.ts, utils), NRPC (handler.ts), MEET; docs/protocol.md.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from livekit import rtc
from loguru import logger

from pipecat_runway import wire
from pipecat_runway.api import Credentials
from pipecat_runway.errors import RoomError, RoomUnreachableError, ToolError
from pipecat_runway.joining import Connection, Membership, connection, reason_name, room_errors
from pipecat_runway.sizes import PictureSize
from pipecat_runway.tracks import TrackListener, Tracks
from pipecat_runway.transcripts import ClientEvent, Role, Said, Segment, read

CAMERA_SIZE = (640, 360)  # MEET: what the avatar is shown
MICROPHONE_QUEUE_MS = 400  # of the user's voice that may wait; it comes in real time
VOICE_WAITING = 100  # pieces of the user's voice between the pipeline and LiveKit
UNREACHABLE_ADVICE = (
    "Check that this machine may reach Runway's rooms: outgoing wss, and UDP or TURN for media."
)


class ManagedListener(TrackListener, Protocol):
    """Who is told what happens in the room. Called on the event loop; must not block."""

    def avatar_joined(self, identity: str) -> None:
        """The avatar has entered the room."""

    def avatar_reachable(self, identity: str) -> None:
        """Data sent to the avatar arrives from now on."""

    def avatar_left(self, identity: str, reason: str) -> None:
        """The avatar has left the room."""

    def told(self, what: Said | ClientEvent) -> None:
        """The avatar has sent a piece of a transcript, or an event."""

    def user_speaks(self, speaks: bool) -> None:
        """LiveKit hears the user begin, or end."""


class ManagedRoom:
    """A room of Runway's that we are in as the user.

    Args:
        credentials: From `consume`.
        session_id: The session; names the room in logs.
        sample_rate: Rate in Hz at which the avatar's sound is wanted.
        microphone_rate: Rate in Hz of the user's voice, mono; another form costs a pause.
        has_camera: Whether pictures of the user are going to be sent.
        picture_size: What is to become of the avatar's picture.
        listener: Who is told what happens.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        session_id: str,
        sample_rate: int,
        microphone_rate: int,
        has_camera: bool,
        picture_size: PictureSize,
        listener: ManagedListener,
    ) -> None:
        self._credentials, self._session_id = credentials, session_id
        self._listener = listener
        self._room = rtc.Room()
        self._membership = Membership(self._room)
        self._tracks = Tracks(
            self._room,
            sample_rate=sample_rate,
            picture_size=picture_size,
            wanted=lambda _: True,  # CORE: whoever else is in here is the avatar
            listener=listener,
            name=session_id,
        )
        self._camera = rtc.VideoSource(*CAMERA_SIZE) if has_camera else None
        self._microphone_rate = microphone_rate
        self._microphone: rtc.AudioSource | None = None
        self._voice: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue(VOICE_WAITING)
        self._speaking: asyncio.Task[None] | None = None
        self._closing = False
        self._user_speaks = False
        self._room.on("participant_connected", self._on_participant)
        self._room.on("participant_active", self._on_active)
        self._room.on("participant_disconnected", self._on_participant_left)
        self._reading: set[asyncio.Task[None]] = set()  # text streams
        self._room.on("data_received", self._on_data)
        self._room.register_text_stream_handler(wire.TRANSCRIPTION_TOPIC, self._on_text_stream)
        self._room.on("transcription_received", self._on_transcription)
        self._room.on("active_speakers_changed", self._on_speakers)
        self._room.on("disconnected", self._on_disconnected)

    @property
    def connection(self) -> Connection:
        """Whether we are in the room."""
        return connection(self._room)

    async def connect(self) -> None:
        """Join the room.

        Raises:
            RoomUnreachableError: No connection came about.
        """
        await _join(self._membership, self._credentials, self._session_id)
        await self._open_microphone(self._microphone_rate, 1)
        self._speaking = asyncio.create_task(self._send_voice())
        self._speaking.add_done_callback(self._on_voice_done)
        if self._camera is not None:
            track = rtc.LocalVideoTrack.create_video_track("camera", self._camera)
            await self._publish(track, rtc.TrackSource.SOURCE_CAMERA)
        for participant in self._room.remote_participants.values():
            self._on_participant(participant)

    async def close(self) -> None:
        """Leave the room. Safe in any state, and more than once."""
        self._closing = True
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.wait({self._speaking})
        for reading in self._reading:
            reading.cancel()
        await asyncio.gather(*self._reading, return_exceptions=True)
        await self._tracks.aclose()
        await self._membership.leave()
        for source in (self._microphone, self._camera):
            if source is not None:
                await source.aclose()
        self._microphone = self._camera = None

    # -- to the avatar ------------------------------------------------------------------------

    def speak(self, pcm: bytes, sample_rate: int, num_channels: int) -> None:
        """Send a piece of the user's voice, s16le; what would come too late is left out."""
        if self._closing or self._microphone is None:
            return
        frame = rtc.AudioFrame(
            pcm, sample_rate, num_channels, len(pcm) // (wire.SAMPLE_WIDTH * num_channels)
        )
        if self._voice.full():
            self._voice.get_nowait()
        self._voice.put_nowait(frame)

    def show(self, rgb: bytes, size: tuple[int, int]) -> None:
        """Send a picture of the user, tight RGB24."""
        if self._camera is not None and self.connection is Connection.HERE:
            frame = rtc.VideoFrame(*size, rtc.VideoBufferType.RGB24, rgb)
            self._camera.capture_frame(frame.convert(rtc.VideoBufferType.I420))

    async def end_call(self) -> None:
        """Tell the avatar that the call is over; the session then ends as COMPLETED.

        Raises:
            RoomError: If it cannot be told.
        """
        if self.connection is not Connection.HERE:
            raise RoomError("the avatar is not in the room")
        async with room_errors("end the call"):
            await self._room.local_participant.publish_data(wire.END_CALL, reliable=True)

    async def _send_voice(self) -> None:
        source = self._microphone
        assert source is not None
        while True:
            frame = await self._voice.get()
            rate, channels = frame.sample_rate, frame.num_channels
            if (source.sample_rate, source.num_channels) != (rate, channels):
                source = await self._open_microphone(rate, channels)
            await source.capture_frame(frame)

    async def _open_microphone(self, rate: int, channels: int) -> rtc.AudioSource:
        """Publish a microphone of this form, in place of one of another."""
        if self._microphone is not None:
            for publication in list(self._room.local_participant.track_publications.values()):
                if publication.kind == rtc.TrackKind.KIND_AUDIO:
                    await self._room.local_participant.unpublish_track(publication.sid)
            await self._microphone.aclose()
        self._microphone = rtc.AudioSource(rate, channels, MICROPHONE_QUEUE_MS)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._microphone)
        await self._publish(track, rtc.TrackSource.SOURCE_MICROPHONE)
        return self._microphone

    async def _publish(self, track: rtc.LocalTrack, source: rtc.TrackSource.ValueType) -> None:
        async with room_errors("publish the user's track"):
            await self._room.local_participant.publish_track(
                track, rtc.TrackPublishOptions(source=source)
            )

    def _on_voice_done(self, task: asyncio.Task[None]) -> None:
        """Tell that the user is not heard any more, instead of going mute."""
        if not task.cancelled() and (e := task.exception()) is not None and not self._closing:
            logger.opt(exception=e).debug(f"{self._session_id}: the user's voice cannot be sent")
            self._listener.room_lost(f"the user's voice cannot be sent, {type(e).__name__}")

    # -- from the avatar ----------------------------------------------------------------------

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        self._listener.avatar_joined(participant.identity)
        if participant.state == rtc.ParticipantState.PARTICIPANT_STATE_ACTIVE:
            self._on_active(participant)
        self._tracks.take(participant)

    def _on_active(self, participant: rtc.RemoteParticipant) -> None:
        self._listener.avatar_reachable(participant.identity)

    def _on_participant_left(self, participant: rtc.RemoteParticipant) -> None:
        if not self._room.remote_participants:
            reason = reason_name(participant.disconnect_reason)
            self._listener.avatar_left(participant.identity, reason)

    def _on_data(self, packet: rtc.DataPacket) -> None:
        for what in read(packet.data, self._room.local_participant.identity):
            self._listener.told(what)

    def _on_transcription(
        self,
        segments: list[rtc.TranscriptionSegment],
        participant: rtc.Participant | None,
        _: rtc.TrackPublication | None,
    ) -> None:
        own = self._room.local_participant.identity
        is_own = participant is not None and participant.identity == own
        for segment in segments:
            role = Role.USER if is_own else Role.ASSISTANT
            self._listener.told(Segment(role, segment.id, segment.text, segment.final))

    def _on_text_stream(self, reader: rtc.TextStreamReader, identity: str) -> None:
        task = asyncio.create_task(self._read_text_stream(reader, identity))
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read_text_stream(self, reader: rtc.TextStreamReader, identity: str) -> None:
        """Read LiveKit's newer form of a transcription: a stream for each segment."""
        text = await reader.read_all()
        local, said_of = self._room.local_participant, dict(reader.info.attributes or {})
        is_own = identity == local.identity or (
            said_of.get(wire.TRANSCRIBED_TRACK) in local.track_publications
        )
        name = said_of.get(wire.TRANSCRIPTION_SEGMENT) or reader.info.stream_id
        self._listener.told(Segment(Role.USER if is_own else Role.ASSISTANT, name, text, True))

    def _on_speakers(self, speakers: list[rtc.Participant]) -> None:
        own = self._room.local_participant.identity
        speaks = any(speaker.identity == own for speaker in speakers)
        if speaks is not self._user_speaks:
            self._user_speaks = speaks
            self._listener.user_speaks(speaks)

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self._closing:
            self._listener.room_lost(reason_name(reason))


Answer = Callable[[str, str, float], Awaitable[str]]
"""Answers a call: method, payload and the time there is, in s; raises ToolError."""


class BackendRoom:
    """A room of Runway's that we are in as the hidden participant its avatar calls.

    Its handlers are its own: several may be in one process.

    Args:
        credentials: From `connect_backend`.
        session_id: The session; names the room in logs.
        methods: The calls that are answered, and how long the avatar waits for each, in s.
        answer: Answers one.
        lost: Told when the connection has ended, and not by us.
        seen: Told whether a user is in the room, as soon as we are and whenever somebody comes or
            goes.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        session_id: str,
        methods: Mapping[str, float],
        answer: Answer,
        lost: Callable[[str], None],
        seen: Callable[[bool], None],
    ) -> None:
        self._credentials, self._session_id = credentials, session_id
        self._methods, self._answer = methods, answer
        self._lost, self._seen = lost, seen
        self._room = rtc.Room()
        self._membership = Membership(self._room)
        self._closing = False
        self._room.on("disconnected", self._on_disconnected)
        self._room.on("participant_connected", self._look)
        self._room.on("participant_disconnected", self._look)

    async def connect(self) -> None:
        """Join the room, and answer from now on.

        Raises:
            RoomUnreachableError: No connection came about.
        """
        await _join(self._membership, self._credentials, self._session_id)
        _be_patient(self._room.local_participant, self._methods)
        for method in self._methods:
            self._membership.answer(method, self._on_call)
        self._look()

    async def close(self) -> None:
        """Leave the room. Safe in any state, and more than once."""
        self._closing = True
        await self._membership.leave()

    async def _on_call(self, call: rtc.RpcInvocationData) -> str:
        if not call.caller_identity.startswith(wire.WORKER_PREFIX):
            logger.warning(f"{self._session_id}: somebody who is no avatar has called a tool")
            raise rtc.RpcError(
                rtc.RpcError.ErrorCode.APPLICATION_ERROR, "only the avatar may call this"
            )
        try:
            return await self._answer(call.method, call.payload, call.response_timeout)
        except ToolError as e:
            raise rtc.RpcError(rtc.RpcError.ErrorCode.APPLICATION_ERROR, str(e)) from e

    def _look(self, _: object = None) -> None:
        if not self._closing:
            others = self._room.remote_participants  # hidden ones are not among them
            self._seen(any(not name.startswith(wire.WORKER_PREFIX) for name in others))

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self._closing:
            self._lost(reason_name(reason))


def _be_patient(local: rtc.LocalParticipant, timeouts: Mapping[str, float]) -> None:
    """Keep LiveKit's library from giving a call up long before its caller does.

    A caller takes 7 s for the round trip off what it tells us (client-sdk-rust, rpc: at least 1 s
    is left), waits all the time it was asked to, and the library here stops a handler when what we
    were told has passed. Of the 4 s that Runway's model waits, 1 s would be left.
    """
    handle = local._handle_rpc_method_invocation

    async def patient(
        invocation_id: int,
        method: str,
        request_id: str,
        caller_identity: str,
        payload: str,
        response_timeout: float,
    ) -> None:
        longer = max(response_timeout, timeouts.get(method, 0.0))
        await handle(invocation_id, method, request_id, caller_identity, payload, longer)

    local._handle_rpc_method_invocation = patient  # type: ignore[method-assign]


async def _join(membership: Membership, credentials: Credentials, session_id: str) -> None:
    try:
        await membership.join(credentials.url, credentials.token)
    except RoomUnreachableError as e:
        raise RoomUnreachableError(
            "Runway's room cannot be joined", session_id=session_id, advice=UNREACHABLE_ADVICE
        ) from e
