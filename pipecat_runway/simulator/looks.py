"""Who the simulated characters are: colours, hair, clothes and what they wear besides."""

import hashlib
from dataclasses import dataclass, replace

from pipecat_runway.simulator.drawing import Colour, mix

# Where things are, in units: the middle of the face is x = 0, y grows downwards.
EYE = (55.0, 322.0)  # the right one, seen from here; the other is its mirror image
MOUTH_Y = 414.0
CHIN_Y = 482.0
FLOOR = 1700.0  # where bodies end: below every picture

BLACK, WHITE = (20.0, 14.0, 20.0), (255.0, 255.0, 255.0)


def _rgb(hexadecimal: str) -> Colour:
    value = int(hexadecimal, 16)
    return (float(value >> 16), float(value >> 8 & 255), float(value & 255))


@dataclass(frozen=True, kw_only=True)
class Look:
    """How one character looks.

    Attributes:
        skin: Of the face, or the fur.
        hair: Its colour.
        eyes: Colour of the iris.
        lips: Colour of the lips.
        top: Colour of the clothes.
        trim: Colour of what is worn over or under them.
        back: Colours of the background, from top to bottom.
        style: Of the hair: ``long``, ``waves``, ``bob``, ``bun``, ``short``, ``spiky``, ``curls``,
            ``ponytail``, ``chef`` (short, under a hat) or ``none``.
        clothes: ``hoodie``, ``blazer``, ``polo``, ``chef``, ``turtleneck``, ``stage``, ``tunic``,
            ``sweater`` or ``collar`` (the cat's).
        extras: Any of ``glasses``, ``headset``, ``earrings``, ``stars``, ``visor``, ``moustache``,
            ``freckles``.
        strong: A broader jaw and neck, stronger brows.
        cat: A cat.
    """

    skin: Colour
    hair: Colour
    eyes: Colour
    lips: Colour
    top: Colour
    trim: Colour
    back: tuple[Colour, Colour]
    style: str
    clothes: str
    extras: frozenset[str] = frozenset()
    strong: bool = False
    cat: bool = False

    @property
    def shade(self) -> Colour:
        """The skin in shadow."""
        return mix(self.skin, (96.0, 32.0, 40.0), 0.38)

    @property
    def light(self) -> Colour:
        """The skin in the light."""
        return mix(self.skin, (255.0, 244.0, 226.0), 0.45)

    @property
    def blush(self) -> Colour:
        """Of the cheeks."""
        return mix(self.skin, (232.0, 74.0, 84.0), 0.55)


def _look(
    skin: str, hair: str, eyes: str, lips: str, top: str, trim: str, back: str, **rest: object
) -> Look:
    first, last = back.split()
    return Look(
        skin=_rgb(skin),
        hair=_rgb(hair),
        eyes=_rgb(eyes),
        lips=_rgb(lips),
        top=_rgb(top),
        trim=_rgb(trim),
        back=(_rgb(first), _rgb(last)),
        **rest,  # type: ignore[arg-type]
    )


def _extras(*names: str) -> frozenset[str]:
    return frozenset(names)


# The ids are Runway's (`presetId` of the OpenAPI document); how they look here is our own.
PRESETS = {
    "game-character": _look(
        "f3c9a8", "6a4bd8", "3fa7c9", "d9697a", "2b2f55", "46e0d0", "2a2458 5a3f9e",
        style="bob", clothes="hoodie", extras=_extras("headset", "freckles"),
    ),
    "music-superstar": _look(
        "f6cfb4", "f06fae", "8a5bd0", "d8416f", "35204f", "ffd166", "43205f d0568f",
        style="long", clothes="stage", extras=_extras("stars"),
    ),
    "game-character-man": _look(
        "e0ab84", "27406e", "4f9d5d", "b8675f", "5a4634", "c9a24b", "123a4a 3d8f7d",
        style="spiky", clothes="tunic", strong=True,
    ),
    "cat-character": _look(
        "f4b56a", "d98a3c", "5fb65a", "e58b90", "3f7fb8", "e5484d", "7fc6c9 f7e3b5",
        style="none", clothes="collar", cat=True,
    ),
    "influencer": _look(
        "f2c6a0", "e2b35f", "5b8fc4", "d4626b", "f4ece2", "d79a8b", "f3b6a6 f9e4d4",
        style="waves", clothes="sweater", extras=_extras("earrings"),
    ),
    "tennis-coach": _look(
        "b97a50", "3b2417", "6b4526", "a8524c", "f5f7f8", "2fa36b", "6fb7e8 cfeef0",
        style="ponytail", clothes="polo", extras=_extras("visor"),
    ),
    "human-resource": _look(
        "f0c3a0", "7a4528", "6f8a4a", "c45f62", "32476b", "eef1f5", "8fa6bd e2e6ea",
        style="bob", clothes="blazer", extras=_extras("glasses"),
    ),
    "fashion-designer": _look(
        "e7b48e", "221c22", "5a3a22", "c22f3d", "1d1d22", "c9a24b", "c9b3a2 efe3d8",
        style="bun", clothes="turtleneck", extras=_extras("earrings"),
    ),
    "cooking-teacher": _look(
        "dda67c", "3a2519", "5a3d22", "b3625a", "f7f5ef", "d8413a", "c9824a f4dcae",
        style="chef", clothes="chef", extras=_extras("moustache"), strong=True,
    ),
}  # fmt: skip

_SKINS = ("f6d3b8", "f0c3a0", "e0ab84", "c68d63", "a8704a", "8f5a3c")
_HAIRS = ("2a1d18", "4a2c1a", "7a4528", "b5793e", "e2b35f", "8f8f96", "a8432c", "35406e")
_EYES = ("5a3d22", "6f8a4a", "5b8fc4", "7a6a58", "3d7a6a")
_TOPS = ("3f6fb0", "b0503f", "3f8f6a", "7a4f9a", "d0913a", "37474f", "c0507a")
_BACKS = ("6f8fbf dfe6f2", "8f7fb0 efe3f0", "5f9a8f e3f0e6", "c08a6a f6e7d6", "4a5f80 a9bcd6")
_WOMEN = ("long", "waves", "bob", "bun", "ponytail", "curls")
_MEN = ("short", "spiky", "curls")
_CLOTHES = ("hoodie", "blazer", "polo", "turtleneck", "sweater")
_WORN = ((), (), ("glasses",), ("earrings",), ("freckles",))


def look_of(character: str) -> Look:
    """Tell how a character looks: a preset's own look, or one that its id decides for ever."""
    if preset := PRESETS.get(character):
        return preset
    dice = iter(hashlib.sha256(character.encode()).digest())

    def one_of(choices: tuple[str, ...]) -> str:
        return choices[next(dice) % len(choices)]

    strong = next(dice) % 2 == 0
    skin = one_of(_SKINS)
    look = _look(
        skin, one_of(_HAIRS), one_of(_EYES), "c05f62", one_of(_TOPS), "f2efe9", one_of(_BACKS),
        style=one_of(_MEN if strong else _WOMEN), clothes=one_of(_CLOTHES), strong=strong,
        extras=frozenset(_WORN[next(dice) % len(_WORN)]) - ({"earrings"} if strong else set()),
    )  # fmt: skip
    return replace(look, lips=mix(look.skin, (176.0, 52.0, 62.0), 0.4 if strong else 0.55))
