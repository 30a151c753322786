"""Every literal that crosses a wire, each with the place it was read.

Sources: *SDK* is the official ``runwayml`` Python client 5.24.0, *OAS* is Runway's OpenAPI document
(2026-08), *LKA* is ``livekit-agents`` 1.8.9 (``voice/avatar/_datastream_io.py``), *LKP* is
``livekit-plugins-runway`` 1.8.9 (``avatar.py``), *CORE* is ``runwayml/avatars-sdk-react`` 0.17.0,
*MEET* is ``runwayml/runway-characters-meet`` (2026-04), *DOC* is docs.dev.runwayml.com.
"""

import json
import math
import re
from dataclasses import dataclass
from typing import Final

# -- Runway's REST API ------------------------------------------------------------------------

BASE_URL: Final = "https://api.dev.runwayml.com"  # SDK _client.py, OAS servers
CLOUD_DOMAIN: Final = "runwayml.com"  # hosts below it cannot reach a private LiveKit server
VERSION_HEADER: Final = "X-Runway-Version"  # SDK _client.py, OAS components.parameters
MISTAKEN_HOST: Final = "api.runwayml.com"  # DOC errors/troubleshooting: a known cause of 401
MODEL: Final = "gwm1_avatars"  # OAS: the only value of `model`

PRESETS: Final = frozenset(  # OAS: enum of avatar.presetId
    {
        "game-character",
        "music-superstar",
        "game-character-man",
        "cat-character",
        "influencer",
        "tennis-coach",
        "human-resource",
        "fashion-designer",
        "cooking-teacher",
    }
)

KEY_FORM: Final = r"key_[0-9a-f]{128}"  # DOC errors/troubleshooting: an API secret
MIN_DURATION: Final = 10  # s, OAS: maxDuration
MAX_DURATION: Final = 1800  # s, OAS: maxDuration
MAX_PERSONALITY: Final = 10_000  # characters, OAS: personality
MAX_START_SCRIPT: Final = 2000  # characters, OAS: startScript
MAX_TOKEN_LENGTH: Final = 2048  # characters, OAS: integration.token

# OAS: a UUID; read with some slack, and never as anything that could change a path or a log line.
SESSION_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
# Statuses, failure codes and fields of a body, as far as they are repeated in messages.
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:\[\]-]{0,63}")
ENDED_STATUSES: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})  # CORE: terminal statuses
FAILED_STATUS: Final = "FAILED"  # OAS
READY_STATUS: Final = "READY"  # OAS
RUNNING_STATUS: Final = "RUNNING"  # OAS

# MEET README: 600 credits are about 30 minutes; OAS: 0.01 USD each.
CREDITS_A_MINUTE: Final = 20

# -- tools (OAS: tools[] of POST /v1/realtime_sessions) -----------------------------------------

TOOL_CLIENT_EVENT: Final = "client_event"
TOOL_BACKEND_RPC: Final = "backend_rpc"
MAX_TOOLS: Final = 20
MAX_TOOL_PARAMETERS: Final = 20
MAX_TOOL_NAME: Final = 64  # characters, also of a parameter's name
TOOL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}")
MAX_TOOL_DESCRIPTION: Final = 1024  # characters, also of a parameter's
MAX_TOOL_ENUM: Final = 20
MAX_TOOL_ENUM_VALUE: Final = 64  # characters
MIN_TOOL_TIMEOUT: Final = 1.0  # s
MAX_TOOL_TIMEOUT: Final = 8.0  # s
TOOL_TIMEOUT: Final = 4.0  # s, the default

# -- a room of Runway's (NRPC is runwayml/avatars-node-rpc 0.0.1) ---------------------------------

ROOM_URL: Final = re.compile(r"(wss?|https?)://[^\s/]")  # CORE types.ts: LiveKit's address
WORKER_PREFIX: Final = "worker:"  # NRPC src/handler.ts: identities that may call a tool
# livekit-protocol: RPC_MAX_PAYLOAD, of a call and of its answer (client-sdk-rust, rpc.rs).
MAX_RPC_PAYLOAD: Final = 15 * 1024  # bytes of UTF-8
TRANSCRIPTION_TOPIC: Final = "lk.transcription"  # LKA voice/room_io: text streams, one a segment
TRANSCRIPTION_SEGMENT: Final = "lk.segment_id"  # LKA types.py, attribute
TRANSCRIBED_TRACK: Final = "lk.transcribed_track_id"  # LKA types.py, attribute
EVENT_SENT: Final = "event_sent"  # CORE utils/parseClientEvent.ts: args.status of an echo
CONSUME_BODY: Final[
    dict[str, object]
] = {}  # every report of "Incorrect content type" ended with it

# -- ElevenLabs -----------------------------------------------------------------------------------

ELEVENLABS_URL: Final = "https://api.elevenlabs.io"  # CORE api/elevenlabs.ts
ELEVENLABS_SIGNED_URL: Final = "/v1/convai/conversation/get-signed-url"  # CORE api/elevenlabs.ts

