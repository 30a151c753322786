"""For apps whose users talk to a Character in the browser: the server's side of Runway's React SDK.

Needs the extra ``server``. The page has ``@runwayml/avatars-react``, and the ``connectUrl`` it is
given is this router's ``/connect``; the answer is what that package takes for credentials (CORE
types.ts: ``SessionCredentials``). The API key stays here.
"""

import asyncio
import contextlib
import functools
import ipaddress
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from loguru import logger

from pipecat_runway import renewal, wire
from pipecat_runway.api import Credentials, RunwayAPI
from pipecat_runway.backend_tools import call_function
from pipecat_runway.errors import (
    ConcurrencyError,
    ConfigError,
    CreditsError,
    KeyRefusedError,
    NeverJoinedError,
    RunwayError,
    UnknownAvatarError,
)
from pipecat_runway.functions import (
    Tools,
    as_schema,
    handlers_of,
    runway_tools,
    timeouts_of,
    waits_of,
)
from pipecat_runway.guard import Guard
from pipecat_runway.managed import Brief
from pipecat_runway.options import check_duration, check_positive
from pipecat_runway.profiles import check_briefing
from pipecat_runway.settings import CharacterSettings, which_character
from pipecat_runway.visitors import Limits, Reason
from pipecat_runway.visits import TurnedAwayError, Visit, Visits

try:
    from fastapi import APIRouter, HTTPException, Request, Response
    from fastapi.responses import JSONResponse
    from starlette.requests import ClientDisconnect
except ImportError as e:
    raise ImportError(
        "pipecat_runway.server needs FastAPI: pip install 'pipecat-runway[server]'"
    ) from e

__all__ = ["Character", "Limits", "character_router"]

READY_TIMEOUT = 30.0  # s; a session is READY after 5 to 15 s as a rule
BODY_BYTES = 4096  # of a request; the React SDK's has about 30
BODY_BOUND = 5.0  # s until it is there
IPV6_PREFIX = 64  # bits of an address that one visitor cannot choose
PORTS = {"http": 80, "https": 443}
PREFLIGHT_AGE = 600  # s a browser may remember what it may send

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class Character:
    """A character as the owner of an app has it appear; a browser has no say in it.

    Attributes:
        preset_id: One of Runway's preset characters; or
        avatar_id: a character of your own, by its UUID.
        personality: Who it is and what it knows, 1 to 10,000 characters; left out, its own.
        start_script: What it says first, 1 to 2,000 characters; left out, its own.
        tools: Functions it can call, which run here, as `RunwayRealtimeLLMService` takes them.
        client_events: What it can let the page know, each a ``FunctionSchema`` without a handler.

    Raises:
        ConfigError: If Runway would refuse it.
    """

    preset_id: str | None = None
    avatar_id: str | None = None
    personality: str | None = field(default=None, repr=False)
    start_script: str | None = field(default=None, repr=False)
    tools: Tools | None = None
    client_events: Tools | None = None

    def __post_init__(self) -> None:
        if bool(self.preset_id) == bool(self.avatar_id):
            raise which_character("both were given" if self.preset_id else "none was given")
        check_briefing(self.personality, self.start_script)
        self.brief()
        handlers_of(as_schema(self.tools))

    def brief(self) -> Brief:
        """Return what its avatar is told."""
        tools = as_schema(self.tools)
        return Brief(
            personality=self.personality,
            start_script=self.start_script,
            tools=runway_tools(tools, as_schema(self.client_events), timeouts_of(tools, None)),
        )

    def visit(self, api: RunwayAPI, guard: Guard, max_duration: int, ready: float) -> Visit:
        """Return a session of it that has not begun."""
        handlers, brief = handlers_of(as_schema(self.tools)), self.brief()
        return Visit(
            api=api,
            avatar=CharacterSettings(
                preset_id=self.preset_id, avatar_id=self.avatar_id
            ).character(),
            brief=brief,
            waits=waits_of(brief.tools or []),
            call=lambda name, arguments: call_function(handlers[name], name, arguments),
            guard=guard,
            max_duration=max_duration,
            ready_timeout=ready,
        )


