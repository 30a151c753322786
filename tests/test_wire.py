"""Literals and messages of the wire."""

import json
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runwayml.types import realtime_session_create_params as params

from pipecat_runway import wire


def test_presets_and_model_are_the_sdks() -> None:
    """The names we know are those of the official client."""
    presets = params.AvatarRunwayPreset.__annotations__["preset_id"]
    assert all(preset in str(presets) for preset in wire.PRESETS)
    assert wire.MODEL in str(params.RealtimeSessionCreateParams.__annotations__["model"])
    assert get_args(params.Avatar)


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
