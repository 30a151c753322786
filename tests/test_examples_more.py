"""The examples that need no key, each in a call with a real WebRTC client."""

import asyncio
import os
import re
import tomllib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import numpy as np
import pytest
from pipecat.frames.frames import Frame, InputAudioRawFrame, InterruptionFrame, TTSAudioRawFrame
from pipecat.runner.types import SmallWebRTCRunnerArguments
from pipecat.runner.utils import create_transport

from pipecat_runway.cli.measure import SOUND_RATE, Film, read_film, share_heard, sync
from pipecat_runway.cli.speech import DEFAULT_SPEED, DEFAULT_VOICE, Espeak, EspeakTTSService
from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.face import mouth_openness
from tests.kit.marks import mono, resampled
from tests.kit.pipeline import running
from tests.kit.timing import timed
from tests.test_evals import SCENARIOS, evaluated
from tests.test_examples import RATE, Client, call

from .conftest import TurnKnobs

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
MOST = 0.7  # of a greeting: a jitter buffer that is still filling stretches what comes first
HEARD = 0.9  # of a sentence: aiortc codes it once more at both ends, and may stretch it


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Import an example with its own folder on the path, as a script has it."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    Voice.said.clear()

    def load(name: str) -> ModuleType:
        module = import_module(name)
        monkeypatch.setattr(module, "EspeakTTSService", Voice)
        return module

    return load


@asynccontextmanager
async def in_call(bot: ModuleType) -> AsyncIterator[Client]:
    """Call a bot, hang up in the end, and see it end."""
    async with call() as (client, connection):
        arguments = SmallWebRTCRunnerArguments(webrtc_connection=connection)
        transport = await create_transport(arguments, bot.transport_params)
        conversation = asyncio.create_task(bot.run_bot(transport, arguments))
        try:
            async with asyncio.timeout(40):
                yield client
        finally:
            await client.hang_up()
            await asyncio.wait_for(conversation, 20)


class Voice(EspeakTTSService):
    """The examples' own voice, which remembers the sound of what it said: no two are the same."""

    said: ClassVar[dict[str, bytes]] = {}

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        pcm = bytearray()
        async for frame in super().run_tts(text, context_id):
            if isinstance(frame, TTSAudioRawFrame):
                pcm += frame.audio
            yield frame
        self.said[text] = bytes(pcm)


def share_of(text: str, film: Film) -> float:
    """How much of a text is to be heard, from 0 to 1."""
    return share_heard(film, Voice.said[text], Espeak.shared().sample_rate)


def heard_by(client: Client) -> Film:
    """What a client has heard."""
    sound = resampled(mono(bytes(client.sound)), RATE, SOUND_RATE).astype(np.float64)
    nothing = np.zeros(0)
    return Film((0, 0), 1.0, nothing, nothing, sound)


