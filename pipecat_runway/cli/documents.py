"""``pipecat-runway documents``: the texts that characters know."""

from functools import partial
from pathlib import Path

from pipecat_runway import wire
from pipecat_runway.catalogue import Document
from pipecat_runway.characters import RunwayCharacters
from pipecat_runway.cli.account import Account, moment, row
from pipecat_runway.errors import ConfigError
from pipecat_runway.profiles import check_document

LONGEST_CHARACTER = 4  # bytes, in UTF-8


def create(file: Path, name: str | None) -> int:
    """Create a document of a file.

    Returns:
        The exit status.
    """
    account = Account()

    def work() -> int:
        title, content = read(file, name)
        return account.do(partial(_create, account, title, content))

    return account.told(work)


def show_all() -> int:
    """List the documents."""
    account = Account()
    return account.do(partial(_show_all, account))


def show(document_id: str) -> int:
    """Show a document with its text."""
    account = Account()
    return account.do(partial(_show, account, document_id))


def delete(document_id: str, *, ask: bool) -> int:
    """Delete a document.

    Args:
        document_id: Its id.
        ask: Whether to ask.
    """
    account = Account()
    look = partial(_describe, account, document_id)
    job = partial(_delete, account, document_id)
    return account.delete(look, "Delete it for good?", job, ask=ask)


def read(file: Path, name: str | None = None) -> tuple[str, str]:
    """Read a text that is to be a document.

    Args:
        file: Where it is.
        name: What the document is called; None: as the file.

    Returns:
        Its name and its content.

    Raises:
        ConfigError: Runway would refuse it.
    """
    try:
        if not file.is_file() and file.exists():  # a pipe would be waited for
            raise ConfigError("document is no file", advice=f"Check {file}.")
        if (size := file.stat().st_size) > LONGEST_CHARACTER * wire.MAX_DOCUMENT:
            raise ConfigError(
                f"document has {size} bytes, Runway takes {wire.MAX_DOCUMENT} characters",
                advice="Make several documents of it.",
            )
        content = file.read_text(encoding="utf-8")
    except OSError as e:
        raise ConfigError(f"document cannot be read ({e.strerror})", advice=f"Check {file}.") from e
    except UnicodeDecodeError as e:
        raise ConfigError(
            f"document is no text, its byte {e.start} is not UTF-8",
            advice=f"Save {file} as UTF-8; Runway takes plain text and Markdown.",
        ) from None  # the cause holds the text
    name = file.name if name is None else name
    check_document(name, content)
    return name, content


async def _create(account: Account, name: str, content: str, characters: RunwayCharacters) -> None:
    document = await characters.create_document(name=name, content=content)
    account.say(f"Created: {document.id}  {document.name}")


async def _show_all(account: Account, characters: RunwayCharacters) -> None:
    found = await characters.documents()
    for document in found:
        users = ", ".join(user.name for user in document.used_by) or "nobody"
        account.say(f"{document.id}  {document.name}  (known to {users})")
    if not found:
        account.say("There is no document.")


async def _show(account: Account, document_id: str, characters: RunwayCharacters) -> None:
    document = await _describe(account, document_id, characters)
    account.say(f"\n{document.content or ''}")


async def _describe(account: Account, document_id: str, characters: RunwayCharacters) -> Document:
    document = await characters.document(document_id)
    account.say(document.name)
    account.say(row("id", document.id))
    account.say(row("characters", len(document.content or "")))
    account.say(row("created", moment(document.created_at)))
    account.say(row("known to", ", ".join(user.name for user in document.used_by) or "nobody"))
    return document


async def _delete(account: Account, document_id: str, characters: RunwayCharacters) -> None:
    await characters.delete_document(document_id)
    account.say(f"Deleted: {document_id}")
