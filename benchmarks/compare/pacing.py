"""When a TTS's frames come: in a burst, in real time, or in real time with stalls."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Literal

RATE = 24_000  # Hz, mono s16le; Pipecat's default for TTS
FRAME = 0.02  # s
PACES = ("burst", "real-time", "stalls")
Pace = Literal["burst", "real-time", "stalls"]

STALL = 0.15  # s that nothing comes …
FIRST_STALL, STALL_EVERY = 0.1, 0.5  # … after so much speech, and again after every so much


def due(index: int, pace: str) -> float:
    """When a frame comes, in s after the first one."""
    said = index * FRAME
    if pace == "burst":
        return 0.0
    if pace == "real-time" or said < FIRST_STALL:
        return said
    return said + STALL * (1 + int((said - FIRST_STALL) / STALL_EVERY + 1e-6))


async def frames(pcm: bytes, pace: str) -> AsyncIterator[bytes]:
    """Cut speech into frames that come at a pace."""
    size = round(RATE * FRAME) * 2
    begun = time.monotonic()
    for index, place in enumerate(range(0, len(pcm), size)):
        if (early := begun + due(index, pace) - time.monotonic()) > 0:
            await asyncio.sleep(early)
        yield pcm[place : place + size]
