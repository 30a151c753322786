"""Runway's own agent beside others: ElevenLabs, Flows, a camera, and a process that dies."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pipecat.flows import FlowManager, NodeConfig
from pipecat.frames.frames import ErrorFrame, InputImageRawFrame, InputTextRawFrame
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair

from pipecat_runway import ElevenLabsAgent, RunwayRealtimeLLMService
from pipecat_runway.simulator import RunwaySimulator, Script, Turn
from tests.kit.pipeline import UP, running
from tests.kit.talks import llm_for, talking
from tests.kit.waiting import until


def a_character(runway: RunwaySimulator) -> str:
    """A custom character that is READY."""
    return next(avatar.id for avatar in runway.avatars.values() if avatar.status == "READY")


async def test_an_elevenlabs_agent_leads(runway: RunwaySimulator) -> None:
    """Its address is signed anew for the session; keys are in no body."""
    runway.partner = Script(greeting=Turn("I am another."))
    agent = ElevenLabsAgent(
        agent_id="agent_7",
        api_key=runway.elevenlabs.api_key,
        base_url=runway.elevenlabs.base_url,
    )
    settings = RunwayRealtimeLLMService.Settings(avatar_id=a_character(runway))
    async with talking(runway, settings=settings, elevenlabs=agent, start_script=None) as talk:
        await talk.answered(1)
        body = talk.session.body
        await talk.run.end()
    assert body["integration"]["type"] == "elevenlabs"
    assert not talk.run.errors


@pytest.mark.long
async def test_an_elevenlabs_agent_that_is_not_heard(runway: RunwaySimulator) -> None:
    """One error says which setting of the agent is the usual cause; the session goes on."""
    agent = ElevenLabsAgent(
        agent_id="agent_7",
        api_key=runway.elevenlabs.api_key,
        base_url=runway.elevenlabs.base_url,
    )
    settings = RunwayRealtimeLLMService.Settings(avatar_id=a_character(runway))
    async with talking(runway, settings=settings, elevenlabs=agent, start_script=None) as talk:
        taped = await talk.run.head.wait_for(ErrorFrame, 40, direction=UP)
        assert talk.session.is_open
        await talk.run.end()
    assert isinstance(taped.frame, ErrorFrame)
    assert "PCM 16000 Hz" in taped.frame.error


async def test_a_flow_is_told_that_it_cannot_lead(runway: RunwaySimulator) -> None:
    """Tools are fixed at the create: one error says so, and where to go; the talk goes on."""
    llm = llm_for(runway)
    pair = LLMContextAggregatorPair(LLMContext())

    async def sit(flow_manager: FlowManager) -> tuple[None, None]:
        """Sit down."""
        return None, None

    async with running(pair.user(), llm, pair.assistant()) as run:
        await run.started()
        flow = FlowManager(worker=run.worker, llm=llm, context_aggregator=pair)
        node = NodeConfig(
            name="start", task_messages=[{"role": "system", "content": "Ask."}], functions=[sit]
        )
        await flow.initialize(node)
        taped = await run.head.wait_for(ErrorFrame, 10, direction=UP)
        await flow.set_node_from_config(node)
        await run.queue(InputTextRawFrame("typed"), InputTextRawFrame("again"))
        await run.head.wait_for(ErrorFrame, 10, 3, direction=UP)
        await run.end()
    assert isinstance(taped.frame, ErrorFrame)
    assert "tools are fixed" in taped.frame.error
    assert "RunwayVideoService" in taped.frame.error
    told = sorted(error.error.split()[0] for error in run.errors)
    assert told == ["Runway's", "messages", "tools"]


@pytest.mark.long
async def test_the_users_camera_is_shown_if_asked(runway: RunwaySimulator) -> None:
    """At the rate asked for and at Runway's size; left out, nothing of it leaves."""
    picture = InputImageRawFrame(bytes(3 * 1280 * 720), (1280, 720), "RGB")
    async with talking(runway, user_video_framerate=5) as talk:

        async def film() -> None:
            while True:
                await talk.run.queue(picture)
                await asyncio.sleep(0.04)

        filming = asyncio.create_task(film())
        seen = await talk.session.wait_for("seen", 15)
        filming.cancel()
        await asyncio.wait({filming})
        await talk.run.end()
    assert (seen.data["width"], seen.data["height"]) == (640, 360)
    async with talking(runway) as talk:
        await talk.run.queue(picture)
        await talk.answered(1)
        tracks = [e.data["kind"] for e in talk.session.events if e.kind == "foreign_track"]
        await talk.run.end()
    assert tracks == ["audio"]


