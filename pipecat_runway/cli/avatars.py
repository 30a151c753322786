"""``pipecat-runway avatars``: characters of one's own."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import typer

from pipecat_runway.catalogue import Avatar, Voice
from pipecat_runway.characters import RunwayCharacters
from pipecat_runway.cli.account import Account, moment, row
from pipecat_runway.cli.consent import PRICE
from pipecat_runway.cli.documents import read
from pipecat_runway.cli.stages import Stages
from pipecat_runway.errors import AnswerLostError, APIError
from pipecat_runway.portrait import Portrait
from pipecat_runway.profiles import check_picture_url, check_profile, voice_of


@dataclass(frozen=True)
class Draft:
    """A character that is to be made; nothing in it would be refused.

    Attributes:
        name: What it is called.
        picture: What it looks like.
        voice: How it sounds.
        personality: What it is told about itself.
        start_script: What it says first.
        texts: What it knows, each with its name.
    """

    name: str
    picture: Portrait | str
    voice: str
    personality: str
    start_script: str | None
    texts: Sequence[tuple[str, str]]


def create(
    picture: str,
    *,
    name: str | None,
    voice: str,
    personality: str,
    start_script: str | None,
    files: Sequence[Path],
    ask: bool,
) -> int:
    """Make a character, and wait until it is READY.

    Args:
        picture: A file, or an https:// address.
        name: What it is called; None: as the picture.
        voice: One of Runway's, or an id.
        personality: What it is told about itself.
        start_script: What it says first.
        files: Texts it knows.
        ask: Whether to ask before anything is sent.

    Returns:
        The exit status.
    """
    account = Account()

    def work() -> int:
        draft = _draft(picture, name, voice, personality, start_script, files)
        account.say(
            "The picture and the texts go to Runway, which keeps them until they are deleted. What "
            "making a character costs is not documented where we could read it; its sessions cost "
            f"{PRICE}."
        )
        if ask and not typer.confirm(f"Make {draft.name}?"):
            return 0
        return account.do(partial(_create, account, draft))

    return account.told(work)


def show_all() -> int:
    """List the characters."""
    account = Account()
    return account.do(partial(_show_all, account))


def show(avatar_id: str) -> int:
    """Show what a character is made of."""
    account = Account()
    return account.do(partial(_show, account, avatar_id))


def delete(avatar_id: str, *, ask: bool) -> int:
    """Delete a character.

    Args:
        avatar_id: Its id.
        ask: Whether to ask.
    """
    account = Account()
    look = partial(_show, account, avatar_id)
    job = partial(_delete, account, avatar_id)
    return account.delete(look, "Delete it for good?", job, ask=ask)


def _draft(
    picture: str,
    name: str | None,
    voice: str,
    personality: str,
    start_script: str | None,
    files: Sequence[Path],
) -> Draft:
    is_address = "://" in picture
    if name is None:
        name = PurePosixPath(urlsplit(picture).path if is_address else picture).stem
    check_profile(
        name=name, personality=personality, start_script=start_script, documents=len(files)
    )
    voice_of(voice)
    if is_address:
        check_picture_url(picture)
    portrait = picture if is_address else Portrait.read(Path(picture))
    texts = [read(file) for file in files]
    return Draft(name, portrait, voice, personality, start_script, texts)


async def _create(account: Account, draft: Draft, characters: RunwayCharacters) -> None:
    async with _documents(account, draft.texts, characters) as document_ids:
        avatar = await characters.create_avatar(
            name=draft.name,
            picture=draft.picture,
            voice=draft.voice,
            personality=draft.personality,
            start_script=draft.start_script,
            document_ids=document_ids,
        )
    account.say(f"Created: {avatar.id}  {avatar.name}")
    with Stages(account.console).stage("Runway makes it"):
        await characters.wait_ready(avatar.id)
    account.say(f'READY. In your bot: RunwayVideoService.Settings(avatar_id="{avatar.id}")')


@contextlib.asynccontextmanager
async def _documents(
    account: Account, texts: Sequence[tuple[str, str]], characters: RunwayCharacters
) -> AsyncIterator[list[str]]:
    """Create the documents of a character; if that then cannot be made, none is left."""
    made: list[str] = []
    try:
        for name, content in texts:
            made.append((await characters.create_document(name=name, content=content)).id)
            account.say(f"Created: {made[-1]}  {name}")
        yield made
    except AnswerLostError:
        raise  # the character may exist, and know them
    except BaseException:
        for document_id in made:
            try:
                await characters.delete_document(document_id)
                account.say(f"Deleted: {document_id}")
            except APIError as e:
                account.say(f"NOT deleted: {document_id}. {e}")
        raise


async def _show_all(account: Account, characters: RunwayCharacters) -> None:
    found = await characters.avatars()
    for avatar in found:
        account.say(f"{avatar.id}  {avatar.status:<10}  {avatar.name}  ({_voice(avatar.voice)})")
    if not found:
        account.say("The key sees no character of your own.")


async def _show(account: Account, avatar_id: str, characters: RunwayCharacters) -> None:
    avatar = await characters.avatar(avatar_id)
    account.say(avatar.name)
    for what, value in _description(avatar):
        account.say(row(what, value))


def _description(avatar: Avatar) -> list[tuple[str, object]]:
    rows: list[tuple[str, object]] = [
        ("id", avatar.id),
        ("status", avatar.status),
        ("voice", _voice(avatar.voice)),
        ("created", moment(avatar.created_at)),
        ("changed", moment(avatar.updated_at)),
        ("documents", ", ".join(avatar.document_ids) or "none"),
        ("says first", avatar.start_script or "nothing"),
        ("personality", avatar.personality),
    ]
    if avatar.failure_reason:
        rows.insert(2, ("failed", avatar.failure_reason))
    return rows


def _voice(voice: Voice) -> str:
    return voice.preset_id or voice.name or voice.id or "unknown"


async def _delete(account: Account, avatar_id: str, characters: RunwayCharacters) -> None:
    await characters.delete_avatar(avatar_id)
    account.say(f"Deleted: {avatar_id}. Its documents stay; `documents list` has them.")
