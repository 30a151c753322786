"""The cat among the simulated characters, painted in the same parts as the people."""

import numpy as np

from pipecat_runway.simulator.drawing import (
    Canvas,
    Linear,
    Outline,
    Point,
    Radial,
    curve,
    flip,
    mix,
    moved,
    oval,
    ribbon,
    symmetric,
)
from pipecat_runway.simulator.looks import BLACK, FLOOR, MOUTH_Y, WHITE, Look
from pipecat_runway.simulator.mouth import paint_inside

CREAM = (255.0, 244.0, 226.0)
EYE = (70.0, 306.0)
BROWS_BOX = (-110.0, 232.0, 110.0, 262.0)
EYES_BOX = (-118.0, 262.0, 118.0, 346.0)

HEAD = symmetric(
    [(0, 168), (70, 176), (128, 208), (164, 270), (176, 330), (190, 372), (166, 402), (158, 438),
     (112, 474), (54, 492), (0, 496)]
)  # fmt: skip
EAR = curve([(44, 200), (84, 128), (146, 84), (160, 150), (164, 250), (120, 240)])


def paint_figure(canvas: Canvas, look: Look) -> None:
    """Paint the cat without eyes and mouth, and without what is over them."""
    _body(canvas, look)
    for outline in (EAR, flip(EAR)):
        _ear(canvas, look, outline)
    canvas.fill(HEAD, Linear((-140, 180), (150, 500), mix(look.skin, WHITE, 0.24), look.skin))
    clip = canvas.mask(HEAD)
    canvas.fill(oval(190, 380, 56, 190), look.shade, soft=30, opacity=0.55, clip=clip)
    canvas.fill(oval(-40, 232, 80, 34), WHITE, soft=28, opacity=0.25, clip=clip)
    _stripes(canvas, look)
    muzzle = symmetric([(0, 330), (30, 356), (84, 392), (86, 436), (50, 470), (0, 484)])
    canvas.fill(muzzle, CREAM, soft=9, opacity=0.95, clip=clip)
    canvas.fill(symmetric([(0, 214), (16, 270), (24, 340), (0, 372)]), CREAM, soft=10, opacity=0.6)
    for side in (-1.0, 1.0):
        canvas.fill(oval(side * 116, 392, 34, 20), look.blush, soft=16, opacity=0.55, clip=clip)
        puff = oval(side * 36, 400, 40, 30, side * 10)
        canvas.fill(moved(puff, 3, 5), mix(look.skin, BLACK, 0.25), soft=9, opacity=0.3, clip=clip)
        canvas.fill(puff, Radial((side * 28 - 10, 388), 60, WHITE, mix(CREAM, look.skin, 0.22)))
    _nose(canvas, look)


def _body(canvas: Canvas, look: Look) -> None:
    right: list[Point] = [
        (0, 452),
        (110, 470),
        (176, 540),
        (220, 640),
        (246, 760),
        (256, 1000),
        (0, FLOOR),
    ]
    body = symmetric(right)
    dark = mix(look.skin, look.shade, 0.7)
    canvas.fill(body, Linear((-200, 480), (220, 800), mix(look.skin, WHITE, 0.1), dark))
    clip = canvas.mask(body)
    canvas.fill(symmetric([(0, 520), (84, 548), (96, 680), (0, 820)]), CREAM, soft=22, clip=clip)
    canvas.fill(moved(HEAD, 4, 20), BLACK, soft=16, opacity=0.3, clip=clip)
    for side in (-1.0, 1.0):
        for y in (610, 668, 726):
            bar = ribbon([(side * 240, y - 14), (side * 190, y), (side * 150, y + 4)], [16, 12, 2])
            canvas.fill(bar, look.hair, soft=4, opacity=0.8, clip=clip)
    band = ribbon([(-170, 470), (-76, 540), (0, 556), (76, 540), (170, 470)], [26] * 5)
    canvas.fill(moved(band, 0, 7), BLACK, soft=7, opacity=0.3, clip=clip)
    red = Linear((-120, 510), (130, 550), mix(look.trim, WHITE, 0.2), look.trim)
    canvas.fill(band, red, clip=clip)
    bell = oval(0, 578, 22, 22)
    canvas.fill(moved(bell, 2, 6), BLACK, soft=6, opacity=0.35)
    canvas.fill(bell, Radial((-7, 569), 34, (255, 240, 170), (206, 142, 40)))
    canvas.fill(ribbon([(-21, 576), (0, 582), (21, 576)], [2, 3, 2]), (120, 74, 20))
    canvas.fill(oval(0, 588, 4.5, 4.5), (90, 54, 16))


def _ear(canvas: Canvas, look: Look, outline: Outline) -> None:
    shade = mix(look.skin, look.shade, 0.5)
    canvas.fill(outline, Linear((-160, 90), (170, 250), mix(look.skin, WHITE, 0.12), shade))
    inner = outline * 0.62 + outline.mean(0) * 0.38
    canvas.fill(moved(inner, 0, 10), mix(look.lips, WHITE, 0.25), soft=6, opacity=0.9)


def _stripes(canvas: Canvas, look: Look) -> None:
    lines: list[tuple[list[Point], float]] = [
        ([(0, 182), (0, 214), (0, 248)], 13.0),
        ([(34, 184), (30, 212), (22, 238)], 11.0),
        ([(66, 190), (58, 214), (46, 234)], 9.0),
        ([(178, 346), (150, 352), (128, 352)], 12.0),
        ([(182, 378), (154, 378), (134, 374)], 11.0),
    ]
    for line, width in lines:
        stripe = ribbon(line, [width, width * 0.8, 1])
        for outline in (stripe, flip(stripe)):
            canvas.fill(outline, look.hair, soft=2.5, opacity=0.85)


