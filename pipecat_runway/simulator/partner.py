"""The partner in a managed room: it greets, listens, answers by its script and calls tools."""

import asyncio
import base64
import json
import time
import uuid
from typing import Any

import numpy as np
from livekit import rtc

from pipecat_runway.simulator.babble import babble
from pipecat_runway.simulator.captions import Captioner
from pipecat_runway.simulator.faults import Babble
from pipecat_runway.simulator.performer import END_CALL, Performer
from pipecat_runway.simulator.playout import RATE, Speech
from pipecat_runway.simulator.script import Call, Part, Tool, Turn, filled_in
from pipecat_runway.simulator.turns import RATE as HEARD_RATE
from pipecat_runway.simulator.turns import Spoken, TurnEar
from pipecat_runway.simulator.voice import played, spoken
from pipecat_runway.simulator.worker_messages import Join

USER, ASSISTANT = "user", "assistant"
RPC_TIMEOUT = 4.0  # the OpenAPI's default of `timeoutSeconds`
BACKEND_ERROR = "error: {}"
REPORTED = HEARD_RATE // 5  # samples a report of what is heard tells of
SUBSCRIBED_WITHIN = 3.0  # seconds a user is given to listen before it is spoken to
WORDS_AT_ONCE = 2  # of a caption


class Partner(Performer):
    """Runway's own agent in a room of Runway's, as far as its clients can tell."""

    auto_subscribe = True

    def __init__(self, order: Join, *args: Any, **options: Any) -> None:
        super().__init__(order, *args, **options)
        assert order.part is not None
        self._part: Part = order.part
        self._user: str | None = None
        self._user_track = ""
        self._user_gone: asyncio.TimerHandle | None = None
        self._ears: asyncio.Task[None] | None = None
        self._subscribed = asyncio.Event()
        self._greeted = False
        self._heard_turns = 0
        self._said_turns = 0
        self._speaking: Speech | None = None
        self._begun = asyncio.Event()
        self._over = asyncio.Event()
        self._reply: asyncio.Task[None] | None = None
        self._captions: Captioner | None = None

    async def leave(self) -> None:
        """Leave the room and let go of everything."""
        if self._user_gone is not None:
            self._user_gone.cancel()
        await super().leave()

    def babble(self, kind: Babble) -> None:
        """Send the user what no avatar should."""
        if self._user is not None:
            self._spawn(babble(self._room.local_participant, self._user, kind))

    def _listen_to(self, room: rtc.Room) -> None:
        room.on("participant_connected", self._on_participant)
        room.on("participant_disconnected", self._on_participant_gone)
        room.on("track_subscribed", self._on_track)
        room.on("local_track_subscribed", lambda _: self._subscribed.set())
        room.on("data_received", self._on_data)

    def _entered(self, room: rtc.Room) -> None:
        self._captions = Captioner(
            room.local_participant,
            self._faults.captions,
            self._faults.data_topic,
            lambda role: self._user_track if role == USER else self._own_track,
        )
        for participant in list(room.remote_participants.values()):
            self._on_participant(participant)

    @property
    def _own_track(self) -> str:
        tracks = self._room.local_participant.track_publications.values()
        audio = [track.sid for track in tracks if track.kind == rtc.TrackKind.KIND_AUDIO]
        return audio[0] if audio else ""

    # --- who is there -------------------------------------------------------------------------

    def _on_participant(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity == self._part.backend or self._user is not None:
            return
        self._user = participant.identity
        if self._user_gone is not None:
            self._user_gone.cancel()
            self._user_gone = None
        self._report("user_joined", {"identity": participant.identity})
        if not self._greeted:
            self._greeted = True
            if self._part.greeting is not None:
                self._reply = self._spawn(self._greet(self._part.greeting))

    def _on_participant_gone(self, participant: rtc.RemoteParticipant) -> None:
        if participant.identity != self._user:
            return
        self._user = None
        self._report("user_left", {"identity": participant.identity})
        if self._faults.obey_empty_room and not self._leaving:
            loop = asyncio.get_running_loop()
            self._user_gone = loop.call_later(self._faults.user_grace, self._on_end, "user_left")

    def _on_data(self, packet: rtc.DataPacket) -> None:
        try:
            message = json.loads(packet.data)
        except (ValueError, RecursionError):
            return
        if message == END_CALL:
            self._report("end_call", {})
            if self._faults.obey_end_call:
                self._on_end("end_call")

    # --- what the user says -------------------------------------------------------------------

    def _on_track(
        self,
        track: rtc.RemoteTrack,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        kind = rtc.TrackKind.Name(publication.kind).removeprefix("KIND_").lower()
        source = rtc.TrackSource.Name(publication.source).removeprefix("SOURCE_").lower()
        self._report(
            "foreign_track", {"identity": participant.identity, "kind": kind, "source": source}
        )
        if publication.kind == rtc.TrackKind.KIND_AUDIO:
            if self._ears is not None:
                self._ears.cancel()
            self._user_track = publication.sid
            self._ears = self._spawn(self._hear(track))
        else:
            self._spawn(self._see(track))

    async def _hear(self, track: rtc.RemoteTrack) -> None:
        ear = TurnEar(self._faults.turn_silence)
        kept: list[bytes] = []
        count = 0
        stream = rtc.AudioStream.from_track(track=track, sample_rate=HEARD_RATE, num_channels=1)
        try:
            async for event in stream:
                pcm = bytes(event.frame.data)
                kept.append(pcm)
                count += len(pcm) // 2
                for found in ear.hear(np.frombuffer(pcm, np.int16)):
                    await self._on_spoken(found)
                if count >= REPORTED:
                    self._report_heard(kept, count)
                    kept, count = [], 0
            for found in ear.end():
                await self._on_spoken(found)
        finally:
            self._report_heard(kept, count)
            await stream.aclose()

    def _report_heard(self, kept: list[bytes], count: int) -> None:
        data: dict[str, Any] = {"samples": count}
        if self._keep_audio:
            data["pcm"] = base64.b64encode(b"".join(kept)).decode()
        if count:
            self._report("heard", data)

    async def _see(self, track: rtc.RemoteTrack) -> None:
        stream = rtc.VideoStream(track)
        told, pictures = -1.0, 0
        try:
            async for event in stream:
                pictures += 1
                if time.monotonic() - told >= 1.0:
                    told = time.monotonic()
                    size = {"width": event.frame.width, "height": event.frame.height}
                    self._report("seen", {"pictures": pictures, **size})
        finally:
            await stream.aclose()

    async def _on_spoken(self, found: Spoken) -> None:
        if found.seconds is None:
            self._report("user_speaking", {"turn": self._heard_turns})
            if self._faults.obey_barge_in:
                await self._fall_silent()
            return
        number = self._heard_turns
        self._heard_turns += 1
        turn = self._part.turn(number)
        text = turn.heard
        if text is None:
            text = f"({found.seconds:.1f} s of speech)"
        self._report("turn_heard", {"turn": number, "seconds": found.seconds, "text": text})
        self._reply = self._spawn(self._answer(turn, number, text, after=self._reply))

    async def _fall_silent(self) -> None:
        """Stop what is being said, and what is about to be."""
        if self._reply is None or self._reply.done():
            return
        self._reply.cancel()
        await asyncio.gather(self._reply, return_exceptions=True)

    # --- what the partner says and does -------------------------------------------------------

    async def _greet(self, turn: Turn) -> None:
        try:
            async with asyncio.timeout(SUBSCRIBED_WITHIN):
                await self._subscribed.wait()
        except TimeoutError:
            pass  # nobody listens; it is said all the same
        await asyncio.sleep(self._faults.greet_delay)
        await self._say(turn, turn.text)

    async def _answer(
        self, turn: Turn, number: int, heard: str, after: asyncio.Task[None] | None
    ) -> None:
        if heard:
            for piece in _pieces(heard):
                await self._caption(USER, number, piece)
            await self._finish(USER, number)
        await asyncio.sleep(self._faults.thinking)
        results: dict[str, Any] = {}
        # Tasks of their own: a user who speaks meanwhile cuts the answer, not the work.
        if calls := [self._spawn(self._call(call, results)) for call in turn.calls]:
            await asyncio.wait(calls)
        if after is not None:
            await asyncio.wait([after])
        await self._say(turn, filled_in(turn.text, results))

    async def _say(self, turn: Turn, text: str) -> None:
        """Say something, with captions, until it has been said or this is cancelled."""
        if turn.pcm is not None:
            sound = await asyncio.to_thread(played, turn.pcm, turn.rate)
        else:
            sound = await asyncio.to_thread(spoken, text)
        if not len(sound):
            return
        number = self._said_turns
        self._said_turns += 1
        said = ""
        self._begun.clear()
        self._over.clear()
        speech = self._speaking = self._line.open(f"turn-{number}")
        speech.push(sound, 0.0)
        speech.closed = True
        self._report("saying", {"turn": number, "text": text, "seconds": len(sound) / RATE})
        try:
            await self._begun.wait()
            began = time.monotonic()
            for piece in _pieces(text):
                due = began + len(said) / max(1, len(text)) * len(sound) / RATE
                await asyncio.sleep(due - time.monotonic())
                await self._caption(ASSISTANT, number, piece)
                said += piece
            await self._over.wait()
        finally:
            cut = not self._over.is_set()
            if cut:
                await self._speaker.clear()
            self._speaking = None
            self._report("said", {"turn": number, "text": said, "cut": cut})
            await self._finish(ASSISTANT, number)

    def _on_started(self, speech: Speech) -> None:
        if speech is self._speaking:
            self._begun.set()

    def _on_finished(self, speech: Speech) -> None:
        if speech is self._speaking:
            self._over.set()

    async def _call(self, call: Call, results: dict[str, Any]) -> None:
        """Call a tool; what it answers, or what there is to say of its failing, is a result."""
        tool = self._part.tool(call.name)
        if tool is None or tool["type"] == "client_event":
            await self._send_client_event(call)
        else:
            results[call.name] = await self._call_backend(call, tool)

    async def _send_client_event(self, call: Call) -> None:
        assert self._captions is not None
        self._report("client_event", {"name": call.name, "args": dict(call.args)})
        event = {"type": "client_event", "tool": call.name, "args": dict(call.args)}
        await self._captions.send(event)
        if self._faults.tool_echoes:  # avatars-sdk-react 0.17.0, utils/parseClientEvent.ts
            await self._captions.send({**event, "args": {"status": "event_sent"}})

    async def _call_backend(self, call: Call, tool: Tool) -> Any:
        args = dict(call.args)
        payload = json.dumps({"args": args} if self._faults.wrapped_args else args)
        made = {"call": uuid.uuid4().hex, "name": call.name}
        self._report("backend_call", {**made, "args": args})
        began = time.monotonic()
        outcome: dict[str, Any]
        try:
            answer = await self._room.local_participant.perform_rpc(
                destination_identity=self._part.backend,
                method=call.name,
                payload=payload,
                response_timeout=tool.get("timeoutSeconds", RPC_TIMEOUT),
            )
            outcome = {"result": json.loads(answer)}
        except rtc.RpcError as error:
            outcome = {"error": error.message, "code": error.code}
        except ValueError:
            outcome = {"error": "The tool's answer is not JSON."}
        seconds = time.monotonic() - began
        self._report("backend_result", {**made, "seconds": seconds, **outcome})
        return outcome.get("result", BACKEND_ERROR.format(outcome.get("error")))

    # --- captions -----------------------------------------------------------------------------

    async def _caption(self, role: str, turn: int, text: str) -> None:
        assert self._captions is not None
        await self._captions.say(role, turn, text, self._identity(role))

    async def _finish(self, role: str, turn: int) -> None:
        assert self._captions is not None
        await self._captions.finish(role, turn, self._identity(role))

    def _identity(self, role: str) -> str:
        return (self._user or "") if role == USER else self._room.local_participant.identity


def _pieces(text: str) -> list[str]:
    """A text cut behind every few words; together they are the text."""
    words = text.split(" ")
    cut = [" ".join(words[n : n + WORDS_AT_ONCE]) for n in range(0, len(words), WORDS_AT_ONCE)]
    return [piece if n == 0 else f" {piece}" for n, piece in enumerate(cut)]
