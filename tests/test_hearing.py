"""The ear, against an avatar made of arithmetic: it gives back what was sent, as told to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_runway import hearing
from pipecat_runway.hearing import Finished, Hearing, Sound, Started, StillSpeaking
from pipecat_runway.playback import Ledger, Utterance
from tests.kit.marks import compare, marked_speech, numbers, read_marks, resampled

RATE = 24_000
Wave = np.ndarray


def speech(first: int, pieces: int, **options: object) -> bytes:
    return marked_speech(first, pieces, 16_000, **options)  # type: ignore[arg-type]


def silence(seconds: float) -> Wave:
    return np.zeros(round(16_000 * seconds), np.float32)


def wave(pcm: bytes) -> Wave:
    return np.frombuffer(pcm, "<i2").astype(np.float32)


@dataclass
class Scene:
    """A ledger, an ear, and everything the ear said."""

    rate: int = RATE
    noise: int = 0
    gain: float = 1.0
    ledger: Ledger = field(default_factory=Ledger)
    now: float = 100.0
    sound: dict[str | None, bytearray] = field(default_factory=dict)
    told: list[tuple[str, str | None]] = field(default_factory=list)
    lost: dict[str | None, int] = field(default_factory=dict)
    ended: dict[str | None, float] = field(default_factory=dict)
    old_told: int = 0

    def __post_init__(self) -> None:
        self.ear = Hearing(self.ledger, self.rate)
        self._random = np.random.default_rng(1)

    def say(
        self, context: str, pcm: bytes, *, closed: bool = True, sent: int | None = None
    ) -> Utterance:
        utterance = self.ledger.open(context, keep=False, now=self.now)
        self.ledger.feed(utterance, pcm, now=self.now, item=None)
        utterance.sent = utterance.samples if sent is None else sent
        if closed:
            self.ledger.close(utterance)
        return utterance

    def interrupt(self, *, cleared: bool = True) -> None:
        self.ear.interrupted(self.ledger.interrupt().utterances, self.now)
        if cleared:
            self.ear.cleared(self.now)

    def hear(self, *parts: Wave, pieces: Iterator[int] | None = None) -> None:
        """Give back sound (16 kHz), 10 ms at a time or in the pieces told."""
        back = resampled(np.concatenate(parts), 16_000, self.rate) * self.gain
        back = back + self._random.integers(-self.noise, self.noise, len(back), endpoint=True)
        pcm = np.clip(np.rint(back), -32768, 32767).astype("<i2").tobytes()
        place = 0
        while place < len(pcm):
            step = 2 * (next(pieces) if pieces else self.rate // 100)
            self._take(self.ear.feed(pcm[place : place + step], self.now))
            self.now += min(step, len(pcm) - place) / 2 / self.rate
            place += step

    def _take(self, effects: list[hearing.Effect]) -> None:
        for effect in effects:
            match effect:
                case Started(utterance):
                    self.ledger.start(utterance)
                    self.told.append(("started", utterance.context_id))
                    self.sound[utterance.context_id] = bytearray()
                case Sound(utterance, pcm, heard):
                    self.ledger.advance(utterance, heard)
                    self.sound[utterance.context_id] += pcm
                case Finished(utterance, lost):
                    self.ledger.finish(utterance)
                    self.told.append(("finished", utterance.context_id))
                    self.lost[utterance.context_id] = lost
                    self.ended[utterance.context_id] = self.now
                case StillSpeaking():
                    self.old_told += 1

    def marks(self, context: str, first: int, pieces: int) -> object:
        heard = read_marks(bytes(self.sound.get(context, b"")), self.rate)
        return compare(numbers(first, pieces), heard)

    def assert_whole(self, context: str, first: int, pieces: int) -> None:
        assert self.marks(context, first, pieces).clean, self.marks(context, first, pieces)  # type: ignore[attr-defined]


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("noise", [0, 25])
@pytest.mark.parametrize("gain", [1.0, 0.3])
def test_an_utterance_is_heard_whole_and_ends_with_its_sound(
    rate: int, noise: int, gain: float
) -> None:
    """At any rate and level, with noise or without: everything, once, and the end within 20 ms."""
    scene = Scene(rate, noise, gain)
    scene.hear(silence(1.0))
    said = speech(10, 12)
    scene.say("a", said)
    began = scene.now + 0.15
    scene.hear(silence(0.15), wave(said), silence(0.5))
    assert [("started", "a"), ("finished", "a")] == scene.told
    assert 0 == scene.lost["a"]
    scene.assert_whole("a", 10, 12)
    assert scene.ended["a"] - began == pytest.approx(1.2, abs=0.02)


def test_idle_noise_is_not_speech() -> None:
    """Two minutes of a noisy idle avatar mean nothing, with or without speech owed to it."""
    scene = Scene(noise=25)
    scene.hear(silence(120.0))
    scene.say("a", speech(10, 5))
    scene.hear(silence(2.0))
    assert [] == scene.told


def test_knocks_in_a_silence_do_not_make_the_ear_duller() -> None:
    """However large the pieces are they come in: what is loud in them is no noise."""
    thresholds = []
    for piece in (240, 2_400):
        scene = Scene()
        knocks = silence(20.0)
        for start in range(0, len(knocks), 1_600):
            knocks[start : start + 160] = 120 * np.sin(np.arange(160))
        scene.hear(knocks, pieces=cycle([piece]))
        thresholds.append(scene.ear.threshold)
    assert [hearing.QUIET_LEVEL] * 2 == thresholds


@pytest.mark.parametrize("noise", [0, 25])
def test_inner_and_outer_pauses_belong_to_the_utterance(noise: int) -> None:
    """Half a second of silence inside does not end it; silence at its end is waited for."""
    scene = Scene(noise=noise)
    scene.hear(silence(1.0))
    said = speech(20, 10, pauses={4: 0.5, 7: 0.3}) + bytes(2 * 8_000)
    scene.say("a", said)
    began = scene.now + 0.1
    scene.hear(silence(0.1), wave(said), silence(0.5))
    assert [("started", "a"), ("finished", "a")] == scene.told
    scene.assert_whole("a", 20, 10)
    assert scene.ended["a"] - began == pytest.approx(len(said) / 32_000, abs=0.03)


@pytest.mark.parametrize("piece", [240, 480])
@pytest.mark.parametrize("before", [0.2, 0.203, 0.207, 0.213, 0.219])
def test_utterances_without_a_gap_are_told_apart(piece: int, before: float) -> None:
    """The avatar plays three in one go; each gets its own sound, wherever a piece of it ends."""
    scene = Scene()
    said = [speech(30 + 10 * n, 8) for n in range(3)]
    for n, pcm in enumerate(said):
        scene.say(f"u{n}", pcm)
    back = [wave(pcm) for pcm in said]
    scene.hear(silence(before), *back, silence(0.5), pieces=cycle([piece]))
    assert [(w, f"u{n}") for n in range(3) for w in ("started", "finished")] == scene.told
    for n in range(3):
        scene.assert_whole(f"u{n}", 30 + 10 * n, 8)
    assert len(scene.sound["u1"]) / 2 / RATE == pytest.approx(0.8, abs=0.001)


def test_a_pause_of_the_avatars_own_does_not_end_the_utterance_early() -> None:
    """A worker that stalls for 400 ms in mid-speech is waited for."""
    scene = Scene()
    said = wave(speech(60, 12))
    scene.say("a", speech(60, 12))
    scene.hear(silence(0.2), said[:9_600], silence(0.4), said[9_600:], silence(0.5))
    assert 0 == scene.lost["a"]
    scene.assert_whole("a", 60, 12)


@pytest.mark.parametrize("before_the_end", [20, 30, 40, 55])
def test_a_pause_just_before_the_end_does_not_cut_the_last_word(before_the_end: int) -> None:
    """A worker that stalls for 40 ms within the last piece is waited for."""
    scene = Scene()
    said = wave(speech(60, 6))
    at = len(said) - 16 * before_the_end
    scene.hear(silence(1.0))
    scene.say("a", speech(60, 6))
    scene.hear(silence(0.1), said[:at], silence(0.04), said[at:], silence(0.5))
    heard = read_marks(bytes(scene.sound["a"]), RATE)
    assert [("started", "a"), ("finished", "a")] == scene.told
    assert sum(mark.heard_s for mark in heard if mark.number == 65) > 0.08


def test_speech_that_comes_slower_than_it_is_spoken_stays_one_utterance() -> None:
    """A TTS that stalls leaves a pause, not an end."""
    scene = Scene()
    first, second = speech(80, 5), speech(85, 5)
    utterance = scene.say("a", first, closed=False)
    scene.hear(silence(0.2), wave(first), silence(0.7))
    assert [("started", "a")] == scene.told
    scene.ledger.feed(utterance, second, now=scene.now, item=None)
    utterance.sent = utterance.samples
    scene.ledger.close(utterance)
    scene.hear(wave(second), silence(0.4))
    assert [("started", "a"), ("finished", "a")] == scene.told
    scene.assert_whole("a", 80, 10)


def test_what_never_comes_is_given_up_and_counted() -> None:
    """An avatar that swallows the last second does not hold the conversation for ever."""
    scene = Scene()
    said = wave(speech(100, 20))
    scene.say("a", speech(100, 20))
    scene.hear(silence(0.2), said[:16_000], silence(3.0))
    assert ("finished", "a") == scene.told[-1]
    assert scene.lost["a"] == pytest.approx(16_000, abs=500)


@given(
    at=st.floats(0.05, 2.4),
    more=st.floats(0.0, 1.0),
    gap=st.floats(0.0, 0.3),
    cleared=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_no_old_speech_is_passed_on_and_no_new_speech_is_lost(
    at: float, more: float, gap: float, cleared: bool
) -> None:
    """However much old speech still comes after an interruption, only the new is heard, whole."""
    scene = Scene()
    old, new = speech(200, 25), speech(300, 6)
    scene.say("old", old)
    cut = round(16_000 * at)
    scene.hear(silence(0.1), wave(old)[:cut])
    scene.interrupt(cleared=cleared)
    before = len(scene.sound.get("old", b""))
    scene.say("new", new)
    scene.hear(wave(old)[cut : cut + round(16_000 * more)], silence(gap), wave(new), silence(0.5))
    assert before == len(scene.sound.get("old", b""))
    scene.assert_whole("new", 300, 6)


@pytest.mark.parametrize("quiet", [0.2, 0.203, 0.206, 0.209])
def test_new_speech_is_known_by_its_second_piece(quiet: float) -> None:
    """What is new is passed on soon, although old speech was expected."""
    scene = Scene()
    old, new = speech(200, 25), speech(300, 6)
    scene.say("old", old)
    scene.hear(silence(0.1), wave(old)[:8_000])
    scene.interrupt()
    scene.say("new", new)
    scene.hear(np.concatenate((silence(quiet), wave(new)))[: round(16_000 * 0.22)])
    assert ("started", "new") == scene.told[-1]


@pytest.mark.parametrize("stretched", [0.0, 0.02, 0.04, 0.06])
def test_a_sentence_that_is_said_again_is_heard_although_a_network_stretches_it(
    stretched: float,
) -> None:
    """Its beginning, a vowel in it made longer, is old speech as well; the avatar has confirmed."""
    scene = Scene()
    said, at = wave(speech(200, 25)), 400
    scene.say("old", speech(200, 25))
    scene.hear(silence(0.1), said[:3_000])
    scene.interrupt()
    scene.say("new", speech(200, 25))
    longer = np.resize(said[at - 320 : at], round(16_000 * stretched))
    scene.hear(silence(0.2), said[:at], longer, said[at:8_000])
    assert ("started", "new") == scene.told[-1]


def test_old_speech_nothing_of_which_was_heard_is_not_taken_for_new_speech_that_begins_alike() -> (
    None
):
    """As long as the avatar has not confirmed, it may be saying the old."""
    scene = Scene()
    said = wave(speech(200, 25))
    scene.say("old", speech(200, 25))
    scene.hear(silence(0.1))
    scene.interrupt(cleared=False)
    scene.say("new", speech(200, 25)[: 2 * 1_600] + speech(300, 6))
    scene.hear(silence(0.086), said[:8_000])
    assert [] == scene.told


def test_a_second_interruption_that_cuts_nothing_does_not_undo_the_confirmation() -> None:
    """A sentence that is said again after two interruptions in a row is heard."""
    scene = Scene()
    scene.say("old", speech(200, 25))
    scene.hear(silence(0.1), wave(speech(200, 25))[:4_000])
    scene.interrupt()
    scene.interrupt(cleared=False)
    scene.say("new", speech(200, 25))
    scene.hear(silence(0.2), wave(speech(200, 25))[:8_000])
    assert ("started", "new") == scene.told[-1]


def test_an_avatar_that_goes_on_speaking_is_reported_once() -> None:
    """Two seconds of old speech after an interruption are not normal."""
    scene = Scene()
    old = wave(speech(100, 90))
    scene.say("old", speech(100, 90))
    scene.hear(silence(0.1), old[:16_000])
    scene.interrupt()
    scene.hear(old[16_000:64_000])
    assert 1 == scene.old_told


def scrambled(pcm: bytes) -> Wave:
    """The same loudness over time, another wave form: an avatar with a voice of its own."""
    sound = wave(pcm)
    other = np.abs(sound) * np.random.default_rng(5).choice([-1.0, 1.0], len(sound))
    return np.convolve(other, np.ones(3) / 3, "same")  # a step that no filter rings at


def test_sound_that_cannot_be_matched_is_followed_by_the_count() -> None:
    """An avatar that alters its sound still starts, ends and is heard whole."""
    scene = Scene()
    scene.say("a", speech(400, 10))
    scene.hear(silence(0.2), scrambled(speech(400, 10)), silence(0.6))
    assert [("started", "a"), ("finished", "a")] == scene.told
    assert len(scene.sound["a"]) / 2 / RATE == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("silent", [0.0, 0.4])
@pytest.mark.parametrize("concealed", [0.05, 0.2, 0.35])
@pytest.mark.parametrize("pauses", [{}, {10: 0.3}])
def test_what_a_network_makes_up_is_not_taken_as_heard(
    concealed: float, silent: float, pauses: dict[int, float]
) -> None:
    """Where sound stops, WebRTC goes on with something like it, which fades; then comes nothing."""
    scene, pcm = Scene(), speech(0, 20, pauses=pauses)
    utterance = scene.say("a", pcm)
    heard = wave(pcm)[: 16_000 // 10 * 8]
    made_up = np.random.default_rng(2).normal(0, 2000, round(16_000 * concealed))
    scene.hear(silence(0.1), heard, made_up * np.linspace(1, 0.05, len(made_up)), silence(silent))
    assert utterance.heard > len(heard)
    assert len(heard) - 16_000 * 0.1 <= scene.ear.sure(utterance) <= len(heard) + 16


def test_a_voice_that_is_never_recognised_is_believed_but_for_what_may_be_made_up() -> None:
    """Nothing but the count tells how far it has got."""
    scene, pcm = Scene(), speech(0, 20)
    utterance = scene.say("a", pcm)
    other = wave(speech(500, 10))
    scene.hear(silence(0.1), other)
    assert utterance.heard - hearing.UNSURE == scene.ear.sure(utterance)


def test_after_an_interruption_unmatched_sound_is_trusted_in_the_end() -> None:
    """An avatar that alters its sound is not mute after a barge-in."""
    scene = Scene()
    scene.say("old", speech(400, 20))
    scene.hear(silence(0.2), scrambled(speech(400, 20))[:8_000])
    scene.interrupt()
    scene.say("new", speech(500, 15))
    scene.hear(silence(0.3), scrambled(speech(500, 15)), silence(0.6))
    assert [("started", "new"), ("finished", "new")] == scene.told[1:]


@given(st.lists(st.integers(120, 1_200), min_size=5, max_size=30), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_the_size_of_the_pieces_does_not_matter(sizes: list[int], seed: int) -> None:
    """Sound in pieces of 5 to 50 ms gives the same speech."""
    scene = Scene()
    first = 10 * seed
    scene.say("a", speech(first, 8))
    scene.hear(silence(0.2), wave(speech(first, 8)), silence(0.5), pieces=cycle(sizes))
    assert [("started", "a"), ("finished", "a")] == scene.told
    scene.assert_whole("a", first, 8)


@pytest.mark.parametrize("stretched", [0.06, 0.12, 0.18])
@pytest.mark.parametrize("before", [0.03, 0.1])
def test_a_stretch_just_before_the_end_does_not_cut_the_last_word(
    stretched: float, before: float
) -> None:
    """A jitter buffer that runs dry repeats what it has; what comes then is heard all the same."""
    scene = Scene()
    said = wave(speech(20, 10))
    scene.say("a", speech(20, 10))
    place = len(said) - round(16_000 * before)
    filler = np.resize(said[place - 320 : place], round(16_000 * stretched))
    scene.hear(silence(0.2), said[:place], filler, said[place:], silence(1.0))
    assert [("started", "a"), ("finished", "a")] == scene.told
    last = np.frombuffer(bytes(scene.sound["a"]), "<i2")[-RATE // 50 :]
    end = resampled(said[-320:], 16_000, RATE)[: len(last)]
    likeness = np.dot(last, end) / (np.linalg.norm(last) * np.linalg.norm(end))
    assert likeness > 0.5, "it does not end with its end"


@given(st.integers(0, 900), st.integers(0, 400))
@settings(deadline=None)
def test_silence_before_speech_is_measured_however_long_both_are(quiet: int, loud: int) -> None:
    """To 5 ms; speech that is all silence is silence to its end."""
    scene = Scene()
    blocks = [bytes(160)] * quiet + [np.full(80, 4000, "<i2").tobytes()] * loud
    utterance = scene.say("a", b"".join(blocks) + bytes(10))
    assert scene.ear.lead(utterance) == (80 * quiet if loud else utterance.samples)
