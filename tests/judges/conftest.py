"""The judges' environment, made before any test's time counts."""

import asyncio
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio

from . import judge


def pytest_collection_finish(session: pytest.Session) -> None:
    """Download what is missing; what goes wrong is told by the tests that need it."""
    judged = any(judge.HERE in item.path.parents for item in session.items)
    if judged and not session.config.option.collectonly:
        with suppress(judge.InstallError, TimeoutError):
            asyncio.run(judge.install())
        with suppress(judge.InstallError, TimeoutError):
            asyncio.run(judge.install_node())


@pytest_asyncio.fixture(scope="session")
async def judges_python() -> Path:
    """The Python of the judges' environment."""
    if judge.find_uv() is None:
        pytest.skip("uv, which makes the judges' environment, is not on PATH")
    return await judge.install()


@pytest_asyncio.fixture(scope="session")
async def judges_node() -> Path:
    """Node, with Runway's own parts at hand."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not on PATH")
    return await judge.install_node()
