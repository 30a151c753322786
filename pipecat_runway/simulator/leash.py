"""Run a command for exactly as long as somebody holds the other end of this process's stdin.

The operating system closes that pipe however its holder ends, SIGKILL included, on Linux and on
macOS alike. Started as ``python -I -S leash.py COMMAND …``; standard library only.
"""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from types import FrameType

# livekit-server drains after the first SIGTERM and ends after the second; in the tenth of a second
# after its start it forgets either. SIGKILL is the third.
PATIENCE = (0.15, 1.0)


def _end(command: "subprocess.Popen[bytes]") -> None:
    for seconds in PATIENCE:
        command.terminate()
        with suppress(subprocess.TimeoutExpired):
            command.wait(seconds)
            return
    command.kill()
    command.wait()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit


def main(argv: list[str]) -> None:
    """Run ``argv`` until stdin closes; exit with its status when it ends by itself."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    command = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    threading.Thread(target=lambda: os._exit(command.wait() & 0xFF), daemon=True).start()
    try:
        while os.read(0, 1):
            pass
    finally:
        _end(command)


if __name__ == "__main__":
    main(sys.argv[1:])
