"""Pictures made to measure: letterboxing, frame-rate decimation."""

import asyncio

from PIL import Image

from pipecat_runway.sizes import Fit, Picture


async def fit_picture(picture: Picture, size: tuple[int, int], fit: Fit) -> Picture:
    """Bring a picture to a size without distorting it, off the event loop.

    Args:
        picture: The picture.
        size: Width and height wanted, in pixels.
        fit: ``"contain"`` shows all of it with black bars, ``"cover"`` fills the size and crops.

    Returns:
        A picture of exactly that size.
    """
    if picture.size == size:
        return picture
    return await asyncio.to_thread(_fit, picture, size, fit)


def _fit(picture: Picture, size: tuple[int, int], fit: Fit) -> Picture:
    image = Image.frombuffer("RGB", picture.size, picture.rgb)
    (w, h), (width, height) = picture.size, size
    if fit == "cover":
        scale = max(width / w, height / h)
        dx, dy = (w - width / scale) / 2, (h - height / scale) / 2
        image = image.resize(size, Image.Resampling.BILINEAR, (dx, dy, w - dx, h - dy))
        return Picture(image.tobytes(), size)
    scale = min(width / w, height / h)
    inner = max(1, round(w * scale)), max(1, round(h * scale))
    canvas = Image.new("RGB", size)
    canvas.paste(
        image.resize(inner, Image.Resampling.BILINEAR),
        ((width - inner[0]) // 2, (height - inner[1]) // 2),
    )
    return Picture(canvas.tobytes(), size)


class Decimator:
    """Chooses pictures so that no more than so many a second go on.

    Args:
        rate: Pictures a second; None lets all through.
    """

    def __init__(self, rate: float | None) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._due = 0.0

    def wants(self, now: float) -> bool:
        """Whether the picture that arrives at `now` (s) goes on."""
        if now < self._due - 0.25 * self._interval:
            return False
        # Keeps to the grid, and starts it anew after a gap.
        self._due = max(self._due + self._interval, now + 0.5 * self._interval)
        return True
