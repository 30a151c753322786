"""The switchboard over HTTP, on a path that Runway does not have; from this machine only."""

import json
import secrets
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from pipecat_runway.simulator.switchboard import ACTIONS, SwitchError, plain, read_switch

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

PREFIX = "/_simulator/"
PATH = f"{PREFIX}faults"
BODY_LIMIT = 64 * 1024
MOST_SWITCHES = 100


class Console:
    """Its two routes: what there is, and throwing switches.

    Args:
        runway: Whose switchboard it is.
    """

    def __init__(self, runway: "RunwaySimulator") -> None:
        self._runway = runway

    def routes(self) -> list[web.RouteDef]:
        """The routes, for an application."""
        return [web.get(PATH, self.show, allow_head=False), web.post(PATH, self.throw)]

    async def show(self, request: web.Request) -> web.Response:
        """`GET`: the knobs as they are for new sessions, the actions, the sessions."""
        if (refused := self._refused(request)) is not None:
            return refused
        sessions = [{"id": s.id, "status": s.status.value} for s in self._runway.sessions]
        knobs = plain(self._runway.faults)
        return web.json_response({"knobs": knobs, "actions": list(ACTIONS), "sessions": sessions})

    async def throw(self, request: web.Request) -> web.Response:
        """`POST {"switches": [...], "session": "..."}`: throw them in this order.

        All of them are read before the first is thrown. ``session`` may be left out.
        """
        if (refused := self._refused(request)) is not None:
            return refused
        try:
            switches, session = _read(await _json(request))
            for switch in switches:
                read_switch(switch)
        except ValueError as error:
            return _error(400, str(error))
        thrown: list[str] = []
        try:
            for switch in switches:
                await self._runway.fault(switch, session)
                thrown.append(switch)
        except SwitchError as error:
            return _error(409, str(error), thrown=thrown)
        return web.json_response({"thrown": thrown})

    def _refused(self, request: web.Request) -> web.Response | None:
        if not ip_address(request.remote or "0.0.0.0").is_loopback:
            return _error(403, "The switchboard is for this machine only.")
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self._runway.api_key}".encode()):
            return _error(401, "The simulator's API key is missing or wrong.")
        return None


async def _json(request: web.Request) -> Any:
    body = await request.content.read(BODY_LIMIT + 1)
    while len(body) <= BODY_LIMIT and (more := await request.content.read(BODY_LIMIT)):
        body += more
    if len(body) > BODY_LIMIT:
        raise ValueError(f"The body is longer than {BODY_LIMIT} bytes.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("The body is not JSON.") from None


def _read(body: Any) -> tuple[list[str], str | None]:
    if not isinstance(body, dict) or not {"switches"} <= body.keys() <= {"switches", "session"}:
        raise ValueError("The body must be an object of switches and, if you like, session.")
    switches, session = body["switches"], body.get("session")
    if not isinstance(switches, list) or not 0 < len(switches) <= MOST_SWITCHES:
        raise ValueError(f"switches must be a list of 1 to {MOST_SWITCHES} texts.")
    if session is not None and not isinstance(session, str):
        raise ValueError("session must be a text.")
    return switches, session


def _error(status: int, text: str, **more: Any) -> web.Response:
    return web.json_response({"error": text, **more}, status=status)
