"""The bot behind the page. It reads as an example: ears, a mind, a voice and a face."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any

from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSSpeakFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.processors.frameworks.rtvi import RTVIProcessor
from pipecat.services.tts_service import TTSService
from pipecat.transports.base_transport import BaseTransport, TransportParams
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.transport import SmallWebRTCTransport
from pipecat.turns.empty_user_turn import EmptyUserTurnConfig
from pipecat.turns.user_start import VADUserTurnStartStrategy
from pipecat.turns.user_stop import SpeechTimeoutUserTurnStopStrategy
from pipecat.turns.user_turn_strategies import UserTurnStrategies
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService
from pipecat_runway.cli.consent import access
from pipecat_runway.cli.speech import EspeakTTSService

STT_KEY, LLM_KEY, TTS_KEY = "DEEPGRAM_API_KEY", "OPENAI_API_KEY", "CARTESIA_API_KEY"
CARTESIA_VOICE = "71a7ad14-091c-4e8e-a314-022ece01c121"

INTRODUCTION = "Hello! I am an AI, and this face is generated."
ECHO_GREETING = f"{INTRODUCTION} Type something, and I will say it."
GREETING = f"{INTRODUCTION} What would you like to talk about?"
CANNOT_HEAR = "You spoke, so I stopped. I cannot understand speech here. Please type."
INSTRUCTION = (
    "You are an AI with a computer-generated face, on a video call. Everything you write is "
    "spoken: keep it short, in plain sentences, without lists, symbols or emoji. "
    "Never claim to be a person."
)

WIDTH, HEIGHT = 960, 540  # the page shows it no larger
# More than come: the transport spaces pictures out by it, and after a hold-up it has to catch up.
FRAMERATE = 60


def lacks(env: Mapping[str, str]) -> list[str]:
    """Name what a real conversation lacks.

    Args:
        env: Where the keys are.

    Returns:
        Keys, and the command that installs what Pipecat needs for them.
    """
    lacking = [name for name in (STT_KEY, LLM_KEY) if not env.get(name)]
    if find_spec("deepgram") is None:
        lacking.append('pip install "pipecat-ai[deepgram,openai]"')
    return lacking


def what_is_used(env: Mapping[str, str]) -> str:
    """Tell who hears, thinks and speaks.

    Args:
        env: Where the keys are.
    """
    voice = "Cartesia" if env.get(TTS_KEY) else "espeak-ng"
    if lacking := lacks(env):
        return (
            f"It says what you type, by {voice}, and stops when you speak. "
            f"For a real conversation it lacks: {', '.join(lacking)}."
        )
    return f"Deepgram hears, OpenAI thinks and {voice} speaks, with your keys."


class Echo(FrameProcessor):
    """Stands where the LLM stands, and says the last message."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Answer a context with its own last text."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        message: Any = frame.context.get_messages()[-1]
        await self.push_frame(LLMFullResponseStartFrame())
        await self.push_frame(LLMTextFrame(str(message["content"])))
        await self.push_frame(LLMFullResponseEndFrame())


def voice_service(env: Mapping[str, str]) -> TTSService:
    """Make the voice: Cartesia's if there is a key, otherwise espeak-ng's."""
    if key := env.get(TTS_KEY):
        from pipecat.services.cartesia.tts import CartesiaTTSService

        voice = env.get("CARTESIA_VOICE_ID", CARTESIA_VOICE)
        return CartesiaTTSService(api_key=key, settings=CartesiaTTSService.Settings(voice=voice))
    return EspeakTTSService()


def ears_and_mind(env: Mapping[str, str]) -> tuple[list[FrameProcessor], FrameProcessor]:
    """Make what stands before the user's aggregator, and what stands behind it."""
    if lacks(env):
        return [], Echo()
    from pipecat.services.deepgram.stt import DeepgramSTTService
    from pipecat.services.openai.llm import OpenAILLMService

    return [DeepgramSTTService(api_key=env[STT_KEY])], OpenAILLMService(api_key=env[LLM_KEY])


