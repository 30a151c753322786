"""The simulator, judged by LiveKit's own Runway plugin (livekit-plugins-runway 1.8.9)."""

import asyncio
import base64
import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from livekit import api

from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.sessions import Status
from tests.conftest import MakeService, TurnKnobs
from tests.kit.marks import compare, marked_speech, numbers, read_marks
from tests.kit.pipeline import running, tts_utterance

from .judge import Judge

RATE = 24_000
PIECES = 12
WORKER_RATE = 16_000  # LiveKit's plugin sends at this rate
AGENT_NAME = "judge"  # as livekit_agent.py registers


async def hold_two_turns(runway: RunwaySimulator, python: Path) -> list[dict[str, Any]]:
    """Have LiveKit's agent speak in a room: 1.2 s, and twice that, interrupted after 0.5 s.

    Returns:
        What it told.
    """
    told: list[dict[str, Any]] = []
    livekit = api.LiveKitAPI(
        runway.env["LIVEKIT_URL"], runway.env["LIVEKIT_API_KEY"], runway.env["LIVEKIT_API_SECRET"]
    )
    name = f"judge-{uuid.uuid4().hex}"
    dispatch = api.RoomAgentDispatch(agent_name=AGENT_NAME)
    room = api.CreateRoomRequest(name=name, agents=[dispatch])
    judge = await Judge.start(python, "livekit_agent.py", **runway.env)
    try:
        async with asyncio.timeout(60):
            speech = base64.b64encode(marked_speech(0, PIECES, RATE)).decode()
            await judge.tell({"pcm": speech, "rate": RATE})
            async for report in judge.reports():
                told.append(report)
                if report["kind"] == "registered":
                    await livekit.room.create_room(room)
                if report["kind"] == "over":
                    break
    finally:
        await judge.aclose()
        if told:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=name))
        await livekit.aclose()
    assert 0 == judge.status
    return told


async def test_livekits_plugin_holds_a_turn_with_the_deprecated_key(
    runway: RunwaySimulator, faults: TurnKnobs, judges_python: Path
) -> None:
    """The worker hears all of it and says when it has been played; an interruption is obeyed."""
    faults(allow_livekit_key=True)
    told = await hold_two_turns(runway, judges_python)
    session = runway.sessions[-1]
    await asyncio.wait_for(session.worker_gone.wait(), 10)
    finished = [report["data"] for report in told if report["kind"] == "playback_finished"]
    assert [False, True] == [data["interrupted"] for data in finished]
    assert finished[0]["position"] == pytest.approx(PIECES / 10, abs=0.02)
    assert 0 <= finished[1]["position"] < 2 * PIECES / 10
    assert "livekit" in session.body
    assert session.status is Status.COMPLETED
    kinds = [event.kind for event in session.events]
    assert kinds.count("clear_buffer") == 1
    assert kinds.count("end_call") == 1
    opened = [event for event in session.events if event.kind == "stream_opened"]
    closed = [event for event in session.events if event.kind == "stream_closed"]
    assert 2 == len(opened) == len(closed)
    assert closed[0].data["samples"] == pytest.approx(PIECES / 10 * WORKER_RATE, abs=16)
    heard = read_marks(session.received(opened[0].data["stream"]), WORKER_RATE)
    assert compare(numbers(0, PIECES), heard).clean


async def test_livekits_plugin_is_refused_where_the_key_is_not_known(
    runway: RunwaySimulator, faults: TurnKnobs, judges_python: Path
) -> None:
    """It gets the 400 that began this project, and no session exists."""
    faults(allow_livekit_key=False)
    before = len(runway.sessions)
    told = await hold_two_turns(runway, judges_python)
    (refused,) = [report["data"] for report in told if report["kind"] == "refused"]
    assert 400 == refused["status"]
    (issue,) = json.loads(refused["body"])["issues"]
    assert 'Unrecognized key: "livekit"' == issue["message"]
    assert before == len(runway.sessions)


@pytest.mark.parametrize("allowed", [True, False])
async def test_our_service_works_either_way(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, allowed: bool
) -> None:
    """It uses the documented key, and no other."""
    faults(allow_livekit_key=allowed)
    async with running(make_service()) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "u"))
        await run.end(timeout=30)
    assert [] == run.errors
    assert [] == compare(numbers(0, 6), run.tape.speech_pcm("u").marks()).lost
    assert {"model", "avatar", "integration", "maxDuration"} == set(runway.sessions[-1].body)
