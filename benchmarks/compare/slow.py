"""Ours in front of somebody who takes five pictures a second and no more."""

import asyncio
import time
import weakref
from typing import Any

from pipecat.frames.frames import Frame, OutputImageRawFrame
from pipecat.processors.frame_processor import FrameDirection

from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import Exit, main
from benchmarks.compare.record import Record
from pipecat_runway.lipsync import PictureHold
from pipecat_runway.reception import PictureStream
from pipecat_runway.sizes import Picture

EACH = 0.2  # s a picture takes


class SlowExit(Exit):
    """Takes its time over every picture; whoever pushes it waits. Sound passes meanwhile."""

    waiting: list[int]

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, OutputImageRawFrame):
            await asyncio.sleep(EACH)
            now = time.monotonic()
            due = sum(at <= now for at in _due.values())
            self.waiting.append(due - 1)  # one of them is this one


_due: dict[int, float] = {}  # when each picture that nobody has let go of may be shown


class Slow(Ours):
    """Ours, with a count of the pictures that have come, are due, and nobody has let go of."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._waiting = waiting = list[int]()
        come, advance = PictureStream.__anext__, PictureHold.advance
        latest = 0  # the picture that came last

        async def yielded(stream: PictureStream) -> Picture:
            nonlocal latest
            picture = await come(stream)
            latest = id(picture)
            weakref.finalize(picture, _due.pop, latest, None)
            return picture

        def held(hold: PictureHold, now: float, *, speaking: bool) -> float:
            seconds = advance(hold, now, speaking=speaking)
            _due[latest] = now + seconds
            return seconds

        PictureStream.__anext__ = yielded  # type: ignore[method-assign]
        PictureHold.advance = held  # type: ignore[method-assign]

        class Counting(SlowExit):
            pass

        Counting.waiting = waiting
        self.exit = Counting  # type: ignore[misc]

    async def told(self) -> dict[str, Any]:
        return {"waiting": self._waiting}


if __name__ == "__main__":
    main(Slow)
