"""``pipecat-runway sessions``: what it finds, what it ends, and what it leaves alone."""

import asyncio
import os
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio
from livekit import api, rtc

from pipecat_runway import registry, wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.cli.leftovers import LATE, Leftover, Leftovers, Outcome
from pipecat_runway.ownership import SETTLED, Owner, Record, digest, room_metadata
from pipecat_runway.simulator import RunwaySimulator, SimulatedSession
from tests.cli.processes import COMMAND
from tests.conftest import TurnKnobs

NOBODY = 2**22 + 1  # no process has this number: Linux counts up to 2**22


def dead() -> Owner:
    """A process that ran here."""
    return replace(registry.here(), pid=NOBODY)


@pytest_asyncio.fixture
async def livekit(runway: RunwaySimulator) -> AsyncIterator[api.LiveKitAPI]:
    """The rooms' server."""
    env = runway.env
    async with api.LiveKitAPI(
        env["LIVEKIT_URL"], env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"]
    ) as client:
        yield client


class Left:
    """Makes what a process of this owner would leave."""

    def __init__(self, runway: RunwaySimulator, livekit: api.LiveKitAPI) -> None:
        self._runway, self._livekit = runway, livekit

    async def by(self, owner: Owner, *, answered: bool = True, disk: bool = True) -> Record:
        """Leave a session and its room, on disk and in the room's metadata."""
        env = self._runway.env
        runway = RunwayAPI(api_key=self._runway.api_key, base_url=env[wire.ENV_BASE_URL])
        record = Record(
            owner=owner,
            room=f"{wire.ROOM_PREFIX}{uuid.uuid4().hex}",
            livekit_url=env[wire.ENV_LIVEKIT_URL],
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            session_id=None,
            base_url=runway.base_url,
            key=runway.key_digest,
            asked_at=time.time(),
        )
        if answered:
            integration = {
                "type": "livekit",
                "url": record.livekit_url,
                "token": "x" * 8,
                "room_name": record.room,
                "agent_identity": wire.AGENT_IDENTITY,
            }
            session_id = await runway.create_session(
                avatar={"type": "runway-preset", "preset_id": "cat-character"},
                integration=integration,
                max_duration=None,
            )
            record = replace(record, session_id=session_id)
        await runway.close()
        metadata = room_metadata(owner, [record] if answered else [])
        request = api.CreateRoomRequest(name=record.room, empty_timeout=600, metadata=metadata)
        await self._livekit.room.create_room(request)
        if disk:
            await registry.Entry().write(record)
        return record


@pytest_asyncio.fixture
async def left(
    runway: RunwaySimulator, livekit: api.LiveKitAPI, faults: TurnKnobs
) -> AsyncIterator[Left]:
    """What is left, without any avatar; all of it is gone after the test."""
    faults(never_join=True)
    yield Left(runway, livekit)
    for session in runway.open_sessions:
        runway.cancel(session)
    for path, _ in registry.entries():
        path.unlink()
    for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room.name))


@asynccontextmanager
async def looking(
    runway: RunwaySimulator, *gone: str, **env: str
) -> AsyncIterator[tuple[Leftovers, list[Leftover]]]:
    """Look at what there is, with the settings of a user."""
    async with Leftovers({**runway.env, **env}, gone) as leftovers:
        yield leftovers, await leftovers.find()


async def reaped(runway: RunwaySimulator, *gone: str, **env: str) -> list[Outcome]:
    """End what may be ended; what became of it."""
    async with looking(runway, *gone, **env) as (leftovers, found):
        return [o for one in found if not one.kept async for o in leftovers.end(one)]


async def rooms(livekit: api.LiveKitAPI) -> set[str]:
    """The rooms there are."""
    return {r.name for r in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}


def session(runway: RunwaySimulator, record: Record) -> SimulatedSession:
    """The session of a record."""
    assert record.session_id is not None
    found = runway.find(record.session_id)
    assert found is not None
    return found


@pytest.mark.parametrize("disk", [True, False])
async def test_a_dead_owners_session_is_ended_and_a_live_ones_is_not(
    runway: RunwaySimulator, livekit: api.LiveKitAPI, left: Left, disk: bool
) -> None:
    """With its room and file; also when the disk is gone and only the room names it."""
    gone = await left.by(dead(), disk=disk)
    alive = await left.by(registry.here(), disk=disk)
    outcomes = await reaped(runway)
    assert not any(outcome.failed for outcome in outcomes)
    assert "CANCELLED" == session(runway, gone).status
    assert session(runway, alive).is_open
    assert {alive.room} == await rooms(livekit)
    assert ([alive] if disk else []) == [record for _, record in registry.entries()]
    last = runway.requests[-1]
    assert ("GET", f"/v1/realtime_sessions/{gone.session_id}") == (last.method, last.path)
    assert [] == await reaped(runway)


async def test_a_room_without_a_session_goes_and_one_of_others_stays(
    runway: RunwaySimulator, livekit: api.LiveKitAPI, left: Left
) -> None:
    """Its process died before the create; rooms that are not ours, or name nobody, are not ours."""
    empty = await left.by(dead(), answered=False, disk=False)
    for name in ("somebodys", f"{wire.ROOM_PREFIX}nobodys"):
        await livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=600))
    assert ["room deleted"] == [outcome.text for outcome in await reaped(runway)]
    assert empty.room not in await rooms(livekit)
    assert 2 == len(await rooms(livekit))


