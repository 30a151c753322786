"""Sound and picture made to measure."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_runway.media import Decimator, fit_picture
from pipecat_runway.resampling import SpeechResampler
from pipecat_runway.sizes import LONGEST_SIDE, Layer, Picture, PictureSize

RATES = (8_000, 16_000, 22_050, 24_000, 44_100, 48_000)


def tone(rate: int, seconds: float, hertz: float = 440.0) -> np.ndarray:
    return 8000 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


@given(
    st.sampled_from(RATES),
    st.integers(1, 2),
    st.integers(50, 1500),
    st.sampled_from([10, 20, 40, 100]),
)
@settings(max_examples=60, deadline=None)
def test_no_sample_is_lost_or_added(rate: int, channels: int, ms: int, frame_ms: int) -> None:
    """An utterance comes out as long as it went in, within a millisecond, and as loud."""
    wave = np.repeat(tone(rate, ms / 1000).astype("<i2"), channels).tobytes()
    step = rate * frame_ms // 1000 * 2 * channels
    resampler = SpeechResampler()
    out = b"".join(
        resampler.push(wave[i : i + step], rate, channels) for i in range(0, len(wave), step)
    )
    out += resampler.flush()
    assert len(out) // 2 == pytest.approx(ms * 16, abs=16)
    level = np.sqrt(np.mean(np.frombuffer(out, "<i2").astype(float) ** 2))
    assert level == pytest.approx(8000 / np.sqrt(2), rel=0.06)


@given(st.sampled_from(RATES), st.lists(st.integers(0, 3000), max_size=6))
@settings(deadline=None)
def test_it_does_not_matter_how_speech_is_divided(rate: int, cuts: list[int]) -> None:
    """Not even in the middle of a sample, as a TTS does that passes on what its socket brings."""
    wave = tone(rate, 0.1).astype("<i2").tobytes()
    whole, parts = SpeechResampler(), SpeechResampler()
    places = [0, *sorted(cuts), len(wave)]
    out = b"".join(parts.push(wave[a:b], rate, 1) for a, b in pairwise(places))
    expected = np.frombuffer(whole.push(wave, rate, 1) + whole.flush(), "<i2").astype(int)
    got = np.frombuffer(out + parts.flush(), "<i2").astype(int)
    assert len(got) == len(expected)
    assert np.abs(got - expected).max() <= 1  # a sum in another order


@pytest.mark.parametrize("rate", RATES)
def test_speech_is_not_distorted(rate: int) -> None:
    """A tone comes out as that tone: everything else is at least 40 dB below."""
    resampler = SpeechResampler()
    out = resampler.push(tone(rate, 1.0).astype("<i2").tobytes(), rate, 1) + resampler.flush()
    wave = np.frombuffer(out, "<i2").astype(float)[1600:14400]
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)))) ** 2
    peak = int(np.argmax(spectrum))
    assert peak * 16_000 / len(wave) == pytest.approx(440, abs=2)
    signal = spectrum[peak - 4 : peak + 5].sum()
    assert 10 * np.log10(signal / (spectrum.sum() - signal)) > 40


@pytest.mark.parametrize("rate", RATES)
def test_hardly_anything_is_held_back(rate: int) -> None:
    """What came in has gone out but for 1 ms, or 16 samples at a low rate."""
    held = 0.0 if rate == 16_000 else max(1.0, 16_000 / rate)
    out = SpeechResampler().push(tone(rate, 0.5).astype("<i2").tobytes(), rate, 1)
    assert 500 - len(out) / 32 == pytest.approx(held, abs=0.1)


@pytest.mark.parametrize("rate", [rate for rate in RATES if rate > 16_000])
def test_what_16_khz_cannot_hold_is_left_out(rate: int) -> None:
    """A hiss at 10 kHz is not folded back into the speech; one at 7 kHz stays."""
    levels = []
    for hertz in (7_000.0, 10_000.0):
        resampler = SpeechResampler()
        pcm = tone(rate, 0.5, hertz).astype("<i2").tobytes()
        out = resampler.push(pcm, rate, 1) + resampler.flush()
        wave = np.frombuffer(out, "<i2").astype(float)[800:7200]
        levels.append(20 * np.log10(np.sqrt(2 * np.mean(wave**2)) / 8000))
    assert levels[0] > -1
    assert levels[1] < -50


def test_a_rate_that_changes_midway_loses_nothing() -> None:
    """Each piece is taken at its own rate."""
    resampler = SpeechResampler()
    out = b"".join(resampler.push(tone(r, 0.5).astype("<i2").tobytes(), r, 1) for r in RATES)
    out += resampler.flush()
    assert len(out) // 2 == pytest.approx(len(RATES) * 8000, abs=16 * len(RATES))


def test_the_size_follows_what_is_asked_for() -> None:
    """One side given keeps the avatar's aspect, none keeps its size."""
    assert (1280, 720) == PictureSize().of((1280, 720))
    assert (640, 360) == PictureSize(640).of((1280, 720))
    assert (640, 360) == PictureSize(height=360).of((1280, 720))
    assert (500, 500) == PictureSize(500, 500).of((1280, 720))


