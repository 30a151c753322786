"""Every way the simulated Runway can be made to behave, and everything that can be done to it.

Each field of :class:`Faults` is a knob with a stated default. The defaults are the friendliest
reading of what is known of Runway; where Runway's behaviour is unknown, a knob names the
alternatives. A :class:`Faults` is taken when a session is created. What is turned, or done, while
a session runs goes through the switchboard: :mod:`pipecat_runway.simulator.switchboard`.
"""

from dataclasses import dataclass, field
from enum import Enum


class Action(Enum):
    """What can be done to a running session."""

    KILL = "kill"  # its worker's process dies at once (SIGKILL)
    FREEZE = "freeze"  # its worker's process stops where it is (SIGSTOP) …
    THAW = "thaw"  # … and goes on
    LEAVE = "leave"  # its avatar leaves the room for good, see `leave_status`
    REJOIN = "rejoin"  # its avatar leaves the room and comes back at once
    FAIL = "fail"  # it turns FAILED; the value is its failureCode
    BABBLE = "babble"  # its avatar sends what no avatar should, see :class:`Babble`
    VANISH = "vanish"  # its LiveKit room is deleted under it
    RESTART_LIVEKIT = "restart_livekit"  # the LiveKit server crashes and starts; for everybody


class Babble(Enum):
    """What an avatar sends that no avatar should: malformed, oversized, or not its to send."""

    ALL = "all"
    CALLS = "calls"  # RPCs with payloads that cannot be read, and of methods that nobody has
    DATA = "data"  # data packets: noise, huge ones, END_CALL to the bot
    STREAMS = "streams"  # byte and text streams nobody asked for, one of which never ends


class Voice(Enum):
    """How an avatar's voice differs from the speech it was given."""

    PLAIN = "plain"  # not at all
    FASTER = "faster"  # a quarter faster and higher
    SLOWER = "slower"  # a fifth slower and lower
    # Ring-modulated with 3650 Hz: another voice at the same pace. No piece of it is like what was
    # sent, yet a second modulation undoes it.
    SCRAMBLED = "scrambled"


class Picture(Enum):
    """What an avatar's picture does."""

    MOVING = "moving"
    STILL = "still"  # the same picture is sent again and again
    STOPPED = "stopped"  # none is sent any more


class Garbage(Enum):
    """What stands in an answer of the API instead of its body."""

    EMPTY = "empty"  # nothing
    HTML = "html"  # a page, said to be JSON
    BYTES = "bytes"  # no text at all
    CUT = "cut"  # the first half of it
    LIST = "list"  # `[]`
    MISSING = "missing"  # `{}`
    NULLS = "nulls"  # every value is null
    TYPES = "types"  # every value is of another type
    HUGE = "huge"  # a field more, of 8 MB


class Route(Enum):
    """The routes of the API."""

    CREATE = "create"
    RETRIEVE = "retrieve"
    DELETE = "delete"
    ORGANIZATION = "organization"
    AVATARS = "avatars"
    DOCUMENTS = "documents"
    UPLOADS = "uploads"
    CONVERSATIONS = "conversations"
    USAGE = "usage"
    CONSUME = "consume"
    CONNECT_BACKEND = "connect_backend"


class ClearAnswer(Enum):
    """What the avatar worker does about ``lk.clear_buffer``."""

    CONFIRM = "confirm"  # answers "ok", falls silent, calls lk.playback_finished once
    NO_FINISHED = "no_finished"  # answers and falls silent, never calls lk.playback_finished
    TWICE = "twice"  # as CONFIRM, but calls lk.playback_finished two times
    LATE = "late"  # falls silent at once, answers and confirms after `clear_delay`
    NO_ANSWER = "no_answer"  # falls silent, but the RPC is never answered
    KEEP = "keep"  # as CONFIRM, but what the next `clear_keep` seconds hold is still played
    IGNORE = "ignore"  # answers "ok" and goes on speaking as if nothing had been asked
    UNSUPPORTED = "unsupported"  # the method is not registered: RpcError 1400


