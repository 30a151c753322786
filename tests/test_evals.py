"""The scenarios of examples/evals, run by Pipecat's own tool; and bots that do not pass them."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from pipecat_runway.simulator import RunwaySimulator
from tests.kit.timing import timed

TESTS = Path(__file__).parent
EXAMPLES = TESTS.parent / "examples"
SCENARIOS = EXAMPLES / "evals"
PIPECAT = str(Path(sys.executable).parent / "pipecat")


class Evaluation(NamedTuple):
    """What the tool said of a bot.

    Attributes:
        status: Its exit status.
        output: All that it wrote.
        log: All that the bot wrote.
    """

    status: int | None
    output: str
    log: str

    def __str__(self) -> str:
        return f"{self.output}\n--- the bot's log\n{self.log[-20_000:]}"


@asynccontextmanager
async def serving(script: Path, env: Mapping[str, str], log: Path) -> AsyncIterator[str]:
    """Run a bot in a process of its own; yields the address at which the tool finds it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = [str(script), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            sys.executable, *arguments, env=env, cwd=log.parent, stdout=written, stderr=STDOUT
        )
    try:
        async with asyncio.timeout(60):
            while not await answers(port):
                assert process.returncode is None, written_to(log)
                await asyncio.sleep(0.1)
        yield f"ws://127.0.0.1:{port}/ws"
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 15)
        except TimeoutError:
            process.kill()
            await process.wait()
            raise


async def answers(port: int) -> bool:
    """Whether something listens at a port of this machine."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def evaluated(
    script: Path, env: Mapping[str, str], folder: Path, *scenarios: Path
) -> Evaluation:
    """Let ``pipecat eval run`` judge a bot, with what the environment of both says."""
    log = folder / "bot.log"
    async with serving(script, env, log) as url:
        tool = await asyncio.create_subprocess_exec(
            *(PIPECAT, "eval", "run", *map(str, scenarios)),
            *("--bot-url", url, "--logs-dir", str(folder), "-v"),
            env=env,
            cwd=folder,
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            output, _ = await asyncio.wait_for(tool.communicate(), 90)
        finally:
            if tool.returncode is None:
                tool.kill()
                await tool.wait()
    return Evaluation(tool.returncode, output.decode(), written_to(log))


def written_to(log: Path) -> str:
    """What a bot has written."""
    return log.read_text(errors="replace")


# What the tool says of each fault, by scenario, in the order of tests/broken_echo.py.
FAULTS = {
    "pictures": ["no 'pictures' call had args {'sizes': ['640x360']} (saw [{'sizes': ['320x180']}"],
    "voice": ["no 'heard' call had args", "'whole': False"],
    "barge_in": ["no 'heard' call had args", "'old': True"],
    "turns": [
        "expected no 'bot_started_speaking' within 7000ms, but one arrived",
        "the bot ended the call before a matching 'function_call' event",
    ],
}


@pytest.mark.long
@timed
async def test_the_shipped_bot_passes_and_a_broken_one_does_not(
    runway: RunwaySimulator, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Four of four; and the checks can fail: each scenario names the fault it is there for.

    Both bots are judged at once: most of an eval is waiting for speech to be over.
    """
    folders = [tmp_path_factory.mktemp(name) for name in ("shipped", "broken")]
    # The broken bot has another fault in each conversation.
    order = [SCENARIOS / f"{name}.yaml" for name in FAULTS]
    env = {**os.environ, **runway.env}
    shipped, broken = await asyncio.gather(
        evaluated(EXAMPLES / "echo.py", env, folders[0], SCENARIOS),
        evaluated(TESTS / "broken_echo.py", env, folders[1], *order),
    )
    assert shipped.status == 0, shipped
    assert "4/4 passed" in shipped.output
    assert broken.status == 1, broken
    failures = broken.output.partition("Failures (4 of 4)")[2]
    for scenario, reasons in FAULTS.items():
        told = failures.partition(f" {scenario}/")[2].partition("✗")[0]
        for reason in reasons:
            assert reason in told, broken
