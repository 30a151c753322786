"""What Runway keeps of sessions: conversations and usage, as its API tells of them."""

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from pipecat_runway.simulator.avatars import SimulatedAvatar, timestamp
from pipecat_runway.simulator.schema import MODEL, PRESETS
from pipecat_runway.simulator.sessions import SimulatedSession, Status

# How CANCELLED maps is unknown; the two others are the only sensible reading.
STATUSES = {Status.COMPLETED: "ended", Status.CANCELLED: "ended", Status.FAILED: "failed"}
LONGEST_TRANSCRIPT = 1000  # entries (OpenAPI)


def conversation_item(session: SimulatedSession, avatar: SimulatedAvatar | None) -> dict[str, Any]:
    """A conversation as a list has it."""
    return {
        "id": session.id,
        "name": _name(session),
        "status": STATUSES.get(session.status, "in_progress"),
        "avatar": _avatar(session, avatar, named=True),
        "createdAt": timestamp(session.created_at),
        "duration": _duration(session),
        "hasTools": bool(session.body.get("tools")),
    }


def conversation(
    session: SimulatedSession, avatar: SimulatedAvatar | None, recording: str | None
) -> dict[str, Any]:
    """A conversation with exactly the fields of its status.

    Args:
        session: The session it took place in.
        avatar: That session's, if it is a custom one that still exists.
        recording: Where its recording is.
    """
    delay = timedelta(seconds=session.faults.conversation_delay)
    ended = session.ended_at
    written = ended is None or datetime.now(UTC) >= ended + delay
    tools = session.body.get("tools", [])
    answer: dict[str, Any] = {
        "id": session.id,
        "name": _name(session),
        "avatar": _avatar(session, avatar, named=False),
        "createdAt": timestamp(session.created_at),
        "maxDuration": session.body.get("maxDuration"),
        "transcript": transcript(session)[:LONGEST_TRANSCRIPT] if written else [],
        "recordingUrl": recording if written and ended is not None else None,
        "tools": [{key: tool[key] for key in ("type", "name", "description")} for tool in tools],
        "status": STATUSES.get(session.status, "in_progress"),
        "startedAt": _told(session.started_at),
        "duration": _duration(session),
    }
    if ended is not None:
        answer["endedAt"] = timestamp(ended)
    if session.status is Status.FAILED:
        answer |= {"failure": "The simulated session failed.", "failureCode": session.failure_code}
    return answer


def transcript(session: SimulatedSession) -> list[dict[str, Any]]:
    """What was said and called, in order."""
    entries: list[dict[str, Any]] = []
    calls: dict[str, dict[str, Any]] = {}
    for event in session.events:
        data = event.data
        entry: dict[str, Any] = {"timestamp": timestamp(session.when(event.at))}
        match event.kind:
            case "turn_heard":
                entries.append({"role": "user", "content": data["text"], **entry})
            case "said":
                entries.append({"role": "assistant", "content": data["text"], **entry})
            case "client_event" | "backend_call":
                call = {"name": data["name"], "arguments": data["args"]}
                entry |= {"role": "assistant", "content": None, "toolCalls": [call]}
                entries.append(entry)
                if made := data.get("call"):
                    call["id"] = made
                    calls[made] = entry
            case "backend_result":
                calls[data["call"]]["toolResults"] = [_result(data)]
    return entries


def avatar_usage(
    sessions: Iterable[SimulatedSession], start: datetime, end: datetime
) -> dict[str, Any]:
    """Seconds and sessions from `start` up to `end`, by days in UTC."""
    days: dict[str, list[int]] = defaultdict(list)
    for session in sessions:
        if start <= session.created_at < end:
            days[session.created_at.date().isoformat()].append(session.billed_seconds)
    everything = [seconds for day in days.values() for seconds in day]
    return {
        "totalSeconds": sum(everything),
        "totalSessions": len(everything),
        "avgDurationSeconds": round(sum(everything) / len(everything)) if everything else 0,
        "byDay": [
            {"date": day, "sessions": len(of), "seconds": sum(of)}
            for day, of in sorted(days.items())
        ],
    }


def credit_usage(
    sessions: Iterable[SimulatedSession], start: datetime, end: datetime
) -> dict[str, Any]:
    """Credits from `start` up to `end`, by days in UTC."""
    days: dict[str, int] = defaultdict(int)
    for session in sessions:
        if start <= session.created_at < end:
            days[session.created_at.date().isoformat()] += session.credits
    results = [
        {"date": day, "usedCredits": [{"model": MODEL, "amount": amount}]}
        for day, amount in sorted(days.items())
    ]
    return {"results": results, "models": [MODEL] if results else []}


def _name(session: SimulatedSession) -> str:
    return f"Conversation {session.id[:8]}"


def _avatar(
    session: SimulatedSession, avatar: SimulatedAvatar | None, *, named: bool
) -> dict[str, Any]:
    if session.character in PRESETS:
        preset = {"type": "runway-preset", "presetId": session.character}
        return {**preset, "name": session.character.title()} if named else preset
    found = {"id": avatar and avatar.id, "name": avatar and avatar.name}
    custom = {"type": "custom", **found}
    return custom if named else {**custom, "imageUrl": avatar and avatar.image}


def _duration(session: SimulatedSession) -> int | None:
    if session.started_at is None:
        return None
    return round(((session.ended_at or datetime.now(UTC)) - session.started_at).total_seconds())


def _told(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)


def _result(data: dict[str, Any]) -> dict[str, Any]:
    result = data.get("result")
    if not isinstance(result, dict | str | None):
        result = json.dumps(result)
    return {
        "id": data["call"],
        "name": data["name"],
        "result": result,
        "error": data.get("error"),
        "durationMs": round(data["seconds"] * 1000),
    }
