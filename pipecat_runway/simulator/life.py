"""A session's life, from its create to its end."""

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pipecat_runway.simulator.elevenlabs import RATE as ELEVENLABS_RATE
from pipecat_runway.simulator.script import Part, Script, Turn
from pipecat_runway.simulator.sessions import SimulatedSession, Status
from pipecat_runway.simulator.worker_host import WorkerProcessError
from pipecat_runway.simulator.worker_messages import WorkerEvent

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

GONE_TIMEOUT = 5.0  # in which a worker that was called back leaves

# Why a worker is called back from a session that ended with this status.
LEAVE_REASONS = {Status.COMPLETED: "limit", Status.CANCELLED: "deleted", Status.FAILED: "fault"}


async def live(runway: "RunwaySimulator", session: SimulatedSession) -> None:
    """A session's life. Whoever sends a worker calls it back: both happen here."""
    faults = session.faults
    doomed = faults.failure_delay if faults.end_after_failure is not None else None
    try:
        async with asyncio.timeout(doomed):
            await _serve(runway, session)
    except TimeoutError:
        session.end(Status.FAILED, faults.end_after_failure)
    except WorkerProcessError as error:
        failed = {"error": str(error)}
        runway.on_event(WorkerEvent(session.id, "join_failed", time.monotonic(), failed))
    finally:
        if session.worker_called:
            await runway.workers.leave(session.id, LEAVE_REASONS[session.status])
        if session.managed is not None and faults.deletes_room:
            with suppress(TimeoutError):
                await asyncio.wait_for(session.worker_gone.wait(), GONE_TIMEOUT)
            await session.managed.delete()


async def _serve(runway: "RunwaySimulator", session: SimulatedSession) -> None:
    faults = session.faults
    if 0 < faults.queue_for < math.inf:
        await asyncio.sleep(faults.queue_for)
        runway.admit()
    await session.admitted.wait()
    await asyncio.sleep(faults.join_delay)
    if faults.never_join:
        await session.ended.wait()
    elif session.managed is None:
        if faults.passes_ready:
            session.ready()
        await _send_worker(runway, session)
    else:
        await _serve_user(runway, session)
    await session.running.wait()
    if session.is_open:
        await asyncio.sleep(session.limit)
        session.end(Status.COMPLETED)


async def _serve_user(runway: "RunwaySimulator", session: SimulatedSession) -> None:
    """A session in a managed room, up to the coming of its user."""
    faults = session.faults
    if session.signed_url is not None and not runway.elevenlabs.accepts(session.signed_url):
        session.end(Status.FAILED)
        return
    if faults.joins_after_consume is None:
        await _send_worker(runway, session)  # it is READY once that is there
    else:
        session.ready()
    await session.at_ready.wait()
    try:
        async with asyncio.timeout(faults.ready_lifetime):
            await session.consumed.wait()
        async with asyncio.timeout(faults.consumed_timeout):
            if faults.joins_after_consume is not None:
                await asyncio.sleep(faults.joins_after_consume)
                await _send_worker(runway, session)
            await session.running.wait()
    except TimeoutError:
        session.end(Status(faults.ready_expired_status))


async def _send_worker(runway: "RunwaySimulator", session: SimulatedSession) -> None:
    room = session.call_worker()
    await runway.workers.join(
        session_id=session.id,
        url=room.url,
        token=room.token,
        room_name=room.room_name,
        agent_identity=room.agent_identity,
        character=session.character,
        faults=replace(session.faults, join_delay=0.0),  # it is over
        part=_part(runway, session),
    )


def _part(runway: "RunwaySimulator", session: SimulatedSession) -> Part | None:
    if session.managed is None:
        return None
    if session.signed_url is not None and session.faults.elevenlabs_rate != ELEVENLABS_RATE:
        silent = Script([Turn(heard="")])
        return Part.of(silent, session.body, None, session.managed.backend)
    avatar = runway.avatars.get(session.character)
    start = session.body.get("startScript", avatar.start_script if avatar else None)
    return Part.of(runway.partner, session.body, start, session.managed.backend)
