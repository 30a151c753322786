"""Processes that are called off while they start."""

import asyncio
import sys
import time
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest

from pipecat_runway.registry import started
from pipecat_runway.simulator.processes import spawn
from tests.kit.machine import children
from tests.kit.waiting import until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

BOUND = 10.0


async def test_a_start_called_off_leaves_no_process(tmp_path: Path) -> None:
    """Nor does it hang when there is a child already, which has the pipe: a busy machine's case."""
    told = tmp_path / "child"
    before = children()
    starting = asyncio.create_task(
        spawn(
            "sh", "-c", f"sleep 60 & echo $! > {told}.new; mv {told}.new {told}; wait", stdout=PIPE
        )
    )
    while children() == before:  # noqa: ASYNC110 - it is to be met halfway
        await asyncio.sleep(0)
    deadline = time.monotonic() + BOUND
    while not told.exists() and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251 - the loop stands still, so the start does
    assert not starting.done()
    child = int(told.read_text())
    starting.cancel()
    done, _ = await asyncio.wait([starting], timeout=BOUND)
    assert done
    assert starting.cancelled()
    await until(lambda: started(child) is None, BOUND)  # it was killed, and is about to be gone


async def test_what_cannot_be_run_says_so() -> None:
    """As asyncio's own does."""
    with pytest.raises(FileNotFoundError):
        await spawn("/no/such/program")
