"""One LiveKit server and one local Runway for the whole run; every test leaves them clean."""

import asyncio
import gc
import os
import signal
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_asyncio
from livekit import api

from pipecat_runway import RunwayVideoService, registry
from pipecat_runway.simulator import Faults, LiveKitServer, RunwaySimulator, Script
from pipecat_runway.simulator.livekit_binary import find_livekit_server
from tests.kit.timing import place_on_the_machine

# No test of ours judges how long an example takes: the machines are noisy. The same examples every
# time, so that what was green stays green; `--hypothesis-profile explore` looks at others.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("repeatable")

# The simulated worker ignores an empty room, so that a session nobody ended is noticed.
# Small pictures leave two cores enough time for the sound.
STRICT = Faults(obey_empty_room=False, width=320, height=180)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have a LiveKit server before any test's time counts: the first run builds one."""
    # A shell has what runs in its background ignore Ctrl-C, and so would all that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not session.config.option.collectonly:
        asyncio.run(find_livekit_server(print))


def pytest_collection_finish() -> None:
    """Leave out of full collections what was imported: one stops the event loop for 0.1 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Let tests that judge times have the machine to themselves."""
    alone = request.node.get_closest_marker("alone") is not None
    with place_on_the_machine(tmp_path_factory.getbasetemp().parent, alone=alone):
        yield


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the keys of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith(("RUNWAYML_", "LIVEKIT_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the records of sessions out of the home of whoever runs the tests."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest_asyncio.fixture(scope="session")
async def livekit_server() -> AsyncIterator[LiveKitServer]:
    """The real server, on loopback."""
    async with LiveKitServer() as server:
        yield server


@pytest_asyncio.fixture(scope="session")
async def _simulator(livekit_server: LiveKitServer) -> AsyncIterator[RunwaySimulator]:
    async with RunwaySimulator(faults=STRICT, livekit=livekit_server, keep_audio=True) as simulator:
        yield simulator


@pytest_asyncio.fixture
async def runway(
    _simulator: RunwaySimulator, livekit_server: LiveKitServer
) -> AsyncIterator[RunwaySimulator]:
    """A local Runway with friendly workers; set its `faults` and `partner` at will."""
    _simulator.faults = STRICT
    _simulator.partner = Script()
    _simulator.requests.clear()
    before = set(_simulator.sessions)
    tasks = asyncio.all_tasks()
    threads = set(threading.enumerate())
    yield _simulator
    can_end = _simulator.faults.delete_status is None
    _simulator.faults = STRICT
    left = [session.id for session in _simulator.open_sessions]
    for session in _simulator.open_sessions:
        await session_over(_simulator, session)
    assert not left, f"sessions left open: {left}"
    await _simulator.wait_ended(10.0)
    assert all(s.ended.is_set() for s in set(_simulator.sessions) - before)
    written = [path for path, record in registry.entries() if record and record.session_id]
    assert not (written and can_end), f"sessions still written down: {written}"
    await _nothing_left(livekit_server, tasks, threads)


async def session_over(simulator: RunwaySimulator, session: Any) -> None:
    """End a session a failed test has left."""
    await simulator.workers.leave(session.id, "deleted")


async def _nothing_left(
    livekit_server: LiveKitServer, tasks: set[asyncio.Task[Any]], threads: set[threading.Thread]
) -> None:
    async with api.LiveKitAPI(
        livekit_server.url, livekit_server.api_key, livekit_server.api_secret
    ) as livekit:
        rooms = [
            room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms
        ]
        for room in rooms:  # or every test after this one would fail for it
            await livekit.room.delete_room(api.DeleteRoomRequest(room=room))
    assert not rooms, f"rooms left: {rooms}"
    left = [t for t in asyncio.all_tasks() - tasks if not _is_servers(t)]
    if left:
        _, left = await asyncio.wait(left, timeout=5)
    assert not left, f"tasks left: {left}"


def _is_servers(task: asyncio.Task[Any]) -> bool:
    """Whether a task is the test run's own or belongs to the servers under it."""
    name = getattr(task.get_coro(), "__qualname__", "")
    servers = name.startswith(("RequestHandler", "RunwaySimulator"))
    return task is asyncio.current_task() or servers or task.get_name().startswith("avatar worker")


MakeService = Callable[..., RunwayVideoService]
TurnKnobs = Callable[..., None]


@pytest.fixture
def make_service(runway: RunwaySimulator) -> MakeService:
    """Make a service that uses the local Runway."""

    def make(**options: Any) -> RunwayVideoService:
        return service_for(runway, **options)

    return make


def service_for(runway: RunwaySimulator, **options: Any) -> RunwayVideoService:
    """A service that uses a local Runway."""
    settings = RunwayVideoService.Settings(preset_id="cooking-teacher")
    keys = {
        "api_key": runway.env["RUNWAYML_API_SECRET"],
        "base_url": runway.env["RUNWAYML_BASE_URL"],
        "livekit_url": runway.env["LIVEKIT_URL"],
        "livekit_api_key": runway.env["LIVEKIT_API_KEY"],
        "livekit_api_secret": runway.env["LIVEKIT_API_SECRET"],
        "settings": settings,
        "picture_timeout": 2.0,  # pictures are late on a busy machine; what is about that says 0.5
    }
    return RunwayVideoService(**(keys | options))


@pytest.fixture
def faults(runway: RunwaySimulator) -> TurnKnobs:
    """Set knobs of the local Runway for this test."""

    def turn(**knobs: Any) -> None:
        runway.faults = replace(runway.faults, **knobs)

    return turn
