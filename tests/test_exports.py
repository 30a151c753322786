"""The promise: the public names."""

import subprocess
import sys

import pytest

import pipecat_runway


def test_every_public_name_is_there() -> None:
    """What `__all__` lists can be imported, and comes with a docstring."""
    for name in pipecat_runway.__all__:
        assert getattr(pipecat_runway, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Importing lazily does not swallow typing mistakes."""
    with pytest.raises(AttributeError, match="no attribute 'RunwayVideoServise'"):
        pipecat_runway.RunwayVideoServise  # noqa: B018


def test_the_plain_install_imports_no_painter_speech_or_server() -> None:
    """Using the service pulls in nothing of the simulator's and the demo's extras."""
    code = (
        "import sys, pipecat_runway.video;"
        "print([m for m in sys.modules"
        " if m in ('aiohttp.web', 'av', 'espeakng_loader', 'typer')"
        " or f'{m}.'.startswith(('pipecat_runway.simulator.', 'pipecat_runway.cli.'))])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip().splitlines()[-1] == "[]"
