"""A transport that plays to nobody, in real time, and records what a listener would get."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    InputTransportMessageFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
)
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.processors.frameworks.rtvi import RTVIObserverParams
from pipecat.transports.base_input import BaseInputTransport
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import BaseTransport, TransportParams

from .marks import Recording
from .pipeline import Look, Picture, Run, Tape, recording_of, running

JITTER = 0.06


class LoopbackOutput(BaseOutputTransport):
    """Pipecat's own output transport, ending in recorders instead of a network."""

    def __init__(self, params: TransportParams, *, look: Look | None = None, **kwargs: Any) -> None:
        super().__init__(params, **kwargs)
        self.played: dict[str | None, list[tuple[float, OutputAudioRawFrame]]] = {}
        self.pictures: list[Picture] = []
        self.messages: list[dict[str, Any]] = []
        self._look = look
        self._free_at: dict[str | None, float] = {}  # when the sound given so far has been played
        self._news = asyncio.Event()

    async def start(self, frame: StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: OutputAudioRawFrame) -> bool:
        """Play a chunk: wait as SmallWebRTC does, until its last 10 ms are being played.

        A chunk late by less than `JITTER` still follows on without a gap, as it does for a
        listener: a busy machine is not the fault of the pipeline under test.
        """
        to, now = frame.transport_destination, time.monotonic()
        free_at = self._free_at.get(to, 0.0)
        at = free_at if now - free_at < JITTER else now
        self.played.setdefault(to, []).append((at, frame))
        seconds = len(frame.audio) / 2 / frame.num_channels / frame.sample_rate
        self._free_at[to] = at + seconds
        await asyncio.sleep(at + seconds - 0.010 - time.monotonic())
        return True

    async def write_video_frame(self, frame: OutputImageRawFrame) -> bool:
        seen = self._look(frame) if self._look else None
        self.pictures.append(Picture(time.monotonic(), frame.size, frame.format, seen))
        return True

    async def send_message(
        self, frame: OutputTransportMessageFrame | OutputTransportMessageUrgentFrame
    ) -> None:
        self.messages.append(frame.message)
        self._news.set()

    async def wait_for_message(self, kind: str, timeout: float = 5.0) -> dict[str, Any]:
        """The first message of that type, once it has been sent."""
        async with asyncio.timeout(timeout):
            while True:
                for message in self.messages:
                    if message.get("type") == kind:
                        return message
                self._news.clear()
                await self._news.wait()


class LoopbackTransport(BaseTransport):
    """A minimal real transport.

    Args:
        params: Left out: sound at the pipeline's rate, no picture. `audio_out_end_silence_secs`
            is Pipecat's 2 s unless it is set; left out altogether it is 0.
        look: Applied to every picture shown; its result is kept in the `Picture`.
    """

    def __init__(self, params: TransportParams | None = None, *, look: Look | None = None) -> None:
        super().__init__(name="Loopback")
        self._params = params or TransportParams(
            audio_out_enabled=True, audio_out_end_silence_secs=0
        )
        self._input = BaseInputTransport(self._params)
        self._output = LoopbackOutput(self._params, look=look)

    def input(self) -> BaseInputTransport:
        return self._input

    def output(self) -> LoopbackOutput:
        return self._output

    @property
    def pictures(self) -> list[Picture]:
        """The pictures shown."""
        return self._output.pictures

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages sent to the client."""
        return self._output.messages

    def heard(self, destination: str | None = None) -> Recording:
        """What was played, with silence wherever nothing was."""
        return recording_of(self._output.played.get(destination, []))


def bot_turns(tape: Tape) -> list[tuple[float, float | None]]:
    """When the bot was said to start and to stop speaking, from a tape behind the transport.

    Raises:
        AssertionError: A start without a stop before the next, or the other way round.
    """
    turns: list[tuple[float, float | None]] = []
    for at, frame, _ in tape.of(BotStartedSpeakingFrame, BotStoppedSpeakingFrame):
        speaking = bool(turns) and turns[-1][1] is None
        if isinstance(frame, BotStartedSpeakingFrame):
            assert not speaking, "started speaking twice"
            turns.append((at, None))
        else:
            assert speaking, "stopped speaking without having started"
            turns[-1] = (turns[-1][0], at)
    return turns


async def rtvi_messages(
    script: Callable[[Run], Awaitable[None]],
    *between: FrameProcessor,
    behind: Sequence[FrameProcessor] = (),
    params: PipelineParams | None = None,
    observer_params: RTVIObserverParams | None = None,
) -> list[str]:
    """The kinds of all RTVI messages a client gets, in order, while a script runs.

    Args:
        script: Feeds the pipeline; it has been started when the script is called, and is ended
            with an EndFrame afterwards.
        between: The processors between the front of the pipeline and the transport.
        behind: The processors behind the transport.
        params: The pipeline's.
        observer_params: Which messages are sent; left out: Pipecat's defaults.
    """
    transport = LoopbackTransport()
    async with running(
        *between,
        transport.output(),
        *behind,
        params=params,
        enable_rtvi=True,
        rtvi_observer_params=observer_params,
    ) as run:
        await run.started()
        ready = {"version": "2.0.0", "about": {"library": "pipecat-runway-tests"}}
        message = {"label": "rtvi-ai", "type": "client-ready", "id": "1", "data": ready}
        await run.queue(InputTransportMessageFrame(message=message))
        await transport.output().wait_for_message("bot-ready")
        await script(run)
        await run.end()
    return [message["type"] for message in transport.messages]