@timed
async def test_the_echo_bot_repeats_what_is_typed(
    example: Callable[[str], ModuleType], runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows a face, says that it is an AI, repeats, and ends its session."""
    for name, value in runway.env.items():
        monkeypatch.setenv(name, value)
    echo = example("echo")
    async with in_call(echo) as client:
        await client.until_told("bot-stopped-speaking")
        await client.type("Good morning.")
        await client.until_told("bot-stopped-speaking", 2)
        await client.listen_on(0.5)
    assert "AI" in echo.GREETING
    assert share_of(echo.GREETING, heard_by(client)) >= MOST
    assert share_of("You said: Good morning.", heard_by(client)) >= HEARD
    assert {(640, 360)} == set(client.sizes)
    assert not runway.open_sessions


@pytest.mark.long
async def test_the_echo_bot_needs_no_settings(tmp_path: Path) -> None:
    """Started as a user starts it, with nothing set, it shows its face; and leaves no process."""
    mark = f"/{uuid.uuid4()}"  # everything it starts is handed the PATH on
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:{mark}"}
    evaluation = await evaluated(EXAMPLES / "echo.py", env, tmp_path, SCENARIOS / "pictures.yaml")
    assert evaluation.status == 0, evaluation
    assert [] == started_with(mark)


def started_with(mark: str) -> list[str]:
    """The processes that have a mark in their environment."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended, or is somebody else's
            if mark.encode() in (directory / "environ").read_bytes():
                found.append((directory / "cmdline").read_text().replace("\0", " "))
    return found


async def test_somebody_who_speaks_interrupts_the_echo_bot(
    example: Callable[[str], ModuleType],
) -> None:
    """A voice is enough; no words need to be recognised."""
    pcm = bytearray()

    def on_audio(piece: bytes) -> bool:
        pcm.extend(piece)
        return True

    espeak = Espeak.shared()
    espeak.speak("Excuse me, may I say something?", DEFAULT_VOICE, DEFAULT_SPEED, on_audio)
    wave = resampled(mono(bytes(pcm)), espeak.sample_rate, 16_000)
    voice = (np.clip(wave, -1, 1) * 32767).astype("<i2").tobytes()
    async with running(*example("echo").interrupters()) as run:
        await run.started()
        for place in range(0, len(voice), 640):
            await run.queue(InputAudioRawFrame(voice[place : place + 640], 16_000, 1))
        await run.tape.wait_for(InterruptionFrame)
        await run.end()


@timed
async def test_a_call_is_recorded(
    example: Callable[[str], ModuleType],
    runway: RunwaySimulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The film has the face, what it said, and that it is being recorded."""
    path = tmp_path / "call.mp4"
    for name, value in {**runway.env, "RECORDING": str(path)}.items():
        monkeypatch.setenv(name, value)
    bot = example("record_call")
    async with in_call(bot) as client:
        await client.until_told("bot-stopped-speaking")
        await client.type("Good morning.")
        await client.until_told("bot-stopped-speaking", 2)
    film = read_film(path, mouth_openness)
    assert "recorded" in bot.GREETING
    assert (640, 360) == film.size
    for text in (bot.GREETING, "You said: Good morning."):
        assert share_of(text, film) >= HEARD, text
    shown = sync(film)
    assert shown is not None
    assert shown.correlation > 0.5


@timed
@pytest.mark.parametrize("fault", [pytest.param("refused", marks=pytest.mark.long), "lost"])
async def test_the_spare_face_takes_over(
    example: Callable[[str], ModuleType],
    runway: RunwaySimulator,
    faults: TurnKnobs,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    """Where the first face's key is refused, or it leaves in mid-sentence, nothing is lost."""
    for name, value in runway.env.items():
        monkeypatch.setenv(name, value)
    if fault == "refused":
        monkeypatch.setenv("RUNWAYML_SPARE_SECRET", runway.api_key)
        monkeypatch.setenv("RUNWAYML_API_SECRET", "key_" + "0" * 128)
    else:
        faults(leave_after=2.0)
    bot = example("failover")
    async with in_call(bot) as client:
        await client.until_told("bot-stopped-speaking")
        faults(leave_after=None)
        await client.type("Good morning.")
        await client.until_told("bot-stopped-speaking", 2)
        await client.listen_on(0.5)
    spare = runway.sessions[-1]
    assert "cat-character" == spare.character
    assert [event for event in spare.events if event.kind == "stream_opened"]
    assert share_of(bot.GREETING, heard_by(client)) >= MOST
    assert share_of("You said: Good morning.", heard_by(client)) >= HEARD
    assert not runway.open_sessions


def test_what_is_deployed_to_pipecat_cloud_is_there() -> None:
    """Every file that is copied exists, the keys are the tool's, the secrets are the bot's."""
    folder = EXAMPLES / "pipecat_cloud"
    dockerfile = (folder / "Dockerfile").read_text()
    for line in dockerfile.splitlines():
        match line.split():
            case ["COPY", *sources, _target]:
                assert all((ROOT / source).exists() for source in sources), line
    settings = tomllib.loads((folder / "pcc-deploy.toml").read_text())
    # pipecatcloud, src/pipecatcloud/_utils/deploy_utils.py
    assert {"agent_name", "secret_set", "agent_profile", "scaling", "build"} == set(settings)
    assert {"min_agents"} == set(settings["scaling"])
    assert {"context_dir": ".", "dockerfile": "examples/pipecat_cloud/Dockerfile"} == settings[
        "build"
    ]
    bot = (EXAMPLES / "video_service.py").read_text()
    paper = (folder / "README.md").read_text()
    for name in re.findall(r'(?:os\.environ\[|os\.getenv\()"(\w+)"', bot):
        assert f"`{name}`" in paper, name
    assert settings["secret_set"] in paper
