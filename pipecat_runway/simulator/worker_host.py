"""The parent's side of the avatar workers: one process for all avatars of a simulator."""

import asyncio
import logging
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.worker_messages import HELLO, Join, Leave, WorkerEvent

__all__ = ["WorkerEvent", "WorkerHost", "WorkerProcessError"]

logger = logging.getLogger(__name__)

START_TIMEOUT = 20.0  # importing the native library on a busy machine takes seconds
STOP_TIMEOUT = 5.0
LINE_LIMIT = 4 * 1024 * 1024  # an `audio` line carries its samples when they are kept

LAST_KINDS = frozenset({"left", "join_failed"})


class WorkerProcessError(RuntimeError):
    """The process of the avatar workers did not start."""


class WorkerHost:
    """The one process in which every avatar worker of a simulator lives.

    It is spawned by :meth:`start` and again by the next :meth:`join` should it have died. It ends
    with :meth:`aclose`, and by itself when this process ends, however that happens.

    Args:
        on_event: Called in the event loop with everything the workers report.
        keep_audio: Whether ``audio`` events carry the samples as well as their count.
    """

    def __init__(
        self, on_event: Callable[[WorkerEvent], None], *, keep_audio: bool = False
    ) -> None:
        self._on_event = on_event
        self._keep_audio = keep_audio
        self._process: Process | None = None
        self._readers: list[asyncio.Task[None]] = []
        self._starting = asyncio.Lock()
        self._hello = asyncio.Event()
        self._live: set[str] = set()

    @property
    def pid(self) -> int | None:
        """The process's id, once it has been started."""
        return self._process.pid if self._process is not None else None

    async def start(self) -> None:
        """Spawn the process and wait until it can take orders.

        Raises:
            WorkerProcessError: It did not come up in time.
        """
        async with self._starting:
            if self._process is not None and not self._readers[0].done():
                return
            await self._reap()
            self._hello.clear()
            command = [sys.executable, "-m", "pipecat_runway.simulator.worker"]
            if self._keep_audio:
                command.append("--keep-audio")
            process = self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=LINE_LIMIT,
                start_new_session=True,  # a Ctrl-C is for the owner, who closes this one's stdin
            )
            self._readers = [
                asyncio.create_task(self._read_events(process), name="avatar worker events"),
                asyncio.create_task(self._read_log(process), name="avatar worker log"),
            ]
            hello = asyncio.create_task(self._hello.wait())
            try:
                await asyncio.wait(
                    [hello, self._readers[0]],
                    timeout=START_TIMEOUT,
                    return_when=asyncio.FIRST_COMPLETED,
                )
            finally:
                hello.cancel()
                if not self._hello.is_set():
                    self.kill()
                    await self._reap()
        if not self._hello.is_set():
            raise WorkerProcessError("The avatar workers' process did not start.")

    async def aclose(self) -> None:
        """End the process and whatever lives in it."""
        async with self._starting:
            if self._process is not None and self._process.stdin is not None:
                self._process.stdin.close()
            await self._reap()

    def kill(self) -> None:
        """End the process the way a crash would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

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

        Raises:
            WorkerProcessError: There was no process and none could be started.
        """
        await self.start()
        self._live.add(session_id)
        await self._order(
            Join(
                session_id=session_id,
                url=url,
                token=token,
                room_name=room_name,
                agent_identity=agent_identity,
                character=character,
                faults=faults,
            )
        )

    async def leave(self, session_id: str, reason: str) -> None:
        """Call an avatar back; its last event is ``left`` with this reason."""
        if session_id in self._live:
            await self._order(Leave(session_id, reason))

    async def _order(self, order: Join | Leave) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with suppress(ConnectionError):  # it just died, and its sessions are being told
            self._process.stdin.write(order.to_line())
            await self._process.stdin.drain()

    async def _read_events(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            event = WorkerEvent.from_line(line)
            if event.kind == HELLO:
                self._hello.set()
                continue
            if event.kind in LAST_KINDS:
                self._live.discard(event.session_id)
            self._tell(event)
        while self._live:
            killed = {"reason": "killed"}
            self._tell(WorkerEvent(self._live.pop(), "left", time.monotonic(), killed))

    def _tell(self, event: WorkerEvent) -> None:
        try:
            self._on_event(event)
        except Exception:
            logger.exception("The handler of avatar worker events failed on %r.", event.kind)

    async def _read_log(self, process: Process) -> None:
        assert process.stderr is not None
        async for line in process.stderr:
            logger.warning("avatar worker: %s", line.decode(errors="replace").rstrip())

    async def _reap(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            readers, self._readers = self._readers, []
            await asyncio.gather(*readers)
