"""What every command does first, and the options that many have. Light to import."""

import signal
from typing import Annotated

import typer

from pipecat_runway.errors import ConfigError
from pipecat_runway.profiles import check_id


def _an_id(value: str) -> str:
    try:
        check_id("ID", value)
    except ConfigError as e:
        raise typer.BadParameter(str(e)) from None
    return value


Id = Annotated[str, typer.Argument(metavar="ID", callback=_an_id, help="As it was printed.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on stderr.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def prepare(verbose: bool) -> None:
    """Set the process up before anything heavy is imported.

    Args:
        verbose: Whether the log is shown.
    """
    import logging

    from loguru import logger

    # Until an event loop takes over, nothing is open: Ctrl-C may end the process where it is.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not verbose:
        logger.remove()  # Pipecat greets in the log as it is imported
        logging.getLogger("livekit").setLevel(logging.CRITICAL)
