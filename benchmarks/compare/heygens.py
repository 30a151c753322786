"""HeyGen's: Pipecat's `HeyGenVideoService` with its defaults, its API pointed at the stand-in."""

from typing import Any

import aiohttp
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.services.heygen.api_interactive_avatar import HeyGenApi
from pipecat.services.heygen.video import HeyGenVideoService

from benchmarks.compare.pipecats import PipecatParty, main


class HeyGens(PipecatParty):
    """A pipeline with HeyGen's service."""

    async def service(self, where: dict[str, Any]) -> FrameProcessor:
        HeyGenApi.BASE_URL = where["api"]
        self._http = aiohttp.ClientSession()
        return HeyGenVideoService(api_key="stand-in", session=self._http)

    async def leave(self) -> None:
        await super().leave()
        await self._http.close()


if __name__ == "__main__":
    main(HeyGens)
