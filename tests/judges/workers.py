"""Sends the avatars of `livekit_worker.py` where the simulator would send its own."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from pipecat_runway.simulator import Faults
from pipecat_runway.simulator.script import Part
from pipecat_runway.simulator.switchboard import Switch
from pipecat_runway.simulator.worker_messages import WorkerEvent

from .judge import Judge

SCRIPT = "livekit_worker.py"


class JudgeWorkers:
    """A process for each avatar; takes the place of the simulator's `WorkerHost`.

    Of the knobs it knows `width`, `height`, `fps` and `sender_required`.

    Args:
        on_event: Told what happens to them.
        python: The judges'.
    """

    def __init__(self, on_event: Callable[[WorkerEvent], None], *, python: Path) -> None:
        self._on_event = on_event
        self._python = python
        self._idle: list[Judge] = []
        self._judges: dict[str, Judge] = {}
        self._following: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Nothing is needed before the first avatar."""

    async def prepare(self, count: int) -> None:
        """Have processes ready, so that their start is not part of an avatar's coming."""
        while len(self._idle) < count:
            self._idle.append(await Judge.start(self._python, SCRIPT))

    async def aclose(self) -> None:
        """End all of them."""
        for judge in [*self._idle, *self._judges.values()]:
            await judge.aclose()
        await asyncio.gather(*self._following)

    def kill(self) -> None:
        """End all of them as a crash would."""
        for judge in [*self._idle, *self._judges.values()]:
            judge.kill()

    async def join(
        self,
        *,
        session_id: str,
        url: str,
        token: str,
        room_name: str,
        agent_identity: str | None,
        character: str,
        faults: Faults,
        part: Part | None = None,
    ) -> None:
        """Send an avatar into a room; it plays no part there."""
        await self.prepare(1)
        judge = self._judges[session_id] = self._idle.pop()
        self._following.append(asyncio.create_task(self._follow(session_id, judge)))
        order = {
            "url": url,
            "token": token,
            "sender_identity": agent_identity if faults.sender_required else None,
            # Unknown of Runway's worker, so the two kinds differ in it as well.
            "idle_sound": faults.sender_required,
            "width": faults.width,
            "height": faults.height,
            "fps": faults.fps,
        }
        await judge.tell(order)

    async def leave(self, session_id: str, reason: str) -> None:
        """Call it back."""
        if session_id in self._judges:
            await self._judges[session_id].tell({"leave": reason})

    async def do(self, session_id: str, switch: Switch) -> None:
        """It throws no switches."""
        raise LookupError(session_id)

    async def gone(self, timeout: float = 30.0) -> dict[str, int | None]:
        """Wait for all processes to end by themselves; how they did, by session."""
        if self._following:
            await asyncio.wait(self._following, timeout=timeout)
        return {session_id: judge.status for session_id, judge in self._judges.items()}

    async def _follow(self, session_id: str, judge: Judge) -> None:
        left = False
        async for report in judge.reports():
            event = WorkerEvent(session_id, **report)
            left = left or event.kind == "left"
            self._on_event(event)
        await judge.aclose()
        if not left:
            self._on_event(WorkerEvent(session_id, "left", time.monotonic(), {"reason": "killed"}))
