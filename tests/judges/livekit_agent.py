"""A judge: an agent on LiveKit's own framework, with the face LiveKit's Runway plugin gives it.

A real worker: it registers with the LiveKit server that the environment variables name and is
dispatched into a room. Runs in the environment that `environment/` describes. The first line of
stdin holds the speech, stdin's end ends the process; lines of JSON on stdout tell what happens.
"""

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentServer,
    AgentSession,
    APIStatusError,
    JobContext,
    JobExecutorType,
)
from livekit.plugins.runway import AvatarSession

AGENT_NAME = "judge"
CUT_AFTER = 0.5


def report(kind: str, **data: Any) -> None:
    """Tell whoever started this process."""
    print(json.dumps({"kind": kind, "at": time.monotonic(), "data": data}), flush=True)


async def frames(pcm: bytes, rate: int) -> AsyncIterator[rtc.AudioFrame]:
    size = rate // 50 * 2
    for place in range(0, len(pcm), size):
        piece = pcm[place : place + size]
        yield rtc.AudioFrame(piece, rate, 1, len(piece) // 2)


async def hold_two_turns(ctx: JobContext, pcm: bytes, rate: int) -> None:
    """Get a face, say one thing whole and another one interrupted, and let the face go."""
    session = AgentSession()
    avatar = AvatarSession(preset_id="cooking-teacher")
    try:
        await avatar.start(session, room=ctx.room)
    except APIStatusError as error:
        report("refused", status=error.status_code, body=error.body)
        return
    await session.start(Agent(instructions=""), room=ctx.room, record=False)
    session.output.audio.on("playback_finished", on_playback_finished)
    await session.say("(marked speech)", audio=frames(pcm, rate)).wait_for_playout()
    cut = session.say("(marked speech)", audio=frames(2 * pcm, rate))
    await asyncio.sleep(CUT_AFTER)
    await cut.interrupt()
    await cut.wait_for_playout()
    await session.aclose()


def on_playback_finished(event: Any) -> None:
    report(
        "playback_finished",
        position=event.playback_position,
        interrupted=event.interrupted,
    )


async def main() -> None:
    report("ready")
    order = json.loads(sys.stdin.readline())
    # In a thread of this process; in its own it would be the same code.
    server = AgentServer(job_executor_type=JobExecutorType.THREAD, host="127.0.0.1")

    @server.rtc_session(agent_name=AGENT_NAME)  # type: ignore[untyped-decorator]
    async def entrypoint(ctx: JobContext) -> None:
        try:
            await hold_two_turns(ctx, base64.b64decode(order["pcm"]), order["rate"])
        finally:
            ctx.shutdown()
            report("over")

    server.on("worker_registered", lambda *_: report("registered"))
    serving = asyncio.create_task(server.run(devmode=True))
    try:
        await asyncio.to_thread(sys.stdin.read)
    finally:
        await server.aclose()
        await serving


if __name__ == "__main__":
    asyncio.run(main())
    # LiveKit's native threads may call into an interpreter that is ending, and abort it (1.1.21).
    os._exit(0)
