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
"""A bot with a spare face: when the first cannot start, or is lost, the second speaks.

It is the bot of ``echo.py``, which it needs beside it, and no key either. With a key of your own
the spare may have another one, ``RUNWAYML_SPARE_SECRET``, of an account with its own credits. ::

    uv run examples/failover.py

A sentence that the first face could not finish is finished by voice. The spare's session begins,
and is billed, with the first sentence after that.
"""

import os
from typing import Any

from dotenv import load_dotenv
from echo import GREETING, Echo, interrupters, make_face, runway, transport_params
from loguru import logger
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.transports.base_transport import BaseTransport
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService
from pipecat_runway.cli.speech import EspeakTTSService


async def run_bot(transport: BaseTransport, runner_args: RunnerArguments) -> None:
    """Hold one conversation."""
    async with runway() as env:
        # Without voice_fallback a face that fails is out of use, which is what switches.
        first = make_face(env, voice_fallback=False)
        spare = make_face(
            env,
            api_key=os.getenv("RUNWAYML_SPARE_SECRET") or env.get("RUNWAYML_API_SECRET"),
            settings=RunwayVideoService.Settings(preset_id="cat-character"),
            # A switcher keeps speech from the face that is not active, but lets its pictures
            # out. So the spare must not be there before it is needed; nor does it cost then.
            start_on="first_speech",
            voice_fallback=False,
        )
        faces = ServiceSwitcher(
            services=[first, spare], strategy_type=ServiceSwitcherStrategyFailover
        )
        worker = PipelineWorker(
            Pipeline(
                [
                    transport.input(),
                    *interrupters(),
                    Echo(),
                    EspeakTTSService(),
                    faces,
                    transport.output(),
                ],
            ),
            idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
        )
        runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
        await runner.add_workers(worker)

        @faces.strategy.event_handler("on_service_switched")
        async def on_service_switched(
            _strategy: ServiceSwitcherStrategyFailover, face: FrameProcessor
        ) -> None:
            logger.warning(f"The face is {face} from now on")

        @transport.event_handler("on_client_connected")
        async def on_client_connected(_transport: BaseTransport, _client: Any) -> None:
            await worker.queue_frame(TTSSpeakFrame(GREETING))

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(_transport: BaseTransport, _client: Any) -> None:
            await runner.cancel()  # ends the sessions

        await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Start a conversation; Pipecat's runner calls this."""
    transport = await create_transport(runner_args, transport_params)
    await run_bot(transport, runner_args)


if __name__ == "__main__":
    from pipecat.runner.run import main

    load_dotenv()
    main()