def _nose(canvas: Canvas, look: Look) -> None:
    nose = curve([(-17, 362), (0, 358), (17, 362), (12, 374), (0, 383), (-12, 374)])
    canvas.fill(nose, Linear((-10, 358), (10, 384), mix(look.lips, WHITE, 0.25), look.lips))
    canvas.fill(oval(-5, 364, 6, 3), WHITE, soft=2, opacity=0.6)


def paint_eyes(canvas: Canvas, look: Look, gaze: Point, closed: float) -> None:
    """Paint both eyes; see :func:`pipecat_runway.simulator.portrait.paint_eyes`."""
    for side in (-1.0, 1.0):
        _eye(canvas, look, side, gaze, closed)


def _eye(canvas: Canvas, look: Look, side: float, gaze: Point, closed: float) -> None:
    x0, y0 = EYE[0] * side, EYE[1]
    t = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, 32))  # denser where the outline turns
    x = -39.0 + 78.0 * t
    arch = np.sqrt(np.maximum(0.0, 1.0 - (2.0 * t - 1.0) ** 2))
    upper = 5.0 - 6.0 * t - 38.0 * arch
    lower = 5.0 - 6.0 * t + 30.0 * arch
    lid = upper + (lower + 1.5 - upper) * closed

    def at(xs: np.ndarray, ys: np.ndarray) -> Outline:
        return np.stack([x0 + side * xs, y0 + ys], axis=1)

    ball = np.vstack([at(x, upper), at(x, lower)[::-1]])
    rim = mix(look.hair, BLACK, 0.78)
    if closed < 0.95:
        canvas.fill(ball * 1.06 - ball.mean(0) * 0.06, rim)
        bright = mix(look.eyes, (255, 246, 150), 0.6)
        top = mix(look.eyes, BLACK, 0.35)
        canvas.fill(ball, Linear((x0, y0 - 36), (x0, y0 + 30), top, bright))
        clip = canvas.mask(ball)
        cx, cy = x0 + 1.3 * gaze[0], y0 - 2 + 1.3 * gaze[1]
        canvas.fill(oval(cx, cy, 15, 24), (16, 12, 18), soft=0.8, clip=clip)
        canvas.fill(oval(cx - 10, cy - 13, 9, 9), WHITE, clip=clip)
        canvas.fill(oval(cx + 9, cy + 11, 4.2, 4.2), WHITE, opacity=0.75, clip=clip)
        shadow = np.vstack([at(x, upper - 4), at(x, upper + 9)[::-1]])
        canvas.fill(shadow, (40, 30, 40), soft=4, opacity=0.4, clip=clip)
    if closed > 0.02:
        cover = np.vstack([at(x * 1.04, upper - 3), at(x * 1.04, lid)[::-1]])
        lid_top, lid_bottom = mix(look.skin, WHITE, 0.17), mix(look.skin, WHITE, 0.08)
        canvas.fill(cover, Linear((x0, y0 - 38), (x0, y0 + 30), lid_top, lid_bottom), soft=1)
    thick = 5.0 * np.sin(np.pi * (0.1 + 0.8 * t)) + 0.8
    canvas.fill(np.vstack([at(x * 1.03, lid - thick), at(x * 1.03, lid + 0.8)[::-1]]), rim)


def paint_brows(canvas: Canvas, look: Look, raised: float) -> None:
    """Paint two light marks above the eyes, which rise with `raised`."""
    for side in (-1.0, 1.0):
        line = [(side * 50, 250 - 7 * raised), (side * 70, 243 - 8 * raised), (side * 92, 251)]
        canvas.fill(ribbon(line, [2, 8, 2]), CREAM, soft=4, opacity=0.75)


def paint_mouth(canvas: Canvas, look: Look, opened: float, width: float) -> None:
    """Paint the mouth; see :func:`pipecat_runway.simulator.portrait.paint_mouth`."""
    line = mix(look.hair, BLACK, 0.72)
    half = 30.0 + 5.0 * width
    gap = 62.0 * opened * 30.0 / half
    y0 = MOUTH_Y - 6.0
    canvas.fill(ribbon([(0, 382), (0, 394), (0, y0)], [2.5, 3, 3]), line)
    t = np.linspace(0.0, 1.0, 33)
    x = (2.0 * t - 1.0) * half
    bow = (1.0 - (2.0 * t - 1.0) ** 2) ** 0.6
    upper = y0 + 7.0 * np.abs(np.sin(2.0 * np.pi * t))
    lower = y0 + 4.0 + gap * bow
    if opened > 0.02:
        below = np.vstack([np.stack([x, lower - 2], 1), np.stack([x, lower + 9 * bow], 1)[::-1]])
        canvas.fill(below, mix(CREAM, look.skin, 0.5), soft=2)
        paint_inside(canvas, x, upper, np.maximum(lower, upper), gap, teeth=False)
    for side in (-1.0, 1.0):
        smile = [(0.0, y0), (side * 9, y0 + 7), (side * 22, y0 + 7), (side * (half + 5), y0 - 3)]
        canvas.fill(ribbon(smile, [3, 3.6, 3.4, 1.5]), line)


def paint_over(canvas: Canvas, look: Look) -> None:
    """Paint the whiskers."""
    for side in (-1.0, 1.0):
        for x, y in ((52, 396), (58, 406), (50, 416)):
            canvas.fill(oval(side * x, y, 2, 2), mix(look.hair, BLACK, 0.4), opacity=0.7)
        for y, end in ((394, 372), (406, 402), (418, 434)):
            line = [(side * 66, y), (side * 140, (y + end) / 2 - 6), (side * 226, end)]
            canvas.fill(ribbon(line, [2.6, 2, 0.5]), (255, 252, 246), opacity=0.9)
