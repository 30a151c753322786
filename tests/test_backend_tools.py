"""Tools in Python without a pipeline: any session's, answered in time whatever happens."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from livekit import rtc
from pipecat.adapters.llm.schemas.direct_function import tool_options
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema

from pipecat_runway import BackendTools
from pipecat_runway.errors import APIError, AvatarGoneError, ConfigError, NeverJoinedError
from pipecat_runway.simulator import Call, RunwaySimulator, Script, SimulatedSession, Turn
from tests.conftest import TurnKnobs
from tests.kit.marks import marked_speech
from tests.kit.waiting import until
from tests.simulator.user_kit import BOUND, RATE, Client, User, call


async def add(params: Any, a: int, b: int) -> None:
    """Add two numbers.

    Args:
        params: Pipecat's.
        a: The one.
        b: The other.
    """
    await params.result_callback(a + b)


async def fail(params: Any) -> None:
    """Fail."""
    raise RuntimeError("a secret of the house")


async def mute(params: Any) -> None:
    """Say nothing."""


@tool_options(timeout_secs=2)
async def hang(params: Any) -> None:
    """Take too long."""
    try:
        await asyncio.sleep(60)
    finally:
        params.arguments.setdefault("stopped", True)


async def later(params: Any) -> None:
    """Answer late, but in time."""
    await asyncio.sleep(1.5)
    await params.result_callback("at last")


async def strange(params: Any) -> None:
    """Answer what is no JSON."""
    await params.result_callback(object())


TOOLS = [add, fail, mute, hang, later, strange]


@pytest.fixture
def keys(runway: RunwaySimulator) -> dict[str, str]:
    return {"api_key": runway.api_key, "base_url": runway.env["RUNWAYML_BASE_URL"]}


@pytest_asyncio.fixture
async def client(runway: RunwaySimulator) -> AsyncIterator[Client]:
    made = Client(runway)
    async with made.http:
        yield made
        for session in runway.open_sessions:
            runway.cancel(session)
        await runway.wait_ended(BOUND)


async def test_every_call_is_answered(runway: RunwaySimulator, keys: dict[str, str]) -> None:
    """In parallel and in time: a result, an exception, a slow answer, none, and no JSON."""
    calls = [Call("add", {"a": 2, "b": 3}), *(Call(f.__name__) for f in TOOLS[1:])]
    runway.partner = Script([Turn("Done.", calls, pcm=marked_speech(9, 4, RATE), rate=RATE)])
    async with (
        call(runway, tools=BackendTools.wire(TOOLS)) as here,
        BackendTools(here.session.id, TOOLS, **keys),
    ):
        await here.user.say(marked_speech(1, 5, RATE))
        await here.session.wait_for("said", BOUND, cut=False)
        made = {each.name: each for each in here.session.calls}
    assert made["add"].result == {"result": 5}
    assert made["fail"].error == "the function `fail` failed and returned no result."
    assert made["mute"].error == "the function `mute` ended without a result."
    assert "was not done within 1." in (made["hang"].error or "")
    assert "no JSON" in (made["strange"].error or "")
    assert made["later"].result == {"result": "at last"}


async def test_two_sessions_in_one_process(
    runway: RunwaySimulator, keys: dict[str, str], client: Client
) -> None:
    """Each answers its own avatar; and one is joined as soon as it is READY."""
    runway.partner = Script(greeting=Turn("Hi.", [Call("who")]))

    def who(name: str) -> FunctionSchema:
        async def handler(params: Any) -> None:
            await params.result_callback({"name": name})

        return FunctionSchema("who", "Say who.", {}, [], handler=handler)

    async def one(name: str) -> Any:
        session = await client.create(tools=BackendTools.wire([who(name)]))
        async with BackendTools(session.id, [who(name)], **keys) as backend:
            user = User()
            answer = await client.consume(session, await client.key(session))
            await user.join(answer.json())
            runway.partner = Script([Turn("Ok.", [Call("who")])])
            await user.say(marked_speech(1, 4, RATE))
            await session.wait_for("backend_result", BOUND)
            await user.end_call()
            await asyncio.wait_for(backend.ended(), BOUND)
            await user.aclose()
        return session.calls[0].result

    runway.partner = Script([Turn("Ok.", [Call("who")])])
    assert await asyncio.gather(one("a"), one("b")) == [{"name": "a"}, {"name": "b"}]


async def test_only_the_avatar_may_call(
    runway: RunwaySimulator, keys: dict[str, str], client: Client
) -> None:
    """The user's own browser is in the same room, and is told no."""
    session = await client.create(tools=BackendTools.wire([add]))
    async with BackendTools(session.id, [add], **keys):
        user = User()
        answer = await client.consume(session, await client.key(session))
        await user.join(answer.json())
        assert session.managed is not None
        with pytest.raises(rtc.RpcError) as refused:
            await user.room.local_participant.perform_rpc(
                destination_identity=session.managed.backend,
                method="add",
                payload=json.dumps({"a": 1, "b": 1}),
            )
        await user.end_call()
        await user.aclose()
        await asyncio.wait_for(session.ended.wait(), BOUND)
    assert refused.value.message == "only the avatar may call this"


async def test_it_comes_back(
    runway: RunwaySimulator, keys: dict[str, str], client: Client, faults: TurnKnobs
) -> None:
    """A connection that is lost is made again, with credentials of its own."""
    session = await client.create(tools=BackendTools.wire([add]))
    async with BackendTools(session.id, [add], **keys) as backend:
        room = backend._backend._room
        assert room is not None
        before = [r.path for r in runway.requests].count(
            f"/v1/realtime_sessions/{session.id}/connect_backend"
        )
        await room._room.disconnect()
        room._on_disconnected(rtc.DisconnectReason.UNKNOWN_REASON)
        await until(lambda: backend._backend._room is not room)
        assert before == 1


async def test_what_cannot_be_joined(
    runway: RunwaySimulator, keys: dict[str, str], client: Client, faults: TurnKnobs
) -> None:
    """A session that is over, that does not get READY, that refuses, that there is not."""
    session: SimulatedSession = await client.create(tools=BackendTools.wire([add]))
    await client.key(session)
    faults(backend_status=403)
    session = await client.create(tools=BackendTools.wire([add]))
    with pytest.raises(APIError, match="let a backend join"):
        async with BackendTools(session.id, [add], **keys):
            pass
    runway.cancel(session)
    with pytest.raises(AvatarGoneError, match="has ended"):
        async with BackendTools(session.id, [add], **keys):
            pass
    faults(never_join=True, backend_status=None)
    session = await client.create(tools=BackendTools.wire([add]))
    with pytest.raises(NeverJoinedError, match=r"not READY within 0\.5 s"):
        async with BackendTools(session.id, [add], ready_timeout=0.5, **keys):
            pass
    with pytest.raises(APIError):
        async with BackendTools("3fa85f64-5717-4562-b3fc-2c963f66afa6", [add], **keys):
            pass


def test_a_tool_needs_a_handler() -> None:
    """It is said before anything is asked."""
    with pytest.raises(ConfigError, match="`look` has no handler"):
        BackendTools("id", [FunctionSchema("look", "Look.", {}, [])], api_key="k")
