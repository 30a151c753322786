"""One process of an avatar worker, from its start to its end."""

import asyncio
import logging
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from pipecat_runway.simulator import frost
from pipecat_runway.simulator.faults import Action
from pipecat_runway.simulator.processes import kill, spawn
from pipecat_runway.simulator.worker_messages import HELLO, Order, WorkerEvent

logger = logging.getLogger(__name__)

START_TIMEOUT = 20.0  # importing the native library on a busy machine takes seconds
STOP_TIMEOUT = 5.0
LINE_LIMIT = 4 * 1024 * 1024  # an `audio` line carries its samples when they are kept


class WorkerProcessError(RuntimeError):
    """A process for an avatar worker did not start."""


class WorkerProcess:
    """A process in which one avatar lives at a time.

    It ends with :meth:`aclose`, and by itself when this process ends, however that happens.

    Args:
        on_event: Told what the avatar reports.
        on_end: Told that the process has ended, once there are no more reports.

    Attributes:
        session_id: Whose avatar lives in it; None: nobody's.
    """

    def __init__(
        self,
        on_event: Callable[[WorkerEvent], None],
        on_end: Callable[["WorkerProcess"], None],
    ) -> None:
        self.session_id: str | None = None
        self._doomed = False
        self._on_event = on_event
        self._on_end = on_end
        self._process: Process | None = None
        self._hello = asyncio.Event()
        self._guard: asyncio.Task[None] | None = None  # while it is frozen
        self._reading: asyncio.Task[None] | None = None

    @property
    def free(self) -> bool:
        """Whether it can take an avatar."""
        return self.session_id is None and not self._doomed

    @property
    def pid(self) -> int:
        """Its id."""
        assert self._process is not None, "not started"
        return self._process.pid

    async def start(self, *, keep_audio: bool) -> None:
        """Spawn it and wait until it can take orders.

        Raises:
            WorkerProcessError: It did not come up in time.
        """
        command = [sys.executable, "-m", "pipecat_runway.simulator.worker"]
        process = self._process = await spawn(
            *command,
            *(["--keep-audio"] if keep_audio else []),
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            limit=LINE_LIMIT,
        )
        self._reading = asyncio.create_task(self._read(process), name="avatar worker")
        hello = asyncio.create_task(self._hello.wait())
        try:
            await asyncio.wait(
                [hello, self._reading],
                timeout=START_TIMEOUT,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            hello.cancel()
            if not self._hello.is_set():
                self.kill()
                await self.aclose()
        if not self._hello.is_set():
            raise WorkerProcessError("The avatar worker's process did not start.")

    async def order(self, order: Order) -> None:
        """Have its avatar do something."""
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(ConnectionError):  # it just died, and its session is being told
            self._process.stdin.write(order.to_line())
            await self._process.stdin.drain()

    def kill(self) -> None:
        """End it the way a crash would."""
        self._doomed = True
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    @property
    def frozen(self) -> bool:
        """Whether it stands still."""
        return self._guard is not None

    def thaw(self) -> None:
        """Let it go on."""
        if self._process is not None and self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGCONT)
        self._let_go()

    async def aclose(self) -> None:
        """End it and whatever lives in it."""
        process = self._process
        if process is None or process.stdin is None:
            return
        if self.frozen:
            self.kill()
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
        finally:
            await kill(process)
            if self._reading is not None:
                await self._reading

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        log = asyncio.create_task(_read_log(process), name="avatar worker log")
        async for line in process.stdout:
            event = WorkerEvent.from_line(line)
            if event.kind == HELLO:
                self._hello.set()
                continue
            if event.kind == "fault" and event.data["name"] == Action.FREEZE.value:
                self._guard = asyncio.create_task(_guard(process.pid), name="avatar worker frozen")
            self._on_event(event)
        await log
        await process.wait()
        self._let_go()
        self._on_end(self)

    def _let_go(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
            self._guard = None


async def _guard(pid: int) -> None:
    """Have a process that has stopped itself go on should this one die; until cancelled."""
    command = [sys.executable, "-I", "-S", frost.__file__, str(pid)]
    guard = await spawn(*command, stdin=PIPE)
    try:
        await guard.wait()
    finally:
        await kill(guard)  # instead of closing its stdin: the process may be stopped again by now


async def _read_log(process: Process) -> None:
    assert process.stderr is not None
    async for line in process.stderr:
        logger.warning("avatar worker: %s", line.decode(errors="replace").rstrip())
