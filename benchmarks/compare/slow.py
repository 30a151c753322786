"""Ours in front of somebody who takes five pictures a second and no more."""

import asyncio
import weakref
from typing import Any

from livekit import rtc
from pipecat.frames.frames import Frame, OutputImageRawFrame
from pipecat.processors.frame_processor import FrameDirection

from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import Exit, main
from benchmarks.compare.record import Record

EACH = 0.2  # s a picture takes


class SlowExit(Exit):
    """Takes its time over every picture; whoever pushes it waits. Sound passes meanwhile."""

    waiting: list[int]

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputImageRawFrame):
            await asyncio.sleep(EACH)
            self.waiting.append(len(_pictures) - 1)  # one of them is this one


_pictures: weakref.WeakSet[rtc.VideoFrame] = weakref.WeakSet()


class Slow(Ours):
    """Ours, with a count of the pictures that LiveKit has yielded and nobody has let go of."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._waiting = waiting = list[int]()
        inner = rtc.VideoStream.__anext__

        async def yielded(stream: rtc.VideoStream) -> rtc.VideoFrameEvent:
            event = await inner(stream)
            _pictures.add(event.frame)
            return event

        rtc.VideoStream.__anext__ = yielded  # type: ignore[method-assign]

        class Counting(SlowExit):
            pass

        Counting.waiting = waiting
        self.exit = Counting  # type: ignore[misc]

    def told(self) -> dict[str, Any]:
        return {"waiting": self._waiting}


if __name__ == "__main__":
    main(Slow)
