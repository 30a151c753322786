"""Sound and picture made to measure: resampling, letterboxing, frame-rate decimation."""

import asyncio
from dataclasses import dataclass

import numpy as np
from livekit import rtc
from PIL import Image

from pipecat_runway.sizes import Fit
from pipecat_runway.wire import SPEECH_RATE


class SpeechResampler:
    """Turns one utterance's sound into 16 kHz mono, piece by piece.

    LiveKit's resampler at LOW quality holds 6 ms back, which :meth:`flush` returns.
    """

    def __init__(self) -> None:
        self._rate = SPEECH_RATE
        self._resampler: rtc.AudioResampler | None = None

    def push(self, pcm: bytes, sample_rate: int, num_channels: int) -> bytes:
        """Take a piece of s16le sound.

        Args:
            pcm: Interleaved samples.
            sample_rate: Their rate in Hz. It may change from piece to piece.
            num_channels: Their channels; they are mixed to one.

        Returns:
            What is ready at 16 kHz mono, perhaps nothing.
        """
        if num_channels > 1:
            frames = np.frombuffer(pcm, "<i2").reshape(-1, num_channels)
            pcm = frames.mean(axis=1).astype("<i2").tobytes()
        ready = b""
        if sample_rate != self._rate:
            ready = self.flush()
            self._rate = sample_rate
            if sample_rate != SPEECH_RATE:
                self._resampler = rtc.AudioResampler(
                    sample_rate, SPEECH_RATE, quality=rtc.AudioResamplerQuality.LOW
                )
        if self._resampler is None:
            return ready + pcm
        return ready + _join(self._resampler.push(bytearray(pcm)))

    def flush(self) -> bytes:
        """Return what was held back."""
        resampler, self._resampler = self._resampler, None
        self._rate = SPEECH_RATE
        return _join(resampler.flush()) if resampler is not None else b""


def _join(frames: list[rtc.AudioFrame]) -> bytes:
    return b"".join(bytes(frame.data) for frame in frames)


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        rgb: Tight RGB24, 3 bytes a pixel.
        size: Width and height in pixels.
    """

    rgb: bytes
    size: tuple[int, int]


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
