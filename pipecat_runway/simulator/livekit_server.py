"""A real ``livekit-server`` on loopback, which never outlives its owner."""

import asyncio
import json
import os
import re
import secrets
import signal
import socket
import sys
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import aiohttp
from livekit import api

from pipecat_runway.simulator import leash
from pipecat_runway.simulator.livekit_binary import (
    LiveKitServerError,
    Progress,
    find_livekit_server,
)
from pipecat_runway.simulator.processes import kill, spawn

HOST = "127.0.0.1"
START_TIMEOUT = 10.0
END_TIMEOUT = 5.0
ATTEMPTS = 3  # a free port may be taken by another process before the server binds it


class LiveKitServer:
    """One ``livekit-server`` process with keys of its own; an async context manager.

    Everything it opens is bound to 127.0.0.1: HTTP and WebSocket on one TCP port, media on one
    UDP port. ICE over TCP is off, because the server can bind that port to all addresses only.

    Args:
        port: TCP port. 0 takes a free one.
        empty_timeout: Seconds after which the server closes a room that nobody but agents has
            joined. Counted from the room's creation, and agents being inside does not stop it;
            the default is LiveKit's own.
        departure_timeout: Seconds a room lives on after its last participant has left; the default
            is LiveKit's own.
        binary: The server's executable. None finds or builds it.
        progress: Told, line by line, what a build is doing.

    Attributes:
        url: The server's WebSocket address.
        api_key: Its API key.
        api_secret: The secret of that key.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        empty_timeout: int = 300,
        departure_timeout: int = 20,
        binary: Path | None = None,
        progress: Progress = lambda line: None,
    ) -> None:
        self.url = ""
        self.api_key = f"API{secrets.token_hex(8)}"
        self.api_secret = secrets.token_hex(32)
        self._port = port
        self._room = {"empty_timeout": empty_timeout, "departure_timeout": departure_timeout}
        self._binary = binary
        self._progress = progress
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._log: deque[str] = deque(maxlen=40)

    def __repr__(self) -> str:
        return f"LiveKitServer(url={self.url!r})"

    @property
    def log(self) -> list[str]:
        """The server's last warnings and errors, without keys and tokens."""
        return list(self._log)

    async def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            LiveKitServerError: It could not be found, built or started.
        """
        binary = self._binary or await find_livekit_server(self._progress)
        for attempt in range(1, ATTEMPTS + 1):
            port = self._port or _free_port(socket.SOCK_STREAM)
            try:
                await self._start_on(binary, port)
            except BaseException as error:
                await self.aclose()
                taken = any("address already in use" in line for line in self._log)
                if not isinstance(error, LiveKitServerError) or not taken:
                    raise
                if self._port or attempt == ATTEMPTS:
                    raise
            else:
                self.url = f"ws://{HOST}:{port}"
                return

    async def restart(self, away: float = 0.0) -> None:
        """Let it crash, and start it again at the same address with the same keys.

        Args:
            away: Seconds in between.

        Raises:
            LiveKitServerError: It could not be started again.
        """
        process = self._process
        if process is None or self._reading is None:
            raise LiveKitServerError("livekit-server is not running")
        os.killpg(process.pid, signal.SIGKILL)
        await self.aclose()
        await asyncio.sleep(away)
        binary = self._binary or await find_livekit_server(self._progress)
        try:
            await self._start_on(binary, int(self.url.rpartition(":")[2]))
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """End the server. Bounded, and harmless when repeated."""
        process, self._process = self._process, None
        reading, self._reading = self._reading, None
        if process is None or reading is None:
            return
        assert process.stdin is not None
        process.stdin.close()  # the leash ends the server
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), END_TIMEOUT)
        finally:
            await kill(process)
            with suppress(TimeoutError):
                await asyncio.wait_for(reading, 1.0)  # the pipe's other end is closed now

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    async def _start_on(self, binary: Path, port: int) -> None:
        config = self._config(port, _free_port(socket.SOCK_DGRAM))
        self._log.clear()
        self._process = process = await spawn(
            sys.executable,
            "-I",
            "-S",
            leash.__file__,
            str(binary),
            # Its own variables only: LIVEKIT_KEYS, UDP_PORT and others would override the file.
            env={"LIVEKIT_CONFIG": json.dumps(config), "PATH": os.environ.get("PATH", "")},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        assert process.stdout is not None
        self._reading = asyncio.create_task(self._read(process.stdout))
        try:
            async with asyncio.timeout(START_TIMEOUT), aiohttp.ClientSession() as http:
                while not await self._answers(http, port):
                    if process.returncode is not None:
                        await self._reading
                        raise self._error(f"ended with status {process.returncode}")
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise self._error(f"did not answer within {START_TIMEOUT:.0f} s") from None

    def _config(self, port: int, udp_port: int) -> dict[str, Any]:
        return {
            "port": port,
            "bind_addresses": [HOST],
            "keys": {self.api_key: self.api_secret},
            "rtc": {
                "udp_port": udp_port,
                "tcp_port": 0,
                "node_ip": HOST,
                "use_external_ip": False,
                "enable_loopback_candidate": True,
                "ips": {"includes": [f"{HOST}/32"]},
            },
            "room": {"auto_create": True, **self._room},
            "logging": {"level": "warn", "json": False},
        }

    async def _read(self, output: asyncio.StreamReader) -> None:
        async for raw in output:
            line = raw.decode(errors="replace").rstrip().replace(self.api_secret, "[removed]")
            self._log.append(re.sub(r"eyJ[\w.-]+", "[removed]", line))  # access tokens

    async def _answers(self, http: aiohttp.ClientSession, port: int) -> bool:
        """Whether a server with our keys, and so our server, answers there."""
        grants = api.VideoGrants(room_join=True, room="ready")
        token = api.AccessToken(self.api_key, self.api_secret).with_identity("probe")
        headers = {"Authorization": f"Bearer {token.with_grants(grants).to_jwt()}"}
        try:
            async with http.get(f"http://{HOST}:{port}/rtc/validate", headers=headers) as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    def _error(self, what: str) -> LiveKitServerError:
        said = " / ".join(self._log) or "nothing"
        return LiveKitServerError(f"livekit-server {what}. It said: {said}")


def _free_port(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
