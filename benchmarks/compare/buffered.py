"""How long a client's own jitter buffers keep what comes to it."""

from collections.abc import Mapping

from pipecat_runway.lipsync import JitterBuffer

LONGER = "sound is buffered longer"  # in what a party tells: by so many s than its picture


class Buffers:
    """Both buffers of a client, from one look to the next."""

    def __init__(self) -> None:
        self._before: Mapping[str, JitterBuffer] = {}

    def look(self, now: Mapping[str, JitterBuffer]) -> dict[str, float]:
        """By how much longer sound was kept than pictures, in s, in the mean since the last look.

        Args:
            now: The buffers for "audio" and "video".
        """
        means = {
            kind: buffer.since(self._before.get(kind, JitterBuffer())) or 0.0
            for kind, buffer in now.items()
        }
        self._before = now
        return {LONGER: means["audio"] - means["video"]}
