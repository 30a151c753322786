"""What the simulated characters wear: clothes, and what comes on top."""

import numpy as np

from pipecat_runway.simulator.drawing import (
    Canvas,
    Colour,
    Floats,
    Linear,
    Outline,
    Radial,
    curve,
    mix,
    moved,
    oval,
    ribbon,
    symmetric,
)
from pipecat_runway.simulator.looks import BLACK, EYE, FLOOR, WHITE, Look


def paint_hood(canvas: Canvas, look: Look) -> None:
    """Paint a hoodie's hood, which lies behind the neck."""
    hood = symmetric([(0, 500), (90, 520), (138, 566), (146, 610), (80, 640), (0, 650)])
    canvas.fill(hood, Linear((-140, 500), (140, 640), look.top, mix(look.top, BLACK, 0.5)))


def paint_clothes(canvas: Canvas, look: Look) -> None:
    """Paint the clothes."""
    _CLOTHES[look.clothes](canvas, look)


def paint_extras(canvas: Canvas, look: Look) -> None:
    """Paint what is worn over hair and face."""
    if look.style == "chef":
        _chef_hat(canvas)
    for name, paint in _EXTRAS.items():
        if name in look.extras:
            paint(canvas, look)


def _glasses(canvas: Canvas, look: Look) -> None:
    frame = (52.0, 36.0, 40.0)
    for side in (-1.0, 1.0):
        x, y = side * EYE[0], EYE[1] + 2
        outer, inner = oval(x, y, 45, 38), oval(x, y, 40, 33)
        canvas.fill(np.vstack([outer, outer[:1], inner[:1], inner[::-1], inner[-1:]]), frame)
        glint = ribbon([(x - 26, y - 8), (x - 14, y - 22)], [3, 5])
        canvas.fill(glint, WHITE, soft=1.5, opacity=0.5)
        canvas.fill(ribbon([(side * 99, y - 8), (side * 122, y - 14)], [6, 5]), frame)
    canvas.fill(ribbon([(-11, 320), (0, 314), (11, 320)], [5, 5, 5]), frame)


def _headset(canvas: Canvas, look: Look) -> None:
    band = ribbon(
        [(-140, 330), (-146, 220), (-92, 112), (0, 76), (92, 112), (146, 220), (140, 330)],
        [14, 16, 18, 20, 18, 16, 14],
    )
    canvas.fill(moved(band, 3, 5), BLACK, soft=6, opacity=0.3)
    canvas.fill(band, Linear((-140, 80), (150, 330), (78, 80, 110), (30, 30, 48)))
    for side in (-1.0, 1.0):
        cup = oval(side * 142, 344, 27, 46)
        canvas.fill(moved(cup, 3, 5), BLACK, soft=6, opacity=0.3)
        canvas.fill(cup, Linear((-170, 300), (160, 400), (84, 86, 118), (28, 28, 46)))
        ring = oval(side * 150, 344, 13, 30)
        canvas.fill(ring, look.trim, soft=5, opacity=0.6)
        canvas.fill(oval(side * 150, 344, 9, 24), look.trim)
        canvas.fill(oval(side * 150 - 2, 336, 4, 12), WHITE, soft=2, opacity=0.5)
    arm = ribbon([(-138, 384), (-118, 440), (-84, 458)], [6, 6, 5])
    canvas.fill(arm, (40, 40, 60))
    canvas.fill(oval(-80, 459, 11, 8, -10), (30, 30, 46))


def _earrings(canvas: Canvas, look: Look) -> None:
    for side in (-1.0, 1.0):
        x, y = side * 123, 384
        outer, inner = oval(x, y + 14, 13, 15), oval(x, y + 15, 9.5, 11.5)
        hoop = np.vstack([outer, outer[:1], inner[:1], inner[::-1], inner[-1:]])
        canvas.fill(hoop, Linear((x - 12, y), (x + 12, y + 30), (255, 232, 150), (176, 122, 44)))


def _stars(canvas: Canvas, look: Look) -> None:
    for side in (-1.0, 1.0):
        for x, y, r in ((126.0, 400.0, 14.0), (96.0, 352.0, 5.5), (106.0, 366.0, 4.0)):
            angle = np.radians(np.arange(10) * 36 - 90)
            reach = np.where(np.arange(10) % 2 == 0, r, r * 0.45)[:, None]
            star = np.stack([np.cos(angle), np.sin(angle)], 1) * reach + (side * x, y)
            canvas.fill(star, Linear((x, y - r), (x, y + r), (255, 240, 170), look.trim))


