"""Ours: `RunwayVideoService`, with nothing set but the character and where everything is."""

from typing import Any

from pipecat.processors.frame_processor import FrameProcessor

from benchmarks.compare.pipecats import PipecatParty, main
from pipecat_runway import RunwayVideoService


class Ours(PipecatParty):
    """A pipeline with our service."""

    async def service(self, where: dict[str, Any]) -> FrameProcessor:
        return RunwayVideoService(
            api_key=where["RUNWAYML_API_SECRET"],
            base_url=where["RUNWAYML_BASE_URL"],
            livekit_url=where["LIVEKIT_URL"],
            livekit_api_key=where["LIVEKIT_API_KEY"],
            livekit_api_secret=where["LIVEKIT_API_SECRET"],
            settings=RunwayVideoService.Settings(preset_id=where["character"]),
            max_duration=1800,  # the local Runway keeps to it
        )


if __name__ == "__main__":
    main(Ours)
