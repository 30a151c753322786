"""When a session has to be followed by another one, as arithmetic. All times are in s."""

from typing import Final

# Sessions end after about this long whatever `maxDuration` says: livekit/agents #6427 and #6703.
SESSION_LIMIT: Final = 300.0
SLACK: Final = 5.0  # for a join that is slower than the last one
MARGIN: Final = 2.0  # before the limit: by then the change has been made, even in mid-word
LONGEST_PAUSE: Final = 30.0  # between attempts


def limit(max_duration: int | None) -> float:
    """Return how long a session lasts at most."""
    return min(max_duration or SESSION_LIMIT, SESSION_LIMIT)


def renew_after(limit: float, join: float) -> float:
    """Return how old a session is when its successor is asked for.

    Args:
        limit: How long it lasts at most.
        join: What passed from the last create to the first picture.

    Returns:
        Its age; at least half of its life is used.
    """
    return max(limit / 2, limit - 1.5 * join - SLACK - MARGIN)


def pause(attempt: int) -> float:
    """Return how long to wait after the n-th failure in a row, counted from 0."""
    return min(LONGEST_PAUSE, 0.5 * 2.0**attempt)
