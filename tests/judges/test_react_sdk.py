"""The router, judged by Runway's own React SDK (@runwayml/avatars-react 0.16.0) in Chromium.

The page is that of examples/browser, and so is the app. Its lock says which SDK, unchanged.
"""

import asyncio
import base64
import contextlib
import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from playwright.async_api import Page, async_playwright

from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.face import mouth_box
from pipecat_runway.simulator.script import Script
from tests.cli.browser import (
    ARGUMENTS,
    CHROMIUM,
    LOUD,
    SIZE,
    WATCH,
    openness,
    record_microphone,
)
from tests.kit.web import serving

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser"
BOUND = 30_000  # ms, for anything that happens in the browser
TOLD = 4.0  # s; a session that nobody says is over would be open for 5
OPEN = 0.08  # of a mouth that speaks

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("npm") is None, reason="there is no npm: apt-get install nodejs npm"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture
def example(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The example's server, its page built; by one test at a time."""
    spec = spec_from_file_location("browser_example", EXAMPLE / "server.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    with (tmp_path_factory.getbasetemp().parent / "building").open("w") as building:
        fcntl.flock(building, fcntl.LOCK_EX)
        module.build_page()
    return module


@asynccontextmanager
async def browsing(microphone: Path) -> AsyncIterator[Page]:
    """Sit in front of a browser whose microphone hears a file, over and over."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={microphone}"],
        )
        try:
            context = await browser.new_context(viewport={"width": 1120, "height": 860})
            yield await context.new_page()
        finally:
            await browser.close()


async def begin(page: Page) -> None:
    """Press the button, and wait for the face."""
    await page.get_by_role("button", name="Talk to the guide").click()
    await page.wait_for_function('document.querySelector("video")?.videoWidth > 0', timeout=BOUND)


async def test_the_sdk_holds_a_conversation(
    runway: RunwaySimulator, example: ModuleType, tmp_path: Path
) -> None:
    """It connects by our router, shows a face that moves, captions, an event, and ends the call."""
    runway.partner = example.SCRIPT
    microphone = tmp_path / "microphone.wav"
    record_microphone(microphone, silence=6.0, words="What is there to be seen?")
    complaints: list[str] = []
    async with (
        serving(lambda url: example.make_app(runway.env, [url])) as url,
        browsing(microphone) as page,
    ):
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(url)
        await begin(page)
        (session,) = runway.open_sessions
        await page.evaluate(WATCH, [*SIZE, mouth_box(*SIZE), "audio"])
        await page.wait_for_function(
            'document.querySelector("#lighthouse").ariaCurrent === "true"', timeout=BOUND
        )
        await session.wait_for("said", BOUND / 1000, turn=1)
        said = [text.text for text in session.conversation]
        await page.wait_for_function(
            """said => said.every(
                text => [...document.querySelectorAll(".captions li")].some(
                    line => line.textContent === text))""",
            arg=said,
            timeout=BOUND,
        )
        captions = await page.locator(".captions li").evaluate_all(
            "lines => lines.map(line => [line.className, line.textContent])"
        )
        seen = await page.evaluate("seen")
        await page.screenshot(path=tmp_path / "call.png")
        second = await page.context.new_page()
        await second.goto(url)
        await second.get_by_role("button", name="Talk to the guide").click()
        refused = await second.get_by_role("alert").text_content(timeout=BOUND)
        await second.screenshot(path=tmp_path / "refused.png")
        await second.close()
        assert runway.open_sessions == [session]

        await page.get_by_role("button", name="End call").click()
        await page.get_by_role("button", name="Talk to the guide").wait_for(timeout=BOUND)
        await asyncio.wait_for(session.ended.wait(), TOLD)

        await begin(page)  # an ended call does not stand in the way of the next one
        (other,) = runway.open_sessions
        await page.goto("about:blank")
        await asyncio.wait_for(other.ended.wait(), TOLD)
    runway.partner = Script()
    assert [who for who, _ in captions] == ["guide", "user", "guide"]
    assert [text for _, text in captions] == said
    assert session.client_events == [("show_place", {"place": "lighthouse"})]
    (call,) = session.calls
    assert call.result == {"place": "lighthouse", "hours": "ten to six"}
    mouths = [openness(base64.b64decode(each["mouth"])) for each in seen]
    loud = [each["level"] > LOUD for each in seen]
    assert sum(loud) > 20
    assert max(mouths) - min(mouths) > OPEN
    assert refused == "You have a call already. End it first."
    assert not complaints


def test_one_command_runs_it(example: ModuleType) -> None:
    """It starts without a key; Ctrl-C ends the session that is open, and everything else."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        [sys.executable, EXAMPLE / "server.py", "--port", str(port)],
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert server.stderr is not None
    said = []
    try:
        for line in server.stderr:
            said.append(line)
            if url in line:
                break
        with httpx.Client(base_url=url, headers={"origin": url}, timeout=30.0) as http:
            for _ in range(100):
                with contextlib.suppress(httpx.ConnectError):
                    assert "A guide to the harbour" in http.get("/").text
                    break
                time.sleep(0.1)
            http.post("/api/avatar/connect", json={"avatarId": "guide"}).raise_for_status()
        os.killpg(server.pid, signal.SIGINT)
        said += server.stderr.readlines()
        server.wait(20)
    finally:
        server.kill()
        server.wait()
        server.stderr.close()
    assert server.returncode in (0, -signal.SIGINT)
    assert [line for line in said if re.search("Runway session .* ended", line)]


def test_what_is_needed_is_said(tmp_path: Path) -> None:
    """Without npm the example says where it comes from, before anything is started."""
    copy = shutil.copytree(
        EXAMPLE, tmp_path / "browser", ignore=shutil.ignore_patterns("node_modules", "dist")
    )
    done = subprocess.run(
        [sys.executable, copy / "server.py"],
        env={**os.environ, "PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "apt-get install nodejs npm" in done.stderr
