"""``pipecat-runway simulator``, as a user runs it."""

import json
import signal
import stat
import urllib.request
from pathlib import Path

import pytest

from pipecat_runway import wire

from .processes import running_command

NAMES = {
    wire.ENV_API_SECRET,
    wire.ENV_BASE_URL,
    wire.ENV_LIVEKIT_URL,
    wire.ENV_LIVEKIT_API_KEY,
    wire.ENV_LIVEKIT_API_SECRET,
}


def settings(lines: str) -> dict[str, str]:
    """The settings in lines of NAME=value."""
    pairs = (line.partition("=") for line in lines.splitlines() if "=" in line)
    return {name: value for name, _, value in pairs if name in NAMES}


def organization(env: dict[str, str]) -> dict[str, object]:
    """What the running simulator answers."""
    request = urllib.request.Request(
        f"{env[wire.ENV_BASE_URL]}/v1/organization",
        headers={
            "Authorization": f"Bearer {env[wire.ENV_API_SECRET]}",
            "X-Runway-Version": "2024-11-06",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_it_prints_settings_that_work_until_ctrl_c() -> None:
    """Five settings on stdout, a working API behind them; then status 0 and nothing left."""
    with running_command("simulator") as command:
        command.wait_for("A local Runway is running")
        env = settings(command.output)
        assert set(env) == NAMES
        assert "creditBalance" in organization(env)
        command.interrupt()
        assert command.wait(10) == 0
        assert not command.left()


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_file_of_settings_is_for_its_owner_and_goes_with_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Mode 0600, nothing secret on the screen, removed at the end."""
    path = tmp_path / "runway.env"
    with running_command("simulator", "--env-file", str(path)) as command:
        command.wait_for("A local Runway is running")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        env = settings(path.read_text())
        assert set(env) == NAMES
        assert "creditBalance" in organization(env)
        assert env[wire.ENV_API_SECRET] not in command.output
        assert env[wire.ENV_LIVEKIT_API_SECRET] not in command.output
        command.interrupt(number)
        assert command.wait(10) == 0
        assert not command.left()
    assert not path.exists()


def test_a_file_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    """An .env that the simulator has not written is not touched."""
    path = tmp_path / ".env"
    path.write_text("RUNWAYML_API_SECRET=precious\n")
    with running_command("simulator", "--env-file", str(path)) as command:
        assert command.wait(20) == 1
        assert "is not the simulator's own" in " ".join(command.output.split())
        assert not command.left()
    assert path.read_text() == "RUNWAYML_API_SECRET=precious\n"


def test_ctrl_c_while_it_starts_leaves_nothing() -> None:
    """No process outlives it."""
    with running_command("simulator") as command:
        command.wait_for("Starting the local Runway")
        command.interrupt()
        command.wait(10)
        assert not command.left()


def test_it_begins_with_faults_and_takes_more(tmp_path: Path) -> None:
    """`--fault` before, `simulator fault` while it runs; mistakes are named, and change nothing."""
    path = tmp_path / "runway.env"
    options = ("--env-file", str(path), "--fault", "no_credits=yes", "--fault", "kill@speech:2")
    with running_command("simulator", *options) as command:
        command.wait_for("A local Runway is running")
        env = settings(path.read_text())
        assert organization(env)["creditBalance"] == 0
        where = ("--env-file", str(path))
        assert fault("no_credits=no", "gain=0.5", *where) == (0, "")
        assert organization(env)["creditBalance"] == 10_000
        status, listed = fault(*where)
        assert status == 0
        assert {"gain=0.5", "no_credits=no", "script=kill@speech:2"} <= set(listed.splitlines())
        for mistake, why in (
            ("gian=2", "no switch 'gian'; is it gain?"),
            ("kill", "no session is open for kill"),
        ):
            status, said = fault(mistake, *where)
            assert status == 1
            assert why in said
        command.interrupt()
        assert command.wait(10) == 0
        assert not command.left()
    status, said = fault("kill", **env)
    assert status == 1
    assert "There is no simulator at" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--fault", "gian=2"), "is it gain?"),
        (("--fault", "kill"), "kill needs a moment here, such as kill@2.5"),
        (("fault", "kill"), "name no simulator on this machine"),
    ],
)
def test_a_fault_that_makes_no_sense_starts_nothing(arguments: tuple[str, ...], why: str) -> None:
    """The mistake is named, and no key is sent to anybody but a simulator."""
    elsewhere = {
        wire.ENV_BASE_URL: "https://api.dev.runwayml.com",
        wire.ENV_API_SECRET: "key_precious",
    }
    with running_command("simulator", *arguments, **elsewhere) as command:
        assert command.wait(20) != 0
        assert why in " ".join(command.output.replace("│", " ").split())
        assert "key_precious" not in command.output


def fault(*arguments: str, **environment: str) -> tuple[int, str]:
    """What `pipecat-runway simulator fault` answers."""
    with running_command("simulator", "fault", *arguments, **environment) as command:
        status = command.wait(20)
        return status, command.output
