"""How requests to the simulated API are read, and how they are refused."""

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.sessions import SimulatedSession, without_secrets

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

NO_CONTENT = 204
BODY = web.RequestKey("body", object)  # of a request, without secrets


class AnswerLost(Exception):
    """The connection is to be cut instead of an answer."""


class Refused(Exception):
    """A request answered with something else than success."""

    def __init__(self, status: int, body: str | dict[str, Any] | None = None) -> None:
        super().__init__(status)
        self.status = status
        said = _phrase(status) if body is None else body
        self.body = {"error": said} if isinstance(said, str) else said


async def read_json(request: web.Request, faults: Faults) -> Any:
    """The body of a request.

    Raises:
        Refused: It is not JSON, or not announced as such.
    """
    if request.content_type != "application/json":
        # Its text is known from the consume route, its status is not.
        raise Refused(faults.content_type_status, "Incorrect content type")
    try:
        body = json.loads(await request.read())
    except ValueError:
        raise Refused(400, "The body is not JSON.") from None
    request[BODY] = without_secrets(body)
    return body


def session_of(request: web.Request, runway: "RunwaySimulator") -> SimulatedSession:
    """The session a request's path names.

    Raises:
        Refused: There is none of this id.
    """
    session = runway.find(request.match_info["id"])
    if session is None:
        raise Refused(404, "Could not find RealtimeSession")
    return session


def _phrase(status: int) -> str:
    known = {member.value: member.phrase for member in HTTPStatus}
    return known.get(status, "Error")
