"""Lips and sound on a bad network; runs in a namespace of its own."""

import asyncio
import json
import os
import sys
from typing import Any

from loguru import logger

from benchmarks.compare import lips, netns
from benchmarks.compare.relay import Relay
from benchmarks.compare.stage import Stage
from tests.judges import judge


async def main(
    loss: float, jitter: float, parties: list[str], minutes: float, size: dict[str, int]
) -> dict[str, Any]:
    """Measure, while so many percent of what the LiveKit server sends are lost, or are late.

    Args:
        loss: Percent.
        jitter: The most a packet is late, in ms.
        parties: Whom.
        minutes: How long each.
        size: Of the picture.
    """
    netns.begin()
    judges = await judge.install() if "livekit" in parties else None
    async with Stage(**size, judges=judges) as stage:
        for port in netns.udp_ports():  # before anybody has joined they are all the server's
            if loss:
                netns.lose(loss, port)
            if jitter:
                await Relay.start(port, jitter / 1000)
        return await lips.measure(stage, parties, minutes)


if __name__ == "__main__":
    logger.remove()
    answers = os.dup(1)
    os.dup2(2, 1)
    found = asyncio.run(main(**json.loads(sys.argv[1])))
    os.write(answers, json.dumps(found).encode() + b"\n")