@given(*[st.integers(1, 8_192)] * 2, *[st.none() | st.integers(1, 2_160)] * 2)
def test_a_picture_of_any_form_has_a_size_that_can_be_shown(
    w: int, h: int, width: int | None, height: int | None
) -> None:
    """A sliver of a picture becomes neither nothing nor more than fits into memory."""
    size = PictureSize(width, height).of((w, h))
    assert all(1 <= side <= 2 * LONGEST_SIDE for side in size)


@pytest.mark.parametrize(
    ("size", "layer"),
    [
        (PictureSize(), Layer.WHOLE),
        (PictureSize(1280, 720), Layer.WHOLE),
        (PictureSize(960, 540), Layer.WHOLE),
        (PictureSize(640, 360), Layer.HALF),
        (PictureSize(640), Layer.HALF),
        (PictureSize(320, 320), Layer.QUARTER),
        (PictureSize(320, 320, "cover"), Layer.HALF),
        (PictureSize(height=100), Layer.QUARTER),
    ],
)
def test_no_larger_picture_is_asked_for_than_is_needed(size: PictureSize, layer: Layer) -> None:
    """Of one that is published at 1280x720 and in LiveKit's smaller sizes."""
    assert layer is size.layer((1280, 720))


@given(*[st.integers(0, 4_096)] * 2, *[st.none() | st.integers(1, 2_160)] * 2)
def test_a_layer_is_never_too_small(w: int, h: int, width: int | None, height: int | None) -> None:
    """Whatever form the picture has, and even if nothing is known of it."""
    size = PictureSize(width, height)
    side = {Layer.WHOLE: max(w, h), Layer.HALF: max(w, h) / 2, Layer.QUARTER: max(w, h) / 4}
    if w and h:
        wide, high = size.of((w, h))
        assert side[size.layer((w, h))] >= min(wide / w, high / h, 1) * max(w, h)
    else:
        assert size.layer((w, h)) is Layer.WHOLE


def bars(width: int, height: int) -> Picture:
    """Left half red, right half blue."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2] = (255, 0, 0)
    rgb[:, width // 2 :] = (0, 0, 255)
    return Picture(rgb.tobytes(), (width, height))


def fitted(size: tuple[int, int], fit: str) -> np.ndarray:
    picture = asyncio.run(fit_picture(bars(1280, 720), size, fit))  # type: ignore[arg-type]
    assert size == picture.size
    return np.frombuffer(picture.rgb, np.uint8).reshape(size[1], size[0], 3)


def test_contain_shows_everything_between_black_bars() -> None:
    """A 16:9 picture in a square keeps its aspect."""
    square = fitted((720, 720), "contain")
    top = (720 - 405) // 2
    assert not square[: top - 1].any()
    assert not square[-(top - 1) :].any()
    assert tuple(square[360, 10]) == (255, 0, 0)
    assert tuple(square[360, -10]) == (0, 0, 255)
    assert tuple(square[top + 3, 10]) == (255, 0, 0)


def test_cover_fills_everything_and_crops() -> None:
    """A 16:9 picture in a square leaves no bar and keeps its centre."""
    square = fitted((720, 720), "cover")
    assert tuple(square[3, 10]) == (255, 0, 0)
    assert tuple(square[-3, -10]) == (0, 0, 255)
    assert square.any(axis=2).all()


def test_a_fitting_picture_is_not_touched() -> None:
    """Nothing is copied where nothing is to do."""
    picture = bars(64, 36)
    assert asyncio.run(fit_picture(picture, (64, 36), "contain")) is picture


@given(
    st.floats(5, 30),
    st.floats(10, 60),
    st.lists(st.floats(-0.004, 0.004), min_size=60, max_size=60),
)
def test_no_more_pictures_go_on_than_asked_for(
    wanted: float, native: float, jitter: list[float]
) -> None:
    """Over a second or more the rate is met, whatever the jitter."""
    decimator = Decimator(wanted)
    times = [10 + i / native + jitter[i % 60] for i in range(int(native * 4))]
    passed = sum(decimator.wants(t) for t in sorted(times))
    assert passed <= 4 * wanted + 2
    assert passed >= 4 * min(wanted, native) * 0.75 - 2


def test_without_a_rate_all_pictures_go_on() -> None:
    """None lets everything through."""
    assert all(Decimator(None).wants(t) for t in (0.0, 0.0, 0.001))
