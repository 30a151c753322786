"""A process that holds session after session, or several at once, keeps nothing of them."""

import asyncio

import numpy as np
import pytest

from tests.scenarios.soak import Growth, Report, Sizes, at_once, one_after_another, speaking

from .conftest import MakeService

NOISE = 2e6  # bytes


@pytest.mark.long
async def test_sessions_one_after_another_leave_nothing_behind(make_service: MakeService) -> None:
    """Four: no more tasks, threads, handles, RPC methods or speech than after the second."""
    report = await one_after_another(lambda: speaking(make_service()), 4)
    last = await settled(report.sizes[1])
    assert {} == Report(sizes=[report.sizes[1], last]).grown(1)


@pytest.mark.long
async def test_sessions_at_once_leave_nothing_behind(make_service: MakeService) -> None:
    """Three in one process, each spoken to its end: no more is left than of the three before."""
    await at_once(make_service, 3)
    before = await settled(Sizes.now())
    await at_once(make_service, 3)
    assert {} == Report(sizes=[before, await settled(before)]).grown(1)


async def settled(expected: Sizes) -> Sizes:
    """What this process holds once LiveKit's threads have ended; they take a moment."""
    for _ in range(50):
        if not Report(sizes=[expected, Sizes.now()]).grown(1):
            break
        await asyncio.sleep(0.2)
    return Sizes.now()


def test_growth_is_noticed() -> None:
    """A leak of 0.2 MB a session is told from noise, and noise from a leak."""
    noise = np.random.default_rng(1).normal(0, NOISE, 150)
    flat = [round(200e6 + n) for n in noise]
    leaking = [round(value + 0.2e6 * n) for n, value in enumerate(flat)]
    assert Growth.of(flat).bound < 0.1
    assert Growth.of(leaking).slope > 0.15
    sizes = [Sizes(0, 5, 5, 5, 0, 0, 0), Sizes(0, 5, 6, 5, 2, 0, 0)]
    assert {"threads": (5, 6), "rpc_handlers": (0, 2)} == Report(sizes=sizes).grown(1)
