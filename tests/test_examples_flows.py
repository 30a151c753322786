"""The examples with Flows and with a slow tool hold a conversation; the services are stand-ins."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pipecat.flows import FlowConfig
from pipecat.runner.types import RunnerArguments

from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import damage
from tests.kit.marks import compare
from tests.kit.pipeline import MarkedTTSService
from tests.scenarios.flows import AHEAD, Answer, ScriptedLLMService
from tests.scenarios.receptions import (
    CalledTransport,
    Caller,
    Line,
    call,
    early,
    heard_at,
    load_example,
    receptions,
)

CHAT, FOUND = "marks 0-11", "marks 20-27"


@pytest.fixture
def local(runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch) -> RunwaySimulator:
    """The local Runway, in the environment, where the examples look for it."""
    for name, value in runway.env.items():
        monkeypatch.setenv(name, value)
    return runway


# -- flows_receptionist.py ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "yaml", [pytest.param(False, marks=pytest.mark.long), True], ids=["python", "yaml"]
)
async def test_the_receptionist_hands_over_and_says_goodbye(
    local: RunwaySimulator, yaml: bool
) -> None:
    """The mechanic speaks, nothing happens before its words (20 of 20: see benchmarks)."""
    example = load_example("flows_receptionist")
    report = await receptions(example.create_face, 1, yaml=yaml)
    assert [] == report.errors
    assert {} == damage(report.verdicts)
    assert [] == report.early
    assert [] == report.miscounted
    session = local.sessions[-1]
    assert "human-resource" == session.character  # the flow's choice
    assert "COMPLETED" == session.status


def test_what_runs_ahead_of_its_words_is_noticed() -> None:
    """The check can fail: by a moment too early, and by words that were never heard."""
    assert not early([("answered", 2.0)], [1.0, 2.0])
    assert ["answered"] == early([("answered", 1.9)], [1.0, 2.0])
    assert ["answered"] == early([("answered", 9.0)], [1.0, float("inf")])
    assert ["answered"] == early([("answered", 9.0)], [1.0])


async def test_hanging_up_in_the_greeting_leaves_nothing(local: RunwaySimulator) -> None:
    """Neither the session nor the flow waits for the end of words that nobody hears."""
    example = load_example("flows_receptionist")
    caller, transport = Caller([]), CalledTransport(example.MEDIA)
    services = example.Services(
        stt=caller,
        llm=ScriptedLLMService([]),
        tts=MarkedTTSService(),
        face=example.create_face(),
        workshop=example.Workshop(),
    )
    conversation = asyncio.create_task(example.run_bot(transport, services, RunnerArguments()))
    async with asyncio.timeout(40):
        await caller.until(lambda caller: caller.starts == 1)
        await transport.hang_up()
        await conversation
    assert not caller.stops
    assert not local.sessions[-1].is_open


def test_both_flows_are_one() -> None:
    """Nodes, words, tools and actions are the same in Python and in YAML."""
    example = load_example("flows_receptionist")
    written = FlowConfig.from_file(example.__file__.replace(".py", ".yaml"))
    in_yaml = {name: plain(node.model_dump()) for name, node in written.nodes.items()}
    nodes = example.python_nodes(example.Workshop())
    assert in_yaml == {name: plain(node) for name, node in nodes.items()}
    assert written.initial_node == example.python_flow(example.Workshop())["name"]


def plain(node: dict[str, Any]) -> dict[str, Any]:
    """A node of either form, with names in place of code."""

    def name(tool: Any) -> str:
        return tool["name"] if isinstance(tool, dict) else tool.__name__

    def action(given: dict[str, Any]) -> dict[str, Any]:
        handler = getattr(given.get("handler"), "__name__", given.get("handler"))
        return {**given, "handler": handler}

    return {
        "role": node.get("role_message"),
        "task": node["task_messages"],
        "tools": [name(tool) for tool in node.get("functions", [])],
        "before": [action(a) for a in node.get("pre_actions", [])],
        "after": [action(a) for a in node.get("post_actions", [])],
        "respond": node.get("respond_immediately", True),
    }


# -- tools_while_speaking.py ----------------------------------------------------------------------


async def test_the_bot_talks_on_while_its_tool_works(local: RunwaySimulator) -> None:
    """What the tool found is told after the words that were being spoken when it was found."""
    example = load_example("tools_while_speaking")
    asked: list[float] = []
    found = asyncio.Event()

    class Store:
        async def find(self, item: str) -> str:
            await found.wait()
            return f"{item} is there"

    def script() -> Iterator[Answer]:
        yield call("look_up", item="umbrella")
        yield CHAT
        asked.append(time.monotonic())
        yield FOUND

    lines = [Line(1, "I have lost my umbrella."), Line(2, "It is a black one.")]
    caller, tts, transport = Caller(lines), MarkedTTSService(), CalledTransport(example.MEDIA)
    llm = ScriptedLLMService(script())
    services = example.Services(stt=caller, llm=llm, tts=tts, store=Store())
    conversation = asyncio.create_task(example.run_bot(transport, services, RunnerArguments()))
    async with asyncio.timeout(60):
        await caller.until(lambda caller: caller.starts == 3)  # in the middle of the chat
        found.set()
        await caller.until(lambda caller: caller.stops == 4)
        await transport.hang_up()
        await conversation
    assert [] == caller.errors
    texts = [example.GREETING, example.LET_ME_LOOK, CHAT, FOUND]
    assert texts == [spoken.text for spoken in tts.spoken]
    assert "AI" in example.GREETING
    expected = [mark for spoken in tts.spoken for mark in spoken.marks]
    assert {} == damage({"call": compare(expected, transport.heard().marks())})
    assert asked[0] >= heard_at(transport, tts.spoken)[2] - AHEAD
    assert transport.pictures
    assert not local.sessions[-1].is_open