BOT = """
import asyncio, sys
from pipecat_runway import RunwayRealtimeLLMService
from tests.kit.pipeline import running

async def main():
    llm = RunwayRealtimeLLMService(
        settings=RunwayRealtimeLLMService.Settings(preset_id="influencer"))
    async def told(*_):
        print("SESSION", llm.session_id, flush=True)
    llm.add_event_handler("on_avatar_connected", told)
    async with running(llm) as run:
        await run.started()
        await asyncio.sleep(60)

asyncio.run(main())
"""

CUT_OFF = """
import asyncio
from pipecat_runway import RunwayRealtimeLLMService
from tests.kit.pipeline import running

async def main():
    llm = RunwayRealtimeLLMService(
        settings=RunwayRealtimeLLMService.Settings(preset_id="influencer"))
    there = asyncio.Event()
    async def told(*_):
        there.set()
    llm.add_event_handler("on_avatar_connected", told)
    call = running(llm)
    run = await call.__aenter__()
    await run.started()
    await asyncio.wait_for(there.wait(), 30)
    print("SESSION", llm.session_id, flush=True)
    raise RuntimeError("a mistake of the bot's")

asyncio.run(main())
"""

REAP = """
import sys
from pipecat_runway.cli import main

sys.argv = ["pipecat-runway", "sessions", "reap"]
main()
"""


async def test_an_event_loop_that_is_taken_down(runway: RunwaySimulator, tmp_path: Path) -> None:
    """A bot that breaks off without ending its pipeline has its session ended on the way."""
    env = os.environ | {
        "RUNWAYML_API_SECRET": runway.api_key,
        "RUNWAYML_BASE_URL": runway.env["RUNWAYML_BASE_URL"],
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CUT_OFF, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert bot.stdout is not None
        line = await asyncio.wait_for(bot.stdout.readline(), 40)
        found = re.search(r"SESSION (\S+)", line.decode())
        assert found is not None
        session = runway.find(found[1])
        assert session is not None
        await asyncio.wait_for(session.ended.wait(), 20)
        await until(lambda: not list(tmp_path.rglob("*.json")))
    finally:
        bot.kill()  # Pipecat's own tasks do not end then, see tests/scenarios/kills.py
        await bot.wait()
    assert session.status == "COMPLETED"


@pytest.mark.long
async def test_what_a_killed_bot_leaves_is_reaped(runway: RunwaySimulator, tmp_path: Path) -> None:
    """The command ends its session by the record on disk, although no room of ours tells of it."""
    state = tmp_path / "state"
    env = os.environ | {
        "RUNWAYML_API_SECRET": runway.api_key,
        "RUNWAYML_BASE_URL": runway.env["RUNWAYML_BASE_URL"],
        "XDG_STATE_HOME": str(state),
    }
    bot = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert bot.stdout is not None
        line = await asyncio.wait_for(bot.stdout.readline(), 40)
        found = re.search(r"SESSION (\S+)", line.decode())
        assert found is not None
    finally:
        bot.kill()
        await bot.wait()
    session = runway.find(found[1])
    assert session is not None
    assert session.is_open
    reap = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", REAP],
        env=env, capture_output=True, text=True, timeout=40, check=False,
    )  # fmt: skip
    assert reap.returncode == 0, reap.stdout + reap.stderr
    assert "CANCELLED" in reap.stdout
    await until(lambda: not runway.open_sessions)
    assert list(state.rglob("*.json")) == []
