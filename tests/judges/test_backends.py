"""Our backend tools beside Runway's own handler of them, avatars-node-rpc 0.1.0: alike."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pipecat_runway import BackendTools
from pipecat_runway.simulator import Call, RunwaySimulator, Script, Turn
from pipecat_runway.simulator.sessions import ToolCall
from tests.kit.marks import marked_speech
from tests.simulator.user_kit import BOUND, RATE, call

from .judge import Judge


async def weather(params: Any, city: str) -> None:
    """Say how the weather is.

    Args:
        params: Pipecat's.
        city: Where.
    """
    await params.result_callback({"city": city, "celsius": 21})


async def broken(params: Any) -> None:
    """Fail."""
    raise LookupError("no such city")


async def slow(params: Any) -> None:
    """Take longer than anybody waits."""
    await asyncio.Event().wait()


FUNCTIONS = [weather, broken, slow]
CALLS = [Call("weather", {"city": "Paris"}), Call("broken"), Call("slow")]

Answering = Callable[[RunwaySimulator, Path, str], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def theirs(runway: RunwaySimulator, node: Path, session_id: str) -> AsyncIterator[None]:
    """Runway's package answers."""
    judge = await Judge.start(node, "node/backend.mjs", **runway.env)
    try:
        await judge.tell({"sessionId": session_id})
        async with asyncio.timeout(BOUND):
            async for report in judge.reports():
                if report.get("kind") == "connected":
                    break
        yield
    finally:
        await judge.aclose()


@asynccontextmanager
async def ours(runway: RunwaySimulator, node: Path, session_id: str) -> AsyncIterator[None]:
    """We do."""
    keys = {"api_key": runway.api_key, "base_url": runway.env["RUNWAYML_BASE_URL"]}
    async with BackendTools(session_id, FUNCTIONS, **keys):
        yield


@pytest.mark.parametrize("answering", [theirs, ours])
async def test_the_model_hears_the_same(
    runway: RunwaySimulator, judges_node: Path, answering: Answering
) -> None:
    """A result is a result; an exception and a call that takes too long are errors, at once."""
    runway.partner = Script([Turn("It is {weather[celsius]} degrees.", CALLS)])
    tools = BackendTools.wire(FUNCTIONS)
    done: dict[str, ToolCall] = {}
    async with (
        call(runway, tools=tools) as here,
        answering(runway, judges_node, here.session.id),
    ):
        await here.user.say(marked_speech(1, 5, RATE))
        said = await here.session.wait_for("said", BOUND, turn=0)
        done = {made.name: made for made in here.session.calls}
    assert said.data["text"] == "It is 21 degrees."
    assert done["weather"].result == {"city": "Paris", "celsius": 21}
    for name in ("broken", "slow"):
        assert done[name].result is None
        assert done[name].error
    assert done["slow"].seconds is not None
    assert done["slow"].seconds < 6.0  # Runway's default is to wait for 4
