"""The example bots that use Flows and tools, called by somebody whose lines are written down."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from pipecat.frames.frames import (
    BotStartedSpeakingFrame,
    BotStoppedSpeakingFrame,
    ErrorFrame,
    Frame,
    FunctionCallFromLLM,
    LLMMessagesAppendFrame,
    LLMSetToolsFrame,
    StartFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.runner.types import RunnerArguments
from pipecat.services.settings import STTSettings
from pipecat.services.stt_service import STTService
from pipecat.transports.base_transport import TransportParams

from pipecat_runway import RunwayVideoService
from tests.kit.content import compare_content
from tests.kit.pipeline import MarkedTTSService, Spoken
from tests.kit.transport import LoopbackTransport
from tests.scenarios.flows import AHEAD, Answer, Report, ScriptedLLMService

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

# What happens in a reception, and how many of its six texts have to be heard before.
HAPPENS_AFTER = {"handed over": 1, "answered": 2, "booked": 3, "confirmed": 5, "ended": 6}
ANSWER, BOOKED, AGREED = "marks 0-7", "marks 20-27", "marks 40-47"


def load_example(name: str) -> ModuleType:
    """An example, as its own file is imported."""
    spec = spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class CalledTransport(LoopbackTransport):
    """A transport whose one client is there as soon as the pipeline has started."""

    def __init__(self, media: dict[str, Any]) -> None:
        super().__init__(TransportParams(**media, audio_out_end_silence_secs=0))
        self._register_event_handler("on_client_connected")
        self._register_event_handler("on_client_disconnected")
        self.output().add_event_handler("on_after_process_frame", self._answer)

    async def hang_up(self) -> None:
        """The client leaves."""
        await self._call_event_handler("on_client_disconnected", None)

    async def _answer(self, _output: FrameProcessor, frame: Frame) -> None:
        if isinstance(frame, StartFrame):
            await self._call_event_handler("on_client_connected", None)


class Line(NamedTuple):
    """What a caller says.

    Attributes:
        after: How many times the bot has to have stopped speaking before.
        text: The words.
        nodes: How many nodes of a flow have to have been entered before.
    """

    after: int
    text: str
    nodes: int = 0


class Caller(STTService):
    """Hears nothing, and in its place types a caller's lines.

    Args:
        lines: What the caller says, in this order.
        butts_in: At which of the bot's starts the caller begins to speak as well.

    Attributes:
        starts: How many times the bot has started to speak.
        stops: How many times it has stopped.
        errors: The errors that came by.
    """

    def __init__(self, lines: Iterable[Line], butts_in: Iterable[int] = ()) -> None:
        super().__init__(ttfs_p99_latency=0.1, settings=STTSettings(model="typed", language=None))
        self._lines = list(lines)
        self._butts_in = set(butts_in)
        self._nodes = 0
        self.starts = self.stops = 0
        self.errors: list[str] = []
        self._news = asyncio.Event()

    async def run_stt(self, audio: bytes) -> AsyncGenerator[Frame | None, None]:
        yield None

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case BotStartedSpeakingFrame():
                self.starts += 1
                if self.starts in self._butts_in:
                    await self.push_frame(VADUserStartedSpeakingFrame())
                    await self.push_frame(VADUserStoppedSpeakingFrame())
            case BotStoppedSpeakingFrame():
                self.stops += 1
            case LLMSetToolsFrame():
                self._nodes += 1
            case ErrorFrame():
                self.errors.append(frame.error)
            case _:
                return
        self._news.set()
        line = self._lines[0] if self._lines else None
        if line is not None and line.after <= self.stops and line.nodes <= self._nodes:
            del self._lines[0]
            said = {"role": "user", "content": line.text}
            await self.push_frame(LLMMessagesAppendFrame(messages=[said], run_llm=True))

    async def until(self, what: Callable[["Caller"], bool]) -> None:
        """Wait until that is so."""
        while not what(self):
            self._news.clear()
            await self._news.wait()


def call(name: str, **arguments: Any) -> FunctionCallFromLLM:
    """A function call of the LLM's."""
    return FunctionCallFromLLM(name, f"call-{name}", arguments, None)


def heard_at(transport: LoopbackTransport, spoken: Iterable[Spoken]) -> list[float]:
    """When the last mark of each text was heard (`time.monotonic()`); infinity if it never was."""
    recording = transport.heard()
    ends = {mark.number: recording.started + mark.end_s for mark in recording.marks()}
    return [max(ends.get(mark, float("inf")) for mark in text.marks) for text in spoken]


async def receptions(
    make_service: Callable[[], RunwayVideoService], count: int, *, yaml: bool
) -> Report:
    """Call the receptionist of `examples/flows_receptionist.py`, one call after another.

    Each call is: a greeting, a hand-over, the mechanic's answer, a visit booked, what was agreed,
    a handler that confirms it, and a goodbye. The caller speaks into the first two.

    Args:
        make_service: Makes a service that is not running yet.
        count: How many calls.
        yaml: Whether the flow is the one in the YAML file.
    """
    example, report = load_example("flows_receptionist"), Report()
    for number in range(count):
        await _reception(example, make_service(), report, number, yaml)
    return report


async def _reception(
    example: ModuleType, service: RunwayVideoService, report: Report, number: int, yaml: bool
) -> None:
    happened: list[tuple[str, float]] = []

    def note(event: str) -> None:
        happened.append((event, time.monotonic()))

    class Workshop:
        async def book(self, concern: str, day: str) -> str:
            note("booked")
            return f"{concern}, {day}"

        async def confirm(self) -> None:
            note("confirmed")

    def script() -> Iterator[Answer]:
        note("handed over")
        yield call("hand_over", concern="a flat tyre")
        note("answered")
        yield ANSWER
        yield call("book_visit", day="Tuesday")
        yield BOOKED
        yield call("say_goodbye")
        yield AGREED

    lines = [
        Line(1, "My tyre is flat.", nodes=1),
        Line(3, "On Tuesday, please.", nodes=2),
        Line(4, "That was all."),
    ]
    caller, transport = Caller(lines, {1, 2}), CalledTransport(example.MEDIA)
    tts = MarkedTTSService()
    services = example.Services(
        stt=caller, llm=ScriptedLLMService(script()), tts=tts, face=service, workshop=Workshop()
    )
    flow = example.yaml_flow if yaml else example.python_flow
    await asyncio.wait_for(example.run_bot(transport, services, RunnerArguments(), flow), 90)
    note("ended")

    label = f"reception {number}"
    report.errors += caller.errors
    counts = {event: [e for e, _ in happened].count(event) for event in HAPPENS_AFTER}
    report.miscounted += [f"{label}: {e} {n} times" for e, n in counts.items() if n != 1]
    if len(tts.spoken) != 6:
        report.miscounted.append(f"{label}: {len(tts.spoken)} texts were spoken")
    if not transport.pictures:
        report.miscounted.append(f"{label}: no picture")
    expected = [mark for text in tts.spoken for mark in text.marks]
    verdict = compare_content(expected, transport.heard().marks())
    if not verdict.clean:
        report.verdicts[number] = verdict
    report.early += [f"{label}: {e}" for e in early(happened, heard_at(transport, tts.spoken))]


def early(happened: Iterable[tuple[str, float]], heard: list[float]) -> list[str]:
    """What happened before the last of its texts had been heard."""
    return [
        event
        for event, at in happened
        if len(heard) < (texts := HAPPENS_AFTER[event]) or at < max(heard[:texts]) - AHEAD
    ]
