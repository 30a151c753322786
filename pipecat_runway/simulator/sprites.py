"""The pictures an animated portrait is put together from, ready for a video encoder."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.simulator import cat, portrait
from pipecat_runway.simulator.drawing import Canvas, Floats, Point, View
from pipecat_runway.simulator.looks import CHIN_Y, MOUTH_Y, look_of

Bytes = NDArray[np.uint8]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
Planes = tuple[Bytes, Bytes, Bytes]  # Y, U, V; the latter of half the size

HALVES = (1, 2, 2)  # how much smaller each plane is, in both directions
SHIFT_STEP = 0.25  # pixels of up and down are told apart this finely
MAX_SHIFT = 5.0  # units
MOUTH_STEPS = 14  # pictures of the mouth between shut and as far open as it goes
JAW_DROP = 9.0  # units
JAW_BOX = (-136.0, MOUTH_Y - 26.0, 136.0, 560.0)
RIGID_ABOVE = JAW_BOX[3]  # units; what is below rises less with every breath

# BT.601, studio range: what video encoders take I420 for. Rows are Y, U, V.
_TO_YUV = np.array(
    [[65.481, 128.553, 24.966], [-37.797, -74.203, 112.0], [112.0, -93.786, -18.214]], np.float32
) / np.float32(255.0)
_YUV_ZERO = np.array([16.0, 128.0, 128.0], np.float32)


def view_of(width: int, height: int) -> View:
    """Tell where a figure stands in a picture of this size."""
    scale = min(width / 620.0, height / 676.0)
    # A picture that is higher than the figure keeps some of the room above the head.
    spare = max(0.0, height - 676.0 * scale)
    return View(scale, width / 2.0, height - 712.0 * scale - 0.45 * spare)


def pixels_of(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    """Turn a box in units into pixels, with even edges, inside the picture."""
    view = view_of(width, height)
    left, right = (np.clip(x * view.scale + view.x, 0, width) for x in (box[0], box[2]))
    top, bottom = (np.clip(y * view.scale + view.y, 0, height) for y in (box[1], box[3]))
    return (
        int(left) // 2 * 2,
        int(top) // 2 * 2,
        (int(np.ceil(right)) + 1) // 2 * 2,
        (int(np.ceil(bottom)) + 1) // 2 * 2,
    )


@dataclass(frozen=True)
class Patch:
    """A rectangle of the picture with some rows more above and below, to be shifted over."""

    box: Box
    planes: Planes


class Sprites:
    """All pictures of one character at one size; painted when first needed, then kept.

    Args:
        character: A preset's id or an avatar's.
        width: Of the picture, even.
        height: Of the picture, even.
    """

    def __init__(self, character: str, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._look = look_of(character)
        self._painter = cat if self._look.cat else portrait
        view = self._view = view_of(width, height)
        self._behind = Canvas(width, height, view)
        self._figure = Canvas(width, height, view)
        self._over = Canvas(width, height, view)
        portrait.paint_background(self._behind, self._look)
        self._painter.paint_figure(self._figure, self._look)
        self._painter.paint_over(self._over, self._look)
        self.max_shift = int(MAX_SHIFT * view.scale / SHIFT_STEP)
        self._pad = int(np.ceil(self.max_shift * SHIFT_STEP)) // 2 * 2 + 4
        self._background = _planes(self._behind.pixels)
        whole = self._figure.copy()
        whole.lay_over(self._over)
        used = np.flatnonzero(whole.pixels[..., 3].any(axis=0))
        left, right = int(used[0]) // 2 * 2, int(used[-1]) // 2 * 2 + 2
        self._columns = (left, right)
        self._layers = _premultiplied_planes(whole.pixels[:, left:right])
        self._bases: dict[int, Bytes] = {}
        self._patches: dict[object, Patch] = {}

    def paint_all(self) -> None:
        """Paint all that may be needed soon; may run in a thread of its own."""
        for shift in range(-self.max_shift, self.max_shift + 1):
            self.base(shift)
        for step in range(MOUTH_STEPS + 1):
            for width in (-1.0, 0.0, 1.0):
                self.mouth(step, width)

    def base(self, shift: int) -> Bytes:
        """The whole picture with the figure moved down by so many steps, as I420."""
        if shift not in self._bases:
            self._bases[shift] = self._paint_base(shift * SHIFT_STEP)
        return self._bases[shift]

    def eyes(self, gaze: Point, closed: float) -> Patch:
        """The eyes."""
        key = ("eyes", gaze if closed < 0.95 else None, closed)
        if key not in self._patches:
            canvas, box = self._part(self._painter.EYES_BOX)
            self._painter.paint_eyes(canvas, self._look, gaze, closed)
            self._patches[key] = self._finish(canvas, box)
        return self._patches[key]

    def brows(self, raised: float) -> Patch:
        """The brows."""
        key = ("brows", raised)
        if key not in self._patches:
            canvas, box = self._part(self._painter.BROWS_BOX)
            self._painter.paint_brows(canvas, self._look, raised)
            self._patches[key] = self._finish(canvas, box)
        return self._patches[key]

    def mouth(self, step: int, width: float) -> Patch:
        """The mouth with the jaw, opened by so many of :data:`MOUTH_STEPS`."""
        key = ("mouth", step, width)
        if key not in self._patches:
            opened = step / MOUTH_STEPS
            canvas, box = self._part(JAW_BOX, jaw=opened)
            self._painter.paint_mouth(canvas, self._look, opened, width)
            self._patches[key] = self._finish(canvas, box)
        return self._patches[key]

    def _part(
        self, units: tuple[float, float, float, float], jaw: float = 0.0
    ) -> tuple[Canvas, Box]:
        box = pixels_of(units, self.width, self.height)
        canvas = self._cut(self._behind, box)
        figure = self._cut(self._figure, box)
        if jaw:
            _drop_jaw(figure, jaw * JAW_DROP)
        canvas.lay_over(figure)
        return canvas, box

    def _cut(self, canvas: Canvas, box: Box) -> Canvas:
        """Cut a box with its padding; beyond the picture the edge goes on."""
        rows = np.clip(np.arange(box[1] - self._pad, box[3] + self._pad), 0, self.height - 1)
        view = self._view
        part = Canvas(0, 0, View(view.scale, view.x - box[0], view.y - box[1] + self._pad))
        part.pixels = canvas.pixels[rows, box[0] : box[2]]
        return part

    def _finish(self, canvas: Canvas, box: Box) -> Patch:
        canvas.lay_over(self._cut(self._over, box))
        return Patch(box, _planes(canvas.pixels))

    def _paint_base(self, shift: float) -> Bytes:
        left, right = self._columns
        picture: list[Bytes] = []
        for back, (colour, alpha), half in zip(self._background, self._layers, HALVES, strict=True):
            rows = (np.arange(back.shape[0], dtype=np.float32) + 0.5) * half
            units = (rows - self._view.y) / self._view.scale
            rises = 1.0 - 0.45 * np.clip((units - RIGID_ABOVE) / 200.0, 0.0, 1.0)
            source = np.clip((rows - shift * rises) / half - 0.5, 0, back.shape[0] - 1)
            first = source.astype(int)
            second = np.minimum(first + 1, back.shape[0] - 1)
            share = (source - first).astype(np.float32)[:, None]
            columns = slice(left // half, right // half)
            plane = back.copy()
            part = back[:, columns] * (1.0 - alpha[first] * (1.0 - share) - alpha[second] * share)
            part += colour[first] * (1.0 - share) + colour[second] * share
            plane[:, columns] = _bytes(part)
            picture.append(plane.ravel())
        return np.concatenate(picture)

    def lay(self, patch: Patch, picture: Bytes, shift: int) -> None:
        """Lay a patch into an I420 picture, moved down by so many steps."""
        left, top, right, bottom = patch.box
        at = 0
        for plane, half in zip(patch.planes, HALVES, strict=True):
            width, height = self.width // half, self.height // half
            target = picture[at : at + width * height].reshape(height, width)
            at += width * height
            rows = (bottom - top) // half
            source = self._pad / half - shift * SHIFT_STEP / half
            first = int(np.floor(source))
            share = np.uint16(round((source - first) * 256))
            part = plane[first : first + rows].astype(np.uint16)
            if share:
                part *= np.uint16(256) - share
                part += plane[first + 1 : first + 1 + rows] * share
                part >>= 8
            target[top // half : bottom // half, left // half : right // half] = part


@lru_cache(maxsize=4)  # some 60 MB each at 1280 x 720, when all of it has been needed
def sprites_of(character: str, width: int, height: int) -> Sprites:
    """The pictures of a character at a size; painted once for all sessions."""
    return Sprites(character, width, height)


def _drop_jaw(canvas: Canvas, drop: float) -> None:
    """Pull chin and lower cheeks down, and press the neck together for it."""
    height, width = canvas.pixels.shape[:2]
    view = canvas.view
    y = (np.arange(height, dtype=np.float32) + 0.5 - view.y) / view.scale
    x = np.abs(np.arange(width, dtype=np.float32) + 0.5 - view.x) / view.scale
    down = _smooth((y - MOUTH_Y + 6.0) / 50.0) * (1.0 - _smooth((y - CHIN_Y - 10.0) / 56.0))
    inward = 1.0 - _smooth((x - 84.0) / 50.0)
    source = np.arange(height)[:, None] - drop * view.scale * down[:, None] * inward[None, :]
    source = np.clip(source, 0, height - 2)
    first = source.astype(int)
    share = (source - first).astype(np.float32)[..., None]
    columns = np.arange(width)[None, :]
    pixels = canvas.pixels
    canvas.pixels = pixels[first, columns] * (1.0 - share) + pixels[first + 1, columns] * share


def _smooth(where: Floats) -> Floats:
    t = np.clip(where, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def _halved(plane: Floats) -> Floats:
    quarters = plane[0::2, 0::2] + plane[1::2, 0::2] + plane[0::2, 1::2] + plane[1::2, 1::2]
    return quarters * np.float32(0.25)


def _premultiplied_planes(pixels: Floats) -> list[tuple[Floats, Floats]]:
    """Turn premultiplied RGBA into Y, U and V, each with its alpha."""
    alpha = pixels[..., 3]
    half_alpha = _halved(alpha)
    layers = []
    for number in range(3):
        plane = pixels[..., :3] @ _TO_YUV[number] + _YUV_ZERO[number] * alpha
        layers.append((plane, alpha) if number == 0 else (_halved(plane), half_alpha))
    return layers


def _planes(pixels: Floats) -> Planes:
    y, u, v = (_bytes(plane) for plane, _ in _premultiplied_planes(pixels))
    return (y, u, v)


def _bytes(plane: Floats) -> Bytes:
    return np.clip(np.rint(plane), 0, 255).astype(np.uint8)
