"""The face of a simulated avatar: it breathes, blinks, looks about, and speaks with the sound."""

import random

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.simulator.looks import MOUTH_Y
from pipecat_runway.simulator.sprites import (
    MOUTH_STEPS,
    SHIFT_STEP,
    Box,
    Bytes,
    pixels_of,
    sprites_of,
    view_of,
)

__all__ = ["Face", "mouth_box", "mouth_openness"]

QUIET = 0.004  # root mean square below which the mouth is shut
USUAL_PEAK = 0.14  # of speech; the loudest heard lately is what opens the mouth all the way
PEAK_HALF_LIFE = 5.0  # seconds in which that is half forgotten
RELEASE = 0.3  # of its opening the mouth keeps at most from one picture of 24 a second to the next

MOUTH_UNITS = (-62.0, MOUTH_Y - 22.0, 62.0, MOUTH_Y + 66.0)


def mouth_box(width: int, height: int) -> Box:
    """Tell where every character's mouth is in a picture of this size.

    Returns:
        Left, top, right and bottom in pixels; nothing of an open mouth is ever outside.
    """
    return pixels_of(MOUTH_UNITS, width, height)


def mouth_openness(picture: NDArray[np.uint8]) -> float:
    """Measure how far open the mouth is in a picture, also after a video codec.

    The inside of every character's mouth is of a dark red that is nowhere else in its box.

    Args:
        picture: Rows, columns, red-green-blue, the whole picture.

    Returns:
        The inside's share of the mouth's box: about 0 when shut, some 0.25 when wide open.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = mouth_box(width, height)
    red, green, blue = np.moveaxis(picture[top:bottom, left:right].astype(np.int16), -1, 0)
    inside = (green < 40) & (blue < 60) & (red < 112) & (red - green > 24)
    return float(inside.mean())


class Face:
    """A living portrait. One object is one face; the pictures behind it are shared.

    Args:
        character: A preset's id, which has a look of its own, or any other, which decides one.
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.

    Attributes:
        width: The one asked for, made even: I420 has one colour for two by two pixels.
        height: The one asked for, made even.
    """

    def __init__(self, character: str, width: int, height: int) -> None:
        self.width, self.height = width // 2 * 2, height // 2 * 2
        self._sprites = sprites_of(character, self.width, self.height)
        self._scale = view_of(self.width, self.height).scale
        self._random = random.Random()
        self._blinks = _Blinks(self._random)
        self._gaze = _Gaze(self._random)
        self._mouth = _Mouth()
        self._picture = np.empty(self.width * self.height * 3 // 2, np.uint8)
        self.paint(0.0, 0.0, 0.0)

    def prepare(self) -> None:
        """Paint ahead what would hold up a picture later; may run in a thread of its own."""
        self._sprites.paint_all()

    def paint(self, at: float, level: float, brightness: float) -> Bytes:
        """Paint the next picture.

        Args:
            at: The time it is shown at, in seconds, by a clock that never goes back.
            level: Root mean square of the sound that goes with it, 1.0 is full scale.
            brightness: Zero crossings a second of that sound.

        Returns:
            The picture as I420; it is painted over by the next call.
        """
        self._mouth.hear(at, level, brightness)
        sprites, picture = self._sprites, self._picture
        breath = 2.1 * np.sin(at * 2 * np.pi / 4.3) + 0.8 * np.sin(at * 2 * np.pi / 11.7)
        units = breath + 2.0 * self._mouth.emphasis
        shift = round(units * self._scale / SHIFT_STEP)
        shift = max(-sprites.max_shift, min(sprites.max_shift, shift))
        np.copyto(picture, sprites.base(shift))
        raised = round(2 * self._mouth.emphasis) / 2
        sprites.lay(sprites.brows(raised), picture, shift)
        sprites.lay(sprites.eyes(self._gaze.at(at), self._blinks.at(at)), picture, shift)
        sprites.lay(sprites.mouth(self._mouth.step, self._mouth.width), picture, shift)
        return picture


class _Mouth:
    """Follows the sound: opens at once, shuts quickly, spreads when the sound is bright."""

    def __init__(self) -> None:
        self._at = 0.0
        self._opened = 0.0
        self._peak = USUAL_PEAK
        self._spread = 0.0
        self.emphasis = 0.0  # 0 … 1, the slow swing of loudness: what moves head and brows

    @property
    def step(self) -> int:
        return round(self._opened * MOUTH_STEPS)

    @property
    def width(self) -> float:
        return float(round(self._spread))

    def hear(self, at: float, level: float, brightness: float) -> None:
        passed = min(max(at - self._at, 0.0), 1.0)
        self._at = at
        self._peak = max(level, USUAL_PEAK / 2, self._peak * 0.5 ** (passed / PEAK_HALF_LIFE))
        wanted = 0.0 if level < QUIET else min(1.0, level / self._peak) ** 0.85
        self._opened = max(wanted, self._opened * RELEASE ** (passed * 24.0))
        if self._opened < 0.5 / MOUTH_STEPS:
            self._opened = 0.0
        if wanted:
            target = np.clip(np.log2(max(brightness, 1.0) / 1900.0) / 1.1, -1.0, 1.0)
            self._spread += 0.5 * (float(target) - self._spread)
        else:
            self._spread *= 0.7
        self.emphasis += (wanted - self.emphasis) * min(1.0, passed * 5.0)


class _Blinks:
    """Shuts the eyes at irregular times, now and then twice in a row."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._next = 1.0

    def at(self, now: float) -> float:
        since = now - self._next
        if since > 0.24:
            twice = self._dice.random() < 0.15
            self._next = now + (0.12 if twice else self._dice.uniform(1.8, 5.5))
        if since < 0.0 or since > 0.24:
            return 0.0
        closed = since / 0.07 if since < 0.07 else 1.0 if since < 0.11 else (0.24 - since) / 0.13
        return round(min(1.0, closed) * 3) / 3


class _Gaze:
    """Looks at the viewer, and sometimes a little past."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._next = 0.0
        self._where = (0.0, 0.0)

    def at(self, now: float) -> tuple[float, float]:
        if now >= self._next:
            self._next = now + self._dice.uniform(0.9, 3.2)
            aside = ((-4.0, 0.0), (4.0, 0.0), (3.0, -2.0), (-3.0, 1.0), (0.0, 0.0), (0.0, 0.0))
            self._where = self._dice.choice(aside)
        return self._where
