"""The LiveKit room: tokens, and a room that lives as long as the call."""

import base64
import json
import time
from typing import Any

import pytest
from livekit import api, rtc
from pipecat.frames.frames import TTSStoppedFrame

from pipecat_runway.joining import Membership
from pipecat_runway.simulator import Faults, LiveKitServer, RunwaySimulator
from tests.conftest import service_for
from tests.kit.guests import token_for
from tests.kit.marks import marked_speech
from tests.kit.pipeline import running, tts_utterance

from .conftest import MakeService


def claims(token: str) -> dict[str, Any]:
    """What a JWT says."""
    payload = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))))


async def test_the_avatars_token_is_the_one_livekits_plugin_mints(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Kind agent, this room only, on behalf of the bot, for as long as the wait may last."""
    async with running(make_service(ready_timeout=20)) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await run.end()
    session = runway.sessions[-1]
    sent = session.body["integration"]
    assert sent["type"] == "livekit"
    assert "livekit" not in session.body
    room = session.room
    assert room is not None
    said = claims(room.token)
    assert len(room.token) <= 2048
    assert said["kind"] == "agent"
    assert said["video"] == {
        "roomJoin": True,
        "room": room.room_name,
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }
    assert said["attributes"] == {"lk.publish_on_behalf": room.agent_identity}
    assert said["sub"].startswith("runway-avatar-agent-")
    assert said["exp"] - time.time() == pytest.approx(80, abs=30)
    assert room.room_name.startswith("pipecat-runway-")


@pytest.mark.long
async def test_a_room_of_agents_alone_is_not_closed_under_a_call() -> None:
    """LiveKit closes an automatic room of agents after its empty_timeout; ours stays."""
    async with (
        LiveKitServer(empty_timeout=2) as server,
        RunwaySimulator(faults=Faults(), livekit=server) as runway,
        running(service_for(runway)) as run,
    ):
        await run.started()
        await run.tape.wait_for_pictures(24 * 5, timeout=30)
        await run.feed(tts_utterance(marked_speech(0, 4, 24_000), 24_000, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        assert run.tape.audio("u")
        assert [] == run.errors
        await run.end()


async def test_a_room_that_was_left_answers_nothing_any_more(livekit_server: LiveKitServer) -> None:
    """Each method it still answered would keep it in LiveKit's memory for good."""
    room = rtc.Room()
    membership = Membership(room)
    server = livekit_server
    token = token_for(server.api_key, server.api_secret, "left", "somebody")
    await membership.join(server.url, token)
    for method in ("one", "two"):
        membership.answer(method, lambda call: "ok")
    answered = room.local_participant._rpc_handlers
    assert {"one", "two"} == answered.keys()
    await membership.leave()
    assert not answered
    async with api.LiveKitAPI(server.url, server.api_key, server.api_secret) as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room="left"))