def _visor(canvas: Canvas, look: Look) -> None:
    band = curve(
        [(-130, 222), (-118, 186), (-60, 168), (0, 163), (60, 168), (118, 186), (130, 222),
         (112, 224), (60, 204), (0, 199), (-60, 204), (-112, 224)]
    )  # fmt: skip
    canvas.fill(moved(band, 0, 9), BLACK, soft=7, opacity=0.28)
    canvas.fill(band, Linear((-120, 160), (130, 220), (255, 255, 255), (206, 216, 224)))
    brim = curve([(-112, 212), (-60, 194), (0, 190), (60, 194), (112, 212), (124, 244), (60, 224),
                  (0, 219), (-60, 224), (-124, 244)])  # fmt: skip
    canvas.fill(moved(brim, 0, 10), BLACK, soft=8, opacity=0.25)
    canvas.fill(brim, Linear((-110, 195), (120, 240), mix(look.trim, WHITE, 0.25), look.trim))


def _moustache(canvas: Canvas, look: Look) -> None:
    for side in (-1.0, 1.0):
        half = curve(
            [(side * 1, 389), (side * 20, 386), (side * 42, 395), (side * 58, 391),
             (side * 50, 402), (side * 30, 404), (side * 4, 399)]
        )  # fmt: skip
        canvas.fill(moved(half, 1, 3), look.shade, soft=4, opacity=0.5)
        # Greyer than the hair: it must not look like the inside of the mouth beneath.
        canvas.fill(half, mix(look.hair, (44.0, 42.0, 46.0), 0.7))
        shine = ribbon([(side * 10, 391), (side * 32, 394), (side * 48, 396)], [1, 3, 1])
        canvas.fill(shine, mix(look.hair, WHITE, 0.4), soft=1.5, opacity=0.5)


def _chef_hat(canvas: Canvas) -> None:
    white, grey = (255.0, 255.0, 252.0), (214.0, 212.0, 214.0)
    puffs = ((-90, 116, 56), (90, 116, 56), (-36, 92, 58), (42, 90, 58), (0, 118, 80))
    for x, y, r in puffs:
        canvas.fill(
            oval(x, y, r, r * 0.92), Radial((x - r * 0.4, y - r * 0.5), r * 1.7, white, grey)
        )
    for x in (-66, -22, 26, 70):
        fold = ribbon([(x * 1.25, 96), (x * 1.1, 132), (x, 172)], [2, 7, 3])
        canvas.fill(fold, (150, 150, 160), soft=5, opacity=0.35)
    band = curve([(-128, 160), (0, 144), (128, 160), (132, 226), (66, 216), (0, 212), (-66, 216),
                  (-132, 226)])  # fmt: skip
    canvas.fill(moved(band, 0, 10), BLACK, soft=8, opacity=0.25)
    canvas.fill(band, Linear((-120, 150), (130, 200), white, grey))


_EXTRAS = {
    "moustache": _moustache,
    "glasses": _glasses,
    "headset": _headset,
    "earrings": _earrings,
    "stars": _stars,
    "visor": _visor,
}


def _torso(neck: float, depth: float) -> Outline:
    """Outline clothes with a neckline that is so wide and reaches so deep, in units."""
    right = [(neck, 566), (neck + 52, 584), (186, 612), (250, 652), (284, 730), (300, 900)]
    left = [(-x, y) for x, y in reversed(right)]
    sides = curve([*right, (310, FLOOR), (-310, FLOOR), *left], closed=False)
    side, low = neck * 0.7, 566 + depth * 0.72
    line = curve([left[-1], (-side, low), (0, 566 + depth), (side, low), right[0]], closed=False)
    return np.vstack([sides, line])


def _cloth(canvas: Canvas, outline: Outline, colour: Colour) -> Floats:
    bright, dark = mix(colour, WHITE, 0.14), mix(colour, BLACK, 0.24)
    canvas.fill(outline, Linear((-220, 560), (280, 860), bright, dark))
    clip = canvas.mask(outline)
    deep = mix(colour, BLACK, 0.6)
    canvas.fill(oval(-250, 740, 60, 190, 14), deep, soft=30, opacity=0.16, clip=clip)
    canvas.fill(oval(266, 760, 70, 190, -14), deep, soft=34, opacity=0.3, clip=clip)
    canvas.fill(oval(-150, 624, 70, 16, -16), WHITE, soft=14, opacity=0.14, clip=clip)
    return clip


