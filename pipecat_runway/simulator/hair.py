"""The hair of the simulated characters: behind the head, over the forehead, over the shoulders."""

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.simulator.drawing import (
    Canvas,
    Floats,
    Linear,
    Outline,
    Point,
    Radial,
    curve,
    mix,
    moved,
    oval,
    ribbon,
    symmetric,
)
from pipecat_runway.simulator.looks import BLACK, WHITE, Look

Line = list[Point]
Values = NDArray[np.float64]

_LONG = ("long", "waves")

_BEHIND: dict[str, Outline] = {
    "long": symmetric(
        [(0, 96), (76, 110), (132, 176), (150, 280), (156, 380), (168, 460), (182, 540), (172, 640),
         (120, 676), (0, 640)]
    ),
    "waves": symmetric(
        [(0, 96), (76, 110), (132, 176), (150, 280), (170, 370), (166, 450), (196, 540), (180, 640),
         (124, 676), (0, 640)]
    ),
    "bob": symmetric(
        [(0, 96), (76, 110), (132, 174), (150, 270), (160, 370), (158, 440), (134, 486), (96, 492),
         (70, 470), (0, 470)]
    ),
    "bun": oval(6, 92, 60, 54),
    "ponytail": curve(
        [(96, 146), (168, 186), (198, 290), (190, 400), (216, 500), (176, 566), (146, 480),
         (152, 380), (142, 270), (90, 210)]
    ),
}  # fmt: skip

# The outer edge of the hair on the head, left to right, and the edge over the face, right to left.
_ROUND: Line = [(-131, 340), (-145, 262), (-131, 172), (-76, 108), (0, 84), (76, 108), (131, 172)]
_TIGHT: Line = [(-122, 320), (-134, 240), (-118, 168), (-68, 122), (0, 108), (68, 122), (118, 168)]
_EDGES: dict[str, tuple[Line, Line]] = {
    "long": (_ROUND, [(145, 262), (132, 350), (117, 300), (96, 246), (52, 206), (-14, 180),
                      (-62, 214), (-98, 258), (-116, 318)]),
    "waves": (_ROUND, [(145, 262), (138, 360), (119, 320), (104, 262), (62, 214), (26, 174),
                       (-46, 224), (-96, 262), (-119, 330)]),
    "bob": (_ROUND, [(145, 262), (138, 352), (120, 330), (112, 276), (72, 256), (24, 248),
                     (-30, 250), (-80, 260), (-112, 284), (-120, 332)]),
    "bun": (_TIGHT, [(134, 240), (127, 318), (119, 290), (104, 232), (60, 194), (0, 182),
                     (-60, 194), (-104, 232), (-119, 290)]),
    "ponytail": (_TIGHT, [(134, 240), (126, 312), (118, 282), (102, 228), (58, 196), (4, 188),
                          (-58, 198), (-102, 230), (-118, 284)]),
    "short": ([(-124, 320), (-136, 236), (-122, 150), (-66, 100), (6, 78), (80, 90), (128, 156)],
              [(139, 240), (130, 322), (122, 292), (116, 240), (88, 206), (34, 214), (-28, 202),
               (-84, 214), (-114, 244), (-122, 292)]),
    "spiky": ([(-126, 330), (-144, 260), (-134, 190), (-150, 168), (-112, 158), (-112, 116),
               (-70, 128), (-52, 82), (-22, 112), (22, 70), (42, 112), (92, 88), (96, 132),
               (144, 132), (130, 180), (156, 208)],
              [(138, 240), (131, 326), (123, 296), (114, 250), (84, 214), (70, 244), (44, 208),
               (18, 240), (-8, 206), (-40, 236), (-62, 206), (-88, 232), (-114, 252), (-123, 300)]),
    "curls": (_TIGHT, [(136, 240), (128, 318), (117, 286), (100, 236), (70, 214), (36, 222),
                       (0, 206), (-36, 222), (-70, 212), (-102, 238), (-118, 290)]),
    "chef": ([(-124, 334), (-131, 270), (-124, 214), (-60, 190), (0, 186), (60, 190), (124, 214)],
             [(131, 270), (128, 334), (121, 300), (117, 264), (90, 236), (0, 226), (-90, 236),
              (-117, 264), (-121, 300)]),
}  # fmt: skip