class Captions(Enum):
    """What the words of both sides are sent to the user as; all of these have been seen."""

    DELTAS = "deltas"  # {"type": "transcription", "role", "turn", "text"}, a few words each
    # {"type": "transcription", "segments": [{"id", "text", "final", "participantIdentity"}]}, the
    # whole turn so far in each
    SEGMENTS = "segments"
    TRANSCRIPT = "transcript"  # {"type": "transcript", "segments": [{"id", "text"}]}, at its end
    NESTED = "nested"  # {"type": "voice_transcript", "data": {"segments": […]}}
    UNTYPED = "untyped"  # {"segments": […]}
    EVENTS = "events"  # LiveKit's transcription packets, the whole turn so far in each
    STREAMS = "streams"  # LiveKit's text streams `lk.transcription`, one a turn
    TWICE = "twice"  # as DELTAS and as EVENTS at once
    NONE = "none"


class ErrorBody(Enum):
    """Which of the two 400 bodies seen in the wild the API answers with."""

    ISSUES = "issues"  # {"error": "Validation of body failed", "issues": [...], "docUrl": ...}
    PLAIN = "plain"  # {"error": "Unrecognized key: livekit"}


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Knobs of one simulated Runway. All times are in seconds.

    Attributes:
        answer_delay: Time every request takes before it is answered; what it asks for has been done
            by then.
        garbage: What stands in an answer instead of its body. None: the body.
        garbage_route: The route this happens on. None: on all.
        create_delay: Time the create request takes before it is answered; the session has begun
            by then.
        create_status: Answer every create with this HTTP status and its body (401, 402, 404, 429,
            500, 503 …) instead of creating anything. None creates.
        create_answer_lost: The session is created, then the connection is cut without an answer.
        no_credits: Creates are refused as an account without credits is.
        no_credits_status: Status of that refusal; seen as 400 on Runway's other routes.
        allow_integration: Whether the body field ``integration`` is known. False answers 400.
        allow_livekit_key: Whether the deprecated body field ``livekit`` is still accepted.
        strict_body: Whether unknown top-level fields are refused.
        strict_nested: Whether unknown fields are refused further down.
        integration_alone: Whether ``livekit``, ``personality``, ``startScript`` and ``tools`` are
            refused beside ``integration``. False takes all, and ``integration`` wins.
        unique_tool_names: Whether two tools of one name are refused.
        error_body: Which 400 body is used for refused fields.
        json_errors: Whether errors other than a 400 have a JSON body; False sends plain text.
        content_type_status: Status for a body that is not announced as JSON.
        retry_after: Seconds named in a ``Retry-After`` header of every 429 and 503. None sends
            no such header.
        clock_offset: Seconds by which the ``Date`` of every answer is ahead.
        require_public_livekit: Refuse LiveKit addresses that are private, loopback or not TLS, as
            the real service must.
        avatar_not_ready_status: Status for a create with a custom avatar that is still being
            processed or has failed. None creates.
        avatar_processing: How long a new avatar, or one with a new picture, is PROCESSING.
        avatar_failure: failureReason of every avatar that is FAILED after that. None: it is READY.
        filtered_text: A start script of an avatar with this in it is refused. None: any is taken.
        upload_status: Status of every upload of a file. None takes it.
        effective_limit: Seconds after which a session ends whatever ``maxDuration`` says.
        max_sessions: Sessions that may be open at once. More are answered 429, or queued.
        queue_when_full: With all slots taken: True creates NOT_READY with ``queued: true`` and
            starts it when a slot is free, False answers 429.
        queue_for: How long a session is queued whatever slots are free; infinite: for ever.
        delete_ended_status: Status for a DELETE of a session that has ended.
        delete_status: Answer every DELETE with this status and change nothing. None deletes.
        retrieve_status: Answer every GET of a session with this status. None answers properly.
        end_after_failure: failureCode of a session that turns FAILED after `failure_delay`. None:
            none does.
        failure_delay: When that happens, counted from the create.
        failure_code: failureCode of a session whose worker could not join or lost its room.
        room_lost_status: The status a session ends with that lost its room, or its worker's
            process. RUNNING: it does not end, and is billed on.
        passes_ready: Whether a session with a LiveKit room of the customer's is READY, with a
            session key, while its worker is joining.
        ready_lifetime: How long a session in a managed room stays READY, unconsumed.
        ready_expired_status: The status it has after that.
        consume_status: Answer every consume with this status. None answers properly.
        consume_refusal: Status for a consume that comes too early, too late or again.
        consume_once: Whether credentials can be consumed only once.
        consume_needs_json: Whether a consume without a JSON body is refused.
        consumed_url: The address of the room that a consume tells. None: the true one.
        consumed_timeout: How long the user may take to come once the session is consumed.
        backend_status: Answer every connect_backend with this status. None answers properly.
        backend_refusal: Status for a connect_backend before READY or after the end.
        token_lifetime: How long the tokens of a managed room open it.

        join_delay: From the create to the worker's first knock at the room.
        never_join: The worker never comes; the session stays NOT_READY.
        publish_video: Whether a camera track is published.
        publish_audio: Whether a microphone track is published.
        picture: Whether the picture moves, stands still, or is not sent any more.
        rejoin_after: The worker drops out this long after its first join and comes back at once.
        leave_after: The worker leaves for good this long after joining. None: it stays.
        leave_status: The status a session that lost its worker that way ends with. RUNNING: it
            does not end, and is billed on.
        width: Picture width in pixels.
        height: Picture height in pixels.
        fps: Pictures a second.
        simulcast: Whether the picture is published in several sizes.
        sender_required: Only audio from `agentIdentity` is taken; False takes the first agent's.
        obey_end_call: Whether the ``END_CALL`` message ends the session.
        obey_empty_room: Whether the worker leaves when the agent has left the room.

        render_delay: From a sample's arrival to its sound leaving the worker, at least.
        playback_started: Whether ``lk.playback_started`` is called.
        playback_finished: Whether ``lk.playback_finished`` is called.
        playback_finished_delay: Added before that call; negative calls it early.
        playback_finished_times: How often it is called.
        playback_position_error: Added to the position it tells; it may be below 0 then.
        rpc_delay: Added before every call of the worker's.
        rpc_lost: Every n-th call of the worker's is never made. 0 loses none, 1 loses all.
        clear: What ``lk.clear_buffer`` does.
        clear_delay: See :attr:`ClearAnswer.LATE`.
        clear_keep: See :attr:`ClearAnswer.KEEP`.
        voice: How the worker's voice differs from what it was given.
        muted: Silence comes instead of the worker's voice; all else goes on, its mouth too.
        noise_floor: Peak of random noise mixed into everything the worker publishes, in LSB of
            16-bit samples. Idle "silence" is then not silent.
        gain: The worker's sound is multiplied by this.
        picture_delay: The picture is held back by this against the sound.
        drop_piece: Every n-th 100 ms of speech is swallowed by the worker. 0 swallows none.

        livekit_conversations: Whether sessions in a room of the customer's are conversations too;
            they have no transcript.
        conversation_delay: How long after its end a conversation has its transcript and recording.
        elevenlabs_presets: Whether ElevenLabs may be the brain of a preset character.
        signed_url_lifetime: How long an address that ElevenLabs has signed is good for.
        elevenlabs_rate: Samples a second of the sound that the ElevenLabs agent asks for; with any
            other than 16000 the partner neither hears nor speaks.
        joins_after_consume: The partner of a managed room comes this long after the consume. None:
            it is there before the session is READY.
        greet_delay: From the user's coming to the partner's greeting.
        turn_silence: Silence of the user's that ends a turn.
        thinking: From the end of a turn to the partner's doing something about it.
        obey_barge_in: Whether the partner falls silent when the user speaks.
        user_grace: How long a user who has left may take to come back.
        captions: What the words of both sides are sent to the user as.
        data_topic: Topic of what is sent to the user.
        tool_echoes: Whether a client event is followed by an acknowledgement of the same name.
        wrapped_args: Whether a backend tool is called with ``{"args": {…}}``; False: with the
            arguments themselves.
        deletes_room: Whether the managed room is deleted when its session ends; False leaves the
            user alone in it.

        script: What is to happen in every session, as the switchboard reads it: ``"kill@2.5"`` is
            2.5 s after the create, ``"muted=yes@speech:1.2"`` after 1.2 s of speech.
    """

    answer_delay: float = 0.0
    garbage: Garbage | None = None
    garbage_route: Route | None = None
    create_delay: float = 0.0
    create_status: int | None = None
    create_answer_lost: bool = False
    no_credits: bool = False
    no_credits_status: int = 400
    allow_integration: bool = True
    allow_livekit_key: bool = True
    strict_body: bool = True
    strict_nested: bool = True
    integration_alone: bool = False
    unique_tool_names: bool = False
    error_body: ErrorBody = ErrorBody.ISSUES
    json_errors: bool = True
    content_type_status: int = 400
    retry_after: float | None = None
    clock_offset: float = 0.0
    require_public_livekit: bool = False
    avatar_not_ready_status: int | None = None
    avatar_processing: float = 0.2
    avatar_failure: str | None = None
    filtered_text: str | None = None
    upload_status: int | None = None
    effective_limit: float = 300.0
    max_sessions: int | None = None
    queue_when_full: bool = True
    queue_for: float = 0.0
    delete_ended_status: int = 204
    delete_status: int | None = None
    retrieve_status: int | None = None
    end_after_failure: str | None = None
    failure_delay: float = 0.5
    failure_code: str = "INTERNAL"
    room_lost_status: str = "FAILED"
    passes_ready: bool = False
    ready_lifetime: float = 300.0
    ready_expired_status: str = "FAILED"
    consume_status: int | None = None
    consume_refusal: int = 400
    consume_once: bool = True
    consume_needs_json: bool = False
    consumed_url: str | None = None
    consumed_timeout: float = 30.0
    backend_status: int | None = None
    backend_refusal: int = 400
    token_lifetime: float = 600.0

    join_delay: float = 0.0
    never_join: bool = False
    publish_video: bool = True
    publish_audio: bool = True
    picture: Picture = Picture.MOVING
    rejoin_after: float | None = None
    leave_after: float | None = None
    leave_status: str = "COMPLETED"
    width: int = 1280
    height: int = 720
    fps: float = 24.0
    simulcast: bool = False
    sender_required: bool = True
    obey_end_call: bool = True
    obey_empty_room: bool = True

    render_delay: float = 0.04
    playback_started: bool = True
    playback_finished: bool = True
    playback_finished_delay: float = 0.0
    playback_finished_times: int = 1
    playback_position_error: float = 0.0
    rpc_delay: float = 0.0
    rpc_lost: int = 0
    clear: ClearAnswer = field(default=ClearAnswer.CONFIRM)
    clear_delay: float = 1.0
    clear_keep: float = 1.0
    voice: Voice = Voice.PLAIN
    muted: bool = False
    noise_floor: int = 0
    gain: float = 1.0
    picture_delay: float = 0.0
    drop_piece: int = 0

    livekit_conversations: bool = True
    conversation_delay: float = 0.0
    elevenlabs_presets: bool = False
    signed_url_lifetime: float = 900.0
    elevenlabs_rate: int = 16_000
    joins_after_consume: float | None = None
    greet_delay: float = 0.2
    turn_silence: float = 0.6
    thinking: float = 0.2
    obey_barge_in: bool = True
    user_grace: float = 5.0
    captions: Captions = Captions.DELTAS
    data_topic: str = ""
    tool_echoes: bool = True
    wrapped_args: bool = True
    deletes_room: bool = True

    script: tuple[str, ...] = ()
