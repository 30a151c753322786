"""Pictures: which size one is to have, and the smallest one it can be made of."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Literal

Fit = Literal["contain", "cover"]

LONGEST_SIDE = 4096  # pixels, however narrow the avatar's own picture may be


class Layer(Enum):
    """What LiveKit sends of a picture that is published in several sizes.

    Its presets for simulcast are 180 and 360 pixels high, at 16:9 (livekit-client's and the Rust
    SDK's `VideoPresets`); a small original has fewer, so each is believed to be of half its side
    at most.
    """

    WHOLE = auto()
    HALF = auto()
    QUARTER = auto()


_LONG_SIDES = ((Layer.QUARTER, 4, 320), (Layer.HALF, 2, 640))


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        rgb: Tight RGB24, 3 bytes a pixel.
        size: Width and height in pixels.
    """

    rgb: bytes = field(repr=False)
    size: tuple[int, int]


@dataclass(frozen=True)
class PictureSize:
    """What is wanted of pictures.

    Attributes:
        width: In pixels; None: by the avatar's own.
        height: In pixels; None: by the avatar's own.
        fit: ``"contain"`` shows the whole picture with black bars, ``"cover"`` fills the size.
    """

    width: int | None = None
    height: int | None = None
    fit: Fit = "contain"

    def of(self, native: tuple[int, int]) -> tuple[int, int]:
        """Return width and height of what is made of a picture: as wanted, the rest by aspect."""
        width, height = self.width, self.height
        if width and height:
            return width, height
        if width:
            return width, _side(width * native[1] / native[0])
        if height:
            return _side(height * native[0] / native[1]), height
        return native

    def layer(self, native: tuple[int, int]) -> Layer:
        """Return the smallest layer that is large enough.

        Args:
            native: Width and height of the picture as it is published.
        """
        if not all(native):  # its publisher did not say
            return Layer.WHOLE
        scales = [wanted / own for wanted, own in zip(self.of(native), native, strict=True)]
        needed = (max if self.fit == "cover" else min)(scales) * max(native)
        for layer, part, side in _LONG_SIDES:
            if needed <= min(max(native) / part, side):
                return layer
        return Layer.WHOLE


AS_PUBLISHED = PictureSize()


def _side(pixels: float) -> int:
    return min(max(1, round(pixels)), LONGEST_SIDE)
