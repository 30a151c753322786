"""Tests that judge times, on a machine that does other things as well."""

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


def timed(test: Callable[..., Any]) -> Callable[..., Any]:
    """Mark a test that judges when something was heard or seen.

    It has the machine to itself while it runs, and gets two more tries if the machine was held up
    all the same; the summary says so. A test that only counts gets neither.
    """
    return pytest.mark.alone(pytest.mark.flaky(reruns=2)(test))


@contextmanager
def place_on_the_machine(directory: Path, *, alone: bool) -> Iterator[None]:
    """Wait for a place among the tests that run at the same time.

    Args:
        directory: Common to all of them.
        alone: Whether none may run meanwhile.
    """
    with (directory / "queue").open("w") as queue, (directory / "machine").open("w") as machine:
        fcntl.flock(queue, fcntl.LOCK_EX)  # who waits to be alone is not overtaken for ever
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
