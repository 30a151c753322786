"""Keep a process stopped for exactly as long as somebody holds the other end of this one's stdin.

A stopped process cannot notice that whoever stopped it is no more. The operating system closes that
pipe however its holder ends. Started as ``python -I -S frost.py PID``; standard library only.
"""

import os
import signal
import sys
from contextlib import suppress


def main(pid: int) -> None:
    """Wait until stdin closes, then let the process go on, if there still is one."""
    while os.read(0, 1):
        pass
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCONT)


if __name__ == "__main__":
    main(int(sys.argv[1]))
