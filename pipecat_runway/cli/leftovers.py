"""What is left of sessions, on this disk and in LiveKit's rooms, and how it is ended."""

import contextlib
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import aiohttp
from livekit import api

from pipecat_runway import registry, wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.ending import cancel_session
from pipecat_runway.errors import APIError, RunwayError
from pipecat_runway.ownership import (
    Owner,
    Record,
    Standing,
    digest,
    kept_because,
    read_metadata,
    standing,
)

END_BOUND = 20.0  # s a session is tried to be ended for
LIVEKIT_TIMEOUT = 10.0  # s, for each request
LATE = 600.0  # s an avatar whose session was never answered may still come
LIVEKIT = (wire.ENV_LIVEKIT_URL, wire.ENV_LIVEKIT_API_KEY, wire.ENV_LIVEKIT_API_SECRET)
LIVEKIT_FAULTS = (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError)


@dataclass(kw_only=True)
class Leftover:
    """A room of ours, and the sessions it was made for.

    Attributes:
        room: Its name.
        livekit_url: Its server.
        owner: Who ends it; None if nobody is named.
        standing: Whether that process is still there; None with the owner.
        records: Its sessions, by the avatar's identity.
        files: Those of them that are written down here.
        is_open: Whether there is such a room; None if that cannot be seen.
        kept: Why it must be left alone; None if it is to be ended.
        began_at: When the youngest part of it was made, in s since 1970.
    """

    room: str
    livekit_url: str
    owner: Owner | None = None
    standing: Standing | None = None
    records: dict[str, Record] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    is_open: bool | None = None
    kept: str | None = None
    began_at: float = 0.0

    @property
    def age(self) -> float:
        """Its age in s."""
        return max(0.0, time.time() - self.began_at)


@dataclass(frozen=True)
class Outcome:
    """What became of a session, a room or a file.

    Attributes:
        what: Its id, name or path.
        text: What became of it.
        failed: Whether something stays that should not.
    """

    what: str
    text: str
    failed: bool = False


