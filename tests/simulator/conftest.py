"""Fixtures: a simulator whose avatar workers are made by hand, Runway's OpenAPI document."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipecat_runway.simulator import Faults, RunwaySimulator
from pipecat_runway.simulator.worker_messages import WorkerEvent

from .api_kit import HandMadeWorkers, Local, NoLiveKit, OpenAPI, Start

OPENAPI = Path(__file__).parents[3] / "shared" / "reference" / "runway-openapi-excerpt.json"


@pytest.fixture
def start() -> Start:
    """Starts a simulator with these knobs; it must leave no task behind."""

    @asynccontextmanager
    async def begin(**knobs: Any) -> AsyncIterator[Local]:
        before = asyncio.all_tasks()
        made: list[HandMadeWorkers] = []

        def workers(on_event: Callable[[WorkerEvent], None]) -> HandMadeWorkers:
            made.append(HandMadeWorkers(on_event))
            return made[0]

        async with RunwaySimulator(Faults(**knobs), livekit=NoLiveKit(), workers=workers) as runway:
            headers = {
                "Authorization": f"Bearer {runway.api_key}",
                "X-Runway-Version": "2024-11-06",
            }
            base_url = runway.env["RUNWAYML_BASE_URL"]
            async with httpx.AsyncClient(base_url=base_url, headers=headers) as http:
                yield Local(runway, made[0], http)
        assert not runway.open_sessions
        assert not made[0].inside
        assert not made[0].running
        assert asyncio.all_tasks() <= before

    return begin


@pytest.fixture(scope="session")
def openapi() -> OpenAPI:
    """The excerpt of Runway's OpenAPI document, where it is at hand."""
    if not OPENAPI.exists():
        pytest.skip("Runway's OpenAPI excerpt is not part of this project and not at hand")
    return OpenAPI(json.loads(OPENAPI.read_text()))
