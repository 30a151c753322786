"""How long a client's own jitter buffers keep what comes to it."""

from collections.abc import Mapping
from typing import NamedTuple

LONGER = "sound is buffered longer"  # in what a party tells: by so many s than its picture


class Kept(NamedTuple):
    """What a buffer has done so far: how much has left it, and s that all of it was in it."""

    seconds: float
    count: float


class Buffers:
    """Both buffers of a client, from one look to the next."""

    def __init__(self) -> None:
        self._before: Mapping[str, Kept] = {}

    def look(self, now: Mapping[str, Kept]) -> dict[str, float]:
        """By how much longer sound was kept than pictures, in s, in the mean since the last look.

        Args:
            now: What the buffers for "audio" and "video" have done so far.
        """
        means = {}
        for kind, (seconds, count) in now.items():
            before = self._before.get(kind, Kept(0.0, 0.0))
            means[kind] = (seconds - before.seconds) / max(1.0, count - before.count)
        self._before = now
        return {LONGER: means["audio"] - means["video"]}
