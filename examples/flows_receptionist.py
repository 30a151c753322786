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
"""A receptionist with a face, who hands over to a mechanic and says goodbye, led by Pipecat Flows.

The flow is here twice: as Python nodes, in `python_flow`, and in ``flows_receptionist.yaml``. The
environment variable ``FLOW`` says which is used. The keys are those of ``video_service.py``; see
``examples/README.md``. Run it, then open http://localhost:7860 in a browser::

    uv run examples/flows_receptionist.py
    FLOW=yaml uv run examples/flows_receptionist.py
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv import load_dotenv
from loguru import logger
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.flows import TRANSITION_IN_YAML, Flow, FlowConfig, FlowManager, NodeConfig
from pipecat.flows.actions import FunctionActionFrame
from pipecat.frames.frames import BotStoppedSpeakingFrame, ErrorFrame, Frame, TTSSpeakFrame
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
from pipecat.turns.user_mute import (
    BaseUserMuteStrategy,
    MuteUntilFirstBotCompleteUserMuteStrategy,
)
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService
from pipecat_runway.flows import register_runway_actions

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


class Workshop:
    """What the flow does besides talking; put your own calendar in its place."""

    async def book(self, concern: str, day: str) -> str:
        """Book a visit, and return when it is."""
        return f"{day} at ten o'clock"

    async def confirm(self) -> None:
        """Take the visit for certain: the caller has heard when it is."""
        logger.info("The visit is booked")


@dataclass
class Services:
    """What hears, thinks, speaks, is seen and books; swap any of them for one of your own."""

    stt: STTService
    llm: LLMService[Any]
    tts: TTSService
    face: RunwayVideoService
    workshop: Workshop


def create_face() -> RunwayVideoService:
    # Its keys, and the LiveKit server's, are read from the environment.
    return RunwayVideoService(
        settings=RunwayVideoService.Settings(preset_id="cooking-teacher"),
        start_on="first_speech",  # so that the flow can choose another character before
        video_out_width=WIDTH,
        video_out_height=HEIGHT,
        video_out_framerate=FRAMERATE,
    )


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
        face=create_face(),
        workshop=Workshop(),
    )


# -- the flow -------------------------------------------------------------------------------------


class Tools:
    """What the LLM can call, and what the flow calls by itself; the same for both flows.

    Args:
        workshop: Where visits are booked.
        leads_to: What a tool returns for the next node of that name; None stays.
    """

    def __init__(self, workshop: Workshop, leads_to: Callable[[str | None], Any]) -> None:
        self._workshop = workshop
        self._leads_to = leads_to

    async def hand_over(self, flow_manager: FlowManager, concern: str) -> tuple[Any, Any]:
        """Hand the caller over to the mechanic.

        Args:
            flow_manager: Flows gives it; the LLM does not see it.
            concern: What the caller needs, in a few words.
        """
        flow_manager.state["concern"] = concern
        return {"status": "handed over"}, self._leads_to("mechanic")

    async def book_visit(self, flow_manager: FlowManager, day: str) -> tuple[Any, Any]:
        """Book a visit to the workshop.

        Args:
            flow_manager: Flows gives it; the LLM does not see it.
            day: The day the caller wants.
        """
        time = await self._workshop.book(flow_manager.state["concern"], day)
        return {"booked": time}, self._leads_to(None)

    async def say_goodbye(self, flow_manager: FlowManager) -> tuple[Any, Any]:
        """The caller has nothing more to ask."""
        return None, self._leads_to("goodbye")

    async def confirm_visit(self, action: dict[str, Any], flow_manager: FlowManager) -> None:
        await self._workshop.confirm()


def yaml_flow(workshop: Workshop) -> NodeConfig:
    """Return the first node of the flow in the YAML file, where the transitions stand as well."""
    config = FlowConfig.from_file(Path(__file__).with_suffix(".yaml"))
    return Flow(config, handlers=Tools(workshop, lambda _: TRANSITION_IN_YAML)).initial_node


def python_flow(workshop: Workshop) -> NodeConfig:
    """Return the first node of the same flow, with nodes made here."""
    return python_nodes(workshop)["reception"]


def python_nodes(workshop: Workshop) -> dict[str | None, NodeConfig]:
    nodes: dict[str | None, NodeConfig] = {}
    tools = Tools(workshop, nodes.get)
    nodes["reception"] = NodeConfig(
        name="reception",
        role_message=(
            "You are the AI receptionist of a bicycle workshop, on a video call, with a "
            "computer-generated face. Everything you write is spoken: keep it short, in plain "
            "sentences, without lists, symbols or emoji. Never claim to be a person."
        ),
        task_messages=[
            {
                "role": "developer",
                "content": "Find out what the caller needs, then hand over to the mechanic.",
            }
        ],
        pre_actions=[
            {"type": "runway_set_character", "preset_id": "human-resource"},
            {"type": "runway_wait_for_face"},
            {
                "type": "tts_say",
                "text": (
                    "Hello! I am the AI receptionist of the bicycle workshop. "
                    "What can I do for you?"
                ),
            },
        ],
        respond_immediately=False,  # the greeting has asked
        functions=[tools.hand_over],
    )
    nodes["mechanic"] = NodeConfig(
        name="mechanic",
        role_message=(
            "You are the AI mechanic of a bicycle workshop, on a video call, with a "
            "computer-generated face. Everything you write is spoken: keep it short, in plain "
            "sentences, without lists, symbols or emoji. Never claim to be a person."
        ),
        task_messages=[
            {
                "role": "developer",
                "content": (
                    "The caller needs: {{ concern }}. Say what the workshop can do about it, and "
                    "offer a visit. Say goodbye when the caller has nothing more to ask."
                ),
            }
        ],
        pre_actions=[
            {"type": "tts_say", "text": "I hand you over to our mechanic, an AI like me."}
        ],
        functions=[tools.book_visit, tools.say_goodbye],
    )
    nodes["goodbye"] = NodeConfig(
        name="goodbye",
        task_messages=[
            {
                "role": "developer",
                "content": "Say in one sentence what was agreed. Do not say goodbye yet.",
            }
        ],
        post_actions=[
            {"type": "function", "handler": tools.confirm_visit},
            {"type": "end_conversation", "text": "Thank you for your call. Goodbye!"},
        ],
    )
    return nodes


class MuteDuringActions(BaseUserMuteStrategy):
    """Does not let the caller interrupt the words of the flow's actions, nor those before one.

    An interruption would drop the frames that tell Flows that an action is done, and it would wait
    for them for ever: https://github.com/pipecat-ai/pipecat/issues/5263.
    """

    def __init__(self) -> None:
        super().__init__()
        self._muted = False

    async def process_frame(self, frame: Frame) -> bool:
        if isinstance(frame, TTSSpeakFrame | FunctionActionFrame):
            self._muted = True
        elif isinstance(frame, BotStoppedSpeakingFrame | ErrorFrame):
            self._muted = False
        return self._muted


# -- the bot --------------------------------------------------------------------------------------


async def run_bot(
    transport: BaseTransport,
    services: Services,
    runner_args: RunnerArguments,
    flow: Callable[[Workshop], NodeConfig] = python_flow,
) -> None:
    """Hold one conversation."""
    aggregators = LLMContextAggregatorPair(
        LLMContext(),
        user_params=LLMUserAggregatorParams(
            vad_analyzer=SileroVADAnalyzer(),
            user_mute_strategies=[
                MuteUntilFirstBotCompleteUserMuteStrategy(),  # until then there is no node
                MuteDuringActions(),
            ],
        ),
    )

    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                services.stt,
                aggregators.user(),
                services.llm,
                services.tts,
                services.face,
                transport.output(),
                aggregators.assistant(),
            ]
        ),
        params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
        idle_timeout_secs=runner_args.pipeline_idle_timeout_secs,
    )
    runner = WorkerRunner(handle_sigint=runner_args.handle_sigint)
    await runner.add_workers(worker)

    flow_manager = FlowManager(
        worker=worker, llm=services.llm, context_aggregator=aggregators, transport=transport
    )
    register_runway_actions(flow_manager, services.face)

    @transport.event_handler("on_client_connected")
    async def on_client_connected(_transport: BaseTransport, _client: Any) -> None:
        opening = asyncio.create_task(flow_manager.initialize(flow(services.workshop)))
        # If the caller hangs up in the middle of the greeting, Flows would wait for its end.
        worker.add_event_handler("on_pipeline_finished", lambda *_: opening.cancel())
        await opening

    @transport.event_handler("on_client_disconnected")
    async def on_client_disconnected(_transport: BaseTransport, _client: Any) -> None:
        await runner.cancel()  # ends the Runway session, which is billed until then

    await runner.run()


async def bot(runner_args: RunnerArguments) -> None:
    """Start a conversation; Pipecat's runner and Pipecat Cloud call this."""
    flow = yaml_flow if os.getenv("FLOW") == "yaml" else python_flow
    transport = await create_transport(runner_args, transport_params)
    await run_bot(transport, create_services(), runner_args, flow)


if __name__ == "__main__":
    from pipecat.runner.run import main

    load_dotenv()
    main()
