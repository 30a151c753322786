"""``pipecat-runway simulator fault``: turn a running local Runway's knobs over HTTP."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console

from pipecat_runway import wire
from pipecat_runway.simulator.console import PATH

TIMEOUT = 90.0  # s; a LiveKit server may be told to stay away for a minute


def main(switches: Sequence[str], session: str | None, env_file: Path | None) -> int:
    """Throw switches; without any, list what there is.

    Args:
        switches: As the switchboard reads them.
        session: Whose; None for all that are open.
        env_file: The file of settings the simulator has written; None takes the environment.

    Returns:
        The exit status.
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    try:
        env = os.environ if env_file is None else _settings(env_file)
        answer = _ask(env, switches, session)
    except (OSError, ValueError) as error:
        console.print(str(error))
        return 1
    if not switches:
        for name, value in answer["knobs"].items():
            print(f"{name}={_shown(value)}")
        print("actions:", ", ".join(answer["actions"]))
        for each in answer["sessions"]:
            print("session:", each["id"], each["status"])
    return 0


def _ask(env: Mapping[str, str], switches: Sequence[str], session: str | None) -> Any:
    base_url, key = env.get(wire.ENV_BASE_URL, ""), env.get(wire.ENV_API_SECRET, "")
    if not (key and _is_here(base_url)):
        raise ValueError(
            f"{wire.ENV_BASE_URL} and {wire.ENV_API_SECRET} name no simulator on this machine: "
            "give --env-file as you gave it to the simulator."
        )
    body = {"switches": list(switches)} | ({"session": session} if session else {})
    request = urllib.request.Request(
        base_url.rstrip("/") + PATH,
        data=json.dumps(body).encode() if switches else None,
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            raise ValueError(_reason(error)) from None
    except urllib.error.URLError as error:
        raise OSError(f"There is no simulator at {base_url} ({error.reason}).") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{error.url} answered {error.code}, so it is no simulator."


def _is_here(base_url: str) -> bool:
    """Whether an address is this machine's: a key is sent nowhere else."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _settings(path: Path) -> dict[str, str]:
    pairs = (line.partition("=") for line in path.read_text().splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _shown(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(value) or "none"
    return str(value)
