"""The echo example with a fault in its face, another one in each conversation: see test_evals.

It is started as the example is. What is broken here is what each scenario is there to notice.
"""

import sys
from pathlib import Path
from typing import Any

from pipecat.frames.frames import EndFrame, TTSStoppedFrame
from pipecat.runner.types import RunnerArguments

from pipecat_runway import RunwayVideoService
from pipecat_runway.playback import Utterance

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
import echo  # type: ignore[import-not-found]


class OfItsOwnSize(RunwayVideoService):
    """Does not scale its pictures."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options | {"video_out_width": None, "video_out_height": None})


class Swallows(RunwayVideoService):
    """Every third 200 ms of its voice are silent."""

    _passed = 0

    def sound(self, utterance: Utterance, pcm: bytes) -> None:
        place = self._passed * 5 // self._sample_rate
        self._passed += len(pcm) // 2
        super().sound(utterance, bytes(len(pcm)) if place % 3 == 2 else pcm)


class GoesOn(RunwayVideoService):
    """Is not interrupted."""

    def _interrupt(self) -> None:
        pass


class Flaps(RunwayVideoService):
    """Says that it has stopped when it has not, and forgets its last words at the end."""

    _pieces = 0

    def sound(self, utterance: Utterance, pcm: bytes) -> None:
        super().sound(utterance, pcm)
        self._pieces += 1
        if self._pieces % 50 == 0:
            self._out.put_nowait(TTSStoppedFrame(context_id=utterance.context_id))

    async def stop(self, frame: EndFrame) -> None:
        self._interrupt()
        await super().stop(frame)


FACES = iter([OfItsOwnSize, Swallows, GoesOn, Flaps])


async def bot(runner_args: RunnerArguments) -> None:
    """Hold one conversation, with the next fault."""
    echo.RunwayVideoService = next(FACES)
    await echo.bot(runner_args)


if __name__ == "__main__":
    from pipecat.runner.run import main

    main()
