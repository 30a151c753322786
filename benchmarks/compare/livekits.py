"""LiveKit's own: `DataStreamAudioOutput` of livekit-agents, as its Runway plugin makes it.

Runs in the judges' environment. What speech passes through before it is what an `AgentSession`
does (livekit-agents 1.8.9, voice/generation.py): a resampler of LiveKit's default quality. An agent
never takes the avatar's picture, the users' clients do: here it is taken as the floor does.
"""

import os
from collections.abc import AsyncIterator
from typing import Any

from livekit import rtc
from livekit.agents.voice.avatar import DataStreamAudioOutput

from benchmarks.compare.floor import Ears
from benchmarks.compare.pacing import RATE
from benchmarks.compare.party import main
from benchmarks.compare.record import Record

SPEECH_RATE = 16_000  # livekit-plugins-runway 1.8.9, avatar.py


class LiveKits:
    """A room, and LiveKit's way of speaking to the avatar in it."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._room = rtc.Room()
        self._ears = Ears(record)
        self._out: DataStreamAudioOutput | None = None

    async def join(self, where: dict[str, Any]) -> None:
        self._ears.attach(self._room)
        await self._room.connect(where["url"], where["token"])
        self._out = DataStreamAudioOutput(
            self._room,
            destination_identity=where["avatar"],
            sample_rate=SPEECH_RATE,
            wait_remote_track=rtc.TrackKind.KIND_VIDEO,
        )
        self._out.on("playback_finished", self._on_finished)

    async def say(self, speech: AsyncIterator[bytes], context: str) -> None:
        assert self._out is not None
        resampler = rtc.AudioResampler(RATE, SPEECH_RATE, num_channels=1)
        first = True
        async for pcm in speech:
            if first:
                self._record.note("in")
                first = False
            frame = rtc.AudioFrame(pcm, RATE, 1, len(pcm) // 2)
            for piece in resampler.push(frame):
                await self._out.capture_frame(piece)
        for piece in resampler.flush():
            await self._out.capture_frame(piece)
        self._out.flush()

    async def interrupt(self) -> None:
        assert self._out is not None
        self._record.note("interrupted")
        self._out.clear_buffer()

    async def leave(self) -> None:
        await self._ears.aclose()
        await self._room.disconnect()

    async def told(self) -> dict[str, Any]:
        return {}

    def _on_finished(self, event: Any) -> None:
        if not event.interrupted:
            self._record.note("stopped")


if __name__ == "__main__":
    # Nobody it talks to is outside this machine.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    main(LiveKits)
