"""One avatar in one room: LiveKit's avatar protocol, the voice and the picture."""

import asyncio
import base64
import json
import time
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc

from pipecat_runway.simulator.babble import babble
from pipecat_runway.simulator.face import Face
from pipecat_runway.simulator.faults import Babble, ClearAnswer, Faults, Picture, Voice
from pipecat_runway.simulator.hearing import PieceDropper, SpeechFormatError, SpeechReader
from pipecat_runway.simulator.playout import RATE, Cues, Line, Samples, Speech
from pipecat_runway.simulator.speaker import LEAD, QUEUE_MS, Speaker
from pipecat_runway.simulator.worker_messages import Join

# livekit-agents 1.8.9, voice/avatar/_datastream_io.py
AUDIO_TOPIC = "lk.audio_stream"
CLEAR_BUFFER = "lk.clear_buffer"
PLAYBACK_STARTED = "lk.playback_started"
PLAYBACK_FINISHED = "lk.playback_finished"
RPC_TRIES, RPC_PAUSE = 3, 0.1
IDLE_STREAM = 10.0  # a stream that has been silent so long has lost its trailer
# livekit-agents 1.8.9, voice/room_io: marks a participant that speaks for another, an avatar
ON_BEHALF = "lk.publish_on_behalf"
END_CALL = {"type": "END_CALL"}  # livekit-plugins-runway 1.8.9, avatar.py

CONNECT_TIMEOUT = 15.0
PUBLISH_TIMEOUT = 10.0
DISCONNECT_TIMEOUT = 3.0
RPC_TIMEOUT = 5.0
TRAILER_WAIT = 0.2  # what an open stream is given to end once the next one has begun
PACES = {Voice.FASTER: 1.25, Voice.SLOWER: 0.8}
AGENT_GRACE = 1.0  # in which an agent that dropped out may come back

Report = Callable[[str, dict[str, Any]], None]


