"""The people: background, body, head and hair, and the features that move."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipecat_runway.simulator.drawing import (
    Canvas,
    Floats,
    Linear,
    Outline,
    Point,
    flip,
    mix,
    moved,
    oval,
    ribbon,
    symmetric,
)
from pipecat_runway.simulator.hair import hair_outline, paint_hair, paint_hair_behind
from pipecat_runway.simulator.looks import BLACK, CHIN_Y, EYE, MOUTH_Y, WHITE, Look
from pipecat_runway.simulator.mouth import between, paint_inside
from pipecat_runway.simulator.wardrobe import paint_clothes, paint_extras, paint_hood

# What is painted anew when brows or eyes move, in units: left, top, right, bottom.
BROWS_BOX = (-112.0, 240.0, 112.0, 288.0)
EYES_BOX = (-112.0, 288.0, 112.0, 354.0)

FACE = [(0, 150), (66, 160), (108, 206), (122, 272), (120, 336), (107, 394), (80, 442), (42, 474)]
STRONG_FACE = [(0, 150), (68, 158), (112, 204), (125, 270), (124, 340), (116, 400), (92, 450)]


def paint_background(canvas: Canvas, look: Look) -> None:
    """Paint what is behind: a soft gradient, lights out of focus, darker corners."""
    height, width = canvas.pixels.shape[:2]
    scale = canvas.view.scale
    left, right = -canvas.view.x / scale, (width - canvas.view.x) / scale
    top, bottom = -canvas.view.y / scale, (height - canvas.view.y) / scale
    everything = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    first, last = look.back
    canvas.fill(everything, Linear((left, top), (right * 0.3, bottom), first, last))
    canvas.fill(oval(0, 330, 330, 330), mix(last, WHITE, 0.55), soft=90, opacity=0.55)
    lights = ((-470, 150, 78), (-330, 420, 46), (420, 120, 60), (520, 380, 92), (330, 560, 40))
    for x, y, r in lights:
        canvas.fill(oval(x, y, r, r), WHITE, soft=5, opacity=0.10)
        canvas.fill(oval(x, y, r * 0.86, r * 0.86), WHITE, soft=9, opacity=0.06)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    distance = np.hypot((columns / width - 0.5) * 1.15, rows / height - 0.45)
    canvas.pixels[..., :3] *= (1.0 - 0.30 * np.clip(distance - 0.32, 0, 1))[..., None]
    _label(canvas)


def _label(canvas: Canvas) -> None:
    """Say what this is, in a corner that the figure leaves free."""
    height, width = canvas.pixels.shape[:2]
    size = max(9, round(min(width, height) / 45))
    row = height - size if width > 1.25 * height else 2 * size
    image = Image.new("L", (width, height))
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text((width - size, row), "simulated", 255, font, anchor="rs")
    cover = np.asarray(image, np.float32)[..., None] / 255.0 * 0.6
    canvas.pixels[..., :3] *= 1.0 - cover
    canvas.pixels[..., :3] += 255.0 * cover


def face_outline(look: Look) -> Outline:
    """Outline the face, from the skull to the chin."""
    if look.strong:
        return symmetric([*STRONG_FACE, (54, 482), (0, CHIN_Y + 10)])
    return symmetric([*FACE, (0, CHIN_Y)])


def paint_figure(canvas: Canvas, look: Look) -> None:
    """Paint the figure without eyes, brows and mouth, and without what is over them."""
    paint_hair_behind(canvas, look)
    if look.clothes == "hoodie":
        paint_hood(canvas, look)
    _neck(canvas, look)
    paint_clothes(canvas, look)
    _head(canvas, look)
    shadow = moved(hair_outline(look), 4, 14)
    canvas.fill(shadow, look.shade, soft=9, opacity=0.5, clip=canvas.mask(face_outline(look)))


def paint_over(canvas: Canvas, look: Look) -> None:
    """Paint what is over eyes and brows: the hair in front, glasses, hats."""
    paint_hair(canvas, look)
    paint_extras(canvas, look)


def _neck(canvas: Canvas, look: Look) -> None:
    wide = 62.0 if look.strong else 50.0
    right = [(0, 420), (wide, 424), (wide - 2, 500), (wide + 4, 548), (wide + 40, 592)]
    neck = symmetric([*right, (140, 650), (130, 760), (0, 770)])
    canvas.fill(neck, Linear((-60, 480), (90, 620), look.skin, mix(look.skin, look.shade, 0.6)))
    clip = canvas.mask(neck)
    jaw = moved(face_outline(look), 8, 34)
    canvas.fill(jaw, look.shade, soft=13, opacity=0.85, clip=clip)
    for side in (-1.0, 1.0):
        bone = ribbon([(side * 26, 598), (side * 70, 590), (side * 122, 596)], [2, 9, 2])
        canvas.fill(bone, look.shade, soft=5, opacity=0.5, clip=clip)
        canvas.fill(moved(bone, 0, -9), look.light, soft=6, opacity=0.35, clip=clip)


def _head(canvas: Canvas, look: Look) -> None:
    ear = oval(122 if look.strong else 119, 340, 17, 30, -8)
    for outline in (ear, flip(ear)):
        canvas.fill(outline, Linear((-120, 300), (140, 380), look.skin, look.shade))
        inner = outline * (0.55, 0.6) + outline.mean(0) * (0.45, 0.4)
        canvas.fill(inner, look.shade, soft=4, opacity=0.7)
    face = face_outline(look)
    canvas.fill(face, Linear((-110, 180), (120, 480), look.light, look.skin))
    clip = canvas.mask(face)
    # One light, from the upper left: the right side and what lies under something is in shadow.
    canvas.fill(oval(136, 380, 52, 170), look.shade, soft=26, opacity=0.62, clip=clip)
    canvas.fill(oval(-142, 400, 34, 140), look.shade, soft=22, opacity=0.32, clip=clip)
    canvas.fill(oval(10, 512, 84, 34), look.shade, soft=17, opacity=0.6, clip=clip)
    canvas.fill(oval(-26, 232, 64, 38), WHITE, soft=28, opacity=0.22, clip=clip)
    for side in (-1.0, 1.0):
        cheek = oval(side * 72, 388, 33, 21)
        canvas.fill(cheek, look.blush, soft=15, opacity=0.5, clip=clip)
        canvas.fill(oval(side * 66 - 8, 368, 17, 8), WHITE, soft=8, opacity=0.28, clip=clip)
        canvas.fill(oval(side * 55, 316, 42, 27), look.shade, soft=13, opacity=0.32, clip=clip)
    _nose(canvas, look, clip)
    canvas.fill(oval(3, 462, 20, 10), look.light, soft=8, opacity=0.55, clip=clip)
    if "freckles" in look.extras:
        _freckles(canvas, look)


def _nose(canvas: Canvas, look: Look, clip: Floats) -> None:
    wide = 1.12 if look.strong else 1.0
    bridge = ribbon([(17, 296), (13, 330), (19, 360)], [10, 8, 14])
    canvas.fill(bridge, look.shade, soft=7, opacity=0.42, clip=clip)
    canvas.fill(oval(2, 372, 25 * wide, 16), look.shade, soft=9, opacity=0.45, clip=clip)
    canvas.fill(oval(-2, 362, 17 * wide, 14), mix(look.skin, look.light, 0.6), soft=5)
    canvas.fill(oval(-4, 356, 7, 6), WHITE, soft=4, opacity=0.55, clip=clip)
    canvas.fill(ribbon([(-6, 300), (-4, 345)], [5, 8]), WHITE, soft=5, opacity=0.2, clip=clip)
    deep = mix(look.shade, BLACK, 0.25)
    for side in (-1.0, 1.0):
        canvas.fill(oval(side * 9 * wide, 377, 5.2, 2.8, side * -14), deep, soft=1, opacity=0.75)
        wing = ribbon(
            [(side * 19 * wide, 362), (side * 22 * wide, 371), (side * 16 * wide, 378)], [1, 3, 1]
        )
        canvas.fill(wing, look.shade, soft=1.2, opacity=0.6)


def _freckles(canvas: Canvas, look: Look) -> None:
    dice = np.random.default_rng(7)
    for side in (-1.0, 1.0):
        for x, y in dice.normal((48, 376), (15, 8), (9, 2)):
            spot = oval(side * x, y, 1.9, 1.7)
            canvas.fill(spot, mix(look.skin, (150, 80, 50), 0.6), soft=0.6, opacity=0.6)


def paint_eyes(canvas: Canvas, look: Look, gaze: Point, closed: float) -> None:
    """Paint both eyes.

    Args:
        canvas: On what.
        look: Whose.
        gaze: How far the irises are off the middle, in units.
        closed: 0 is open, 1 is shut.
    """
    for side in (-1.0, 1.0):
        _eye(canvas, look, side, gaze, closed)


def _eye(canvas: Canvas, look: Look, side: float, gaze: Point, closed: float) -> None:
    x0, y0 = EYE[0] * side, EYE[1]
    round_ = 0.84 if look.strong else 1.0
    t = np.linspace(0.0, 1.0, 24)
    x = -32.0 + 64.0 * t
    arch = np.sin(np.pi * t**0.92)
    upper = 4.0 - 6.0 * t - 21.0 * round_ * arch
    lower = 4.0 - 6.0 * t + 16.0 * round_ * np.sin(np.pi * t**1.1)
    lid = upper + (lower + 1.5 - upper) * closed

    def at(xs: np.ndarray, ys: np.ndarray) -> Outline:
        return np.stack([x0 + side * xs, y0 + ys], axis=1)

    white = np.vstack([at(x, upper), at(x, lower)[::-1]])
    if closed < 0.95:
        canvas.fill(white, Linear((x0, y0 - 22), (x0, y0 + 2), (196, 192, 206), (252, 251, 250)))
        clip = canvas.mask(white)
        cx, cy = x0 + gaze[0], y0 - 3 + gaze[1]
        r = 18.5 * (0.94 if look.strong else 1.0)
        edge = mix(look.eyes, BLACK, 0.62)
        canvas.fill(oval(cx, cy, r, r), edge, clip=clip)
        iris = Linear(
            (cx, cy - r), (cx, cy + r), mix(look.eyes, BLACK, 0.45), mix(look.eyes, WHITE, 0.3)
        )
        canvas.fill(oval(cx, cy, r - 2.4, r - 2.4), iris, clip=clip)
        canvas.fill(
            oval(cx, cy + 8, 9, 6), mix(look.eyes, WHITE, 0.6), soft=3, opacity=0.6, clip=clip
        )
        canvas.fill(oval(cx, cy, 8.6, 8.6), (18, 12, 18), clip=clip)
        shadow = np.vstack([at(x, upper - 4), at(x, upper + 7)[::-1]])
        canvas.fill(shadow, (60, 40, 60), soft=3, opacity=0.4, clip=clip)
        canvas.fill(oval(cx - 6.5, cy - 7.5, 5.6, 5.2), WHITE, clip=clip)
        canvas.fill(oval(cx + 6, cy + 7, 2.6, 2.4), WHITE, opacity=0.7, clip=clip)
    if closed > 0.02:
        cover = np.vstack([at(x, upper - 2), at(x, lid)[::-1]])
        tone = mix(look.skin, look.shade, 0.35)
        canvas.fill(cover, Linear((x0, y0 - 22), (x0, y0 + 14), look.skin, tone))
    lash = mix(look.hair, BLACK, 0.75) if not look.strong else mix(look.hair, BLACK, 0.6)
    thick = (3.2 if look.strong else 5.2) * np.sin(np.pi * (0.12 + 0.8 * t)) + 1.0
    canvas.fill(np.vstack([at(x, lid - thick), at(x, lid + 0.6)[::-1]]), lash)
    if not look.strong:
        tip = y0 + lid[-1] - 9.0 + 13.0 * closed
        wing = np.array(
            [
                (x0 + side * 22, y0 + lid[-5] - 4.0),
                (x0 + side * 40, tip),
                (x0 + side * 30, y0 + lid[-2] + 1),
            ]
        )
        canvas.fill(wing, lash)
    crease = np.vstack([at(x, upper - 8 + 2 * closed), at(x, upper - 5.6 + 2 * closed)[::-1]])
    canvas.fill(crease, look.shade, soft=1.2, opacity=0.55 * (1.0 - 0.5 * closed))
    under = np.vstack([at(x[3:], lower[3:]), at(x[3:], lower[3:] + 1.6)[::-1]])
    canvas.fill(under, mix(look.shade, BLACK, 0.3), soft=0.6, opacity=0.55)


def paint_brows(canvas: Canvas, look: Look, raised: float) -> None:
    """Paint the brows; `raised` lifts them by up to 1."""
    colour = mix(look.hair, BLACK, 0.42)
    if sum(look.hair) > 480:  # fair hair has darker brows
        colour = mix(look.hair, (96, 62, 34), 0.62)
    thick = [6.5, 10.5, 8, 2] if look.strong else [4, 7.5, 5.5, 1]
    drop = 8.0 if look.strong else 0.0
    lift = 8.0 * raised - drop
    for side in (-1.0, 1.0):
        line = [
            (side * 25, 275 - lift * 0.7),
            (side * 47, 266 - lift),
            (side * 71, 263 - lift * 1.1),
            (side * 95, 274 - lift * 0.8),
        ]
        canvas.fill(ribbon(line, thick), colour, soft=0.7, opacity=0.92)


def paint_mouth(canvas: Canvas, look: Look, opened: float, width: float) -> None:
    """Paint the mouth.

    Args:
        canvas: On what.
        look: Whose.
        opened: 0 is shut, 1 is as far open as it goes. The open area grows in proportion.
        width: -1 is rounded, 0 at rest, 1 spread; the area stays.
    """
    half = 42.0 + (8.0 if width > 0.0 else 6.0) * width - 2.0 * opened
    gap = 47.0 * opened * 42.0 / half
    t = np.linspace(0.0, 1.0, 33)
    x = (2.0 * t - 1.0) * half
    bow = np.sin(np.pi * t)
    smile = (3.0 + 3.5 * max(width, 0.0)) * (1.0 - 0.5 * opened)
    corners = -smile * np.abs(2.0 * t - 1.0) ** 1.6
    full = (1.0 - (2.0 * t - 1.0) ** 2) ** 0.6
    upper = MOUTH_Y + corners - 0.20 * gap * full
    lower = MOUTH_Y + corners + 0.80 * gap * full
    cupid = 1.0 - 0.28 * np.exp(-(((t - 0.5) / 0.07) ** 2))
    thin = 0.72 if look.strong else 1.0
    lip_top = upper - 1.0 - 8.6 * thin * bow**0.75 * cupid
    lip_bottom = lower + 1.0 + 11.5 * thin * bow**0.6

    canvas.fill(between(x, lower + 12, lip_bottom + 9), look.shade, soft=5, opacity=0.5)
    dark, bright = mix(look.lips, BLACK, 0.22), mix(look.lips, WHITE, 0.12)
    canvas.fill(between(x, lip_top, upper + 1.0), Linear((0, 404), (0, 416), look.lips, dark))
    deep = MOUTH_Y + 0.8 * gap
    canvas.fill(
        between(x, lower - 1.0, lip_bottom), Linear((0, deep), (0, deep + 14), bright, dark)
    )
    gloss = oval(-8, deep + 6.5 * thin, half * 0.34, 2.6)
    canvas.fill(gloss, WHITE, soft=2.2, opacity=0.45)
    if opened <= 0.02:
        line = between(x, upper - 1.1, lower + 1.1)
        canvas.fill(line, mix(dark, BLACK, 0.38), soft=0.5)
    else:
        paint_inside(canvas, x, upper, lower, gap)
    for side in (-1.0, 1.0):
        dimple = oval(side * (half + 3), MOUTH_Y - smile, 4.5, 4.0)
        canvas.fill(dimple, look.shade, soft=2.4, opacity=0.55)
