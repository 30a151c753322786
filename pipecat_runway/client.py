"""What talks to Runway's REST API, on the official client.

Everything the client raises is translated here, once, into the errors of
:mod:`pipecat_runway.errors`.
"""

import asyncio
import email.utils
import itertools
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import ClassVar, Self, TypeVar

import httpx
import runwayml
import runwayml.resources  # the first request would import it, on the event loop
from runwayml import AsyncRunwayML

from pipecat_runway import retries, wire
from pipecat_runway.errors import AnswerLostError, APIError, ConfigError, UnreachableError
from pipecat_runway.ownership import digest
from pipecat_runway.refusals import refused

REQUEST_TIMEOUT = httpx.Timeout(30.0, connect=5.0)  # s; a create answers in about a second
REPEAT_BOUND = 5.0  # s within which a request that does no harm is repeated
NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.UnsupportedProtocol,
)
REPEAT = "The request can be repeated."

_Answer = TypeVar("_Answer")


class _NoRequestBodies(logging.Filter):
    """Keeps out the client's DEBUG records that print whole requests, room token included."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Request options")


logging.getLogger("runwayml._base_client").addFilter(_NoRequestBodies())


class _Bounded(httpx.AsyncByteStream):
    """An answer's body, which breaks off where it gets too long."""

    def __init__(self, body: httpx.AsyncByteStream, longest: int) -> None:
        self._body = body
        self._longest = longest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for piece in self._body:
            read += len(piece)
            if read > self._longest:
                raise httpx.ReadError("the answer is too long")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


class RunwayClient:
    """The official client, without its repetitions, and within bounds; a context manager.

    Whoever knows routes derives from it.

    Args:
        api_key: The API secret.
        base_url: Where the API is; None for Runway's own.
        client: A client to use instead. It stays the caller's: it is not closed here.

    Raises:
        ConfigError: If there is neither a key nor a client, or `base_url` is no address.
    """

    LONGEST_ANSWER: ClassVar = 64 * 1024  # bytes that are read; a session's has a few hundred

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        client: AsyncRunwayML | None = None,
    ) -> None:
        self._own: AsyncRunwayML | None = None
        if client is None:
            if not api_key:
                raise ConfigError(
                    "api_key is missing",
                    advice=f"Pass api_key or set {wire.ENV_API_SECRET}.",
                )
            try:
                client = self._own = AsyncRunwayML(
                    api_key=api_key,
                    base_url=base_url or wire.BASE_URL,
                    timeout=REQUEST_TIMEOUT,
                    # A redirect would take the room's token elsewhere; Runway sends none.
                    http_client=runwayml.DefaultAsyncHttpxClient(
                        follow_redirects=False, event_hooks={"response": [self._bound_body]}
                    ),
                )
            except httpx.InvalidURL as e:
                raise ConfigError(
                    "base_url is not an address", advice=f"Check {wire.ENV_BASE_URL}."
                ) from e
        # A create that is sent twice can bill twice, and no idempotency header exists.
        self._client = client.with_options(max_retries=0)
        timeout = self._client.timeout
        # A body may come drop by drop: a request as a whole may take as long as one read.
        self._bound = timeout.read if isinstance(timeout, httpx.Timeout) else timeout

    @property
    def host(self) -> str:
        """The host requests go to."""
        return self._client.base_url.host

    @property
    def base_url(self) -> str:
        """Where the API is."""
        return str(self._client.base_url).rstrip("/")

    @property
    def key_digest(self) -> str:
        """What tells the key from others, and does not show it."""
        return digest(self._client.api_key)

    async def close(self) -> None:
        """Close the client, if it is ours."""
        if self._own is not None:
            await self._own.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    @asynccontextmanager
    async def _asking(
        self,
        action: str,
        session_id: str | None = None,
        missing: type[APIError] = APIError,
        *,
        lost: str | None = REPEAT,
        bound: float | None = None,
    ) -> AsyncIterator[None]:
        """Bound a request, and name the cause of whatever goes wrong with it.

        Args:
            action: What is asked for, in words.
            session_id: The session it is asked of.
            missing: What a 404 means.
            lost: What to do if no answer came; None: what :class:`AnswerLostError` says.
            bound: Longest time for all of it, in s; None: the client's.
        """
        with _translated(action, session_id, missing, lost):
            async with asyncio.timeout(bound or self._bound):
                yield

    async def _bound_body(self, answer: httpx.Response) -> None:
        """Keep an answer without end out of memory."""
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        answer.stream = _Bounded(answer.stream, self.LONGEST_ANSWER)


async def repeated(request: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Make a request that does no harm when it is carried out twice."""
    until = time.monotonic() + REPEAT_BOUND
    for attempt in itertools.count():
        try:
            return await request()
        except APIError as e:
            pause = retries.pause(e, attempt, random.random())
            if not retries.may_repeat(e, attempt) or time.monotonic() + pause > until:
                raise
        await asyncio.sleep(pause)
    raise AssertionError("unreachable")


@contextmanager
def _translated(
    action: str, session_id: str | None, missing: type[APIError], lost: str | None
) -> Iterator[None]:
    try:
        yield
    except runwayml.APIStatusError as e:
        raise refused(
            e.status_code,
            e.body,
            action=action,
            missing=missing,
            session_id=session_id,
            retry_after=_retry_after(e.response.headers),
            sent_with=f"runwayml {runwayml.__version__}",
        ) from e
    except runwayml.APIConnectionError as e:
        if isinstance(e.__cause__, NEVER_SENT):
            raise UnreachableError(
                f"Runway's API could not be reached to {action} ({type(e.__cause__).__name__})",
                session_id=session_id,
            ) from e
        raise AnswerLostError(
            f"Runway's API did not answer the request to {action} ({type(e.__cause__).__name__})",
            session_id=session_id,
            advice=lost,
        ) from e
    except TimeoutError as e:
        raise AnswerLostError(
            f"Runway's API did not come to the end of its answer to {action}",
            session_id=session_id,
            advice=lost,
        ) from e
    except Exception as e:  # whatever the client makes of an answer that is none
        raise AnswerLostError(
            f"Runway's API answered the request to {action} with something unreadable",
            session_id=session_id,
            advice=f"Check {wire.ENV_BASE_URL}." if lost is REPEAT else lost,
        ) from e


def _retry_after(headers: httpx.Headers) -> float | None:
    """Read ``Retry-After``: seconds, or a date."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(given).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return seconds if 0 <= seconds < float("inf") else None
