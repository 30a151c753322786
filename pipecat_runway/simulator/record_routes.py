"""The routes of conversations and usage, and where recordings are."""

import io
import wave
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipecat_runway.simulator.answers import (
    NO_CONTENT,
    Refused,
    checked_body,
    checked_query,
    page,
    read_json,
)
from pipecat_runway.simulator.avatars import SimulatedAvatar
from pipecat_runway.simulator.console import PREFIX
from pipecat_runway.simulator.library_schema import AVATAR_USAGE, LIST_CONVERSATIONS, USAGE
from pipecat_runway.simulator.records import (
    avatar_usage,
    conversation,
    conversation_item,
    credit_usage,
)
from pipecat_runway.simulator.sessions import SimulatedSession
from pipecat_runway.simulator.turns import RATE

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

RECORDINGS = f"{PREFIX}recordings/"
LONGEST = timedelta(days=90)  # of usage that one request asks for
USUAL = timedelta(days=30)


class RecordRoutes:
    """Conversations and usage over HTTP.

    Args:
        runway: Whose sessions they tell of.
    """

    def __init__(self, runway: "RunwaySimulator") -> None:
        self._runway = runway
        self._deleted: set[str] = set()

    def routes(self) -> list[web.RouteDef]:
        """The routes, for an application."""
        one = "/v1/avatar_conversations/{id}"
        return [
            web.get("/v1/avatar_conversations", self.list_conversations, allow_head=False),
            web.get(one, self.retrieve_conversation, allow_head=False),
            web.delete(one, self.delete_conversation),
            web.get("/v1/avatar_usage", self.retrieve_avatar_usage, allow_head=False),
            web.post("/v1/organization/usage", self.retrieve_usage),
            web.get(f"{RECORDINGS}{{id}}", self.show_recording, allow_head=False),
        ]

    async def list_conversations(self, request: web.Request) -> web.Response:
        """`GET /v1/avatar_conversations`, the latest first, by pages."""
        query = checked_query(request, LIST_CONVERSATIONS, self._runway.faults)
        start, end = _moment(query.get("startDate")), _moment(query.get("endDate"))
        listed = [
            conversation_item(session, self._avatar(session))
            for session in reversed(self._runway.sessions)
            if self._is_kept(session)
            and query.get("avatar", session.character) == session.character
            and (start is None or start <= session.created_at)
            and (end is None or session.created_at < end)
        ]
        return page(query, listed)

    async def retrieve_conversation(self, request: web.Request) -> web.Response:
        """`GET /v1/avatar_conversations/{id}`."""
        session = self._session(request)
        recording = f"{self._runway.base_url}{RECORDINGS}{session.id}" if session.heard else None
        return web.json_response(conversation(session, self._avatar(session), recording))

    async def delete_conversation(self, request: web.Request) -> web.Response:
        """`DELETE /v1/avatar_conversations/{id}`: what was said is gone, the session is not."""
        self._deleted.add(self._session(request).id)
        return web.Response(status=NO_CONTENT)

    async def show_recording(self, request: web.Request) -> web.Response:
        """`GET` of a recording: what the partner has heard, as WAV."""
        file = io.BytesIO()
        with wave.open(file, "wb") as recording:
            recording.setnchannels(1)
            recording.setsampwidth(2)
            recording.setframerate(RATE)
            recording.writeframes(self._session(request).heard)
        return web.Response(body=file.getvalue(), content_type="audio/wav")

    async def retrieve_avatar_usage(self, request: web.Request) -> web.Response:
        """`GET /v1/avatar_usage`."""
        query = checked_query(request, AVATAR_USAGE, self._runway.faults)
        start, end = _moment(query["startDate"]), _moment(query["endDate"])
        assert start is not None
        assert end is not None
        return web.json_response(avatar_usage(self._runway.sessions, *_bounded(start, end)))

    async def retrieve_usage(self, request: web.Request) -> web.Response:
        """`POST /v1/organization/usage`."""
        faults = self._runway.faults
        body: dict[str, Any] = {}
        if request.can_read_body:
            body = checked_body(await read_json(request, faults), USAGE, faults)
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        start = _moment(body.get("startDate")) or today - USUAL
        end = _moment(body.get("beforeDate")) or start + USUAL + timedelta(days=1)
        return web.json_response(credit_usage(self._runway.sessions, *_bounded(start, end)))

    def _session(self, request: web.Request) -> SimulatedSession:
        session = self._runway.find(request.match_info["id"])
        if session is None or not self._is_kept(session):
            raise Refused(404, "Could not find Conversation")
        return session

    def _is_kept(self, session: SimulatedSession) -> bool:
        if session.id in self._deleted:
            return False
        return session.managed is not None or self._runway.faults.livekit_conversations

    def _avatar(self, session: SimulatedSession) -> SimulatedAvatar | None:
        return self._runway.avatars.get(session.character)


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _bounded(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    if not start < end <= start + LONGEST:
        raise Refused(400, "The date range must not exceed 90 days.")
    return start, end
