"""The demo, as a user runs it."""

import re
import signal
import time
from pathlib import Path

import pytest

from pipecat_runway.cli.measure import read_film, sync
from pipecat_runway.simulator.face import mouth_openness
from tests.kit.timing import timed

from .processes import Command, running_command

SENTENCE = "Hello! Every word you hear me say is moving my lips."


def assert_nothing_is_left(command: Command) -> None:
    """Every session has ended, and no process outlives the command."""
    sessions = re.findall(r"Session \S+ ended: (\S+), (\w+)", command.output)
    assert all(answer == "yes" for answer, _ in sessions), command.output
    assert "UNKNOWN" not in command.output
    assert not command.left()
    assert "Traceback" not in command.output


@timed
def test_a_film_is_made_without_any_settings(tmp_path: Path) -> None:
    """Picture, sound, all of the sentence, the mouth in time with it; then nothing is left."""
    path = tmp_path / "hello.mp4"
    begin = time.monotonic()
    with running_command("demo", "--record", str(path), "--say", SENTENCE) as command:
        status = command.wait()
        assert time.monotonic() - begin < 30
        assert status == 0, command.output
        assert_nothing_is_left(command)
        assert "100% of what was to be heard" in command.output
        assert "session ended" in command.output
    film = read_film(path, mouth_openness)
    assert film.size == (1280, 720)
    assert film.fps in (24, 25)
    found = sync(film)
    assert found is not None
    assert found.correlation >= 0.8
    assert abs(found.lag) <= 0.06


@pytest.mark.long
@timed
def test_an_interruption_is_filmed(tmp_path: Path) -> None:
    """The interrupted sentence stops within 50 ms; the first and the last are whole."""
    path = tmp_path / "barge.mp4"
    with running_command("demo", "--record", str(path), "--say", SENTENCE, "--barge-in") as command:
        assert command.wait() == 0, command.output
        assert_nothing_is_left(command)
        found = re.search(r"interruption to last sound\s*│\s*(-?\d+) ms", command.output)
        assert found is not None, command.output
        assert int(found[1]) <= 50


@pytest.mark.parametrize(
    "stage",
    [
        "Starting a local Runway",
        pytest.param("Waiting for the face", marks=pytest.mark.long),
        "Ending the session",
        pytest.param("Measuring the film", marks=pytest.mark.long),
    ],
)
def test_ctrl_c_leaves_nothing(tmp_path: Path, stage: str) -> None:
    """At any stage it ends within 10 s with status 130, and no session and no process is left."""
    with running_command(
        "demo", "--record", str(tmp_path / "hello.mp4"), "--say", "Hello there!"
    ) as command:
        command.wait_for(f"… {stage}")
        command.interrupt()
        assert command.wait(10) == 130
        assert_nothing_is_left(command)
        assert "Stopped." in command.output
        if stage not in ("Starting a local Runway", "Waiting for the face"):
            assert command.output.count("Session ") == 1


@pytest.mark.parametrize("loaded", ["typer", "pipecat.frames.frames"])
def test_ctrl_c_while_it_loads_leaves_nothing(tmp_path: Path, loaded: str) -> None:
    """Before anything is open the process just ends.

    As Python itself starts up it answers Ctrl-C with a traceback, with status 1, or not at all:
    what is pressed before any of this is loaded is not ours to answer.
    """
    with running_command(
        "demo", "--record", str(tmp_path / "hello.mp4"), PYTHONPROFILEIMPORTTIME="1"
    ) as command:
        command.wait_for(f" {loaded}\n")
        command.interrupt()
        assert command.wait(10) in (130, -signal.SIGINT)
        assert "Starting a local Runway" not in command.output
        assert_nothing_is_left(command)


@pytest.mark.long
def test_pressing_ctrl_c_again_does_not_cut_the_end_short(tmp_path: Path) -> None:
    """Three times, and a SIGTERM: the session is ended all the same."""
    with running_command(
        "demo", "--record", str(tmp_path / "hello.mp4"), "--say", "Hello there!"
    ) as command:
        command.wait_for("… Speaking")
        for _ in range(3):
            command.interrupt()
        command.interrupt(signal.SIGTERM)
        assert command.wait(10) == 130
        assert_nothing_is_left(command)
        assert "Session" in command.output


@pytest.mark.parametrize(
    ("how", "question"),
    [
        (("--record", "hello.mp4"), "Film it?"),
        pytest.param(("--no-browser",), "Open the page?", marks=pytest.mark.long),
    ],
)
def test_the_real_thing_needs_its_settings_and_a_yes(
    tmp_path: Path, how: tuple[str, ...], question: str
) -> None:
    """--live names what is missing; with all of it, the price is told and nothing goes unasked."""
    how = tuple(str(tmp_path / word) if word.endswith(".mp4") else word for word in how)
    with running_command("demo", *how, "--live") as command:
        assert command.wait() == 2
        assert "RUNWAYML_API_SECRET" in command.output
    settings = {
        "RUNWAYML_API_SECRET": "key_" + "0" * 128,
        "LIVEKIT_URL": "wss://livekit.invalid",
        "LIVEKIT_API_KEY": "key",
        "LIVEKIT_API_SECRET": "secret",
    }
    with running_command("demo", *how, "--live", **settings) as command:
        assert command.wait() != 0  # nobody answers the question
        assert "20 credits" in command.output
        assert question in command.output
        assert "Waiting for the face" not in command.output
        assert "press Connect" not in command.output
