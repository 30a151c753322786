"""A relay in user space that holds packets up on their way, each for another while.

It stands between the LiveKit server's UDP port and everybody: iptables leads what is sent to that
port here, and the relay's own packets, which carry a mark, past it.
"""

import asyncio
import random
import socket
from typing import Any

from benchmarks.compare import netns

MARK = 1
HOST = "127.0.0.1"

Address = tuple[str, int]


class Relay(asyncio.DatagramProtocol):
    """Passes packets on to a port at once, and what comes back after up to so long, in order.

    Args:
        port: The server's.
        jitter: Longest delay, in s; every packet's is drawn evenly from 0 up to it.
    """

    def __init__(self, port: int, jitter: float) -> None:
        self._port, self._jitter = port, jitter
        self._loop = asyncio.get_running_loop()
        self._down: Any = None
        self._up: dict[Address, Any] = {}
        self._early: dict[Address, list[bytes]] = {}

    @classmethod
    async def start(cls, port: int, jitter: float) -> "Relay":
        """Stand in between from now on; until the namespace ends."""
        down, relay = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: cls(port, jitter), local_addr=(HOST, 0)
        )
        netns.divert(port, down.get_extra_info("sockname")[1], unless=MARK)
        return relay

    def connection_made(self, transport: Any) -> None:
        """It listens."""
        self._down = transport

    def datagram_received(self, data: bytes, source: Address) -> None:
        """Somebody has sent something to the server."""
        if (up := self._up.get(source)) is not None:
            up.sendto(data)
        elif source in self._early:
            self._early[source].append(data)
        else:
            self._early[source] = [data]
            self._opening = self._loop.create_task(self._open(source))

    async def _open(self, source: Address) -> None:
        marked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        marked.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        marked.setblocking(False)
        marked.connect((HOST, self._port))
        back = _Back(self._down, source, self._jitter)
        up, _ = await self._loop.create_datagram_endpoint(lambda: back, sock=marked)
        for data in self._early.pop(source):
            up.sendto(data)
        self._up[source] = up


class _Back(asyncio.DatagramProtocol):
    """The way back to one of them."""

    def __init__(self, down: Any, to: Address, jitter: float) -> None:
        self._down, self._to, self._jitter = down, to, jitter
        self._last = 0.0
        self._dice = random.Random(1)

    def datagram_received(self, data: bytes, _: Address) -> None:
        loop = asyncio.get_running_loop()
        self._last = max(self._last, loop.time() + self._dice.uniform(0, self._jitter))
        loop.call_at(self._last, self._down.sendto, data, self._to)