# Between these pairs of lines the hair is combed.
_COMBED: dict[str, list[tuple[Line, Line, int]]] = {
    "long": [
        ([(-14, 182), (54, 206), (98, 246), (118, 300), (128, 350)],
         [(-10, 94), (76, 116), (128, 178), (143, 262), (136, 350)], 9),
        ([(-14, 182), (-62, 214), (-98, 258), (-116, 318), (-121, 340)],
         [(-14, 94), (-76, 116), (-128, 178), (-143, 262), (-133, 340)], 9),
    ],
    "waves": [
        ([(26, 176), (64, 214), (104, 262), (119, 320), (134, 360)],
         [(26, 94), (90, 122), (132, 184), (145, 262), (140, 360)], 8),
        ([(26, 176), (-46, 224), (-96, 262), (-118, 320), (-122, 340)],
         [(20, 94), (-70, 112), (-128, 178), (-144, 262), (-133, 340)], 10),
    ],
    "bob": [
        ([(-8, 96), (-88, 132), (-122, 220), (-127, 330)],
         [(8, 96), (88, 132), (122, 220), (129, 340)], 17),
    ],
    "bun": [
        ([(-121, 300), (-122, 230), (-70, 150), (0, 110)],
         [(121, 300), (122, 230), (70, 150), (6, 110)], 15),
    ],
    "ponytail": [
        ([(-121, 300), (-112, 206), (-20, 134), (96, 140)],
         [(123, 300), (122, 240), (116, 190), (104, 156)], 13),
    ],
    "short": [
        ([(-122, 290), (-118, 190), (-50, 118), (50, 84)],
         [(118, 250), (122, 210), (124, 180), (118, 140)], 13),
    ],
    "spiky": [
        ([(-118, 280), (-128, 230), (-126, 190), (-140, 172)],
         [(-40, 230), (-50, 180), (-58, 130), (-50, 92)], 5),
        ([(-20, 220), (-14, 170), (4, 110), (20, 82)],
         [(120, 280), (132, 240), (130, 200), (146, 204)], 7),
    ],
}  # fmt: skip

_FRONT_LOCK: dict[str, tuple[Line, Line]] = {
    "long": ([(122, 270), (124, 360), (120, 450), (126, 540), (134, 640)],
             [(143, 262), (157, 380), (168, 470), (182, 560), (166, 664)]),
    "waves": ([(124, 270), (132, 360), (118, 450), (136, 540), (128, 640)],
              [(144, 262), (172, 370), (164, 460), (196, 550), (172, 664)]),
}  # fmt: skip


def paint_hair_behind(canvas: Canvas, look: Look) -> None:
    """Paint what of the hair is behind head and shoulders."""
    if look.style == "curls":
        _paint_curls(canvas, look, np.linspace(-205, 25, 60), (0.86, 1.05))
        return
    if look.style not in _BEHIND:
        return
    shape = _BEHIND[look.style]
    dark = mix(look.hair, BLACK, 0.42)
    top = shape[:, 1].min()
    canvas.fill(shape, Linear((0, top), (40, top + 420), mix(look.hair, BLACK, 0.16), dark))
    clip = canvas.mask(shape)
    if look.style == "bun":
        _comb(canvas, look, [(-46, 126), (-30, 70), (20, 44), (58, 84)],
              [(-30, 130), (0, 110), (34, 104), (60, 112)], 7, clip)  # fmt: skip
    elif look.style == "ponytail":
        _comb(
            canvas,
            look,
            [(100, 160), (164, 200), (192, 290), (186, 400), (208, 500), (178, 560)],
            [(96, 190), (140, 260), (154, 330), (152, 400), (150, 480), (168, 556)],
            7,
            clip,
        )
    elif look.style == "bob":
        for side in (-1, 1):
            _comb(canvas, look, _to(side, [(150, 280), (157, 370), (154, 440), (128, 482)]),
                  _to(side, [(122, 300), (122, 380), (114, 450), (90, 480)]), 6, clip)  # fmt: skip


