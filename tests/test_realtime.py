"""Runway's own agent in a pipeline: what is said arrives on both sides, once and in order."""

import asyncio
from typing import Any

import pytest
from pipecat.adapters.llm.schemas.direct_function import tool_options
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.frames.frames import (
    FunctionCallResultFrame,
    InterruptionFrame,
    LLMFullResponseStartFrame,
    TTSStartedFrame,
)
from pipecat.services.llm_service import FunctionCallParams

from pipecat_runway import RunwayClientEventFrame
from pipecat_runway.simulator import Call, Captions, RunwaySimulator, Script, Turn
from tests.conftest import TurnKnobs
from tests.kit.content import compare_content
from tests.kit.marks import Verdict, marked_speech, numbers, read_marks
from tests.kit.pipeline import bracket_faults
from tests.kit.talks import Talk, talking
from tests.kit.waiting import until

FAST = 24_000


def answer(text: str, first: int, count: int = 6, **more: Any) -> Turn:
    """A turn of the avatar's, said with marks."""
    return Turn(text, pcm=marked_speech(first, count, FAST), rate=FAST, **more)


def heard_by_runway(talk: Talk, first: int, count: int) -> Verdict:
    """What of the user's marks has arrived."""
    among = range(first - 5, first + count + 5)
    return compare_content(
        numbers(first, count), read_marks(talk.session.heard, 16_000, among=among)
    )


def heard_by_user(talk: Talk, first: int, count: int) -> Verdict:
    """What of the avatar's marks has come out of the service."""
    heard = talk.tape.speech_pcm()
    among = range(first - 5, first + count + 5)
    return compare_content(numbers(first, count), read_marks(heard.pcm, heard.rate, among=among))


def old_after(talk: Talk, at: float, first: int, count: int) -> list[int]:
    """Which of an answer's marks came out after an instant."""
    sound = b"".join(frame.audio for when, frame in talk.tape.audio() if when > at)
    among = range(first - 10, first + count + 50)
    found = [mark.number for mark in read_marks(sound, FAST, among=among)]
    return [number for number in found if first <= number < first + count]


def of_type(talk: Talk, kind: type[Any]) -> list[Any]:
    return [t.frame for t in talk.tape.of(kind)]


async def plain(params: FunctionCallParams, city: str) -> None:
    """Say how the weather is.

    Args:
        params: Pipecat's.
        city: The city's name.
    """
    await params.result_callback({"sky": f"clear over {city}"})


async def failing(params: FunctionCallParams) -> None:
    """Fail."""
    raise RuntimeError("a secret of the house")


@tool_options(timeout_secs=1.5)
async def slow(params: FunctionCallParams) -> None:
    """Take too long."""
    await asyncio.sleep(60)


async def huge(params: FunctionCallParams) -> None:
    """Say too much."""
    await params.result_callback("x" * 20_000)


SHOW = FunctionSchema(
    "show_page",
    "Show a page of the recipe.",
    {"page": {"type": "integer", "description": "Its number, from 1."}},
    ["page"],
)


async def test_a_talk(runway: RunwaySimulator) -> None:
    """The avatar greets, hears and answers; both sides of it are in Pipecat's context."""
    runway.partner = Script([answer("One two three.", 100, heard="Hello you.")])
    async with talking(runway) as talk:
        await talk.answered(1)
        talk.say_marks(1, 10)
        await talk.answered(2)
        await until(lambda: len(talk.messages) == 3)
        session = talk.session
        await talk.run.end()
    assert talk.messages == [
        ("assistant", "Hello there."),
        ("user", "Hello you."),
        ("assistant", "One two three."),
    ]
    assert talk.finals == ["Hello you."]
    assert bracket_faults(talk.tape) == []
    assert heard_by_runway(talk, 1, 10) == Verdict()
    assert heard_by_user(talk, 100, 6) == Verdict()
    assert talk.tape.pictures
    assert session.status == "COMPLETED"
    assert not talk.run.errors


async def test_tools(runway: RunwaySimulator) -> None:
    """Functions are called in parallel; what goes wrong in one, the model hears of in time."""
    calls = [Call("plain", {"city": "Oslo"}), Call("failing"), Call("slow"), Call("huge")]
    calls += [Call("show_page", {"page": page}) for page in (1, 2, 3)]
    runway.partner = Script([answer("I asked.", 100, calls=calls, heard="Ask.")])
    told: list[tuple[str, Any]] = []

    async def note(_: object, tool: str, args: dict[str, Any]) -> None:
        told.append((tool, args))

    async with talking(
        runway,
        tools=[plain, failing, slow, huge],
        client_events=[SHOW],
        handlers=[("on_client_event", note)],
    ) as talk:
        await talk.answered(1)
        talk.say_marks(1, 5)
        await talk.answered(2)
        made = {call.name: call for call in talk.session.calls}
        events = of_type(talk, RunwayClientEventFrame)
        results = [frame.function_name for frame in of_type(talk, FunctionCallResultFrame)]
        await talk.run.end()
    assert made["plain"].result == {"sky": "clear over Oslo"}
    assert "failed and returned no result" in (made["failing"].error or "")
    assert "secret" not in (made["failing"].error or "")
    assert "was not done within" in (made["slow"].error or "")
    assert "Response timeout" not in (made["slow"].error or "")  # not LiveKit's, too late to help
    assert "20014 bytes" in (made["huge"].error or "")
    assert [(frame.tool, frame.args) for frame in events] == told
    assert told == [("show_page", {"page": page}) for page in (1, 2, 3)]
    assert sorted(results) == ["failing", "huge", "plain"]  # Pipecat's own frames


