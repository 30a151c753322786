"""Real Pipecat pipelines around a service under test, with everything that came out recorded."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from pipecat.frames.frames import (
    AggregatedTextFrame,
    CancelFrame,
    EndFrame,
    ErrorFrame,
    Frame,
    MetricsFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.metrics.metrics import MetricsData
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.text.base_text_aggregator import TextType
from pipecat.workers.runner import WorkerRunner

from .marks import MARKS, Recording, Samples, marked_speech, mono, numbers, resampled

DOWN, UP = FrameDirection.DOWNSTREAM, FrameDirection.UPSTREAM

Pace = Literal["burst", "realtime"] | float
"""How fast speech comes: all at once, in real time, or so many times faster than that."""


class Taped(NamedTuple):
    """A frame that passed: when (`time.monotonic()`), which, and which way."""

    at: float
    frame: Frame
    direction: FrameDirection


Metrics = TypeVar("Metrics", bound=MetricsData)


class Picture(NamedTuple):
    """A picture that passed, without its pixels.

    Attributes:
        at: When.
        size: Width and height.
        format: As the frame said.
        look: What the `look` function given to the recorder saw in it.
    """

    at: float
    size: tuple[int, int]
    format: str | None
    look: Any


Look = Callable[[OutputImageRawFrame], Any]


class Tape(FrameProcessor):
    """Records all frames that pass, both ways, at the moment the neighbour pushes them.

    Pictures are large: of them only a `Picture` is kept.

    Args:
        look: Applied to every picture; its result is kept in the `Picture`.
    """

    def __init__(self, *, look: Look | None = None, **kwargs: Any) -> None:
        # Direct mode: frames are recorded and passed on in the task that pushes them.
        super().__init__(enable_direct_mode=True, **kwargs)
        self.taped: list[Taped] = []
        self.pictures: list[Picture] = []
        self._look = look
        self._news = asyncio.Event()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        now = time.monotonic()
        if isinstance(frame, OutputImageRawFrame):
            seen = self._look(frame) if self._look else None
            self.pictures.append(Picture(now, frame.size, frame.format, seen))
        else:
            self.taped.append(Taped(now, frame, direction))
        self._news.set()
        await self.push_frame(frame, direction)

    def of(self, *types: type[Frame], direction: FrameDirection = DOWN) -> list[Taped]:
        """What passed of these types."""
        return [t for t in self.taped if t.direction is direction and isinstance(t.frame, types)]

    def metrics(self, kind: type[Metrics]) -> list[Metrics]:
        """What metrics of this kind passed downstream."""
        return [
            data
            for _, frame, _ in self.of(MetricsFrame)
            if isinstance(frame, MetricsFrame)
            for data in frame.data
            if isinstance(data, kind)
        ]

    def audio(self, context_id: str | None = None) -> list[tuple[float, OutputAudioRawFrame]]:
        """The audio frames that passed downstream, of one TTS context or of all."""
        return [
            (at, frame)
            for at, frame, _ in self.of(OutputAudioRawFrame)
            if isinstance(frame, OutputAudioRawFrame)
            and (context_id is None or getattr(frame, "context_id", None) == context_id)
        ]

    def speech_pcm(self, context_id: str | None = None) -> Recording:
        """The audio that passed, frame after frame, whenever it came."""
        return recording_of((0.0, frame) for _, frame in self.audio(context_id))

    def timeline_pcm(self, context_id: str | None = None, *, buffer: float = 0.06) -> Recording:
        """The audio that passed as a real-time player plays it.

        What comes early waits its turn, what comes late leaves silence before it.

        Args:
            context_id: Of one TTS context; left out: all.
            buffer: How late a frame may be before it is missed. The player starts this much
                later, and its times are moved back by it.
        """
        return recording_of(self.audio(context_id), buffer)

    async def wait_for(
        self,
        what: type[Frame] | Callable[[Frame], bool],
        timeout: float = 5.0,
        count: int = 1,
        *,
        direction: FrameDirection = DOWN,
    ) -> Taped:
        """Wait until `count` such frames have passed since the beginning; the last of them."""

        def wanted(taped: Taped) -> bool:
            fits = isinstance(taped.frame, what) if isinstance(what, type) else what(taped.frame)
            return fits and taped.direction is direction

        place = seen = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    while place < len(self.taped):
                        seen += wanted(self.taped[place])
                        if seen == count:
                            return self.taped[place]
                        place += 1
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            passed = dict(Counter(type(taped.frame).__name__ for taped in self.taped))
            raise TimeoutError(
                f"{seen} of {count} {what} passed in {timeout} s, among {passed}"
            ) from None

    async def wait_for_pictures(self, count: int = 1, timeout: float = 5.0) -> Picture:
        """Wait until `count` pictures have passed since the beginning; the last of them."""
        async with asyncio.timeout(timeout):
            while len(self.pictures) < count:
                self._news.clear()
                await self._news.wait()
        return self.pictures[count - 1]


def bracket_faults(tape: Tape, *, interrupted: Collection[str] = ()) -> list[str]:
    """What is wrong with the brackets of the utterances that passed.

    Each is one TTSStartedFrame, its audio, one TTSStoppedFrame, and no two overlap.
    Contexts named in `interrupted` need not be stopped.
    """
    faults: list[str] = []
    started: Counter[str | None] = Counter()
    stopped: Counter[str | None] = Counter()
    outside: Counter[str | None] = Counter()
    for _, frame, _ in tape.of(TTSStartedFrame, TTSAudioRawFrame, TTSStoppedFrame):
        context = getattr(frame, "context_id", None)
        others = [c for c in started if c != context and not stopped[c] and c not in interrupted]
        if others:
            faults.append(f"{context}: {type(frame).__name__} inside {', '.join(map(str, others))}")
        if isinstance(frame, TTSStartedFrame):
            started[context] += 1
        elif isinstance(frame, TTSStoppedFrame):
            if not started[context]:
                faults.append(f"{context}: stopped before it was started")
            stopped[context] += 1
        elif not started[context] or stopped[context]:
            outside[context] += 1
    faults += [f"{context}: started {n} times" for context, n in started.items() if n > 1]
    faults += [f"{context}: stopped {n} times" for context, n in stopped.items() if n > 1]
    faults += [f"{context}: {n} audio frames outside its bracket" for context, n in outside.items()]
    faults += [
        f"{context}: never stopped"
        for context in started
        if not stopped[context] and context not in interrupted
    ]
    return faults


class Run:
    """A pipeline that is running; made by `running`.

    Attributes:
        worker: Pipecat's own.
        tape: The last tape in the pipeline, normally right behind the service under test.
        head: The tape in front of everything; sees what travels upstream.
    """

    def __init__(self, worker: PipelineWorker, head: Tape, tape: Tape) -> None:
        self.worker = worker
        self.head = head
        self.tape = tape
        self._started = asyncio.Event()
        self._end_sent = False
        worker.event_handler("on_pipeline_started")(self._note_start)
        self._task = asyncio.create_task(self._run(), name="pipeline under test")

    @property
    def finished(self) -> bool:
        """Whether the pipeline has ended."""
        return self._task.done()

    @property
    def errors(self) -> list[ErrorFrame]:
        """The errors that reached the front of the pipeline."""
        return [t.frame for t in self.head.of(ErrorFrame, direction=UP)]  # type: ignore[misc]

    async def started(self, timeout: float = 10.0) -> None:
        """Wait until the StartFrame has got through."""
        waiting = asyncio.create_task(self._started.wait())
        try:
            await asyncio.wait(
                {waiting, self._task}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()
        if not self._started.is_set():
            raise TimeoutError(f"the pipeline did not start within {timeout} s")

    async def queue(self, *frames: Frame, direction: FrameDirection = DOWN) -> None:
        """Put frames in at the front (or, for upstream ones, at the back)."""
        for frame in frames:
            await self.worker.queue_frame(frame, direction)

    async def feed(self, frames: AsyncIterator[Frame]) -> None:
        """Put frames in at the front as they come."""
        async for frame in frames:
            await self.worker.queue_frame(frame)

    async def interrupt(self) -> float:
        """Broadcast an interruption from the front, as the user aggregator does; says when."""
        now = time.monotonic()
        await self.head.broadcast_interruption()  # type: ignore[no-untyped-call]
        return now

    async def end(self, timeout: float = 20.0) -> None:
        """Send an EndFrame and wait until the pipeline has ended."""
        self._end_sent = True
        await self.queue(EndFrame())
        await self.ended(timeout)

    async def cancel(self, timeout: float = 20.0) -> None:
        """Cancel the pipeline, even one that is ending, and wait until it has ended."""
        await self._cancel()
        await self.ended(timeout)

    async def ended(self, timeout: float = 20.0) -> None:
        """Wait until the pipeline has ended, however that comes about."""
        done, _ = await asyncio.wait({self._task}, timeout=timeout)
        if not done:
            raise TimeoutError(f"the pipeline did not end within {timeout} s")
        self._task.result()

    async def aclose(self) -> None:
        """Leave nothing running, whatever state it is in."""
        if not self.finished:
            await self._cancel()
            await asyncio.wait({self._task}, timeout=10.0)
        if not self.finished:
            self._task.cancel()
            raise AssertionError("the pipeline could not be cancelled within 10 s")
        self._task.result()

    async def _cancel(self) -> None:
        await self.worker.cancel()
        # The worker's own CancelFrame waits until an EndFrame before it has got through
        # (pipecat/pipeline/worker.py, _process_push_queue), so then one goes in by hand.
        if self._end_sent or self.head.of(EndFrame):
            await self.worker.pipeline.queue_frame(CancelFrame())

    async def _note_start(self, worker: PipelineWorker, frame: Frame) -> None:
        self._started.set()

    async def _run(self) -> None:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self.worker)
        await runner.run()


@asynccontextmanager
async def running(
    *processors: FrameProcessor,
    params: PipelineParams | None = None,
    observers: Iterable[BaseObserver] = (),
    **worker_options: Any,
) -> AsyncIterator[Run]:
    """Run processors as a real pipeline until the block is left.

    A tape is put in front of everything, and another at the end if there is none among the
    processors. RTVI is off unless `enable_rtvi=True` is among the worker's options.
    """
    head = Tape(name="Head")
    tapes = [p for p in processors if isinstance(p, Tape)] or [Tape()]
    rest = [] if tapes[-1] in processors else [tapes[-1]]
    options = {"enable_rtvi": False, "idle_timeout_secs": None, "cancel_timeout_secs": 8.0}
    worker = PipelineWorker(
        Pipeline([head, *processors, *rest]),
        params=params,
        observers=list(observers),
        **(options | worker_options),
    )
    run = Run(worker, head, tapes[-1])
    try:
        yield run
    finally:
        await run.aclose()


async def tts_utterance(
    pcm: bytes,
    rate: int,
    channels: int = 1,
    context_id: str = "utterance",
    *,
    frame_ms: int = 20,
    pace: Pace = "burst",
    text: str | None = None,
    append_to_context: bool = True,
    interruptible: bool = True,
    transport_destination: str | None = None,
) -> AsyncIterator[Frame]:
    """The frames of one utterance, in the order a Pipecat TTS service pushes them.

    That is (pipecat/services/tts_service.py, a service without word times): the text announced,
    TTSStartedFrame, audio, the text as spoken, TTSStoppedFrame.
    """

    def stamped(frame: Frame) -> Frame:
        frame.interruptible = interruptible
        if not isinstance(frame, AggregatedTextFrame) or isinstance(frame, TTSTextFrame):
            frame.transport_destination = transport_destination
        return frame

    announced = None
    if text is not None:
        announced = AggregatedTextFrame(text, TextType.SENTENCE, context_id, raw_text=text)
        announced.append_to_context = False
        announced.will_be_spoken = True
        yield stamped(announced)
    yield stamped(TTSStartedFrame(context_id, append_to_context))
    async for audio in paced_audio(pcm, rate, channels, context_id, frame_ms=frame_ms, pace=pace):
        yield stamped(audio)
    if announced is not None:
        spoken = TTSTextFrame(announced.text, TextType.SENTENCE, context_id)
        spoken.segment_id = announced.id
        spoken.will_be_spoken = True
        spoken.append_to_context = append_to_context
        yield stamped(spoken)
    stopped = TTSStoppedFrame(context_id)
    stopped.pts = 0  # what it is without word times
    yield stamped(stopped)


async def paced_audio(
    pcm: bytes,
    rate: int,
    channels: int = 1,
    context_id: str | None = None,
    *,
    frame_ms: int = 20,
    pace: Pace = "burst",
) -> AsyncIterator[TTSAudioRawFrame]:
    """Cut sound into TTSAudioRawFrames that come at a pace."""
    speed = {"burst": 0.0, "realtime": 1.0}[pace] if isinstance(pace, str) else pace
    size = rate * frame_ms // 1000 * channels * 2
    begun = time.monotonic()
    for index, place in enumerate(range(0, len(pcm), size)):
        if speed:
            await asyncio.sleep(begun + index * frame_ms / 1000 / speed - time.monotonic())
        yield TTSAudioRawFrame(pcm[place : place + size], rate, channels, context_id=context_id)


@dataclass(frozen=True)
class Spoken:
    """What `MarkedTTSService` was asked to say, and the marks it says it with."""

    context_id: str
    text: str
    marks: list[int]


class MarkedTTSService(TTSService):
    """A real Pipecat TTS service whose voice is marked speech.

    A text such as "marks 10-25" is said with the marks 10 to 25; of other text every two letters
    take one mark, counted on from `first_mark`. What was said stands in `spoken`.

    Args:
        frame_ms: Length of its audio frames.
        pace: How fast they come.
        first_mark: Where free text begins to count.
        word_times: Whether it reports when each word is said, as services with word timestamps
            do, instead of each text after its audio.
    """

    def __init__(
        self,
        *,
        frame_ms: int = 20,
        pace: Pace = "burst",
        first_mark: int = MARKS // 2,
        word_times: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=not word_times,
            settings=TTSSettings(model="marks", voice="marks", language=None),
            **kwargs,
        )
        self.spoken: list[Spoken] = []
        self._frame_ms = frame_ms
        self._pace = pace
        self._next_mark = first_mark
        self._said: Counter[str] = Counter()  # pieces of each context so far

    def can_generate_metrics(self) -> bool:
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        marks = self._marks_of(text)
        self.spoken.append(Spoken(context_id, text, marks))
        pcm = b"".join(marked_speech(mark, 1, self.sample_rate) for mark in marks)
        words = text.split()
        if not self._push_text_frames:
            offset, each = self._said[context_id] / 10, len(marks) / 10 / len(words)
            times = [(word, offset + index * each) for index, word in enumerate(words)]
            await self.add_word_timestamps(times, context_id)
        self._said[context_id] += len(marks)
        async for frame in paced_audio(
            pcm, self.sample_rate, 1, context_id, frame_ms=self._frame_ms, pace=self._pace
        ):
            yield frame

    def _marks_of(self, text: str) -> list[int]:
        named = re.findall(r"marks (\d+)-(\d+)", text)
        if named:
            return [m for a, b in named for m in numbers(int(a), int(b) - int(a) + 1)]
        marks = numbers(self._next_mark, max(1, len(text) // 2))
        self._next_mark += len(marks)
        return marks


def recording_of(
    frames: Iterable[tuple[float, OutputAudioRawFrame]], buffer: float = 0.0
) -> Recording:
    """Lay audio frames one behind the other, none before its time plus `buffer`.

    Runs of one rate are resampled as a whole, to the highest rate among them.
    """
    runs: list[tuple[float, int, list[Samples]]] = []  # played at, rate, sound
    begin = end = 0.0
    for at, frame in frames:
        sound = mono(frame.audio, frame.num_channels)
        if not runs:
            begin = end = at + buffer
        dry = at > end + 1e-6
        if dry or not runs or runs[-1][1] != frame.sample_rate:
            end = at + buffer if dry else end
            runs.append((end, frame.sample_rate, []))
        runs[-1][2].append(sound)
        end += len(sound) / frame.sample_rate
    if not runs:
        return Recording(b"", 48000)
    rate = max(rate for _, rate, _ in runs)
    parts = list(_placed(runs, begin, rate))
    samples = np.clip(np.rint(np.concatenate(parts) * 32768), -32768, 32767).astype("<i2")
    return Recording(samples.tobytes(), rate, begin - buffer)


def _placed(
    runs: Iterable[tuple[float, int, list[Samples]]], begin: float, rate: int
) -> Iterator[Samples]:
    length = 0
    for at, run_rate, sounds in runs:
        silence = max(0, round((at - begin) * rate) - length)
        sound = resampled(np.concatenate(sounds), run_rate, rate)
        length += silence + len(sound)
        yield np.zeros(silence, np.float32)
        yield sound
