"""The wheel, in an empty environment with each extra alone: ``uv run python -m tests.wheel``.

The README says what each brings; this runs that.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV = os.environ.get("UV", "uv")
# No server, painter or speech library comes with the service alone. (Pillow does, with Pipecat.)
NOT_PLAIN = ("av", "espeakng-loader", "fastapi", "uvicorn", "aiortc", "pytest", "playwright")
SERVICE = (
    "from pipecat_runway import RunwayVideoService as S; "
    "S(settings=S.Settings(preset_id='cat-character'), api_key='key_' + '0' * 128, "
    "livekit_url='wss://livekit.example', livekit_api_key='k', livekit_api_secret='s')"
)
SERVER = (
    "from fastapi import FastAPI\n"
    "from pipecat_runway.server import Character, character_router\n"
    "guides = {'guide': Character(preset_id='cat-character')}\n"
    "router = character_router(guides, origins=['https://a.example'], api_key='key_' + '0' * 128)\n"
    "FastAPI().include_router(router)"
)
SIMULATOR = (
    "import asyncio\n"
    "from pipecat_runway import RunwayVideoService as S\n"
    "from pipecat_runway.simulator import RunwaySimulator\n"
    "async def main():\n"
    "    async with RunwaySimulator() as runway:\n"
    "        e = runway.env\n"
    "        face = S(settings=S.Settings(preset_id='cat-character'),\n"
    "                 api_key=e['RUNWAYML_API_SECRET'], base_url=e['RUNWAYML_BASE_URL'],\n"
    "                 livekit_url=e['LIVEKIT_URL'], livekit_api_key=e['LIVEKIT_API_KEY'],\n"
    "                 livekit_api_secret=e['LIVEKIT_API_SECRET'])\n"
    "        assert await face.prewarm()\n"
    "        await face.cleanup()\n"
    "        assert not runway.open_sessions\n"
    "asyncio.run(main())"
)


def run(*command: str, cwd: str | Path = ROOT) -> str:
    """Run a command and return what it wrote.

    Raises:
        subprocess.CalledProcessError: It failed; what it wrote has been shown.
    """
    done = subprocess.run(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        print(done.stdout)
        done.check_returncode()
    return done.stdout


def main() -> int:
    """Try the plain wheel and each extra."""
    with tempfile.TemporaryDirectory(prefix="pipecat-runway-wheel-") as directory:
        run(UV, "build", "--wheel", "--out-dir", directory, "--quiet")
        (wheel,) = Path(directory).glob("*.whl")
        for extra in ("", "[cli]", "[server]", "[simulator]", "[demo]"):
            venv = Path(directory, f"venv{extra.strip('[]')}")
            python = str(venv / "bin" / "python")
            run(UV, "venv", "--quiet", "--python", sys.executable, str(venv))
            run(UV, "pip", "install", "--quiet", "--python", python, f"{wheel}{extra}")
            run(python, "-c", SERVICE, cwd=directory)
            if not extra:
                names = run(UV, "pip", "freeze", "--quiet", "--python", python).lower()
                brought = {line.split("==")[0] for line in names.splitlines()}
                assert not brought & set(NOT_PLAIN), brought & set(NOT_PLAIN)
            elif extra == "[cli]":
                command = str(venv / "bin" / "pipecat-runway")
                assert "reap" in run(command, "sessions", "--help", cwd=directory)
                assert "--speak" in run(command, "doctor", "--help", cwd=directory)
            elif extra == "[server]":
                run(python, "-c", SERVER, cwd=directory)
            else:
                run(python, "-c", SIMULATOR, cwd=directory)
            if extra == "[demo]":
                command = str(venv / "bin" / "pipecat-runway")
                run(command, "demo", "--record", "film.mp4", "--say", "Hello.", cwd=directory)
                assert Path(directory, "film.mp4").stat().st_size > 10_000
            print(f"pipecat-runway{extra}: works")
    return 0


if __name__ == "__main__":
    sys.exit(main())
