"""Ctrl-C that lets a command end what it began."""

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any

INTERRUPTED = 130  # the shell's own status for SIGINT


def run(main: Coroutine[Any, Any, int], still_ending: Callable[[], None]) -> int:
    """Run a command to its end.

    The first Ctrl-C (or SIGTERM) cancels the command; what it holds is released on the way out,
    within the bounds of each. Later ones must not cut that short, because a session may be billed.

    Args:
        main: The command; returns its exit status.
        still_ending: Told of every further Ctrl-C.

    Returns:
        The exit status.
    """
    try:
        return asyncio.run(_guarded(main, still_ending))
    except asyncio.CancelledError:
        return INTERRUPTED


async def _guarded(main: Coroutine[Any, Any, int], still_ending: Callable[[], None]) -> int:
    task = asyncio.current_task()
    assert task is not None

    def interrupt() -> None:
        if task.cancelling():
            still_ending()
        else:
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await main
