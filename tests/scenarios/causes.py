"""What can go wrong: the rows of the fault matrix."""

from .faults import Cause, Moment

BEFORE, IDLE, MID_WORD, HAND_OVER = Moment

NO_REQUEST = "nothing is asked of the API then"
AT_THE_START = "looked at once, when the call begins"


def _refusal(name: str, switch: str, error: str, *late: str) -> Cause:
    """A create that is refused: the first one, or the one for the next session."""
    return Cause(
        name=name,
        switches=tuple(switch.split()),
        errors=frozenset({error, *late}),
        senseless={IDLE: NO_REQUEST, MID_WORD: NO_REQUEST},
    )


def _start(name: str, error: str, **options: object) -> Cause:
    """What is found out as the call begins."""
    others = dict.fromkeys((IDLE, MID_WORD, HAND_OVER), AT_THE_START)
    return Cause(name=name, options=options, errors=frozenset({error}), senseless=others)


def _face(name: str, switch: str, *errors: str, **senseless: str) -> Cause:
    """What befalls a face that is there, or nearly."""
    where = {Moment[moment]: why for moment, why in senseless.items()}
    return Cause(
        name=name, switches=tuple(switch.split()), errors=frozenset(errors), senseless=where
    )


GONE = ("AvatarGoneError", "AvatarStalledError", "SessionFailedError", "NeverJoinedError")
NOTHING = ""

CAUSES: tuple[Cause, ...] = (
    # Runway's answers
    _refusal("wrong key (401)", "create_status=401", "KeyRefusedError"),
    _refusal("no credits, from then on (402)", "create_status=402", "CreditsError"),
    _refusal("too many sessions (429)", "create_status=429", "ConcurrencyError", NOTHING),
    _refusal("unknown avatar (404)", "create_status=404", "UnknownAvatarError"),
    _refusal("refused field (422)", "create_status=422", "FieldRefusedError"),
    _refusal("own-room mode refused", "allow_integration=no", "OwnRoomRefusedError"),
    _refusal("Runway fails (503)", "create_status=503", "VendorFaultError", NOTHING),
    _refusal("the create's answer is lost", "create_answer_lost=yes", "AnswerLostError", NOTHING),
    _refusal(
        "that, and its avatar comes after 9 s",
        "create_answer_lost=yes join_delay=9",
        "AnswerLostError",
        NOTHING,
    ),
    _refusal("queued for ever", "queue_for=inf", "ConcurrencyError", NOTHING),
    Cause(
        name="no second slot",
        switches=("max_sessions=1", "queue_when_full=no"),
        senseless={BEFORE: "the first one has the slot", IDLE: NO_REQUEST, MID_WORD: NO_REQUEST},
    ),
    Cause(
        name="slow API (1.5 s)",
        switches=("answer_delay=1.5",),
        senseless={IDLE: NO_REQUEST, MID_WORD: NO_REQUEST},
    ),
    *(
        _refusal(
            f"create answered with garbage ({kind})",
            f"garbage_route=create garbage={kind}",
            "AnswerLostError",
            "VendorFaultError",
            NOTHING,
        )
        for kind in ("html", "missing", "types", "list", "nulls", "cut")
    ),
    _refusal("create answered with 8 MB", "garbage_route=create garbage=huge", NOTHING),
    *(
        _refusal(
            f"status answered with garbage ({kind})", f"garbage_route=retrieve garbage={kind}", ""
        )
        for kind in ("html", "types", "list")
    ),
    _refusal("delete answered with garbage", "garbage_route=delete garbage=html", NOTHING),
    # what the call begins with
    _start(
        "room address of this machine", "RoomAddressError", base_url="https://api.dev.runwayml.com"
    ),
    _start("no API at the address", "UnreachableError", base_url="http://127.0.0.1:9"),
    _start("no LiveKit at the address", "RoomUnreachableError", livekit_url="ws://127.0.0.1:9"),
    _start("wrong LiveKit secret", "RoomCredentialsError", livekit_api_secret="s" * 32),
    Cause(
        name="the call's limit of 4 s comes",
        options={"max_call_duration": 4.0},
        errors=frozenset({"CallLimitError"}),
        senseless={
            BEFORE: "a face that is awaited has its own limit",
            HAND_OVER: "no session follows that would outlast the call",
        },
    ),
    # the avatar
    _refusal("it never joins", "never_join=yes", "NeverJoinedError", NOTHING),
    _refusal("it sends no picture", "publish_video=no", "NoPictureError", NOTHING),
    _refusal("it sends no sound", "publish_audio=no", "AvatarStalledError", "ProtocolError"),
    _face("its process dies", "kill", *GONE),
    _face("its process stands still", "freeze", *GONE, "NoPictureError"),
    _face("it falls mute", "muted=yes", "AvatarStalledError", "ProtocolError"),
    _face("its picture stops", "picture=stopped", *GONE, NOTHING, "NoPictureError"),
    _face("its picture stands still", "picture=still", NOTHING),
    _face("it leaves", "leave", *GONE),
    _face("it drops out and comes back", "rejoin", *GONE, NOTHING),
    _face("its session turns FAILED", "fail=INTERNAL", *GONE),
    _face("its room vanishes", "vanish", "RoomLostError", *GONE),
    _face("LiveKit restarts", "restart_livekit=0.2", "RoomLostError", *GONE, NOTHING),
    _face("it babbles", "babble", NOTHING, "AvatarStalledError"),  # it may choke on it itself
    _face("no report of its end", "playback_finished=no", NOTHING),
    _face("reports 1 s early", "playback_finished_delay=-1", NOTHING),
    _face("reports 3 s late", "playback_finished_delay=3", NOTHING),
    _face("reports doubled", "playback_finished_times=2", NOTHING),
    _face("reports a wrong position", "playback_position_error=-100", NOTHING),
    _face("all its calls are lost", "rpc_lost=1", NOTHING),
    _face("all its calls are 1 s late", "rpc_delay=1", NOTHING),
    _face("it ignores END_CALL", "obey_end_call=no", NOTHING),
)
