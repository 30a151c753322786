"""The partner's voice: what a text sounds like."""

import numpy as np
from livekit import rtc

from pipecat_runway.simulator.espeak import DEFAULT_SPEED, DEFAULT_VOICE, Espeak, EspeakError
from pipecat_runway.simulator.playout import RATE, Samples

LETTER = 0.065  # seconds it takes to hum one
PITCH = 140.0  # Hz


def spoken(text: str) -> Samples:
    """Speak a text, blocking: by espeak-ng if that is installed, else as a hum of its length."""
    pieces: list[bytes] = []
    try:
        espeak = Espeak.shared()
        espeak.speak(text, DEFAULT_VOICE, DEFAULT_SPEED, lambda pcm: not pieces.append(pcm))  # type: ignore[func-returns-value]
    except EspeakError:
        return _hummed(text)
    return played(b"".join(pieces), espeak.sample_rate)


def played(pcm: bytes, rate: int) -> Samples:
    """Bring s16le mono sound to the rate of the avatars."""
    if rate == RATE or not pcm:
        return np.frombuffer(pcm, np.int16)
    resampler = rtc.AudioResampler(rate, RATE, quality=rtc.AudioResamplerQuality.MEDIUM)
    frames = [*resampler.push(bytearray(pcm)), *resampler.flush()]
    return np.concatenate([np.frombuffer(bytes(frame.data), np.int16) for frame in frames])


def _hummed(text: str) -> Samples:
    words = [_tone(len(word) * LETTER) for word in text.split()]
    return np.concatenate([*words, np.empty(0, np.int16)])


def _tone(seconds: float) -> Samples:
    at = np.arange(round(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * PITCH * n * at) / n for n in (1, 2, 3, 4))
    tone: Samples = (6000 * wave * np.sin(np.pi * at / seconds) ** 0.5).astype(np.int16)
    return tone
