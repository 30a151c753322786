"""The command ``pipecat-runway``: one Typer app, one module a command."""

import sys


def main() -> None:
    """Run the command line, or say in one sentence what it lacks."""
    try:
        from pipecat_runway.cli.app import app
    except ModuleNotFoundError as e:
        if e.name != "typer":
            raise
        sys.exit('The command line needs Typer: pip install "pipecat-runway[cli]"')
    except KeyboardInterrupt:  # while it loads
        sys.exit(130)
    app()
