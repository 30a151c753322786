"""``pipecat-runway sessions show | delete``: what Runway keeps of a session, and its end."""

import datetime
import json
import os
from functools import partial

from pipecat_runway import wire
from pipecat_runway.api import RunwayAPI, SessionStatus
from pipecat_runway.catalogue import Conversation, TranscriptEntry
from pipecat_runway.characters import RunwayCharacters
from pipecat_runway.cli.account import Account, moment, row
from pipecat_runway.ending import cancel_session
from pipecat_runway.errors import APIError

END_BOUND = 20.0  # s an open session is tried to be ended for
DAY = datetime.timedelta(days=1)


def show(session_id: str) -> int:
    """Show what is kept of a session.

    Returns:
        The exit status.
    """
    account = Account()
    return account.do(partial(_show, account, session_id))


def delete(session_id: str, *, ask: bool) -> int:
    """End a session if it is open, and delete what is kept of it.

    Args:
        session_id: Its id.
        ask: Whether to ask.
    """
    account = Account()
    look = partial(_describe, account, session_id)
    job = partial(_delete, account, session_id)
    question = "Delete its transcript and recording for good, and end it if it is open?"
    return account.delete(look, question, job, ask=ask)


async def _show(account: Account, session_id: str, characters: RunwayCharacters) -> None:
    conversation = await _describe(account, session_id, characters)
    if conversation is None:
        return
    if conversation.recording_url:
        account.say(row("fetch it at", conversation.recording_url))
        account.say(row("", "for 24 to 48 h; whoever has this address can"))
    for entry in conversation.transcript:
        account.say(_turn(entry))
    created = conversation.created_at.astimezone(datetime.UTC)
    day = created.replace(hour=0, minute=0, second=0, microsecond=0)
    usage = await characters.usage(day, day + DAY)
    account.say(
        f"The account had {usage.total_sessions} sessions that day, of "
        f"{usage.total_seconds} s together."
    )


async def _describe(
    account: Account, session_id: str, characters: RunwayCharacters
) -> Conversation | None:
    """Say what a session is, and return what is kept of it.

    Raises:
        APIError: Runway knows nothing of it, or could not be asked.
    """
    async with _sessions() as api:
        status = await _status(api, session_id)
    try:
        conversation = await characters.conversation(session_id)
    except APIError as e:
        if e.status_code != 404:
            raise
        if status is None:
            raise APIError(
                "Runway has no such session, or not for this API key",
                session_id=session_id,
                status_code=404,
                advice="Check the id: it stands in the log and in errors of the bot.",
            ) from e
        account.say(f"session {session_id}: {_life(status, None)}")
        account.say(row("kept", "nothing"))
        return None
    account.say(f"session {session_id}: {_life(status, conversation)}")
    partner = conversation.avatar
    account.say(row("with", (partner and (partner.name or partner.preset_id)) or "unknown"))
    account.say(row("created", moment(conversation.created_at)))
    account.say(row("began", moment(conversation.started_at)))
    account.say(row("ended", moment(conversation.ended_at)))
    account.say(row("transcript", f"{len(conversation.transcript)} turns"))
    account.say(row("recording", "there is one" if conversation.recording_url else "none"))
    return conversation


def _sessions() -> RunwayAPI:
    """Return the part of the API that knows of sessions."""
    key, url = os.environ.get(wire.ENV_API_SECRET), os.environ.get(wire.ENV_BASE_URL)
    return RunwayAPI(api_key=key, base_url=url)


async def _status(api: RunwayAPI, session_id: str) -> SessionStatus | None:
    """Return a session's status; None if Runway has no such session any more."""
    try:
        return await api.session_status(session_id)
    except APIError as e:
        if e.status_code != 404:
            raise
        return None


def _life(status: SessionStatus | None, conversation: Conversation | None) -> str:
    """Return how a session stands, what it lasted, and what that cost as far as one can tell."""
    name = status.name if status else (conversation.status if conversation else "unknown")
    code = (status and status.failure) or (conversation and conversation.failure_code)
    lasted = status.duration if status and status.duration is not None else None
    if lasted is None and conversation:
        lasted = conversation.duration
    said = name if code is None else f"{name} ({code})"
    if lasted is None:
        return said
    return f"{said}, {lasted} s, about {-(-lasted * wire.CREDITS_A_MINUTE // 60)} credits"


def _turn(entry: TranscriptEntry) -> str:
    at = f"{entry.timestamp.astimezone(datetime.UTC):%H:%M:%S}" if entry.timestamp else "?"
    lines = [entry.content] if entry.content else []
    lines += [f"calls {call.name}({_json(call.arguments)})" for call in entry.tool_calls]
    for result in entry.tool_results:
        answer = f"fails: {result.error}" if result.error else f"answers {_json(result.result)}"
        lines.append(f"{result.name} {answer}")
    return "\n".join(f"  {at:<12}{entry.role:<10} {' '.join(line.split())}" for line in lines)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


async def _delete(account: Account, session_id: str, characters: RunwayCharacters) -> None:
    async with _sessions() as api:
        status = await _status(api, session_id)
        if status is not None and status.name not in wire.ENDED_STATUSES:
            ended = await cancel_session(api, session_id, bound=END_BOUND)
            account.say(f"Ended: {session_id}, {ended}")
    try:
        await characters.delete_conversation(session_id)
    except APIError as e:
        if e.status_code != 404:
            raise
        account.say(f"Nothing is kept of {session_id}.")
        return
    await _see_gone(session_id, characters)
    account.say(f"Deleted: {session_id}. Runway says that it is gone.")


async def _see_gone(session_id: str, characters: RunwayCharacters) -> None:
    try:
        await characters.conversation(session_id)
    except APIError as e:
        if e.status_code == 404:
            return
        raise
    raise APIError(
        "Runway took the deletion, and still answers with the conversation",
        session_id=session_id,
        advice="Look again with `pipecat-runway sessions show`; then ask Runway's support.",
    )
