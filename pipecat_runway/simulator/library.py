"""What the simulated account keeps: its avatars, the documents they know, and uploaded files."""

import asyncio
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from pipecat_runway.simulator.avatars import AVATARS, SimulatedAvatar, timestamp
from pipecat_runway.simulator.faults import Faults

UPLOADED = "runway://"


@dataclass(frozen=True, kw_only=True)
class SimulatedDocument:
    """A document that avatars may know.

    Attributes:
        id: UUID version 4.
        name: Its name.
        content: Its text.
        created_at: When it was created, UTC.
        updated_at: When it was changed last, UTC.
    """

    id: str
    name: str
    content: str = field(repr=False)
    created_at: datetime
    updated_at: datetime


@dataclass(kw_only=True)
class Upload:
    """A file that may be uploaded, or has been.

    Attributes:
        filename: Its name.
        content: What is in it; None: it has not come yet.
    """

    filename: str
    content: bytes | None = field(default=None, repr=False)


class Library:
    """Avatars, documents and files, with the ties between them.

    Attributes:
        avatars: By id.
        documents: By id.
        uploads: By id.
    """

    def __init__(self) -> None:
        self.avatars: dict[str, SimulatedAvatar] = {avatar.id: avatar for avatar in AVATARS}
        self.documents: dict[str, SimulatedDocument] = {}
        self.uploads: dict[str, Upload] = {}
        self._processing: dict[str, asyncio.TimerHandle] = {}

    def close(self) -> None:
        """Finish nothing any more."""
        for timer in self._processing.values():
            timer.cancel()
        self._processing.clear()

    def create_avatar(self, body: dict[str, Any], faults: Faults) -> SimulatedAvatar:
        """Keep a new avatar, which is being processed for a while."""
        now = datetime.now(UTC)
        avatar = SimulatedAvatar(
            id=_new_id(),
            name=body["name"],
            personality=body["personality"],
            created_at=now,
            status="PROCESSING",
        )
        self.avatars[avatar.id] = avatar
        return self.change_avatar(avatar, body, faults)

    def change_avatar(
        self, avatar: SimulatedAvatar, body: dict[str, Any], faults: Faults
    ) -> SimulatedAvatar:
        """Give an avatar other values; another picture is processed."""
        voice = body.get("voice", {})
        changed = {
            "name": body.get("name"),
            "personality": body.get("personality"),
            "voice": voice.get("presetId") or voice.get("id"),
            "document_ids": tuple(body["documentIds"]) if "documentIds" in body else None,
            "image": body.get("referenceImage"),
        }
        values = {name: value for name, value in changed.items() if value is not None}
        if "startScript" in body:
            values["start_script"] = body["startScript"]
        if "image" in values:
            values["status"] = "PROCESSING"
            self._process(avatar.id, faults)
        avatar = replace(avatar, **values, updated_at=datetime.now(UTC))
        self.avatars[avatar.id] = avatar
        return avatar

    def delete_avatar(self, avatar_id: str) -> None:
        """Forget an avatar."""
        del self.avatars[avatar_id]
        if timer := self._processing.pop(avatar_id, None):
            timer.cancel()

    def create_document(self, body: dict[str, Any]) -> SimulatedDocument:
        """Keep a new document."""
        now = datetime.now(UTC)
        document = SimulatedDocument(
            id=_new_id(),
            name=body["name"],
            content=body["content"],
            created_at=now,
            updated_at=now,
        )
        self.documents[document.id] = document
        return document

    def change_document(self, document: SimulatedDocument, body: dict[str, Any]) -> None:
        """Give a document another name or content."""
        changed = replace(document, **body, updated_at=datetime.now(UTC))
        self.documents[document.id] = changed

    def delete_document(self, document_id: str) -> None:
        """Forget a document; no avatar knows it any more."""
        del self.documents[document_id]
        for avatar in list(self.avatars.values()):
            left = tuple(each for each in avatar.document_ids if each != document_id)
            self.avatars[avatar.id] = replace(avatar, document_ids=left)

    def document_json(self, document: SimulatedDocument, *, content: bool = True) -> dict[str, Any]:
        """A document with exactly the fields of `runwayml` 5.24.0's types."""
        users = [a for a in self.avatars.values() if document.id in a.document_ids]
        answer = {
            "id": document.id,
            "name": document.name,
            "type": "text",
            "createdAt": timestamp(document.created_at),
            "updatedAt": timestamp(document.updated_at),
            "usedBy": [
                {"id": a.id, "name": a.name, "imageUrl": a.to_json()["processedImageUri"]}
                for a in users
            ],
        }
        return {**answer, "content": document.content} if content else answer

    def keep(self, filename: str, content: bytes | None = None) -> str:
        """Keep a file, or expect one that is to be uploaded; returns its id."""
        upload_id = _new_id()
        self.uploads[upload_id] = Upload(filename=filename, content=content)
        return upload_id

    def uploaded(self, uri: str) -> Upload | None:
        """The file behind a ``runway://`` address, if it has come."""
        upload = self.uploads.get(uri.removeprefix(UPLOADED))
        return upload if upload is not None and upload.content is not None else None

    def _process(self, avatar_id: str, faults: Faults) -> None:
        if timer := self._processing.pop(avatar_id, None):
            timer.cancel()

        def done() -> None:
            del self._processing[avatar_id]
            avatar = self.avatars[avatar_id]
            reason = faults.avatar_failure
            if reason is None:
                self.avatars[avatar_id] = replace(avatar, status="READY")
            else:
                failed = replace(avatar, status="FAILED", failure_reason=reason)
                self.avatars[avatar_id] = failed

        loop = asyncio.get_running_loop()
        self._processing[avatar_id] = loop.call_later(faults.avatar_processing, done)


def _new_id() -> str:
    return str(uuid.uuid4())
