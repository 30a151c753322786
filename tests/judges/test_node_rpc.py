"""The simulator, and our backend, judged by @runwayml/avatars-node-rpc 0.1.0, unchanged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from pipecat_runway import BackendTools
from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.script import Call, Script, Turn
from pipecat_runway.simulator.sessions import ToolCall
from tests.kit.marks import marked_speech
from tests.simulator.user_kit import RATE, call

from . import npm
from .judge import Judge

HERE = Path(__file__).parent
BOUND = 15.0
TOOLS = [
    {
        "type": "backend_rpc",
        "name": "plain",
        "description": "Says what an article costs.",
        "parameters": [{"name": "article", "type": "string", "description": "Its name."}],
        "timeoutSeconds": 2,
    },
    {"type": "backend_rpc", "name": "failing", "description": "Fails.", "timeoutSeconds": 2},
    {"type": "backend_rpc", "name": "slow", "description": "Takes long.", "timeoutSeconds": 1},
]
CALLS = [Call("plain", {"article": "lamp"}), Call("failing"), Call("slow")]
WRAPPED = [{**tool, "parameters": tool.get("parameters", [])} for tool in TOOLS]

pytestmark = pytest.mark.skipif(
    npm.NPM is None, reason="there is no npm: apt-get install nodejs npm"
)


@pytest_asyncio.fixture(scope="session")
async def node() -> Path:
    """Node, with Runway's package."""
    assert npm.NODE is not None
    await npm.install(HERE / "node")
    return Path(npm.NODE)


async def plain(params: Any, article: str) -> None:
    """Say what an article costs.

    Args:
        params: Pipecat's.
        article: Its name.
    """
    await params.result_callback({"article": article, "price": 10})


async def failing(params: Any) -> None:
    """Fail."""
    raise LookupError("there is no such article")


async def slow(params: Any) -> None:
    """Take long."""
    await asyncio.sleep(60)


Answering = Callable[[str], AbstractAsyncContextManager[None]]


async def calls_answered_by(runway: RunwaySimulator, answering: Answering) -> dict[str, ToolCall]:
    """What the avatar gets to hear of somebody who answers its tools."""
    runway.partner = Script([Turn("{plain[price]}", CALLS)])
    async with call(runway, tools=WRAPPED) as made, answering(made.session.id):
        await made.user.say(marked_speech(1, 4, RATE))
        await made.session.wait_for("said", BOUND, turn=0)
        assert made.session.conversation[-1].text == "10"
        found = {each.name: each for each in made.session.calls}
    runway.partner = Script()
    return found


async def test_theirs_and_ours_answer_alike(runway: RunwaySimulator, node: Path) -> None:
    """A plain call, one that fails and one that takes too long, all at once."""

    @asynccontextmanager
    async def theirs(session_id: str) -> AsyncIterator[None]:
        judge = await Judge.start(node, "node/backend.mjs")
        try:
            await judge.tell(
                {
                    "apiKey": runway.api_key,
                    "baseUrl": runway.env["RUNWAYML_BASE_URL"],
                    "sessionId": session_id,
                }
            )
            async with asyncio.timeout(BOUND):
                async for report in judge.reports():  # LiveKit's own log is among them
                    if "kind" in report:
                        assert report == {"kind": "connected"}
                        break
            yield
        finally:
            await judge.aclose()

    @asynccontextmanager
    async def ours(session_id: str) -> AsyncIterator[None]:
        keys = {"api_key": runway.api_key, "base_url": runway.env["RUNWAYML_BASE_URL"]}
        async with BackendTools(session_id, [plain, failing, slow], **keys):
            yield

    for answering in (theirs, ours):
        answered = await calls_answered_by(runway, answering)
        assert answered["plain"].result == {"article": "lamp", "price": 10}
        assert answered["plain"].error is None
        for name in ("failing", "slow"):
            assert answered[name].result is None
            assert answered[name].error
        assert answered["slow"].seconds is not None
        assert 0.8 < answered["slow"].seconds < 5.0
