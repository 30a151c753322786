"""What is said in Runway's room: read in every form, final once, and carried over."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway import wire
from pipecat_runway.transcripts import (
    ANSWERED_QUIET,
    QUIET,
    BotText,
    ClientEvent,
    Delta,
    Role,
    Segment,
    Transcript,
    Turn,
    UserText,
    carried_over,
    read,
)

ME = "user-1"
USER, BOT = Role.USER, Role.ASSISTANT


def packet(message: Any) -> bytes:
    return json.dumps(message).encode()


MESSAGES: list[tuple[Any, list[Any]]] = [
    (
        {"type": "client_event", "tool": "show", "args": {"page": 1}},
        [ClientEvent("show", {"page": 1})],
    ),
    ({"type": "client_event", "tool": "show"}, [ClientEvent("show", {})]),
    ({"type": "client_event", "tool": "show", "args": {"status": "event_sent"}}, []),
    (
        {"type": "transcription", "role": "user", "turn": 3, "text": "Hel"},
        [Delta(USER, 3, "Hel")],
    ),
    ({"type": "transcription", "text": "Hel"}, [Delta(BOT, 0, "Hel")]),
    (
        {"type": "transcript", "segments": [{"id": "a", "text": "Hi"}]},
        [Segment(BOT, "a", "Hi", final=True)],
    ),
    (
        {"segments": [{"id": "a", "text": "Hi", "final": False, "participantIdentity": ME}]},
        [Segment(USER, "a", "Hi", final=False)],
    ),
    (
        {
            "type": "voice_transcript",
            "data": {
                "segments": [
                    {"id": "a", "text": "Hi", "participantIdentity": "worker:1"},
                    {"id": "b"},
                    7,
                ]
            },
        },
        [Segment(BOT, "a", "Hi", final=True)],
    ),
    ({"type": "other", "segments": [{"id": "a", "text": "Hi"}]}, []),
    ({"type": "transcription", "role": "user", "turn": 1, "text": 7}, []),
    ({"type": "END_CALL"}, []),
    ([], []),
    ("text", []),
]


@pytest.mark.parametrize(("message", "found"), MESSAGES)
def test_a_message_is_read(message: Any, found: list[Any]) -> None:
    """Every form seen in the wild; what is none of them is passed over."""
    assert read(packet(message), ME) == found


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists, max_leaves=5).map(packet))
def test_anything_may_come(data: bytes) -> None:
    """Nothing that is sent is more than unread."""
    read(data, ME)


def test_what_is_said_is_in_no_repr() -> None:
    """Spoken text stays out of logs."""
    for each in (
        Delta(USER, 1, "secret"),
        Segment(USER, "a", "secret", True),
        Turn(USER, "secret"),
    ):
        assert "secret" not in repr(each)


# -- turns ----------------------------------------------------------------------------------------


def test_a_higher_turn_ends_the_one_before() -> None:
    """There is no end marker."""
    transcript = Transcript()
    assert transcript.take(Delta(USER, 0, "Hel"), 0.0) == [UserText("Hel", final=False)]
    assert transcript.take(Delta(USER, 0, "lo."), 0.1) == [UserText("Hello.", final=False)]
    assert transcript.take(Delta(USER, 1, "And"), 0.2) == [
        UserText("Hello.", final=True),
        UserText("And", final=False),
    ]
    assert transcript.close() == [UserText("And", final=True)]
    assert transcript.close() == []


def test_a_pause_ends_a_turn() -> None:
    """A short one once the avatar answers, a long one otherwise."""
    transcript = Transcript()
    transcript.take(Delta(USER, 0, "Hello."), 1.0)
    assert transcript.look(1.0 + QUIET - 0.1) == []
    transcript.answered(1.5)
    assert transcript.due == 1.5 + ANSWERED_QUIET
    assert transcript.look(transcript.due) == [UserText("Hello.", final=True)]
    transcript.take(Delta(USER, 1, "You?"), 5.0)
    assert transcript.look(5.0 + QUIET) == [UserText("You?", final=True)]


def test_a_question_stands_before_its_answer() -> None:
    """Even if its last words come after the answer's first."""
    transcript = Transcript()
    transcript.take(Delta(USER, 0, "How are "), 0.0)
    transcript.take(Delta(BOT, 0, "Fine"), 0.1)
    transcript.take(Delta(USER, 0, "you?"), 0.2)
    transcript.close()
    transcript.take(Delta(BOT, 0, "."), 0.3)
    assert transcript.turns == [Turn(USER, "How are you?"), Turn(BOT, "Fine.")]


