"""What a call's face needs next."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway.renewal import Need, Presence, Standing, need, pause

SECONDS = st.floats(0, 5000)


def standing(**other: object) -> Standing:
    """A call whose face is there and needs nothing, but for what is named."""
    common: dict[str, object] = {
        "presence": Presence.PRESENT,
        "age": 0.0,
        "limit": 300.0,
        "join": 2.0,
        "other": False,
        "call_age": 0.0,
        "call_limit": 3600.0,
        "idle": 0.0,
        "idle_limit": inf,
    }
    return Standing(**(common | other))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, Need.NOTHING),
        ({"age": 291.0}, Need.RENEW),
        ({"age": 291.0, "call_age": 3599.0}, Need.NOTHING),  # it outlasts the call
        ({"other": True}, Need.CHANGE),
        ({"other": True, "presence": Presence.AWAY}, Need.RETURN),  # whoever returns is the other
        ({"idle": 61.0, "idle_limit": 60.0}, Need.PARK),
        ({"idle": 61.0, "idle_limit": 60.0, "presence": Presence.PARKED}, Need.NOTHING),
        ({"presence": Presence.AWAY}, Need.RETURN),
        ({"call_age": 3600.0}, Need.STOP),
        ({"call_age": 3600.0, "presence": Presence.PARKED}, Need.STOP),
        ({"call_age": 3600.0, "presence": Presence.GONE}, Need.END),
    ],
)
def test_what_is_needed(other: dict[str, object], expected: Need) -> None:
    """Every way a call can stand has one answer."""
    assert need(standing(**other))[0] is expected


@given(age=SECONDS, join=SECONDS, call_age=SECONDS, idle=SECONDS, idle_limit=SECONDS | st.just(inf))
def test_nothing_is_needed_before_it_was_said(
    age: float, join: float, call_age: float, idle: float, idle_limit: float
) -> None:
    """Who is told that nothing is needed for a while need not look before that."""
    call = {"age": age, "call_age": call_age, "idle": idle}
    first, patience = need(standing(join=join, idle_limit=idle_limit, **call))
    if first is Need.NOTHING:
        assert patience > 0
        later = {name: value + 0.99 * patience for name, value in call.items()}
        assert need(standing(join=join, idle_limit=idle_limit, **later))[0] is Need.NOTHING
    else:
        assert patience == 0


def test_pauses_between_attempts_grow_to_a_bound() -> None:
    """They double from half a second to half a minute."""
    assert [0.5, 1, 2, 4, 8, 16, 30, 30] == [pause(n) for n in range(8)]
