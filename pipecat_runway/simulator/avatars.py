"""The custom avatars of the simulated account, as ``GET /v1/avatars`` tells of them."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class SimulatedAvatar:
    """A custom avatar (Character).

    Attributes:
        id: UUID version 4.
        name: The character's name.
        personality: What it is told about itself.
        start_script: What it opens with.
        voice: Id of one of Runway's preset voices.
        status: PROCESSING, READY or FAILED.
    """

    id: str
    name: str
    personality: str
    start_script: str | None = None
    voice: str = "clara"
    status: str = "READY"

    def to_json(self) -> dict[str, Any]:
        """The object with exactly the fields of its status."""
        avatar: dict[str, Any] = {
            "id": self.id,
            "name": self.name,
            "personality": self.personality,
            "startScript": self.start_script,
            "voice": {
                "type": "runway-live-preset",
                "presetId": self.voice,
                "name": self.voice.capitalize(),
                "description": "A voice of the simulator",
            },
            "referenceImageUri": None,
            "processedImageUri": None,
            "documentIds": [],
            "createdAt": timestamp(_CREATED),
            "updatedAt": timestamp(_CREATED),
            "status": self.status,
        }
        if self.status == "FAILED":
            avatar["failureReason"] = "The simulated avatar was told to fail."
        return avatar


def timestamp(moment: datetime) -> str:
    """RFC 3339 with ``Z``, the only form the OpenAPI's pattern allows."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_CREATED = datetime(2026, 1, 15, 9, 30, tzinfo=UTC)

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
