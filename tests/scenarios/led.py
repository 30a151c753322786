"""Flows that direct the face."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, NamedTuple

from pipecat.flows import FlowManager, NodeConfig
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair

from pipecat_runway import RunwayVideoService
from pipecat_runway.flows import SET_CHARACTER, WAIT_FOR_FACE, register_runway_actions
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.marks import Verdict, compare
from tests.kit.pipeline import MarkedTTSService, Run, running
from tests.kit.transport import LoopbackTransport
from tests.scenarios.flows import ScriptedLLMService

PRESETS = ("influencer", "tennis-coach", "cooking-teacher", "human-resource")
PIECES = 8  # of 100 ms, that each node says


def node_with(*actions: dict[str, Any]) -> NodeConfig:
    """A node with these actions before anything else, after which nobody speaks."""
    return NodeConfig(
        name="node", task_messages=[], pre_actions=list(actions), respond_immediately=False
    )


class Led(NamedTuple):
    """A pipeline with a face, led by a flow."""

    run: Run
    flow: FlowManager
    transport: LoopbackTransport
    tts: MarkedTTSService


@asynccontextmanager
async def led(face: RunwayVideoService) -> AsyncIterator[Led]:
    """Run a pipeline with a face whose actions are registered."""
    llm, tts, transport = ScriptedLLMService([]), MarkedTTSService(), LoopbackTransport()
    pair = LLMContextAggregatorPair(LLMContext())
    async with running(pair.user(), llm, tts, face, transport.output(), pair.assistant()) as run:
        flow = FlowManager(llm=llm, context_aggregator=pair, worker=run.worker)
        register_runway_actions(flow, face)
        await run.started()
        yield Led(run, flow, transport, tts)
        async with asyncio.timeout(40):
            await run.end()


@dataclass
class Report:
    """What was counted.

    Attributes:
        chosen: The characters, node by node.
        said_by: The characters of the sessions that were given each node's words.
        verdicts: What was wrong with the marks that came out, by node.
        left: Sessions still open at the end.
        errors: Messages of the errors reported.
    """

    chosen: list[str] = field(default_factory=list)
    said_by: list[str] = field(default_factory=list)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    left: int = 0
    errors: list[str] = field(default_factory=list)


async def characters(face: RunwayVideoService, runway: RunwaySimulator, count: int) -> Report:
    """Go through `count` nodes, each of which chooses another character and has it speak."""
    report = Report(list(islice(cycle(PRESETS), count)))
    before = len(runway.sessions)
    async with led(face) as call:
        for n, preset in enumerate(report.chosen):
            words = f"marks {n * PIECES}-{(n + 1) * PIECES - 1}"
            node = node_with(
                {"type": SET_CHARACTER, "preset_id": preset},
                {"type": WAIT_FOR_FACE},
                {"type": "tts_say", "text": words},
            )
            enter = call.flow.set_node_from_config if n else call.flow.initialize
            await asyncio.wait_for(enter(node), 40)
    heard = call.transport.heard().marks(among=range(count * PIECES + 20))
    for n, said in enumerate(call.tts.spoken):
        own = [mark for mark in heard if mark.number in said.marks]
        if not (verdict := compare(said.marks, own)).clean:
            report.verdicts[f"node {n}"] = verdict
    for session in runway.sessions[before:]:
        streams = [event for event in session.events if event.kind == "stream_opened"]
        report.said_by += [session.character] * len(streams)
    report.left = sum(session.is_open for session in runway.sessions[before:])
    report.errors = [error.error for error in call.run.errors]
    return report