@pytest.mark.parametrize(
    "vad",
    [
        pytest.param(True, id="own VAD"),
        pytest.param(False, id="LiveKit's ears", marks=pytest.mark.long),
    ],
)
async def test_barge_in(runway: RunwaySimulator, vad: bool) -> None:
    """The user speaks into an answer: nothing old is heard after that, and the next is whole."""
    long, short = answer("A long story. " * 10, 100, 60), answer("Yes.", 200, heard="Stop!")
    runway.partner = Script([long, short])
    async with talking(runway, vad=vad, start_script=None) as talk:
        talk.say_marks(1, 5)
        await talk.tape.wait_for(TTSStartedFrame)
        await until(lambda: len(heard_by_user(talk, 100, 60).lost) < 52, every=0.2)
        talk.say_marks(20, 8)
        cut = await talk.tape.wait_for(InterruptionFrame, 10, 2)
        await talk.tape.wait_for(TTSStartedFrame, 10, 2)
        await talk.answered(2)
        await until(lambda: len(talk.messages) == 4)
        await talk.run.end()
    assert heard_by_user(talk, 200, 6).clean
    assert any(at > cut.at for at, _ in talk.tape.audio())
    assert old_after(talk, cut.at, 100, 60) == []
    story, rest = talk.messages[1], talk.messages[3]
    assert story[0] == "assistant"
    assert 0 < len(story[1]) < len(long.text)
    assert rest == ("assistant", "Yes.")
    assert talk.messages[2] == ("user", "Stop!")


@pytest.mark.long
async def test_what_is_swallowed_is_noticed(runway: RunwaySimulator, faults: TurnKnobs) -> None:
    """The count can fail: an avatar that leaves out a piece is found out."""
    faults(drop_piece=3)
    runway.partner = Script([answer("One two three.", 100, 9)])
    async with talking(runway, start_script=None) as talk:
        talk.say_marks(1, 5)
        await talk.answered(1)
        await talk.run.end()
    assert heard_by_user(talk, 100, 9).lost


@pytest.mark.long
async def test_ten_turns(runway: RunwaySimulator) -> None:
    """In ten spoken turns with tools and a barge-in nothing is lost, doubled or out of order."""
    turns = [answer(f"Answer {n}.", 300 + 20 * n, heard=f"Question {n}?") for n in range(10)]
    turns[2] = answer("Asked.", 340, heard="Question 2?", calls=[Call("plain", {"city": "Rome"})])
    turns[4] = answer("Tried.", 380, heard="Question 4?", calls=[Call("slow"), Call("failing")])
    for n in (1, 5, 8):
        turns[n] = answer(
            f"Answer {n}.",
            300 + 20 * n,
            heard=f"Question {n}?",
            calls=[Call("show_page", {"page": n})],
        )
    turns[6] = answer("A long story. " * 10, 600, 60, heard="Question 6?")  # the 7th cuts it
    runway.partner = Script(turns)
    async with talking(runway, tools=[plain, failing, slow], client_events=[SHOW]) as talk:
        await talk.answered(1)
        for n in range(10):
            talk.say_marks(20 * n, 6)
            if n == 6:
                await until(lambda: len(heard_by_user(talk, 600, 60).lost) < 52, every=0.2)
            else:
                await talk.answered(2 + n)
        await until(lambda: len(talk.messages) == 21)
        cut = talk.tape.of(InterruptionFrame)[7].at
        pages = [frame.args["page"] for frame in of_type(talk, RunwayClientEventFrame)]
        calls = {call.name: call for call in talk.session.calls}
        starts = len(of_type(talk, LLMFullResponseStartFrame))
        await talk.run.end()
    story = talk.messages[14][1]
    assert 0 < len(story) < len(turns[6].text)
    expected = [("assistant", "Hello there.")]
    for n, turn in enumerate(turns):
        expected += [("user", f"Question {n}?"), ("assistant", story if n == 6 else turn.text)]
    assert talk.messages == expected
    assert turns[6].text.startswith(story)
    assert talk.finals == [f"Question {n}?" for n in range(10)]
    assert pages == [1, 5, 8]
    assert calls["plain"].result == {"sky": "clear over Rome"}
    assert calls["slow"].error
    assert calls["failing"].error
    assert starts == 11
    assert bracket_faults(talk.tape) == []
    for n in range(10):
        assert heard_by_runway(talk, 20 * n, 6).clean
        if n != 6:
            assert heard_by_user(talk, 300 + 20 * n, 6).clean
    assert old_after(talk, cut, 600, 60) == []


@pytest.mark.long
@pytest.mark.parametrize(
    "form",
    # TRANSCRIPT does not say who speaks, and counts as the avatar's words.
    [form for form in Captions if form not in (Captions.NONE, Captions.TRANSCRIPT)],
)
async def test_every_form_of_transcript(
    runway: RunwaySimulator, faults: TurnKnobs, form: Captions
) -> None:
    """Whatever form the words come in, the context holds them once, in order."""
    faults(captions=form)
    runway.partner = Script([answer("One two three.", 100, heard="Hello you.")])
    async with talking(runway) as talk:
        await talk.answered(1)
        talk.say_marks(1, 5)
        await until(lambda: len(talk.messages) >= 3, 20)
        await talk.run.end()
    assert talk.messages == [
        ("assistant", "Hello there."),
        ("user", "Hello you."),
        ("assistant", "One two three."),
    ]
