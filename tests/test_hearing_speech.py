"""The ear with a real voice, through a real Opus codec: sentences are told apart and followed."""

from collections.abc import Callable

import av
import numpy as np
import pytest

from pipecat_runway.cli.speech import DEFAULT_SPEED, DEFAULT_VOICE, Espeak
from tests.kit.marks import resampled
from tests.test_hearing import RATE, Scene, Wave, silence

OLD = "The weather in the mountains changes quickly, so take a warm jacket and some water with you."
NEW = "Sorry, of course. Your table is booked for seven o'clock this evening."
SAME_START = "The weather in the mountains is fine today, and it will stay that way."

# 80 ms of the first sentence are nearly the beginning of the second.
ALIKE = "That's a great question, and I am happy to explain it."
BEGINS_ALIKE = "Can you hear me? Good. Could you spell it, letter by letter?"

Speak = Callable[[str], Wave]


@pytest.fixture(scope="module")
def speak() -> Speak:
    """Speak a sentence with espeak-ng, as 16 kHz samples."""

    def speak(text: str) -> Wave:
        pieces: list[bytes] = []
        espeak = Espeak.shared()
        espeak.speak(text, DEFAULT_VOICE, DEFAULT_SPEED, lambda pcm: not pieces.append(pcm))  # type: ignore[func-returns-value]
        sound = np.frombuffer(b"".join(pieces), "<i2").astype(np.float32)
        return np.rint(resampled(sound, espeak.sample_rate, 16_000)).astype(np.float32)

    return speak


def opus(sound: Wave, bit_rate: int) -> Wave:
    """Send 16 kHz samples through Opus at 48 kHz, as WebRTC does, and bring them back."""
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = 48_000, "mono", "s16"
    encoder.bit_rate = bit_rate
    decoder = av.CodecContext.create("libopus", "r")
    loud = np.clip(resampled(sound, 16_000, 48_000), -32768, 32767).astype("<i2")
    loud = np.pad(loud, (0, -len(loud) % 960 + 960))
    packets = []
    for start in range(0, len(loud), 960):
        frame = av.AudioFrame.from_ndarray(loud[None, start : start + 960], "s16", "mono")
        frame.sample_rate, frame.pts = 48_000, start
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    back = [f for packet in packets for f in decoder.decode(packet)]
    whole = np.concatenate([f.to_ndarray()[0, :: f.layout.nb_channels] for f in back])
    return resampled(whole.astype(np.float32), 48_000, 16_000)


def pcm(sound: Wave) -> bytes:
    return np.clip(sound, -32768, 32767).astype("<i2").tobytes()


def assert_same_speech(heard: bytes, said: Wave) -> None:
    """What was heard is what was said: as long within 80 ms, and the same sound throughout."""
    sound = resampled(np.frombuffer(heard, "<i2").astype(np.float32), RATE, 16_000)
    voiced = np.flatnonzero(np.abs(said) > 200)
    said = said[voiced[0] : voiced[-1]]
    size = 1 << (len(sound) + len(said)).bit_length()
    across = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(said, size)), size)
    shift = int(np.argmax(across))
    assert shift < 1_600, "it begins with something else"
    there = sound[shift : shift + len(said)]
    assert len(there) > len(said) - 1_300, "its end is missing"
    likeness = np.dot(there, said[: len(there)]) / (np.linalg.norm(there) * np.linalg.norm(said))
    assert likeness > 0.8


@pytest.mark.parametrize("bit_rate", [24_000, 64_000])
def test_a_sentence_is_heard_whole(speak: Speak, bit_rate: int) -> None:
    """From its first to its last word, and it ends with its sound."""
    said, scene = speak(OLD), Scene()
    scene.say("a", pcm(said))
    scene.hear(silence(0.3), opus(said, bit_rate), silence(0.6))
    assert [("started", "a"), ("finished", "a")] == scene.told
    assert 0 == scene.lost["a"]
    assert_same_speech(bytes(scene.sound["a"]), said)


@pytest.mark.parametrize(
    ("new", "cleared"),
    [(NEW, True), (NEW, False), (SAME_START, True), (OLD, True)],
    ids=["other", "other, unanswered", "same start", "same"],
)
@pytest.mark.parametrize("cut", [0.4, 1.1, 2.3, 3.6])
@pytest.mark.parametrize("more", [0.06, 0.5])
def test_sentences_are_told_apart_after_an_interruption(
    speak: Speak, new: str, cleared: bool, cut: float, more: float
) -> None:
    """Old words that still come are not passed on; the new sentence is whole, even a repeat."""
    old, fresh, scene = speak(OLD), speak(new), Scene()
    scene.say("old", pcm(old))
    back, at, until = opus(old, 32_000), round(16_000 * cut), round(16_000 * (cut + more))
    scene.hear(silence(0.2), back[:at])
    scene.interrupt(cleared=cleared)
    before = len(scene.sound["old"])
    scene.say("new", pcm(fresh))
    scene.hear(back[at:until], silence(0.12), opus(fresh, 32_000), silence(0.6))
    assert before == len(scene.sound["old"])
    assert [("started", "new"), ("finished", "new")] == scene.told[-2:]
    assert_same_speech(bytes(scene.sound["new"]), fresh)


@pytest.mark.parametrize("stretched", [0, 500, -500])
def test_old_words_that_go_on_are_not_taken_for_the_beginning_of_the_new(
    speak: Speak, stretched: int
) -> None:
    """However like it they are: they come in their own time, or where the network left them."""
    old, scene = speak(ALIKE), Scene()
    scene.say("old", pcm(old))
    back, at, until = opus(old, 32_000), round(16_000 * 1.263), round(16_000 * 2.763)
    scene.hear(silence(0.2), back[:at])
    scene.interrupt()
    scene.say("new", pcm(speak(BEGINS_ALIKE)))
    scene.hear(back[at + stretched : until])
    assert [("started", "old")] == scene.told