def _sweater(canvas: Canvas, look: Look) -> None:
    clip = _cloth(canvas, _torso(96, 40), look.top)
    edge = [(-96, 570), (-66, 598), (0, 612), (66, 598), (96, 570)]
    canvas.fill(
        moved(ribbon(edge, [15, 17, 18, 17, 15]), 0, 6), mix(look.top, BLACK, 0.1), clip=clip
    )
    for x in range(-270, 290, 18):
        knit = ribbon([(x, 600), (x * 1.02, 720), (x * 1.04, 900)], [2, 3, 3])
        canvas.fill(knit, BLACK, soft=2, opacity=0.05, clip=clip)
    if look.strong:
        return
    chain = ribbon([(-52, 566), (-30, 596), (0, 606), (30, 596), (52, 566)], [1.6] * 5)
    canvas.fill(chain, (214, 170, 84))
    canvas.fill(oval(0, 611, 5.5, 6.5), (232, 192, 104))


def _hoodie(canvas: Canvas, look: Look) -> None:
    clip = _cloth(canvas, _torso(70, 74), look.top)
    for side in (-1.0, 1.0):
        edge = curve(
            [(side * 58, 540), (side * 112, 548), (side * 140, 590), (side * 84, 640), (0, 668),
             (0, 636), (side * 46, 606)]
        )  # fmt: skip
        canvas.fill(moved(edge, 0, 6), BLACK, soft=7, opacity=0.3, clip=clip)
        tone = mix(look.top, WHITE, 0.16 if side < 0 else 0.04)
        canvas.fill(edge, Linear((-120, 540), (130, 660), tone, mix(look.top, BLACK, 0.25)))
        cord = ribbon([(side * 24, 644), (side * 27, 690), (side * 24, 730)], [4, 4, 4])
        canvas.fill(cord, look.trim)


def _turtleneck(canvas: Canvas, look: Look) -> None:
    clip = _cloth(canvas, _torso(60, 8), look.top)
    wide = 68 if look.strong else 58
    collar = symmetric([(0, 506), (wide, 510), (wide + 4, 560), (wide + 16, 590), (0, 606)])
    bright, dark = mix(look.top, WHITE, 0.2), mix(look.top, BLACK, 0.4)
    canvas.fill(moved(collar, 0, 5), BLACK, soft=7, opacity=0.4, clip=clip)
    canvas.fill(collar, Linear((-60, 510), (70, 590), bright, dark))
    fold = ribbon([(-wide, 548), (0, 560), (wide, 548)], [2, 5, 2])
    canvas.fill(fold, BLACK, soft=3, opacity=0.35)
    if look.strong:
        return
    chain = ribbon([(-104, 590), (-70, 660), (0, 712), (70, 660), (104, 590)], [3] * 5)
    canvas.fill(chain, look.trim)
    canvas.fill(oval(0, 716, 13, 13), Radial((-4, 711), 18, (255, 232, 160), look.trim))


def _polo(canvas: Canvas, look: Look) -> None:
    clip = _cloth(canvas, _torso(60, 66), look.top)
    for side in (-1.0, 1.0):
        wing = np.array([(side * 60, 540), (side * 104, 580), (side * 52, 646), (side * 4, 618)])
        canvas.fill(moved(wing, 0, 6), BLACK, soft=6, opacity=0.25, clip=clip)
        canvas.fill(wing, Linear((-90, 540), (100, 640), look.trim, mix(look.trim, BLACK, 0.25)))
        stripe = ribbon([(side * 252, 640), (side * 276, 720), (side * 292, 900)], [14, 16, 18])
        canvas.fill(moved(stripe, -14 * side, 0), look.trim, clip=clip)
    canvas.fill(ribbon([(0, 636), (0, 740), (0, 900)], [3, 3, 3]), BLACK, soft=2, opacity=0.2)
    canvas.fill(oval(0, 668, 4, 4), mix(look.top, BLACK, 0.35))


def _blazer(canvas: Canvas, look: Look) -> None:
    _cloth(canvas, _torso(62, 84), look.trim)
    for side in (-1.0, 1.0):
        wing = np.array([(side * 56, 534), (side * 92, 566), (side * 58, 640), (side * 2, 654)])
        canvas.fill(moved(wing, 0, 4), BLACK, soft=5, opacity=0.2)
        canvas.fill(wing, Linear((-80, 540), (90, 640), WHITE, mix(look.trim, BLACK, 0.14)))
    for side in (-1.0, 1.0):
        right = [(96, 570), (186, 610), (250, 652), (284, 730), (300, 900), (310, FLOOR)]
        body = curve([(side * x, y) for x, y in right], closed=False)
        front = np.array([(0, FLOOR), (0, 800), (side * 36, 720), (side * 84, 620)])
        clip = _cloth(canvas, np.vstack([body, front]), look.top)
        lapel = np.array(
            [(side * 92, 572), (side * 132, 588), (side * 126, 650), (side * 142, 662), (0, 806),
             (side * 40, 716), (side * 84, 622)]
        )  # fmt: skip
        canvas.fill(moved(lapel, side * 4, 6), BLACK, soft=6, opacity=0.35, clip=clip)
        tone = mix(look.top, WHITE, 0.16 if side < 0 else 0.06)
        canvas.fill(lapel, Linear((-120, 570), (130, 790), tone, mix(look.top, BLACK, 0.2)))


