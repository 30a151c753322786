"""Characters of one's own and what they know; and what Runway keeps of their conversations.

What only reads is repeated for 5 s. What makes or deletes something is sent once.
"""

import asyncio
import datetime
import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, TypeVar

import httpx
import runwayml
from runwayml import AsyncRunwayML
from runwayml.pagination import AsyncCursorPage

from pipecat_runway import wire
from pipecat_runway.catalogue import Avatar, Conversation, Document, Usage
from pipecat_runway.client import RunwayClient, repeated
from pipecat_runway.errors import (
    APIError,
    AvatarNotReadyError,
    ConfigError,
    UnknownAvatarError,
    UnknownDocumentError,
)
from pipecat_runway.portrait import Portrait
from pipecat_runway.profiles import (
    check_document,
    check_id,
    check_picture_url,
    check_profile,
    voice_of,
)

READY_TIMEOUT = 120.0  # s a character is waited for; MEET waits 60 s after a change
PAUSES = (0.2, 0.5, 1.0, 2.0)  # s between looks at it; the last one (MEET's) from then on
UPLOAD_BOUND = 120.0  # s
PAGES = 100  # of a list that are read
LONGEST_USAGE = datetime.timedelta(days=90)  # API reference: GET /v1/avatar_usage
REASON = 200  # characters of a failure's reason that are repeated

_Kind = TypeVar("_Kind", Avatar, Conversation, Document, Usage)


