"""How long a picture is held back so that it is shown with its sound.

WebRTC keeps sound and picture in two jitter buffers, and the SDK hands each over as it leaves its
own. Sound is buffered longer (measured: 30 to 140 ms against 15 ms), so the lips would run ahead.

While no speech sounds hardly anything is held back: the first lips are seen as soon as they are
there, a moment ahead of their sound, as people open their mouths. From there on the hold grows into
place.
"""

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P")

# s sound is older than its jitter buffer says (an Opus packet, a piece: measured as 0.02), and then
# some of what an output transport takes for its chunk of 40 ms.
FRAMING = 0.03
OPUS_RATE = 48_000  # Hz, whatever was coded (RFC 7587)
OPUS_PIECE = OPUS_RATE // 100  # samples
LONGEST = 0.3  # s
STEP = 0.02  # s the hold may change between two looks, so that no jump is seen…
SHARE = 0.5  # …or so much of what is wrong: a jump is seen less than lips that are not in time
RELEASE = 0.08  # s less that pictures are held while no speech sounds
RAMP = 1 / 3  # of the time between two pictures: so much slower, or quicker, they go on meanwhile
PICTURES_WAITING = 2  # while whoever takes them is slow: of more, those go that are late


@dataclass(frozen=True)
class JitterBuffer:
    """What a jitter buffer has done so far (W3C webrtc-stats: inbound RTP).

    Attributes:
        delay: Sum of the time everything emitted has spent in it, in s.
        emitted: Samples, or pictures, that have left it.
        left: How long what leaves it has to wait for what left before, in s.
    """

    delay: float = 0.0
    emitted: int = 0
    left: float = 0.0

    def since(self, before: "JitterBuffer") -> float | None:
        """Return the mean delay since an earlier look in s; None if nothing has left it."""
        emitted = self.emitted - before.emitted
        return (self.delay - before.delay) / emitted + self.left if emitted > 0 else None


def left_decoded(decoded: int, taken: int) -> float:
    """Return how much decoded sound there still is when the next packet is decoded, in s.

    WebRTC's NetEq decodes a packet, of 20 ms, as soon as it has less than it is asked for at once,
    10 ms. So what it has is that much at any time, or a multiple of 10 ms more.

    Args:
        decoded: Samples that were decoded or made up, less those left out.
        taken: Samples that were taken; none if this is not sound.
    """
    return (decoded - taken) % OPUS_PIECE / OPUS_RATE if taken else 0.0


class PictureHold:
    """Follows the two jitter buffers.

    Attributes:
        seconds: How long pictures are to be held back while speech sounds.
        offset: By how much they were late once in step, by the last look, in s, negative if they
            were early; None before the first one.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._held = self._at = 0.0
        self.offset: float | None = None
        self._sound, self._picture = JitterBuffer(), JitterBuffer()
        self._settled = False

    def look(self, sound: JitterBuffer, picture: JitterBuffer) -> None:
        """Take a new look at both, every half a second or so."""
        heard, seen = sound.since(self._sound), picture.since(self._picture)
        self._sound, self._picture = sound, picture
        if heard is None or seen is None:
            return
        ahead = heard - seen + FRAMING
        self.offset = self.seconds - ahead
        wanted = min(LONGEST, max(0.0, ahead))
        change = wanted - self.seconds
        step = max(STEP, SHARE * abs(change))
        self.seconds += max(-step, min(step, change)) if self._settled else change
        self._settled = True

    def advance(self, now: float, *, speaking: bool) -> float:
        """Return how long the picture that has come now is held back, in s.

        Args:
            now: The time in s.
            speaking: Whether speech sounds.
        """
        wanted = self.seconds if speaking else max(0.0, self.seconds - RELEASE)
        step = RAMP * (now - self._at)
        self._held += max(-step, min(step, wanted - self._held))
        self._at = now
        return self._held


class PictureLine(Generic[P]):
    """Pictures as they came: held until they are due, then waiting for whoever takes them."""

    def __init__(self) -> None:
        self._pictures: deque[tuple[float, P]] = deque()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def due(self) -> float | None:
        """When the first one is due, in s; None if there is none."""
        return self._pictures[0][0] if self._pictures else None

    def put(self, picture: P, due: float) -> None:
        """Add the one that has come now."""
        self._pictures.append((due, picture))

    def take(self) -> P:
        """Take the first one out."""
        return self._pictures.popleft()[1]

    def leave_out(self, now: float) -> int:
        """Leave out those whose successors are due as well, but for the latest two.

        So no more than :data:`PICTURES_WAITING` are ever due, if this is done whenever one comes
        and, while there are more, whenever one becomes due.

        Returns:
            How many were left out.
        """
        before = len(self._pictures)
        while len(self._pictures) > PICTURES_WAITING and self._pictures[1][0] <= now:
            self._pictures.popleft()
        return before - len(self._pictures)

    def clear(self) -> None:
        """Let go of all of them."""
        self._pictures.clear()
