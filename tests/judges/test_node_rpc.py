"""The simulator's calls of backend tools, answered by Runway's own avatars-node-rpc 0.1.0."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from pipecat_runway.simulator import Call, RunwaySimulator, Script, Turn
from tests.conftest import TurnKnobs
from tests.kit.marks import marked_speech
from tests.simulator.user_kit import BOUND, RATE, call

from .judge import Judge


def tool(name: str, **more: Any) -> dict[str, Any]:
    """A backend tool as it stands in a create."""
    return {"type": "backend_rpc", "name": name, "description": "A tool", **more}


@pytest.mark.parametrize("wrapped", [True, False])
async def test_runways_own_handler_answers(
    runway: RunwaySimulator, faults: TurnKnobs, judges_node: Path, wrapped: bool
) -> None:
    """A plain answer, an exception and a time-out reach the partner, by either payload."""
    faults(wrapped_args=wrapped)
    calls = [Call("weather", {"city": "Paris"}), Call("broken"), Call("slow")]
    runway.partner = Script([Turn("It is {weather[celsius]} degrees.", calls)])
    tools = [tool("weather"), tool("broken"), tool("slow", timeoutSeconds=1)]
    judge = await Judge.start(judges_node, "node/backend.mjs", **runway.env)
    try:
        async with call(runway, tools=tools) as here:
            await judge.tell({"sessionId": here.session.id})
            # LiveKit's Node SDK logs to where its judge tells.
            reports = (report async for report in judge.reports() if "kind" in report)
            async with asyncio.timeout(BOUND):
                assert await anext(reports) == {"kind": "connected"}
            await here.user.say(marked_speech(1, 5, RATE))
            said = await here.session.wait_for("said", BOUND, turn=0)
            done = {made.name: made for made in here.session.calls}
        assert said.data["text"] == "It is 21 degrees."
        assert done["weather"].result == {"city": "Paris", "celsius": 21}
        assert done["broken"].error == "no such city"
        assert done["slow"].error
        async with asyncio.timeout(BOUND):
            told = [await anext(reports), await anext(reports)]
        assert {"kind": "called", "args": {"city": "Paris"}} in told
        assert {"kind": "error", "message": "no such city"} in told
    finally:
        await judge.aclose()
    assert judge.status == 0
