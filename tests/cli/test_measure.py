"""The measuring of films, on films whose truth is known."""

from pathlib import Path

import numpy as np
import pytest

from pipecat_runway.cli.film import FilmWriter
from pipecat_runway.cli.measure import SOUND_RATE, Film, read_film, share_heard, sync

FPS = 24.0
DURATION = 6.0


def speech(seed: int = 1, seconds: float = 4.0) -> np.ndarray:
    """Noise with the loudness of syllables."""
    random = np.random.default_rng(seed)
    count = round(seconds * SOUND_RATE)
    syllables = np.repeat(random.uniform(0.0, 0.3, round(seconds * 6) + 1), SOUND_RATE // 6)[:count]
    smooth = np.convolve(syllables, np.hanning(800) / np.hanning(800).sum(), "same")
    return random.normal(0.0, 1.0, count) * smooth


def film(lag: float = 0.0, noise: float = 0.0) -> Film:
    """A film whose mouth follows its sound, `lag` later."""
    sound = np.zeros(round(DURATION * SOUND_RATE))
    sound[SOUND_RATE : SOUND_RATE + round(4.0 * SOUND_RATE)] = speech()
    times = np.arange(round(DURATION * FPS)) / FPS
    silent = Film((1280, 720), FPS, times, np.zeros(len(times)), sound)
    mouth = silent.level(times - lag, 1 / FPS)
    mouth += np.random.default_rng(2).normal(0.0, noise, len(mouth))
    return Film(silent.size, FPS, times, mouth, sound)


@pytest.mark.parametrize("lag", [-0.2, -0.06, 0.0, 0.013, 0.06, 0.25])
def test_a_known_lag_is_found(lag: float) -> None:
    """To 4 ms, with either sign, at a correlation of nearly one."""
    found = sync(film(lag))
    assert found is not None
    assert found.lag == pytest.approx(lag, abs=0.004)
    assert found.correlation > 0.99


def test_a_known_correlation_is_found() -> None:
    """Noise of the size of the signal on the mouth gives Pearson's 0.7."""
    clean = film()
    spread = float(np.std(clean.openness[(clean.times > 0.7) & (clean.times < 5.3)]))
    found = sync(film(noise=spread))
    assert found is not None
    assert found.at_zero == pytest.approx(0.707, abs=0.06)


def test_a_picture_delayed_by_120_ms_is_noticed() -> None:
    """Such a film fails the bound of 60 ms, and correlates worse as it is."""
    good, bad = sync(film()), sync(film(0.12))
    assert good is not None
    assert bad is not None
    assert abs(good.lag) <= 0.06 < bad.lag
    assert bad.at_zero < 0.8 < good.at_zero


def test_a_foreign_mouth_does_not_correlate() -> None:
    """A mouth that moves to other words stays below 0.8 at every lag."""
    right = film()
    other = Film(right.size, FPS, right.times, np.roll(right.openness, 40), right.sound)
    found = sync(other)
    assert found is not None
    assert found.correlation < 0.8


def test_silence_and_a_still_mouth_have_no_sync() -> None:
    """Nothing is made up where nothing moves or sounds."""
    right = film()
    still = Film(right.size, FPS, right.times, np.ones(len(right.times)), right.sound)
    silent = Film(right.size, FPS, right.times, right.openness, np.zeros(len(right.sound)))
    assert sync(still) is None
    assert sync(silent) is None
    assert silent.speech is None


def test_the_speech_is_found() -> None:
    """When it begins and ends, to 20 ms of its syllables."""
    found = film().speech
    assert found is not None
    assert found == pytest.approx((1.0, 5.0), abs=0.1)


def pcm(samples: np.ndarray) -> bytes:
    """S16le."""
    return bytes((np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes())


def test_a_whole_sentence_is_heard_whole_and_another_not_at_all() -> None:
    """Every piece of the sentence in the film is found, of another one none."""
    assert share_heard(film(), pcm(speech()), SOUND_RATE) == 1.0
    assert share_heard(film(), pcm(speech(seed=5)), SOUND_RATE) < 0.1


@pytest.mark.parametrize("cut", [True, False])
def test_a_lost_piece_is_noticed(cut: bool) -> None:
    """100 ms that fell silent, or were left out so that the rest came early, are missed."""
    whole = film()
    place = 2 * SOUND_RATE + 800
    lost = slice(place, place + SOUND_RATE // 10)
    sound = whole.sound.copy()
    if cut:
        sound = np.delete(sound, lost)
    else:
        sound[lost] = 0.0
    broken = Film(whole.size, FPS, whole.times, whole.openness, sound)
    assert share_heard(broken, pcm(speech()), SOUND_RATE) < 1.0


def test_stretched_speech_is_heard_whole() -> None:
    """Pauses that a jittery network put in, 0.5 s in all, lose no piece but those they tear."""
    whole = film()
    parts = np.array_split(whole.sound, 12)
    pause = np.zeros(SOUND_RATE // 20)
    sound = np.concatenate([np.concatenate([part, pause]) for part in parts])
    late = Film(whole.size, FPS, whole.times, whole.openness, sound)
    assert share_heard(late, pcm(speech()), SOUND_RATE) > 0.75


def test_a_written_film_measures_as_it_was_made(tmp_path: Path) -> None:
    """Through H.264 and AAC, brightness 120 ms behind the sound is found 120 ms behind."""
    path, size, samples = tmp_path / "film.mp4", (160, 90), speech()
    made = film(0.12)
    writer = FilmWriter(path, fps=24)
    for number, (at, openness) in enumerate(zip(made.times, made.openness, strict=True)):
        pixels = bytes([min(255, round(openness * 700))]) * (size[0] * size[1] * 3)
        while not writer.picture(1000 + float(at), pixels, size, "RGB"):
            pass
        if number == 24:
            writer.sound(1000 + float(at), pcm(samples), SOUND_RATE, 1)
    writer.close()
    read = read_film(path, lambda image: float(image.mean()))
    found = sync(read)
    assert found is not None
    assert found.lag == pytest.approx(0.12, abs=0.01)
    assert found.correlation > 0.95
    assert share_heard(read, pcm(samples), SOUND_RATE) > 0.95
