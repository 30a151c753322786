"""The files that name open sessions, and the processes they belong to."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from livekit import api
from loguru import logger

from pipecat_runway import registry
from pipecat_runway.ownership import Owner, Record, Standing, read_metadata, standing
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.pipeline import running
from tests.kit.waiting import until
from tests.test_ownership import RECORD

from .conftest import MakeService, TurnKnobs


def written() -> list[Path]:
    """The files there are."""
    return [path for path, _ in registry.entries()]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is logged as a warning or worse by a process that has not warned yet."""
    monkeypatch.setattr(registry, "_warned", False)
    lines: list[str] = []
    sink = logger.add(lambda m: lines.append(str(m)), level="WARNING", format="{message}")
    yield lines
    logger.remove(sink)


# -- the file -------------------------------------------------------------------------------------


async def test_a_file_is_its_owners_alone_and_goes_with_the_session() -> None:
    """0600 in a directory of 0700, whatever the directory was; nothing else is left in it."""
    place = registry.directory()
    place.mkdir(parents=True)
    place.chmod(0o755)
    entry = registry.Entry()
    await entry.write(replace(RECORD, session_id=None))
    await entry.write(RECORD)
    ((path, record),) = registry.entries()
    assert record == RECORD
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    await entry.remove()
    await entry.remove()
    await entry.write(RECORD)  # one that comes late does not bring it back
    assert [] == os.listdir(place)


async def test_a_write_given_up_half_way_leaves_nothing() -> None:
    """Whoever is cancelled while the disk is slow removes the file all the same."""
    for _ in range(20):
        entry = registry.Entry()
        writing = asyncio.create_task(entry.write(RECORD))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await entry.remove()
    # On a slow disk not one of them came as far as making the folder; glob() does not need it.
    assert [] == list(registry.directory().glob("*"))


@pytest.mark.parametrize("how", ["no home", "a file in the way", "full"])
async def test_a_disk_that_does_not_take_it_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, warnings: list[str], how: str
) -> None:
    """Nothing raises; one warning for all sessions; no half file stays."""
    if how == "no home":
        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    elif how == "a file in the way":
        (tmp_path / "state").write_text("")
    else:
        monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "full")))
    for _ in range(2):
        entry = registry.Entry()
        await entry.write(RECORD)
        await entry.remove()
    (warning,) = warnings
    assert "cannot be written down" in warning
    if how == "full":
        assert [] == os.listdir(registry.directory())


async def test_a_file_that_is_not_ours_is_told_apart() -> None:
    """Garbage is listed as unreadable, and does not hide the others."""
    await registry.Entry().write(RECORD)
    (registry.directory() / "a.json").write_text("{")
    (registry.directory() / "b.json").write_text('{"owner": 3}')
    assert [None, None, RECORD] == [record for _, record in registry.entries()]


# -- the process ----------------------------------------------------------------------------------


def test_a_process_is_there_until_it_ends() -> None:
    """Also one whose end nobody has noticed yet counts as ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    begun = registry.started(process.pid)
    assert begun
    assert begun == registry.started(process.pid)
    owner = replace(registry.here(), pid=process.pid, started=begun)
    assert standing(owner, registry.here(), begun) is Standing.ALIVE
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
    assert registry.started(process.pid) is None
    process.communicate()
    assert registry.started(process.pid) is None


def test_this_process_is_alive_and_its_child_another_one() -> None:
    """Both on the same host and in the same boot."""
    here = registry.here()
    assert standing(here, here, registry.started(here.pid)) is Standing.ALIVE
    code = "from pipecat_runway import registry; print(registry.here())"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"host={here.host!r}, boot={here.boot!r}" in said.stdout
    assert f"pid={here.pid}," not in said.stdout
    assert standing(replace(here, started="1"), here, registry.started(here.pid)) is Standing.DEAD


# -- a call ---------------------------------------------------------------------------------------


async def test_a_session_is_written_down_from_before_its_create_until_its_end(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """First without the id, then with it, and in the room; without key or token; then no more."""
    faults(create_delay=0.5)
    before = len(runway.sessions)
    async with running(make_service()) as run:
        await until(lambda: len(runway.sessions) != before)
        ((path, record),) = registry.entries()
        assert record is not None
        assert record.session_id is None
        session = runway.sessions[-1]
        assert session.room is not None
        assert record.room == session.room.room_name
        await run.tape.wait_for_pictures(1, timeout=20)
        async with asyncio.timeout(10):  # the answer may come later than the picture
            while not (await named_by_room(runway, record))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        ((path, record),) = registry.entries()
        assert record is not None
        assert (session.id, registry.here()) == (record.session_id, record.owner)
        assert (record.owner, [record]) == await named_by_room(runway, record)
        secrets = [v for n, v in runway.env.items() if n.endswith(("SECRET", "API_KEY"))]
        assert not [s for s in (*secrets, session.room.token) if s in path.read_text()]
        await run.end()
    assert [] == written()


async def named_by_room(runway: RunwaySimulator, record: Record) -> tuple[Owner, list[Record]]:
    """The same, as the room's metadata tells it."""
    env = runway.env
    keys = (env["LIVEKIT_URL"], env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"])
    async with api.LiveKitAPI(*keys) as livekit:
        request = api.ListRoomsRequest(names=[record.room])
        (room,) = (await livekit.room.list_rooms(request)).rooms
    return read_metadata(room.metadata, room.name, env["LIVEKIT_URL"])


async def test_a_session_that_was_refused_is_not_kept(
    make_service: MakeService, faults: TurnKnobs
) -> None:
    """There is nothing to end."""
    faults(create_status=402)
    async with running(make_service()) as run:
        await run.started()
        await run.end()
    assert [] == written()


async def test_a_call_goes_on_without_a_disk(
    make_service: MakeService, tmp_path: Path, warnings: list[str]
) -> None:
    """The face comes and the session ends as ever."""
    (tmp_path / "state").write_text("")
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await run.end()
        assert [] == run.errors
    (tmp_path / "state").unlink()
    assert 1 == len([line for line in warnings if "written down" in line])
