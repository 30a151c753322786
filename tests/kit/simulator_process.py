"""A local Runway in a process of its own, so that what is measured here is not the simulator's."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from pipecat_runway.simulator import Faults, RunwaySimulator

END_TIMEOUT = 20.0


@dataclass(frozen=True)
class Elsewhere:
    """A local Runway somewhere else.

    Attributes:
        env: The settings that point at it.
    """

    env: dict[str, str]


@asynccontextmanager
async def simulator_process(**knobs: Any) -> AsyncIterator[Elsewhere]:
    """Run a simulator with these knobs until the block is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__, json.dumps(knobs), stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Elsewhere(json.loads(await process.stdout.readline()))
    finally:
        process.stdin.close()  # it ends by itself then, even if this process is killed
        try:
            await asyncio.wait_for(process.wait(), END_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()


async def main() -> None:
    """Serve until stdin is closed."""
    async with RunwaySimulator(Faults(**json.loads(sys.argv[1]))) as runway:
        print(json.dumps(runway.env), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
