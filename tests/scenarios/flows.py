"""Conversations that Pipecat's Flows lead: nothing happens ahead of the words before it."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any

from pipecat.flows import FlowManager, FlowsFunctionSchema, NodeConfig
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings

from pipecat_runway import RunwayVideoService
from tests.kit.content import compare_content
from tests.kit.marks import Verdict, numbers
from tests.kit.pipeline import MarkedTTSService, running
from tests.kit.transport import LoopbackTransport

WELCOME, OFFER, ANSWER, GOODBYE = (0, 8), (20, 6), (40, 7), (60, 9)  # first mark, pieces
WORDS = (WELCOME, OFFER, ANSWER, GOODBYE)
# What happens in a conversation, and the words before it.
BEFORE = {"seated": WELCOME, "choose": WELCOME, "noted": ANSWER, "ended": GOODBYE}
AHEAD = 0.015  # s; the transport takes the next chunk while the last 10 ms are being played


@dataclass
class Report:
    """What was counted.

    Attributes:
        early: What happened before the words before it had been heard, by conversation.
        miscounted: What did not happen exactly once, by conversation.
        verdicts: What was wrong with the words heard, by conversation.
        errors: Messages of the errors reported.
    """

    early: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)


Answer = str | FunctionCallFromLLM


class ScriptedLLMService(LLMService[Any]):
    """A real Pipecat LLM service that says, and calls, what a script tells it."""

    def __init__(self, script: Iterable[Answer]) -> None:
        unset: dict[str, Any] = {
            f.name: None for f in fields(LLMSettings) if f.name not in ("model", "extra")
        }
        super().__init__(settings=LLMSettings(model="script", **unset))
        self._script = iter(script)

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        answer = next(self._script)
        await self.push_frame(LLMFullResponseStartFrame())
        if isinstance(answer, str):
            await self.push_frame(LLMTextFrame(answer))
        else:
            answer.context = frame.context
            await self.run_function_calls([answer])
        await self.push_frame(LLMFullResponseEndFrame())


async def conversations(make_service: Callable[[], RunwayVideoService], count: int) -> Report:
    """Hold conversations, each with an avatar of its own, one after another.

    Each is: `tts_say`, a `function` action, a function call of the LLM that leads to the next
    node, `tts_say`, the LLM's words, a `function` action, `end_conversation` with a goodbye.

    Args:
        make_service: Makes a service that is not running yet.
        count: How many.
    """
    report = Report()
    for number in range(count):
        await _converse(make_service(), report, number)
    return report


async def _converse(service: RunwayVideoService, report: Report, number: int) -> None:
    happened: list[tuple[str, float]] = []

    def note(event: str) -> None:
        happened.append((event, time.monotonic()))

    transport, tts = LoopbackTransport(), MarkedTTSService()
    call = FunctionCallFromLLM("choose", "call-1", {}, None)
    llm = ScriptedLLMService([call, _text(ANSWER)])
    pair = LLMContextAggregatorPair(LLMContext())
    async with running(pair.user(), llm, tts, service, transport.output(), pair.assistant()) as run:
        flow = FlowManager(llm=llm, context_aggregator=pair, worker=run.worker)
        await run.started()
        beginning = asyncio.create_task(flow.initialize(_welcome(note)))
        try:
            await run.ended(timeout=60)
            note("ended")
            await beginning
        finally:
            beginning.cancel()
        report.errors += [frame.error for frame in run.errors]
    label = f"conversation {number}"
    counts = {event: [e for e, _ in happened].count(event) for event in BEFORE}
    report.miscounted += [f"{label}: {e} {n} times" for e, n in counts.items() if n != 1]
    said = sorted(spoken.text for spoken in tts.spoken)
    if said != sorted(map(_text, WORDS)):
        report.miscounted.append(f"{label}: {len(said)} texts were spoken")
    recording = transport.heard()
    marks = recording.marks()
    expected = [mark for words in WORDS for mark in numbers(*words)]
    verdict = compare_content(expected, marks)
    if not verdict.clean:
        report.verdicts[number] = verdict
    for event, at in happened:
        first, pieces = BEFORE[event]
        before = set(expected[: expected.index(first + pieces - 1) + 1])
        ends = {m.number: recording.started + m.end_s for m in marks}
        if before - set(ends) or at < max(ends[mark] for mark in before) - AHEAD:
            report.early.append(f"{label}: {event}")


def _welcome(note: Callable[[str], None]) -> NodeConfig:
    async def seated(action: dict[str, Any], flow: FlowManager) -> None:
        note("seated")

    async def choose(args: Any, flow: FlowManager) -> tuple[None, NodeConfig]:
        note("choose")
        return None, _farewell(note)

    schema = FlowsFunctionSchema("choose", "Choose.", {}, [], handler=choose)
    return NodeConfig(
        name="welcome",
        task_messages=[{"role": "developer", "content": "Let them choose."}],
        pre_actions=[
            {"type": "tts_say", "text": _text(WELCOME)},
            {"type": "function", "handler": seated},
        ],
        functions=[schema],
    )


def _farewell(note: Callable[[str], None]) -> NodeConfig:
    async def noted(action: dict[str, Any], flow: FlowManager) -> None:
        note("noted")

    return NodeConfig(
        name="farewell",
        task_messages=[{"role": "developer", "content": "Answer."}],
        pre_actions=[{"type": "tts_say", "text": _text(OFFER)}],
        post_actions=[
            {"type": "function", "handler": noted},
            {"type": "end_conversation", "text": _text(GOODBYE)},
        ],
    )


def _text(words: tuple[int, int]) -> str:
    first, pieces = words
    return f"marks {first}-{first + pieces - 1}"
