"""How far off the words of real speech are placed, by the speech engine's own word events."""

import ctypes
import random
from itertools import accumulate

import numpy as np
import pytest

from pipecat_runway.cli.speech import Espeak
from pipecat_runway.words import Pace, Part, Recital, divide

RATE = 16_000
AUDIBLE = 0.035  # s of a word that are heard as a part of it

ENGLISH = [
    "Hello there! I am glad that you called, because there is something that I would like to tell "
    "you about your order. Your package left our warehouse on Monday, March 3rd, and it should "
    "arrive within two to three business days.",
    "If you prefer, I can have it delivered to a pickup point near you, which is usually faster.",
    "The total comes to $49.95, including tax.",
    "I understand.",
    "Photosynthesis is the process by which green plants, algae, and certain bacteria convert "
    "light energy into chemical energy; it takes place mainly in the chloroplasts, which contain "
    "the pigment chlorophyll, and it releases oxygen as a by-product.",
    "The quick brown fox jumps over the lazy dog while the sleepy cat watches from a sunny window.",
    "Please press one for sales, two for support, or three to hear your balance. Our opening hours "
    "are 9 a.m. to 5 p.m., Monday through Friday, except on public holidays. You could, of course, "
    "simply restart the device; however, that will not always help.",
]
GERMAN = [
    "Guten Tag, mein Name ist Anna, und ich helfe Ihnen heute gerne bei Ihrer Bestellung weiter. "
    "Leider habe ich Sie nicht verstanden, könnten Sie das bitte noch einmal wiederholen?",
    "Die Donaudampfschifffahrtsgesellschaft wurde 1829 gegründet und betrieb zeitweise mehr als "
    "zweihundert Dampfschiffe auf der Donau und ihren Nebenflüssen.",
]


class _Event(ctypes.Structure):
    """espeak_EVENT of espeak-ng's public header speak_lib.h, release 1.52."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


WORD = 1  # espeakEVENT_WORD
_OnSamples = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def spoken(text: str, voice: str, speed: int) -> tuple[bytes, list[tuple[int, float]]]:
    """Return speech at 16 kHz, and of each word where it is in the text and when it is said."""
    espeak, pcm = Espeak.shared(), bytearray()
    words: list[tuple[int, float]] = []

    def on_samples(samples: object, count: int, events: ctypes.Array[_Event]) -> int:
        if count:
            pcm.extend(ctypes.string_at(samples, 2 * count))  # type: ignore[arg-type]
        index = 0
        while events and events[index].type:
            if events[index].type == WORD:
                words.append((events[index].text_position - 1, events[index].audio_position / 1000))
            index += 1
        return 0

    callback, utf8 = _OnSamples(on_samples), text.encode()
    espeak.check_voice(voice)
    espeak._library.espeak_SetParameter(1, speed, 0)
    espeak._library.espeak_SetSynthCallback(callback)
    espeak._library.espeak_Synth(utf8, len(utf8) + 1, 0, 0, 0, 1, None, None)
    sound = np.frombuffer(bytes(pcm), "<i2").astype(float)
    at = np.arange(len(sound) * RATE // espeak.sample_rate) * espeak.sample_rate / RATE
    return np.interp(at, np.arange(len(sound)), sound).astype("<i2").tobytes(), words


def off(text: str, voice: str, speed: int, rng: random.Random, count: int = 20) -> list[int]:
    """Return by how many words a cut is off, at random instants of a text."""
    pcm, words = spoken(text, voice, speed)
    parts = divide(text)
    begins = accumulate([0, *(len(part) for part in parts[:-1])])
    times: list[float] = []
    for begin, part in zip(begins, parts, strict=True):
        own = [at for place, at in words if begin <= place < begin + len(part)]
        times.append(own[0] if own else times[-1])
    recital = Recital(Pace())
    recital.announce("text", None, text)
    recital.hear(pcm)
    recital.report("text", "report", text)
    recital.close()
    places = [place / RATE for item, place in recital.place(0) if isinstance(item, Part)]
    errors = []
    for _ in range(count):
        at = rng.uniform(0.05, len(pcm) / 2 / RATE)
        heard = sum(time <= at - AUDIBLE for time in times)
        errors.append(sum(place <= at for place in places) - heard)
    return errors


@pytest.mark.parametrize(("voice", "texts"), [("en-us", ENGLISH), ("de", GERMAN)])
@pytest.mark.parametrize("speed", [130, 165, 220])
def test_sentences_of_real_speech_are_cut_where_they_were_heard(
    voice: str, texts: list[str], speed: int
) -> None:
    """Off by two words at most in 95 % of all instants, however long the text, however fast."""
    rng = random.Random(1)
    errors = [error for text in texts for error in off(text, voice, speed, rng, 100)]
    assert sum(abs(error) <= 2 for error in errors) >= 0.95 * len(errors), max(map(abs, errors))
