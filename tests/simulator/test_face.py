"""The painted face: looked at the way a film checker does, at the pictures themselves."""

import time
import uuid
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pipecat_runway.simulator.face import Face, mouth_box, mouth_openness
from pipecat_runway.simulator.looks import PRESETS
from pipecat_runway.simulator.sprites import MOUTH_STEPS, sprites_of

WIDTH, HEIGHT, TICK = 480, 270, 1 / 24
CUSTOM = [str(uuid.UUID(int=number * 7919)) for number in range(1, 4)]
EVERYBODY = [*PRESETS, *CUSTOM]


def rgb(i420: NDArray[np.uint8], width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """Decode a picture as a player does (BT.601, studio range)."""
    size = width * height
    y = (i420[:size].reshape(height, width) - np.float32(16)) * 1.164
    u, v = (
        plane.reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1) - np.float32(128)
        for plane in (i420[size : size * 5 // 4], i420[size * 5 // 4 :])
    )
    return np.clip(
        np.stack([y + 1.596 * v, y - 0.392 * u - 0.813 * v, y + 2.017 * u], -1), 0, 255
    ).astype(np.uint8)


def still(character: str, mouth: int, width: float = 0.0) -> NDArray[np.uint8]:
    """A picture with the mouth opened by so many steps."""
    sprites = sprites_of(character, WIDTH, HEIGHT)
    picture = sprites.base(0).copy()
    sprites.lay(sprites.brows(0.0), picture, 0)
    sprites.lay(sprites.eyes((0.0, 0.0), 0.0), picture, 0)
    sprites.lay(sprites.mouth(mouth, width), picture, 0)
    return rgb(picture)


@pytest.mark.parametrize("character", EVERYBODY)
def test_the_mouth_can_be_measured(character: str) -> None:
    """Shut reads as nothing, and every step of opening reads as more, whatever the width."""
    assert mouth_openness(still(character, 0)) < 0.012
    for width in (-1.0, 1.0):
        seen = [mouth_openness(still(character, step, width)) for step in range(MOUTH_STEPS + 1)]
        assert seen[-1] > 0.12
        line = np.polyval(np.polyfit(range(MOUTH_STEPS + 1), seen, 1), range(MOUTH_STEPS + 1))
        assert np.abs(seen - line).max() < 0.035
        assert np.corrcoef(seen, range(MOUTH_STEPS + 1))[0, 1] > 0.98


@pytest.mark.parametrize("character", ["music-superstar", "cat-character"])
def test_all_of_the_mouth_is_in_its_box(character: str) -> None:
    """Nothing dark red shows outside."""
    green = still(character, MOUTH_STEPS)[..., 1], still(character, 0)[..., 1]
    inside = (green[0] < 40) & (green[1] > 60)
    left, top, right, bottom = mouth_box(WIDTH, HEIGHT)
    assert inside[top:bottom, left:right].sum() > 120
    inside[top:bottom, left:right] = False
    assert not inside.any()


def test_everybody_looks_different() -> None:
    """Nine presets, and custom ids that keep their own look for ever."""
    pictures = {name: still(name, 0).astype(int) for name in EVERYBODY}
    for name, picture in pictures.items():
        for other, another in pictures.items():
            assert name == other or np.abs(picture - another).mean() > 2.0
    sprites_of.cache_clear()
    assert (still(CUSTOM[0], 0) == pictures[CUSTOM[0]]).all()


def speech_like(pictures: int) -> NDArray[np.float64]:
    """Loudness of something like speech, one value a picture: syllables, words, pauses."""
    dice = np.random.default_rng(2)
    levels: list[float] = []
    while len(levels) < pictures:
        for _ in range(dice.integers(1, 5)):
            top = dice.uniform(0.03, 0.2)
            levels += [top * 0.4, top, top * 0.75, top * 0.2]
        levels += [0.0] * int(dice.integers(0, 8))
    return np.array(levels[:pictures])


@pytest.mark.parametrize("character", ["influencer", "cat-character", "cooking-teacher"])
def test_the_mouth_follows_the_sound(character: str) -> None:
    """Mouth and loudness correlate at 0.9 and more, best without any lag."""
    face = Face(character, WIDTH, HEIGHT)
    levels = speech_like(240)
    dice = np.random.default_rng(3)
    seen = []
    for number, level in enumerate(levels):
        picture = face.paint(100.0 + number * TICK, float(level), float(dice.uniform(500, 4000)))
        seen.append(mouth_openness(rgb(picture)))
    scores = [np.corrcoef(np.roll(seen, -lag)[5:-5], levels[5:-5])[0, 1] for lag in range(-3, 4)]
    assert scores[3] >= 0.9
    assert max(scores) == scores[3]


def test_silence_shuts_the_mouth() -> None:
    """Within an eighth of a second after the loudest sound; noise does not open it."""
    face = Face("influencer", WIDTH, HEIGHT)
    at = 10.0
    for _ in range(10):
        at += TICK
        face.paint(at, 0.2, 2000.0)
    for _ in range(3):
        at += TICK
        picture = face.paint(at, 0.0, 0.0)
    assert mouth_openness(rgb(picture)) < 0.01
    for _ in range(10):
        at += TICK
        picture = face.paint(at, 25 / 32768, 9000.0)
    assert mouth_openness(rgb(picture)) < 0.01


def test_idle_is_alive() -> None:
    """An idle minute: it blinks irregularly, breathes without a jerk, and never freezes."""
    face = Face("influencer", WIDTH, HEIGHT)
    eyes = slice(98, 131), slice(195, 285)
    dark: list[float] = []
    pictures: list[NDArray[np.int64]] = []
    for number in range(60 * 24):
        luma = face.paint(5.0 + number * TICK, 0.0, 0.0)[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH)
        dark.append(float((luma[eyes] < 70).mean()))
        if number % 12 == 0:
            pictures.append(luma[45:240, 135:345].astype(int))
    shut = np.array(dark) < 0.7 * np.median(dark)  # the irises are covered
    blinks = np.flatnonzero(np.diff(shut.astype(int)) == 1)
    pauses = np.diff(blinks) * TICK
    assert 10 <= len(blinks) <= 40
    assert pauses.std() > 0.5
    changes = [np.abs(b - a).mean() for a, b in pairwise(pictures)]
    moves = np.array(changes) > 0
    assert np.convolve(moves, np.ones(3), "valid").min() > 0  # never still for a second and a half
    assert max(changes) < 6.0


def test_breathing_is_smooth() -> None:
    """From one picture to the next the head moves by less than half a pixel."""
    face = Face("human-resource", 1280, 720)
    before = None
    for number in range(120):
        luma = face.paint(50.0 + number * TICK, 0.0, 0.0)[: 1280 * 720].reshape(720, 1280)
        hair = luma[60:260, 560:720].astype(float)  # nothing moves here but the whole head
        if before is not None:
            slope = np.abs(np.gradient(before, axis=0))
            assert np.abs(hair - before).sum() < 0.5 * slope.sum()
        before = hair


@pytest.mark.parametrize(("width", "height"), [(160, 90), (641, 361), (360, 640), (1600, 900)])
def test_any_size(width: int, height: int) -> None:
    """Every size gets a whole picture, odd ones an even one, and a mouth that can be measured."""
    face = Face("tennis-coach", width, height)
    assert (face.width, face.height) == (width // 2 * 2, height // 2 * 2)
    shut = face.paint(1.0, 0.0, 0.0).copy()
    wide = face.paint(1.1, 0.3, 1500.0).copy()
    assert len(wide) == face.width * face.height * 3 // 2
    seen = [mouth_openness(rgb(picture, face.width, face.height)) for picture in (shut, wide)]
    assert seen[0] < 0.012
    assert seen[1] > 0.08


def test_painting_is_cheap() -> None:
    """A picture of 1280 x 720 takes less than 4 ms of CPU once the sprites are painted."""
    face = Face("influencer", 1280, 720)
    face.prepare()
    begun = time.thread_time()
    for number in range(200):
        face.paint(20.0 + number * TICK, 0.1 * (number % 3), 1500.0)
    assert (time.thread_time() - begun) / 200 < 0.004
