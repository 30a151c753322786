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
"""A bot whose ears, mind, voice and face are all Runway's: one key, no STT, LLM or TTS.

It keeps a kitchen: a Python function finds recipes for it, and an event turns the pages of its
book. With ``RUNWAYML_API_SECRET`` it is a Runway Character you can talk to; without, a local
Runway's stand-in hears that you speak, tries its tools and says so. Run it, then open
http://localhost:7860 in a browser::

    uv run examples/realtime.py
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from dotenv import load_dotenv
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.services.llm_service import FunctionCallParams
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayRealtimeLLMService
from pipecat_runway.simulator import RunwaySimulator

GREETING = "Hello! I am an AI, and this face is generated. What shall we cook?"

PERSONALITY = (
    "You are an AI who teaches cooking, on a video call. Say two short sentences at most, then let "
    "the other one speak. Look recipes up before you tell one, and turn the page of the book to "
    "the step you are at. Never claim to be a person."
)

RECIPES = {
    "pancakes": ["Whisk two eggs, milk and flour.", "Fry thin rounds in butter."],
    "pesto": ["Pound basil, pine nuts and garlic.", "Stir in oil and cheese."],
}

# One size and rate for the face and for the transport, so that nothing is scaled twice.
WIDTH, HEIGHT, FRAMERATE = 640, 360, 24

transport_params: dict[str, Callable[[], TransportParams]] = {
    "webrtc": lambda: TransportParams(
        audio_in_enabled=True,
        audio_out_enabled=True,
        video_out_enabled=True,
        video_out_is_live=True,
        video_out_width=WIDTH,
        video_out_height=HEIGHT,
        video_out_framerate=FRAMERATE,
    ),
}


async def find_recipe(params: FunctionCallParams, dish: str) -> None:
    """Look a recipe up in the book.

    Args:
        params: Pipecat's; the model does not see it.
        dish: What is to be cooked.
    """
    steps = RECIPES.get(dish.lower(), ["There is no such recipe in the book."])
    await params.result_callback({"dish": dish, "steps": steps})


SHOW_STEP = FunctionSchema(
    name="show_step",
    description="Turn the page of the book to a step, whenever you begin to explain it.",
    properties={"step": {"type": "integer", "description": "Its number, from 1."}},
    required=["step"],
)


@asynccontextmanager
async def runway() -> AsyncIterator[Mapping[str, str]]:
    """Where Runway is: as the environment says, or here for as long as this call."""
    if os.getenv("RUNWAYML_API_SECRET"):
        yield os.environ
        return
    # The first start ever builds a LiveKit server, which takes a few minutes.
    async with RunwaySimulator(progress=logger.info) as simulator:
        yield simulator.env


async def run_bot(transport: BaseTransport, runner_args: RunnerArguments) -> None:
    """Hold one conversation."""
    async with runway() as env:
        llm = RunwayRealtimeLLMService(
            settings=RunwayRealtimeLLMService.Settings(
                preset_id=os.getenv("RUNWAY_PRESET", "cooking-teacher")
            ),
            api_key=env.get("RUNWAYML_API_SECRET"),
            base_url=env.get("RUNWAYML_BASE_URL"),
            personality=PERSONALITY,
            start_script=GREETING,
            tools=[find_recipe],
            client_events=[SHOW_STEP],
            continue_with="turns",  # Runway ends a session after about five minutes
            start_on="client_connected",  # it is billed from then on
            video_out_width=WIDTH,
            video_out_height=HEIGHT,
            video_out_framerate=FRAMERATE,
        )
        user, assistant = LLMContextAggregatorPair(
            LLMContext(),
            user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer()),
        )
        worker = PipelineWorker(
            Pipeline([transport.input(), user, llm, transport.output(), assistant]),
            params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
            idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
        )
        runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
        await runner.add_workers(worker)

        @llm.event_handler("on_client_event")
        async def on_client_event(
            _llm: RunwayRealtimeLLMService, tool: str, args: dict[str, Any]
        ) -> None:
            logger.info(f"The page would now do {tool} with {args}")

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(_transport: BaseTransport, _client: Any) -> None:
            await runner.cancel()  # ends the Runway session, which is billed until then

        await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Start a conversation; Pipecat's runner calls this."""
    transport = await create_transport(runner_args, transport_params)
    await run_bot(transport, runner_args)


if __name__ == "__main__":
    from pipecat.runner.run import main

    load_dotenv()
    main()
