"""Bots that die in every way there is, each a process, and what stays open on a Runway that lives.

The local Runway and the LiveKit server are those of whoever calls; so they outlive every victim.
"""

import asyncio
import os
import random
import shutil
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from livekit import api

from pipecat_runway.simulator import RunwaySimulator
from tests.cli.processes import COMMAND
from tests.conftest import STRICT
from tests.kit.waiting import until

ROOT = Path(__file__).parents[2]
PROVISIONING = 0.6  # s, of each half of it
EXIT_BOUND = 40.0  # s; Pipecat gives a cancelled pipeline 20
HANG_BOUND = 8.0  # s
REAP_BOUND = 120.0  # s, for a command that takes two on a machine with nothing else to do
END_BOUND = 15.0  # s for a session to end by itself


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to die.

    Attributes:
        how: A word for the victim, a signal, or "room" for a room that vanishes.
        early: Whether it comes at a moment of provisioning; otherwise the face is there.
        handled: Whether the victim handles signals, as Pipecat's runner can.
        faults: The knobs of its Runway.
        mended: Whether Runway's DELETE, which fails at first, works again after two tries.
        reaped: Whether `pipecat-runway sessions reap` is run after it.
        diskless: Whether its files are gone by then.
        hangs: Whether Pipecat itself never ends then (seen with 1.14, without a face as well): a
            worker that is cancelled together with all its tasks waits for them for ever.
    """

    how: str | signal.Signals
    early: bool = False
    handled: bool = True
    faults: Mapping[str, Any] = field(default_factory=dict)
    mended: bool = False
    reaped: bool = False
    diskless: bool = False
    hangs: bool = False


WAYS = {
    "end": Way(how="end"),
    "cancel": Way(how="cancel"),
    "cancel, provisioning": Way(how="cancel", early=True),
    "task cancelled": Way(how="cancel the task"),
    "task cancelled, provisioning": Way(how="cancel the task", early=True),
    "exception in asyncio.run": Way(how="raise", hangs=True),
    "exception in asyncio.run, provisioning": Way(how="raise", early=True, hangs=True),
    "SIGINT": Way(how=signal.SIGINT),
    "SIGTERM": Way(how=signal.SIGTERM),
    "SIGTERM, provisioning": Way(how=signal.SIGTERM, early=True),
    "create answer lost": Way(how="end", faults={"create_answer_lost": True}),
    "END_CALL failed": Way(how="end", faults={"obey_end_call": False}),
    "DELETE failed twice": Way(
        how="end", faults={"obey_end_call": False, "delete_status": 503}, mended=True
    ),
    "room vanished": Way(how="room", faults={"room_lost_status": "RUNNING"}),
    "SIGTERM unhandled, reaped": Way(how=signal.SIGTERM, handled=False, reaped=True),
    "SIGKILL, reaped": Way(how=signal.SIGKILL, reaped=True),
    "SIGKILL, provisioning, reaped": Way(how=signal.SIGKILL, early=True, reaped=True),
    "SIGKILL, no disk, reaped": Way(how=signal.SIGKILL, reaped=True, diskless=True),
    "SIGKILL, create answer lost, reaped": Way(
        how=signal.SIGKILL, faults={"create_answer_lost": True}, reaped=True
    ),
}


@dataclass
class Report:
    """What was counted of one way.

    Attributes:
        deaths: How many victims.
        sessions: How many sessions they had.
        open: Sessions open once the victim, and where there is one the reaper, was done.
        rooms: Rooms left then.
        files: Files left then, of sessions whose id is known.
        past_end: Seconds each session was billed after its owner's end began.
        sibling_untouched: After how many of the reaps the sibling's call was as before.
        hung: Victims that did not end by themselves.
        said: What a reaper or a victim said that had left something.
    """

    deaths: int = 0
    sessions: int = 0
    open: int = 0
    rooms: int = 0
    files: int = 0
    past_end: list[float] = field(default_factory=list)
    sibling_untouched: int = 0
    hung: int = 0
    said: list[str] = field(default_factory=list)


class Victim:
    """A bot in a process of its own; see `tests.scenarios.victim`."""

    def __init__(self, process: Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._log = asyncio.create_task(self._read_log())
        self.log = ""

    @classmethod
    async def start(cls, env: Mapping[str, str]) -> "Victim":
        """Start one, which waits until it is told to live."""
        command = (sys.executable, "-m", "tests.scenarios.victim")
        return cls(
            await asyncio.create_subprocess_exec(
                *command, env=env, cwd=ROOT, stdin=PIPE, stdout=PIPE, stderr=PIPE
            )
        )

    def tell(self, word: str) -> None:
        """Give it its next word."""
        self._stdin.write(f"{word}\n".encode())

    def kill(self, number: signal.Signals) -> None:
        """Send it a signal."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def heard(self, word: str, timeout: float = 90.0) -> str:
        """Wait for a line that begins with a word; the rest of it."""
        async with asyncio.timeout(timeout):
            while line := (await self._stdout.readline()).decode():
                if line.split()[:1] == [word]:
                    return line.partition(" ")[2].strip()
        await self._log
        raise AssertionError(f"the victim ended without {word!r}: {self.log}")

    @property
    def lives(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None

    async def gone(self, timeout: float) -> bool:
        """Wait until it has ended; whether it did so by itself."""
        try:
            await asyncio.wait_for(self._process.wait(), timeout)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            return False
        finally:
            self._stdin.close()
        await self._log
        return True

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        self.log = (await self._process.stderr.read()).decode()


class Sibling:
    """A live call in another process, which nobody may touch."""

    def __init__(self, victim: Victim, runway: RunwaySimulator) -> None:
        room = runway.sessions[-1].room
        assert room is not None
        self.room = room.room_name
        self._victim, self._runway = victim, runway

    @property
    def untouched(self) -> bool:
        """Whether it lives, and nobody has cancelled its sessions or deleted its room.

        A session that fails at Runway's is followed by another one, and is nobody's doing here.
        """
        its = [s for s in self._runway.sessions if s.room and s.room.room_name == self.room]
        cancelled = [s for s in its if s.status == "CANCELLED"]
        lost = [event for s in its for event in s.events if event.kind == "room_lost"]
        return self._victim.lives and not cancelled and not lost


async def kills(
    runway: RunwaySimulator,
    state: Path,
    *,
    count: int,
    ways: Mapping[str, Way] = WAYS,
    seed: int = 1,
) -> AsyncIterator[tuple[str, Report]]:
    """Have bots die, and count what stays; a report for each way.

    A live call stands beside every way that needs the reaper.

    Args:
        runway: The local Runway.
        state: A directory for their files.
        count: How many die each way.
        ways: How.
        seed: Of the moments.
    """
    rng = random.Random(seed)
    env = {**os.environ, **runway.env, "XDG_STATE_HOME": str(state)}
    nexts = await Victim.start(env)
    try:
        for name, way in ways.items():
            report = Report()
            async with AsyncExitStack() as stack:
                sibling = None
                if way.reaped:
                    sibling = await stack.enter_async_context(_sibling(runway, env))
                for _ in range(count):
                    victim = nexts
                    await victim.heard("ready")
                    nexts = await Victim.start(env)  # it imports while this one lives and dies
                    await _die(runway, way, victim, state, env, sibling, report, rng)
            yield name, report
    finally:
        nexts.kill(signal.SIGKILL)
        await nexts.gone(EXIT_BOUND)


@asynccontextmanager
async def _sibling(runway: RunwaySimulator, env: Mapping[str, str]) -> AsyncIterator[Sibling]:
    runway.faults = STRICT
    victim = await Victim.start(env)
    try:
        await victim.heard("ready")
        victim.tell("go")
        await victim.heard("face")
        yield Sibling(victim, runway)
        victim.tell("end")
        assert await victim.gone(EXIT_BOUND)
    finally:
        if victim.lives:
            victim.kill(signal.SIGKILL)
            await victim.gone(EXIT_BOUND)


async def _die(
    runway: RunwaySimulator,
    way: Way,
    victim: Victim,
    state: Path,
    env: Mapping[str, str],
    sibling: Sibling | None,
    report: Report,
    rng: random.Random,
) -> None:
    before = len(runway.sessions)
    runway.faults = replace(STRICT, **way.faults)
    ends: dict[str, float] = {}
    clock = asyncio.create_task(_note_ends(runway, before, ends))
    try:
        victim.tell("go" if way.handled else "go unhandled")
        if way.early:
            # Of its two halves, the one before the create and the one behind it.
            if rng.random() < 0.5:
                await _created(runway, before)
            await asyncio.sleep(rng.uniform(0, PROVISIONING))
        else:
            await victim.heard("face")
        mending = asyncio.create_task(_mend(runway)) if way.mended else None
        began = await _strike(runway, way, victim, before)
        if not await victim.gone(HANG_BOUND if way.hangs else EXIT_BOUND):
            report.hung += 1
        if mending is not None:
            await mending
        said = victim.log
        if way.reaped:
            if way.diskless:
                shutil.rmtree(state)
            status, said = await _reap(env)
            said = f"status {status}: {said}"
            report.sibling_untouched += sibling is not None and sibling.untouched
        await asyncio.sleep(0.05)  # for the clock
    finally:
        clock.cancel()
    others = {sibling.room} if sibling else set()
    sessions = [s for s in runway.sessions[before:] if s.room and s.room.room_name not in others]
    if way.faults.get("create_answer_lost"):
        # Without its id nobody can ask whether it has ended; Runway notices that the avatar left.
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(s.ended.wait() for s in sessions)), END_BOUND)
    still_open = [session for session in sessions if session.is_open]
    rooms = await _rooms(runway) - others
    files = _files(state, others)
    report.deaths += 1
    report.sessions += len(sessions)
    report.open += len(still_open)
    report.rooms += len(rooms)
    report.files += len(files)
    report.past_end += [max(0.0, ends[s.id] - began) for s in sessions if s.id in ends]
    if still_open or rooms or files:
        report.said.append(said)
    for session in still_open:
        runway.cancel(session)
    for path in files:
        path.unlink()


