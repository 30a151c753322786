"""What the Pipecat parties share: a pipeline with a service in it and a transport behind."""

import asyncio
import sys
import time
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
from loguru import logger
from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    StartFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.workers.runner import WorkerRunner

from benchmarks.compare import party
from benchmarks.compare.pacing import RATE
from benchmarks.compare.record import AUDIBLE, Record

END_BOUND = 20.0  # s
JITTER = 0.06  # s a chunk may be late and still follow on without a gap, as for a listener


class Entrance(FrameProcessor):
    """In front of the service: notes when speech gets there."""

    def __init__(self, record: Record) -> None:
        super().__init__(enable_direct_mode=True)
        self._record = record
        self._contexts: set[str | None] = set()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, TTSAudioRawFrame):
            if frame.context_id not in self._contexts:
                self._contexts.add(frame.context_id)
                self._record.note("in")
        elif isinstance(frame, InterruptionFrame) and direction is FrameDirection.DOWNSTREAM:
            self._record.note("interrupted")
        elif isinstance(frame, ErrorFrame):
            self._record.note(f"error {frame.error}")
        await self.push_frame(frame, direction)


class Exit(FrameProcessor):
    """Behind the service: writes down what comes out of it."""

    def __init__(self, record: Record) -> None:
        super().__init__(enable_direct_mode=True)
        self._record = record

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case OutputImageRawFrame():
                self._record.picture(frame.image, *frame.size)
            case OutputAudioRawFrame():
                self._record.sound(frame.audio, frame.sample_rate)
            case TTSStoppedFrame():
                self._record.note("stopped")
            case BotStoppedSpeakingFrame() if direction is FrameDirection.UPSTREAM:
                self._record.note("bot stopped")
            case BotStartedSpeakingFrame() if direction is FrameDirection.UPSTREAM:
                self._record.note("bot started")
        await self.push_frame(frame, direction)


class Listener(BaseOutputTransport):
    """Pipecat's own output transport, played to nobody in real time."""

    def __init__(self, params: TransportParams, record: Record) -> None:
        super().__init__(params)
        self._record = record
        self._free_at = 0.0  # when the sound given so far has been played

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Play a chunk: wait as SmallWebRTC does, until its last 10 ms are being played."""
        now = time.monotonic()
        at = self._free_at if now - self._free_at < JITTER else now
        self._free_at = at + len(frame.audio) / 2 / frame.sample_rate
        if self._record.keep:
            loud = np.abs(np.frombuffer(frame.audio, "<i2").astype(np.int32)) > AUDIBLE
            if loud.any():
                last = int(np.flatnonzero(loud)[-1])
                self._record.note("played", at + last / frame.sample_rate)
        await asyncio.sleep(self._free_at - 0.010 - time.monotonic())
        return True

    async def write_video_frame(self, frame: OutputImageRawFrame) -> bool:
        return True


class PipecatParty:
    """A pipeline around a service.

    Attributes:
        entrance: What stands in front of it.
        exit: What stands behind it.
    """

    entrance = Entrance
    exit = Exit

    def __init__(self, record: Record) -> None:
        self._record = record
        self._worker: PipelineWorker | None = None
        self._running: asyncio.Task[None] | None = None

    @abstractmethod
    async def service(self, where: dict[str, Any]) -> FrameProcessor:
        """Make the service, not running yet."""

    async def processors(self, where: dict[str, Any]) -> list[FrameProcessor]:
        """The pipeline, ends in an output transport."""
        return [
            self.entrance(self._record),
            await self.service(where),
            self.exit(self._record),
            Listener(TransportParams(**shown(where)), self._record),
        ]

    async def join(self, where: dict[str, Any]) -> None:
        self._worker = PipelineWorker(
            Pipeline(await self.processors(where)), enable_rtvi=False, idle_timeout_secs=None
        )
        self._running = asyncio.create_task(self._run(self._worker))

    async def say(self, speech: AsyncIterator[bytes], context: str) -> None:
        await self._queue(TTSStartedFrame(context))
        async for pcm in speech:
            await self._queue(TTSAudioRawFrame(pcm, RATE, 1, context_id=context))
        await self._queue(TTSStoppedFrame(context))

    async def interrupt(self) -> None:
        """Say that the user speaks, as Pipecat's user aggregator does, both frames of it."""
        await self._queue(UserStartedSpeakingFrame())
        await self._queue(InterruptionFrame())

    async def leave(self) -> None:
        assert self._running is not None
        await self._queue(EndFrame())
        await asyncio.wait_for(self._running, END_BOUND)

    async def told(self) -> dict[str, Any]:
        return {}

    async def _queue(self, frame: Frame) -> None:
        assert self._worker is not None
        await self._worker.queue_frame(frame)

    async def _run(self, worker: PipelineWorker) -> None:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(worker)
        await runner.run()


def shown(where: dict[str, Any]) -> dict[str, Any]:
    """What any output transport is told."""
    return {
        "audio_out_enabled": True,
        "audio_out_end_silence_secs": 0,
        "video_out_enabled": True,
        "video_out_is_live": True,
        "video_out_width": where["width"],
        "video_out_height": where["height"],
        "video_out_framerate": where["fps"],
    }


def main(make: party.Make) -> None:
    """Be a Pipecat party's process, which logs what is wrong and no more."""
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    party.main(make)
