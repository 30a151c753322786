"""The ledger of utterances, piece by piece; its laws stand in test_ledger_laws.py."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway.playback import Excerpt, Ledger, Stage

SECOND = bytes(2 * 16_000)


def spoken(ledger: Ledger, context: str, seconds: float = 1.0, *, keep: bool = False) -> Any:
    """An utterance that the TTS has finished."""
    utterance = ledger.open(context, keep=keep, now=0.0, item=f"{context} started")
    pcm = bytes(2 * round(16_000 * seconds))
    ledger.feed(utterance, pcm, now=0.0, item=f"{context} audio")
    ledger.close(utterance, item=f"{context} stopped")
    return utterance


def test_without_speech_nothing_waits() -> None:
    """An item that follows no unfinished utterance is the caller's to pass on."""
    ledger = Ledger()
    assert not ledger.hold("item", keep=False)


def test_a_bracket_opens_with_the_first_sound_and_closes_with_the_last() -> None:
    """The same objects come out, at the onset and at the end."""
    ledger = Ledger()
    utterance = spoken(ledger, "a")
    ledger.hold("behind", keep=False)
    assert ["a started"] == ledger.start(utterance)
    assert [] == ledger.advance(utterance, 8_000)
    assert ["a stopped", "behind"] == ledger.finish(utterance)
    assert 0 == len(ledger)


def test_frames_of_an_utterance_leave_when_the_sound_reaches_them() -> None:
    """A word held at half a second leaves when half a second has been heard, not before."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0, item="started")
    ledger.feed(utterance, SECOND, now=0.0, item="audio")
    assert ledger.hold("word", keep=False, context_id="a", position=8_000)
    assert ledger.hold("sentence", keep=False, context_id="a")
    ledger.close(utterance, item="stopped")
    assert ["started"] == ledger.start(utterance)
    assert [] == ledger.advance(utterance, 7_999)
    assert ["word"] == ledger.advance(utterance, 8_000)
    assert ["sentence", "stopped"] == ledger.finish(utterance)


def test_a_frame_never_overtakes_an_earlier_one_of_its_utterance() -> None:
    """A word with an early time behind one with a late time waits for it."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0)
    ledger.feed(utterance, SECOND, now=0.0, item="audio")
    ledger.hold("late", keep=False, context_id="a", position=12_000)
    ledger.hold("early", keep=False, context_id="a", position=4_000)
    ledger.start(utterance)
    assert [] == ledger.advance(utterance, 11_999)
    assert ["late", "early"] == ledger.advance(utterance, 12_000)


def test_an_interruption_keeps_what_may_not_be_interrupted_in_order() -> None:
    """Uninterruptible speech stays, uninterruptible items stay behind it, all else is gone."""
    ledger = Ledger()
    spoken(ledger, "a")
    ledger.hold("first result", keep=True)
    kept = spoken(ledger, "b", keep=True)
    ledger.hold("gone", keep=False)
    spoken(ledger, "c")
    ledger.hold("second result", keep=True)
    cut = ledger.interrupt()
    assert ["a", "c"] == [u.context_id for u in cut.utterances]
    assert ["first result"] == cut.released
    assert [kept] == list(ledger)
    assert ["b started"] == ledger.start(kept)
    assert ["b stopped", "second result"] == ledger.finish(kept)


def test_an_interrupted_context_is_remembered_until_the_tts_has_finished_it() -> None:
    """Late pieces of a cut utterance can be told from new speech."""
    ledger = Ledger()
    ledger.open("a", keep=False, now=0.0)
    spoken(ledger, "b")
    ledger.interrupt()
    assert Stage.CUT is ledger.over("a")
    assert ledger.over("b") is None
    ledger.forget("a")
    assert ledger.over("a") is None


def test_giving_up_returns_what_was_not_heard() -> None:
    """The voice goes on where the sound has got to, in the order everything came."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0, item="started")
    for n in range(4):
        ledger.feed(utterance, SECOND, now=0.0, item=f"audio {n}")
        ledger.hold(f"text {n}", keep=False, context_id="a")
    ledger.close(utterance, item="stopped")
    ledger.hold("behind", keep=False)
    ledger.start(utterance)
    ledger.advance(utterance, 2 * 16_000 + 100)
    rest = Excerpt("audio 2", 100 / 16_000, None)
    assert [rest, "text 2", "audio 3", "text 3", "stopped", "behind"] == ledger.give_up()
    assert Stage.VOICED is utterance.stage


def test_the_voice_and_its_words_go_on_together() -> None:
    """Each word leaves between the pieces of speech around it; what is not said yet waits."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0, item="started")
    ledger.feed(utterance, SECOND, now=0.0, item="audio 0")
    ledger.lay_loose(utterance, [("one", 4_000), ("two", 12_000), ("three", 20_000), ("x", 40_000)])
    ledger.start(utterance)
    assert ["one"] == ledger.advance(utterance, 8_000)
    assert [
        Excerpt("audio 0", 0.5, 0.75),
        "two",
        Excerpt("audio 0", 0.75, None),
    ] == ledger.give_up()
    assert ledger.voiced("a") is utterance
    assert 2 == ledger.take_loose(utterance)
    ledger.lay_loose(utterance, [("three", 24_000), ("x", 40_000)])
    assert ledger.hold("timed", keep=False, context_id="a", position=28_000)
    assert [
        Excerpt("audio 1", 0.0, 0.5),
        "three",
        Excerpt("audio 1", 0.5, 0.75),
        "timed",
        Excerpt("audio 1", 0.75, None),
    ] == ledger.say(utterance, SECOND, item="audio 1")
    assert ["x"] == ledger.forget("a")
    assert ledger.voiced("a") is None


