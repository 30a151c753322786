"""The managed room: a bare LiveKit client talks with the scripted partner."""

from pipecat_runway.simulator import RunwaySimulator, Script, Turn
from tests.kit.marks import compare, marked_speech, numbers, read_marks

from .user_kit import BOUND, RATE, call


async def test_a_conversation(runway: RunwaySimulator) -> None:
    """It greets, hears all that is said to it, answers by its script, and both read it all."""
    answers = [Turn("One two three.", pcm=marked_speech(100, 10, RATE), rate=RATE)]
    runway.partner = Script(answers)
    async with call(runway, startScript="Hello, how are you?") as here:
        user, session = here.user, here.session
        await session.wait_for("said", BOUND, turn=0)
        assert session.status == "RUNNING"
        await user.until(lambda: user.pictures)
        await user.say(marked_speech(1, 10, RATE))
        await session.wait_for("said", BOUND, turn=1, cut=False)
        await user.until(lambda: user.said("assistant").get(1) == "One two three.")
        await user.hear_out()
        turns = [(said.role, said.text) for said in session.conversation]
    assert compare(numbers(1, 10), read_marks(session.heard, 16_000, among=range(200))).clean
    assert compare(numbers(100, 10), read_marks(user.heard, RATE, among=range(90, 200))).clean
    assert user.said("assistant") == {0: "Hello, how are you?", 1: "One two three."}
    assert turns == [
        ("assistant", "Hello, how are you?"),
        ("user", user.said("user")[0]),
        ("assistant", "One two three."),
    ]
    assert session.status == "COMPLETED"
