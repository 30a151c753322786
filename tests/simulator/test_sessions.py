import asyncio
import base64
import time

import pytest

from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.sessions import SimulatedSession, Status, without_secrets
from pipecat_runway.simulator.worker_messages import WorkerEvent

from .api_kit import NoLiveKit, session_body


def session(**faults: object) -> SimulatedSession:
    return SimulatedSession(session_body(), Faults(**faults), NoLiveKit())  # type: ignore[arg-type]


def event(of: SimulatedSession, kind: str, **data: object) -> WorkerEvent:
    return WorkerEvent(of.id, kind, time.monotonic(), data)


def test_status_only_moves_forward() -> None:
    """Nothing that comes late changes the status or the bill of a session that has ended."""
    one = session()
    one.run()
    one.ready()
    assert one.status.value == "RUNNING"
    one.end(Status.READY)
    assert one.is_open
    one.end(Status.CANCELLED)
    bill = one.billed_seconds
    one.run()
    one.end(Status.COMPLETED)
    one.end(Status.FAILED, "LATE")
    assert one.status.value == "CANCELLED"
    assert one.billed_seconds == bill


async def test_is_billed_from_its_create_until_its_end() -> None:
    """Waiting for the avatar costs too, a begun second is a whole one, and the end stops it."""
    one = session()
    await asyncio.sleep(0.01)
    assert one.billed_seconds == 1
    await asyncio.sleep(1.0)
    assert one.billed_seconds == 2
    one.end(Status.COMPLETED)
    await asyncio.sleep(1.0)
    assert one.billed_seconds == 2
    assert one.to_json()["duration"] == 2
    assert one.credits == 4


async def test_wait_for_finds_what_was_and_what_comes() -> None:
    """An event already there is found at once, one to come is waited for, with its details."""
    one = session()
    one.record(event(one, "stream_opened", stream="a"))
    assert (await one.wait_for("stream_opened", 0)).data == {"stream": "a"}
    waiting = asyncio.create_task(one.wait_for("stream_opened", 1, stream="b"))
    await asyncio.sleep(0)
    one.record(event(one, "stream_opened", stream="c"))
    one.record(event(one, "stream_opened", stream="b"))
    assert (await waiting).data == {"stream": "b"}


async def test_wait_for_says_what_there_was_instead() -> None:
    """A wait in vain ends in time and names the kinds that did come."""
    one = session()
    one.record(event(one, "joined"))
    with pytest.raises(TimeoutError, match=r"no 'left' with .*deleted.* there were: joined"):
        await one.wait_for("left", 0.01, reason="deleted")


def test_received_puts_the_samples_of_one_stream_together() -> None:
    """Samples are kept per stream and in order."""
    one = session()
    for stream, samples in (("a", b"1122"), ("b", b"xx"), ("a", b"33")):
        pcm = base64.b64encode(samples).decode()
        one.record(event(one, "audio", stream=stream, samples=len(samples) // 2, pcm=pcm))
    assert one.received("a") == b"112233"
    assert one.received("c") == b""


def test_limit_is_the_shorter_of_the_asked_and_the_effective() -> None:
    """`maxDuration` shortens the life of a session but cannot lengthen it."""
    body = session_body(maxDuration=1800)
    assert SimulatedSession(body, Faults(), NoLiveKit()).limit == 300
    assert SimulatedSession(body, Faults(effective_limit=4000), NoLiveKit()).limit == 1800
    assert SimulatedSession(session_body(maxDuration=10), Faults(), NoLiveKit()).limit == 10
    assert SimulatedSession(session_body(), Faults(effective_limit=4000), NoLiveKit()).limit == 300


def test_room_is_taken_from_either_field() -> None:
    """The deprecated `livekit` names a room as `integration` does, and steps behind it."""
    livekit = {"url": "wss://old.example", "token": "t", "roomName": "old"}
    both = SimulatedSession(session_body(livekit=livekit), Faults(), NoLiveKit()).room
    old = SimulatedSession(
        session_body(livekit=livekit, integration=None), Faults(), NoLiveKit()
    ).room
    none = SimulatedSession(session_body(integration=None), Faults(), NoLiveKit()).room
    assert both is not None
    assert both.room_name == "room"
    assert old is not None
    assert old.room_name == "old"
    assert old.agent_identity is None
    assert none is None


def test_shows_no_secret() -> None:
    """Neither the kept body nor any repr holds a token or a signed address."""
    eleven = {"type": "elevenlabs", "signedUrl": "wss://x.example/?signature=SECRET"}
    body = session_body(livekit={"url": "wss://a", "token": "SECRET", "roomName": "r"})
    body["integration"]["token"] = "SECRET"
    one = SimulatedSession(body, Faults(), NoLiveKit())
    shown = f"{one!r} {one.body} {one.room!r} {without_secrets({'integration': eleven})}"
    assert "SECRET" not in shown
    assert body["integration"]["token"] == "SECRET"
    assert one.room is not None
    assert one.room.token == "SECRET"
    assert without_secrets([1]) == [1]
