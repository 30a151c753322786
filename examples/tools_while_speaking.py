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
"""A bot with a face that goes on talking while a slow tool works.

It keeps a lost property office. Looking something up takes a while: the face says so, the caller
can talk on meanwhile, and what was found is told when the bot has finished its sentence. The keys
are those of ``video_service.py``; see ``examples/README.md``. Run it, then open
http://localhost:7860 in a browser::

    uv run examples/tools_while_speaking.py
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dotenv import load_dotenv
from pipecat.adapters.llm.schemas.direct_function import tool_options
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
from pipecat.services.llm_service import FunctionCallParams, LLMService
from pipecat.services.stt_service import STTService
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService

GREETING = "Hello! I am the AI of the lost property office. What have you lost?"
LET_ME_LOOK = "Let me look. The store is large, so this takes a moment, but I can hear you."

INSTRUCTION = (
    "You are the AI of a lost property office, on a video call, with a computer-generated face. "
    "Everything you write is spoken: keep it short, in plain sentences, without lists, symbols or "
    "emoji. Never claim to be a person. Call look_up for whatever was lost. While it works, talk "
    "on with the caller, and do not guess what it will find."
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


class Store:
    """Stands for whatever of yours is slow."""

    async def find(self, item: str) -> str:
        await asyncio.sleep(8)
        return f"{item}: found on shelf seven"


@dataclass
class Services:
    """What hears, thinks, speaks and looks up; swap any of them for one of your own."""

    stt: STTService
    llm: LLMService[Any]
    tts: TTSService
    store: Store


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
        store=Store(),
    )


# Without this option the LLM would wait for the tool, and a caller who speaks would cancel it.
@tool_options(cancel_on_interruption=False, timeout_secs=60)
async def look_up(params: FunctionCallParams, item: str) -> None:
    """Look up a lost item in the store. This takes several seconds.

    Args:
        params: Pipecat gives them; the LLM does not see them.
        item: What was lost, in a few words.
    """
    await params.llm.push_frame(TTSSpeakFrame(LET_ME_LOOK))
    found = await params.app_resources.find(item)
    # The result waits behind the words that are being spoken. The LLM answers after them.
    await params.result_callback({"found": found})


async def run_bot(
    transport: BaseTransport, services: Services, runner_args: RunnerArguments
) -> None:
    """Hold one conversation."""
    # Its keys, and the LiveKit server's, are read from the environment.
    face = RunwayVideoService(
        settings=RunwayVideoService.Settings(
            preset_id=os.getenv("RUNWAY_PRESET", "human-resource"),
        ),
        video_out_width=WIDTH,
        video_out_height=HEIGHT,
        video_out_framerate=FRAMERATE,
    )

    user_aggregator, assistant_aggregator = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": INSTRUCTION}], tools=[look_up]),
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
        app_resources=services.store,
    )
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)

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
