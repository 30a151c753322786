# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "pipecat-ai[runner,webrtc]>=1.14,<2",
#     "pipecat-runway[demo]",
# ]
#
# [tool.uv.sources]
# pipecat-runway = { path = "..", editable = true }
# ///
"""A bot that records its side of the call: the face and its voice, in one MP4.

It is the bot of ``echo.py``, which it needs beside it, and no key either. The film is finished
when the call ends, however it does; it is ``call.mp4``, or what ``RECORDING`` says. The user is not
in it: Pipecat's ``AudioBufferProcessor`` has both voices, if your users agree to that. ::

    uv run examples/record_call.py
"""

import os
from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from echo import FRAMERATE, Echo, interrupters, make_face, runway, transport_params
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_runway.cli.film import FilmSink
from pipecat_runway.cli.speech import EspeakTTSService

GREETING = "Hello! I am an AI, and I say what you type. I am being recorded."


async def run_bot(transport: BaseTransport, runner_args: RunnerArguments) -> None:
    """Hold one conversation, and film it."""
    film = FilmSink(Path(os.getenv("RECORDING", "call.mp4")), fps=FRAMERATE)
    async with runway() as env:
        worker = PipelineWorker(
            Pipeline(
                [
                    transport.input(),
                    *interrupters(),
                    Echo(),
                    EspeakTTSService(),
                    make_face(env),
                    film,  # sees all that the transport is about to send
                    transport.output(),
                ],
            ),
            idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
        )
        runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
        await runner.add_workers(worker)

        @transport.event_handler("on_client_connected")
        async def on_client_connected(_transport: BaseTransport, _client: Any) -> None:
            await worker.queue_frame(TTSSpeakFrame(GREETING))

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(_transport: BaseTransport, _client: Any) -> None:
            await runner.cancel()  # ends the session and the film

        await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Start a conversation; Pipecat's runner calls this."""
    transport = await create_transport(runner_args, transport_params)
    await run_bot(transport, runner_args)


if __name__ == "__main__":
    from pipecat.runner.run import main

    load_dotenv()
    main()