# -- characters and what they know ------------------------------------------------------------

UUID: Final = re.compile(  # OAS: the pattern of every id
    "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}"
)
VOICES: Final = frozenset(  # OAS: enum of voice.presetId
    {
        *("adam", "adrian", "aurora", "blake", "clara", "david", "drew", "emma", "felix"),
        *("georgia", "jasper", "leo", "luna", "marcus", "max", "maya", "mia", "morgan"),
        *("nathan", "nina", "petra", "roman", "ruby", "sam", "skye", "summer", "victoria"),
        *("vincent", "violet", "zach"),
    }
)
MAX_AVATAR_NAME: Final = 50  # characters, OAS: name of POST /v1/avatars
MAX_AVATAR_DOCUMENTS: Final = 50  # OAS: documentIds
MAX_PICTURE_URL: Final = 2048  # characters, OAS: referenceImage
MAX_UPLOAD: Final = 200_000_000  # bytes, DOC assets/inputs: 200 MB
PICTURE_TYPES: Final = {  # DOC assets/inputs: the codecs of images, by Pillow's names for them
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
}
MAX_DOCUMENT_NAME: Final = 255  # characters, SDK and API reference: name of POST /v1/documents
MAX_DOCUMENT: Final = 200_000  # characters, as above: content
MAX_PAGE: Final = 100  # entries, OAS: limit of every list

# -- environment variables --------------------------------------------------------------------

ENV_API_SECRET: Final = "RUNWAYML_API_SECRET"  # SDK _client.py
ENV_BASE_URL: Final = "RUNWAYML_BASE_URL"  # SDK _client.py
ENV_LIVEKIT_URL: Final = "LIVEKIT_URL"  # LKP
ENV_LIVEKIT_API_KEY: Final = "LIVEKIT_API_KEY"  # LKP
ENV_LIVEKIT_API_SECRET: Final = "LIVEKIT_API_SECRET"  # LKP

# -- the room ---------------------------------------------------------------------------------

ROOM_PREFIX: Final = "pipecat-runway-"  # ours
AGENT_IDENTITY: Final = "pipecat-runway-agent"  # ours
AVATAR_IDENTITY: Final = "runway-avatar-agent"  # LKP; a suffix makes it unique per session
PUBLISH_ON_BEHALF: Final = "lk.publish_on_behalf"  # LKA voice/room_io, token attribute
PARTICIPANT_KIND: Final = "agent"  # LKP: kind of both tokens

AUDIO_STREAM_TOPIC: Final = "lk.audio_stream"  # LKA
AUDIO_STREAM_NAME: Final = "AUDIO_"  # LKA: prefix of a stream's name
RPC_CLEAR_BUFFER: Final = "lk.clear_buffer"  # LKA, agent to avatar
RPC_PLAYBACK_STARTED: Final = "lk.playback_started"  # LKA, avatar to agent
RPC_PLAYBACK_FINISHED: Final = "lk.playback_finished"  # LKA, avatar to agent
RPC_OK: Final = "ok"  # LKA: answer to an expected caller
RPC_REJECT: Final = "reject"  # LKA: answer to anybody else

SPEECH_RATE: Final = 16_000  # Hz, mono s16le: LKP SAMPLE_RATE
SAMPLE_WIDTH: Final = 2  # bytes of one s16le sample

END_CALL: Final = json.dumps({"type": "END_CALL"}).encode()  # LKP, CORE: data packet, no topic


def speech_attributes() -> dict[str, str]:
    """Return the attributes of a speech stream (LKA: both are strings)."""
    return {"sample_rate": str(SPEECH_RATE), "num_channels": "1"}


def named(value: object) -> str | None:
    """Return a name that somebody else has given, or None if it is none, or too long to repeat."""
    return value if isinstance(value, str) and NAME.fullmatch(value) else None


@dataclass(frozen=True)
class PlaybackFinished:
    """What ``lk.playback_finished`` reports.

    Attributes:
        position: How far the avatar says it has played, in s. It counts idle sound too.
        interrupted: Whether the playback was cut by ``lk.clear_buffer``.
    """

    position: float
    interrupted: bool

    @classmethod
    def parse(cls, payload: str) -> "PlaybackFinished":
        """Read the JSON payload (LKA: PlaybackFinishedEvent as a dictionary).

        Args:
            payload: The RPC's payload.

        Returns:
            The report.

        Raises:
            ValueError: If the payload is not a JSON object with these fields.
        """
        try:
            fields = json.loads(payload)
            report = cls(float(fields["playback_position"]), bool(fields["interrupted"]))
            if math.isfinite(report.position):
                return report
        # What is nested too deep, or too large a number, is as good as malformed.
        except (TypeError, KeyError, ValueError, OverflowError, RecursionError):
            pass
        # Not chained: the cause would quote the payload.
        raise ValueError(
            f"{RPC_PLAYBACK_FINISHED}: expected a JSON object with playback_position and "
            f"interrupted, got {len(payload)} characters"
        )
