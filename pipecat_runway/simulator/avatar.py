"""An avatar in a room of the customer's: LiveKit's avatar protocol."""

import asyncio
import base64
import json
import time
from typing import Any

from livekit import rtc

from pipecat_runway.simulator.babble import babble
from pipecat_runway.simulator.faults import Babble, ClearAnswer, Faults, Voice
from pipecat_runway.simulator.hearing import PieceDropper, SpeechFormatError, SpeechReader
from pipecat_runway.simulator.performer import END_CALL, Performer
from pipecat_runway.simulator.playout import RATE, Samples, Speech
from pipecat_runway.simulator.speaker import LEAD
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

RPC_TIMEOUT = 5.0
TRAILER_WAIT = 0.2  # what an open stream is given to end once the next one has begun
PACES = {Voice.FASTER: 1.25, Voice.SLOWER: 0.8}
AGENT_GRACE = 1.0  # in which an agent that dropped out may come back


class Avatar(Performer):
    """An avatar that says what the customer's agent sends it, in a room of the customer's."""

    def __init__(self, order: Join, *args: Any, **options: Any) -> None:
        super().__init__(order, *args, **options)
        self._any_agent = order.agent_identity is None or not order.faults.sender_required
        self._agent = None if self._any_agent else order.agent_identity
        self._drop = PieceDropper(self._faults.drop_piece)
        self._open: tuple[Speech, rtc.ByteStreamReader] | None = None
        self._agent_here = False
        self._agent_gone: asyncio.TimerHandle | None = None
        self._calls = 0

    async def leave(self) -> None:
        """Leave the room and let go of everything."""
        if self._agent_gone is not None:
            self._agent_gone.cancel()
        await super().leave()

    def turn(self, faults: Faults) -> None:
        """Behave otherwise from now on."""
        super().turn(faults)
        self._drop.every = faults.drop_piece

    def babble(self, kind: Babble) -> None:
        """Send the bot what no avatar should."""
        if self._agent is not None:
            self._spawn(babble(self._room.local_participant, self._agent, kind))

    def _listen_to(self, room: rtc.Room) -> None:
        room.on("participant_connected", self._on_participant)
        room.on("participant_disconnected", self._on_participant_gone)
        room.on("participant_attributes_changed", lambda _, who: self._on_participant(who))
        room.on("track_published", self._on_track)
        room.on("data_received", self._on_data)
        room.register_byte_stream_handler(AUDIO_TOPIC, self._on_stream)

    def _entered(self, room: rtc.Room) -> None:
        if self._faults.clear is not ClearAnswer.UNSUPPORTED:
            room.local_participant.register_rpc_method(CLEAR_BUFFER, self._on_clear)
        for participant in list(room.remote_participants.values()):
            self._on_participant(participant)
            for publication in participant.track_publications.values():
                self._on_track(publication, participant)

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
