"""The commands and their options. Light to import: `pipecat` loads it with every command."""

from pathlib import Path
from typing import Annotated

import typer

from pipecat_runway import wire
from pipecat_runway.cli.library import avatars_app, documents_app
from pipecat_runway.cli.preparing import Id, Verbose, Yes, prepare

SENTENCE = (
    "Hello! I am a face for your voice bot, and every word you hear me say is moving my lips."
)
PRESET = "cooking-teacher"
PORT = 7860  # where Pipecat's own runner serves this page

app = typer.Typer(
    help="A Runway Character as the face of a Pipecat bot.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


sessions_app = typer.Typer(
    help="What is left, or kept, of Runway sessions, and its end.", no_args_is_help=True
)
app.add_typer(sessions_app, name="sessions")
app.add_typer(avatars_app, name="avatars")
app.add_typer(documents_app, name="documents")


@app.callback()
def _pipecat_runway() -> None:
    """A Runway Character as the face of a Pipecat bot."""


def _known_preset(preset: str) -> str:
    if preset not in wire.PRESETS:
        raise typer.BadParameter(
            f"Runway has no preset {preset!r}. It has: {', '.join(sorted(wire.PRESETS))}."
        )
    return preset


def _words(say: str | None) -> str | None:
    if say is not None and not any(letter.isalnum() for letter in say):
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
        typer.Option(
            metavar="FILM.mp4", callback=_film_name, help="Film it there, instead of a page."
        ),
    ] = None,
    say: Annotated[
        str | None,
        typer.Option(metavar="TEXT", callback=_words, help="What the face says in the film."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(metavar="ID", callback=_known_preset, help="One of Runway's characters."),
    ] = PRESET,
    barge_in: Annotated[
        bool, typer.Option("--barge-in", help="In the film, interrupt a sentence with another.")
    ] = False,
    port: Annotated[
        int,
        typer.Option(metavar="N", min=0, max=65535, help="Of the page; a free one if taken."),
    ] = PORT,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Leave opening the page to you.")
    ] = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="The real Runway, with your key and LiveKit server. It costs credits."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --live.")] = False,
    verbose: Verbose = False,
) -> None:
    """Talk to a face in your browser, or film one: no key and no settings needed."""
    if record is None and (say is not None or barge_in):
        raise typer.BadParameter(
            "--say and --barge-in are for a film: give --record hello.mp4 too.",
            param_hint="--record",
        )
    prepare(verbose)
    try:
        if record is None:
            from pipecat_runway.cli import page
        else:
            from pipecat_runway.cli import bot, demo
    except ImportError as e:
        raise _missing(e, "demo") from e
    if record is None:
        status = page.main(preset, live=live, ask=not yes, port=port, open_browser=not no_browser)
    else:
        script = bot.Script(record, say or SENTENCE, preset, barge_in)
        status = demo.main(script, live=live, ask=not yes)
    raise typer.Exit(status)


simulator_app = typer.Typer(invoke_without_command=True)
app.add_typer(simulator_app, name="simulator")


@simulator_app.callback()
def _simulator(
    context: typer.Context,
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Write the settings there, readable by you alone."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault", metavar="NAME=VALUE", help="Begin with this; may be given several times."
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Run a local Runway until Ctrl-C, and say which settings point at it."""
    if context.invoked_subcommand is not None:
        return
    prepare(verbose)
    try:
        from pipecat_runway.cli import simulator
    except ModuleNotFoundError as e:
        raise _missing(e, "simulator") from e
    try:
        faults = simulator.knobs(fault or [])
    except ValueError as e:
        raise typer.BadParameter(str(e), param_hint="--fault") from None
    raise typer.Exit(simulator.main(env_file, faults))


@simulator_app.command("fault")
def _fault(
    switches: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME[=VALUE][@[speech:]SECONDS]", help="None lists them all."),
    ] = None,
    session: Annotated[
        str | None, typer.Option(metavar="ID", help="Whose; left out, all that are open.")
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Where the settings stand; left out, the environment."),
    ] = None,
) -> None:
    """Turn knobs of a running local Runway, or do something to its sessions."""
    try:
        from pipecat_runway.cli import switches as command
    except ModuleNotFoundError as e:
        raise _missing(e, "simulator") from e
    raise typer.Exit(command.main(switches or [], session, env_file))


def _report_name(report: Path | None) -> Path | None:
    if report is not None:
        if report.suffix not in (".json", ".md"):
            raise typer.BadParameter(f"{report} must end in .json or .md.")
        if not report.absolute().parent.is_dir():
            raise typer.BadParameter(f"there is no directory {report.absolute().parent}.")
    return report


@app.command("doctor")
def _doctor(
    preset: Annotated[str, typer.Option(metavar="ID", help="One of Runway's characters.")] = PRESET,
    avatar_id: Annotated[
        str | None, typer.Option(metavar="UUID", help="A character of your own, instead.")
    ] = None,
    speak: Annotated[
        bool,
        typer.Option("--speak", help="Speak through a real session, for 60 s at most. It costs."),
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=_report_name, help="Write it there: .json, or .md for people."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before --speak.")] = False,
    verbose: Verbose = False,
) -> None:
    """Say what is wrong with key, account, avatar, LiveKit server, clock or versions."""
    prepare(verbose)
    try:
        from pipecat_runway.cli import doctor
    except ModuleNotFoundError as e:
        raise _missing(e, "simulator") from e
    character = {"type": "runway-preset", "preset_id": preset}
    if avatar_id is not None:
        character = {"type": "custom", "avatar_id": avatar_id}
    raise typer.Exit(doctor.main(character, speak=speak, report=report, ask=not yes))


@sessions_app.command("list")
def _list_sessions(verbose: Verbose = False) -> None:
    """List the sessions and rooms of this disk and of your LiveKit server; none is touched."""
    prepare(verbose)
    from pipecat_runway.cli import sessions

    raise typer.Exit(sessions.show())


@sessions_app.command("reap")
def _reap_sessions(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be ended.")
    ] = False,
    host_gone: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A host that is no more: its sessions end, too."),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """End the sessions, and delete the rooms, whose process is gone; a live call is left alone."""
    prepare(verbose)
    from pipecat_runway.cli import sessions

    raise typer.Exit(sessions.reap(dry_run=dry_run, gone=host_gone or ()))


@sessions_app.command("show")
def _show_session(session_id: Id, verbose: Verbose = False) -> None:
    """Show what Runway keeps of a session: status, transcript, the recording's address, usage."""
    prepare(verbose)
    from pipecat_runway.cli import records

    raise typer.Exit(records.show(session_id))


@sessions_app.command("delete")
def _delete_session(session_id: Id, yes: Yes = False, verbose: Verbose = False) -> None:
    """Delete a session's transcript and recording at Runway for good; one that is open is ended."""
    prepare(verbose)
    from pipecat_runway.cli import records

    raise typer.Exit(records.delete(session_id, ask=not yes))


def _missing(error: ImportError, extra: str) -> Exception:
    """Turn a missing module of others into advice."""
    missing = error.__cause__ or error  # Pipecat raises an error of its own in front of it
    if not isinstance(missing, ModuleNotFoundError) or missing.name is None:
        return error
    if missing.name.partition(".")[0] == "pipecat_runway":
        return error
    return typer.BadParameter(
        f'{missing.name} is not installed: pip install "pipecat-runway[{extra}]"'
    )