def _files(state: Path, others: set[str]) -> list[Path]:
    """The records of sessions that are left, but for those whose id was never answered."""
    return [
        path
        for path in state.rglob("*.json")
        if path.name.partition(".")[0] not in others
        and '"session_id": null' not in path.read_text()
    ]


async def _created(runway: RunwaySimulator, before: int) -> None:
    await until(lambda: len(runway.sessions) != before, EXIT_BOUND, every=0.001)


async def _strike(runway: RunwaySimulator, way: Way, victim: Victim, before: int) -> float:
    """Have it die; when that began."""
    if isinstance(way.how, signal.Signals):
        began = time.monotonic()
        victim.kill(way.how)
        return began
    if way.how != "room":
        victim.tell(way.how)
        return float(await victim.heard("ending"))
    session = runway.sessions[before]
    assert session.room is not None
    began = time.monotonic()
    async with _livekit(runway) as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=session.room.room_name))
    with suppress(TimeoutError):
        await asyncio.wait_for(session.ended.wait(), END_BOUND)
    victim.tell("end")
    return began


async def _mend(runway: RunwaySimulator) -> None:
    """Let DELETE work again once it has failed twice."""
    seen = len(runway.requests)
    await until(lambda: [r.method for r in runway.requests[seen:]].count("DELETE") >= 2, EXIT_BOUND)
    runway.faults = replace(runway.faults, delete_status=None)


async def _note_ends(runway: RunwaySimulator, before: int, ends: dict[str, float]) -> None:
    while True:
        for session in runway.sessions[before:]:
            if not session.is_open:
                ends.setdefault(session.id, time.monotonic())
        await asyncio.sleep(0.01)


async def _reap(env: Mapping[str, str]) -> tuple[int, str]:
    """Run the command; its status and what it said."""
    command = (COMMAND, "sessions", "reap")
    process = await asyncio.create_subprocess_exec(
        *command, env=env, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), REAP_BOUND)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


@asynccontextmanager
async def _livekit(runway: RunwaySimulator) -> AsyncIterator[api.LiveKitAPI]:
    env = runway.env
    keys = (env["LIVEKIT_URL"], env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"])
    async with api.LiveKitAPI(*keys) as livekit:
        yield livekit


async def _rooms(runway: RunwaySimulator) -> set[str]:
    """The rooms that bots have made.

    An avatar that is called back while it connects opens the deleted room once more. That one has
    no metadata, and LiveKit closes it.
    """
    async with _livekit(runway) as livekit:
        rooms = (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms
    return {room.name for room in rooms if room.metadata}
