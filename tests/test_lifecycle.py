"""The table of a session's life."""

import pytest

from pipecat_runway.lifecycle import TRANSITIONS, Event, State, step


def test_every_state_has_a_way_to_the_end() -> None:
    """From wherever a session is, some run of events ends it."""
    ending = {State.ENDED}
    while more := {
        s for s, row in TRANSITIONS.items() if s not in ending and ending & set(row.values())
    }:
        ending |= more
    assert ending == set(State)


def test_an_end_can_be_asked_for_whenever_a_session_may_be_billed() -> None:
    """Only while a create is under way must its answer be awaited first."""
    assert [State.CREATING] == [s for s in State if Event.END not in TRANSITIONS[s]]


def test_an_ended_session_stays_ended() -> None:
    """Nothing that happens later brings it back."""
    assert {State.ENDED} == set(TRANSITIONS[State.ENDED].values())


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_without_a_row_is_refused(state: State, event: Event) -> None:
    """What the table does not know raises instead of doing something."""
    if event in TRANSITIONS[state]:
        assert TRANSITIONS[state][event] is step(state, event)
    else:
        with pytest.raises(RuntimeError, match=f"cannot {event.name} while {state.name}"):
            step(state, event)
