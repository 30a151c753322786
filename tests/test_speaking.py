"""When the avatar speaks, and where one response ends: by sound and text alone."""

from functools import cache

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway.responses import TEXT_BOUND, VOICE_BOUND, Mark, Responses
from pipecat_runway.speaking import OLD_BOUND, PAUSE, Began, Ended, Sound, Speaking

RATE = 16_000
PIECE = RATE // 100


@cache
def noise(loudness: int) -> list[bytes]:
    """5 s of it, 10 ms each."""
    sound = np.random.default_rng(7).integers(-loudness, loudness + 1, (500, PIECE))
    return [piece.astype("<i2").tobytes() for piece in sound]


def pieces(seconds: float, loudness: int) -> list[bytes]:
    """So many s of noise, 10 ms each."""
    return noise(loudness)[: round(seconds * 100)]


def feed(speaking: Speaking, sound: list[bytes]) -> list[Began | Sound | Ended]:
    return [what for piece in sound for what in speaking.feed(piece)]


def kinds(found: list[Began | Sound | Ended]) -> list[str]:
    return [type(what).__name__ for what in found if not isinstance(what, Sound)]


def test_an_utterance_is_bracketed() -> None:
    """Silence is none, a pause within is, and its first soft sound belongs to it."""
    speaking = Speaking(RATE)
    assert feed(speaking, pieces(0.5, 0)) == []
    soft, loud = pieces(0.03, 30), pieces(0.3, 3000)
    found = feed(speaking, soft + loud + pieces(PAUSE - 0.1, 0) + loud)
    assert kinds(found) == ["Began"]
    heard = b"".join(what.pcm for what in found if isinstance(what, Sound))
    assert b"".join(soft + loud) in heard
    assert heard.endswith(b"".join(loud))
    assert kinds(feed(speaking, pieces(PAUSE + 0.05, 0))) == ["Ended"]
    assert not speaking.is_on


def test_a_click_is_no_speech() -> None:
    """One loud piece alone is passed over; idle noise is learned."""
    speaking = Speaking(RATE)
    assert feed(speaking, pieces(0.2, 0) + pieces(0.01, 3000) + pieces(0.2, 0)) == []
    assert feed(speaking, pieces(3.0, 60)) == []


def test_nothing_old_after_a_cut() -> None:
    """The rest of what was cut is dropped; what follows a silence is new."""
    speaking = Speaking(RATE)
    feed(speaking, pieces(0.5, 3000))
    assert speaking.cut() == [Ended()]
    assert speaking.cut() == []
    assert feed(speaking, pieces(0.4, 3000) + pieces(0.2, 0)) == []
    assert kinds(feed(speaking, pieces(0.2, 3000))) == ["Began"]


def test_what_is_cut_off_has_ended() -> None:
    """A track that ends in mid-word ends the utterance, and the next is heard from its first."""
    speaking = Speaking(RATE)
    feed(speaking, pieces(0.5, 3000))
    assert speaking.stop() == [Ended()]
    assert speaking.stop() == []
    assert kinds(feed(speaking, pieces(0.2, 3000))) == ["Began"]


def test_one_who_speaks_on_is_heard_again() -> None:
    """A cut that the avatar does not obey silences it only so long."""
    speaking = Speaking(RATE)
    feed(speaking, pieces(0.5, 3000))
    speaking.cut()
    assert feed(speaking, pieces(OLD_BOUND - 0.05, 3000)) == []
    assert kinds(feed(speaking, pieces(0.2, 3000))) == ["Began"]


@given(st.lists(st.tuples(st.integers(1, 120), st.sampled_from([0, 30, 3000])), max_size=12))
def test_brackets_are_never_torn(stretches: list[tuple[int, int]]) -> None:
    """Began and Ended alternate, and sound is only ever between them."""
    speaking, is_on = Speaking(RATE), False
    for length, loudness in stretches:
        for what in feed(speaking, pieces(length / 100, loudness)):
            match what:
                case Began():
                    assert not is_on
                    is_on = True
                case Ended():
                    assert is_on
                    is_on = False
                case Sound():
                    assert is_on or what.pcm
    assert is_on == speaking.is_on


# -- responses ------------------------------------------------------------------------------------

B, E = Mark.BEGINS, Mark.ENDS


def test_voice_and_text_are_one_response() -> None:
    """Whichever comes first begins it, and the voice's end ends it."""
    responses = Responses()
    assert responses.text(0.0, new_turn=True) == [B]
    assert responses.voice_begins() == []
    assert responses.text(0.5, new_turn=False) == []
    assert responses.voice_ends(2.0) == [E]
    assert responses.voice_begins() == [B]
    assert responses.text(3.0, new_turn=True) == []
    assert responses.text(3.5, new_turn=True) == [E, B]
    assert responses.voice_ends(4.0) == [E]


def test_what_is_late_is_waited_for() -> None:
    """Text after the voice, or a voice after the text: within bounds."""
    responses = Responses()
    responses.voice_begins()
    assert responses.voice_ends(1.0) == []
    assert responses.look(1.0 + TEXT_BOUND - 0.1) == []
    assert responses.look(1.0 + TEXT_BOUND + 0.1) == [E]
    assert responses.text(5.0, new_turn=True) == [B]
    assert responses.look(5.0 + VOICE_BOUND + 0.1) == [E]
    assert responses.look(99.0) == []
    assert responses.end() == []
