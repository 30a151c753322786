"""The custom avatars of the simulated account, as ``GET /v1/avatars`` tells of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pipecat_runway.simulator.library_schema import VOICES


@dataclass(frozen=True, kw_only=True)
class SimulatedAvatar:
    """A custom avatar (Character).

    Attributes:
        id: UUID version 4.
        name: The character's name.
        personality: What it is told about itself.
        start_script: What it opens with.
        voice: Id of one of Runway's preset voices, or of a custom one.
        status: PROCESSING, READY or FAILED.
        failure_reason: Why it is FAILED.
        image: Where its picture is.
        document_ids: What it knows.
        created_at: When it was created, UTC.
        updated_at: When it was changed last, UTC.
    """

    id: str
    name: str
    personality: str
    start_script: str | None = None
    voice: str = "clara"
    status: str = "READY"
    failure_reason: str = "The simulated avatar was told to fail."
    image: str | None = None
    document_ids: tuple[str, ...] = ()
    created_at: datetime = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)
    updated_at: datetime = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)

    def to_json(self) -> dict[str, Any]:
        """The object with exactly the fields of its status."""
        avatar: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "personality": self.personality,
            "startScript": self.start_script,
            "voice": self._voice(),
            "referenceImageUri": self.image,
            "processedImageUri": self.image if self.status == "READY" else None,
            "documentIds": list(self.document_ids),
            "createdAt": timestamp(self.created_at),
            "updatedAt": timestamp(self.updated_at),
            "status": self.status,
        }
        if self.status == "FAILED":
            avatar["failureReason"] = self.failure_reason
        return avatar

    def _voice(self) -> dict[str, Any]:
        if self.voice not in VOICES:
            return {"type": "custom", "id": self.voice, "deleted": False, "name": "Custom voice"}
        return {
            "type": "runway-live-preset",
            "presetId": self.voice,
            "name": self.voice.capitalize(),
            "description": "A voice of the simulator",
        }


def timestamp(moment: datetime) -> str:
    """RFC 3339 with ``Z``, the only form the OpenAPI's pattern allows."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


AVATARS = (
    SimulatedAvatar(
        id="6f1c9a52-3b7e-4d08-9a41-5e2f7c80d1b3",
        name="Ada",
        personality="A patient guide who explains machines in plain words.",
    ),
    SimulatedAvatar(
        id="b28e4d17-90ca-4f63-8d5b-1a7e36c2f904",
        name="Otto",
        personality="A cheerful shopkeeper with an answer to everything.",
        start_script="Good morning! What can I do for you?",
        voice="leo",
    ),
)
