"""Before Runway itself is used: its settings, what it costs, and a yes."""

import os
from collections.abc import Mapping
from typing import Any

import typer
from rich.console import Console

from pipecat_runway import wire

SETTINGS = (
    wire.ENV_API_SECRET,
    wire.ENV_LIVEKIT_URL,
    wire.ENV_LIVEKIT_API_KEY,
    wire.ENV_LIVEKIT_API_SECRET,
)
PRICE = (
    f"about {wire.CREDITS_A_MINUTE} credits ({wire.CREDITS_A_MINUTE / 100:.2f} USD) a minute as "
    "last seen, billed from the session's creation"
)


def access(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments that tell the service where Runway and LiveKit are, and with which keys.

    Args:
        env: Keys and addresses, under the names of their environment variables.
    """
    return {
        "api_key": env[wire.ENV_API_SECRET],
        "base_url": env.get(wire.ENV_BASE_URL),
        "livekit_url": env[wire.ENV_LIVEKIT_URL],
        "livekit_api_key": env[wire.ENV_LIVEKIT_API_KEY],
        "livekit_api_secret": env[wire.ENV_LIVEKIT_API_SECRET],
    }


def refusal(console: Console, *, live: bool, ask: bool, question: str, longest: int) -> int | None:
    """Name the cost of Runway itself, and ask.

    Args:
        console: Where to.
        live: Whether Runway itself is to be used.
        ask: Whether to ask before credits are spent.
        question: What is asked.
        longest: Seconds that a session can be billed for.

    Returns:
        None if the command may go on, otherwise its exit status.
    """
    missing = [name for name in SETTINGS if not os.environ.get(name)]
    if live and missing:
        console.print(f"--live needs {', '.join(missing)} in the environment.", style="red")
        return 2
    if live:
        console.print(
            f"This uses Runway itself: {PRICE}; a session ends after {longest} s at most."
        )
        if ask and not typer.confirm(question):
            return 0
    elif not missing:
        console.print(f"Your settings are left alone; --live uses Runway itself: {PRICE}.")
    return None
