"""The command as a user runs it: a process of its own, with everything it starts accounted for."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "pipecat-runway")


class Command:
    """A running command; made by `running_command`.

    Attributes:
        lines: What it has written to stdout and stderr so far.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._mark = f"PIPECAT_RUNWAY_TEST={uuid.uuid4()}"
        name, _, value = self._mark.partition("=")
        self._process = subprocess.Popen(
            [COMMAND, *arguments],
            env={**os.environ, **environment, name: value},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        """Everything it has written."""
        return "".join(self.lines)

    def wait_for(self, text: str, timeout: float = 40.0) -> None:
        """Wait until it has written a text."""
        with self._news:
            seen = self._news.wait_for(lambda: text in self.output or self.ended, timeout)
        assert seen, f"{text!r} was not written within {timeout} s:\n{self.output}"
        assert text in self.output, f"it ended without {text!r}:\n{self.output}"

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Press Ctrl-C: a terminal signals the whole process group."""
        os.killpg(self._process.pid, number)

    def wait(self, timeout: float = 60.0) -> int:
        """Wait for its end and return its status."""
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end within {timeout} s:\n{self.output}") from None
        self._reader.join(timeout)
        return status

    def left(self, timeout: float = 3.0) -> list[str]:
        """Whatever it started that outlives it by `timeout`."""
        deadline = time.monotonic() + timeout
        while (found := self._marked()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def close(self) -> None:
        """Kill what is left of it."""
        if not self.ended:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        self._process.wait()
        with self._news:
            self._news.notify_all()

    def _marked(self) -> list[str]:
        """Processes that inherited its mark, or, where that was not handed on, its session."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            try:
                environment = (directory / "environ").read_bytes()
                session = int((directory / "stat").read_text().rpartition(")")[2].split()[3])
                command = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, IndexError):
                continue  # it has just ended
            if self._mark.encode() in environment or session == self._process.pid:
                found.append(f"{directory.name}: {command}")
        return [process for process in found if not process.endswith(": ")]  # zombies


@contextmanager
def running_command(*arguments: str, **environment: str) -> Iterator[Command]:
    """Run the command until the block is left."""
    command = Command(*arguments, **environment)
    try:
        yield command
    finally:
        command.close()
