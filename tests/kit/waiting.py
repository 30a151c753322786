"""Waiting for what sends no event."""

import asyncio
from collections.abc import Callable


async def until(met: Callable[[], object], bound: float = 10.0, *, every: float = 0.01) -> None:
    """Wait until something holds that nothing tells of.

    Args:
        met: Whether it does.
        bound: After so many s it is a TimeoutError.
        every: s between looks.
    """
    async with asyncio.timeout(bound):
        while not met():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(every)
