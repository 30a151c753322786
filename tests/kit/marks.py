"""Marked speech: every 100 ms of it carries its own number, readable after Opus.

A mark is 100 ms of noise, flat from 350 to 3300 Hz, whose phases are drawn from its number. It is
defined by its spectrum, so the same wave exists exactly at every sample rate that is a multiple
of 10. Noise has no period: a piece matches nothing but itself, and only at one place.

Reading is a matched filter over all marks, then a look at every 10 ms of each find, which says
how much of the piece was really heard. A fragment of 40 ms counts as heard.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

MARKS = 1000
"""How many different marks there are; numbers count on modulo this."""

PIECE = 0.1
"""Seconds of one piece."""

_LEVEL_DBFS = -14.0
_PEAK = 2.2  # how far the wave may rise above its own RMS
_FADE = 0.005
_BINS = np.arange(35, 331)  # of 10 Hz each

_SEARCH_RATE = 8000  # the rate at which marks are searched …
_SEARCHED = int(_SEARCH_RATE * PIECE)
_LOOK_RATE = 16000  # … and looked at: half a sample of the search rate is too coarse for 3 kHz
_LOOKED = int(_LOOK_RATE * PIECE)
_BLOCK = int(_LOOK_RATE * 0.010)
_HOP = _BLOCK // 2

# 40 ms of a piece among other sound score 0.4 on average, less what Opus takes and less where the
# piece is soft. Chance scores this much some 40 times a second: the close look sorts that out.
_CANDIDATE_SCORE = 0.18
_BLOCK_SCORE = 0.5
_CONFIDENCE = 0.6
_HEARD_AT_LEAST = 0.035  # what 10 ms blocks still show of 40 ms
_STRETCH = int(_LOOK_RATE * 0.020)  # finds of one mark closer than this are one piece, stretched
_TORN = int(_LOOK_RATE * 0.150)  # so are finds up to here that hold different parts of it
_SLACK = int(_LOOK_RATE * 0.001)  # how far each 10 ms may have slipped
_QUIET = 150 / 32768  # RMS below which nothing is looked for

Samples = NDArray[np.float32]


class Mark(NamedTuple):
    """One piece as it was heard.

    Attributes:
        number: The number it carries.
        start_s: When its first audible sound is heard, from the beginning of the recording.
        end_s: When its last audible sound is heard.
        confidence: Likeness (normalized correlation) of what was heard, 0 to 1.
        heard_s: How much of the piece was heard; 0.1 is all of it.
    """

    number: int
    start_s: float
    end_s: float
    confidence: float
    heard_s: float


@dataclass(frozen=True)
class Verdict:
    """What differs between the marks that were sent and those that were heard.

    Attributes:
        lost: Sent, but heard nowhere.
        doubled: Heard more often than sent.
        out_of_order: Heard, but not where the others around it say it belongs.
        foreign: Heard, but never sent.
        partial: Sent and heard, but more than 25 ms of it are missing or spliced in.
    """

    lost: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    out_of_order: list[int] = field(default_factory=list)
    foreign: list[int] = field(default_factory=list)
    partial: list[int] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether everything sent was heard whole, once and in order, and nothing else."""
        return self == Verdict()


class Recording(NamedTuple):
    """A continuous piece of sound.

    Attributes:
        pcm: Signed 16 bit, little endian, mono.
        rate: Samples per second.
        started: `time.monotonic()` of the first sample.
    """

    pcm: bytes
    rate: int
    started: float = 0.0

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.pcm) / 2 / self.rate

    def marks(self, among: Iterable[int] | None = None) -> list[Mark]:
        """The marks heard in it, see `read_marks`."""
        return read_marks(self.pcm, self.rate, among=among)

    def stretches(self) -> list[tuple[float, float]]:
        """Its audible stretches, see `stretches`."""
        return stretches(self.pcm, self.rate)


def marked_speech(
    first_mark: int,
    pieces: int,
    sample_rate: int,
    channels: int = 1,
    *,
    pauses: Mapping[int, float] | None = None,
    tail: float = 0.0,
    noise: int = 0,
) -> bytes:
    """Make marked speech.

    Args:
        first_mark: The number of the first piece.
        pieces: How many pieces of 100 ms.
        sample_rate: A multiple of 10.
        channels: Every channel carries the same sound.
        pauses: Seconds of silence before the piece of that index.
        tail: Seconds of one more piece, cut short.
        noise: Noise floor of up to this many steps of the least significant bit, pauses included.

    Returns:
        Interleaved samples, signed 16 bit, little endian.
    """
    parts: list[Samples] = []
    for index in range(pieces):
        if pauses and index in pauses:
            parts.append(np.zeros(round(pauses[index] * sample_rate), np.float32))
        parts.append(piece(first_mark + index, sample_rate))
    if tail:
        cut = piece(first_mark + pieces, sample_rate)[: round(tail * sample_rate)].copy()
        _fade_out(cut, sample_rate)
        parts.append(cut)
    wave = np.concatenate(parts) * 32767 if parts else np.zeros(0, np.float32)
    if noise:
        floor = np.random.default_rng(first_mark).integers(-noise, noise, len(wave), endpoint=True)
        wave = wave + floor
    samples = np.clip(np.rint(wave), -32768, 32767).astype("<i2")
    return np.repeat(samples, channels).tobytes()


