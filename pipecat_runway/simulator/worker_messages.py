"""What a simulator and its avatar workers' process say to each other: one JSON object a line."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.script import Part
from pipecat_runway.simulator.switchboard import from_plain, plain

HELLO = "hello"  # the kind of the process's own first event; it belongs to no session


@dataclass(frozen=True)
class WorkerEvent:
    """Something an avatar worker did or saw.

    Attributes:
        session_id: The Runway session the worker serves.
        kind: What happened: ``joined``, ``published``, ``agent_seen``, ``agent_left``,
            ``foreign_track``, ``stream_opened``, ``audio``, ``stream_closed``, ``playing``,
            ``playback_started``, ``playback_finished``, ``clear_buffer``, ``end_call``,
            ``fault``, ``due``, ``room_lost``, ``left`` or ``join_failed``; the last two are a
            session's last. ``fault`` is a switch that was thrown; ``due`` one whose moment has
            come, but which is not for the worker. In a managed room also ``user_joined``,
            ``user_left``, ``heard``, ``seen``, ``user_speaking``, ``turn_heard``, ``saying``,
            ``said``, ``client_event``, ``backend_call`` and ``backend_result``.
        at: When, by ``time.monotonic()``, which all processes of a machine share.
        data: The details of that kind.
    """

    session_id: str
    kind: str
    at: float
    data: dict[str, Any]

    def to_line(self) -> bytes:
        """Write it for the pipe."""
        return _line(asdict(self))

    @classmethod
    def from_line(cls, line: bytes) -> "WorkerEvent":
        """Read it from the pipe."""
        return cls(**json.loads(line))


@dataclass(frozen=True, kw_only=True)
class Join:
    """The order to send an avatar into a room.

    Attributes:
        session_id: The Runway session it serves.
        url: The LiveKit server.
        token: What opens the room.
        room_name: The room.
        agent_identity: Whose speech it speaks; None takes the first agent's.
        character: A preset's id, or an avatar's own id.
        faults: How it misbehaves.
        part: What it does of its own accord, in a managed room. None: the room is the customer's.
    """

    session_id: str
    url: str
    token: str = field(repr=False)
    room_name: str
    agent_identity: str | None
    character: str
    faults: Faults
    part: Part | None = None

    def to_line(self) -> bytes:
        """Write it for the pipe."""
        part = self.part and self.part.to_json()
        return _line({"join": {**vars(self), "faults": plain(self.faults), "part": part}})


@dataclass(frozen=True)
class Leave:
    """The order to call an avatar back, and why."""

    session_id: str
    reason: str

    def to_line(self) -> bytes:
        """Write it for the pipe."""
        return _line({"leave": asdict(self)})


@dataclass(frozen=True)
class Do:
    """The order to throw a switch, written as the switchboard reads it."""

    session_id: str
    switch: str

    def to_line(self) -> bytes:
        """Write it for the pipe."""
        return _line({"do": asdict(self)})


Order = Join | Leave | Do


def read_order(line: bytes) -> Order:
    """Read an order from the pipe."""
    order = json.loads(line)
    if do := order.get("do"):
        return Do(**do)
    if leave := order.get("leave"):
        return Leave(**leave)
    join = order["join"]
    part = join["part"] and Part.from_json(join["part"])
    return Join(**{**join, "faults": from_plain(join["faults"]), "part": part})


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
