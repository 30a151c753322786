"""Takes down what one avatar does in the room, with the time of each thing."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipecat_runway import matching, wire
from pipecat_runway.session import AvatarSession
from pipecat_runway.sizes import Picture

LONG_ENOUGH = 0.2  # s of returned sound that are compared with what was sent


@dataclass(frozen=True)
class Report:
    """An ``lk.playback_finished``.

    Attributes:
        at: When it came, in s of `time.monotonic()`.
        position: How far it says it has played, in s.
        interrupted: Whether it says it was cut.
    """

    at: float
    position: float
    interrupted: bool


class Witness:
    """Listens to a room, see :class:`pipecat_runway.room.Listener`.

    Attributes:
        session: Whose avatar is watched; told what concerns it.
        joined_at: When it came, in s of `time.monotonic()`; so are the others.
        reachable_at: When data could be sent to it.
        pictured_at: When its first picture was decoded.
        left_at: When it left.
        left_because: LiveKit's reason.
        pictures: When each picture was decoded, and its size.
        sound: When each piece of its sound came, and its 16 kHz mono samples.
        reports: Its reports of an end of playback.
    """

    def __init__(self) -> None:
        self.session: AvatarSession | None = None
        self.joined_at: float | None = None
        self.reachable_at: float | None = None
        self.pictured_at: float | None = None
        self.left_at: float | None = None
        self.left_because = ""
        self.pictures: list[tuple[float, tuple[int, int]]] = []
        self.heard: list[tuple[float, matching.Samples]] = []
        self.reports: list[Report] = []
        self._news = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until something is true of what was seen; return whether it came to be."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    def loud(self, since: float, threshold: float) -> list[float]:
        """Return when sound above a peak came, from an instant on."""
        return [at for at, s in self.heard if at >= since and np.max(np.abs(s)) > threshold]

    def peak(self, since: float) -> int:
        """Return the highest peak from an instant on, in steps of 16 bits."""
        return int(max((np.max(np.abs(s)) for at, s in self.heard if at >= since), default=0))

    def between(self, begin: float, end: float) -> matching.Samples:
        """Return the sound that came between two instants."""
        pieces = [samples for at, samples in self.heard if begin <= at <= end]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    # -- what the room tells ------------------------------------------------------------------

    def avatar_joined(self, identity: str) -> None:
        """The avatar has entered the room."""
        if self._is_ours(identity) and self.session is not None:
            self.joined_at = self.joined_at or time.monotonic()
            self.session.joined()
            self._news.set()

    def avatar_reachable(self, identity: str) -> None:
        """Data sent to it arrives."""
        if self._is_ours(identity) and self.session is not None:
            self.reachable_at = self.reachable_at or time.monotonic()
            self.session.reachable()
            self._news.set()

    def avatar_left(self, identity: str, reason: str) -> None:
        """It has left."""
        if self._is_ours(identity) and self.session is not None:
            self.left_at, self.left_because = time.monotonic(), reason
            self.session.left()
            self._news.set()

    def sound(self, identity: str, pcm: bytes) -> None:
        """A piece of its sound."""
        if self._is_ours(identity):
            self.heard.append((time.monotonic(), matching.samples(pcm)))
            self._news.set()

    def seen(self, identity: str) -> None:
        """The picture itself is looked at."""

    async def picture(self, identity: str, picture: Picture) -> None:
        """A picture."""
        if self._is_ours(identity) and self.session is not None:
            self.pictured_at = self.pictured_at or time.monotonic()
            self.pictures.append((time.monotonic(), picture.size))
            self.session.pictured()

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:
        """It reports the end of its playback."""
        if self._is_ours(identity):
            self.reports.append(Report(time.monotonic(), report.position, report.interrupted))
            self._news.set()

    def room_lost(self, reason: str) -> None:
        """The room is gone: nothing more can be expected."""
        self.left_at, self.left_because = time.monotonic(), f"room lost, {reason}"
        if self.session is not None:
            self.session.left()
        self._news.set()

    def _is_ours(self, identity: str) -> bool:
        return self.session is not None and identity == self.session.identity
