"""Provisioning that is cut off at any of its awaits, and ends that do not come about at once."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import api, rtc

from pipecat_runway import registry, wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.lifecycle import State
from pipecat_runway.room import AvatarRoom
from pipecat_runway.session import AvatarSession
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.pipeline import running
from tests.kit.waiting import until

from .conftest import MakeService, TurnKnobs

ENOUGH = 40  # awaits; provisioning has fewer
LATER = 0.4  # s; a worker that is called back while it connects opens the deleted room once more


class Provisioning:
    """A room and a session, opened as a call opens them; also the room's listener."""

    def __init__(self, runway: RunwaySimulator) -> None:
        env = runway.env
        self.api = RunwayAPI(api_key=env[wire.ENV_API_SECRET], base_url=env[wire.ENV_BASE_URL])
        self.room = AvatarRoom(
            url=env[wire.ENV_LIVEKIT_URL],
            api_key=env[wire.ENV_LIVEKIT_API_KEY],
            api_secret=env[wire.ENV_LIVEKIT_API_SECRET],
            sample_rate=24_000,
            listener=self,
        )
        self.session = AvatarSession(
            api=self.api,
            room=self.room,
            avatar={"type": "runway-preset", "preset_id": "cat-character"},
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            livekit_url=env[wire.ENV_LIVEKIT_URL],
            max_duration=None,
            ready_timeout=20,
        )

    async def run(self) -> None:
        await self.room.reserve()
        await self.room.connect()
        await self.session.start()

    async def end(self) -> None:
        await self.session.end()
        await self.room.close()

    def avatar_joined(self, identity: str) -> None:
        self.session.joined()

    def avatar_reachable(self, identity: str) -> None:
        self.session.reachable()

    def avatar_left(self, identity: str, reason: str) -> None:
        self.session.left()

    def sound(self, identity: str, pcm: bytes) -> None:
        pass

    def seen(self, identity: str) -> None:
        pass

    async def picture(self, identity: str, frame: rtc.VideoFrame) -> None:
        self.session.pictured()

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:
        pass

    def room_lost(self, reason: str) -> None:
        self.session.left()
        self.session.lost()


class Stopped:
    """Awaits a coroutine, and does something at its n-th suspension.

    Attributes:
        reached: Whether it came so far.
    """

    def __init__(self, work: Coroutine[Any, Any, None], n: int, strike: Callable[[], None]) -> None:
        self.reached = False
        self._work, self._n, self._strike = work, n, strike

    def __await__(self) -> Generator[Any, Any, None]:
        inner = self._work.__await__()
        go_on: Callable[[], Any] = lambda: inner.send(None)  # noqa: E731
        for step in range(1, 1_000_000):
            try:
                waiting = go_on()
            except StopIteration:
                return
            if step == self._n:
                self.reached = True
                self._strike()
            try:
                yield waiting
                go_on = lambda: inner.send(None)  # noqa: E731
            except BaseException as e:
                go_on = lambda e=e: inner.throw(e)  # type: ignore[misc]  # noqa: E731


async def stopped(provisioning: Provisioning, n: int, strike: Callable[[], None]) -> bool:
    """Provision, and strike at the n-th await; whether there was one."""
    stop = Stopped(provisioning.run(), n, strike)

    async def work() -> None:
        await stop

    await asyncio.gather(asyncio.create_task(work()), return_exceptions=True)
    return stop.reached


def cancel_this() -> None:
    """As whoever waits for provisioning cancels it."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def ours() -> list[asyncio.Task[Any]]:
    """The tasks of the package under test."""

    def source(task: asyncio.Task[Any]) -> str:
        code = getattr(task.get_coro(), "cr_code", None)
        return code.co_filename if code else ""

    return [
        task
        for task in asyncio.all_tasks()
        if "/pipecat_runway/" in source(task) and "/simulator/" not in source(task)
    ]


def cancel_all() -> None:
    """As `asyncio.run` does when its main task is over: all at once, who is ending one included."""
    cancel_this()
    for task in ours():
        task.cancel()


async def rooms(runway: RunwaySimulator) -> list[str]:
    """The rooms there are."""
    env = runway.env
    keys = (env["LIVEKIT_URL"], env["LIVEKIT_API_KEY"], env["LIVEKIT_API_SECRET"])
    async with api.LiveKitAPI(*keys) as livekit:
        return [r.name for r in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms]


@asynccontextmanager
async def provisioning(runway: RunwaySimulator) -> AsyncIterator[Provisioning]:
    """Everything for a call, not begun; at the end all must be over."""
    one = Provisioning(runway)
    yield one
    await until(lambda: not runway.open_sessions, 20)
    assert [] == await rooms(runway)
    assert [] == [record for _, record in registry.entries()]
    await one.api.close()


async def test_a_cancel_at_every_await_of_provisioning_is_undone(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """Whichever step it hits, `end()` leaves no session, no room and no file."""
    faults(join_delay=LATER)
    for n in range(1, ENOUGH):
        async with provisioning(runway) as one:
            reached = await stopped(one, n, cancel_this)
            await one.end()
        if not reached:
            break
    assert 4 < n < ENOUGH - 1


@pytest.mark.long
async def test_a_loop_taken_down_at_every_await_of_provisioning_leaves_nothing(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """All tasks are cancelled at once and nobody calls `end()`: the guard does what is left."""
    faults(join_delay=LATER)
    for n in range(1, ENOUGH):
        async with provisioning(runway) as one:
            reached = await stopped(one, n, cancel_all)
            if not reached:
                await one.end()
            elif left := ours():
                await asyncio.wait(left, timeout=20)
        if not reached:
            break
    assert 4 < n < ENOUGH - 1


@pytest.mark.parametrize("how", ["ending", "live"])
async def test_a_loop_taken_down_under_a_call_ends_it(runway: RunwaySimulator, how: str) -> None:
    """Also one whose end is just being told."""
    async with provisioning(runway) as one:
        await one.run()
        if how == "ending":
            ending = asyncio.create_task(one.end())
            while one.session.state is not State.ENDING:  # noqa: ASYNC110
                await asyncio.sleep(0)
        for task in ours():
            task.cancel()
        if how == "ending":
            ending.cancel()
        await asyncio.wait(ours(), timeout=20)


async def test_a_delete_that_fails_for_a_while_is_tried_until_it_works(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """The session is then seen to have ended, and nothing stays written down."""
    faults(obey_end_call=False, delete_status=503)
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        ending = asyncio.create_task(run.end())
        await until(lambda: [r.method for r in runway.requests].count("DELETE") >= 3)
        faults(delete_status=None)
        await ending
    assert [] == runway.open_sessions
    assert ("GET", 200) == (runway.requests[-1].method, runway.requests[-1].status)


async def test_a_session_whose_answer_was_lost_is_ended_by_its_avatar(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """There is no id to cancel; whoever came into the room is told, and the file goes."""
    faults(create_answer_lost=True)
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        ((_, record),) = registry.entries()
        assert record is not None
        assert record.session_id is None
        await run.end()
    session = runway.sessions[-1]
    await asyncio.wait_for(session.ended.wait(), 5)
    assert "COMPLETED" == session.status
    assert [] == list(registry.entries())
