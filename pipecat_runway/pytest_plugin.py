"""A pytest plugin: the fixture `runway`, a local Runway to test a bot of your own on.

pytest loads it by itself wherever the package is installed, so nothing heavy is imported before
the fixture is used. It needs the extra `simulator` and `pytest-asyncio`.
"""

from collections.abc import AsyncIterator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pipecat_runway.simulator import RunwaySimulator

if find_spec("pytest_asyncio") is not None:
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def runway(
        request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> AsyncIterator["RunwaySimulator"]:
        """A local Runway, which `RunwayVideoService` uses without any arguments.

        Its addresses and keys stand in the environment while the test runs. Set `runway.faults` to
        make it misbehave; look at `runway.sessions` afterwards. A test that leaves a session open,
        which Runway would bill on, fails.

        Yields:
            The simulator, see :class:`pipecat_runway.simulator.RunwaySimulator`.
        """
        try:
            from pipecat_runway.simulator import RunwaySimulator
        except ModuleNotFoundError as e:
            pytest.fail(
                f"The fixture runway needs {e.name}: pip install 'pipecat-runway[simulator]'", False
            )
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        progress = reporter.write_line if reporter else print  # the first run builds LiveKit
        async with RunwaySimulator(progress=progress) as simulator:
            for name, value in simulator.env.items():
                monkeypatch.setenv(name, value)
            yield simulator
            left = [session.id for session in simulator.open_sessions]
        if left:
            pytest.fail(
                f"Runway sessions left open, which would be billed on: {', '.join(left)}. End the "
                "pipeline with an EndFrame or a CancelFrame, or await its runner.",
                pytrace=False,
            )

else:

    @pytest.fixture
    def runway() -> None:
        """Say what is missing."""
        pytest.fail("The fixture runway needs pytest-asyncio: pip install pytest-asyncio", False)
