"""Whether a request may be sent again, and when, as arithmetic. All times are in s."""

from typing import Final

from pipecat_runway.errors import (
    AnswerLostError,
    ConcurrencyError,
    RunwayError,
    UnreachableError,
    VendorFaultError,
)

ATTEMPTS: Final = 3
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 8.0


def pause(error: RunwayError, attempt: int, chance: float) -> float:
    """Return how long to wait before the next attempt.

    Args:
        error: How the last one ended. What its answer asked for is kept to.
        attempt: Its number, counted from 0.
        chance: From 0 to 1: by up to half longer, so that many callers do not come back at once
            (Runway's documentation asks for it).

    Returns:
        The pause.
    """
    backoff = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**attempt)
    return max(backoff, error.retry_after or 0.0) + backoff * chance / 2


def may_repeat(error: RunwayError, attempt: int) -> bool:
    """Return whether to repeat a request that does no harm when it is carried out twice."""
    return attempt + 1 < ATTEMPTS and (error.retryable or isinstance(error, AnswerLostError))


def may_create_again(error: RunwayError, attempt: int) -> bool:
    """Return whether to repeat a create: only if it surely has created, and billed, nothing.

    A 503 comes from a server that sheds load, or from one that failed half-way. It is taken for the
    former only if it names the time to come back.
    """
    refused = isinstance(error, UnreachableError | ConcurrencyError)
    turned_away = error.status_code == 503 and error.retry_after is not None
    shed = isinstance(error, VendorFaultError) and turned_away
    return attempt + 1 < ATTEMPTS and (refused or shed)
