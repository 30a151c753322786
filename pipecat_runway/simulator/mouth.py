"""The inside of every character's mouth, and how far open a mouth in a picture is."""

import numpy as np
from numpy.typing import NDArray

from pipecat_runway.simulator.drawing import Canvas, Linear, Outline, oval
from pipecat_runway.simulator.looks import BLACK

# Nothing else near a mouth is so dark and so red.
DEEP, WARM = (46.0, 6.0, 16.0), (92.0, 18.0, 32.0)
TEETH, TONGUE = (246.0, 242.0, 236.0), (190.0, 66.0, 78.0)

Values = NDArray[np.float64]


def between(x: Values, above: Values, below: Values) -> Outline:
    """Outline the area between two lines over the same x."""
    return np.vstack([np.stack([x, above], 1), np.stack([x, below], 1)[::-1]])


def paint_inside(
    canvas: Canvas, x: Values, upper: Values, lower: Values, gap: float, *, teeth: bool = True
) -> None:
    """Paint what an open mouth shows.

    Args:
        canvas: On what.
        x: Of the points along the lips, in units.
        upper: Their y on the upper lip.
        lower: Their y on the lower lip.
        gap: How far open it is at most.
        teeth: Whether there are teeth to be seen.
    """
    top, bottom = float(upper.min()), float(lower.max())
    inside = between(x, upper, lower)
    canvas.fill(inside, Linear((0, top), (0, bottom), DEEP, WARM))
    clip = canvas.mask(inside)
    half = float(x.max())
    if gap > 16:
        tongue = oval(0, bottom + 2, half * 0.58, (gap - 12) * 0.42)
        canvas.fill(tongue, TONGUE, soft=2.5, opacity=0.9, clip=clip)
    if teeth and gap > 9:
        bow = np.sin(np.pi * np.linspace(0.0, 1.0, len(x))) ** 0.3
        row = between(x * 0.86, upper - 6, upper + min(9.0, gap * 0.24) * bow)
        canvas.fill(row, TEETH, soft=0.8, clip=clip)
    canvas.fill(between(x, upper - 6, upper + 3), BLACK, soft=2, opacity=0.35, clip=clip)
