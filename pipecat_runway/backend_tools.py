"""Python functions as the tools of any session, whoever created it; no pipeline is needed."""

import asyncio
import os
import uuid
from types import TracebackType
from typing import Any, Self

from loguru import logger
from pipecat.adapters.llm.schemas.direct_function import DirectFunctionWrapper
from pipecat.frames.frames import FunctionCallResultProperties
from pipecat.services.llm_service import FunctionCallParams
from runwayml import AsyncRunwayML

from pipecat_runway import wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.backend import Backend
from pipecat_runway.errors import (
    AvatarGoneError,
    NeverJoinedError,
    RunwayError,
    SessionFailedError,
    ToolError,
)
from pipecat_runway.functions import (
    Tools,
    as_schema,
    handlers_of,
    runway_tools,
    timeouts_of,
    waits_of,
)
from pipecat_runway.options import check_positive

READY_TIMEOUT = 30.0  # s
LOOK_INTERVAL = 1.0  # s between looks at the session (CORE pollUntilReady)


class BackendTools:
    """Answers the ``backend_rpc`` tools of a session for as long as the block lasts.

    The session may have been created by anybody with the same API key, such as a web server whose
    page the user talks to. The functions are those that Pipecat's LLM services take; of their
    ``params`` there are ``function_name``, ``tool_call_id``, ``arguments`` and ``result_callback``,
    and the rest, which belongs to a pipeline, is None.

    Example::

        tools = BackendTools.wire([get_weather])  # the `tools` of the create
        async with BackendTools(session_id, [get_weather]) as backend:
            await backend.ended()
    """

    def __init__(
        self,
        session_id: str,
        tools: Tools,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        client: AsyncRunwayML | None = None,
        ready_timeout: float = READY_TIMEOUT,
    ) -> None:
        """Check the tools; nothing is requested yet.

        Args:
            session_id: The session.
            tools: Direct functions, ``FunctionSchema`` with handlers, or a ``ToolsSchema``.
            api_key: Runway's API secret; left out, ``RUNWAYML_API_SECRET``.
            base_url: Where Runway's API is; left out, ``RUNWAYML_BASE_URL``, else Runway's cloud.
            client: A Runway client to use instead of `api_key` and `base_url`. It is not closed.
            ready_timeout: How long a session that is not READY is waited for, in s.

        Raises:
            ConfigError: If a tool or an argument cannot work.
        """
        check_positive(ready_timeout=ready_timeout)
        schema = as_schema(tools)
        self._handlers = handlers_of(schema)
        waits = waits_of(self.wire(schema))
        self._session_id, self._ready_timeout = session_id, float(ready_timeout)
        self._api = RunwayAPI(
            api_key=api_key or os.getenv(wire.ENV_API_SECRET),
            base_url=base_url or os.getenv(wire.ENV_BASE_URL),
            client=client,
        )
        self._backend = Backend(self._api, session_id, waits, call=self._call, failed=self._failed)
        self._lost: asyncio.Future[None] | None = None

    @staticmethod
    def wire(tools: Tools) -> list[dict[str, Any]]:
        """Return functions as the `tools` of a create request.

        Args:
            tools: As for `BackendTools`.

        Raises:
            ConfigError: If Runway would refuse one of them.
        """
        schema = as_schema(tools)
        return runway_tools(schema, as_schema(None), timeouts_of(schema, None))

    async def __aenter__(self) -> Self:
        """Join the session as soon as it is READY.

        Raises:
            RunwayError: It does not become so in time, or it cannot be joined.
        """
        self._lost = asyncio.get_running_loop().create_future()
        try:
            await self._ready()
            await self._backend.open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Answer no more."""
        await self._close()

    async def ended(self) -> None:
        """Wait until the session has ended.

        Raises:
            RunwayError: The connection was lost for good before.
        """
        assert self._lost is not None
        while True:
            await asyncio.wait({self._lost}, timeout=LOOK_INTERVAL)
            if self._lost.done():
                self._lost.result()
            try:
                status = await self._api.session_status(self._session_id)
            except RunwayError as e:
                if not e.retryable:
                    raise
                continue
            if status.name in wire.ENDED_STATUSES:
                return

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(self._ready_timeout):
                while True:
                    status = await self._api.session_status(self._session_id)
                    if status.name == wire.FAILED_STATUS:
                        raise SessionFailedError(
                            f"Runway reports the session as FAILED ({status.failure})",
                            session_id=self._session_id,
                        )
                    if status.name in wire.ENDED_STATUSES:
                        raise AvatarGoneError(
                            f"the session has ended ({status.name})",
                            session_id=self._session_id,
                            advice="Join it while it lasts.",
                        )
                    if status.name in (wire.READY_STATUS, wire.RUNNING_STATUS):
                        return
                    await asyncio.sleep(LOOK_INTERVAL)
        except TimeoutError:
            raise NeverJoinedError(
                f"the session was not READY within {self._ready_timeout:g} s",
                session_id=self._session_id,
                advice="Raise ready_timeout if it only takes longer.",
            ) from None

    async def _close(self) -> None:
        await self._backend.close()
        await self._api.close()

    def _failed(self, error: RunwayError) -> None:
        logger.error(f"the tools of Runway session {self._session_id} are not answered: {error}")
        if self._lost is not None and not self._lost.done():
            self._lost.set_exception(error)

    async def _call(self, name: str, arguments: dict[str, Any]) -> Any:
        return await call_function(self._handlers[name], name, arguments)


async def call_function(
    handler: DirectFunctionWrapper | Any, name: str, arguments: dict[str, Any]
) -> Any:
    """Call a function the way a pipeline would, and return its result.

    Raises:
        ToolError: It has failed, or has no result.
    """
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def take(result: Any, *, properties: FunctionCallResultProperties | None = None) -> None:
        is_final = properties is None or properties.is_final is not False
        if is_final and not answer.done():
            answer.set_result(result)

    nothing: Any = None
    params = FunctionCallParams(
        function_name=name,
        tool_call_id=uuid.uuid4().hex,
        arguments=arguments,
        llm=nothing,
        pipeline_worker=nothing,
        context=nothing,
        result_callback=take,
    )
    try:
        if isinstance(handler, DirectFunctionWrapper):
            await handler.invoke(arguments, params)
        else:
            await handler(params)
    except Exception as e:  # the model goes on talking, whatever a function does
        logger.error(f"the function `{name}` has failed ({type(e).__name__})")
        logger.opt(exception=e).debug("how it failed")
        raise ToolError(f"the function `{name}` failed and returned no result") from e
    if not answer.done():
        raise ToolError(f"the function `{name}` ended without a result")
    return answer.result()
