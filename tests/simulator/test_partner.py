"""The managed room: a bare LiveKit client talks with the scripted partner."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
from livekit import rtc

from pipecat_runway.simulator import Call as ToolUse
from pipecat_runway.simulator import Captions, RunwaySimulator, Script, Turn
from tests.conftest import TurnKnobs
from tests.kit.marks import compare, marked_speech, numbers, read_marks
from tests.kit.waiting import until

from .user_kit import BOUND, RATE, User, call


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


async def test_it_calls_tools(runway: RunwaySimulator) -> None:
    """Client events go to the user, calls to the backend; each answer is in what it says next."""
    calls = [
        ToolUse("show", {"page": 3}),
        ToolUse("weather", {"city": "Paris"}),
        ToolUse("slow", {}),
        ToolUse("broken", {}),
        ToolUse("missing", {}),
    ]
    runway.partner = Script([Turn("It is {weather[celsius]} degrees; {broken}.", calls)])

    async def weather(args: dict[str, str]) -> dict[str, object]:
        return {"city": args["city"], "celsius": 21}

    async def never(args: object) -> None:
        await asyncio.Event().wait()

    def broken(args: object) -> None:
        raise rtc.RpcError(1500, "no such city")

    tools = [
        tool("client_event", "show", page="integer"),
        tool("backend_rpc", "weather", city="string"),
        {**tool("backend_rpc", "slow"), "timeoutSeconds": 1},
        tool("backend_rpc", "broken"),
        tool("backend_rpc", "missing"),
    ]
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(call(runway, tools=tools))
        backend = await here.backend(stack, weather=weather, slow=never, broken=broken)
        user, session = here.user, here.session
        assert backend.local_participant.identity not in user.room.remote_participants
        await user.say(marked_speech(1, 5, RATE))
        await session.wait_for("said", BOUND, turn=0)
        await user.until(lambda: len(user.events()) == 2)
        done = {made.name: made for made in session.calls}
    assert user.events() == [("show", {"page": 3}), ("show", {"status": "event_sent"})]
    assert session.client_events == [("show", {"page": 3})]
    assert {caller.partition(":")[0] for caller, _, _ in here.calls} == {"worker"}
    assert ("weather", {"args": {"city": "Paris"}}) in [made[1:] for made in here.calls]
    assert done["weather"].result == {"city": "Paris", "celsius": 21}
    assert done["slow"].error
    assert (done["slow"].seconds or 0) >= 1
    assert done["broken"].error == "no such city"
    assert done["missing"].error
    assert user.said("assistant") == {0: "It is 21 degrees; error: no such city."}


async def test_a_user_who_speaks_is_heard_out(runway: RunwaySimulator) -> None:
    """A barge-in cuts what it says, its captions as well; then it answers what was said."""
    long = Turn("One two three four five six seven eight nine ten. " * 4)
    runway.partner = Script([Turn("I am sorry.")], greeting=long)
    async with call(runway) as here:
        user, session = here.user, here.session
        await user.until(lambda: len(user.said("assistant").get(0, "")) > 10)
        await user.say(marked_speech(1, 6, RATE))
        cut = await session.wait_for("said", BOUND, turn=0)
        await session.wait_for("said", BOUND, turn=1, cut=False)
        await user.until(lambda: user.said("assistant").get(1) == "I am sorry.")
    assert cut.data["cut"]
    assert long.text.startswith(cut.data["text"])
    assert 0 < len(cut.data["text"]) < len(long.text) / 2
    assert user.said("assistant")[0] == cut.data["text"]


@pytest.mark.parametrize("form", list(Captions))
async def test_every_form_of_captions(
    runway: RunwaySimulator, faults: TurnKnobs, form: Captions
) -> None:
    """Each form says the same, of both sides."""
    faults(captions=form, data_topic="captions")
    runway.partner = Script([Turn("Two words, and two more.", heard="It has been said.")])
    wanted = {"user": "It has been said.", "assistant": "Two words, and two more."}
    async with call(runway) as here:
        user = here.user
        await user.say(marked_speech(1, 4, RATE))
        await here.session.wait_for("said", BOUND, turn=0)
        if form is Captions.NONE:
            await user.end_call()
            await asyncio.wait_for(user.gone.wait(), BOUND)
            assert not user.messages
            assert not user.segments
            assert not user.streams
        if form in (Captions.DELTAS, Captions.TWICE):
            await user.until(lambda: wanted == {r: user.said(r).get(0) for r in wanted})
        if form in (Captions.SEGMENTS, Captions.TRANSCRIPT, Captions.NESTED, Captions.UNTYPED):
            await user.until(lambda: wanted == final_segments(user))
        if form in (Captions.EVENTS, Captions.TWICE):
            final = "user-0", "assistant-0"
            await user.until(
                lambda: (
                    list(wanted.values())
                    == [s.text for name in final for s in user.segments if s.final and s.id == name]
                )
            )
        if form is Captions.STREAMS:
            await user.until(lambda: len(user.streams) == 2)
            assert [text for _, _, text in user.streams] == list(wanted.values())
            assert [at["lk.segment_id"] for _, at, _ in user.streams] == ["user-0", "assistant-0"]


async def test_a_partner_that_comes_late_greets_whole(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """After the consume, as its knob says; nothing of what it says first is lost."""
    faults(joins_after_consume=0.5)
    runway.partner = Script(greeting=Turn("Good day.", pcm=marked_speech(20, 8, RATE), rate=RATE))
    async with call(runway) as here:
        said = await here.session.wait_for("said", BOUND, turn=0)
        await here.user.hear_out()
        kinds = [event.kind for event in here.session.events]
    assert kinds.index("user_joined") > kinds.index("joined")
    assert not said.data["cut"]
    assert compare(numbers(20, 8), read_marks(here.user.heard, RATE, among=range(10, 40))).clean


async def test_one_that_does_not_let_itself_be_interrupted(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """With `obey_barge_in` off it speaks on, and answers after that."""
    faults(obey_barge_in=False)
    runway.partner = Script([Turn("Now.")], greeting=Turn("One two three four five six seven."))
    async with call(runway) as here:
        await here.session.wait_for("playing", BOUND)
        await here.user.say(marked_speech(1, 3, RATE))
        first = await here.session.wait_for("said", BOUND, turn=0)
        await here.session.wait_for("said", BOUND, turn=1)
    assert not first.data["cut"]


async def test_it_sees_what_the_user_shows(runway: RunwaySimulator) -> None:
    """Pictures on a track of the user's are counted."""
    async with call(runway) as here:
        source = rtc.VideoSource(160, 96)
        track = rtc.LocalVideoTrack.create_video_track("camera", source)
        await here.user.room.local_participant.publish_track(track)
        picture = rtc.VideoFrame(160, 96, rtc.VideoBufferType.I420, bytes(160 * 96 * 3 // 2))

        def shown() -> bool:
            source.capture_frame(picture)
            return any(event.kind == "seen" for event in here.session.events)

        await until(shown, BOUND, every=0.1)
        seen = await here.session.wait_for("seen", BOUND)
        await source.aclose()
    assert (seen.data["width"], seen.data["height"]) == (160, 96)


@pytest.mark.parametrize(
    ("how", "status"),
    [
        ("delete", "CANCELLED"),
        ("limit", "COMPLETED"),
        ("leave", "COMPLETED"),
        ("kill", "FAILED"),
        ("vanish", "FAILED"),
    ],
)
async def test_how_a_call_ends(
    runway: RunwaySimulator, faults: TurnKnobs, how: str, status: str
) -> None:
    """In the middle of a word, and the user is put out of the room each time."""
    faults(effective_limit=1.5 if how == "limit" else 60.0)
    async with call(runway, startScript="One two three four. " * 9) as here:
        await here.session.wait_for("playing", BOUND)
        if how == "delete":
            path = f"/v1/realtime_sessions/{here.session.id}"
            assert (await here.client.http.delete(path)).status_code == 204
        elif how != "limit":
            await runway.fault(how, here.session)
        await asyncio.wait_for(here.session.ended.wait(), BOUND)
        await asyncio.wait_for(here.user.gone.wait(), BOUND)
    assert here.session.status == status


@pytest.mark.parametrize("grace", [0.2, 30.0])
async def test_a_user_who_leaves_may_come_back(
    runway: RunwaySimulator, faults: TurnKnobs, grace: float
) -> None:
    """Within `user_grace` the conversation goes on; after that it is over."""
    faults(obey_empty_room=True, user_grace=grace, consume_once=False)
    async with call(runway) as here:
        await here.session.wait_for("user_joined", BOUND)
        await here.user.room.disconnect()
        await here.session.wait_for("user_left", BOUND)
        if grace < 1:
            await asyncio.wait_for(here.session.ended.wait(), BOUND)
            assert here.session.status == "COMPLETED"
            return
        answer = await here.client.consume(here.session, here.key)
        again = User()
        await again.join(answer.json())
        await again.say(marked_speech(1, 4, RATE))
        await here.session.wait_for("turn_heard", BOUND)
        await again.end_call()
        await asyncio.wait_for(here.session.ended.wait(), BOUND)
        await again.aclose()


async def test_a_room_that_is_left_to_its_user(runway: RunwaySimulator, faults: TurnKnobs) -> None:
    """Without `deletes_room` the partner leaves, and the user is alone."""
    faults(deletes_room=False)
    async with call(runway) as here:
        await here.user.end_call()
        await here.user.until_alone()
        await runway.wait_ended(BOUND)
        assert not here.user.gone.is_set()
        assert here.session.managed is not None
        await here.session.managed.delete()


def final_segments(user: User) -> dict[str, str]:
    """By role, what the final segments of any data message say."""
    found = {}
    for message in user.messages:
        segments = message.get("segments") or message.get("data", {}).get("segments", [])
        for segment in segments:
            if segment.get("final", True):
                found[segment["id"].partition("-")[0]] = segment["text"]
    return found


def tool(kind: str, name: str, **parameters: str) -> dict[str, Any]:
    """A tool as it stands in a create."""
    described = [
        {"type": of, "name": each, "description": "A parameter"} for each, of in parameters.items()
    ]
    return {"type": kind, "name": name, "description": "A tool", "parameters": described}
