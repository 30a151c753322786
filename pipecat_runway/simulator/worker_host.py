"""The parent's side of the avatar workers: a process for each avatar that is in a room."""

import asyncio
import logging
import time
from collections.abc import Callable

from pipecat_runway.simulator.faults import Action, Faults
from pipecat_runway.simulator.script import Part
from pipecat_runway.simulator.switchboard import Switch
from pipecat_runway.simulator.worker_messages import Do, Join, Leave, WorkerEvent
from pipecat_runway.simulator.worker_process import WorkerProcess, WorkerProcessError

__all__ = ["WorkerEvent", "WorkerHost", "WorkerProcessError"]

logger = logging.getLogger(__name__)

LAST_KINDS = frozenset({"left", "join_failed"})


class WorkerHost:
    """The processes in which a simulator's avatars live.

    Each avatar has one to itself, so that one can die without the others. The first is spawned by
    :meth:`start`, more when avatars meet; one that has become free takes the next avatar. They end
    with :meth:`aclose`, and by themselves when this process ends, however that happens.

    Args:
        on_event: Called in the event loop with everything the workers report.
        keep_audio: Whether ``audio`` events carry the samples as well as their count.
    """

    def __init__(
        self, on_event: Callable[[WorkerEvent], None], *, keep_audio: bool = False
    ) -> None:
        self._on_event = on_event
        self._keep_audio = keep_audio
        self._processes: list[WorkerProcess] = []
        self._choosing = asyncio.Lock()

    @property
    def pids(self) -> list[int]:
        """The ids of the processes, oldest first."""
        return [process.pid for process in self._processes]

    async def start(self) -> None:
        """Have a process that is free.

        Raises:
            WorkerProcessError: It did not come up in time.
        """
        await self.prepare(1)

    async def prepare(self, count: int) -> None:
        """Have processes ready, so that their start is not part of an avatar's coming.

        Raises:
            WorkerProcessError: One did not come up in time.
        """
        async with self._choosing:
            while sum(process.free for process in self._processes) < count:
                await self._spawn()

    async def aclose(self) -> None:
        """End the processes and whatever lives in them."""
        async with self._choosing:
            await asyncio.gather(*(process.aclose() for process in self._processes))

    def kill(self) -> None:
        """End all of them the way a crash would."""
        for process in self._processes:
            process.kill()

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
        """Send an avatar into a room; what comes of it is reported as events.

        Args:
            session_id: Marks the events of this avatar.
            url: The LiveKit server.
            token: What opens the room.
            room_name: The room.
            agent_identity: Whose speech it speaks; None takes the first agent's.
            character: A preset's id, or an avatar's own id.
            faults: How it misbehaves.
            part: What it does of its own accord, in a managed room.

        Raises:
            WorkerProcessError: There was no free process and none could be started.
        """
        try:
            async with self._choosing:
                process = await self._free()
                process.session_id = session_id
        except asyncio.CancelledError:  # called back before there was anybody to send
            self._tell(_left(session_id, "deleted"))
            raise
        await process.order(
            Join(
                session_id=session_id,
                url=url,
                token=token,
                room_name=room_name,
                agent_identity=agent_identity,
                character=character,
                faults=faults,
                part=part,
            )
        )

    async def leave(self, session_id: str, reason: str) -> None:
        """Call an avatar back; its last event is ``left`` with this reason.

        One that is frozen cannot come, so its process is killed.
        """
        if (process := self._of(session_id)) is not None:
            if process.frozen:
                process.kill()
            else:
                await process.order(Leave(session_id, reason))

    async def do(self, session_id: str, switch: Switch) -> None:
        """Have an avatar throw a switch; it reports ``fault`` once that has happened.

        Raises:
            LookupError: There is no such avatar.
        """
        if (process := self._of(session_id)) is None:
            raise LookupError(session_id)
        if switch.action is Action.THAW:
            process.thaw()
            thawed = {"name": switch.name, "value": None}
            self._tell(WorkerEvent(session_id, "fault", time.monotonic(), thawed))
        elif process.frozen and switch.action in (Action.KILL, Action.LEAVE):
            process.kill()
        else:
            await process.order(Do(session_id, str(switch)))

    async def _free(self) -> WorkerProcess:
        """A process without an avatar."""
        for process in self._processes:
            if process.free:
                return process
        return await self._spawn()

    async def _spawn(self) -> WorkerProcess:
        process = WorkerProcess(self._on_report, self._on_end)
        await process.start(keep_audio=self._keep_audio)
        self._processes.append(process)
        return process

    def _of(self, session_id: str) -> WorkerProcess | None:
        for process in self._processes:
            if process.session_id == session_id:
                return process
        return None

    def _on_report(self, event: WorkerEvent) -> None:
        if event.kind in LAST_KINDS and (process := self._of(event.session_id)) is not None:
            process.session_id = None
        self._tell(event)

    def _on_end(self, process: WorkerProcess) -> None:
        if process in self._processes:
            self._processes.remove(process)
        if (session_id := process.session_id) is not None:
            process.session_id = None
            self._tell(_left(session_id, "killed"))

    def _tell(self, event: WorkerEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            logger.exception("The handler of avatar worker events failed on %r.", event.kind)


def _left(session_id: str, reason: str) -> WorkerEvent:
    return WorkerEvent(session_id, "left", time.monotonic(), {"reason": reason})
