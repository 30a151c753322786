"""Drawing with smooth edges, gradients and soft shadows, in units of their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Floats = NDArray[np.float32]
Units = NDArray[np.floating[Any]]
Colour = tuple[float, float, float]
Point = tuple[float, float]
Outline = NDArray[np.float64]  # the points of a closed polygon, in units

SUPERSAMPLING = 4


@dataclass(frozen=True)
class View:
    """Where units land in the picture: ``pixel = unit * scale + offset``."""

    scale: float
    x: float
    y: float


@dataclass(frozen=True)
class Linear:
    """A gradient from one point to another."""

    start: Point
    end: Point
    first: Colour
    last: Colour

    def at(self, x: Units, y: Units) -> Floats:
        """Return the colours at these units."""
        dx, dy = self.end[0] - self.start[0], self.end[1] - self.start[1]
        along = ((x - self.start[0]) * dx + (y - self.start[1]) * dy) / (dx * dx + dy * dy)
        return _blend(along, self.first, self.last)


@dataclass(frozen=True)
class Radial:
    """A gradient from a centre outwards."""

    centre: Point
    radius: float
    inner: Colour
    outer: Colour

    def at(self, x: Units, y: Units) -> Floats:
        """Return the colours at these units."""
        distance = np.hypot(x - self.centre[0], y - self.centre[1]) / self.radius
        return _blend(distance, self.inner, self.outer)


Paint = Colour | Linear | Radial


def _blend(where: Units, first: Colour, last: Colour) -> Floats:
    t = np.clip(where, 0.0, 1.0)[..., None]
    t = t * t * (3.0 - 2.0 * t)
    blend: Floats = (np.array(first) * (1.0 - t) + np.array(last) * t).astype(np.float32)
    return blend


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Mix two colours; `share` is the second one's."""
    red, green, blue = (f + (s - f) * share for f, s in zip(first, second, strict=True))
    return (red, green, blue)


def oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0) -> Outline:
    """Outline an ellipse, turned clockwise by degrees."""
    angle = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    across, down = np.cos(angle) * rx, np.sin(angle) * ry
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return np.stack([x + c * across - s * down, y + s * across + c * down], axis=1)


def curve(points: Sequence[Point], *, closed: bool = True, steps: int = 10) -> Outline:
    """Draw a smooth curve through points (Catmull-Rom)."""
    p = np.asarray(points, float)
    if closed:
        before, start, end, after = np.roll(p, 1, 0), p, np.roll(p, -1, 0), np.roll(p, -2, 0)
    else:
        start, end = p[:-1], p[1:]
        before = np.vstack([2 * p[0] - p[1], p[:-2]])
        after = np.vstack([p[2:], 2 * p[-1] - p[-2]])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    b, s, e, a = (q[:, None, :] for q in (before, start, end, after))
    path = 0.5 * (
        2 * s + (e - b) * t + (2 * b - 5 * s + 4 * e - a) * t**2 + (3 * s - b - 3 * e + a) * t**3
    )
    path = path.reshape(-1, 2)
    return path if closed else np.vstack([path, p[-1]])


def moved(outline: Outline, right: float, down: float) -> Outline:
    """Move an outline."""
    return np.add(outline, (right, down), dtype=np.float64)


def flip(outline: Outline) -> Outline:
    """Mirror left and right."""
    return np.multiply(outline, (-1.0, 1.0), dtype=np.float64)


def symmetric(right: Sequence[Point]) -> Outline:
    """Draw a smooth closed curve from its right half, top to bottom, both ends on the axis."""
    left = [(-x, y) for x, y in reversed(right) if x > 0.01]
    return curve([*right, *left])


def ribbon(points: Sequence[Point], widths: Sequence[float]) -> Outline:
    """Outline a stroke along a smooth curve, its widths given at the points."""
    path = curve(points, closed=False)
    at = np.linspace(0.0, 1.0, len(path))
    half = np.interp(at, np.linspace(0.0, 1.0, len(widths)), widths)[:, None] / 2.0
    direction = np.gradient(path, axis=0)
    length = np.maximum(np.hypot(direction[:, 0], direction[:, 1]), 1e-6)[:, None]
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) / length
    return np.vstack([path + normal * half, (path - normal * half)[::-1]])


