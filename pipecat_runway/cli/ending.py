"""How a session ended, as Runway itself says."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from runwayml import AsyncRunwayML, RunwayMLError

from pipecat_runway import wire
from pipecat_runway.simulator import RunwaySimulator

END_TIMEOUT = 15.0


@dataclass(frozen=True)
class Ending:
    """How the session ended.

    Attributes:
        session_id: Its id.
        status: What Runway says of it.
        billed: Seconds it is billed for, where that is known.
    """

    session_id: str
    status: str
    billed: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in wire.ENDED_STATUSES

    def __str__(self) -> str:
        return f"{'yes' if self.is_final else 'NO'}, {self.status}"


async def how_it_ended(
    session_id: str, env: Mapping[str, str], runway: RunwaySimulator | None
) -> Ending:
    """Ask Runway, with its own client, how the session ended.

    Args:
        session_id: Its id.
        env: Keys and addresses, under the names of their environment variables.
        runway: The local Runway, if that is what is used.

    Returns:
        What is known after 15 s at most.
    """
    simulated = runway.find(session_id) if runway else None
    status, duration = "UNKNOWN", None
    try:
        async with (
            asyncio.timeout(END_TIMEOUT),
            AsyncRunwayML(
                api_key=env[wire.ENV_API_SECRET], base_url=env.get(wire.ENV_BASE_URL)
            ) as client,
        ):
            while status not in wire.ENDED_STATUSES:
                await asyncio.sleep(0.2 if simulated else 1.0)
                session = await client.realtime_sessions.retrieve(session_id)
                status, duration = session.status, getattr(session, "duration", None)
    except (TimeoutError, RunwayMLError):
        pass  # the status says how far it got
    return Ending(session_id, status, simulated.billed_seconds if simulated else duration)
