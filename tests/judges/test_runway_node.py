"""The simulator, judged by Runway's own avatars-node-rpc 0.1.0 and avatars 0.16.0."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from pipecat_runway.simulator import Call, Captions, RunwaySimulator, Script, Turn
from tests.conftest import TurnKnobs
from tests.kit.marks import marked_speech
from tests.simulator.user_kit import BOUND, RATE, Client, User, call

from .judge import Judge


def tool(name: str, **more: Any) -> dict[str, Any]:
    """A backend tool as it stands in a create."""
    return {"type": "backend_rpc", "name": name, "description": "A tool", **more}


@pytest.mark.parametrize("wrapped", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_runways_own_handler_answers(
    runway: RunwaySimulator, faults: TurnKnobs, judges_node: Path, wrapped: bool
) -> None:
    """A plain answer, an exception and a time-out reach the partner, by either payload."""
    faults(wrapped_args=wrapped)
    calls = [Call("weather", {"city": "Paris"}), Call("broken"), Call("slow")]
    runway.partner = Script([Turn("It is {weather[celsius]} degrees.", calls)])
    tools = [tool("weather"), tool("broken"), tool("slow", timeoutSeconds=1)]
    judge = await Judge.start(judges_node, "node/backend.mjs", **runway.env)
    try:
        async with call(runway, tools=tools) as here:
            await judge.tell({"sessionId": here.session.id})
            # LiveKit's Node SDK logs to where its judge tells.
            reports = (report async for report in judge.reports() if "kind" in report)
            async with asyncio.timeout(BOUND):
                assert await anext(reports) == {"kind": "connected"}
            await here.user.say(marked_speech(1, 5, RATE))
            said = await here.session.wait_for("said", BOUND, turn=0)
            done = {made.name: made for made in here.session.calls}
        assert said.data["text"] == "It is 21 degrees."
        assert done["weather"].result == {"city": "Paris", "celsius": 21}
        assert done["broken"].error == "no such city"
        assert done["slow"].error
        async with asyncio.timeout(BOUND):
            told = [await anext(reports), await anext(reports)]
        assert {"kind": "called", "args": {"city": "Paris"}} in told
        assert {"kind": "error", "message": "no such city"} in told
    finally:
        await judge.aclose()
    assert judge.status == 0


@pytest.mark.parametrize(
    "form",
    [
        Captions.DELTAS,
        *(
            pytest.param(form, marks=pytest.mark.long)
            for form in Captions
            if form not in (Captions.DELTAS, Captions.NONE)
        ),
    ],
)
async def test_runways_own_client_reads_every_form(
    runway: RunwaySimulator, faults: TurnKnobs, judges_node: Path, form: Captions
) -> None:
    """It polls, consumes once, and finds the words and the one client event in what is sent."""
    faults(captions=form)
    runway.partner = Script(
        [Turn("Two words, and two more.", [Call("show", {"page": 3})], heard="It has been said.")]
    )
    shows = {"type": "client_event", "name": "show", "description": "Shows"}
    judge = await Judge.start(judges_node, "node/client.mjs", **runway.env)
    reports = judge.reports()
    client, user = Client(runway), User()
    try:
        async with client.http, asyncio.timeout(60):
            session = await client.create(tools=[shows])
            await judge.tell({"sessionId": session.id})
            consumed = await anext(reports)
            assert consumed["again"] == "CONSUME_FAILED"
            await user.join(consumed["credentials"])
            await session.wait_for("heard", BOUND)
            for turn in range(2):  # a turn's deltas are final once there are some of the next
                await user.say(marked_speech(1, 4, RATE))
                await session.wait_for("said", BOUND, turn=turn)
            await user.end_call()
            await user.gone.wait()
            read = []
            for message in user.messages:
                await judge.tell({"payload": json.dumps(message)})
                read.append(await anext(reports))
    finally:
        await user.aclose()
        await judge.aclose()
        for session in runway.open_sessions:
            runway.cancel(session)
        await runway.wait_ended(BOUND)
    events = [one["event"] for one in read if one["event"]]
    assert [(e["tool"], e["args"]) for e in events] == [("show", {"page": 3})] * 2
    finals = [turn["text"] for one in read for turn in one.get("finalized") or []]
    finals += [s["text"] for one in read for s in one["segments"] or [] if s["final"]]
    native = [s.text for s in user.segments if s.final]
    native += [t for _, at, t in user.streams if at["lk.transcription_final"] == "true"]
    assert {"It has been said.", "Two words, and two more."} == {*finals, *native}
    in_data = form in (Captions.DELTAS, Captions.TWICE)
    assert bool(native) == (form in (Captions.EVENTS, Captions.STREAMS, Captions.TWICE))
    assert any(one.get("active") for one in read) == in_data