async def test_another_hosts_session_needs_the_users_word_and_some_age(
    runway: RunwaySimulator, left: Left
) -> None:
    """The host is said by its name or its digest; a young session is left alone even then."""
    record = await left.by(replace(dead(), host=digest("bot-7"), boot="other"))
    for gone in ((), ("bot-8",), ("bot-7",), (digest("bot-7"),)):
        assert [] == await reaped(runway, *gone)
        async with looking(runway, *gone) as (leftovers, (one,)):
            one.began_at -= SETTLED + 1
            kept = await leftovers.why_kept(one)
            assert (kept is None) is (gone in (("bot-7",), (digest("bot-7"),)))
    assert session(runway, record).is_open


@pytest.mark.parametrize("there", [True, False])
async def test_an_earlier_container_of_this_host_is_dead_if_its_bot_is_not_in_the_room(
    runway: RunwaySimulator, livekit: api.LiveKitAPI, left: Left, there: bool
) -> None:
    """Its process cannot be looked up; the room can."""
    record = await left.by(replace(dead(), boot="before"))
    keys = (runway.env["LIVEKIT_API_KEY"], runway.env["LIVEKIT_API_SECRET"])
    token = api.AccessToken(*keys).with_identity(wire.AGENT_IDENTITY)
    token = token.with_grants(api.VideoGrants(room_join=True, room=record.room))
    bot = rtc.Room()
    if there:
        await bot.connect(runway.env["LIVEKIT_URL"], token.to_jwt())
    async with looking(runway) as (leftovers, (one,)):
        one.began_at -= SETTLED + 1
        kept = await leftovers.why_kept(one)
        assert kept == ("its bot is in the room" if there else None)
    await bot.disconnect()


async def test_the_wrong_key_is_said_and_not_tried(runway: RunwaySimulator, left: Left) -> None:
    """Nothing is sent to Runway with a key that cannot end it; nor without one."""
    record = await left.by(dead())
    runway.requests.clear()
    for env in ({"RUNWAYML_API_SECRET": "key_other"}, {"RUNWAYML_API_SECRET": ""}):
        outcomes = await reaped(runway, **env)
        (said,) = [o for o in outcomes if o.what == record.session_id]
        assert said.failed
        assert ("another key" if env["RUNWAYML_API_SECRET"] else "not set") in said.text
    assert [] == runway.requests
    assert 1 == len(list(registry.entries()))
    await reaped(runway)
    assert not session(runway, record).is_open


async def test_a_session_whose_id_was_never_answered_loses_its_room(
    runway: RunwaySimulator, livekit: api.LiveKitAPI, left: Left
) -> None:
    """That is said; it is kept in mind until its avatar can come no more."""
    await left.by(dead(), answered=False)
    outcomes = await reaped(runway)
    assert [o for o in outcomes if "never answered" in o.text and not o.failed]
    assert set() == await rooms(livekit)
    ((_, record),) = registry.entries()
    assert record is not None
    await registry.Entry().write(replace(record, asked_at=record.asked_at - LATE))
    await reaped(runway)
    assert [] == list(registry.entries())


async def test_what_cannot_be_ended_is_said_and_stays_written_down(
    runway: RunwaySimulator, left: Left, faults: TurnKnobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runway fails, or LiveKit: one says so, and the next time it is tried again."""
    monkeypatch.setattr("pipecat_runway.cli.leftovers.END_BOUND", 0.5)
    record = await left.by(dead())
    faults(delete_status=503)
    assert [o.what for o in await reaped(runway) if o.failed] == [record.session_id]
    assert 1 == len(list(registry.entries()))
    faults(delete_status=None)
    async with looking(runway, LIVEKIT_URL="ws://127.0.0.1:9") as (leftovers, (one,)):
        assert one.is_open is None
        assert "LiveKit fails" in " ".join(leftovers.notes)
        assert not [o async for o in leftovers.end(one) if o.failed]
    assert not session(runway, record).is_open


async def command(runway: RunwaySimulator, *arguments: str) -> tuple[int | None, str]:
    """Run the command; its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "sessions",
        *arguments,
        env={**os.environ, **runway.env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


async def test_the_commands_say_what_they_see_and_touch_nothing(
    runway: RunwaySimulator, left: Left
) -> None:
    """`list` and `reap --dry-run`: owner, age, status and verdict; no secret."""
    gone, alive = await left.by(dead()), await left.by(registry.here())
    (status, shown), (dry, plan) = await asyncio.gather(
        command(runway, "list"), command(runway, "reap", "--dry-run")
    )
    assert (0, 0) == (status, dry), shown + plan
    for record, owner, would in ((gone, "dead", "end it"), (alive, "alive", "leave it")):
        (line,) = [line for line in shown.splitlines() if line.startswith(record.room)]
        assert f"owner {owner}, process {record.owner.pid} on {record.owner.host}" in line
        assert f"reap would {would}" in line
        assert f"session {record.session_id}: NOT_READY" in shown
    assert f"{gone.room}: would be ended; sessions: {gone.session_id}" in plan
    assert f"{alive.room}: left alone, its process runs" in plan
    secrets: list[Any] = [v for n, v in runway.env.items() if n.endswith(("SECRET", "API_KEY"))]
    assert not [s for s in secrets if s in shown + plan]
    assert session(runway, gone).is_open
    assert 2 == len(list(registry.entries()))
