"""``pipecat-runway simulator``: a local Runway until Ctrl-C."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from pipecat_runway.cli.interrupt import INTERRUPTED, run
from pipecat_runway.cli.stages import Stages
from pipecat_runway.simulator import Faults, RunwaySimulator
from pipecat_runway.simulator.livekit_binary import LiveKitServerError
from pipecat_runway.simulator.switchboard import turned

HEADER = "# Written by pipecat-runway simulator; removed when it ends.\n"


def knobs(switches: Sequence[str]) -> Faults:
    """Read what the simulator is to begin with.

    Raises:
        SwitchError: A switch cannot be read.
    """
    return turned(Faults(), *switches)


def main(env_file: Path | None, faults: Faults) -> int:
    """Run the command.

    Args:
        env_file: Where to write the settings; None prints them.
        faults: What the simulator begins with.

    Returns:
        The exit status.
    """
    # Only the settings go to stdout, so that they can be piped.
    console = Console(stderr=True, highlight=False)
    try:
        status = run(
            _serve(env_file, faults, console), lambda: console.print("Still ending the simulator.")
        )
    except (LiveKitServerError, OSError) as e:
        console.print(f"[red]{e}[/red]", markup=True)
        return 1
    return 0 if status == INTERRUPTED else status  # Ctrl-C is how it is meant to end


async def _serve(env_file: Path | None, faults: Faults, console: Console) -> int:
    stages = Stages(console)
    with stages.stage("Starting the local Runway"):
        runway = RunwaySimulator(faults, progress=stages.note)
        await runway.start()
    try:
        lines = "".join(f"{name}={value}\n" for name, value in runway.env.items())
        with _shown(lines, env_file):
            where = f", settings in {env_file}" if env_file else ""
            console.print(f"A local Runway is running{where}. Ctrl-C ends it.")
            await asyncio.Event().wait()
    finally:
        await runway.aclose()
    return 0


@contextmanager
def _shown(lines: str, env_file: Path | None) -> Iterator[None]:
    """Print the settings, or keep them in a file of ours while the simulator runs."""
    if env_file is None:
        print(lines, end="", flush=True)
        yield
        return
    if env_file.exists() and not env_file.read_text().startswith(HEADER):
        raise FileExistsError(f"{env_file} is not the simulator's own, so it is left as it is.")
    env_file.unlink(missing_ok=True)
    descriptor = os.open(env_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(HEADER + lines)
        yield
    finally:
        env_file.unlink(missing_ok=True)
