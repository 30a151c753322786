"""The plugin, as somebody uses it who tests a bot of his own."""

import os
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))  # pytester has another home

TESTS = """
import asyncio

import pytest
from pipecat.frames.frames import EndFrame
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.workers.runner import WorkerRunner

from pipecat_runway import RunwayVideoService


def face():
    return RunwayVideoService(settings=RunwayVideoService.Settings(preset_id="cat-character"))


@pytest.mark.asyncio
async def test_a_bot_that_ends(runway):
    service = face()
    worker = PipelineWorker(Pipeline([service]))

    @service.event_handler("on_avatar_connected")
    async def on_avatar_connected(service, session_id):
        await worker.queue_frame(EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.wait_for(runner.run(), 30)
    assert [session.status for session in runway.sessions] == ["COMPLETED"]


@pytest.mark.asyncio
async def test_a_bot_that_leaves_its_session(runway):
    assert await asyncio.wait_for(face().prewarm(), 30)
"""


def test_a_bot_can_be_tested_and_a_session_left_open_fails_it(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fixture needs no settings, and tells which session would have been billed on."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR*test_a_bot_that_leaves_its_session*"])
    result.stdout.fnmatch_lines(["*sessions left open*billed on: *-*-*"])


def test_loading_it_imports_nothing_heavy(pytester: pytest.Pytester) -> None:
    """Whoever has the package installed does not pay for it in other test runs."""
    pytester.makepyfile(
        """
        import sys

        def test_light():
            heavy = {"pipecat", "livekit", "aiohttp", "numpy", "runwayml", "PIL"}
            assert not heavy & set(sys.modules)
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