def listening(env: Mapping[str, str]) -> LLMUserAggregatorParams:
    """Tell how a spoken turn is taken: the model of the voice detector comes with Pipecat."""
    if not lacks(env):
        return LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    return LLMUserAggregatorParams(
        vad_analyzer=SileroVADAnalyzer(),
        # No words will come, so silence alone ends a turn, and the turn gets this answer. Not for
        # ever: it may be its own voice that it hears, by a loudspeaker.
        user_turn_strategies=UserTurnStrategies(
            start=[VADUserTurnStartStrategy()],
            stop=[SpeechTimeoutUserTurnStopStrategy(wait_for_transcript=False)],
        ),
        empty_user_turn=EmptyUserTurnConfig(
            interrupted_prompt=CANNOT_HEAR, idle_prompt=CANNOT_HEAR, max_consecutive_recoveries=3
        ),
    )


class Conversation:
    """One visitor's, from the connection to its end.

    Args:
        connection: To the visitor's browser.
        env: Keys and addresses, under the names of their environment variables.
        preset: Whose face it is.
        max_duration: The longest the session can last, and be billed, in s.
        tell: Told, in a sentence, what happens.
    """

    def __init__(
        self,
        connection: SmallWebRTCConnection,
        env: Mapping[str, str],
        *,
        preset: str,
        max_duration: int,
        tell: Callable[[str], None],
    ) -> None:
        transport = SmallWebRTCTransport(
            connection,
            TransportParams(
                audio_in_enabled=True,
                audio_out_enabled=True,
                video_out_enabled=True,
                video_out_is_live=True,
                video_out_width=WIDTH,
                video_out_height=HEIGHT,
                video_out_framerate=FRAMERATE,
            ),
        )
        self._face = RunwayVideoService(
            **access(env),
            settings=RunwayVideoService.Settings(preset_id=preset),
            video_out_width=WIDTH,
            video_out_height=HEIGHT,
            max_duration=max_duration,
            start_on="client_connected",  # a browser that never gets through costs nothing
        )
        ears, mind = ears_and_mind(env)
        user, assistant = LLMContextAggregatorPair(
            LLMContext([{"role": "system", "content": INSTRUCTION}]), user_params=listening(env)
        )
        self._worker = PipelineWorker(
            Pipeline(
                [
                    transport.input(),
                    *ears,
                    user,
                    mind,
                    voice_service(env),
                    self._face,
                    transport.output(),
                    assistant,
                ]
            )
        )
        self._runner = WorkerRunner(handle_sigint=False)
        self._greeting = ECHO_GREETING if lacks(env) else GREETING
        self._tell = tell
        self._is_over = False
        self._worker.rtvi.add_event_handler("on_client_ready", self._on_client_ready)
        self._worker.add_event_handler("on_pipeline_error", self._on_pipeline_error)
        self._face.add_event_handler("on_avatar_connected", self._on_avatar_connected)
        transport.add_event_handler("on_client_disconnected", self._on_client_disconnected)
        self._runner.add_event_handler("on_ready", self._on_ready)

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session."""
        return self._face.session_id

    async def hold(self) -> None:
        """Talk until the visitor has left, or is left alone."""
        await self._runner.add_workers(self._worker)
        await self._runner.run()

    async def hang_up(self) -> None:
        """Have it end now."""
        self._is_over = True
        await self._runner.cancel()

    async def _on_client_ready(self, _rtvi: RTVIProcessor) -> None:
        # It may speak at once: what it says before the face is there waits for it.
        await self._worker.queue_frame(TTSSpeakFrame(self._greeting))

    async def _on_avatar_connected(self, _face: RunwayVideoService, session_id: str | None) -> None:
        self._tell(f"The face is there: session {session_id}.")

    async def _on_pipeline_error(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        self._tell(frame.error)

    async def _on_client_disconnected(self, _transport: BaseTransport, _client: Any) -> None:
        await self.hang_up()  # the session is billed until then

    async def _on_ready(self, _runner: WorkerRunner) -> None:
        if self._is_over:  # a run that begins forgets that it was cancelled
            await self._runner.cancel()
