"""What the partner is made of, without a room: its script, its ear for turns, its voice."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_runway.simulator import Call, Faults, Script, Turn
from pipecat_runway.simulator.partner import _pieces
from pipecat_runway.simulator.playout import RATE as VOICE_RATE
from pipecat_runway.simulator.script import Part, example, filled_in, small_talk
from pipecat_runway.simulator.turns import BEGINS, RATE, Spoken, TurnEar
from pipecat_runway.simulator.validation import session_issues
from pipecat_runway.simulator.voice import _hummed, played, spoken

from .api_kit import session_body

PARAMETERS = [
    {"type": "string", "name": "size", "description": "d", "enum": ["small", "large"]},
    {"type": "string", "name": "text", "description": "d"},
    {"type": "integer", "name": "count", "description": "d"},
    {"type": "number", "name": "share", "description": "d"},
    {"type": "boolean", "name": "now", "description": "d"},
    {"type": "array", "name": "ids", "description": "d", "items": {"type": "integer"}},
    {
        "type": "object",
        "name": "where",
        "description": "d",
        "properties": [{"type": "string", "name": "city", "description": "d"}, {}],
    },
]


def loud(seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    wave = 3000 * np.sin(np.arange(round(seconds * RATE)) * 0.3)
    return wave.astype(np.int16)


def quiet(seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    return np.random.default_rng(1).integers(-30, 30, round(seconds * RATE), dtype=np.int16)


def test_a_part_survives_the_pipe() -> None:
    """What is written for the partner's process is read there as it was."""
    turn = Turn("It is {a}.", (Call("a", {"b": [1, None]}),), heard="x", pcm=b"\0\1", rate=8000)
    tools = [{"type": "backend_rpc", "name": "a", "description": "d", "parameters": PARAMETERS}]
    body = {"tools": tools}
    for script in (Script([turn], greeting=turn), Script()):
        part = Part.of(script, body, "Hello!", "backend:1")
        assert Part.from_json(part.to_json()) == part
    assert "\\x00" not in repr(turn)


def test_turns_begin_again() -> None:
    """After the last one comes the first."""
    part = Part.of(Script([Turn("a"), Turn("b")]), {}, None, "backend")
    assert [part.turn(number).text for number in range(4)] == ["a", "b", "a", "b"]
    assert part.greeting is None
    assert part.tool("none") is None


def test_nobody_has_to_write_a_script() -> None:
    """Each tool is tried once, with arguments of its parameters' own kinds."""
    tools = [
        {"type": "client_event", "name": "show", "description": "d", "parameters": PARAMETERS},
        {"type": "backend_rpc", "name": "ask", "description": "d"},
    ]
    assert not session_issues(session_body(tools=tools), Faults(strict_nested=False))
    turns = small_talk(tools)
    assert [turn.calls[0].name for turn in turns[:2]] == ["show", "ask"]
    assert not turns[2].calls
    assert example(PARAMETERS) == {
        "size": "small",
        "text": "something",
        "count": 7,
        "share": 1.5,
        "now": True,
        "ids": [7],
        "where": {"city": "something"},
    }


@pytest.mark.parametrize(
    ("text", "results", "said"),
    [
        ("It is {a[b]}.", {"a": {"b": 3}}, "It is 3."),
        ("It is {a}.", {}, "It is {a}."),
        ("It is {a[b]}.", {"a": "error: no"}, "It is {a[b]}."),
        ("{not a} field", {"a": 1}, "{not a} field"),
        ("{", {"a": 1}, "{"),
    ],
)
def test_answers_are_filled_in(text: str, results: dict[str, object], said: str) -> None:
    """What can be is; nothing raises."""
    assert filled_in(text, results) == said


@settings(max_examples=20)
@given(st.lists(st.floats(0.15, 1.5), min_size=1, max_size=4), st.integers(1, 700))
def test_each_turn_is_heard_once(turns: list[float], cut: int) -> None:
    """However the sound is cut: a beginning and an end each, of the right length."""
    sound = np.concatenate([part for s in turns for part in (loud(s), quiet(0.8))])
    ear, found = TurnEar(0.6), list[Spoken]()
    for start in range(0, len(sound), cut * 10):
        found += ear.hear(sound[start : start + cut * 10])
    assert [spoken.seconds is None for spoken in found] == [True, False] * len(turns)
    for wanted, heard in zip(turns, found[1::2], strict=True):
        assert heard.seconds == pytest.approx(wanted, abs=0.03)
    assert not ear.end()


def test_what_is_no_turn() -> None:
    """A click, noise, and a pause within a turn."""
    ear = TurnEar(0.6)
    assert not ear.hear(np.concatenate([loud(BEGINS / 2), quiet(2.0)]))
    assert not ear.hear(quiet(3.0))
    (began,) = ear.hear(np.concatenate([loud(0.5), quiet(0.4), loud(0.5)]))
    assert began.seconds is None
    (over,) = ear.end()
    assert over.seconds == pytest.approx(1.4, abs=0.02)


@given(st.text(max_size=60))
def test_captions_are_cut_behind_words(text: str) -> None:
    """Put together they are the text."""
    assert "".join(_pieces(text)) == text


def test_voices() -> None:
    """A text takes as long as it is, spoken or hummed; sound given is brought to the rate."""
    short, long = spoken("One."), spoken("One two three four five.")
    assert 0.1 * VOICE_RATE < len(short) < len(long) < 4 * VOICE_RATE
    assert len(_hummed("One.")) < len(_hummed("One two three."))
    assert len(_hummed("")) == len(played(b"", 16_000)) == 0
    assert len(played(loud(1.0).tobytes(), RATE)) == pytest.approx(VOICE_RATE, rel=0.01)
