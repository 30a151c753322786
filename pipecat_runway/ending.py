"""Cancelling a session by the API until Runway says that it has ended."""

import asyncio
import itertools

from pipecat_runway import wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.errors import APIError, KeyRefusedError, ProtocolError, RunwayError

CONFIRM_INTERVAL = 0.1  # s between looks at a session that was cancelled
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)  # s after a request that failed; the last one from then on


async def cancel_session(api: RunwayAPI, session_id: str, *, bound: float) -> str:
    """Cancel a session, and see it confirmed.

    Args:
        api: Runway's API.
        session_id: The session.
        bound: Longest time to try, in s.

    Returns:
        The status Runway gives; "unknown to Runway" for a session that is not there.

    Raises:
        RunwayError: It could not be cancelled, or that could not be confirmed, in time.
    """
    cancelled = False
    error: RunwayError = ProtocolError(
        f"the session has not ended {bound:g} s after it was cancelled", session_id=session_id
    )
    try:
        async with asyncio.timeout(bound):
            for attempt in itertools.count():
                try:
                    if not cancelled:
                        await api.delete_session(session_id)
                        cancelled = True
                except APIError as e:
                    error = e
                try:
                    status = await api.session_status(session_id)
                    if status.name in wire.ENDED_STATUSES:
                        return status.name
                except APIError as e:
                    if e.status_code == 404:
                        return "unknown to Runway"
                    error = e
                if isinstance(error, KeyRefusedError):
                    break
                pause = max(PAUSES[min(attempt, len(PAUSES) - 1)], error.retry_after or 0.0)
                await asyncio.sleep(CONFIRM_INTERVAL if cancelled else pause)
    except TimeoutError:
        pass
    raise error
