# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "pipecat-runway[demo]",
# ]
#
# [tool.uv.sources]
# pipecat-runway = { path = "..", editable = true }
# ///
"""Python functions for a Runway Character that somebody else talks to; no pipeline.

A web page's user talks to Runway directly, and this process answers what the Character asks of its
tools. Give it the id of a session that was created with them::

    uv run examples/backend_tools.py SESSION_ID

Without an id and without ``RUNWAYML_API_SECRET`` it needs no key: a local Runway runs a session,
a visitor hums at it, and what was asked and answered is printed.
"""

import argparse
import asyncio
import json
import os

import httpx
import numpy as np
from dotenv import load_dotenv
from livekit import rtc
from pipecat.adapters.llm.schemas.direct_function import tool_options
from pipecat.services.llm_service import FunctionCallParams

from pipecat_runway import BackendTools
from pipecat_runway.simulator import RunwaySimulator

ORDERS = {7: "on its way", 8: "waiting for you in the shop"}
GREETING = "Hello! I am an AI, and this face is generated. Which order is it about?"
RATE = 48_000


async def find_order(params: FunctionCallParams, number: int) -> None:
    """Look an order up, when somebody asks where it is.

    Args:
        params: Of it there are arguments and result_callback; the model does not see it.
        number: The order's number.
    """
    state = ORDERS.get(number, "not known here")
    print(f"find_order({number}): {state}")
    await params.result_callback({"number": number, "state": state})


@tool_options(timeout_secs=8)
async def ask_the_shop(params: FunctionCallParams, question: str) -> None:
    """Ask the people in the shop; takes a moment.

    Args:
        params: As above.
        question: What they are asked.
    """
    await asyncio.sleep(2.0)
    print(f"ask_the_shop({question!r}): come in the morning")
    await params.result_callback("Come in the morning.")


TOOLS = [find_order, ask_the_shop]


async def serve(session_id: str, **where: str) -> None:
    """Answer a session's tools until it ends."""
    async with BackendTools(session_id, TOOLS, **where) as backend:
        print(f"answering for session {session_id}")
        await backend.ended()


async def demonstrate() -> None:
    """Be everybody: Runway, the one who creates the session, the visitor, and the tools."""
    async with RunwaySimulator(progress=print) as runway:
        where = {"api_key": runway.api_key, "base_url": runway.env["RUNWAYML_BASE_URL"]}
        headers = {"Authorization": f"Bearer {where['api_key']}", "X-Runway-Version": "2024-11-06"}
        async with httpx.AsyncClient(base_url=where["base_url"], headers=headers) as http:
            created = await http.post(
                "/v1/realtime_sessions",
                json={
                    "model": "gwm1_avatars",
                    "avatar": {"type": "runway-preset", "presetId": "influencer"},
                    "startScript": GREETING,
                    "tools": BackendTools.wire(TOOLS),
                },
            )
            path = f"/v1/realtime_sessions/{created.raise_for_status().json()['id']}"
            async with asyncio.TaskGroup() as group:
                group.create_task(serve(created.json()["id"], **where))
                while "sessionKey" not in (session := (await http.get(path)).json()):  # noqa: ASYNC110
                    await asyncio.sleep(0.5)
                key = {"Authorization": f"Bearer {session['sessionKey']}"}
                joined = await http.post(f"{path}/consume", json={}, headers=key)
                await visit(joined.json())


async def visit(credentials: dict[str, str]) -> None:
    """Hum twice, as if something was asked, and hang up once both were answered."""
    room, heard = rtc.Room(), asyncio.Queue[str]()
    room.on("data_received", lambda packet: heard.put_nowait(packet.data.decode()))
    await room.connect(credentials["url"], credentials["token"])
    source = rtc.AudioSource(RATE, 1)
    await room.local_participant.publish_track(
        rtc.LocalAudioTrack.create_audio_track("microphone", source)
    )
    for turn in range(1, 3):
        await said(heard, turn - 1)
        for tone in (220, 0):
            wave = 9000 * np.sin(2 * np.pi * tone * np.arange(RATE) / RATE)
            pcm = wave.astype(np.int16)
            for start in range(0, RATE, RATE // 50):
                piece = pcm[start : start + RATE // 50]
                await source.capture_frame(rtc.AudioFrame(piece.tobytes(), RATE, 1, len(piece)))
        await said(heard, turn)
    await room.local_participant.publish_data(json.dumps({"type": "END_CALL"}), reliable=True)
    await asyncio.sleep(0.5)
    await room.disconnect()
    await source.aclose()


async def said(heard: "asyncio.Queue[str]", turn: int) -> None:
    """Wait until the Character begins its turn of this number, counted from 0."""
    async with asyncio.timeout(30):
        while True:
            message = json.loads(await heard.get())
            if message.get("role") == "assistant" and message.get("turn") == turn:
                print(f"the Character says: {message['text']} ...")
                return


def main() -> None:
    """Serve the session that is named, or show how it is done."""
    load_dotenv()
    parser = argparse.ArgumentParser(description="Answer the tools of a Runway session.")
    parser.add_argument("session_id", nargs="?", help="a session created with these tools")
    session_id = parser.parse_args().session_id
    if session_id:
        asyncio.run(serve(session_id))
    elif os.getenv("RUNWAYML_API_SECRET"):
        parser.error("with RUNWAYML_API_SECRET set, name the session")
    else:
        asyncio.run(demonstrate())


if __name__ == "__main__":
    main()
