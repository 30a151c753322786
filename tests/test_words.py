"""Which words have been heard: properties of every text, every speech and every place in it."""

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pipecat.utils.context.word_timestamp_tracker import WordTimestamp, WordTimestampTracker

from pipecat_runway.pauses import Rest, Voice, matched
from pipecat_runway.words import (
    USUAL_PACE,
    Pace,
    Part,
    Recital,
    Whole,
    WordClock,
    divide,
    rest,
    weight,
)

RATE = 16_000

_SOME_WORDS = "well, is (it) 42 days? Gut! 今天 天气。 ประเทศ e.g. — … $5"
texts = st.one_of(
    st.text(max_size=80),
    st.lists(st.sampled_from(_SOME_WORDS.split())).map(" ".join).filter(bool),
)


def loud(seconds: float, seed: int = 0) -> bytes:
    """Return voice."""
    noise = np.random.default_rng(seed).integers(-4000, 4000, round(seconds * RATE))
    return noise.astype("<i2").tobytes()


def quiet(seconds: float) -> bytes:
    """Return silence."""
    return bytes(2 * round(seconds * RATE))


@given(texts)
def test_the_parts_of_a_text_are_the_text(text: str) -> None:
    """Nothing is lost, nothing added, and no part is empty."""
    parts = divide(text)
    assert text == "".join(parts)
    assert all(parts)


@given(texts)
def test_a_text_is_divided_only_at_words(text: str) -> None:
    """Where words are set apart by spaces, each part is words and the spaces behind them."""
    if any(weight(char) in (2.0, 3.0) for char in text):
        return  # a script without spaces
    for before, after in pairwise(divide(text)):
        assert before[-1].isspace()
        assert not after[0].isspace()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Hello there, you.", ["Hello ", "there, ", "you."]),
        ("  (Well) — yes", ["  (Well) ", "— yes"]),
        ("It costs $49.95 today!", ["It ", "costs ", "$49.95 ", "today!"]),
        ("今天好。走", ["今", "天", "好。", "走"]),
        ("これはOK です", ["こ", "れ", "は", "OK ", "で", "す"]),
        ("안녕 하세요", ["안녕 ", "하세요"]),
        ("...", ["..."]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text: str, parts: list[str]) -> None:
    """Chinese and Japanese are divided by characters, punctuation goes with what it follows."""
    assert parts == divide(text)


def test_speakers_pause_at_punctuation() -> None:
    """A comma is a pause, a full stop the end of a sentence, an apostrophe neither."""
    assert [None, False, True, True, None, True] == [
        rest(part) for part in ("so ", "so, ", "so. ", "好。", "dogs' ", 'so." ')
    ]