class RunwayCharacters(RunwayClient):
    """The account's characters, documents and conversations; an async context manager.

    Every method raises a `ConfigError` before anything is sent if Runway would refuse it, and an
    `APIError` if Runway refused, or could not be reached.

    Args:
        api_key: The API secret; None: that of `RUNWAYML_API_SECRET`.
        base_url: Where the API is; None: where `RUNWAYML_BASE_URL` says, or Runway's own.
        client: A client to use instead. It stays the caller's: it is not closed here.

    Raises:
        ConfigError: There is neither a key nor a client, or `base_url` is no address.
    """

    LONGEST_ANSWER: ClassVar = 8 * 1024 * 1024  # bytes: a page of characters may have 5 MB

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        client: AsyncRunwayML | None = None,
    ) -> None:
        super().__init__(
            api_key=api_key or os.environ.get(wire.ENV_API_SECRET),
            base_url=base_url or os.environ.get(wire.ENV_BASE_URL),
            client=client,
        )

    # -- characters ---------------------------------------------------------------------------

    async def create_avatar(
        self,
        *,
        name: str,
        picture: Portrait | str,
        voice: str,
        personality: str,
        start_script: str | None = None,
        document_ids: Sequence[str] = (),
    ) -> Avatar:
        """Create a character. It is PROCESSING at first, see :meth:`wait_ready`.

        Args:
            name: What it is called, up to 50 characters.
            picture: What it looks like: `Portrait.read(path)`, which is uploaded, or a public
                https:// address.
            voice: One of Runway's voices by its name, or one of your own by its id.
            personality: What it is told about itself, up to 10,000 characters.
            start_script: What it says first, up to 2,000 characters.
            document_ids: What it knows, 50 at most.

        Raises:
            AnswerLostError: The answer was lost; the character may exist.
        """
        check_profile(
            name=name,
            personality=personality,
            start_script=start_script,
            documents=len(document_ids),
        )
        for document_id in document_ids:
            check_id("document_ids", document_id)
        body: dict[str, Any] = {"name": name, "personality": personality, "voice": voice_of(voice)}
        if start_script is not None:
            body["start_script"] = start_script
        if document_ids:
            body["document_ids"] = list(document_ids)
        if isinstance(picture, str):
            check_picture_url(picture)
            body["reference_image"] = picture
        else:
            body["reference_image"] = await self._upload(picture)
        lost = "The avatar may exist: look at the list before you create another."
        async with self._asking("create the avatar", lost=lost):
            return _read(Avatar, await self._client.avatars.create(**body))

    async def avatars(self) -> list[Avatar]:
        """Return every character that the key can see."""
        return await self._all(Avatar, "list the avatars", self._client.avatars.list)

    async def avatar(self, avatar_id: str) -> Avatar:
        """Return a character.

        Raises:
            UnknownAvatarError: The key cannot see it.
        """
        check_id("avatar_id", avatar_id)

        async def read() -> Avatar:
            async with self._asking("read the avatar", missing=UnknownAvatarError):
                return _read(Avatar, await self._client.avatars.retrieve(avatar_id))

        return await repeated(read)

    async def wait_ready(self, avatar_id: str, *, timeout: float = READY_TIMEOUT) -> Avatar:
        """Wait until a character is READY, and return it.

        Args:
            avatar_id: Its id.
            timeout: Longest time to wait, in s.

        Raises:
            AvatarNotReadyError: It is FAILED, or still PROCESSING after `timeout`.
            UnknownAvatarError: The key cannot see it.
        """
        try:
            async with asyncio.timeout(timeout):
                for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
                    avatar = await self.avatar(avatar_id)
                    if avatar.is_ready:
                        return avatar
                    if avatar.status == wire.FAILED_STATUS:
                        raise AvatarNotReadyError(
                            f"Runway could not make the avatar {avatar_id}, it says "
                            f"{_reason(avatar)!r}",
                            status=avatar.status,
                        )
                    await asyncio.sleep(pause)
        except TimeoutError:
            pass
        raise AvatarNotReadyError(
            f"the avatar {avatar_id} is still being made after {timeout:g} s",
            status="PROCESSING",
            advice="Look at it again later; do not create another.",
        )

    async def delete_avatar(self, avatar_id: str) -> None:
        """Delete a character for good. Its documents stay.

        Raises:
            UnknownAvatarError: The key cannot see it.
        """
        check_id("avatar_id", avatar_id)
        async with self._asking("delete the avatar", missing=UnknownAvatarError):
            await self._client.avatars.delete(avatar_id)

    # -- documents ----------------------------------------------------------------------------

    async def create_document(self, *, name: str, content: str) -> Document:
        """Create a document. Characters can be given it at once.

        Args:
            name: What it is called, up to 255 characters.
            content: Plain text or Markdown, up to 200,000 characters.

        Raises:
            AnswerLostError: The answer was lost; the document may exist.
        """
        check_document(name, content)
        lost = "The document may exist: look at the list before you create another."
        async with self._asking("create the document", lost=lost):
            return _read(Document, await self._client.documents.create(name=name, content=content))

    async def documents(self) -> list[Document]:
        """Return every document, without its content; the newest first."""
        return await self._all(
            Document,
            "list the documents",
            self._client.documents.list,
            sort="createdAt",
            order="desc",
        )

    async def document(self, document_id: str) -> Document:
        """Return a document with its content.

        Raises:
            UnknownDocumentError: There is none of this id.
        """
        check_id("document_id", document_id)

        async def read() -> Document:
            async with self._asking("read the document", missing=UnknownDocumentError):
                return _read(Document, await self._client.documents.retrieve(document_id))

        return await repeated(read)

    async def delete_document(self, document_id: str) -> None:
        """Delete a document for good. Every character forgets it.

        Raises:
            UnknownDocumentError: There is none of this id.
        """
        check_id("document_id", document_id)
        async with self._asking("delete the document", missing=UnknownDocumentError):
            await self._client.documents.delete(document_id)

    # -- conversations ------------------------------------------------------------------------

    async def conversations(self, avatar_id: str | None = None) -> list[Conversation]:
        """Return what is kept of sessions, without transcripts.

        Args:
            avatar_id: Only those with this character of your own.
        """
        only = {}
        if avatar_id is not None:
            check_id("avatar_id", avatar_id)
            only["avatar"] = avatar_id
        listed = self._client.avatar_conversations.list
        return await self._all(Conversation, "list the conversations", listed, **only)

    async def conversation(self, session_id: str) -> Conversation:
        """Return what is kept of a session: transcript and recording.

        Raises:
            APIError: Nothing is kept of it (`status_code` 404); or Runway could not be reached.
        """
        check_id("session_id", session_id)

        async def read() -> Conversation:
            async with self._asking("read the conversation", session_id):
                return _read(
                    Conversation, await self._client.avatar_conversations.retrieve(session_id)
                )

        return await repeated(read)

    async def delete_conversation(self, session_id: str) -> None:
        """Delete what is kept of a session for good."""
        check_id("session_id", session_id)
        async with self._asking("delete the conversation", session_id):
            await self._client.avatar_conversations.delete(session_id)

    async def usage(self, start: datetime.datetime, end: datetime.datetime) -> Usage:
        """Return how many sessions there were, and how long they were together.

        Args:
            start: From when, with its time zone.
            end: Until when, at most 90 days later.
        """
        if start.tzinfo is None or end.tzinfo is None:
            raise ConfigError(
                "start and end must have a time zone", advice="Give datetime.UTC, for example."
            )
        if not datetime.timedelta(0) < end - start <= LONGEST_USAGE:
            raise ConfigError(
                f"end is {(end - start).days} days after start, Runway takes up to 90",
                advice="Ask for shorter times, one after another.",
            )

        # As text: of a time the client makes +00:00, and the API takes Z only (OAS).
        since, until = (f"{at.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}" for at in (start, end))

        async def read() -> Usage:
            async with self._asking("read the usage"):
                answer = await self._client.avatars.get_usage(start_date=since, end_date=until)
                return _read(Usage, answer)

        return await repeated(read)

    # -- requests -----------------------------------------------------------------------------

    async def _upload(self, picture: Portrait) -> str:
        """Put a picture where Runway finds it, for a day, and return its address."""
        try:
            async with self._asking("upload the picture", bound=UPLOAD_BOUND):
                try:
                    answer = await self._client.uploads.create_ephemeral(
                        file=(picture.filename, picture.data, picture.media_type),
                        timeout=httpx.Timeout(UPLOAD_BOUND, connect=5.0),
                    )
                except httpx.TransportError as e:  # the client hands on those of the storage
                    raise runwayml.APIConnectionError(request=e.request) from e
                return answer.uri
        except APIError as e:
            cause = e.__cause__
            if not isinstance(cause, runwayml.APIStatusError):
                raise
            if cause.request.url.path.endswith("/v1/uploads"):
                raise
            raise APIError(  # not Runway's API: a 403 there says nothing of the key
                "the storage that Runway named would not take the picture "
                f"(HTTP {cause.status_code})",
                status_code=cause.status_code,
                advice="Nothing was created: try again.",
            ) from cause

    async def _all(
        self,
        kind: type[_Kind],
        action: str,
        listed: Callable[..., Awaitable[AsyncCursorPage[Any]]],
        **query: str,
    ) -> list[_Kind]:
        """Read every page of a list."""
        found: list[_Kind] = []
        for _ in range(PAGES):

            async def read() -> tuple[list[_Kind], str | None]:
                async with self._asking(action):
                    page = await listed(limit=wire.MAX_PAGE, **query)
                    return [_read(kind, entry) for entry in page.data], page.next_cursor

            entries, cursor = await repeated(read)
            found += entries
            if not cursor:
                return found
            query["cursor"] = cursor
        raise APIError(f"Runway's API would not {action} within {PAGES} pages", advice="")


def _read(kind: type[_Kind], answer: Any) -> _Kind:
    """Read an answer; the client hands on whatever came.

    Raises:
        ValueError: It is none of this kind.
    """
    # The client's own model may know less than what came, and would warn of that with a quotation.
    return kind.model_validate(answer.to_dict(warnings=False))


def _reason(avatar: Avatar) -> str:
    """Return why it failed, in one line that is safe to print."""
    words = " ".join((avatar.failure_reason or "nothing").split())[:REASON]
    return "".join(letter for letter in words if letter.isprintable())
