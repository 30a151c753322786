"""Tests that judge times."""

import pytest

timed = pytest.mark.flaky(reruns=2)
"""For a test that judges when something was heard or seen: a machine that is held up in the middle
of it gets another try, and the summary says so. What only counts gets none."""
