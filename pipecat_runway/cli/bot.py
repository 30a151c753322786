"""The bot that is filmed. It reads as an example: a voice, a face, and where they are shown."""

import asyncio
import gc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipecat.frames.frames import EndFrame, ErrorFrame, InterruptionFrame, TTSSpeakFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService
from pipecat_runway.cli.consent import access
from pipecat_runway.cli.film import FilmSink
from pipecat_runway.cli.speech import EspeakTTSService
from pipecat_runway.cli.stages import Stages
from pipecat_runway.cli.stopwatch import Stopwatch

INTERRUPTED_SENTENCE = (
    "This sentence goes on and on about nothing in particular because its only purpose is to be "
    "interrupted long before anybody could have heard how it was going to end"
)
LAST_SENTENCE = "You interrupted me, so I stopped at once."
INTERRUPT_AFTER = 1.5  # s of the second sentence

FACE_TIMEOUT = 45.0  # s; the service itself gives up after 30
SPEECH_TIMEOUT = 30.0  # s, beyond the speech itself
LETTERS_PER_SECOND = 8.0  # of a slow speaker
END_TIMEOUT = 30.0
IDLE = 0.8  # s of the silent face before and after the speech


class BotError(RuntimeError):
    """The bot cannot go on; the message says why."""


@dataclass(frozen=True)
class Script:
    """What is filmed.

    Attributes:
        record: The film's name.
        say: The first sentence.
        preset: Who says it.
        barge_in: Whether a second one is interrupted by a third.
    """

    record: Path
    say: str
    preset: str
    barge_in: bool


def settle_memory() -> None:
    """Keep garbage collection out of the speech.

    A full collection over everything that was imported stops the event loop for about 0.1 s; one
    at the first words was heard as a late voice.
    """
    gc.collect()
    gc.freeze()


class Bot:
    """A voice, a face and a film, in one pipeline.

    Attributes:
        script: What it does.
        film: The end of its pipeline.
        stopwatch: The times of what it says.
        errors: What it reported, oldest first.
    """

    def __init__(
        self, script: Script, env: Mapping[str, str], *, max_duration: int | None = None
    ) -> None:
        """Build the pipeline; nothing is requested yet.

        Args:
            script: What is filmed.
            env: Keys and addresses, under the names of their environment variables.
            max_duration: The longest the session can last, and be billed, in s.
        """
        tts = EspeakTTSService()
        self._face = RunwayVideoService(
            **access(env),
            max_duration=max_duration,
            settings=RunwayVideoService.Settings(preset_id=script.preset),
        )
        self.film = FilmSink(script.record)  # where a bot of yours has transport.output()
        self.stopwatch = Stopwatch(tts, self._face)
        self.errors: list[str] = []
        self._worker = PipelineWorker(
            Pipeline([tts, self._face, self.film]), observers=[self.stopwatch]
        )
        self.script = script
        self._connected = asyncio.Event()
        self._face.add_event_handler("on_avatar_connected", self._on_avatar_connected)
        self._worker.add_event_handler("on_pipeline_error", self._on_pipeline_error)

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session."""
        return self._face.session_id

    async def perform(self, stages: Stages) -> None:
        """Say what the script says. However that ends, the session and the film are ended.

        Args:
            stages: Shows what is happening.
        """
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self._worker)
        running = asyncio.create_task(runner.run(), name="pipeline")
        try:
            with stages.stage("Waiting for the face"):
                await self._wait_for_face()
                settle_memory()
                await asyncio.sleep(IDLE)
            with stages.stage("Speaking"):
                await self._say(self.script.say)
            if self.script.barge_in:
                with stages.stage("Interrupting"):
                    await self._be_interrupted()
            await asyncio.sleep(IDLE)
            with stages.stage("Ending the session"):
                await self._worker.queue_frame(EndFrame())
                await asyncio.wait({running}, timeout=END_TIMEOUT)
        finally:
            if not running.done():
                with stages.stage("Ending the session"):
                    await runner.cancel()
                    await asyncio.wait({running}, timeout=END_TIMEOUT)

    async def _wait_for_face(self) -> None:
        try:
            async with asyncio.timeout(FACE_TIMEOUT):
                await self._connected.wait()
        except TimeoutError:
            raise BotError(f"no face within {FACE_TIMEOUT:.0f} s.") from None
        if self.errors:
            raise BotError(self.errors[0])

    async def _say(self, text: str) -> None:
        spoken = self.stopwatch.spoken
        number = len(spoken)
        await self._worker.queue_frame(TTSSpeakFrame(text))
        timeout = SPEECH_TIMEOUT + len(text) / LETTERS_PER_SECOND
        await self._until(
            lambda: len(spoken) > number and spoken[number].stopped is not None, timeout
        )

    async def _be_interrupted(self) -> None:
        spoken = self.stopwatch.spoken
        number = len(spoken)
        await self._worker.queue_frame(TTSSpeakFrame(INTERRUPTED_SENTENCE))
        await self._until(
            lambda: len(spoken) > number and spoken[number].began is not None, SPEECH_TIMEOUT
        )
        await asyncio.sleep(INTERRUPT_AFTER)
        await self._worker.queue_frame(InterruptionFrame())
        await self._say(LAST_SENTENCE)

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        try:
            await self.stopwatch.until(condition, timeout)
        except TimeoutError:
            raise BotError(f"the speech did not come to its end within {timeout:.0f} s.") from None

    async def _on_avatar_connected(self, _service: RunwayVideoService, _session_id: str) -> None:
        self._connected.set()

    async def _on_pipeline_error(self, _worker: PipelineWorker, frame: ErrorFrame) -> None:
        self.errors.append(frame.error)
        self._connected.set()
