# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "pipecat-ai[cartesia,daily,deepgram,livekit,openai,runner,webrtc]>=1.14,<2",
#     "pipecat-runway",
# ]
#
# [tool.uv.sources]
# pipecat-runway = { path = "..", editable = true }
# ///
"""A bot you talk to, with a Runway Character as its face.

It listens with Deepgram, thinks with OpenAI, speaks with Cartesia, and shows itself over any of
three transports. What it needs in the environment, or in a file ``.env``, stands in
``examples/README.md``. Run it, then open http://localhost:7860 in a browser::

    uv run examples/video_service.py
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dotenv import load_dotenv
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.services.llm_service import LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService

# It says what it is, in words that do not depend on a model's mood.
GREETING = "Hello! I am an AI, and this face is generated. What would you like to talk about?"

INSTRUCTION = (
    "You are an AI with a computer-generated face, on a video call. Everything you write is "
    "spoken: keep it short, in plain sentences, without lists, symbols or emoji. "
    "Never claim to be a person."
)

# One size and rate for the face and for the transport, so that nothing is scaled twice.
WIDTH, HEIGHT, FRAMERATE = 1280, 720, 30

MEDIA: dict[str, Any] = {
    "audio_in_enabled": True,
    "audio_out_enabled": True,
    "video_out_enabled": True,
    "video_out_is_live": True,
    "video_out_width": WIDTH,
    "video_out_height": HEIGHT,
    "video_out_framerate": FRAMERATE,
}


# A transport, and each service below, is imported where it is made: whoever uses one of them
# needs the package of that one only.


def daily_params() -> TransportParams:
    from pipecat.transports.daily.transport import DailyParams

    return DailyParams(**MEDIA)


def livekit_params() -> TransportParams:
    from pipecat.transports.livekit.transport import LiveKitParams

    return LiveKitParams(**MEDIA)


transport_params: dict[str, Callable[[], TransportParams]] = {
    "webrtc": lambda: TransportParams(**MEDIA),
    "daily": daily_params,
    "livekit": livekit_params,
}


@dataclass
class Services:
    """What hears, thinks and speaks; swap any of them for one of Pipecat's others."""

    stt: STTService
    llm: LLMService[Any]
    tts: TTSService


def create_services() -> Services:
    from pipecat.services.cartesia.tts import CartesiaTTSService
    from pipecat.services.deepgram.stt import DeepgramSTTService
    from pipecat.services.openai.llm import OpenAILLMService

    return Services(
        stt=DeepgramSTTService(api_key=os.environ["DEEPGRAM_API_KEY"]),
        llm=OpenAILLMService(api_key=os.environ["OPENAI_API_KEY"]),
        tts=CartesiaTTSService(
            api_key=os.environ["CARTESIA_API_KEY"],
            settings=CartesiaTTSService.Settings(
                voice=os.getenv("CARTESIA_VOICE_ID", "71a7ad14-091c-4e8e-a314-022ece01c121"),
            ),
        ),
    )


async def run_bot(
    transport: BaseTransport, services: Services, runner_args: RunnerArguments
) -> None:
    """Hold one conversation."""
    # Its keys, and the LiveKit server's, are read from the environment.
    face = RunwayVideoService(
        settings=RunwayVideoService.Settings(
            preset_id=os.getenv("RUNWAY_PRESET", "cooking-teacher"),
        ),
        video_out_width=WIDTH,
        video_out_height=HEIGHT,
        video_out_framerate=FRAMERATE,
    )

    user_aggregator, assistant_aggregator = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": INSTRUCTION}]),
        user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer()),
    )

    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                services.stt,
                user_aggregator,
                services.llm,
                services.tts,
                face,
                transport.output(),
                assistant_aggregator,
            ]
        ),
        params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
    )
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)

    @face.event_handler("on_avatar_connected")
    async def on_avatar_connected(_face: RunwayVideoService, session_id: str | None) -> None:
        logger.info(f"The face is there, Runway session {session_id}")

    @transport.event_handler("on_client_connected")
    async def on_client_connected(_transport: BaseTransport, _client: Any) -> None:
        # It may speak at once: what it says before the face is there waits for it.
        await worker.queue_frame(TTSSpeakFrame(GREETING))

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport: BaseTransport, _client: Any) -> None:
        await runner.cancel()  # ends the Runway session, which is billed until then

    await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Start a conversation; Pipecat's runner and Pipecat Cloud call this."""
    transport = await create_transport(runner_args, transport_params)
    await run_bot(transport, create_services(), runner_args)


if __name__ == "__main__":
    from pipecat.runner.run import main

    load_dotenv()
    main()