def numbers(first_mark: int, pieces: int) -> list[int]:
    """The numbers that `marked_speech` of the same arguments carries."""
    return [(first_mark + index) % MARKS for index in range(pieces)]


def piece(number: int, sample_rate: int) -> Samples:
    """The wave of one mark, 100 ms of it, with full scale at 1."""
    if sample_rate % 10:
        raise ValueError(f"100 ms of {sample_rate} Hz are no whole number of samples")
    size = sample_rate // 10
    spectrum = np.zeros(size // 2 + 1, np.complex128)
    spectrum[_BINS] = np.exp(1j * _phases()[number % MARKS])
    wave = np.fft.irfft(spectrum, size)
    wave *= 10 ** (_LEVEL_DBFS / 20) / np.sqrt(np.mean(wave**2))
    _fade_out(wave, sample_rate)
    _fade_out(wave[::-1], sample_rate)
    return wave.astype(np.float32)


def read_marks(
    pcm: bytes | ArrayLike,
    sample_rate: int,
    channels: int = 1,
    *,
    among: Iterable[int] | None = None,
) -> list[Mark]:
    """Find every mark heard in a recording, in the order heard.

    Args:
        pcm: Signed 16 bit samples as bytes, or samples of any number type at the scale of 16 bit.
        sample_rate: A multiple of 10.
        channels: How many are interleaved.
        among: Look only for these numbers (quicker); left out: for all.
    """
    wave = resampled(mono(pcm, channels), sample_rate, _SEARCH_RATE)
    searched = np.pad(wave, _SEARCHED)  # a piece may be cut by the recording's edges
    looked_at = resampled(searched, _SEARCH_RATE, _LOOK_RATE)
    wanted = np.arange(MARKS) if among is None else np.unique(np.fromiter(among, int) % MARKS)
    finds = [
        find
        for number, lags in _candidates(searched, wanted).items()
        for find in _confirmed(looked_at, number, lags)
    ]
    return sorted(finds, key=lambda mark: (mark.start_s, mark.number))


def compare(expected: Sequence[int], heard: Iterable[Mark | int]) -> Verdict:
    """Say what differs between the marks sent and the marks heard.

    Args:
        expected: The numbers sent, in order.
        heard: What `read_marks` found, or bare numbers, in order.
    """
    marks = [Mark(m, 0.0, 0.0, 1.0, PIECE) if isinstance(m, int) else m for m in heard]
    sent, got = Counter(expected), Counter(m.number for m in marks)
    places: dict[int, list[int]] = {}
    for place, number in enumerate(expected):
        places.setdefault(number, []).append(place)
    first_hearings = [places[m.number].pop(0) for m in marks if places.get(m.number)]
    in_order = set(_longest_rise(first_hearings))
    return Verdict(
        lost=list((sent - got).elements()),
        doubled=[number for number in (got - sent).elements() if number in sent],
        out_of_order=[expected[place] for place in first_hearings if place not in in_order],
        foreign=[m.number for m in marks if m.number not in sent],
        partial=[
            m.number
            for m in marks
            if m.number in sent
            and (m.heard_s < PIECE - 0.025 or m.end_s - m.start_s > PIECE + 0.025)
        ],
    )


def stretches(
    pcm: bytes | ArrayLike,
    sample_rate: int,
    threshold: float = 200.0,
    *,
    channels: int = 1,
    gap: float = 0.02,
) -> list[tuple[float, float]]:
    """The audible stretches of a recording as (start, end) in seconds, right to about 1 ms.

    Args:
        pcm: As for `read_marks`.
        sample_rate: Samples per second.
        threshold: RMS over 2 ms, in steps of 16 bit, from which on sound is audible.
        channels: How many are interleaved.
        gap: Silence up to this many seconds does not end a stretch.
    """
    wave = mono(pcm, channels)
    hop = max(1, sample_rate // 1000)
    power = wave[: len(wave) // hop * hop].reshape(-1, hop).astype(np.float64) ** 2
    millis = power.mean(axis=1) if len(power) else np.zeros(0)
    loudness = np.sqrt(np.convolve(millis, [0.5, 0.5])[: len(millis)])
    audible = np.flatnonzero(loudness >= threshold / 32768)
    if not len(audible):
        return []
    breaks = np.flatnonzero(np.diff(audible) > round(gap * sample_rate / hop))
    starts = audible[np.concatenate([[0], breaks + 1])] * hop / sample_rate
    ends = (audible[np.concatenate([breaks, [-1]])] + 1) * hop / sample_rate
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def onset_end(
    pcm: bytes | ArrayLike, sample_rate: int, threshold: float = 200.0, *, channels: int = 1
) -> tuple[float, float] | None:
    """When the first sound begins and the last one ends, in seconds; None for silence."""
    found = stretches(pcm, sample_rate, threshold, channels=channels)
    return (found[0][0], found[-1][1]) if found else None


def mono(pcm: bytes | ArrayLike, channels: int = 1) -> Samples:
    """The mean of all channels, with full scale at 1."""
    raw = np.frombuffer(pcm, "<i2") if isinstance(pcm, bytes | bytearray) else np.asarray(pcm)
    mixed = raw.reshape(-1, channels).mean(axis=1) if channels > 1 else raw.reshape(-1)
    return (mixed / 32768).astype(np.float32)


def resampled(wave: Samples, rate: int, to: int) -> Samples:
    """Resample by cutting or filling the spectrum of the whole: no delay, no lost tail.

    Both rates are multiples of 10.
    """
    if rate == to or not len(wave):
        return wave
    pieces = -(-len(wave) // (rate // 10)) + 1  # one more: the end must not wrap to the start
    spectrum = np.fft.rfft(np.pad(wave, (0, pieces * (rate // 10) - len(wave))))
    size = pieces * (to // 10)
    keep = min(len(spectrum), size // 2)
    kept = np.zeros(size // 2 + 1, spectrum.dtype)
    kept[:keep] = spectrum[:keep]
    length = round(len(wave) * to / rate)
    return (np.fft.irfft(kept, size)[:length] * (to / rate)).astype(np.float32)


# --- making -----------------------------------------------------------------------------------


@cache
def _phases() -> NDArray[np.float64]:
    """The phases of all marks, drawn at random and then bent until the wave has no high peaks."""
    phases = np.random.default_rng(0).uniform(0, 2 * np.pi, (MARKS, len(_BINS)))
    size = 2 * _SEARCHED
    for _ in range(12):
        spectrum = np.zeros((MARKS, size // 2 + 1), np.complex128)
        spectrum[:, _BINS] = np.exp(1j * phases)
        wave = np.fft.irfft(spectrum, size, axis=1)
        limit = (_PEAK - 0.3) * np.sqrt(np.mean(wave**2, axis=1, keepdims=True))
        phases = np.angle(np.fft.rfft(np.clip(wave, -limit, limit), axis=1)[:, _BINS])
    return phases


def _fade_out(wave: NDArray[np.floating], sample_rate: int) -> None:
    size = min(round(_FADE * sample_rate), len(wave))
    if size:
        wave[-size:] *= 0.5 + 0.5 * np.cos(np.pi * (np.arange(size) + 0.5) / size)


# --- reading ----------------------------------------------------------------------------------


_FFT = 4096
_STEP = _FFT - _SEARCHED + 1


@cache
def _filters() -> NDArray[np.complex64]:
    """The matched filters of all marks, each of unit energy."""
    waves = np.stack([piece(number, _SEARCH_RATE) for number in range(MARKS)])
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    return np.conj(np.fft.rfft(waves, _FFT, axis=1)).astype(np.complex64)


def _candidates(wave: Samples, wanted: NDArray[np.int_]) -> dict[int, list[int]]:
    """The places, at the look's rate, where each mark may begin: peaks of its matched filter."""
    filters = _filters() if len(wanted) == MARKS else _filters()[wanted]
    energy = np.concatenate([[0.0], np.cumsum(wave.astype(np.float64) ** 2)])
    quiet = _QUIET**2 * _SEARCHED
    hits: dict[int, dict[int, float]] = {}
    for begin in range(0, len(wave) - _SEARCHED + 1, _STEP):
        part = wave[begin : begin + _FFT]
        places = min(_STEP, len(part) - _SEARCHED + 1)
        here = np.arange(begin, begin + places)
        loud = energy[here + _SEARCHED] - energy[here]
        if loud.max() < quiet:
            continue
        scale = np.where(loud < quiet, 0, 1 / np.sqrt(np.maximum(loud, quiet)))
        found = np.fft.irfft(np.fft.rfft(part, _FFT).astype(np.complex64) * filters, axis=1)
        score = found[:, :places] * scale.astype(np.float32)
        for row, column in np.argwhere(score > _CANDIDATE_SCORE):
            lags = hits.setdefault(int(wanted[row]), {})
            lags[(begin + int(column)) * (_LOOK_RATE // _SEARCH_RATE)] = float(score[row, column])
    return {number: _peaks(lags) for number, lags in sorted(hits.items())}


def _peaks(scores: Mapping[int, float]) -> list[int]:
    """Places that score best within the slack of a look."""
    peaks: list[int] = []
    for place in sorted(scores, key=lambda lag: -scores[lag]):
        if all(abs(place - other) > _SLACK for other in peaks):
            peaks.append(place)
    return sorted(peaks)


def _confirmed(wave: Samples, number: int, lags: Sequence[int]) -> list[Mark]:
    """The candidates that stand a close look, those of one stretched piece taken together."""
    looks = [look for lag in lags if (look := _look(wave, number, lag))]
    groups: list[list[_Look]] = []
    for look in looks:
        if groups and _one_hearing(groups[-1], look):
            groups[-1].append(look)
        else:
            groups.append([look])
    marks = []
    for group in groups:
        heard = np.any([look.heard for look in group], axis=0).sum() / _LOOK_RATE
        if heard >= _HEARD_AT_LEAST:
            start = min(look.lag + int(np.argmax(look.heard)) for look in group)
            end = max(
                look.lag + len(look.heard) - int(np.argmax(look.heard[::-1])) for look in group
            )
            # The recording was padded by one piece before it was searched.
            start_s, end_s = start / _LOOK_RATE - PIECE, end / _LOOK_RATE - PIECE
            marks.append(
                Mark(number, start_s, end_s, max(look.confidence for look in group), float(heard))
            )
    return marks


def _one_hearing(group: Sequence["_Look"], look: "_Look") -> bool:
    """Whether a find goes on with the piece found before, stretched or torn, or repeats it."""
    apart = look.lag - group[-1].lag
    before = np.any([earlier.heard for earlier in group], axis=0)
    repeated = int((before & look.heard).sum())
    return apart <= _STRETCH or (apart <= _TORN and repeated <= _STRETCH)


class _Look(NamedTuple):
    lag: int
    heard: NDArray[np.bool_]  # which samples of the piece are there
    confidence: float


def _look(wave: Samples, number: int, lag: int) -> _Look | None:
    """Which parts of the mark are heard at this place, by correlating each 10 ms of it."""
    template = piece(number, _LOOK_RATE)
    around = np.pad(wave, _SLACK)[lag : lag + _LOOKED + 2 * _SLACK]
    starts = np.arange(0, _LOOKED - _BLOCK + 1, _HOP)
    want = np.lib.stride_tricks.sliding_window_view(template, _BLOCK)[starts]
    have = np.lib.stride_tricks.sliding_window_view(around, _BLOCK)
    have = have[starts[:, None] + np.arange(2 * _SLACK + 1)]  # block, shift, sample
    loud = np.linalg.norm(have, axis=2)
    product = np.einsum("bs,bks->bk", want, have)
    energy = np.linalg.norm(want, axis=1)[:, None]
    best = (product / (energy * np.maximum(loud, _QUIET * np.sqrt(_BLOCK)))).max(axis=1)
    gain = (product / energy**2).max(axis=1)
    alike = best >= _BLOCK_SCORE
    if alike.any():  # where the sound begins or breaks off, 10 ms hold less than half of it
        alike &= gain >= 0.5 * np.median(gain[alike])
    heard = np.zeros(_LOOKED, bool)
    scores: list[float] = []
    for first, last in _runs(alike):
        if last - first >= 2:  # 20 ms in a row: shorter likeness is chance
            heard[starts[first] : starts[last] + _BLOCK] = True
            scores += best[first : last + 1].tolist()
    confidence = sum(scores) / max(1, len(scores))
    return _Look(lag, heard, confidence) if confidence >= _CONFIDENCE else None


def _runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]


def _longest_rise(values: Sequence[int]) -> list[int]:
    """The longest rising selection: what is in order when the fewest are called misplaced."""
    ends: list[int] = []  # the smallest last value of a rise of each length …
    rises: list[int] = []  # … and where it stands
    before: list[int] = []
    for place, value in enumerate(values):
        length = bisect_left(ends, value)
        before.append(rises[length - 1] if length else -1)
        ends[length : length + 1] = [value]
        rises[length : length + 1] = [place]
    chosen, place = [], rises[-1] if rises else -1
    while place >= 0:
        chosen.append(values[place])
        place = before[place]
    return chosen[::-1]