def by_address(request: Request) -> str:
    """Return who a request comes from, by its address; of IPv6 what a visitor cannot choose.

    Behind a proxy this is the proxy: have the server read its headers (``uvicorn
    --proxy-headers --forwarded-allow-ips ...``).
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:  # a server that listens to both
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))
    return host


def character_router(
    characters: Mapping[str, Character],
    *,
    origins: Sequence[str],
    limits: Limits | None = None,
    visitor_of: Callable[[Request], str] = by_address,
    max_duration: int = int(renewal.SESSION_LIMIT),
    ready_timeout: float = READY_TIMEOUT,
    api_key: str | None = None,
    base_url: str | None = None,
) -> APIRouter:
    """Return a router for a FastAPI app; what it begins is ended when the app shuts down.

    ``POST /connect`` begins a session, and answers with what ``AvatarCall`` of
    ``@runwayml/avatars-react`` takes: give it as `connectUrl`, and a name of `characters` as
    `avatarId`. ``POST /end/{session_id}`` ends one, at once; a page sends it with
    ``navigator.sendBeacon`` when it is closed. A session whose user vanishes is ended without it.

    Example::

        router = character_router(
            {"guide": Character(preset_id="game-character")},
            origins=["https://shop.example"],
        )
        app = FastAPI()
        app.include_router(router, prefix="/api/avatar")

    Args:
        characters: By the names a page knows them by.
        origins: The pages that may ask, as ``https://host[:port]``.
        limits: How many sessions there may be; left out, `Limits()`.
        visitor_of: Says who a request is counted for, and may end what it has begun; it may raise
            FastAPI's ``HTTPException``. Left out, it goes by the address.
        max_duration: Longest duration of a session in s, 10 to 1800.
        ready_timeout: How long a session is waited for, in s.
        api_key: Runway's API secret; left out, ``RUNWAYML_API_SECRET``.
        base_url: Where Runway's API is; left out, ``RUNWAYML_BASE_URL``, else Runway's cloud.

    Raises:
        ConfigError: If an argument or environment variable is missing or cannot work.
    """
    check_duration(max_duration)
    check_positive(ready_timeout=ready_timeout)
    if not characters or not all(name and isinstance(name, str) for name in characters):
        raise ConfigError(
            "characters names none",
            advice='For example {"guide": Character(preset_id="game-character")}.',
        )
    api = RunwayAPI(
        api_key=api_key or os.getenv(wire.ENV_API_SECRET),
        base_url=base_url or os.getenv(wire.ENV_BASE_URL),
    )
    desk = _Desk(
        {
            name: functools.partial(
                character.visit, max_duration=max_duration, ready=float(ready_timeout)
            )
            for name, character in characters.items()
        },
        Visits(api, limits or Limits()),
        visitor_of,
    )
    router = APIRouter(lifespan=desk.lifespan)
    allowed = frozenset(_origin(origin) for origin in origins)
    if not allowed:
        raise ConfigError("origins names none", advice='For example ["https://shop.example"].')
    for path, handler in (("/connect", desk.connect), ("/end/{session_id}", desk.end)):
        answer = _answering(handler, allowed)
        router.add_api_route(path, answer, methods=["POST"], name=handler.__name__)
        router.add_api_route(path, answer, methods=["OPTIONS"], include_in_schema=False)
    return router


class _RefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(code)
        self.status, self.code, self.text, self.retry_after = status, code, text, retry_after


_GONE = _RefusedError(499, "gone", "The page has gone.")  # nginx's status; nobody reads it


class _Desk:
    """Reads requests, and has the sessions opened and ended."""

    def __init__(
        self,
        characters: Mapping[str, Callable[[RunwayAPI, Guard], Visit]],
        visits: Visits,
        visitor_of: Callable[[Request], str],
    ) -> None:
        self._characters, self._visits, self._visitor_of = characters, visits, visitor_of
        self._is_on = False

    @contextlib.asynccontextmanager
    async def lifespan(self, _: object) -> AsyncIterator[None]:
        """From the app's start to its end."""
        await self._visits.start()
        self._is_on = True
        try:
            yield
        finally:
            self._is_on = False
            await self._visits.aclose()

    async def connect(self, request: Request) -> Response:
        """Begin a session, and hand out what its user joins the room with."""
        if not self._is_on:
            raise ConfigError(
                "the app that has the router has not started, or is ending",
                advice="Use app.include_router(router): the lifespan of an app that is mounted "
                "inside another one is not run.",
            )
        visitor = self._visitor_of(request)
        character = self._character(await _body(request))
        opening = asyncio.create_task(self._visits.open(visitor, character))
        vanishing = asyncio.create_task(_vanished(request))
        try:
            await asyncio.wait({opening, vanishing}, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise _GONE
            session_id, credentials = opening.result()
        finally:
            for task in (opening, vanishing):
                task.cancel()
            await asyncio.gather(opening, vanishing, return_exceptions=True)
        return JSONResponse(_credentials(session_id, credentials))

    async def end(self, request: Request) -> Response:
        """End a session of the visitor's; answered when it has ended."""
        session_id = request.path_params["session_id"]
        if not await self._visits.end(self._visitor_of(request), session_id):
            raise _RefusedError(404, "session", "You have no such session.")
        return Response(status_code=204)

    def _character(self, body: Any) -> Callable[[RunwayAPI, Guard], Visit]:
        if not isinstance(body, dict):
            raise _RefusedError(400, "request", "The body must be a JSON object.")
        name = body.get("avatarId")
        if name is None and len(self._characters) == 1:
            (name,) = self._characters
        found = self._characters.get(name) if isinstance(name, str) else None
        if found is None:
            raise _RefusedError(404, "character", "There is no character of this avatarId.")
        return found


def _answering(handler: Handler, origins: frozenset[str]) -> Handler:
    """Return a handler that lets in pages of these origins, and answers errors in JSON."""

    async def answer(request: Request) -> Response:
        origin = request.headers.get("origin", "")
        response: Response
        if origin.lower() not in origins:
            refused = _RefusedError(403, "origin", "Pages of this origin may not ask.")
            return _refusal(refused)
        if request.method == "OPTIONS":
            response = Response(status_code=204)
            response.headers["Access-Control-Allow-Methods"] = "POST"
            response.headers["Access-Control-Allow-Headers"] = "content-type"
            response.headers["Access-Control-Max-Age"] = str(PREFLIGHT_AGE)
        else:
            try:
                response = await handler(request)
            except _RefusedError as e:
                response = _refusal(e)
            except TurnedAwayError as e:
                response = _refusal(_turned_away(e))
            except HTTPException as e:
                response = _refusal(_RefusedError(e.status_code, "visitor", str(e.detail)))
                response.headers.update(e.headers or {})
            except RunwayError as e:
                logger.error(f"no session for a page: {e}")
                response = _refusal(_translated(e))
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Vary"] = "Origin"
        response.headers["Cache-Control"] = "no-store"
        return response

    answer.__doc__ = handler.__doc__
    return answer


def _refusal(error: _RefusedError) -> Response:
    headers = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:.0f}"}
    body = {"code": error.code, "error": error.text}
    return JSONResponse(body, status_code=error.status, headers=headers)


