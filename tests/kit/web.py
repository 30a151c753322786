"""A web app behind a real server on loopback, and what its pages ask it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from .waiting import until


@asynccontextmanager
async def serving(make: Callable[[str], FastAPI]) -> AsyncIterator[str]:
    """Serve an app, which is made knowing its address; its lifespan is run. Yields the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        config = uvicorn.Config(
            make(url), log_config=None, lifespan="on", timeout_graceful_shutdown=2
        )
        server = uvicorn.Server(config)
        # Not serve(), which would take Ctrl-C away from the tests.
        serving = asyncio.create_task(server._serve([listening]))
        try:
            await until(lambda: server.started or serving.done())
            assert server.started, "the app did not start"
            yield url
        finally:
            server.should_exit = True
            await serving
