"""The commands and their options. Light to import: `pipecat` loads it with every command."""

import signal
from pathlib import Path
from typing import Annotated

import typer

from pipecat_runway import wire

SENTENCE = (
    "Hello! I am a face for your voice bot, and every word you hear me say is moving my lips."
)
PRESET = "cooking-teacher"

Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the log on stderr.")]

app = typer.Typer(
    help="A Runway Character as the face of a Pipecat bot.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _pipecat_runway() -> None:
    """A Runway Character as the face of a Pipecat bot."""


def _known_preset(preset: str) -> str:
    if preset not in wire.PRESETS:
        raise typer.BadParameter(
            f"Runway has no preset {preset!r}. It has: {', '.join(sorted(wire.PRESETS))}."
        )
    return preset


def _words(say: str) -> str:
    if not any(letter.isalnum() for letter in say):
        raise typer.BadParameter("there is nothing to say.")
    return say


def _film_name(record: Path | None) -> Path | None:
    if record is not None:
        if record.suffix.lower() != ".mp4":
            raise typer.BadParameter(f"{record} must end in .mp4.")
        if not record.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no directory {record.absolute().parent}.")
        if record.is_dir():
            raise typer.BadParameter(f"{record} is a directory.")
    return record


@app.command("demo")
def _demo(
    record: Annotated[
        Path | None,
        typer.Option(metavar="FILM.mp4", callback=_film_name, help="Where to write the film."),
    ] = None,
    say: Annotated[
        str, typer.Option(metavar="TEXT", callback=_words, help="What the face says.")
    ] = SENTENCE,
    preset: Annotated[
        str,
        typer.Option(metavar="ID", callback=_known_preset, help="One of Runway's characters."),
    ] = PRESET,
    barge_in: Annotated[
        bool, typer.Option("--barge-in", help="Interrupt a second sentence with a third.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Film the real Runway, with your key and LiveKit server. It costs credits.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --live.")] = False,
    verbose: Verbose = False,
) -> None:
    """Film a bot that speaks through a face: no key and no settings needed."""
    if record is None:
        raise typer.BadParameter(
            "a film name is needed, for example --record hello.mp4.", param_hint="--record"
        )
    _prepare(verbose)
    try:
        from pipecat_runway.cli import bot, demo
    except ModuleNotFoundError as e:
        raise _missing(e, "demo") from e
    script = bot.Script(record=record, say=say, preset=preset, barge_in=barge_in)
    raise typer.Exit(demo.main(script, live=live, ask=not yes))


@app.command("simulator")
def _simulator(
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Write the settings there, readable by you alone."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run a local Runway until Ctrl-C, and say which settings point at it."""
    _prepare(verbose)
    try:
        from pipecat_runway.cli import simulator
    except ModuleNotFoundError as e:
        raise _missing(e, "simulator") from e
    raise typer.Exit(simulator.main(env_file))


def _prepare(verbose: bool) -> None:
    """Set the process up before anything heavy is imported."""
    import logging

    from loguru import logger

    # Until an event loop takes over, nothing is open: Ctrl-C may end the process where it is.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not verbose:
        logger.remove()  # Pipecat greets in the log as it is imported
        logging.getLogger("livekit").setLevel(logging.CRITICAL)


def _missing(error: ModuleNotFoundError, extra: str) -> Exception:
    """Turn a missing module of ours into advice."""
    if error.name is None or error.name.partition(".")[0] == "pipecat_runway":
        return error
    return typer.BadParameter(
        f'{error.name} is not installed: pip install "pipecat-runway[{extra}]"'
    )
