"""Runway's REST API, as far as it is simulated: routes, statuses and bodies.

What the sources leave unknown is either a knob of :class:`Faults` or assumed here:

* An error's body is ``{"error": "<text>"}``, the shape Runway declares on other routes.
* The order of the checks: key, version, then what the route itself looks at.
* A missing or other version is answered with 400 on every route.
* An id that is not a UUID is answered like an unknown one, with 404.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import hdrs, web

from pipecat_runway.simulator.answers import (
    BODY,
    NO_CONTENT,
    AnswerLost,
    Refused,
    read_json,
    session_of,
)
from pipecat_runway.simulator.console import PREFIX, Console
from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.garbage import garbled, route_of
from pipecat_runway.simulator.library_routes import UNKNOWN_AVATAR, LibraryRoutes
from pipecat_runway.simulator.managed import CORS, ManagedRooms
from pipecat_runway.simulator.record_routes import RecordRoutes
from pipecat_runway.simulator.schema import API_VERSION, MODEL, VERSION_HEADER
from pipecat_runway.simulator.sessions import SimulatedSession
from pipecat_runway.simulator.validation import refusal, session_issues

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Told of an account without `max_sessions`: the highest tier of Runway's documentation. The
# OpenAPI wants a number here.
TOP_TIER = 20
DAILY = 30_000


class SeenRequest(NamedTuple):
    """A request the API has answered; status 0 says that nobody was there to get the answer."""

    method: str
    path: str
    status: int
    body: Any = None


def create_app(runway: "RunwaySimulator") -> web.Application:
    """The API of ``runway`` as an aiohttp application."""
    api = _Api(runway)
    app = web.Application(middlewares=[api.answer], client_max_size=32 * 1024 * 1024)
    app.add_routes(
        [
            web.post("/v1/realtime_sessions", api.create_session),
            web.get("/v1/realtime_sessions/{id}", api.retrieve_session, allow_head=False),
            web.delete("/v1/realtime_sessions/{id}", api.delete_session),
            web.get("/v1/organization", api.retrieve_organization, allow_head=False),
        ]
    )
    app.add_routes(api.managed.routes())
    app.add_routes(LibraryRoutes(runway).routes())
    app.add_routes(RecordRoutes(runway).routes())
    app.add_routes(runway.elevenlabs.routes())
    app.add_routes(Console(runway).routes())
    return app


class _Api:
    def __init__(self, runway: "RunwaySimulator") -> None:
        self._runway = runway
        self.managed = ManagedRooms(runway)

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check what every route checks, shape its errors, and keep a record of it all."""
        response: web.StreamResponse
        if request.path.startswith(PREFIX):
            return await handler(request)
        try:
            if not self.managed.has_own_key(request):
                self._check_headers(request)
            response = await handler(request)
        except Refused as refused:
            response = self._error(refused.status, refused.body)
        except web.HTTPException as error:  # the router's 404 and 405
            response = self._error(error.status, {"error": error.reason})
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        except AnswerLost:
            response = web.Response()
            if request.transport is not None:
                request.transport.abort()
        faults = self._runway.faults
        await asyncio.sleep(faults.answer_delay)
        if faults.garbage is not None and faults.garbage_route in (None, route_of(request)):
            response = garbled(response, faults.garbage)
        if self.managed.has_own_key(request):
            response.headers.update(CORS)
        date = time.time() + self._runway.faults.clock_offset
        response.headers[hdrs.DATE] = formatdate(date, usegmt=True)
        lost = request.transport is None or request.transport.is_closing()
        self._runway.requests.append(
            SeenRequest(
                request.method, request.path, 0 if lost else response.status, request.get(BODY)
            )
        )
        return response

    async def create_session(self, request: web.Request) -> web.Response:
        """`POST /v1/realtime_sessions`."""
        faults = self._runway.faults
        body = await read_json(request, faults)
        try:
            session = self._create(body, faults)
        finally:
            await asyncio.sleep(faults.create_delay)
        if faults.create_answer_lost:
            raise AnswerLost
        return web.json_response({"id": session.id})

    async def retrieve_session(self, request: web.Request) -> web.Response:
        """`GET /v1/realtime_sessions/{id}`."""
        if (status := self._runway.faults.retrieve_status) is not None:
            raise Refused(status)
        return web.json_response(session_of(request, self._runway).to_json())

    async def delete_session(self, request: web.Request) -> web.Response:
        """`DELETE /v1/realtime_sessions/{id}`."""
        faults = self._runway.faults
        if faults.delete_status is not None:
            raise Refused(faults.delete_status)
        session = session_of(request, self._runway)
        if session.is_open:
            self._runway.cancel(session)
        elif faults.delete_ended_status != NO_CONTENT:
            raise Refused(faults.delete_ended_status, "The session has ended.")
        return web.Response(status=NO_CONTENT)

    async def retrieve_organization(self, request: web.Request) -> web.Response:
        """`GET /v1/organization`."""
        limits = {
            "maxConcurrentGenerations": self._runway.faults.max_sessions or TOP_TIER,
            "maxDailyGenerations": DAILY,
        }
        return web.json_response(
            {
                "tier": {"maxMonthlyCreditSpend": 10_000, "models": {MODEL: limits}},
                "creditBalance": self._runway.credit_balance,
                "usage": {"models": {MODEL: {"dailyGenerations": len(self._runway.sessions)}}},
            }
        )

    def _create(self, body: Any, faults: Faults) -> SimulatedSession:
        if faults.create_status is not None:
            raise Refused(faults.create_status)
        if issues := session_issues(body, faults):
            raise Refused(400, refusal(issues, faults.error_body))
        if avatar_id := body["avatar"].get("avatarId"):
            avatar = self._runway.avatars.get(avatar_id)
            if avatar is None:
                raise Refused(404, UNKNOWN_AVATAR)
            if avatar.status != "READY" and faults.avatar_not_ready_status is not None:
                raise Refused(faults.avatar_not_ready_status, "The avatar is not ready.")
        if faults.no_credits:
            # The text of Runway's generation routes (runwayml/sdk-node issue 28).
            text = "You do not have enough credits to run this task."
            raise Refused(faults.no_credits_status, text)
        if self._runway.is_full and not faults.queue_when_full:
            raise Refused(429, "Too many sessions are open.")
        return self._runway.create(body)

    def _check_headers(self, request: web.Request) -> None:
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self._runway.api_key}".encode()):
            raise Refused(401, "The API key is missing or wrong.")
        if request.headers.get(VERSION_HEADER) != API_VERSION:
            raise Refused(400, f"The header {VERSION_HEADER} must be {API_VERSION}.")

    def _error(self, status: int, body: dict[str, Any]) -> web.Response:
        faults = self._runway.faults
        headers = {}
        if status in (429, 503) and faults.retry_after is not None:
            headers[hdrs.RETRY_AFTER] = f"{faults.retry_after:g}"
        if status == 400 or faults.json_errors:
            return web.json_response(body, status=status, headers=headers)
        return web.Response(text=body["error"], status=status, headers=headers)
