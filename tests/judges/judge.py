"""The judges' environment, and a judge's process in it."""

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).parent
INSTALL_TIMEOUT = 600.0  # the first time everything is downloaded
READY_TIMEOUT = 60.0  # on a busy machine; its imports alone take 3 s on an idle one
STOP_TIMEOUT = 20.0


class InstallError(RuntimeError):
    """The judges' environment could not be made."""


def find_uv() -> str | None:
    """Where uv is; `uv run` says so itself."""
    return os.environ.get("UV") or shutil.which("uv")


async def install_node() -> Path:
    """Make Node's part of it what its lock says.

    Returns:
        Node.

    Raises:
        InstallError: It could not be made; the message is npm's.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise InstallError("node and npm are not on PATH")
    if not (HERE / "node" / "node_modules" / ".package-lock.json").exists():
        await _run(npm, "ci", "--no-audit", "--no-fund", "--prefix", str(HERE / "node"))
    return Path(node)


async def install() -> Path:
    """Make the judges' environment what its lock says; no network is used if nothing is missing.

    Returns:
        Its Python.

    Raises:
        InstallError: It could not be made; the message is uv's.
    """
    uv = find_uv()
    if uv is None:
        raise InstallError("uv is not on PATH")
    project = HERE / "environment"
    venv = project / ".venv"
    # These variables may name the environment the tests themselves run in.
    env = {**os.environ, "UV_PROJECT_ENVIRONMENT": str(venv), "VIRTUAL_ENV": str(venv)}
    command = ("sync", "--frozen", "--python", sys.executable, "--project", str(project))
    await _run(uv, *command, env=env)
    return venv / "bin" / "python"


async def _run(*command: str, env: Mapping[str, str] | None = None) -> None:
    process = await asyncio.create_subprocess_exec(*command, env=env, stdout=PIPE, stderr=STDOUT)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), INSTALL_TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise InstallError(f"{' '.join(command[:2])} failed:\n{said.decode()}")


class Judge:
    """A judge's process; what goes in and what comes out is one JSON object a line.

    It ends by itself or when its stdin does. Its complaints go where the tests' own go.
    """

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, python: Path, script: str, **env: str) -> Self:
        """Start one of the scripts here, with these environment variables as well as ours.

        Returns:
            It, once everything is imported and it waits to be told what to do.
        """
        # Nobody it talks to is outside this machine.
        ours = {name: v for name, v in os.environ.items() if not name.lower().endswith("_proxy")}
        process = await asyncio.create_subprocess_exec(
            *(python, HERE / script),
            stdin=PIPE,
            stdout=PIPE,
            env=ours | env,
            process_group=0,  # a Ctrl-C is for the tests, which close its stdin
        )
        judge = cls(process)
        try:
            report = await asyncio.wait_for(anext(judge.reports(), None), READY_TIMEOUT)
            assert report is not None, f"{script} did not start, it says why on stderr"
            assert report["kind"] == "ready"
        except BaseException:
            judge.kill()
            await process.wait()
            raise
        return judge

    @property
    def status(self) -> int | None:
        """How it has ended; None while it runs."""
        return self._process.returncode

    async def tell(self, order: Mapping[str, Any]) -> None:
        """Send a line; one that comes too late is lost."""
        assert self._process.stdin is not None
        with suppress(ConnectionError):
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            await self._process.stdin.drain()

    async def reports(self) -> AsyncIterator[dict[str, Any]]:
        """What it tells from now on, until it tells no more. One reader at a time."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            yield json.loads(line)

    def kill(self) -> None:
        """End it the way a crash would."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def aclose(self) -> None:
        """Let it end, and see that it does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_TIMEOUT)
        except TimeoutError:
            self.kill()
            await self._process.wait()