def spread(text: str, pcm: bytes, pieces: int = 1) -> list[int]:
    """Return the places of the words of a text whose speech is known."""
    recital = Recital(Pace())
    recital.announce("text", None, text)
    size = max(2, len(pcm) // pieces // 2 * 2)
    for start in range(0, len(pcm), size):
        recital.hear(pcm[start : start + size])
    recital.report("text", "report", text)
    recital.close()
    return [place for item, place in recital.place(0) if isinstance(item, Part)]


@given(texts, st.lists(st.tuples(st.booleans(), st.floats(0, 1.5)), max_size=6), st.integers(1, 9))
def test_more_speech_heard_is_never_fewer_words(
    text: str, stretches: list[tuple[bool, float]], pieces: int
) -> None:
    """Places only rise, lie within the speech, and do not depend on how the speech came."""
    pcm = b"".join(loud(s) if voiced else quiet(s) for voiced, s in stretches)
    places = spread(text, pcm)
    assert places == sorted(places)
    assert all(0 <= place <= len(pcm) // 2 for place in places)
    assert len(divide(text)) == len(places)
    assert places == spread(text, pcm, pieces)


@given(texts.filter(lambda text: bool(divide(text))), st.floats(0.2, 6), st.floats(0, 1))
def test_what_is_kept_and_what_is_dropped_are_the_whole(
    text: str, seconds: float, heard: float
) -> None:
    """Whatever has been heard, the words up to there and the others are the text, each once."""
    recital = Recital(Pace())
    recital.announce("text", None, text)
    recital.hear(loud(seconds))
    recital.report("text", "report", text)
    recital.close()
    parts = [(item, at) for item, at in recital.place(0) if isinstance(item, Part)]
    kept = [item for item, at in parts if at <= heard * seconds * RATE]
    passage = parts[0][0].passage
    passage.left = len(kept)
    dropped = "".join(item.text for item, _ in parts[len(kept) :])
    assert text == passage.heard + dropped


@given(texts, st.lists(st.floats(0.05, 1), max_size=8), st.data())
def test_items_leave_once_and_in_order_however_much_is_known(
    text: str, pieces: list[float], data: st.DataObject
) -> None:
    """Speech that comes little by little moves what has not left, and nothing else."""
    recital = Recital(Pace())
    recital.announce("text", None, text)
    out: list[object] = []
    waiting = recital.place(0)
    heard = total = 0
    for piece in pieces:
        recital.hear(loud(piece))
        total += round(piece * RATE)
        waiting = recital.place(len(waiting))
        heard = data.draw(st.integers(heard, total))
        out += [item for item, at in waiting if at <= heard]
        waiting = waiting[sum(at <= heard for _, at in waiting) :]
    recital.report("text", "report", text)
    recital.close()
    waiting = recital.place(len(waiting))
    out += [item for item, _ in waiting]
    said = "".join(item.text for item in out if isinstance(item, Part))
    assert text == said
    assert isinstance(out[-1], Whole)
    assert 1 == sum(isinstance(item, Whole) for item in out)


def test_pauses_are_not_words() -> None:
    """The word behind a pause is heard when the pause is over; the one before it is not late."""
    pcm = loud(1) + quiet(0.8) + loud(1)
    before, after = spread("abcdefg, abcdefg.", pcm)
    assert before < 0.05 * RATE
    assert abs(after - 1.8 * RATE) < 0.02 * RATE


def test_sentences_are_found_by_their_pauses() -> None:
    """One said fast and one said slowly do not share their time by their letters."""
    text = "We will see about that later today. We will see about that later today. Good bye."
    pcm = loud(1.2) + quiet(0.5) + loud(2.4) + quiet(0.5) + loud(0.6)
    places = spread(text, pcm)
    assert abs(places[7] - 1.7 * RATE) < 0.05 * RATE
    assert abs(places[14] - 4.6 * RATE) < 0.05 * RATE


def test_a_pause_that_nobody_wrote_moves_no_word_far() -> None:
    """A breath within a sentence is no comma."""
    knots = matched([Rest(60, True)], [(20_000, 0.2), (61_000, 0.5)], 0, 1000, (120, 120_000))
    assert [(0, 0), (60, 61_000)] == knots


def test_texts_that_come_ahead_of_their_speech_follow_each_other() -> None:
    """As from a socket: no place is known but the end, and no sentence begins with the first."""
    recital = Recital(Pace())
    recital.hear(loud(0.1))
    for name in ("one", "two", "three"):
        recital.announce(name, None, f"{name} is a sentence of its own. ")
        recital.report(name, name, "")
    recital.hear(loud(5.9))
    recital.close()
    placed = recital.place(0)
    first = [at for item, at in placed if isinstance(item, Part) and item.first]
    assert all(1.5 * RATE < b - a < 2.5 * RATE for a, b in pairwise(first))
    reports = [item.item for item, _ in placed if isinstance(item, Whole)]
    assert ["one", "two", "three"] == reports


def test_a_voice_is_known_by_what_it_has_said() -> None:
    """Before a text's speech is whole, the pace of the texts before it counts."""
    pace = Pace()
    slow = 2 * USUAL_PACE
    text = "these are some words of a sentence "
    total = sum(weight(part) for part in divide(text))
    for _ in range(2):
        recital = Recital(pace)
        recital.announce("a", None, text)
        recital.hear(loud(total * slow / RATE))
        recital.report("a", "a", text)
    assert abs(pace.expect(1) - slow) < 0.05 * slow


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0.02, 0.6)), min_size=1, max_size=10),
    st.lists(st.tuples(st.integers(1, 20_000), st.booleans()), min_size=1, max_size=10),
)
def test_speech_is_measured_alike_however_it_comes(
    stretches: list[tuple[bool, float]], pieces: list[tuple[int, bool]]
) -> None:
    """In pieces of any length, looked at in between or not."""
    speech = b"".join(loud(s) if voiced else quiet(s) for voiced, s in stretches)
    whole, cut = Voice(), Voice()
    whole.hear(speech)
    rest = speech
    for length, looked_at in pieces:
        cut.hear(rest[: 2 * length])
        rest = rest[2 * length :]
        if looked_at:
            cut.voice(cut.samples)
    cut.hear(rest)
    assert cut.samples == whole.samples
    for place in range(0, whole.samples, 999):
        assert cut.voice(place) == whole.voice(place)
    assert cut.pauses(0, math.inf) == whole.pauses(0, math.inf)


@given(st.lists(st.tuples(st.booleans(), st.floats(0.02, 0.6)), min_size=1, max_size=10))
def test_voice_and_place_are_each_others_inverse(stretches: list[tuple[bool, float]]) -> None:
    """What is said up to a place leads back to it, but for the pause it may lie in."""
    voice = Voice()
    voice.hear(b"".join(loud(s) if voiced else quiet(s) for voiced, s in stretches))
    rng = random.Random(1)
    for _ in range(10):
        at = rng.uniform(0, voice.samples)
        said = voice.voice(at)
        assert voice.place(said, after_pause=False) <= at + 161
        assert voice.place(said, after_pause=True) >= min(at, voice.samples // 160 * 160) - 161


events = st.lists(
    st.one_of(
        st.tuples(st.just("word"), st.floats(0, 8)),
        st.tuples(st.just("audio"), st.floats(0, 3)),
        st.tuples(st.just("next"), st.floats(0, 3)),
        st.tuples(st.just("interrupt"), st.floats(0, 3)),
    ),
    max_size=40,
)


@given(events)
@example(
    [("word", 1.0), ("word", 0.0), ("audio", 0.0), ("next", 0.0), ("word", 1.0), ("audio", 0.0)]
)
def test_word_times_count_as_pipecat_counts_them(happenings: list[tuple[str, float]]) -> None:
    """Several contexts, pauses, words ahead of the first sound: the place is the TTS's own time."""
    tracker, clock = WordTimestampTracker(), WordClock()
    now, base, placed = 1_000_000_000, None, []

    def pushed(timestamp: float) -> None:
        nonlocal base
        if base is None:
            base = clock.begin(now)
        tracker.last_pts = tracker.pts(timestamp)
        placed.append((timestamp, clock.place(tracker.last_pts, base)))

    for kind, value in happenings:
        if kind == "word" and tracker.started:
            pushed(value)
        elif kind == "word":
            tracker.cache(WordTimestamp("word", value, "context"))
        elif kind == "audio":
            now += round(value * 1e9)
            for word in tracker.start(now):
                pushed(word.timestamp)
            base = clock.begin(now) if base is None else base
        else:
            now += round(value * 1e9)
            tracker.reset()
            base = None
            if kind == "interrupt":
                tracker.last_pts = tracker.uninterruptible_last_pts
                clock.interrupt()
    assert all(abs(place - timestamp * RATE) <= 1 for timestamp, place in placed)
