"""The life of one Runway session, as a table.

Everything that decides what a session may do next stands in :data:`TRANSITIONS`. An event that a
state has no row for is a mistake of ours and raises; nothing has changed then.
"""

from enum import Enum, auto


class State(Enum):
    """Where a session is."""

    NEW = auto()  # nothing was asked of Runway yet: nothing is billed
    CREATING = auto()  # the create is under way: from here on a session may exist
    JOINING = auto()  # it exists; the avatar is awaited in the room
    LIVE = auto()  # its picture has been seen
    LOST = auto()  # the avatar is gone, or never came; the session may still be billed, or recover
    ENDING = auto()  # it is being told to end
    ENDED = auto()  # it was told, or never came to be


class Event(Enum):
    """What can happen to a session."""

    CREATE = auto()  # we ask for it
    CREATED = auto()  # Runway answered, or the answer was lost: it must be ended one day
    REFUSED = auto()  # Runway surely did not create it
    PICTURE = auto()  # the first picture was decoded, or the first one again
    LOSE = auto()  # the wait was in vain, or the avatar left or stalled
    END = auto()  # we want it to end
    TOLD = auto()  # the avatar or the API has been told


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.NEW: {Event.CREATE: State.CREATING, Event.END: State.ENDED},
    State.CREATING: {Event.CREATED: State.JOINING, Event.REFUSED: State.ENDED},
    State.JOINING: {Event.PICTURE: State.LIVE, Event.LOSE: State.LOST, Event.END: State.ENDING},
    State.LIVE: {Event.LOSE: State.LOST, Event.END: State.ENDING},
    State.LOST: {Event.PICTURE: State.LIVE, Event.LOSE: State.LOST, Event.END: State.ENDING},
    State.ENDING: {Event.LOSE: State.ENDING, Event.END: State.ENDING, Event.TOLD: State.ENDED},
    State.ENDED: {Event.LOSE: State.ENDED, Event.END: State.ENDED},
}


def step(state: State, event: Event) -> State:
    """Return the state that follows.

    Args:
        state: Where the session is.
        event: What happened.

    Returns:
        Where it is now.

    Raises:
        RuntimeError: If the event cannot happen in this state.
    """
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise RuntimeError(f"a session cannot {event.name} while {state.name}") from None
