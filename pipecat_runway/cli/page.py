"""``pipecat-runway demo``: a page with a face to talk to."""

import asyncio
import io
import os
import socket
import uuid
import webbrowser
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, redirect_stdout
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse
from pipecat.transports.smallwebrtc.connection import SmallWebRTCConnection
from pipecat.transports.smallwebrtc.request_handler import (
    SmallWebRTCPatchRequest,
    SmallWebRTCRequest,
    SmallWebRTCRequestHandler,
)
from rich.console import Console
from starlette.middleware.trustedhost import TrustedHostMiddleware

from pipecat_runway.cli.bot import settle_memory
from pipecat_runway.cli.consent import refusal
from pipecat_runway.cli.ending import how_it_ended
from pipecat_runway.cli.interrupt import INTERRUPTED, run
from pipecat_runway.cli.speech import Espeak, EspeakError
from pipecat_runway.cli.stages import Stages
from pipecat_runway.cli.talk import HEIGHT, WIDTH, Conversation, what_is_used
from pipecat_runway.simulator import Faults, RunwaySimulator
from pipecat_runway.simulator.livekit_binary import LiveKitServerError

with redirect_stdout(io.StringIO()):  # it prints where it looks for its files
    from pipecat_ai_prebuilt.frontend import PipecatPrebuiltUI  # type: ignore[import-untyped]

HOST = "127.0.0.1"
# The prebuilt client shows the face small, and loads what it uses a microphone by from Daily's
# servers: without the internet it does not connect.
PAGE = Path(__file__).with_name("page.html")
MAX_DURATION = 300  # s, the longest a session can be billed for; Runway's own limit
END_TIMEOUT = 20.0


def main(preset: str, *, live: bool, ask: bool, port: int, open_browser: bool) -> int:
    """Run the command.

    Args:
        preset: Whose face it is.
        live: Whether Runway itself is used.
        ask: Whether to ask before credits are spent.
        port: Where the page is, unless that is taken.
        open_browser: Whether to show it to the user.

    Returns:
        The exit status.
    """
    console = Console(highlight=False)
    question = "Open the page? Everyone who connects to it begins a session."
    refused = refusal(console, live=live, ask=ask, question=question, longest=MAX_DURATION)
    if refused is not None:
        return refused
    try:
        Espeak.shared()
        status = run(
            _serve(preset, live, port, open_browser, console),
            lambda: console.print("Still ending the session, or it would be billed on."),
        )
    except (EspeakError, LiveKitServerError, OSError) as e:
        console.print(str(e), style="red", markup=False)
        return 1
    return 0 if status == INTERRUPTED else status  # Ctrl-C is how it is meant to end


async def _serve(preset: str, live: bool, port: int, open_browser: bool, console: Console) -> int:
    stages = Stages(console)
    async with AsyncExitStack() as stack:
        env, runway = dict(os.environ), None
        if not live:
            with stages.stage("Starting a local Runway"):
                painted = Faults(width=WIDTH, height=HEIGHT)  # so that nobody scales it
                runway = await stack.enter_async_context(
                    RunwaySimulator(painted, progress=stages.note)
                )
            env |= runway.env
        visits = Visits(preset, env, runway, console)
        stack.push_async_callback(visits.aclose)
        url = await stack.enter_async_context(_serving(_app(visits), port))
        settle_memory()
        console.print(
            "The face is Runway's."
            if live
            else "The face is painted by the local Runway: no key, no credits."
        )
        console.print(what_is_used(env), markup=False)
        console.print(f"Open [bold]{url}[/bold] and press Connect. Ctrl-C ends it.")
        if open_browser:
            await asyncio.to_thread(_open, url)
        await asyncio.Event().wait()
    return 0


class Visits:
    """Whoever has the page open has a conversation of their own.

    Args:
        preset: Whose face it is.
        env: Keys and addresses, under the names of their environment variables.
        runway: The local Runway, if that is what is used.
        console: Told who comes and goes.
    """

    def __init__(
        self, preset: str, env: Mapping[str, str], runway: RunwaySimulator | None, console: Console
    ) -> None:
        self.requests = SmallWebRTCRequestHandler()
        self._preset = preset
        self._env = env
        self._runway = runway
        self._console = console
        self._open: dict[asyncio.Task[None], Conversation] = {}

    async def begin(self, connection: SmallWebRTCConnection) -> None:
        """Begin a conversation with a browser that has just called.

        Args:
            connection: To the browser.
        """
        conversation = Conversation(
            connection,
            self._env,
            preset=self._preset,
            max_duration=MAX_DURATION,
            tell=self._tell,
        )
        visit = asyncio.create_task(self._hold(conversation), name="visit")
        self._open[visit] = conversation
        visit.add_done_callback(self._open.pop)

    async def aclose(self) -> None:
        """End every conversation, and the sessions with them."""
        for conversation in list(self._open.values()):
            await conversation.hang_up()
        if self._open:
            await asyncio.wait(self._open, timeout=END_TIMEOUT)
        await self.requests.close()  # type: ignore[no-untyped-call]

    async def _hold(self, conversation: Conversation) -> None:
        self._tell("Somebody has come.")
        await conversation.hold()
        if conversation.session_id is None:
            self._tell("They have left before there was a session.")
            return
        ended = await how_it_ended(conversation.session_id, self._env, self._runway)
        self._tell(f"Session {ended.session_id} ended: {ended}")

    def _tell(self, line: str) -> None:
        self._console.print(line, markup=False)


def _app(visits: Visits) -> FastAPI:
    """Serve the page and Pipecat's prebuilt client, and what they ask for."""
    app = FastAPI(openapi_url=None)
    # A page from elsewhere must not begin a session by way of a name that leads here.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.mount("/client", PipecatPrebuiltUI)

    @app.get("/")
    async def index() -> FileResponse:
        return FileResponse(PAGE)

    @app.post("/start")
    async def start() -> dict[str, str]:
        return {"sessionId": str(uuid.uuid4())}  # the visit begins with the offer

    @app.post("/api/offer")
    @app.post("/sessions/{session_id}/api/offer")
    async def offer(request: SmallWebRTCRequest) -> dict[str, str] | None:
        return await visits.requests.handle_web_request(request, visits.begin)

    @app.patch("/sessions/{session_id}/api/offer")
    async def candidates(request: SmallWebRTCPatchRequest) -> None:
        await visits.requests.handle_patch_request(request)

    return app


class _Server(uvicorn.Server):
    """One that leaves Ctrl-C to the command."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _serving(app: FastAPI, port: int) -> AsyncIterator[str]:
    """Serve until the block is left.

    Yields:
        The address.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError:  # taken
        listener = socket.create_server((HOST, 0))
    with listener:
        config = uvicorn.Config(
            app, lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2
        )
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listener]), name="page")
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await asyncio.wait({serving}, timeout=END_TIMEOUT)


def _open(url: str) -> None:
    """Show a page in the user's browser, unless that is one of the terminal."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        browser.open(url)
