"""What must not be left undone when an event loop is taken down."""

import asyncio
from collections.abc import Awaitable, Callable


class Guard:
    """Ends sessions and their room if the event loop is taken down before they have ended.

    `asyncio.run` cancels every task when its main one is over, be it by an exception or by Ctrl-C;
    those that are ending a session are among them. This task takes the cancellation for what it
    is, does the rest, and is waited for like all the others.

    Args:
        close: Closes the room; safe in any state.
    """

    def __init__(self, close: Callable[[], Awaitable[None]]) -> None:
        self._close = close
        self._ends: list[Callable[[], Awaitable[None]]] = []
        self._begun, self._dismissed = asyncio.Event(), asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Watch, from now on until :meth:`dismiss`."""
        self._watching = asyncio.create_task(self._watch())
        await self._begun.wait()  # a task that is cancelled before its first step does nothing

    def add(self, end: Callable[[], Awaitable[None]]) -> None:
        """Have a session ended, before the room is closed."""
        self._ends.append(end)

    def discard(self, end: Callable[[], Awaitable[None]]) -> None:
        """Forget a session: it has ended."""
        if end in self._ends:
            self._ends.remove(end)

    def dismiss(self) -> None:
        """All has ended."""
        self._dismissed.set()

    async def _watch(self) -> None:
        self._begun.set()
        try:
            await self._dismissed.wait()
        except asyncio.CancelledError:
            await asyncio.gather(*(end() for end in list(self._ends)), return_exceptions=True)
            await self._close()
            raise
