"""The commands about characters and what they know, and their options. Light to import."""

from pathlib import Path
from typing import Annotated

import typer

from pipecat_runway.cli.preparing import Id, Verbose, Yes, prepare

avatars_app = typer.Typer(help="Characters of your own, at Runway.", no_args_is_help=True)
documents_app = typer.Typer(help="Texts that characters know, at Runway.", no_args_is_help=True)


@avatars_app.command("create")
def _create_avatar(
    picture: Annotated[
        str, typer.Argument(metavar="PICTURE", help="A JPEG, PNG or WebP file, or its https://.")
    ],
    voice: Annotated[
        str, typer.Option(metavar="NAME", help="One of Runway's voices, or the id of your own.")
    ],
    personality: Annotated[str, typer.Option(metavar="TEXT", help="What it is told about itself.")],
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Left out, the picture's.")
    ] = None,
    start_script: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it says first.")
    ] = None,
    document: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A text it knows; may be given several times."),
    ] = None,
    yes: Yes = False,
    verbose: Verbose = False,
) -> None:
    """Make a character from a picture, and wait until it is READY."""
    prepare(verbose)
    from pipecat_runway.cli import avatars

    status = avatars.create(
        picture,
        name=name,
        voice=voice,
        personality=personality,
        start_script=start_script,
        files=document or [],
        ask=not yes,
    )
    raise typer.Exit(status)


@avatars_app.command("list")
def _list_avatars(verbose: Verbose = False) -> None:
    """List the characters that the key can see."""
    prepare(verbose)
    from pipecat_runway.cli import avatars

    raise typer.Exit(avatars.show_all())


@avatars_app.command("show")
def _show_avatar(avatar_id: Id, verbose: Verbose = False) -> None:
    """Show what a character is made of."""
    prepare(verbose)
    from pipecat_runway.cli import avatars

    raise typer.Exit(avatars.show(avatar_id))


@avatars_app.command("delete")
def _delete_avatar(avatar_id: Id, yes: Yes = False, verbose: Verbose = False) -> None:
    """Delete a character for good; its documents stay."""
    prepare(verbose)
    from pipecat_runway.cli import avatars

    raise typer.Exit(avatars.delete(avatar_id, ask=not yes))


@documents_app.command("create")
def _create_document(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Plain text or Markdown, UTF-8.")],
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Left out, the file's.")] = None,
    verbose: Verbose = False,
) -> None:
    """Give Runway a text that characters can know."""
    prepare(verbose)
    from pipecat_runway.cli import documents

    raise typer.Exit(documents.create(file, name))


@documents_app.command("list")
def _list_documents(verbose: Verbose = False) -> None:
    """List the documents, and who knows them."""
    prepare(verbose)
    from pipecat_runway.cli import documents

    raise typer.Exit(documents.show_all())


@documents_app.command("show")
def _show_document(document_id: Id, verbose: Verbose = False) -> None:
    """Show a document with its text."""
    prepare(verbose)
    from pipecat_runway.cli import documents

    raise typer.Exit(documents.show(document_id))


@documents_app.command("delete")
def _delete_document(document_id: Id, yes: Yes = False, verbose: Verbose = False) -> None:
    """Delete a document for good; every character forgets it."""
    prepare(verbose)
    from pipecat_runway.cli import documents

    raise typer.Exit(documents.delete(document_id, ask=not yes))
