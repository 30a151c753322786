"""Answers of the API that are not what they should be."""

import json
from typing import Any

from aiohttp import hdrs, web

from pipecat_runway.simulator.faults import Garbage, Route

HUGE = 8 * 1024 * 1024

ROUTES = {
    ("POST", "realtime_sessions"): Route.CREATE,
    ("GET", "realtime_sessions"): Route.RETRIEVE,
    ("DELETE", "realtime_sessions"): Route.DELETE,
    ("GET", "organization"): Route.ORGANIZATION,
    ("POST", "organization"): Route.USAGE,
}
BY_NAME = {
    "avatars": Route.AVATARS,
    "documents": Route.DOCUMENTS,
    "uploads": Route.UPLOADS,
    "avatar_conversations": Route.CONVERSATIONS,
    "avatar_usage": Route.USAGE,
}


def route_of(request: web.Request) -> Route | None:
    """The route a request is for."""
    parts = request.path.split("/")
    if (last := parts[-1]) in (Route.CONSUME.value, Route.CONNECT_BACKEND.value):
        return Route(last)
    if len(parts) < 3:
        return None
    return BY_NAME.get(parts[2]) or ROUTES.get((request.method, parts[2]))


def garbled(response: web.StreamResponse, kind: Garbage) -> web.StreamResponse:
    """A good answer with something else for a body; others are left as they are."""
    if response.status >= 400 or not isinstance(response, web.Response):
        return response
    body = response.body if isinstance(response.body, bytes) else b""
    status = 200 if response.status == 204 else response.status
    headers = {hdrs.CONTENT_TYPE: "application/json"}
    return web.Response(body=_garbled(body, kind), status=status, headers=headers)


def _garbled(body: bytes, kind: Garbage) -> bytes:
    match kind:
        case Garbage.EMPTY:
            return b""
        case Garbage.HTML:
            return b"<!doctype html><title>502</title><h1>Bad gateway</h1>"
        case Garbage.BYTES:
            return bytes(range(256)) * 4
        case Garbage.CUT:
            return body[: len(body) // 2] or b"{"
        case Garbage.LIST:
            return b"[]"
        case Garbage.MISSING:
            return b"{}"
    fields: dict[str, Any] = json.loads(body or b"{}")
    match kind:
        case Garbage.NULLS:
            fields = dict.fromkeys(fields)
        case Garbage.TYPES:
            fields = {name: _another(value) for name, value in fields.items()}
        case Garbage.HUGE:
            fields["padding"] = "x" * HUGE
    return json.dumps(fields).encode()


def _another(value: Any) -> Any:
    """A value of another type."""
    match value:
        case str():
            return 7
        case bool() | None:
            return [value]
        case int() | float():
            return {"value": value}
    return "other"
