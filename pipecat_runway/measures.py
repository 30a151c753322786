"""What happened to a call's sessions and how long it took, for whoever operates it.

Instants are in s of `time.monotonic()`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Arrival:
    """An avatar has come.

    Attributes:
        session_id: Runway's id; None if the create was never answered.
        asked_at: When the create was sent.
        created_at: When it was answered; None if it was not.
        joined_at: When the avatar entered the room.
        pictured_at: When its first picture was decoded.
    """

    session_id: str | None
    asked_at: float
    created_at: float | None
    joined_at: float
    pictured_at: float

    @property
    def took(self) -> float:
        """From the create to the first picture, in s."""
        return self.pictured_at - self.asked_at


@dataclass(frozen=True)
class HandOver:
    """One session has followed another.

    Attributes:
        session_id: Whose picture is seen from now on.
        followed: Whose was seen before.
        asked_at: When the new session's create was sent: from then on both are billed.
        done_at: When the old one owed nothing any more, and was told to end.
    """

    session_id: str | None
    followed: str | None
    asked_at: float
    done_at: float
