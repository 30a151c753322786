"""The command line: what it says before it does anything."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from pipecat_runway import wire
from pipecat_runway.cli.app import app

HEAVY = ("pipecat", "numpy", "livekit", "av", "PIL", "aiohttp", "runwayml", "espeakng_loader")


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def text(output: str) -> str:
    """Output without the frames and line breaks of help panels."""
    return " ".join(word for word in output.split() if word not in "│╭╮╰╯─")


def run(*arguments: str) -> tuple[int, str]:
    """Run a command that ends before it begins; its status and everything it wrote."""
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, text(result.output)


def test_the_command_is_light_to_import() -> None:
    """Its import, and its help, load nothing heavy."""
    result = python(
        "import sys\n"
        "from pipecat_runway.cli.app import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('loaded:', [m for m in {HEAVY} if m in sys.modules])"
    )
    assert "loaded: []" in result.stdout, result.stdout + result.stderr


def test_without_typer_it_says_what_to_install() -> None:
    """One sentence, no traceback, status 1."""
    result = python(
        "import sys\nsys.modules['typer'] = None\nfrom pipecat_runway.cli import main\nmain()"
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert 'pip install "pipecat-runway[cli]"' in result.stderr


@pytest.mark.parametrize(
    ("missing", "command", "extra"),
    [
        ("av", ["demo", "--record", "x.mp4"], "demo"),
        ("aiortc", ["demo", "--no-browser"], "demo"),
        ("aiohttp", ["simulator"], "simulator"),
    ],
)
def test_without_an_extra_it_says_what_to_install(
    tmp_path: Path, missing: str, command: list[str], extra: str
) -> None:
    """The missing package and the extra that brings it are named, without a traceback."""
    result = python(
        f"import sys, os\nos.chdir({str(tmp_path)!r})\nsys.modules[{missing!r}] = None\n"
        f"from pipecat_runway.cli.app import app\napp({command!r})"
    )
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert f'pip install "pipecat-runway[{extra}]"' in text(result.stderr)


def test_pipecats_own_command_finds_it() -> None:
    """The entry point that `pipecat` reads is this Typer app."""
    (found,) = entry_points(group="pipecat_cli.extensions", name="runway")
    assert isinstance(found.load(), typer.Typer)


def test_what_a_film_says_needs_a_film() -> None:
    """--say and --barge-in without --record: status 2 and an example."""
    for options in (["--say", "Hello."], ["--barge-in"]):
        status, output = run("demo", *options)
        assert status == 2
        assert "give --record hello.mp4 too" in output


def test_an_unknown_preset_is_refused_early() -> None:
    """Status 2, and the nine there are."""
    status, output = run("demo", "--record", "x.mp4", "--preset", "nobody")
    assert status == 2
    assert "no preset 'nobody'" in output
    assert len(wire.PRESETS) == 9
    assert all(preset in output for preset in wire.PRESETS)


def test_a_film_that_cannot_be_written_is_refused_early(tmp_path: Path) -> None:
    """Status 2 for a directory that is not there and for what is no MP4."""
    assert run("demo", "--record", str(tmp_path / "none" / "x.mp4"))[0] == 2
    assert run("demo", "--record", str(tmp_path))[0] == 2
    status, output = run("demo", "--record", "x.avi")
    assert status == 2
    assert "must end in .mp4" in output


def test_a_report_has_one_of_two_forms(tmp_path: Path) -> None:
    """Status 2 before anything is asked of anybody."""
    status, output = run("doctor", "--report", "report.txt")
    assert status == 2
    assert "must end in .json or .md" in output
    assert run("doctor", "--report", str(tmp_path / "none" / "report.md"))[0] == 2


def test_there_must_be_something_to_say() -> None:
    """A text without a word is refused early, with status 2."""
    status, output = run("demo", "--record", "x.mp4", "--say", " … ")
    assert status == 2
    assert "nothing to say" in output
