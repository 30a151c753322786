"""Both sides' words as messages to the user, in every form that Runway's own clients read.

The forms are those of avatars-sdk-react 0.17.0 (`utils/parseTranscription.ts`,
`useTranscription.ts`), and LiveKit's text streams, which its own agents send.
"""

import json
from collections.abc import Callable
from typing import Any

from livekit import rtc

from pipecat_runway.simulator.faults import Captions

# livekit-agents 1.8.9, types.py and voice/room_io/_output.py
TRANSCRIPTION_TOPIC = "lk.transcription"
FINAL, SEGMENT, TRACK = "lk.transcription_final", "lk.segment_id", "lk.transcribed_track_id"


class Captioner:
    """Sends what is said, word by word, and what of it was final.

    Args:
        me: The participant that sends.
        forms: What the captions are sent as.
        topic: Of the data packets.
        track_of: The id of the track on which a role is heard.
    """

    def __init__(
        self,
        me: rtc.LocalParticipant,
        forms: Captions,
        topic: str,
        track_of: Callable[[str], str],
    ) -> None:
        self._me = me
        self._forms = forms
        self._topic = topic
        self._track_of = track_of
        self._texts: dict[tuple[str, int], str] = {}
        self._streams: dict[tuple[str, int], rtc.TextStreamWriter] = {}

    async def say(self, role: str, turn: int, text: str, identity: str) -> None:
        """Some more words of a turn.

        Args:
            role: ``user`` or ``assistant``.
            turn: Its number, of those of that role.
            text: The words, with the space before them.
            identity: Of who speaks.
        """
        self._texts[role, turn] = self._texts.get((role, turn), "") + text
        if self._forms in (Captions.DELTAS, Captions.TWICE):
            await self.send({"type": "transcription", "role": role, "turn": turn, "text": text})
        await self._whole(role, turn, identity, final=False)
        if self._forms is Captions.STREAMS and role == "assistant":
            if (role, turn) not in self._streams:
                self._streams[role, turn] = await self._open(role, turn, identity, final=False)
            await self._streams[role, turn].write(text)

    async def finish(self, role: str, turn: int, identity: str) -> None:
        """No more words will come of a turn."""
        await self._whole(role, turn, identity, final=True)
        if writer := self._streams.pop((role, turn), None):
            await writer.aclose(attributes={FINAL: "true"})
        self._texts.pop((role, turn), None)

    async def send(self, message: dict[str, Any]) -> None:
        """Send any message to everybody."""
        await self._me.publish_data(json.dumps(message), reliable=True, topic=self._topic)

    async def _whole(self, role: str, turn: int, identity: str, *, final: bool) -> None:
        """What there is of a turn so far, for the forms that repeat it."""
        text = self._texts.get((role, turn), "")
        name = f"{role}-{turn}"
        segment = {"id": name, "text": text, "final": final, "participantIdentity": identity}
        match self._forms:
            # What LiveKit's agents do: the agent's words are added to one stream, each state of
            # the user's is a stream of its own.
            case Captions.STREAMS if role == "user":
                writer = await self._open(role, turn, identity, final=final)
                await writer.write(text)
                await writer.aclose()
            case Captions.SEGMENTS:
                await self.send({"type": "transcription", "segments": [segment]})
            case Captions.TRANSCRIPT if final:  # where `final` is left out it is true
                await self.send({"type": "transcript", "segments": [{"id": name, "text": text}]})
            case Captions.NESTED:
                await self.send({"type": "voice_transcript", "data": {"segments": [segment]}})
            case Captions.UNTYPED:
                await self.send({"segments": [segment]})
            # Without a track's id the event would crash the receiver (livekit 1.1.21).
            case Captions.EVENTS | Captions.TWICE if track := self._track_of(role):
                parts = [rtc.TranscriptionSegment(name, text, 0, 0, "", final)]
                await self._me.publish_transcription(rtc.Transcription(identity, track, parts))

    async def _open(
        self, role: str, turn: int, identity: str, *, final: bool
    ) -> rtc.TextStreamWriter:
        return await self._me.stream_text(
            topic=TRANSCRIPTION_TOPIC,
            sender_identity=identity,
            attributes={
                FINAL: "true" if final else "false",
                SEGMENT: f"{role}-{turn}",
                TRACK: self._track_of(role),
            },
        )
