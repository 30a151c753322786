"""Who made a session: what is written down of it, and whether its maker may still be there.

A session that outlives its process is ended by ``pipecat-runway sessions reap``. That must never
touch a call that somebody still leads, so nothing is ended on a guess: a process of this machine
is looked up by number and start time, and where that cannot be told, the bot must have left its
room as well.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

SETTLED = 90.0  # s; by then a bot is in its room, and one that was killed has vanished from it

_MARK = "pipecat_runway"  # of our metadata among other people's
_LONGEST = 64 * 1024  # characters of a record or of a room's metadata that are read


def digest(text: str) -> str:
    """Return a name that tells equal texts from others, and does not show them."""
    return hashlib.sha256(f"pipecat-runway/{text}".encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: Digest of the host's name.
        boot: Digest of what its process numbers are valid in: this boot of the machine, and on
            Linux the container. Empty if that cannot be told.
        pid: Its number.
        started: When it started, in whatever form the system tells; empty if that cannot be told.
    """

    host: str
    boot: str
    pid: int
    started: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """A session, as it is written down.

    Attributes:
        owner: The process that ends it.
        room: Its room's name.
        livekit_url: The room's server.
        identity: The avatar's identity in the room.
        session_id: Runway's id; None while the create is not answered.
        base_url: Where Runway's API was.
        key: Digest of the key it was made with; another one cannot end it.
        asked_at: When it was asked for, in s since 1970.
    """

    owner: Owner
    room: str
    livekit_url: str
    identity: str
    session_id: str | None
    base_url: str
    key: str
    asked_at: float

    def to_text(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Record":
        """Read what :meth:`to_text` wrote.

        Raises:
            ValueError: If it is something else.
        """
        return _record(_object(text))


def room_metadata(owner: Owner, records: Iterable[Record]) -> str:
    """Return a room's metadata: its owner, and the sessions that may be open in it."""
    fields = ("identity", "session_id", "base_url", "key", "asked_at")
    sessions = [{name: getattr(record, name) for name in fields} for record in records]
    return json.dumps({_MARK: {"owner": asdict(owner), "sessions": sessions}})


def read_metadata(metadata: str, room: str, livekit_url: str) -> tuple[Owner, list[Record]]:
    """Read what :func:`room_metadata` wrote.

    Args:
        metadata: The room's metadata.
        room: The room's name.
        livekit_url: Where it was found.

    Raises:
        ValueError: If it is something else.
    """
    said = _object(metadata).get(_MARK)
    if not isinstance(said, dict) or not isinstance(said.get("sessions"), list):
        raise ValueError("no metadata of ours")
    place = {"owner": said.get("owner"), "room": room, "livekit_url": livekit_url}
    records = [_record({**one, **place}) for one in said["sessions"] if isinstance(one, dict)]
    return _owner(said.get("owner")), records


class Standing(Enum):
    """Whether an owner is still there."""

    ALIVE = "alive"  # its process runs here
    DEAD = "dead"  # it ran here, in this boot and container, and does not any more
    DOUBTFUL = "dead?"  # on a host of this name, in another boot or container
    ELSEWHERE = "elsewhere"  # on another host


def standing(owner: Owner, here: Owner, started: str | None) -> Standing:
    """Return whether an owner is still there.

    Args:
        owner: The owner.
        here: The process that asks.
        started: When the process of the owner's number, here and now, started; empty if that
            cannot be told, None if there is none.
    """
    if owner.boot and owner.boot == here.boot:
        if started is None:
            return Standing.DEAD
        reused = bool(started and owner.started) and started != owner.started
        return Standing.DEAD if reused else Standing.ALIVE
    return Standing.DOUBTFUL if owner.host == here.host else Standing.ELSEWHERE


def kept_because(
    owner: Standing | None, *, said_gone: bool, in_room: bool | None, age: float
) -> str | None:
    """Return why a session must be left alone, or None if it is to be ended.

    Args:
        owner: Its owner's standing; None if nobody is named.
        said_gone: Whether the user says that the owner's host is no more.
        in_room: Whether its bot is in the room; None if that cannot be seen.
        age: Its age in s.
    """
    match owner:
        case None:
            return "it names no owner"
        case Standing.ALIVE:
            return "its process runs"
        case Standing.DEAD:
            return None
        case Standing.ELSEWHERE if not said_gone:
            return "it was made on another host: --host-gone NAME, if that host is no more"
    if age < SETTLED:
        return f"it is younger than {SETTLED:g} s, and its process cannot be looked up from here"
    if in_room is None:
        return "its process cannot be looked up from here, nor its room"
    return "its bot is in the room" if in_room else None


def _object(text: str) -> dict[str, Any]:
    found = json.loads(text) if len(text) <= _LONGEST else None
    if not isinstance(found, dict):
        raise ValueError("no JSON object of ours")
    return found


def _owner(said: object) -> Owner:
    match said:
        case {"host": str(host), "boot": str(boot), "pid": int(pid), "started": str(started)}:
            return Owner(host, boot, pid, started)
    raise ValueError("no owner")


def _record(said: dict[str, Any]) -> Record:
    match said:
        case {
            "room": str(room),
            "livekit_url": str(livekit_url),
            "identity": str(identity),
            "session_id": str() | None as session_id,
            "base_url": str(base_url),
            "key": str(key),
            "asked_at": int() | float() as asked_at,
        }:
            return Record(
                owner=_owner(said.get("owner")),
                room=room,
                livekit_url=livekit_url,
                identity=identity,
                session_id=session_id,
                base_url=base_url,
                key=key,
                asked_at=float(asked_at),
            )
    raise ValueError("no record of ours")
