"""Runway's own agent in a pipeline: what is said arrives on both sides, once and in order."""

from pipecat_runway.simulator import RunwaySimulator, Script, Turn
from tests.kit.marks import compare, marked_speech, numbers, read_marks
from tests.kit.pipeline import bracket_faults
from tests.kit.talks import talking
from tests.kit.waiting import until


async def test_a_talk(runway: RunwaySimulator) -> None:
    """The avatar greets, hears, answers; both sides of it are in Pipecat's context."""
    runway.partner = Script(
        [Turn("One two three.", heard="Hello you.", pcm=marked_speech(100, 10, 24_000))]
    )
    async with talking(runway) as talk:
        await talk.answered(1)
        talk.say_marks(1, 10)
        await talk.answered(2)
        await until(lambda: len(talk.messages) == 3)
        session = talk.session
        await talk.run.end()
        print(
            talk.tape.taped
            and [
                type(t.frame).__name__
                for t in talk.tape.taped
                if "Audio" not in type(t.frame).__name__
            ]
        )
        print(
            [
                type(t.frame).__name__
                for t in talk.before.taped
                if "Audio" not in type(t.frame).__name__
            ]
        )
        print(talk.messages, talk.finals, talk.run.errors)
    assert talk.messages == [
        ("assistant", "Hello there."),
        ("user", "Hello you."),
        ("assistant", "One two three."),
    ]
    assert talk.finals == ["Hello you."]
    assert bracket_faults(talk.tape) == []
    assert compare(numbers(1, 10), read_marks(session.heard, 16_000, among=range(200))).clean
    heard = talk.tape.speech_pcm()
    assert compare(numbers(100, 10), read_marks(heard.pcm, heard.rate, among=range(90, 200))).clean
    assert session.status == "COMPLETED"
    assert not talk.run.errors
