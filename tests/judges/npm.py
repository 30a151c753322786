"""Packages of npm, installed as a lock says."""

import asyncio
import shutil
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

INSTALL_TIMEOUT = 300.0  # the first time everything is downloaded
NPM, NODE = shutil.which("npm"), shutil.which("node")


async def install(project: Path) -> None:
    """Install what a project's lock says, unless that has been done.

    Raises:
        RuntimeError: It could not be; the message is npm's.
    """
    lock, installed = project / "package-lock.json", project / "node_modules/.package-lock.json"
    if installed.exists() and installed.stat().st_mtime >= lock.stat().st_mtime:
        return
    await run(project, "ci", "--no-audit", "--no-fund")


async def run(project: Path, *arguments: str) -> None:
    """Run npm.

    Raises:
        RuntimeError: It has failed; the message is npm's.
    """
    assert NPM is not None
    process = await asyncio.create_subprocess_exec(
        NPM, *arguments, cwd=project, stdout=PIPE, stderr=STDOUT
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), INSTALL_TIMEOUT)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"npm {' '.join(arguments)} failed:\n{said.decode()}")
