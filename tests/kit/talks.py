"""Talks with Runway's own agent: a user of marked speech, and a pipeline around the service."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from pipecat.audio.vad.vad_analyzer import VADAnalyzer, VADParams
from pipecat.frames.frames import (
    InputAudioRawFrame,
    LLMFullResponseEndFrame,
    TranscriptionFrame,
)
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)

from pipecat_runway import RunwayRealtimeLLMService
from pipecat_runway.simulator import RunwaySimulator, SimulatedSession

from .marks import marked_speech
from .pipeline import UP, Run, Tape, running

RATE = 16_000  # of the user's voice
FRAME = RATE // 50
BOUND = 20.0


class LoudnessVAD(VADAnalyzer):
    """A VAD for marks, which no model takes for speech."""

    def num_frames_required(self) -> int:
        return FRAME

    def voice_confidence(self, buffer: bytes) -> float:
        sound = np.frombuffer(buffer, np.int16).astype(np.float32)
        return 1.0 if float(np.sqrt(np.mean(sound * sound))) > 300 else 0.0


class Talk:
    """A pipeline with the service in it, and a user in front.

    Attributes:
        run: The pipeline.
        llm: The service.
        tape: Right behind the service.
        before: Between the user's aggregator and the service: what goes upstream.
        context: The conversation as Pipecat keeps it.
    """

    def __init__(
        self,
        runway: RunwaySimulator,
        run: Run,
        llm: RunwayRealtimeLLMService,
        before: Tape,
        context: LLMContext,
    ) -> None:
        self.run, self.llm, self.tape, self.before = run, llm, run.tape, before
        self.context = context
        self._runway = runway
        self._voice: asyncio.Queue[bytes] = asyncio.Queue()
        self._microphone = asyncio.create_task(self._play(), name="the user's microphone")

    @property
    def session(self) -> SimulatedSession:
        """The newest session."""
        return self._runway.sessions[-1]

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Who said what, in the context."""
        return [
            (m["role"], m["content"])  # type: ignore[misc,typeddict-item]
            for m in self.context.get_messages()
            if isinstance(m, dict) and m["role"] in ("user", "assistant") and "content" in m
        ]

    @property
    def finals(self) -> list[str]:
        """What the user was said to have said, each once final."""
        return [t.frame.text for t in self.before.of(TranscriptionFrame, direction=UP)]  # type: ignore[attr-defined]

    def say(self, pcm: bytes) -> None:
        """Say something, 16 kHz s16le mono, at the pace of speech."""
        for start in range(0, len(pcm), 2 * FRAME):
            self._voice.put_nowait(pcm[start : start + 2 * FRAME].ljust(2 * FRAME, b"\0"))

    def say_marks(self, first: int, count: int) -> None:
        """Say marked speech of `count` times 100 ms."""
        self.say(marked_speech(first, count, RATE))

    async def answered(self, count: int, timeout: float = BOUND) -> None:
        """Wait until the avatar has ended so many responses."""
        await self.tape.wait_for(LLMFullResponseEndFrame, timeout, count)

    async def aclose(self) -> None:
        self._microphone.cancel()
        await asyncio.wait({self._microphone})

    async def _play(self) -> None:
        """Send what a microphone does: what is said, and silence in between."""
        due = time.monotonic()
        while True:
            pcm = b"\0" * (2 * FRAME) if self._voice.empty() else self._voice.get_nowait()
            if not self.run.finished:
                await self.run.queue(InputAudioRawFrame(pcm, RATE, 1))
            due += FRAME / RATE
            await asyncio.sleep(max(0.0, due - time.monotonic()))


def llm_for(runway: RunwaySimulator, **options: Any) -> RunwayRealtimeLLMService:
    """A service that uses a local Runway."""
    settings = RunwayRealtimeLLMService.Settings(preset_id="cooking-teacher")
    keys = {
        "api_key": runway.env["RUNWAYML_API_SECRET"],
        "base_url": runway.env["RUNWAYML_BASE_URL"],
        "settings": settings,
        "start_script": "Hello there.",
    }
    return RunwayRealtimeLLMService(**(keys | options))


@asynccontextmanager
async def talking(
    runway: RunwaySimulator,
    *,
    vad: bool = True,
    connected: bool = True,
    handlers: Iterable[tuple[str, Callable[..., Any]]] = (),
    **options: Any,
) -> AsyncIterator[Talk]:
    """A user talks with Runway's agent, in a real pipeline with aggregators."""
    llm = llm_for(runway, **options)
    there = asyncio.Event()

    async def note(*_: Any) -> None:
        there.set()

    llm.add_event_handler("on_avatar_connected", note)
    for event, handler in handlers:
        llm.add_event_handler(event, handler)
    context = LLMContext()
    analyzer = LoudnessVAD(params=VADParams(start_secs=0.1, stop_secs=0.3)) if vad else None
    user, assistant = LLMContextAggregatorPair(
        context, user_params=LLMUserAggregatorParams(vad_analyzer=analyzer)
    )
    before, tape = Tape(name="Before"), Tape(name="Behind")
    params = PipelineParams(
        audio_in_sample_rate=RATE,
        audio_out_sample_rate=24_000,
        enable_metrics=True,
        enable_usage_metrics=True,
    )
    async with running(user, before, llm, tape, assistant, params=params) as run:
        await run.started()
        talk = Talk(runway, run, llm, before, context)
        try:
            if connected:
                await asyncio.wait_for(there.wait(), BOUND)
            yield talk
        finally:
            await talk.aclose()
