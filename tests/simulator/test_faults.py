"""The switchboard against real workers and a real LiveKit server: what is thrown happens."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from livekit import rtc
from numpy.typing import NDArray

from pipecat_runway.simulator import Faults, LiveKitServer, RunwaySimulator, SimulatedSession
from pipecat_runway.simulator.livekit_binary import BUILD_TIMEOUT
from tests.kit.marks import marked_speech, numbers, read_marks
from tests.kit.voices import read_altered
from tests.kit.waiting import until

from .api_kit import session_body
from .worker_kit import AGENT, HEARD_RATE, RATE, SMALL, Bot, Events, token

pytestmark = pytest.mark.timeout(BUILD_TIMEOUT)

BOUND = 10.0


class Scene:
    """A bot, its session and its avatar in one room of a simulator."""

    def __init__(self, runway: RunwaySimulator, session: SimulatedSession, bot: Bot) -> None:
        self.runway, self.session, self.bot = runway, session, bot

    async def say(self, first: int, pieces: int) -> None:
        pcm = np.frombuffer(marked_speech(first, pieces, RATE), np.int16)
        await self.bot.say(pcm, avatar="avatar")

    async def heard(self, first: int, pieces: int) -> list[int]:
        """Which of these marks were heard, once the avatar has said its last."""
        await self.session.wait_for("playback_finished", BOUND)
        said = [e.at for e in self.session.events if e.kind == "playback_finished"]
        await self.bot.hear_out(said[-1])
        return marks_of(self.bot.heard(), numbers(first, pieces))

    async def thrown(self, name: str) -> float:
        """When the switch was thrown."""
        return (await self.session.wait_for("fault", BOUND, name=name)).at


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def local() -> AsyncIterator[RunwaySimulator]:
    async with LiveKitServer() as server, RunwaySimulator(SMALL, livekit=server) as runway:
        yield runway


@asynccontextmanager
async def scene(
    runway: RunwaySimulator, faults: Faults = SMALL, *, watch: bool = False
) -> AsyncIterator[Scene]:
    runway.faults = faults
    room = f"room-{len(runway.sessions)}"
    bot = Bot(room, Events())
    keys: Any = runway.livekit
    await bot.connect(keys.url, token(keys, AGENT, room), watch=watch)
    try:
        where = {
            "type": "livekit",
            "url": keys.url,
            "token": token(keys, "avatar", room, attributes={"lk.publish_on_behalf": AGENT}),
            "roomName": room,
            "agentIdentity": AGENT,
        }
        session = runway.create(session_body(integration=where))
        await session.wait_for("published", BOUND)
        await bot.until(lambda: bool(bot.sound))
        yield Scene(runway, session, bot)
        runway.cancel(session)
    finally:
        await bot.aclose()
        await runway.wait_ended(BOUND)


def marks_of(sound: NDArray[np.int16], among: list[int]) -> list[int]:
    """The marks heard, in order."""
    return [mark.number for mark in read_marks(sound, HEARD_RATE, among=among)]


async def test_one_avatar_dies_and_the_other_speaks_on(local: RunwaySimulator) -> None:
    """A kill is one session's: it fails as its status says, nobody else notices."""
    async with scene(local) as one, scene(local) as two:
        await two.say(0, 8)
        await local.fault("kill", one.session)
        left = await one.session.wait_for("left", BOUND)
        assert left.data == {"reason": "killed"}
        assert one.session.status == "FAILED"
        assert await two.heard(0, 8) == numbers(0, 8)
        assert two.session.is_open


async def test_a_kill_in_the_middle_of_a_word(local: RunwaySimulator) -> None:
    """After so much speech it is gone, and what was not said by then is never heard."""
    async with scene(local) as here:
        await local.fault("kill@speech:0.65", here.session)
        await here.say(0, 20)
        await here.session.wait_for("left", BOUND)
        await here.bot.hear_until(await here.thrown("kill") + 0.5)
        heard = marks_of(here.bot.heard(), numbers(0, 20))
        assert heard[:5] == numbers(0, 5)
        assert set(heard) <= set(numbers(0, 7))


