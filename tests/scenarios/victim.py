"""A bot that is to die: ``python -m tests.scenarios.victim``, told by its stdin how.

It waits for "go" or "go unhandled" (no signal handlers), then for one of the words below, and
writes what happens, a line each, with the time where it ends.
"""

import asyncio
import os
import sys
import time

from loguru import logger
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService


def say(*words: object) -> None:
    """Write a line for whoever started this."""
    print(*words, flush=True)


async def orders() -> asyncio.StreamReader:
    """Where the words come from."""
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, os.fdopen(0, "rb"))
    return reader


async def word(reader: asyncio.StreamReader) -> str:
    """The next one; without its owner there is none, and this process ends."""
    return (await reader.readline()).decode().strip() or "cancel"


async def main() -> None:
    """Live, and die as told."""
    reader = await orders()
    say("ready")
    handled = await word(reader) == "go"
    service = RunwayVideoService(settings=RunwayVideoService.Settings(preset_id="cat-character"))

    @service.event_handler("on_avatar_connected")
    async def on_avatar_connected(_service: object, _session_id: str) -> None:
        say("face")

    @service.event_handler("on_avatar_disconnected")
    async def on_avatar_disconnected(_service: object, _id: str, reason: str) -> None:
        say("faceless", reason)

    worker = PipelineWorker(Pipeline([service]), enable_rtvi=False, idle_timeout_secs=None)
    runner = WorkerRunner(handle_sigint=handled, handle_sigterm=handled)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())
    told = asyncio.create_task(word(reader))
    await asyncio.wait({told, running}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        say("ending", time.monotonic())
        match told.result():
            case "end":
                await worker.stop_when_done()
            case "cancel":
                await worker.cancel()
            case "cancel the task":
                running.cancel()
            case "raise":
                raise RuntimeError("as told")
    await asyncio.gather(running, return_exceptions=True)
    told.cancel()


if __name__ == "__main__":
    logger.remove()
    logger.add(sys.stderr, level=os.environ.get("VICTIM_LOG", "WARNING"))
    asyncio.run(main())
