"""Throws switches on the sessions of a simulator: at once, at their moment, or by their script."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from livekit import api

from pipecat_runway.simulator.faults import Action
from pipecat_runway.simulator.livekit_server import LiveKitServer
from pipecat_runway.simulator.sessions import SimulatedSession
from pipecat_runway.simulator.switchboard import (
    FOR_ALL,
    IN_THE_ROOM,
    LIVE,
    Switch,
    SwitchError,
    read_switch,
    shown,
)
from pipecat_runway.simulator.worker_messages import WorkerEvent

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

logger = logging.getLogger(__name__)


class Operator:
    """Throws switches.

    A knob that a running session reads is turned on the session named, or else on all that are
    open and all to come. Other knobs belong to the simulator, whatever session is named. An action
    is done to the session named, or else to all that are open.

    Args:
        runway: Whose sessions these are.
    """

    def __init__(self, runway: "RunwaySimulator") -> None:
        self._runway = runway
        self._timers: dict[str, list[asyncio.TimerHandle]] = {}  # by session; "" for no session's
        self._tasks: set[asyncio.Task[None]] = set()

    async def throw(self, switch: Switch, session: SimulatedSession | None = None) -> None:
        """Throw a switch, or see to it that it is thrown at its moment.

        Raises:
            SwitchError: It cannot be thrown.
        """
        self._check(switch, session)
        if switch.after is not None:
            self._later(switch.after, switch.now, session)
        elif switch.speech is not None:
            for each in self._meant(session):
                await self._tell(each, switch)
        else:
            await self._do(switch, session)

    def begin(self, session: SimulatedSession) -> None:
        """Follow a new session's script, as far as it goes by the clock."""
        for text in session.faults.script:
            switch = read_switch(text)
            if switch.after is not None:
                self._later(switch.after, switch.now, session)

    def due(self, session: SimulatedSession, text: str) -> None:
        """A moment in a session's speech has come."""
        self._spawn(self._do_or_say(read_switch(text), session))

    def over(self, session: SimulatedSession | None = None) -> None:
        """Nothing more happens to a session; left out: to anybody."""
        for key in list(self._timers) if session is None else [session.id]:
            for timer in self._timers.pop(key, []):
                timer.cancel()

    async def aclose(self) -> None:
        """Let go of what has not happened yet."""
        self.over()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _check(self, switch: Switch, session: SimulatedSession | None) -> None:
        own = switch.action not in FOR_ALL if switch.action else switch.name in LIVE
        if session is not None and not own:
            raise SwitchError(f"{switch.name} does not belong to one session")
        if session is not None and not session.is_open:
            raise SwitchError(f"session {session.id} has ended")
        needs = own and (switch.action is not None or switch.speech is not None)
        if needs and switch.after is None and not self._meant(session):
            raise SwitchError(f"no session is open for {switch}")
        if switch.speech is not None and switch.action in (*FOR_ALL, Action.THAW):
            raise SwitchError(f"{switch.name} cannot wait for speech")

    def _meant(self, session: SimulatedSession | None) -> list[SimulatedSession]:
        return self._runway.open_sessions if session is None else [session]

    def _later(self, seconds: float, switch: Switch, session: SimulatedSession | None) -> None:
        def now() -> None:
            self._spawn(self._do_or_say(switch, session))

        timer = asyncio.get_running_loop().call_later(seconds, now)
        self._timers.setdefault(session.id if session else "", []).append(timer)

    async def _do_or_say(self, switch: Switch, session: SimulatedSession | None) -> None:
        try:
            await self._do(switch, session)
        except SwitchError as error:
            logger.warning("%s was not thrown: %s", switch, error)

    async def _do(self, switch: Switch, session: SimulatedSession | None) -> None:
        action = switch.action
        if action is Action.RESTART_LIVEKIT:
            await self._restart_livekit(switch.value)
        elif action is None and (session is None or switch.name not in LIVE):
            self._runway.faults = replace(self._runway.faults, **{switch.name: switch.value})
        if action in FOR_ALL or (action is None and switch.name not in LIVE):
            return
        for each in self._meant(session):
            if action is None:
                each.faults = replace(each.faults, **{switch.name: switch.value})
                if each.worker_called:
                    await self._tell(each, switch)
            elif action is Action.FAIL:
                self._note(each, switch)
                self._runway.fail(each, switch.value)
            elif action is Action.VANISH:
                self._note(each, switch)
                await self._delete_room(each)
            else:
                assert action in IN_THE_ROOM or action is Action.THAW
                await self._tell(each, switch)

    async def _tell(self, session: SimulatedSession, switch: Switch) -> None:
        try:
            await self._runway.workers.do(session.id, switch)
        except LookupError:
            raise SwitchError(f"the avatar of session {session.id} is not on its way") from None

    async def _delete_room(self, session: SimulatedSession) -> None:
        keys = self._runway.livekit
        async with api.LiveKitAPI(keys.url, keys.api_key, keys.api_secret) as livekit:
            try:
                await livekit.room.delete_room(api.DeleteRoomRequest(room=session.room_name))
            except api.TwirpError as error:
                raise SwitchError(f"the room cannot be deleted: {error.code}") from None

    async def _restart_livekit(self, away: float) -> None:
        livekit = self._runway.livekit
        if not isinstance(livekit, LiveKitServer):
            raise SwitchError("the LiveKit server is not the simulator's to restart")
        await livekit.restart(away)

    def _note(self, session: SimulatedSession, switch: Switch) -> None:
        data = {"name": switch.name, "value": shown(switch)}
        session.record(WorkerEvent(session.id, "fault", time.monotonic(), data))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
