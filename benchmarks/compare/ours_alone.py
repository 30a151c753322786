"""Ours in a pipeline that ends behind it: what the output transport takes is not in it."""

from typing import Any

from pipecat.processors.frame_processor import FrameProcessor

from benchmarks.compare.ours import Ours
from benchmarks.compare.pipecats import main


class OursAlone(Ours):
    """A pipeline with our service and no transport."""

    async def processors(self, where: dict[str, Any]) -> list[FrameProcessor]:
        *rest, _ = await super().processors(where)
        return rest


if __name__ == "__main__":
    main(OursAlone)
