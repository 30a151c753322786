"""The two routes of managed rooms, which neither Runway's OpenAPI nor its SDK has.

Sources: avatars-sdk-react 0.17.0 (`api/consume.ts`) and avatars-node-rpc 0.1.0 (`api.ts`). The
statuses and texts of their refusals are unknown.
"""

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from pipecat_runway.simulator.answers import NO_CONTENT, Refused, read_json, session_of
from pipecat_runway.simulator.sessions import Status

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

CONSUME = "/v1/realtime_sessions/{id}/consume"
CONNECT_BACKEND = "/v1/realtime_sessions/{id}/connect_backend"
# Pages in browsers consume themselves (avatars-sdk-react), so their browsers must allow it.
CORS = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "POST",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: "authorization, content-type, x-runway-version",
}


class ManagedRooms:
    """Hands out the credentials of managed rooms.

    Args:
        runway: Whose rooms they are.
    """

    def __init__(self, runway: "RunwaySimulator") -> None:
        self._runway = runway

    def routes(self) -> list[web.RouteDef]:
        """The routes, for an application."""
        return [
            web.post(CONSUME, self.consume),
            web.options(CONSUME, self.allow),
            web.post(CONNECT_BACKEND, self.connect_backend),
        ]

    def has_own_key(self, request: web.Request) -> bool:
        """Whether a request is for a route that does not ask for the API key."""
        return request.match_info.handler in (self.consume, self.allow)

    async def allow(self, request: web.Request) -> web.Response:
        """`OPTIONS …/consume`: what a browser asks first."""
        return web.Response(status=NO_CONTENT)

    async def consume(self, request: web.Request) -> web.Response:
        """`POST …/consume`, with the session key."""
        faults = self._runway.faults
        session = session_of(request, self._runway)
        if faults.consume_status is not None:
            raise Refused(faults.consume_status)
        if faults.consume_needs_json:
            await read_json(request, faults)
        key = request.headers.get(hdrs.AUTHORIZATION, "").removeprefix("Bearer ")
        if session.managed is None or session.status is Status.NOT_READY:
            raise Refused(faults.consume_refusal, "The session has no credentials.")
        if not session.opens_with(key):
            raise Refused(401, "The session key is missing or wrong.")
        if session.consumed.is_set() and faults.consume_once:
            raise Refused(faults.consume_refusal, "The session has been consumed already.")
        if not session.is_open:
            raise Refused(faults.consume_refusal, "The session's credentials have expired.")
        session.consumed.set()
        return web.json_response(session.managed.for_user(faults.consumed_url))

    async def connect_backend(self, request: web.Request) -> web.Response:
        """`POST …/connect_backend`, with the API key."""
        faults = self._runway.faults
        session = session_of(request, self._runway)
        if faults.backend_status is not None:
            raise Refused(faults.backend_status)
        if session.managed is None or session.status not in (Status.READY, Status.RUNNING):
            raise Refused(faults.backend_refusal, f"The session is {session.status.value}.")
        return web.json_response(session.managed.for_backend())