class Avatar:
    """An avatar's stay in a room, from :meth:`join` to :meth:`leave`.

    Args:
        order: Where to go and how to behave.
        report: Told, as (kind, data), what :class:`WorkerEvent` lists.
        on_end: Called with the reason when something in the room ends the stay.
        cues: What is to happen once it has said so much.
        keep_audio: Whether ``audio`` reports carry the samples.
    """

    def __init__(
        self,
        order: Join,
        report: Report,
        on_end: Callable[[str], None],
        cues: Cues,
        *,
        keep_audio: bool,
    ) -> None:
        self._order = order
        self._faults: Faults = order.faults
        self._report = report
        self._on_end = on_end
        self._keep_audio = keep_audio
        self._any_agent = order.agent_identity is None or not order.faults.sender_required
        self._agent = None if self._any_agent else order.agent_identity
        self._room = rtc.Room()
        self._line = Line()
        self._drop = PieceDropper(self._faults.drop_piece)
        self._open: tuple[Speech, rtc.ByteStreamReader] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._agent_here = False
        self._agent_gone: asyncio.TimerHandle | None = None
        self._leaving = False
        self._calls = 0
        self._audio = (
            rtc.AudioSource(RATE, 1, queue_size_ms=QUEUE_MS) if self._faults.publish_audio else None
        )
        self._video = (
            rtc.VideoSource(self._faults.width, self._faults.height)
            if self._faults.publish_video
            else None
        )
        self._speaker = Speaker(
            self._line,
            self._audio,
            self._faults,
            cues,
            on_started=self._on_started,
            on_finished=self._on_finished,
            on_playing=self._on_playing,
        )

    async def join(self) -> None:
        """Enter the room, publish, and begin to live.

        Raises:
            Exception: The room could not be entered or published to, as LiveKit names it.
        """
        room = self._room
        room.on("participant_connected", self._on_participant)
        room.on("participant_disconnected", self._on_participant_gone)
        room.on("participant_attributes_changed", lambda _, who: self._on_participant(who))
        room.on("track_published", self._on_track)
        room.on("data_received", self._on_data)
        room.on("disconnected", self._on_disconnected)
        room.register_byte_stream_handler(AUDIO_TOPIC, self._on_stream)
        look = (self._order.character, self._faults.width, self._faults.height)
        painting = asyncio.create_task(asyncio.to_thread(Face, *look))
        try:
            options = rtc.RoomOptions(auto_subscribe=False)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await room.connect(self._order.url, self._order.token, options)
            if self._faults.clear is not ClearAnswer.UNSUPPORTED:
                room.local_participant.register_rpc_method(CLEAR_BUFFER, self._on_clear)
            self._report("joined", {"identity": room.local_participant.identity})
            for participant in list(room.remote_participants.values()):
                self._on_participant(participant)
                for publication in participant.track_publications.values():
                    self._on_track(publication, participant)
            face = await painting
            if self._video is not None:
                self._capture(self._video, face, time.monotonic())  # until then LiveKit sends black
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._publish()
            self._spawn(self._speaker.run())
            if self._video is not None:
                self._spawn(self._show(self._video, face))
                self._spawn(asyncio.to_thread(face.prepare))
        finally:
            painting.cancel()
        tracks = {"audio": self._audio is not None, "video": self._video is not None}
        self._report("published", tracks)

    async def leave(self) -> None:
        """Leave the room and let go of everything."""
        self._leaving = True
        if self._agent_gone is not None:
            self._agent_gone.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT):
                await self._room.disconnect()
        except TimeoutError:
            pass  # the server is not there any more
        finally:
            if self._audio is not None:
                await self._audio.aclose()
            if self._video is not None:
                await self._video.aclose()

    def turn(self, faults: Faults) -> None:
        """Behave otherwise from now on."""
        self._faults = self._speaker.faults = faults
        self._drop.every = faults.drop_piece

    def babble(self, kind: Babble) -> None:
        """Send the bot what no avatar should."""
        if self._agent is not None:
            self._spawn(babble(self._room.local_participant, self._agent, kind))

    async def _publish(self) -> None:
        me = self._room.local_participant
        if self._audio is not None:
            track: rtc.LocalTrack = rtc.LocalAudioTrack.create_audio_track(
                "avatar_audio", self._audio
            )
            options = rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False
            )
            options.audio_encoding.max_bitrate = 96_000
            await me.publish_track(track, options)
        if self._video is not None:
            track = rtc.LocalVideoTrack.create_video_track("avatar_video", self._video)
            options = rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA,
                simulcast=self._faults.simulcast,
                video_codec=rtc.VideoCodec.VP8,
            )
            options.video_encoding.max_framerate = self._faults.fps
            pixels = self._faults.width * self._faults.height
            options.video_encoding.max_bitrate = max(300_000, round(3.2 * pixels))
            await me.publish_track(track, options)

    async def _show(self, video: rtc.VideoSource, face: Face) -> None:
        tick = 1.0 / self._faults.fps
        due = time.monotonic()
        last = self._capture(video, face, due)
        while True:
            due = max(due + tick, time.monotonic() - tick)
            await asyncio.sleep(due - time.monotonic())
            match self._faults.picture:
                case Picture.MOVING:
                    last = self._capture(video, face, due)
                case Picture.STILL:
                    video.capture_frame(last)

    def _capture(self, video: rtc.VideoSource, face: Face, at: float) -> rtc.VideoFrame:
        """Send, and return, the face as it is at an instant."""
        heard = self._speaker.heard(at - self._faults.picture_delay, 1.0 / self._faults.fps)
        picture = face.paint(at, heard.level, heard.brightness)
        frame = rtc.VideoFrame(face.width, face.height, rtc.VideoBufferType.I420, picture.data)
        video.capture_frame(frame)
        return frame

    # --- who is there -------------------------------------------------------------------------

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if self._agent_here or not self._trusts(participant.identity):
            return
        self._agent_here = True
        if self._agent_gone is not None:
            self._agent_gone.cancel()
            self._agent_gone = None
        self._report("agent_seen", {"identity": participant.identity})

    def _on_participant_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._agent:
            return
        self._agent_here = False
        self._report("agent_left", {"identity": participant.identity})
        if self._any_agent:
            self._agent = None
        if self._faults.obey_empty_room and not self._leaving:
            loop = asyncio.get_running_loop()
            self._agent_gone = loop.call_later(AGENT_GRACE, self._on_end, "agent_left")

    def _trusts(self, identity: str) -> bool:
        if self._agent is None:
            participant = self._room.remote_participants.get(identity)
            if (
                participant is not None
                and participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
                and ON_BEHALF not in participant.attributes
            ):
                self._agent = identity
        return identity == self._agent

    def _on_track(
        self, publication: rtc.RemoteTrackPublication, participant: rtc.RemoteParticipant
    ) -> None:
        kind = rtc.TrackKind.Name(publication.kind).removeprefix("KIND_").lower()
        source = rtc.TrackSource.Name(publication.source).removeprefix("SOURCE_").lower()
        self._report(
            "foreign_track",
            {"identity": participant.identity, "kind": kind, "source": source},
        )

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.participant is not None:
            trusted = self._trusts(packet.participant.identity)
        else:
            # livekit-server tells of participants without tracks up to 3 s late: who sends a
            # packet without being there yet may be the agent.
            trusted = not self._agent_here
        if not trusted:
            return
        try:
            message = json.loads(packet.data)
        except ValueError:
            return
        if message == END_CALL:
            self._report("end_call", {})
            if self._faults.obey_end_call:
                self._on_end("end_call")

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self._leaving:
            self._report("room_lost", {"reason": rtc.DisconnectReason.Name(reason)})
            self._on_end("room_lost")

    # --- speech in ----------------------------------------------------------------------------

    def _on_stream(self, reader: rtc.ByteStreamReader, sender: str) -> None:
        if not self._trusts(sender):
            reader.close()
            return
        info = reader.info
        opened = {"stream": info.stream_id, "attributes": info.attributes, "sender": sender}
        self._report("stream_opened", opened)
        if self._open is not None:  # one speech at a time: the one before is over
            asyncio.get_running_loop().call_later(TRAILER_WAIT, self._open[1].close)
        speech = self._line.open(info.stream_id)
        self._open = (speech, reader)
        self._spawn(self._hear(reader, speech))

    async def _hear(self, reader: rtc.ByteStreamReader, speech: Speech) -> None:
        loop = asyncio.get_running_loop()
        samples = 0
        ears = None
        idle = loop.call_later(IDLE_STREAM, reader.close)
        try:
            pace = PACES.get(self._faults.voice, 1.0)
            ears = SpeechReader(speech, reader.info.attributes, self._drop, pace)
            async for chunk in reader:
                idle.cancel()
                idle = loop.call_later(IDLE_STREAM, reader.close)
                mono = ears.feed(chunk, self._ready_at())
                samples += len(mono)
                self._report("audio", self._audio_data(speech, mono))
        except (SpeechFormatError, ConnectionError):
            pass  # no speech; or the room was lost in the middle of it, which is told apart
        finally:
            idle.cancel()
            reader.close()
            if ears is not None:
                ears.end(self._ready_at())
            speech.closed = True
            if self._open is not None and self._open[0] is speech:
                self._open = None
        self._report("stream_closed", {"stream": speech.stream, "samples": samples})

    def _ready_at(self) -> float:
        return time.monotonic() + self._faults.render_delay - LEAD

    def _audio_data(self, speech: Speech, mono: Samples) -> dict[str, Any]:
        data: dict[str, Any] = {"stream": speech.stream, "samples": len(mono)}
        if self._keep_audio:
            data["pcm"] = base64.b64encode(mono.tobytes()).decode()
        return data

    async def _on_clear(self, call: rtc.RpcInvocationData) -> str:
        if not self._trusts(call.caller_identity):
            return "reject"
        self._report("clear_buffer", {})
        how = self._faults.clear
        if how is ClearAnswer.IGNORE:
            return "ok"
        keep = self._faults.clear_keep if how is ClearAnswer.KEEP else 0.0
        delay = self._faults.clear_delay if how is ClearAnswer.LATE else 0.0
        position = await self._speaker.clear(keep)
        if position is not None and how is not ClearAnswer.NO_FINISHED:
            for _ in range(2 if how is ClearAnswer.TWICE else 1):
                self._spawn(self._tell_finished(position, interrupted=True, delay=delay))
        if how is ClearAnswer.NO_ANSWER:
            await asyncio.Event().wait()
        await asyncio.sleep(delay)
        return "ok"

    # --- what is told to the agent ------------------------------------------------------------

    def _on_playing(self, speech: Speech, played: int, at: float) -> None:
        sample = round(played * speech.rate / RATE)
        self._report("playing", {"stream": speech.stream, "sample": sample, "at": at})

    def _on_started(self, speech: Speech) -> None:
        if self._faults.playback_started:
            self._report("playback_started", {"stream": speech.stream})
            self._spawn(self._call(PLAYBACK_STARTED, ""))

    def _on_finished(self, speech: Speech) -> None:
        position = (speech.taken + speech.waiting) / RATE
        for _ in range(self._faults.playback_finished_times):
            self._spawn(self._tell_finished(position, interrupted=False))

    async def _tell_finished(
        self, position: float, *, interrupted: bool, delay: float = 0.0
    ) -> None:
        if not self._faults.playback_finished:
            return
        await asyncio.sleep(delay)
        self._report("playback_finished", {"position": position, "interrupted": interrupted})
        payload = {
            "playback_position": position + self._faults.playback_position_error,
            "interrupted": interrupted,
            "synchronized_transcript": None,
        }
        await self._call(PLAYBACK_FINISHED, json.dumps(payload))

    async def _call(self, method: str, payload: str) -> None:
        await asyncio.sleep(self._faults.rpc_delay)
        self._calls += 1
        if (every := self._faults.rpc_lost) and self._calls % every == 0:
            return
        for attempt in range(RPC_TRIES):
            if self._agent is None:
                return
            try:
                await self._room.local_participant.perform_rpc(
                    destination_identity=self._agent,
                    method=method,
                    payload=payload,
                    response_timeout=RPC_TIMEOUT,
                )
                return
            except rtc.RpcError as error:
                if error.code == rtc.RpcError.ErrorCode.UNSUPPORTED_METHOD:
                    return  # the agent does not ask to be told
            if attempt < RPC_TRIES - 1:
                await asyncio.sleep(RPC_PAUSE)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
