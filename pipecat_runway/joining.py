"""Our being in a LiveKit room: how it is joined and left, and what may go wrong in it."""

import asyncio
import atexit
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from enum import Enum, auto
from typing import Any

from livekit import api, rtc
from livekit.rtc.participant import PublishDataError
from loguru import logger

from pipecat_runway.errors import RoomError, RoomUnreachableError

CONNECT_TIMEOUT = 10.0  # s
CLOSE_TIMEOUT = 5.0  # s, for each step of closing
SEND_TIMEOUT = 3.0  # s, for anything sent in a room
LAST_WORD = 1.2  # s after a room was left until LiveKit's library has nothing more to say

RpcHandler = Callable[[rtc.RpcInvocationData], Awaitable[str] | str]

_closed_at = -math.inf  # when this process last left a room, by time.monotonic()


@atexit.register  # before LiveKit's own, so that it runs after that
def _let_livekit_finish() -> None:
    """Wait until LiveKit's library has said its last word.

    Its threads hand log lines to Python once a second (livekit-ffi, logger.rs). One that comes
    while the interpreter is being taken down aborts the process (seen with livekit 1.2.0).
    """
    time.sleep(max(0.0, _closed_at + LAST_WORD - time.monotonic()))


class Connection(Enum):
    """Whether we are in a room."""

    NONE = auto()  # not yet, or not any more
    MENDING = auto()  # LiveKit tries to get back to it
    HERE = auto()


_CONNECTIONS = {
    rtc.ConnectionState.CONN_CONNECTED: Connection.HERE,
    rtc.ConnectionState.CONN_RECONNECTING: Connection.MENDING,
}


def connection(room: rtc.Room) -> Connection:
    """Return whether we are in a room."""
    return _CONNECTIONS.get(room.connection_state, Connection.NONE)


class Membership:
    """Our being in one room: joined once, left once.

    Args:
        room: The room.
    """

    def __init__(self, room: rtc.Room) -> None:
        self._room = room
        self._connecting: asyncio.Task[None] | None = None
        self._answered: set[str] = set()  # RPC methods

    async def join(self, url: str, token: str) -> None:
        """Join the room. Nothing is subscribed to by itself.

        Args:
            url: The LiveKit server.
            token: A token for the room.

        Raises:
            RoomUnreachableError: No connection came about.
        """
        options = rtc.RoomOptions(auto_subscribe=False, connect_timeout=CONNECT_TIMEOUT)
        self._connecting = asyncio.create_task(self._room.connect(url, token, options))
        try:
            # Shielded: a connection given up half-way could not be ended. leave() waits for it.
            await asyncio.wait_for(asyncio.shield(self._connecting), CONNECT_TIMEOUT)
        except (rtc.ConnectError, TimeoutError) as e:
            raise RoomUnreachableError(
                "the LiveKit room cannot be joined, although the server answers"
            ) from e

    def answer(self, method: str, handler: RpcHandler) -> None:
        """Answer an RPC method for as long as we are in the room.

        Args:
            method: Its name.
            handler: Returns the answer; an `rtc.RpcError` it raises is told to the caller.
        """
        self._room.local_participant.register_rpc_method(method, handler)
        self._answered.add(method)

    async def leave(self) -> None:
        """Leave the room. Safe in any state, and more than once."""
        global _closed_at
        if self._connecting is not None:
            await asyncio.wait({self._connecting}, timeout=CLOSE_TIMEOUT)
            if self._connecting.done() and not self._connecting.cancelled():
                self._connecting.exception()  # told to whoever joined
        self._connecting = None
        # A room that still answers a method is never freed: 0.5 MB each (seen with livekit 1.2.0).
        while self._answered:
            with contextlib.suppress(AssertionError, RuntimeError):  # of a library that is closed
                self._room.local_participant.unregister_rpc_method(self._answered.pop())
        await bounded("leave the room", self._room.disconnect())
        _closed_at = time.monotonic()


def reason_name(reason: rtc.DisconnectReason.ValueType | None) -> str:
    """Return LiveKit's name for why somebody has left."""
    if reason is None or reason not in rtc.DisconnectReason.values():
        return "unknown"
    return rtc.DisconnectReason.Name(reason)


async def bounded(action: str, step: Coroutine[Any, Any, Any]) -> None:
    """Run a step of closing; a step that fails or hangs does not hold the others."""
    # A task, because LiveKit's own may have been cancelled: that is the step's failure, not ours.
    task = asyncio.create_task(step)
    try:
        await asyncio.wait({task}, timeout=CLOSE_TIMEOUT)
    finally:
        stuck = task.cancel()
    try:
        if stuck:
            raise TimeoutError
        task.result()
    except api.TwirpError:
        pass  # gone already
    except (asyncio.CancelledError, Exception) as e:
        logger.warning(f"could not {action} ({type(e).__name__})")


@contextlib.asynccontextmanager
async def room_errors(action: str) -> AsyncIterator[None]:
    """Bound an action in a room, and raise what fails there as a RoomError."""
    try:
        async with asyncio.timeout(SEND_TIMEOUT):
            yield
    except (rtc.StreamError, PublishDataError, RuntimeError, ConnectionError, TimeoutError) as e:
        raise RoomError(f"could not {action} in the LiveKit room ({type(e).__name__})") from e
