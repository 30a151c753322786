# /// script
# requires-python = ">=3.11"
# dependencies = [
#     "pipecat-runway[demo,server]",
#     "uvicorn>=0.30,<1",
# ]
#
# [tool.uv.sources]
# pipecat-runway = { path = "../..", editable = true }
# ///
"""A page with a guide: Runway's own React SDK in the browser, its sessions begun and ended here.

The guide listens, thinks and speaks at Runway; this server only creates sessions, answers the tool
`opening_hours`, and ends what it has begun. The tool `show_place` changes the page. No key is
needed: without ``RUNWAYML_API_SECRET`` a local Runway is started, whose guide follows a script.
Node.js is needed to build the page. Run it, then open http://127.0.0.1:7860 and speak::

    uv run examples/browser/server.py
"""

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from loguru import logger
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.services.llm_service import FunctionCallParams

from pipecat_runway.server import Character, character_router
from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.script import Call, Script, Turn

HOST = "127.0.0.1"
PAGE = Path(__file__).parent / "page"
NO_NODE = (
    "npm is not on PATH. It builds the page and comes with Node.js, 18 or later: "
    "apt-get install nodejs npm, brew install node, or winget install OpenJS.NodeJS."
)
HOURS = {"lighthouse": "ten to six", "market": "five to nine", "ferry": "six to eleven at night"}
PLACE = {"type": "string", "enum": list(HOURS), "description": "The place."}


async def opening_hours(params: FunctionCallParams, place: str) -> None:
    """Say when a place is open.

    Args:
        params: Pipecat's.
        place: Its name: lighthouse, market or ferry.
    """
    await params.result_callback({"place": place, "hours": HOURS.get(place, "unknown")})


GUIDE = Character(
    preset_id=os.getenv("RUNWAY_PRESET", "game-character"),
    personality=(
        "You are an AI and the guide of a small harbour. You show the lighthouse, the fish market "
        "and the ferry, in two sentences at most. Use show_place whenever you speak of a place."
    ),
    start_script="Hello! I am an AI, and I show you the harbour. What would you like to see?",
    tools=[opening_hours],
    client_events=[
        FunctionSchema(
            name="show_place",
            description="Points at a place on the page that the user looks at.",
            properties={"place": PLACE},
            required=["place"],
        )
    ],
)

# What the local Runway's guide does, one turn each time somebody has spoken.
SCRIPT = Script(
    [
        Turn(
            f"This is the {place}. It is open from {{opening_hours[hours]}}.",
            [Call("show_place", {"place": place}), Call("opening_hours", {"place": place})],
        )
        for place in HOURS
    ]
)


def build_page() -> None:
    """Build the page, if it is not there or older than its sources.

    Raises:
        SystemExit: It cannot be built; says what is needed.
    """
    built = PAGE / "dist" / "main.js"
    sources = [*(PAGE / "src").iterdir(), PAGE / "package-lock.json"]
    if built.exists() and built.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit(NO_NODE)
    for command in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
        logger.info(f"building the page: npm {' '.join(command)}")
        if subprocess.run([npm, *command], cwd=PAGE, stdout=sys.stderr, check=False).returncode:
            raise SystemExit(f"npm {command[0]} has failed; it says why above.")


def make_app(env: Mapping[str, str], origins: list[str]) -> FastAPI:
    """Make the app: the page, and the router it asks."""
    app = FastAPI()
    router = character_router(
        {"guide": GUIDE},
        origins=origins,
        api_key=env["RUNWAYML_API_SECRET"],
        base_url=env.get("RUNWAYML_BASE_URL"),
    )
    app.include_router(router, prefix="/api/avatar")
    app.add_api_route("/", lambda: FileResponse(PAGE / "index.html"), methods=["GET"])
    app.mount("/page", StaticFiles(directory=PAGE / "dist"))
    return app


@asynccontextmanager
async def runway() -> AsyncIterator[Mapping[str, str]]:
    """Where Runway is: as the environment says, or here for as long as the server runs."""
    if os.getenv("RUNWAYML_API_SECRET"):
        yield os.environ
        return
    # The first start ever builds a LiveKit server, which takes a few minutes.
    async with RunwaySimulator(progress=logger.info) as simulator:
        simulator.partner = SCRIPT
        yield simulator.env


async def serve(port: int) -> None:
    """Serve the page until Ctrl-C; the sessions it has begun are ended before."""
    async with runway() as env:
        app = make_app(env, [f"http://{HOST}:{port}", f"http://localhost:{port}"])
        logger.info(f"open http://{HOST}:{port}")
        await uvicorn.Server(uvicorn.Config(app, HOST, port, log_level="warning")).serve()


def main() -> None:
    """Read the command line, build the page and serve it."""
    parser = argparse.ArgumentParser(description="A page with a guide.")
    parser.add_argument("--port", type=int, default=7860, help="where the page is; 7860")
    port = parser.parse_args().port
    build_page()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(port))


if __name__ == "__main__":
    main()
