"""The avatar's ears: the bytes of one LiveKit byte stream become the samples of one speech."""

from collections.abc import Mapping

import numpy as np
from livekit import rtc

from pipecat_runway.simulator.playout import RATE, Samples, Speech

PIECE = 0.1  # seconds; what the knob `drop_piece` counts


class SpeechFormatError(ValueError):
    """A byte stream does not say how its samples are laid out."""


class PieceDropper:
    """Swallows every n-th 100 ms of all the speech an avatar is given; 0 swallows none.

    Attributes:
        every: That n.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._seen = 0.0  # seconds

    def __call__(self, samples: Samples, rate: int) -> Samples:
        """Return what is left of the next samples."""
        if not self.every:
            return samples
        times = self._seen + np.arange(len(samples)) / rate
        self._seen += len(samples) / rate
        kept: Samples = samples[(times // PIECE) % self.every != self.every - 1]
        return kept


class SpeechReader:
    """Reads signed 16-bit little-endian, interleaved PCM into a speech.

    Args:
        speech: Where the samples go.
        attributes: The stream's own: ``sample_rate`` and ``num_channels`` as decimal strings
            (livekit-agents 1.8.9, voice/avatar/_datastream_io.py).
        drop: What may swallow some of it.
        pace: How much faster than given, and higher, it is said.

    Raises:
        SpeechFormatError: The attributes are missing or make no sense.
    """

    def __init__(
        self,
        speech: Speech,
        attributes: Mapping[str, str] | None,
        drop: PieceDropper,
        pace: float = 1.0,
    ) -> None:
        try:
            rate = int((attributes or {})["sample_rate"])
            self._channels = int((attributes or {})["num_channels"])
        except (KeyError, ValueError) as error:
            raise SpeechFormatError("sample_rate and num_channels must be numbers") from error
        if not (1000 <= rate <= 192_000 and 1 <= self._channels <= 8):
            raise SpeechFormatError("sample_rate or num_channels is out of range")
        self._speech = speech
        speech.rate = rate
        self._drop = drop
        self._rest = b""  # of a sample that was cut by the end of a chunk
        self._resampler = None
        if (heard := round(rate * pace)) != RATE:
            quality = rtc.AudioResamplerQuality.LOW
            self._resampler = rtc.AudioResampler(heard, RATE, quality=quality)

    def feed(self, chunk: bytes, ready_at: float) -> Samples:
        """Take the next bytes.

        Args:
            chunk: As they came.
            ready_at: When they may be played.

        Returns:
            The samples that were complete, mixed to one channel, at the stream's own rate.
        """
        data = self._rest + chunk
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        frames = np.frombuffer(data[:whole], "<i2").reshape(-1, self._channels)
        mono = frames[:, 0] if self._channels == 1 else _mixed(frames)
        kept = self._drop(mono, self._speech.rate)
        if self._resampler is None:
            self._speech.push(kept, ready_at)
        elif len(kept):
            self._push(self._resampler.push(bytearray(kept.tobytes())), ready_at)
        return mono

    def end(self, ready_at: float) -> None:
        """No more will come."""
        if self._resampler is not None:
            self._push(self._resampler.flush(), ready_at)
            self._resampler = None
        self._speech.closed = True

    def _push(self, frames: list[rtc.AudioFrame], ready_at: float) -> None:
        for frame in frames:
            self._speech.push(np.frombuffer(bytes(frame.data), np.int16), ready_at)


def _mixed(frames: Samples) -> Samples:
    mono: Samples = np.rint(frames.mean(axis=1)).astype(np.int16)
    return mono