def _stage(canvas: Canvas, look: Look) -> None:
    clip = _cloth(canvas, _torso(112, 66), look.top)
    dice = np.random.default_rng(11)
    for x, y, size in dice.uniform((-270, 590, 1.0), (270, 900, 3.2), (150, 3)):
        spark = mix(look.trim, WHITE, float(dice.uniform(0, 0.8)))
        canvas.fill(oval(x, y, size, size), spark, opacity=float(dice.uniform(0.3, 0.9)), clip=clip)
    edge = ribbon([(-112, 572), (-74, 618), (0, 636), (74, 618), (112, 572)], [7] * 5)
    canvas.fill(edge, Linear((-100, 570), (110, 630), (255, 236, 170), look.trim))
    choker = ribbon([(-49, 528), (0, 544), (49, 528)], [11, 12, 11])
    canvas.fill(choker, mix(look.top, BLACK, 0.3))
    canvas.fill(oval(0, 546, 7, 8), Radial((-2, 543), 10, WHITE, look.trim))


def _tunic(canvas: Canvas, look: Look) -> None:
    _cloth(canvas, _torso(66, 92), (214, 202, 180))
    clip = _cloth(canvas, np.vstack([_torso(92, 170)]), look.top)
    for y in (650, 684, 718):
        reach = 58.0 - (y - 650) * 0.4
        for side in (-1.0, 1.0):
            lace = ribbon([(side * reach, y), (-side * reach * 0.85, y + 24)], [3.4, 3.4])
            canvas.fill(moved(lace, 0, 3), BLACK, soft=2, opacity=0.25)
            canvas.fill(lace, look.trim)
    for side in (-1.0, 1.0):
        plate = curve(
            [(side * 148, 590), (side * 220, 596), (side * 292, 660), (side * 306, 740),
             (side * 236, 720), (side * 170, 668)]
        )  # fmt: skip
        canvas.fill(moved(plate, 0, 10), BLACK, soft=9, opacity=0.4)
        steel = Linear((-290, 590), (300, 740), (206, 212, 222), (92, 98, 116))
        canvas.fill(plate, steel)
        rim = ribbon([(side * 170, 668), (side * 236, 720), (side * 306, 740)], [8, 9, 8])
        canvas.fill(rim, look.trim)
        canvas.fill(oval(side * 226, 640, 34, 14, side * 34), WHITE, soft=12, opacity=0.35)
        strap = ribbon([(side * 84, 586), (side * 120, 640), (side * 150, 760)], [12, 12, 12])
        canvas.fill(strap, mix(look.top, BLACK, 0.4), clip=clip)


def _chef_jacket(canvas: Canvas, look: Look) -> None:
    _cloth(canvas, _torso(66, 30), look.top)
    flap = np.array([(34, 596), (60, 640), (64, 760), (62, FLOOR), (-40, FLOOR), (-52, 690)])
    canvas.fill(moved(flap, 4, 4), BLACK, soft=6, opacity=0.18)
    canvas.fill(flap, Linear((-60, 600), (70, 760), mix(look.top, WHITE, 0.5), look.top))
    for y in (664, 712, 760):
        for x in (-30, 42):
            canvas.fill(oval(x + 1, y + 2, 8, 8), BLACK, soft=3, opacity=0.3)
            canvas.fill(oval(x, y, 7, 7), (92, 84, 88))
    scarf = symmetric([(0, 520), (66, 522), (86, 560), (70, 596), (0, 616)])
    canvas.fill(moved(scarf, 0, 6), BLACK, soft=7, opacity=0.3)
    canvas.fill(scarf, Linear((-80, 520), (90, 610), mix(look.trim, WHITE, 0.15), look.trim))
    for side in (-1.0, 1.0):
        fold = ribbon([(side * 62, 536), (side * 34, 572), (0, 596)], [2, 6, 2])
        canvas.fill(fold, mix(look.trim, BLACK, 0.45), soft=3, opacity=0.6)
        end = curve([(0, 596), (side * 20, 604), (side * 34, 660), (side * 10, 646)])
        canvas.fill(end, mix(look.trim, BLACK, 0.12))
    canvas.fill(oval(0, 602, 14, 12), mix(look.trim, WHITE, 0.1))


_CLOTHES = {
    "sweater": _sweater,
    "hoodie": _hoodie,
    "turtleneck": _turtleneck,
    "polo": _polo,
    "blazer": _blazer,
    "stage": _stage,
    "tunic": _tunic,
    "chef": _chef_jacket,
}