class Leftovers:
    """Finds and ends them; an async context manager.

    Args:
        env: Keys and addresses, under the names of their environment variables.
        gone: Names, or digests, of hosts that are no more.

    Attributes:
        notes: What could not be looked at, and why.
    """

    def __init__(self, env: Mapping[str, str], gone: Collection[str] = ()) -> None:
        self.notes: list[str] = []
        self._gone = {*gone, *(digest(name) for name in gone)}
        self._env = env
        self._runway: RunwayAPI | None = None
        self._livekit: api.LiveKitAPI | None = None
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        if key := self._env.get(wire.ENV_API_SECRET):
            self._runway = RunwayAPI(api_key=key, base_url=self._env.get(wire.ENV_BASE_URL))
            self._stack.push_async_callback(self._runway.close)
        else:
            self.notes.append(f"Runway is not asked: {wire.ENV_API_SECRET} is not set.")
        url, livekit_key, secret = (self._env.get(name) for name in LIVEKIT)
        if url and livekit_key and secret:
            timeout = aiohttp.ClientTimeout(total=LIVEKIT_TIMEOUT)
            self._livekit = api.LiveKitAPI(url, livekit_key, secret, timeout=timeout)
            self._stack.push_async_callback(self._livekit.aclose)
        else:
            self.notes.append(f"Rooms are not looked at: {', '.join(LIVEKIT)} are not all set.")
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    # -- finding ----------------------------------------------------------------------------------

    async def find(self) -> list[Leftover]:
        """Return everything there is, with the verdict on each; oldest first."""
        found: dict[str, Leftover] = {}
        for path, record in self._written():
            one = found.setdefault(
                record.room, Leftover(room=record.room, livekit_url=record.livekit_url)
            )
            one.owner = record.owner
            one.records[record.identity] = record
            one.files[record.identity] = path
        rooms = await self._rooms()
        for one in found.values():
            if rooms is not None and self._is_ours(one.livekit_url):
                one.is_open = one.room in rooms
        for name, room in (rooms or {}).items():
            url = self._env[wire.ENV_LIVEKIT_URL]
            one = found.setdefault(name, Leftover(room=name, livekit_url=url))
            one.is_open = True
            one.began_at = float(room.creation_time)
            with contextlib.suppress(ValueError):  # not ours, or of another version
                owner, records = read_metadata(room.metadata, name, url)
                one.owner = one.owner or owner
                one.records = {r.identity: r for r in records} | one.records
        for one in found.values():
            await self._judge(one)
        return sorted(found.values(), key=lambda one: one.began_at)

    def _written(self) -> Iterator[tuple[Path, Record]]:
        try:
            for path, record in registry.entries():
                if record is None:
                    self.notes.append(f"{path} cannot be read; it is left as it is.")
                else:
                    yield path, record
        except (OSError, RuntimeError) as e:
            self.notes.append(f"The disk is not looked at ({e}).")

    async def _rooms(self) -> dict[str, api.Room] | None:
        """Return the rooms of ours; None if they cannot be seen."""
        if self._livekit is None:
            return None
        try:
            answer = await self._livekit.room.list_rooms(api.ListRoomsRequest())
        except LIVEKIT_FAULTS as e:
            self.notes.append(f"Rooms are not looked at: LiveKit fails ({type(e).__name__}).")
            return None
        return {room.name: room for room in answer.rooms if room.name.startswith(wire.ROOM_PREFIX)}

    def _is_ours(self, url: str) -> bool:
        """Whether a LiveKit server is the one we look at."""
        return urlsplit(url).netloc == urlsplit(self._env[wire.ENV_LIVEKIT_URL]).netloc

    async def _judge(self, one: Leftover) -> None:
        one.began_at = max([one.began_at, *(record.asked_at for record in one.records.values())])
        if one.owner is not None:
            pid = one.owner.pid
            one.standing = standing(one.owner, registry.here(), registry.started(pid))
        one.kept = await self.why_kept(one)

    async def why_kept(self, one: Leftover) -> str | None:
        """Return why something must be left alone, None if it is to be ended."""
        doubtful = one.standing in (Standing.DOUBTFUL, Standing.ELSEWHERE)
        return kept_because(
            one.standing,
            said_gone=one.owner is not None and one.owner.host in self._gone,
            in_room=await self._bot_in(one) if doubtful else None,
            age=one.age,
        )

    async def _bot_in(self, one: Leftover) -> bool | None:
        """Return whether the bot is in its room; None if that cannot be seen."""
        if self._livekit is None or not one.is_open:
            return one.is_open
        request = api.ListParticipantsRequest(room=one.room)
        try:
            answer = await self._livekit.room.list_participants(request)
        except LIVEKIT_FAULTS:
            return None
        return wire.AGENT_IDENTITY in [each.identity for each in answer.participants]

    async def status(self, record: Record) -> str:
        """Return what Runway says of a session, in a word or two."""
        if record.session_id is None:
            return "id never answered"
        if (refused := self._foreign(record)) is not None:
            return refused
        assert self._runway is not None
        try:
            return (await self._runway.session_status(record.session_id)).name
        except APIError as e:
            return "unknown" if e.status_code == 404 else type(e).__name__

    def _foreign(self, record: Record) -> str | None:
        """Return why this key cannot reach a session, if it cannot."""
        if self._runway is None:
            return f"{wire.ENV_API_SECRET} is not set"
        if record.base_url != self._runway.base_url:
            return f"made at {record.base_url}, not at {self._runway.base_url}"
        if record.key != self._runway.key_digest:
            return "made with another key"
        return None

    # -- ending -----------------------------------------------------------------------------------

    async def end(self, one: Leftover) -> AsyncIterator[Outcome]:
        """End what is left: its sessions, then the room; then its files go.

        A session whose id was never answered is kept in mind until its avatar can come no more.
        """
        ended = []
        for record in one.records.values():
            if record.session_id is not None:
                outcome = await self._end_session(record, record.session_id)
                if not outcome.failed:
                    ended.append(record)
                yield outcome
        if one.livekit_url:  # or it is Runway's own, which ends with the session
            yield await self._delete_room(one)
        for record in one.records.values():
            if record.session_id is None:
                yield Outcome(
                    record.identity,
                    "a session whose id was never answered: only its room can be deleted; if it "
                    "was created, Runway ends it",
                    failed=one.is_open is None,
                )
                if one.is_open is False and time.time() - record.asked_at > LATE:
                    ended.append(record)
        for record in ended:
            if path := one.files.get(record.identity):
                path.unlink(missing_ok=True)

    async def _end_session(self, record: Record, session_id: str) -> Outcome:
        if (foreign := self._foreign(record)) is not None:
            return Outcome(session_id, f"NOT ended: {foreign}", failed=True)
        assert self._runway is not None
        status = await self.status(record)
        if status in wire.ENDED_STATUSES or status == "unknown":
            return Outcome(session_id, f"had ended already: {status}")
        try:
            status = await cancel_session(self._runway, session_id, bound=END_BOUND)
        except RunwayError as e:
            return Outcome(session_id, f"NOT ended, it may be billed: {e}", failed=True)
        return Outcome(session_id, f"ended: {status}")

    async def _delete_room(self, one: Leftover) -> Outcome:
        if one.is_open is None:
            return Outcome(one.room, f"not looked for at {one.livekit_url}")
        if not one.is_open:
            return Outcome(one.room, "no such room any more")
        assert self._livekit is not None
        try:
            await self._livekit.room.delete_room(api.DeleteRoomRequest(room=one.room))
        except LIVEKIT_FAULTS as e:
            if not (isinstance(e, api.TwirpError) and e.status == 404):
                return Outcome(one.room, f"NOT deleted ({type(e).__name__})", failed=True)
        return Outcome(one.room, "room deleted")
