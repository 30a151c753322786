"""Runs in an environment with livekit-agents: LiveKit's own sender speaks to an avatar.

``python livekit_judge.py URL TOKEN AVATAR``; one line of JSON for every utterance.
"""

import asyncio
import json
import math
import sys
import time

from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput

RATE = 16_000


async def say(output: DataStreamAudioOutput, seconds: float) -> None:
    wave = [round(8000 * math.sin(n * 0.2)) for n in range(RATE // 10)]
    data = b"".join(value.to_bytes(2, "little", signed=True) for value in wave)
    for _ in range(round(seconds * 10)):
        await output.capture_frame(rtc.AudioFrame(data, RATE, 1, RATE // 10))
    output.flush()


async def main(url: str, token: str, avatar: str) -> None:
    room = rtc.Room()
    await room.connect(url, token)
    output = DataStreamAudioOutput(
        room,
        destination_identity=avatar,
        sample_rate=RATE,
        wait_remote_track=rtc.TrackKind.KIND_VIDEO,
        wait_playback_start=True,
    )
    for name, seconds, interrupted_after in (
        ("first", 0.6, None),
        ("second", 0.4, None),
        ("third", 2.0, 0.4),
        ("fourth", 0.3, None),
    ):
        started = asyncio.Event()
        output.once("playback_started", lambda _event, started=started: started.set())
        await say(output, seconds)
        clearing = None
        if interrupted_after is not None:
            await started.wait()
            await asyncio.sleep(interrupted_after)
            clearing = time.monotonic()
            output.clear_buffer()
        event = await output.wait_for_playout()
        print(
            json.dumps(
                {
                    "said": name,
                    "position": event.playback_position,
                    "interrupted": event.interrupted,
                    "clearing_took": time.monotonic() - clearing if clearing else 0.0,
                }
            ),
            flush=True,
        )
    await room.disconnect()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
