"""What a call's face needs next, as arithmetic. All times are in s."""

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from typing import Final

# Sessions end after about this long whatever `maxDuration` says: livekit/agents #6427 and #6703.
SESSION_LIMIT: Final = 300.0
SLACK: Final = 5.0  # for a join that is slower than the last one
MARGIN: Final = 2.0  # before the limit: by then the change has been made, even in mid-word
LONGEST_PAUSE: Final = 30.0  # between attempts


class Presence(Enum):
    """Whether there is a face."""

    ABSENT = auto()  # nothing was asked of Runway yet
    COMING = auto()  # the first one is being provisioned; speech waits
    PRESENT = auto()  # its picture has been seen
    AWAY = auto()  # it, or its successor, is awaited; meanwhile there is only voice
    PARKED = auto()  # nobody has spoken for long; there is only voice, which wakes it
    GONE = auto()  # it failed or was ended; there is only voice

    @property
    def voice_bridges(self) -> bool:
        """Whether what begins now is said by the voice, and a face can come back."""
        return self in (Presence.AWAY, Presence.PARKED)


class Need(Enum):
    """What has to be done for the face."""

    NOTHING = auto()
    RENEW = auto()  # its session comes to its limit
    CHANGE = auto()  # another character is wanted
    PARK = auto()  # nobody has spoken for long
    RETURN = auto()  # there is none, and there should be
    STOP = auto()  # the call has had a face for as long as it may
    END = auto()  # there is none any more


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a call stands.

    Attributes:
        presence: Whether there is a face.
        age: How old its session is.
        limit: How long a session lasts at most.
        join: What passed from its create to its first picture.
        other: Whether another character is wanted.
        call_age: How long ago the first session was asked for.
        call_limit: After so long there is to be no face any more.
        idle: How long nobody has spoken.
        idle_limit: After so long the face is parked.
    """

    presence: Presence
    age: float
    limit: float
    join: float
    other: bool
    call_age: float
    call_limit: float
    idle: float
    idle_limit: float


def need(call: Standing) -> tuple[Need, float]:
    """Return what has to be done, and for how long nothing else can be needed."""
    if call.presence is Presence.GONE:
        return Need.END, 0.0
    left = call.call_limit - call.call_age
    if left <= 0:
        return Need.STOP, 0.0
    if call.presence is Presence.AWAY:
        return Need.RETURN, 0.0
    if call.presence is Presence.PARKED:
        return Need.NOTHING, left
    if call.other:
        return Need.CHANGE, 0.0
    # A session that outlasts the call needs no other.
    outlasts = call.limit - call.age - MARGIN >= left
    due = inf if outlasts else renew_after(call.limit, call.join) - call.age
    if due <= 0:
        return Need.RENEW, 0.0
    rest = call.idle_limit - call.idle
    if rest <= 0:
        return Need.PARK, 0.0
    return Need.NOTHING, min(left, due, rest)


def limit(max_duration: int | None) -> float:
    """Return how long a session lasts at most."""
    return min(max_duration or SESSION_LIMIT, SESSION_LIMIT)


def renew_after(limit: float, join: float) -> float:
    """Return how old a session is when its successor is asked for.

    Args:
        limit: How long it lasts at most.
        join: What passed from the last create to the first picture.

    Returns:
        Its age; at least half of its life is used.
    """
    return max(limit / 2, limit - 1.5 * join - SLACK - MARGIN)


def pause(attempt: int) -> float:
    """Return how long to wait after the n-th failure in a row, counted from 0."""
    return min(LONGEST_PAUSE, 0.5 * 2.0**attempt)
