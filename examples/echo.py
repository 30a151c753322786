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
"""A bot that needs no key: type something to it, and the face says it.

There is no language model and no speech recognition. The voice is espeak-ng; the face is a local
Runway's, unless ``RUNWAYML_API_SECRET`` is set. Speak, or type again, to interrupt it; type
"Goodbye" to end the call. Run it, then open http://localhost:7860 in a browser::

    uv run examples/echo.py
"""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from dotenv import load_dotenv
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import EndWorkerFrame, Frame, LLMMessagesAppendFrame, TTSSpeakFrame
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.audio.vad_processor import VADProcessor
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.runner.utils import create_transport
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_processor import UserTurnProcessor
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService
from pipecat_runway.cli.speech import EspeakTTSService
from pipecat_runway.simulator import RunwaySimulator

GREETING = "Hello! I am an AI, and I say what you type."
GOODBYE = "Goodbye! It was nice to repeat you."

# One size and rate for the face and for the transport, so that nothing is scaled twice.
WIDTH, HEIGHT, FRAMERATE = 640, 360, 24

MEDIA: dict[str, Any] = {
    "audio_in_enabled": True,
    "audio_out_enabled": True,
    "video_out_enabled": True,
    "video_out_is_live": True,
    "video_out_width": WIDTH,
    "video_out_height": HEIGHT,
    "video_out_framerate": FRAMERATE,
}


def eval_params() -> TransportParams:
    """For ``pipecat eval``, see evals/README.md."""
    from pipecat.evals.transport import EvalTransportParams

    return EvalTransportParams(**MEDIA)


transport_params: dict[str, Callable[[], TransportParams]] = {
    "webrtc": lambda: TransportParams(**MEDIA),
    "eval": eval_params,
}


@asynccontextmanager
async def runway() -> AsyncIterator[Mapping[str, str]]:
    """Where Runway is: as the environment says, or here for as long as this call."""
    if os.getenv("RUNWAYML_API_SECRET"):
        yield os.environ
        return
    # The first start ever builds a LiveKit server, which takes a few minutes.
    async with RunwaySimulator(progress=logger.info) as simulator:
        yield simulator.env


def make_face(env: Mapping[str, str], **options: Any) -> RunwayVideoService:
    """Make a face that is shown at this example's size."""
    defaults = {
        "api_key": env.get("RUNWAYML_API_SECRET"),
        "base_url": env.get("RUNWAYML_BASE_URL"),
        "livekit_url": env.get("LIVEKIT_URL"),
        "livekit_api_key": env.get("LIVEKIT_API_KEY"),
        "livekit_api_secret": env.get("LIVEKIT_API_SECRET"),
        "settings": RunwayVideoService.Settings(
            preset_id=os.getenv("RUNWAY_PRESET", "cooking-teacher")
        ),
        "video_out_width": WIDTH,
        "video_out_height": HEIGHT,
        "video_out_framerate": FRAMERATE,
    }
    return RunwayVideoService(**(defaults | options))


def interrupters() -> list[FrameProcessor]:
    """Interrupt the bot when somebody speaks; what is said is not understood."""
    turns = UserTurnStrategies(
        start=[VADUserTurnStartStrategy()],
        stop=[SpeechTimeoutUserTurnStopStrategy(wait_for_transcript=False)],
    )
    return [
        VADProcessor(vad_analyzer=SileroVADAnalyzer()),  # its model comes with Pipecat
        UserTurnProcessor(user_turn_strategies=turns),
    ]


class Echo(FrameProcessor):
    """Says what is typed; stands where a bot of yours has its STT, LLM and aggregators."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMMessagesAppendFrame):
            await self.push_frame(frame, direction)
            return
        for message in frame.messages:
            text = str(message["content"])
            if text.lower().startswith("goodbye"):
                await self.push_frame(TTSSpeakFrame(GOODBYE))
                # The end comes behind the words, and the face lets them be heard first.
                await self.push_frame(EndWorkerFrame(), FrameDirection.UPSTREAM)
            else:
                await self.push_frame(TTSSpeakFrame(f"You said: {text}"))


async def run_bot(transport: BaseTransport, runner_args: RunnerArguments) -> None:
    """Hold one conversation."""
    async with runway() as env:
        tts, face, output = EspeakTTSService(), make_face(env), transport.output()
        tail: list[FrameProcessor] = [output]
        observers: list[BaseObserver] = []
        if getattr(runner_args, "transport_type", None) == "eval":
            from evals.witness import Witness  # beside this file

            witness = Witness(tts, face, output)
            tail, observers = [witness.gate, output], [witness]
        worker = PipelineWorker(
            Pipeline([transport.input(), *interrupters(), Echo(), tts, face, *tail]),
            observers=observers,
            idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
        )
        runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
        await runner.add_workers(worker)

        @transport.event_handler("on_client_connected")
        async def on_client_connected(_transport: BaseTransport, _client: Any) -> None:
            await worker.queue_frame(TTSSpeakFrame(GREETING))

        @transport.event_handler("on_client_disconnected")
        async def on_client_disconnected(_transport: BaseTransport, _client: Any) -> None:
            await runner.cancel()  # ends the session

        await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Start a conversation; Pipecat's runner calls this."""
    transport = await create_transport(runner_args, transport_params)
    await run_bot(transport, runner_args)


if __name__ == "__main__":
    from pipecat.runner.run import main

    load_dotenv()
    main()
