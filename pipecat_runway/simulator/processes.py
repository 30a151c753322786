"""Processes of the simulator's own, in sessions of their own."""

import asyncio
import os
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from typing import Any


async def spawn(*command: str, **options: Any) -> Process:
    """Start a process in a session of its own; who is cancelled meanwhile leaves none behind.

    asyncio itself kills only the process when its start is cancelled and then waits until every
    pipe is closed: for ever, if the process has handed one to a child.

    Args:
        command: The command.
        options: As those of `asyncio.create_subprocess_exec`.

    Raises:
        OSError: It cannot be run.
    """
    starting = asyncio.create_task(
        # A Ctrl-C is for the owner, who ends it.
        asyncio.create_subprocess_exec(*command, start_new_session=True, **options)
    )
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        with suppress(OSError):  # it could not be run
            await kill(await starting)
        raise


async def kill(process: Process) -> None:
    """Kill a process and what it has started, unless it has ended, and wait until it is gone."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
