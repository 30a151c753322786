"""Answers the tools of a session while it lasts; whatever happens, the model hears of it."""

import asyncio
import contextlib
import itertools
import json
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from loguru import logger

from pipecat_runway import retries, wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.errors import RoomUnreachableError, RunwayError, ToolError
from pipecat_runway.managedroom import BackendRoom

ANSWER_SLACK = 0.25  # s before the model stops waiting, for the answer's own way…
ANSWER_SHARE = 0.1  # …or this share of the wait, if that is less

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a function by its name; returns what it answers."""


class Backend:
    """The side of a session that answers its ``backend_rpc`` calls, in parallel.

    Args:
        api: Runway's REST API.
        session_id: The session, READY or RUNNING.
        timeouts: The functions, by name, and how long the model waits for each, in s.
        call: Calls one; cancelled if it takes too long.
        failed: Told of a connection that is lost for good.
        seen: Told whether a user is in the room; None while that cannot be seen.
    """

    def __init__(
        self,
        api: RunwayAPI,
        session_id: str,
        timeouts: Mapping[str, float],
        *,
        call: Call,
        failed: Callable[[RunwayError], None],
        seen: Callable[[bool | None], None] = lambda _: None,
    ) -> None:
        self._api, self._session_id = api, session_id
        self._timeouts, self._call, self._failed = dict(timeouts), call, failed
        self._seen = seen
        self._room: BackendRoom | None = None
        self._returning: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Be there for the avatar.

        Raises:
            APIError: Runway refused, or could not be reached.
            RoomUnreachableError: Its room cannot be joined.
        """
        credentials = await self._api.connect_backend(self._session_id)
        old, self._room = (
            self._room,
            BackendRoom(
                credentials,
                session_id=self._session_id,
                methods=self._timeouts,
                answer=self._answer,
                lost=self._on_lost,
                seen=self._seen,
            ),
        )
        if old is not None:
            await old.close()
        await self._room.connect()

    async def close(self) -> None:
        """Answer no more. Safe in any state, and more than once."""
        self._closing = True
        if self._returning is not None:
            self._returning.cancel()
            await asyncio.wait({self._returning})
        if self._room is not None:
            await self._room.close()

    # -- answering ----------------------------------------------------------------------------

    async def _answer(self, name: str, payload: str, timeout: float) -> str:
        """Answer a call.

        Raises:
            ToolError: There is no answer; says what the model is to hear.
        """
        arguments = _arguments(name, payload)
        bound = timeout - min(ANSWER_SLACK, ANSWER_SHARE * timeout)
        try:
            async with asyncio.timeout(bound):
                result = await self._call(name, arguments)
        except TimeoutError as e:
            raise ToolError(
                f"the function `{name}` was not done within {bound:.1f} s and was stopped"
            ) from e
        return _encoded(name, result)

    # -- staying ------------------------------------------------------------------------------

    def _on_lost(self, reason: str) -> None:
        self._seen(None)
        if not self._closing and (self._returning is None or self._returning.done()):
            logger.debug(f"{self._session_id}: the room of its tools is lost ({reason})")
            self._returning = asyncio.create_task(self._return())

    async def _return(self) -> None:
        """Come back, if there is still something to come back to."""
        for attempt in itertools.count():
            try:
                with contextlib.suppress(RunwayError):
                    status = await self._api.session_status(self._session_id)
                    if status.name in wire.ENDED_STATUSES:
                        return
                await self.open()
                return
            except RunwayError as e:
                lost = isinstance(e, RoomUnreachableError)
                if not (retries.may_repeat(e, attempt) or (lost and attempt < retries.ATTEMPTS)):
                    self._failed(e)
                    return
                await asyncio.sleep(retries.pause(e, attempt, random.random()))


def _arguments(name: str, payload: str) -> dict[str, Any]:
    """Read a call's payload: ``{"args": {...}}``, or the arguments alone (NRPC handler.ts)."""
    with contextlib.suppress(ValueError, RecursionError):
        given = json.loads(payload) if payload else {}
        if isinstance(given, Mapping):
            inner = given.get("args")
            return dict(inner) if isinstance(inner, Mapping) else dict(given)
    raise ToolError(f"the arguments of the function `{name}` are no JSON object")


def _encoded(name: str, result: Any) -> str:
    """Return a result as the JSON object the model is given.

    Raises:
        ToolError: It cannot be.
    """
    if not isinstance(result, Mapping):
        result = {"result": result}
    try:
        text = json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as e:
        raise ToolError(f"the result of the function `{name}` is no JSON") from e
    if (size := len(text.encode())) > wire.MAX_RPC_PAYLOAD:
        raise ToolError(
            f"the result of the function `{name}` has {size} bytes, and at most "
            f"{wire.MAX_RPC_PAYLOAD} can be told; ask for less"
        )
    return text
