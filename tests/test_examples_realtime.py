"""The examples with Runway's own agent, run as a user runs them."""

import asyncio
import os
import sys
from importlib import import_module
from pathlib import Path

import pytest
from pipecat.runner.types import SmallWebRTCRunnerArguments
from pipecat.runner.utils import create_transport

from pipecat_runway.simulator import RunwaySimulator
from tests.test_examples import call

EXAMPLES = Path(__file__).parent.parent / "examples"


async def test_the_kitchen_greets(runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows itself, says that it is an AI, has its tools, and ends its session."""
    for name, value in runway.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    bot = import_module("realtime")
    async with call() as (client, connection):
        arguments = SmallWebRTCRunnerArguments(webrtc_connection=connection)
        transport = await create_transport(arguments, bot.transport_params)
        conversation = asyncio.create_task(bot.run_bot(transport, arguments))
        try:
            await asyncio.wait_for(client.until_told("bot-stopped-speaking"), 40)
            body = runway.sessions[-1].body
        finally:
            await client.hang_up()
            await asyncio.wait_for(conversation, 20)
    assert "AI" in bot.GREETING
    assert {(640, 360)} == set(client.sizes)
    assert [(tool["type"], tool["name"]) for tool in body["tools"]] == [
        ("backend_rpc", "find_recipe"),
        ("client_event", "show_step"),
    ]
    assert not runway.open_sessions


@pytest.mark.long
async def test_tools_are_shown_without_a_key(tmp_path: Path) -> None:
    """One command: a session, a visitor, both tools asked and answered; then it ends."""
    env = os.environ | {"PYTHONPATH": str(EXAMPLES.parent), "XDG_STATE_HOME": str(tmp_path)}
    run = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "backend_tools.py"), env=env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(run.communicate(), 120)
    assert run.returncode == 0
    for line in ("answering for session", "find_order(7): on its way", "ask_the_shop("):
        assert line in out.decode()
