"""Ours, observed: when LiveKit is given speech, and when something is taken out of its memory.

Apart from `ours.py`, because looking so closely costs time.
"""

import time
import zlib
from collections.abc import Callable
from typing import Any

from livekit import rtc
from pipecat.frames.frames import Frame, OutputAudioRawFrame, OutputImageRawFrame, TTSAudioRawFrame
from pipecat.processors.frame_processor import FrameDirection

from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import Entrance, Exit, main
from benchmarks.compare.record import Record
from pipecat_runway import reception
from pipecat_runway.lipsync import PictureHold


class ProbedEntrance(Entrance):
    """Notes every frame of speech."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, TTSAudioRawFrame):
            self._record.note(f"tts {len(frame.audio) // 2}")
        await super().process_frame(frame, direction)


class ProbedExit(Exit):
    """Notes what every frame holds."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        if isinstance(frame, OutputImageRawFrame):
            self._record.note(f"picture pushed {_print(frame.image)}")
        elif isinstance(frame, OutputAudioRawFrame):
            self._record.note(f"sound pushed {zlib.crc32(frame.audio)}")
        await super().process_frame(frame, direction)


class Probed(Ours):
    """Ours, observed."""

    entrance = ProbedEntrance
    exit = ProbedExit

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        note = record.note
        _before(rtc.ByteStreamWriter, "write", lambda pcm: note(f"wrote {len(pcm) // 2}"))
        _taken(
            "_taken_picture",
            lambda picture, at: note(f"picture yielded {_print(picture.rgb)}", at),
        )
        _taken("_taken_sound", lambda pcm, at: note(f"sound yielded {zlib.crc32(pcm)}", at))
        advance = PictureHold.advance

        def held(hold: PictureHold, now: float, *, speaking: bool) -> float:
            seconds = advance(hold, now, speaking=speaking)
            note(f"hold {seconds:.4f}")
            return seconds

        PictureHold.advance = held  # type: ignore[method-assign]


def _print(rgb: Any) -> int:
    """What tells one picture from another: its middle, where the mouth is."""
    view = memoryview(rgb).cast("B")
    middle = len(view) // 2
    return zlib.crc32(view[middle : middle + 40_000])


def _before(owner: Any, name: str, tell: Callable[[Any], None]) -> None:
    inner = getattr(owner, name)

    async def told(self: Any, argument: Any) -> Any:
        tell(argument)
        return await inner(self, argument)

    setattr(owner, name, told)


def _taken(name: str, tell: Callable[[Any, float], None]) -> None:
    """Tell what is taken out of LiveKit's memory, and when that was begun."""
    inner = getattr(reception, name)

    def told(buffer: Any) -> Any:
        at = time.monotonic()
        result = inner(buffer)
        tell(result, at)
        return result

    setattr(reception, name, told)


if __name__ == "__main__":
    main(Probed)
