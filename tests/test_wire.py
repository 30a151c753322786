"""Literals and messages of the wire."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway import wire


@given(st.floats(0, 1e6), st.booleans(), st.dictionaries(st.text(), st.integers()))
def test_a_report_is_read_whatever_else_it_holds(
    position: float, interrupted: bool, more: dict[str, int]
) -> None:
    """Unknown keys of lk.playback_finished do no harm."""
    fields = more | {"playback_position": position, "interrupted": interrupted}
    assert wire.PlaybackFinished(position, interrupted) == wire.PlaybackFinished.parse(
        json.dumps(fields)
    )


@given(st.one_of(st.text(), st.just("{}"), st.just("[]"), st.just('{"playback_position": "x"}')))
def test_nonsense_is_a_value_error_without_its_text(payload: str) -> None:
    """A malformed report is refused, and not quoted."""
    with pytest.raises(ValueError, match=r"lk\.playback_finished") as caught:
        wire.PlaybackFinished.parse(payload)
    assert str(len(payload)) in str(caught.value)


def test_end_call_is_the_message_the_worker_obeys() -> None:
    """The end of a call is JSON with nothing but its type."""
    assert {"type": "END_CALL"} == json.loads(wire.END_CALL)