def test_a_greeting_answers_nothing() -> None:
    """What the user says later has the time that a turn has, and stands behind it."""
    transcript = Transcript()
    transcript.take(Delta(BOT, 0, "Hello."), 0.0)
    transcript.take(Delta(USER, 0, "How "), 9.0)
    assert transcript.look(9.0 + 2 * ANSWERED_QUIET) == []
    transcript.take(Delta(USER, 0, "are you?"), 9.9)
    assert transcript.look(9.9 + QUIET) == [UserText("How are you?", final=True)]
    assert transcript.turns == [Turn(BOT, "Hello."), Turn(USER, "How are you?")]


def test_a_question_may_come_behind_its_answers_beginning() -> None:
    """It is final soon, and stands before it."""
    transcript = Transcript()
    transcript.take(Delta(BOT, 0, "Fine."), 1.0)
    transcript.take(Delta(USER, 0, "How are you?"), 1.2)
    assert transcript.look(1.2 + ANSWERED_QUIET) == [UserText("How are you?", final=True)]
    assert transcript.turns == [Turn(USER, "How are you?"), Turn(BOT, "Fine.")]


def test_the_first_form_is_believed() -> None:
    """The same words in two forms are said once."""
    transcript = Transcript()
    assert transcript.take(Delta(BOT, 0, "Hi"), 0.0) == [
        BotText("Hi", new_turn=True, is_whole=False)
    ]
    assert transcript.take(Segment(BOT, "a", "Hi", True), 0.0) == []
    assert transcript.take(Segment(USER, "b", "Yo", True), 0.0) == [UserText("Yo", final=True)]
    assert transcript.take(Segment(USER, "b", "Yo", True), 0.1) == []
    assert transcript.take(Delta(USER, 0, "Yo"), 0.2) == []


def test_another_session_counts_anew() -> None:
    """Its first turn is not the last one's, nor cut with it."""
    transcript = Transcript()
    transcript.take(Delta(BOT, 0, "Hello."), 0.0)
    transcript.take(Delta(USER, 0, "Yo"), 5.0)
    transcript.interrupted()
    assert transcript.renew() == [UserText("Yo", final=True)]
    assert transcript.take(Segment(BOT, "0", "Again.", True), 1.0) == [
        BotText("Again.", new_turn=False, is_whole=True)
    ]
    assert [turn.text for turn in transcript.turns] == ["Hello.", "Yo", "Again."]


def test_after_an_interruption_the_rest_is_not_said() -> None:
    """What the avatar did not get to is not in the conversation; its next turn is."""
    transcript = Transcript()
    transcript.take(Delta(BOT, 4, "Once upon"), 0.0)
    transcript.interrupted()
    assert transcript.take(Delta(BOT, 4, " a time"), 0.1) == []
    assert transcript.take(Delta(BOT, 5, "Yes?"), 0.2) == [
        BotText("Yes?", new_turn=True, is_whole=False)
    ]
    assert [turn.text for turn in transcript.turns] == ["Once upon", "Yes?"]


deltas = st.lists(
    st.tuples(st.sampled_from(Role), st.booleans(), st.text(min_size=1, max_size=4)), max_size=30
)


@given(deltas)
def test_every_word_is_final_once(pieces: list[tuple[Role, bool, str]]) -> None:
    """Whatever the order, what is told in the end is what was said."""
    transcript, numbers = Transcript(), {USER: 0, BOT: 0}
    told: list[UserText | BotText] = []
    for at, (role, is_next, text) in enumerate(pieces):
        numbers[role] += is_next
        told += transcript.take(Delta(role, numbers[role], text), float(at))
        told += transcript.look(float(at))
    told += transcript.close()
    for role, kind in ((USER, UserText), (BOT, BotText)):
        said = "".join(text for by, _, text in pieces if by is role)
        final = [t for t in told if isinstance(t, kind) and (kind is BotText or t.final)]  # type: ignore[union-attr]
        assert "".join(t.text for t in final) == said
        assert "".join(turn.text for turn in transcript.turns if turn.role is role) == said


# -- what is carried over -------------------------------------------------------------------------


@given(
    st.text(min_size=1, max_size=20) | st.just("x" * wire.MAX_PERSONALITY),
    st.lists(st.builds(Turn, st.sampled_from(Role), st.text(max_size=3000)), max_size=12),
)
def test_a_personality_has_room_for_the_latest(personality: str, turns: list[Turn]) -> None:
    """It begins as it was, takes the latest turns whole, and never outgrows Runway's limit."""
    carried = carried_over(personality, turns)
    assert carried.startswith(personality)
    assert len(carried) <= wire.MAX_PERSONALITY
    if turns and len(personality) < 100:
        assert carried.rstrip().endswith(turns[-1].text.strip()[-20:])


def test_a_long_conversation_does_not_grow_for_ever() -> None:
    """Only what another session could be told is kept."""
    transcript = Transcript()
    for turn in range(3000):
        transcript.take(Delta(BOT, turn, "x" * 100), float(turn))
    assert sum(len(turn.text) for turn in transcript.turns) <= 4 * wire.MAX_PERSONALITY
