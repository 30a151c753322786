"""An API server that answers whatever it is told to, byte for byte."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamWriter, str], Awaitable[None]]


@dataclass
class RawServer:
    """What listens on 127.0.0.1.

    Attributes:
        base_url: Where.
        answer: What follows every request: bytes, or what writes them, given the request's
            first line. Then the line is cut.
        requests: The first line of every request.
    """

    base_url: str = ""
    answer: Answer = b""
    requests: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read one request, answer it, and cut the line."""
        with (
            suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError),
            closing(writer),
        ):
            head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
            request = head.splitlines()[0]
            self.requests.append(request)
            for line in head.lower().splitlines():
                if line.startswith("content-length:"):
                    await reader.readexactly(int(line.partition(":")[2]))
            if isinstance(self.answer, bytes):
                writer.write(self.answer)
                await writer.drain()
            else:
                await self.answer(writer, request)


@asynccontextmanager
async def raw_server(answer: Answer = b"") -> AsyncIterator[RawServer]:
    """Serve until the block is left."""
    raw = RawServer(answer=answer)
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        task.add_done_callback(serving.discard)
        try:
            await raw.serve(reader, writer)
        finally:
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    raw.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield raw
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def http(
    body: bytes,
    status: str = "200 OK",
    content_type: str | None = "application/json",
    *headers: str,
    length: int | None = None,
) -> bytes:
    """An answer with a body.

    Args:
        body: The body.
        status: Code and reason.
        content_type: What it is said to be; None says nothing.
        headers: More header lines.
        length: How long it is said to be; left out: the truth.
    """
    lines = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if length is None else length}",
        "Connection: close",
        *([f"Content-Type: {content_type}"] if content_type is not None else []),
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body
