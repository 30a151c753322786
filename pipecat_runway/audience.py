"""Whom an avatar is for: who sees and hears it, and who has it speak."""

from typing import Any, Protocol

from pipecat_runway.billed import Usage
from pipecat_runway.errors import RunwayError
from pipecat_runway.measures import Arrival, HandOver
from pipecat_runway.playback import Utterance
from pipecat_runway.sizes import Picture


class Audience(Protocol):
    """Who sees and hears the avatar. Called on the event loop; must not block."""

    def release(self, items: list[Any]) -> None:
        """These held items may go on, in this order."""

    def tail(self, utterance: Utterance) -> bytes:
        """Return the last samples of an utterance that the TTS never finished, 16 kHz mono."""

    def sent(self, utterance: Utterance) -> None:
        """The first sample of an utterance has been sent."""

    def heard(self, utterance: Utterance) -> None:
        """The first sound of an utterance has come back."""

    def sound(self, utterance: Utterance, pcm: bytes) -> None:
        """A piece of an utterance has come back: s16le mono."""

    async def picture(self, picture: Picture) -> None:
        """A picture of the avatar, at its own size."""

    def connected(self, session_id: str | None) -> None:
        """The avatar's first picture has been seen."""

    def disconnected(self, session_id: str | None, reason: str) -> None:
        """The avatar, once connected, is gone."""

    def renewing(self, session_id: str | None) -> None:
        """Another session is asked for: this one comes to its limit, or has another character."""

    def renewed(self, session_id: str | None) -> None:
        """The avatar goes on in this session."""

    def arrived(self, arrival: Arrival) -> None:
        """An avatar has come into the room; it need not be shown yet."""

    def handed_over(self, change: HandOver) -> None:
        """One session has followed another."""

    def used(self, usage: Usage) -> None:
        """So much was used since the last time."""

    def failed(self, error: RunwayError) -> None:
        """Something went wrong; speech goes on by voice."""


class Speaker(Protocol):
    """Who has the faces speak."""

    def spoke(self) -> None:
        """The ledger has changed, or whose turn it is."""

    def give_up(self) -> None:
        """What is owed goes on by voice."""
