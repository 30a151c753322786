"""How requests to the simulated API are read, and how they are refused."""

import json
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.schema import Schema
from pipecat_runway.simulator.sessions import SimulatedSession, without_secrets
from pipecat_runway.simulator.validation import body_issues, query_issues, refusal

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


def checked_body(body: Any, schema: Schema, faults: Faults) -> dict[str, Any]:
    """The body of a request, if it is as its schema says.

    Raises:
        Refused: It is not.
    """
    if issues := body_issues(body, schema, faults):
        raise Refused(400, refusal(issues, faults.error_body))
    read: dict[str, Any] = {key: body[key] for key in body if key in schema["properties"]}
    return read


def checked_query(request: web.Request, schema: Schema, faults: Faults) -> dict[str, Any]:
    """The query of a request with what its schema says is meant by leaving out.

    Raises:
        Refused: It is not as its schema says.
    """
    of = schema["properties"]
    query: dict[str, Any] = {
        name: each["default"] for name, each in of.items() if "default" in each
    }
    query |= request.query
    if "limit" in query:
        with suppress(ValueError):
            query["limit"] = int(query["limit"])
    if issues := query_issues(query, schema):
        raise Refused(400, refusal(issues, faults.error_body, "query"))
    return query


def page(query: dict[str, Any], items: list[dict[str, Any]]) -> web.Response:
    """The page of a list that a query asks for; its cursor is the index of the first item.

    Raises:
        Refused: The cursor is none.
    """
    cursor = query.get("cursor", "0")
    if not cursor.isdecimal():
        raise Refused(400, "Invalid cursor")
    end = int(cursor) + query["limit"]
    more = end < len(items)
    answer = {"data": items[int(cursor) : end], "hasMore": more}
    return web.json_response({**answer, "nextCursor": str(end) if more else None})


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
