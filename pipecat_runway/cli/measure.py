"""Reads a film back and measures it: is the mouth in time with the sound, is every word there."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

SOUND_RATE = 16_000
AUDIBLE = 0.01  # RMS of full scale 1.0, -40 dB
STEP = 0.01  # s; resolution of what counts as speech
MARGIN = 0.3  # s; silence kept around the speech when mouth and sound are compared
SEARCH = 0.3  # s; greatest lag looked for
LAG_STEP = 0.002  # s
PIECE = 0.1  # s; unit in which a sentence is looked for
DRIFT = 0.15  # s; how far a piece may lie from its place
ALIKE = 0.6  # normalized correlation; foreign speech stays below about 0.4 over 100 ms

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Film:
    """What was found in a film.

    Attributes:
        size: Width and height.
        fps: Pictures a second.
        times: When each picture is shown, in s.
        openness: How far the mouth is open in each picture.
        sound: Mono samples from 0 s on at 16 kHz, full scale 1.0; empty without a sound track.
    """

    size: tuple[int, int]
    fps: float
    times: Floats
    openness: Floats
    sound: Floats

    @property
    def duration(self) -> float:
        """Length in s."""
        return max(len(self.times) / self.fps, len(self.sound) / SOUND_RATE)

    @property
    def speech(self) -> tuple[float, float] | None:
        """When the first sound begins and the last ends, in s; None in a silent film."""
        begins = np.arange(0.0, len(self.sound) / SOUND_RATE, STEP)
        loud = np.flatnonzero(self.level(begins, STEP) > AUDIBLE)
        return (float(begins[loud[0]]), float(begins[loud[-1]] + STEP)) if len(loud) else None

    def level(self, begins: Floats, length: float) -> Floats:
        """Return the RMS of the sound in intervals; outside the film there is silence.

        Args:
            begins: Their beginnings in s, anywhere between samples.
            length: Their length in s.
        """
        power = np.concatenate([[0.0], np.cumsum(self.sound**2)])
        index = np.arange(len(power))
        ends = np.interp((begins + length) * SOUND_RATE, index, power)
        starts = np.interp(begins * SOUND_RATE, index, power)
        return np.asarray(np.sqrt(np.maximum(ends - starts, 0.0) / (length * SOUND_RATE)))


@dataclass(frozen=True)
class Sync:
    """How the mouth follows the sound.

    Attributes:
        lag: How much later the picture is than its sound, in s; negative if it is earlier.
        correlation: Pearson's correlation of mouth and sound level at that lag.
        at_zero: The same with the film as it is.
    """

    lag: float
    correlation: float
    at_zero: float


def read_film(path: Path, openness: Callable[[Pixels], float]) -> Film:
    """Decode a film.

    Args:
        path: An MP4.
        openness: Tells from the RGB pixels of a picture how far the mouth is open.

    Returns:
        What was found.
    """
    times, mouth = [], []
    sound = [np.zeros(0)]
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        size, fps = (video.width, video.height), float(video.average_rate or 0)
        for picture in container.decode(video):
            times.append(picture.time or 0.0)
            mouth.append(openness(np.asarray(picture.to_ndarray(format="rgb24"), np.uint8)))
        if container.streams.audio:
            container.seek(0)
            frames = list(container.decode(container.streams.audio[0]))
            begin = frames[0].time or 0.0 if frames else 0.0
            sound = [np.zeros(round(begin * SOUND_RATE)), _resample(frames)]
    return Film(size, fps, np.array(times), np.array(mouth), np.concatenate(sound))


def sync(film: Film) -> Sync | None:
    """Compare the mouth with the sound while there is speech.

    Args:
        film: The film.

    Returns:
        The comparison; None if there is no speech or the mouth never moves.
    """
    if film.speech is None:
        return None
    begin, end = film.speech
    during = (film.times >= begin - MARGIN) & (film.times <= end + MARGIN)
    times, mouth = film.times[during], film.openness[during]
    if len(times) < 2 or np.ptp(mouth) == 0:
        return None

    def correlation(lag: float) -> float:
        return float(np.corrcoef(mouth, film.level(times - lag, 1 / film.fps))[0, 1])

    steps = round(SEARCH / LAG_STEP)
    lags = [step * LAG_STEP for step in range(-steps, steps + 1)]
    found = [correlation(lag) for lag in lags]
    best = int(np.argmax(found))
    return Sync(lags[best], found[best], found[steps])


def share_heard(film: Film, spoken: bytes, rate: int) -> float:
    """Return how much of a sentence is in the film, from 0 to 1.

    Args:
        film: The film.
        spoken: The sentence as the voice made it, mono s16le.
        rate: Its sample rate.
    """
    if not len(film.sound):
        return 0.0
    frame = av.AudioFrame.from_ndarray(np.frombuffer(spoken, np.int16)[None], "s16", "mono")
    frame.sample_rate = rate
    sentence = _resample([frame])
    # Where the sentence as a whole fits best.
    size = len(film.sound) + len(sentence)
    product = np.fft.rfft(film.sound, size) * np.conj(np.fft.rfft(sentence, size))
    place = int(np.argmax(np.fft.irfft(product, size)[: len(film.sound)]))
    length, drift = round(PIECE * SOUND_RATE), round(DRIFT * SOUND_RATE)
    starts = [
        start
        for start in range(0, len(sentence) - length + 1, length)
        if np.sqrt(np.mean(sentence[start : start + length] ** 2)) > AUDIBLE
    ]
    margin = len(sentence) + drift
    around = np.pad(film.sound, margin)

    def look_for(start: int, shift: int) -> tuple[float, int]:
        """Return how well a piece fits near its place, and how far off that place it does."""
        begin = max(0, margin + place + start + shift - drift)
        near = around[begin : begin + length + 2 * drift]
        likeness, at = _best_fit(sentence[start : start + length], near)
        return likeness, shift - drift + at

    if not starts:
        return 0.0
    # From the surest piece outwards: a jittery network stretches speech little by little.
    surest = max(range(len(starts)), key=lambda number: look_for(starts[number], 0)[0])
    heard = 0
    for way in (starts[surest:], starts[:surest][::-1]):
        shift = look_for(starts[surest], 0)[1]
        for start in way:
            likeness, found = look_for(start, shift)
            if likeness > ALIKE:
                heard, shift = heard + 1, found
    return heard / len(starts)


def _best_fit(piece: Floats, sound: Floats) -> tuple[float, int]:
    """Return the best normalized correlation of a piece in a longer sound, and where it is."""
    if len(sound) < len(piece):
        return 0.0, 0
    power = np.concatenate([[0.0], np.cumsum(sound**2)])
    energy = power[len(piece) :] - power[: -len(piece)]
    scale = np.sqrt(np.maximum(energy, 1e-6) * np.sum(piece**2))
    fit = np.correlate(sound, piece, "valid") / scale
    return float(np.max(fit)), int(np.argmax(fit))


def _resample(frames: list[av.AudioFrame]) -> Floats:
    """Return mono samples at 16 kHz, full scale 1.0."""
    resampler = av.AudioResampler("s16", "mono", SOUND_RATE)
    resampled = [piece for frame in [*frames, None] for piece in resampler.resample(frame)]
    pieces = [np.asarray(piece.to_ndarray(), np.float64).reshape(-1) for piece in resampled]
    return np.concatenate([np.zeros(0), *pieces]) / 32768