async def test_a_frozen_avatar_goes_on_when_it_is_thawed(local: RunwaySimulator) -> None:
    """Meanwhile neither sound nor picture comes, and it is still in the room."""
    async with scene(local, watch=True) as here:
        await local.fault("freeze@speech:0.3", here.session)
        await here.say(0, 10)
        await here.thrown("freeze")
        pid = local.workers.pids[-1]  # type: ignore[attr-defined]
        await until(lambda: state_of(pid) == "T", BOUND)
        assert "avatar" in here.bot.room.remote_participants
        await local.fault("thaw", here.session)
        assert state_of(pid) != "T"
        pictures = len(here.bot.pictures)
        assert (await here.heard(0, 10))[-1:] == [9]
        assert len(here.bot.pictures) > pictures


async def test_a_frozen_avatar_that_is_called_back_dies(local: RunwaySimulator) -> None:
    """A session's end does not wait for somebody who stands still, nor does the simulator's."""
    async with scene(local) as here:
        await local.fault("freeze", here.session)
        await here.thrown("freeze")
        local.cancel(here.session)
        left = await here.session.wait_for("left", BOUND)
        assert left.data == {"reason": "killed"}
        assert here.session.status == "CANCELLED"


def state_of(pid: int) -> str:
    """A process's state as Linux shows it; T is stopped."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


async def test_a_mute_avatar_moves_its_lips(local: RunwaySimulator) -> None:
    """Its sound ends in mid-word, its calls and pictures go on; and it can be given back."""
    async with scene(local, watch=True) as here:
        await local.fault("muted=yes@speech:0.5", here.session)
        await here.say(0, 12)
        muted = await here.thrown("muted")
        assert set(await here.heard(0, 12)) <= set(numbers(0, 7))
        await here.bot.until(lambda: len(here.bot.finished) == 1)
        assert [at for at, _ in here.bot.pictures if at > muted + 0.2]
        await local.fault("muted=no", here.session)
        await here.say(20, 5)
        await here.bot.until(lambda: len(here.bot.finished) == 2)
        assert await here.heard(20, 5) == numbers(20, 5)


async def test_a_picture_that_stands_still_while_the_sound_goes_on(local: RunwaySimulator) -> None:
    """Stopped: no more pictures come. Still: they come, and their mouth does not move."""
    async with scene(local, watch=True) as here:
        await here.bot.until(lambda: len(here.bot.pictures) > 3)
        for picture, first in (("stopped", 0), ("still", 20)):
            await local.fault(f"picture={picture}", here.session)
            thrown = (await here.session.wait_for("fault", BOUND, value=picture)).at
            await here.say(first, 7)
            await here.bot.until(lambda n=first: len(here.bot.finished) > n // 20)
            assert await here.heard(first, 7) == numbers(first, 7)
            later = [frame for at, frame in here.bot.pictures if at > thrown + 0.3]
            assert bool(later) == (picture == "still")
            before = len(here.bot.pictures)
            if picture == "stopped":
                await local.fault("picture=moving", here.session)
                await here.bot.until(lambda n=before: len(here.bot.pictures) > n + 3)
        first, last = (np.frombuffer(f.data, np.uint8).astype(int) for f in (later[0], later[-1]))
        assert np.abs(first - last).max() < 40  # what a codec does to one and the same picture


@pytest.mark.parametrize("voice", ["scrambled", "faster"])
async def test_an_altered_voice_is_not_what_was_sent(local: RunwaySimulator, voice: str) -> None:
    """No mark can be read in it; read as it was altered, all of them can."""
    async with scene(local) as here:
        await local.fault(f"voice={voice}", here.session)
        await here.thrown("voice")
        await here.say(0, 10)
        assert await here.heard(0, 10) == []
        sound = here.bot.heard().tobytes()
        marks = read_altered(sound, HEARD_RATE, voice, numbers(0, 10))
        assert [mark.number for mark in marks] == numbers(0, 10)


async def test_an_avatar_that_rejoins_is_the_same_session(local: RunwaySimulator) -> None:
    """It drops out, comes back and speaks; `leave` is for good."""
    async with scene(local) as here:
        await local.fault("rejoin", here.session)
        thrown = await here.thrown("rejoin")
        await here.session.wait_until(lambda e: e.kind == "published" and e.at > thrown, BOUND)
        assert here.session.status == "RUNNING"
        await local.fault("leave", here.session)
        await here.session.wait_for("left", BOUND)
        assert here.session.status == "COMPLETED"


async def test_a_room_that_vanishes_and_a_session_that_fails(local: RunwaySimulator) -> None:
    """The room is deleted under both; a failure has the code it was given."""
    async with scene(local) as here:
        gone = asyncio.Event()
        here.bot.room.on("disconnected", lambda _: gone.set())
        await local.fault("vanish", here.session)
        await here.session.wait_for("room_lost", BOUND)
        await asyncio.wait_for(gone.wait(), BOUND)
    async with scene(local) as here:
        await local.fault("fail=SAFETY.INPUT@speech:0.2", here.session)
        await here.say(0, 10)
        await asyncio.wait_for(here.session.ended.wait(), BOUND)
        assert here.session.to_json()["failureCode"] == "SAFETY.INPUT"


async def test_calls_are_lost_late_and_wrong(local: RunwaySimulator) -> None:
    """Every second call is lost; a position is off by what was said; a delay delays."""
    async with scene(local) as here:
        await local.fault("rpc_lost=2", here.session)
        await local.fault("playback_position_error=-5", here.session)
        await local.fault("rpc_delay=0.2", here.session)
        await here.say(0, 3)
        await here.bot.until(lambda: bool(here.bot.started))
        told = await here.session.wait_for("playback_finished", BOUND)
        await local.fault("rpc_lost=0", here.session)
        await here.say(10, 3)
        await here.bot.until(lambda: bool(here.bot.finished))
        assert len(here.bot.finished) == 1
        assert -4.8 < here.bot.finished[0]["playback_position"] < -4.6
        assert told.at < here.bot.calls[-1][0]


async def test_babble_reaches_the_bot(local: RunwaySimulator) -> None:
    """Calls that cannot be read, packets and streams nobody asked for; the avatar speaks on."""
    async with scene(local) as here:
        packets: list[rtc.DataPacket] = []
        here.bot.room.on("data_received", packets.append)
        await local.fault("babble", here.session)
        await here.bot.until(lambda: len(here.bot.calls) >= 38 and len(packets) >= 12)
        await here.say(0, 4)
        await here.session.wait_for("playback_finished", BOUND)


async def test_the_livekit_server_crashes_and_comes_back() -> None:
    """At the same address with the same keys; the avatar finds its way back by itself."""
    patient = replace(SMALL, obey_empty_room=False)
    async with RunwaySimulator(patient) as runway, scene(runway, patient) as here:
        address = runway.env["LIVEKIT_URL"]
        heard = len(here.bot.sound)
        await runway.fault("restart_livekit=0.5")
        assert address == runway.env["LIVEKIT_URL"]
        await here.bot.until(lambda: len(here.bot.sound) > heard + 200, timeout=30)
        assert here.session.is_open


OWNER = """
import asyncio
from pipecat_runway.simulator import Faults
from pipecat_runway.simulator.switchboard import Switch
from pipecat_runway.simulator.worker_host import WorkerHost
async def main():
    host = WorkerHost(lambda event: print(*host.pids, flush=True))
    await host.start()
    await host.join(session_id="s", url="", token="", room_name="", agent_identity=None,
                    character="", faults=Faults(never_join=True))
    await host.do("s", Switch("freeze"))
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_frozen_worker_does_not_outlive_its_owner() -> None:
    """A simulator that is killed while an avatar stands still leaves no process."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(await asyncio.wait_for(owner.stdout.readline(), 20))
    gone = os.pidfd_open(pid)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(gone, ended.set)
    try:
        async with asyncio.timeout(BOUND):
            # Stopped, and what lets it go on is there.
            while state_of(pid) != "T" or not guarded(pid):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        owner.kill()
        await owner.wait()
        await asyncio.wait_for(ended.wait(), BOUND)
    finally:
        loop.remove_reader(gone)
        os.close(gone)


def guarded(pid: int) -> bool:
    """Whether a process lets that one go on when its owner ends."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            command = [b"", b"", *path.read_bytes().split(b"\0")]
            if command[-3].endswith(b"frost.py") and command[-2] == str(pid).encode():
                return True
    return False
