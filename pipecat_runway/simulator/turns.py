"""When somebody begins to speak, and when they have done so; told by loudness alone.

No clock in here: time is what the samples take.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RATE = 16_000
BLOCK = 160  # 10 ms
LEVEL = 0.01  # root mean square, 1.0 is full scale, of a block in which somebody speaks
BEGINS = 0.1  # seconds of them make a beginning


@dataclass(frozen=True)
class Spoken:
    """Somebody has spoken.

    Attributes:
        seconds: For how long, pauses included. None: they have begun to.
    """

    seconds: float | None


class TurnEar:
    """Cuts what a user is heard to say into turns.

    Args:
        silence: Seconds of it that end a turn.
    """

    def __init__(self, silence: float) -> None:
        self._silence = round(silence * RATE / BLOCK)
        self._rest = np.empty(0, np.int16)
        self._loud = 0  # blocks, less the soft ones between, until it counts as speech
        self._turn = 0  # blocks since it has
        self._quiet = 0  # of these, the last ones in which nobody spoke

    def hear(self, samples: NDArray[np.int16]) -> list[Spoken]:
        """Take the next samples, mono, at :data:`RATE`; return what they show."""
        data = np.concatenate([self._rest, samples])
        whole = len(data) // BLOCK * BLOCK
        self._rest = data[whole:]
        blocks = data[:whole].reshape(-1, BLOCK).astype(np.float32) / 32768.0
        found = [self._step(loud) for loud in np.sqrt((blocks**2).mean(axis=1)) > LEVEL]
        return [spoken for spoken in found if spoken]

    def end(self) -> list[Spoken]:
        """No more will be heard."""
        return [self._over()] if self._turn else []

    def _step(self, loud: bool) -> Spoken | None:
        if self._turn:
            self._turn += 1
            self._quiet = 0 if loud else self._quiet + 1
            return self._over() if self._quiet >= self._silence else None
        self._loud = self._loud + 1 if loud else max(0, self._loud - 1)
        if self._loud * BLOCK < BEGINS * RATE:
            return None
        self._turn = self._loud
        return Spoken(None)

    def _over(self) -> Spoken:
        seconds = (self._turn - self._quiet) * BLOCK / RATE
        self._loud = self._turn = self._quiet = 0
        return Spoken(seconds)