class Canvas:
    """A picture with alpha, premultiplied, that remembers its view.

    Attributes:
        pixels: Rows, columns, RGBA; colours 0 … 255, alpha 0 … 1.
    """

    def __init__(self, width: int, height: int, view: View) -> None:
        self.pixels: Floats = np.zeros((height, width, 4), np.float32)
        self.view = view

    def copy(self) -> "Canvas":
        """Return a copy that can be drawn on."""
        other = Canvas(0, 0, self.view)
        other.pixels = self.pixels.copy()
        return other

    def mask(self, outline: Outline) -> Floats:
        """Return the outline's coverage of the whole picture, to clip with."""
        height, width = self.pixels.shape[:2]
        full = np.zeros((height, width), np.float32)
        if found := self._coverage(outline, 0.0):
            area, cover = found
            full[area] = cover
        return full

    def fill(
        self,
        outline: Outline,
        paint: Paint,
        *,
        soft: float = 0.0,
        opacity: float = 1.0,
        clip: Floats | None = None,
    ) -> None:
        """Fill an outline.

        Args:
            outline: What to fill, in units.
            paint: With what.
            soft: Blur of the edge, in units.
            opacity: 0 … 1.
            clip: A coverage of the whole picture that limits this one.
        """
        found = self._coverage(outline, soft)
        if found is None:
            return
        area, cover = found
        if clip is not None:
            cover = cover * clip[area]
        alpha = (cover * np.float32(opacity))[..., None]
        target = self.pixels[area]
        target *= 1.0 - alpha
        target[..., :3] += self._colours(paint, area) * alpha
        target[..., 3:] += alpha

    def lay_over(self, other: "Canvas") -> None:
        """Lay another picture of the same size over this one."""
        self.pixels *= 1.0 - other.pixels[..., 3:]
        self.pixels += other.pixels

    def _colours(self, paint: Paint, area: tuple[slice, slice]) -> Floats:
        if isinstance(paint, tuple):
            return np.array(paint, np.float32)
        rows, columns = area
        x = (np.arange(columns.start, columns.stop, dtype=np.float32) + 0.5 - self.view.x)[None, :]
        y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5 - self.view.y)[:, None]
        return paint.at(x / self.view.scale, y / self.view.scale)

    def _coverage(self, outline: Outline, soft: float) -> tuple[tuple[slice, slice], Floats] | None:
        height, width = self.pixels.shape[:2]
        points = outline * self.view.scale + (self.view.x, self.view.y)
        blur = soft * self.view.scale
        margin = 2.0 + 2.5 * blur
        x0, y0 = np.floor(np.maximum(points.min(0) - margin, 0.0)).astype(int)
        x1, y1 = np.ceil(np.minimum(points.max(0) + margin, (width, height))).astype(int)
        if x0 >= x1 or y0 >= y1:
            return None
        # What is blurred needs no smooth edge first.
        fine = 1 if blur > 2.0 else SUPERSAMPLING
        pad = int(3 * blur) if blur else 0  # what is beyond the border is blurred in as well
        size = (int(x1 - x0) + 2 * pad, int(y1 - y0) + 2 * pad)
        image = Image.new("L", (size[0] * fine, size[1] * fine))
        inside = (points - (x0 - pad, y0 - pad)) * fine
        ImageDraw.Draw(image).polygon([(x, y) for x, y in inside.tolist()], fill=255)
        if fine > 1:
            image = image.reduce(fine)
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur))
        cover = np.asarray(image, np.float32) / 255.0
        if pad:
            cover = cover[pad:-pad, pad:-pad]
        return (slice(int(y0), int(y1)), slice(int(x0), int(x1))), cover