def _turned_away(error: TurnedAwayError) -> _RefusedError:
    again = error.why.retry_after
    match error.why.reason:
        case Reason.FULL:
            return _RefusedError(503, "busy", "All places are taken. Try again later.", again)
        case Reason.HAS_ONE:
            return _RefusedError(429, "open", "You have a call already. End it first.", again)
        case Reason.TOO_OFTEN:
            return _RefusedError(429, "rate", "You have called too often. Wait a little.", again)


def _translated(error: RunwayError) -> _RefusedError:
    """Return what a page is told; the advice is for whoever reads the server's log."""
    match error:
        case ConcurrencyError():
            return _RefusedError(
                503, "busy", "All places are taken. Try again later.", error.retry_after
            )
        case ConfigError() | KeyRefusedError() | CreditsError() | UnknownAvatarError():
            return _RefusedError(500, "server", "The server cannot begin calls as it is set up.")
        case NeverJoinedError():
            return _RefusedError(504, "timeout", "The character did not come in time. Try again.")
    return _RefusedError(502, "runway", "The character could not come. Try again.")


def _credentials(session_id: str, credentials: Credentials) -> dict[str, str]:
    """Return what the React SDK takes (CORE types.ts: SessionCredentials)."""
    return {
        "sessionId": session_id,
        "serverUrl": credentials.url,
        "token": credentials.token,
        "roomName": credentials.room_name or session_id,  # NRPC README: named like the session
    }


async def _body(request: Request) -> Any:
    """Read a request's JSON; never more of it than is needed."""
    data = b""
    try:
        async with asyncio.timeout(BODY_BOUND):
            async for piece in request.stream():
                data += piece
                if len(data) > BODY_BYTES:
                    raise _RefusedError(413, "request", f"The body may have {BODY_BYTES} bytes.")
        return json.loads(data)
    except ClientDisconnect:
        raise _GONE from None
    except TimeoutError:
        raise _RefusedError(408, "request", "The body did not come in time.") from None
    except (ValueError, RecursionError):
        raise _RefusedError(400, "request", "The body must be JSON.") from None


async def _vanished(request: Request) -> None:
    """Wait until whoever has asked is not there any more."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _origin(origin: str) -> str:
    """Return an origin as browsers send it: without a scheme's own port.

    Raises:
        ConfigError: If it is none.
    """
    try:
        parts = urlsplit(origin)
        port = parts.port
        known = parts.scheme in PORTS and bool(parts.hostname)
    except (ValueError, AttributeError, TypeError):
        known = False
    if not known or origin.lower() != f"{parts.scheme}://{parts.netloc}".lower():
        raise ConfigError(
            f"origins has {str(origin)[:100]!r}, which is no origin",
            advice="An origin is http(s)://host[:port], with nothing behind it.",
        )
    return origin.lower().removesuffix(f":{port}" if port == PORTS[parts.scheme] else "")