def paint_hair(canvas: Canvas, look: Look) -> None:
    """Paint the hair that is over the face and over the shoulders."""
    if look.style in _LONG:
        for side in (-1, 1):
            _front_lock(canvas, look, side)
    cap = hair_outline(look)
    shade = Linear(
        (-120, 100), (150, 400), mix(look.hair, WHITE, 0.16), mix(look.hair, BLACK, 0.24)
    )
    canvas.fill(cap, shade)
    clip = canvas.mask(cap)
    for first, last, count in _COMBED.get(look.style, []):
        _comb(canvas, look, first, last, count, clip)
    if look.style == "curls":
        _paint_curls(canvas, look, np.linspace(-176, -4, 64), (0.62, 0.98))
    elif look.style not in ("chef", "spiky"):
        shine = ribbon([(-116, 208), (-72, 150), (0, 130), (66, 144)], [2, 18, 20, 2])
        canvas.fill(shine, mix(look.hair, WHITE, 0.65), soft=11, opacity=0.34, clip=clip)


def hair_outline(look: Look) -> Outline:
    """Outline the hair on the head."""
    outer, inner = _EDGES[look.style]
    return curve([*outer, *inner])


def _front_lock(canvas: Canvas, look: Look, side: int) -> None:
    inner, outer = (_to(side, line) for line in _FRONT_LOCK[look.style])
    tip = ((inner[-1][0] + outer[-1][0]) / 2 - 8.0 * side, outer[-1][1] + 34.0)
    lock = curve([*outer, tip, *reversed(inner)])
    canvas.fill(moved(lock, 0, 8), BLACK, soft=9, opacity=0.22)
    tone = 0.12 if side < 0 else 0.0
    first, last = mix(look.hair, WHITE, tone), mix(look.hair, BLACK, 0.26)
    canvas.fill(lock, Linear((0, 250), (60 * side, 680), first, last))
    _comb(canvas, look, inner, outer, 6, canvas.mask(lock))


def _comb(canvas: Canvas, look: Look, first: Line, last: Line, count: int, clip: Floats) -> None:
    """Draw strands, lighter and darker in turn, from one line over to another."""
    dice = np.random.default_rng(count)
    a, b = np.array(first, float), np.array(last, float)
    bright, dark = mix(look.hair, WHITE, 0.5), mix(look.hair, BLACK, 0.55)
    for number in range(count):
        share = (number + dice.uniform(0.15, 0.85)) / count
        line = [(x, y) for x, y in (a + (b - a) * share).tolist()]
        width = dice.uniform(2.5, 6.0)
        stroke = ribbon(line, [0.5, *[width] * (len(line) - 2), 0.5])
        strength = dice.uniform(0.22, 0.42)
        canvas.fill(stroke, bright if number % 2 else dark, soft=1.8, opacity=strength, clip=clip)


def _paint_curls(canvas: Canvas, look: Look, angles: Values, distance: tuple[float, float]) -> None:
    dice = np.random.default_rng(len(angles))
    dice.shuffle(angles)
    for angle in np.radians(angles):
        away = dice.uniform(*distance)
        x, y = 136 * away * np.cos(angle), 262 + 146 * away * np.sin(angle)
        r = dice.uniform(17, 27)
        dark, bright = mix(look.hair, BLACK, 0.42), mix(look.hair, WHITE, 0.2)
        canvas.fill(oval(x, y, r, r), Radial((x - 6, y - 8), r * 1.5, bright, dark))
        turn = dice.uniform(-0.6, 0.6)
        arc = [(x - r * 0.55, y + r * turn), (x, y - r * 0.5), (x + r * 0.55, y - r * turn)]
        canvas.fill(ribbon(arc, [1, 3.5, 1]), mix(look.hair, WHITE, 0.5), soft=1.5, opacity=0.35)


def _to(side: int, line: Line) -> Line:
    return [(x * side, y) for x, y in line]