def test_an_interruption_drops_the_words_of_the_voice() -> None:
    """What was to be said after it is never said."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0)
    ledger.feed(utterance, SECOND, now=0.0, item="audio")
    ledger.lay_loose(utterance, [("word", 20_000)])
    ledger.give_up()
    ledger.interrupt()
    assert ledger.voiced("a") is None
    assert Stage.CUT is ledger.over("a")
    assert [] == ledger.forget("a")


@given(
    st.lists(st.integers(0, 40_000), max_size=8),
    st.lists(st.integers(0, 40_000), max_size=8),
    st.lists(st.floats(0, 1), max_size=3),
    st.integers(0, 32_000),
)
def test_loose_items_keep_their_order_whatever_moves(
    first: list[int], then: list[int], cuts: list[float], heard: int
) -> None:
    """Divided or not, each leaves once, in order, with the sound at its latest place."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0)
    ledger.feed(utterance, SECOND * 2, now=0.0, item="audio")
    ledger.close(utterance)
    ledger.lay_loose(utterance, [(n, at) for n, at in enumerate(sorted(first))])
    part = utterance
    for cut in cuts:
        part = ledger.split(part, int(cut * part.samples))
    assert len(first) == ledger.take_loose(part)
    places = sorted(then)
    ledger.lay_loose(part, [(n, at) for n, at in enumerate(places)])
    out = []
    while (head := ledger.head) is not None and head.base + head.samples <= heard:
        out += ledger.start(head) + ledger.finish(head)
    if head is not None and head.base < heard:
        out += ledger.start(head) + ledger.advance(head, heard - head.base)
        assert out == [n for n, at in enumerate(places) if at <= heard or n in out]
        assert all(at <= heard for n, at in enumerate(places) if n in out)
    rest = [item for item in ledger.give_up() if item != "audio" and not isinstance(item, Excerpt)]
    assert list(range(len(places))) == out + rest


@given(st.lists(st.integers(1, 20_000), min_size=1, max_size=8), st.integers(0, 60_000))
def test_giving_up_loses_no_unheard_sample(lengths: list[int], heard: int) -> None:
    """The pieces returned are exactly what was not heard."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0)
    for n, length in enumerate(lengths):
        ledger.feed(utterance, bytes(2 * length), now=0.0, item=n)
    heard = min(heard, utterance.samples)
    if heard:
        ledger.start(utterance)
        ledger.advance(utterance, heard)
    assert sum(lengths) - heard == unheard(ledger.give_up(), lengths)


def unheard(items: list[Any], lengths: list[int]) -> int:
    """Samples in pieces that were returned, numbered as in `lengths`."""

    def length(item: Any) -> int:
        if not isinstance(item, Excerpt):
            return lengths[item]
        end = lengths[item.item] if item.end is None else round(item.end * 16_000)
        return end - round(item.start * 16_000)

    return sum(length(item) for item in items)


@given(
    st.lists(st.integers(1, 5_000), min_size=1, max_size=8),
    st.lists(st.floats(0, 1), max_size=3),
    st.floats(0, 1),
)
def test_a_split_utterance_is_still_the_same_speech(
    lengths: list[int], cuts: list[float], until: float
) -> None:
    """Its parts are its samples, and its frames leave where they would have, once, in order."""
    ledger = Ledger()
    utterance = ledger.open("a", keep=False, now=0.0, item="started")
    total = 0
    for n, length in enumerate(lengths):
        ledger.feed(utterance, bytes([n + 1, 0]) * length, now=0.0, item=n)
        total += length
        ledger.hold(f"word {total}", keep=False, context_id="a", position=total)
    speech = bytes(utterance.pcm)
    part = utterance
    for cut in cuts:
        part = ledger.split(part, int(cut * part.samples))
    ledger.feed(part, b"", now=0.0, item=len(lengths))
    ledger.close(part, item="stopped")
    assert speech == b"".join(bytes(each.pcm) for each in ledger)
    stop, out = int(until * total), []
    while (head := ledger.head) is not None and head.base + head.samples <= stop:
        out += ledger.start(head) + ledger.finish(head)
    if head is not None and head.base < stop:
        out += ledger.start(head) + ledger.advance(head, stop - head.base)
    rest = ledger.give_up()
    voice = [item for item in rest if isinstance(item, Excerpt | int)]
    assert total - stop == unheard(voice, [*lengths, 0])
    frames = out + [item for item in rest if not isinstance(item, Excerpt | int)]
    marks = [sum(lengths[: n + 1]) for n in range(len(lengths))]
    assert frames == ["started", *(f"word {mark}" for mark in marks), "stopped"]
    passed = [item for item in out if item.startswith("word")]
    assert passed == [f"word {mark}" for mark in marks if mark <= stop]
