"""The table of a session's life: laws for every sequence of events, and breaks of each of them."""

from copy import deepcopy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway.lifecycle import TRANSITIONS, Event, State, step

Table = dict[State, dict[Event, State]]

# What says that nothing is billed any more, or never was.
SETTLING = {Event.TOLD, Event.REFUSED}


def reached(table: Table) -> set[tuple[State, bool]]:
    """Every state that some sequence of events leads to, and whether a session may be billed in it.

    It may from the moment it is asked for until Runway was told to end it, or refused it.
    """
    seen: set[tuple[State, bool]] = set()
    next_ones = [(State.NEW, False)]
    while next_ones:
        state, billed = here = next_ones.pop()
        if here in seen:
            continue
        seen.add(here)
        for event, after in table[state].items():
            still = (billed or event is Event.CREATE) and event not in SETTLING
            next_ones.append((after, still))
    return seen


def breaches(table: Table) -> list[str]:
    """What is wrong with a table."""
    found = []
    places = reached(table)
    ending = {State.ENDED}
    while more := {s for s, row in table.items() if s not in ending and ending & set(row.values())}:
        ending |= more
    for state, billed in sorted(places, key=str):
        if state not in ending:
            found.append(f"{state.name} never ends")
        if state is State.ENDED and billed:
            found.append("a session has ended that may still be billed")
        if state is not State.ENDED and not ends_when_asked(table, state):
            found.append(f"{state.name} does not end when asked")
    for state, row in table.items():
        for event, after in row.items():
            if after is State.LIVE and event is not Event.PICTURE:
                found.append(f"{event.name} makes {state.name} LIVE without a picture")
            if state is State.ENDED and after is not State.ENDED:
                found.append(f"{event.name} revives what has ended")
            if state is State.ENDING and after not in (State.ENDING, State.ENDED):
                found.append(f"{event.name} revives what is being ended")
            if after is State.NEW or (event is Event.CREATE and state is not State.NEW):
                found.append(f"{event.name} asks for a second session in {state.name}")
    return found


def ends_when_asked(table: Table, state: State) -> bool:
    """Whether END and then TOLD end it; where an answer is still awaited, once that is there."""
    if Event.END not in table[state]:
        # What could follow but the answer would leave a session that nobody may end.
        answers = {Event.CREATED, Event.REFUSED}
        return set(table[state]) == answers and all(
            after is State.ENDED or (Event.END in table[after] and ends_when_asked(table, after))
            for after in table[state].values()
        )
    after = table[state][Event.END]
    return after is State.ENDED or table[after].get(Event.TOLD) is State.ENDED


def test_the_table_keeps_the_laws() -> None:
    """Every session can end, ends when asked, and not before Runway knows."""
    assert [] == breaches(TRANSITIONS)


@given(st.lists(st.sampled_from(Event)))
def test_every_sequence_of_events_can_be_ended(events: list[Event]) -> None:
    """Whatever happened, and in whatever order it was tried, an end is an end."""
    state, asked = State.NEW, False
    for event in events:
        try:
            state = step(state, event)
        except RuntimeError:
            continue
        asked = (asked or event is Event.CREATE) and event not in SETTLING
        assert not (state is State.ENDED and asked)
    if state is State.CREATING:
        state = step(state, Event.CREATED)
    state = step(state, Event.END)
    if state is not State.ENDED:
        state = step(state, Event.TOLD)
    assert State.ENDED is state


def without(state: State, event: Event) -> Table:
    """The table without a row."""
    table = deepcopy(TRANSITIONS)
    del table[state][event]
    return table


def but(state: State, event: Event, after: State) -> Table:
    """The table with another row."""
    table = deepcopy(TRANSITIONS)
    table[state][event] = after
    return table


BREAKS = {
    "an end that nobody is told of": but(State.ENDING, Event.END, State.ENDED),
    "a lost session taken for ended": but(State.LOST, Event.LOSE, State.ENDED),
    "an avatar that left taken for ended": but(State.LIVE, Event.LOSE, State.ENDED),
    "a create that is not awaited": but(State.CREATING, Event.END, State.ENDED),
    "a lost session that cannot be ended": without(State.LOST, Event.END),
    "a live session that cannot be ended": without(State.LIVE, Event.END),
    "an end that is never over": without(State.ENDING, Event.TOLD),
    "an end that begins again": but(State.ENDING, Event.TOLD, State.ENDING),
    "an ended session that lives": but(State.ENDED, Event.PICTURE, State.LIVE),
    "an ending session that lives": but(State.ENDING, Event.PICTURE, State.LIVE),
    "a face without a picture": but(State.JOINING, Event.CREATED, State.LIVE),
    "a second create": but(State.LOST, Event.CREATE, State.CREATING),
    "an answer that is not taken": without(State.CREATING, Event.CREATED),
}


@pytest.mark.parametrize("case", BREAKS)
def test_a_broken_table_is_noticed(case: str) -> None:
    """The laws can be broken, and every break is seen."""
    assert breaches(BREAKS[case])


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_without_a_row_is_refused(state: State, event: Event) -> None:
    """What the table does not know raises instead of doing something."""
    if event in TRANSITIONS[state]:
        assert TRANSITIONS[state][event] is step(state, event)
    else:
        with pytest.raises(RuntimeError, match=f"cannot {event.name} while {state.name}"):
            step(state, event)
