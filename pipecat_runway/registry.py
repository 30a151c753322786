"""What is left on this machine of sessions: a small private file each, and its process.

A file is there from before the create until the session's end is confirmed. It holds ids, no key
and no token. Whatever the disk does, a call goes on: a file that cannot be written is told of once.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

from loguru import logger

from pipecat_runway.ownership import Owner, Record, digest

DISK_BOUND = 1.0  # s a call waits for the disk
SUFFIX = ".json"

_warned = False


def directory() -> Path:
    """Where the files are: under ``$XDG_STATE_HOME``, or ``~/.local/state``.

    Raises:
        RuntimeError: If the user has no home.
    """
    base = os.environ.get("XDG_STATE_HOME")
    state = Path(base) if base else Path.home() / ".local" / "state"
    return state / "pipecat-runway" / "sessions"


def here() -> Owner:
    """Return this process."""
    return _process(os.getpid())


def started(pid: int) -> str | None:
    """Return when a process started; empty if that cannot be told, None if there is none."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        pass  # somebody else's, so it is there
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        state, start = fields[0], fields[19]  # 3 and 22 of proc(5): state, start since boot
    except (OSError, IndexError):
        state, _, start = _asked("ps", "-o", "stat=,lstart=", "-p", str(pid)).partition(" ")
    return None if state[:1] in ("Z", "X") else start.strip()  # nobody has collected its status


class Entry:
    """The file of one session. Nothing here raises."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._removed = False
        self._lock = threading.Lock()

    async def write(self, record: Record) -> None:
        """Write the session down, in place of what was written of it before."""
        await _bounded(lambda: self._write(record))

    async def remove(self) -> None:
        """Forget the session, for good."""
        await _bounded(self._remove)

    def _write(self, record: Record) -> None:
        with self._lock:
            if self._removed:
                return
            path = _place() / f"{record.room}.{record.identity}{SUFFIX}"
            descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # 0600
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(record.to_text())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, path)
            except BaseException:
                os.unlink(name)
                raise
            self._path = path

    def _remove(self) -> None:
        with self._lock:
            self._removed = True
            if self._path is not None:
                self._path.unlink(missing_ok=True)


def entries() -> Iterator[tuple[Path, Record | None]]:
    """Yield every session written down here; None for a file that cannot be read.

    Raises:
        OSError: If the directory cannot be read.
    """
    for path in sorted(directory().glob(f"*{SUFFIX}")):
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            try:
                yield path, Record.from_text(path.read_text())
            except ValueError:
                yield path, None


def _place() -> Path:
    place = directory()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    if place.stat().st_mode & 0o077:
        place.chmod(0o700)
    return place


@lru_cache(maxsize=2)  # by number: a fork is another process
def _process(pid: int) -> Owner:
    host = socket.gethostname()
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers of one machine share its boot, and count their processes for themselves.
        boot += os.readlink("/proc/self/ns/pid")
    except OSError:
        boot = _asked("sysctl", "-n", "kern.bootsessionuuid")  # macOS
    return Owner(digest(host), digest(boot) if boot else "", pid, started(pid) or "")


def _asked(*command: str) -> str:
    """Return what a command of the system says; nothing if it fails."""
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip()


async def _bounded(work: Callable[[], None]) -> None:
    """Do something with the disk in a thread; a call waits for it only so long."""
    global _warned
    try:
        await asyncio.wait_for(asyncio.to_thread(work), DISK_BOUND)
    except (OSError, RuntimeError, TimeoutError) as e:
        if not _warned:
            _warned = True
            logger.warning(
                f"sessions cannot be written down on this disk ({type(e).__name__}); calls go on, "
                "and `pipecat-runway sessions` sees them by their LiveKit rooms only"
            )
