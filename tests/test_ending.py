"""However a bot ends, its Runway session ends with it, is seen to, and within bounds."""

import asyncio
import gc
import time
from collections.abc import Iterator

import pytest
from loguru import logger
from pipecat.frames.frames import EndFrame, TTSAudioRawFrame, TTSStoppedFrame
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameProcessorSetup

from pipecat_runway.playback import Utterance
from pipecat_runway.simulator import LiveKitServer, RunwaySimulator, SimulatedSession
from tests.kit.content import compare_content
from tests.kit.machine import kept
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import Run, running, tts_utterance
from tests.kit.waiting import until

from .conftest import STRICT, MakeService, TurnKnobs, service_for

RATE = 24_000
SOON = 8.0  # s; an end is told by END_CALL, and after 3 s by DELETE


async def ended(runway: RunwaySimulator, *statuses: str) -> SimulatedSession:
    """The latest session, once it is seen to have ended."""
    session = runway.sessions[-1]
    await asyncio.wait_for(session.ended.wait(), SOON)
    assert session.status in (statuses or ("COMPLETED",))
    return session


async def face(run: Run) -> None:
    """Wait until there is a face."""
    await run.started()
    await run.tape.wait_for_pictures(1, timeout=20)


async def acquainted(run: Run, runway: RunwaySimulator) -> None:
    """Wait until there is a face, and it knows us too.

    LiveKit tells of who publishes nothing up to 3 s late (livekit-server, pkg/rtc/room.go,
    subscriberUpdateInterval), and until then the worker does not know whose END_CALL it gets.
    """
    await face(run)
    await runway.sessions[-1].wait_for("agent_seen", 10)


async def created(runway: RunwaySimulator, before: int) -> SimulatedSession:
    """The next session, once Runway has created it."""
    await until(lambda: len(runway.sessions) != before)
    return runway.sessions[-1]


# -- the pipeline ends ----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_an_end_tells_the_avatar_and_is_confirmed(
    make_service: MakeService, runway: RunwaySimulator, how: str
) -> None:
    """EndFrame and CancelFrame end the session as COMPLETED, and Runway was asked whether so."""
    async with running(make_service()) as run:
        await acquainted(run, runway)
        began = time.monotonic()
        await getattr(run, how)()
        assert time.monotonic() - began < SOON
    session = await ended(runway)
    assert [e for e in session.events if e.kind == "end_call"]
    last = runway.requests[-1]
    assert ("GET", True) == (last.method, last.path.endswith(session.id))


@pytest.mark.parametrize("instant", ["begun", "creating", "joining", "first picture", "speaking"])
async def test_a_cancel_at_any_instant_leaves_nothing_open(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, instant: str
) -> None:
    """The create is awaited and undone; whoever is on the way is called back."""
    # A worker that is called back while it connects would open the deleted room once more.
    delays = {"begun": {"join_delay": 3.0}, "joining": {"join_delay": 3.0}}
    faults(**(delays | {"creating": {"create_delay": 1.0}}).get(instant, {}))
    before = len(runway.sessions)
    async with running(make_service()) as run:
        await run.started()
        if instant in ("creating", "joining"):
            await created(runway, before)
        elif instant != "begun":
            await run.tape.wait_for_pictures(1, timeout=20)
        if instant == "speaking":
            await run.feed(tts_utterance(marked_speech(0, 30, RATE), RATE, 1, "u"))
            await run.tape.wait_for(TTSAudioRawFrame, count=20)
        began = time.monotonic()
        await run.cancel()
        assert time.monotonic() - began < SOON
    assert len(runway.sessions) <= before + 1
    if len(runway.sessions) > before:
        await ended(runway, "CANCELLED", "COMPLETED")


async def test_words_unheard_are_heard_before_the_end(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """The EndFrame waits for the last sound, then ends the session and goes on."""
    async with running(make_service()) as run:
        await acquainted(run, runway)
        await run.feed(tts_utterance(marked_speech(0, 15, RATE), RATE, 1, "u"))
        await run.end()
    assert compare_content(numbers(0, 15), run.tape.speech_pcm("u").marks()).clean
    (end,) = run.tape.of(EndFrame)
    session = await ended(runway)
    assert run.tape.audio("u")[-1][0] <= session.events[-1].at <= end.at


async def test_a_cancel_during_the_last_words_ends_at_once(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Nobody has to hear out a goodbye."""
    async with running(make_service()) as run:
        await acquainted(run, runway)
        await run.feed(tts_utterance(marked_speech(0, 100, RATE), RATE, 1, "u"))
        await run.queue(EndFrame())
        await run.head.wait_for(EndFrame)
        await run.tape.wait_for(TTSAudioRawFrame, count=10)
        began = time.monotonic()
        await run.cancel()
        assert time.monotonic() - began < SOON
    await ended(runway)


async def test_words_that_are_never_heard_do_not_hold_the_end(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """The drain is bounded by the speech owed and two seconds; then the voice goes on."""
    faults(publish_audio=False)
    async with running(make_service()) as run:
        await face(run)
        speech = [f async for f in tts_utterance(marked_speech(0, 5, RATE), RATE, 1, "u")]
        began = time.monotonic()
        await run.queue(*speech)
        await run.end()
        assert time.monotonic() - began < 0.5 + 2.0 + SOON
    assert compare_content(numbers(0, 5), run.tape.speech_pcm("u").marks()).clean
    await ended(runway, "CANCELLED", "COMPLETED")


# -- the pipeline never ran, or not properly ------------------------------------------------------


async def test_a_service_that_was_never_started_is_cleaned_up(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """`cleanup()` alone asks nothing of Runway, and ends what `prewarm()` began."""
    await make_service().cleanup()
    assert [] == runway.requests
    service = make_service()
    assert await service.prewarm()
    await service.cleanup()
    await service.cleanup()
    await ended(runway, "CANCELLED", "COMPLETED")


class Hangs(IdentityFilter):
    """A processor that is never set up."""

    async def setup(  # type: ignore[override]  # as every FrameProcessor does
        self, setup: FrameProcessorSetup
    ) -> None:
        await super().setup(setup)
        await asyncio.Event().wait()


class Fails(IdentityFilter):
    """A processor that cannot be set up."""

    async def setup(  # type: ignore[override]  # as every FrameProcessor does
        self, setup: FrameProcessorSetup
    ) -> None:
        raise RuntimeError("no")


async def test_another_processors_failed_setup_ends_the_session(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Pipecat gives up on a setup that hangs; the session that was begun ends with it."""
    before = len(runway.sessions)
    async with running(make_service(), Hangs(), setup_timeout_secs=1.5) as run:  # type: ignore[no-untyped-call]
        await created(runway, before)
        await run.ended(timeout=SOON)
    assert len(runway.sessions) == before + 1
    assert not runway.open_sessions


async def test_another_processor_that_raises_does_not_hold_the_end(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """Pipecat reports it and goes on without; the session lives and ends as ever."""
    faults(join_delay=3.0)
    before = len(runway.sessions)
    async with running(Fails(), make_service()) as run:  # type: ignore[no-untyped-call]
        await created(runway, before)
        await run.cancel()
    assert not runway.open_sessions


# -- Runway, or the avatar, does not do its part --------------------------------------------------


async def test_an_avatar_that_ignores_the_end_of_the_call_is_cancelled(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """END_CALL has a bound, after which the API is told."""
    faults(obey_end_call=False)
    async with running(make_service()) as run:
        await face(run)
        began = time.monotonic()
        await run.end()
        assert time.monotonic() - began < SOON
    await ended(runway, "CANCELLED")
    assert "DELETE" in [request.method for request in runway.requests]


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """What is logged as an error."""
    lines: list[str] = []
    sink = logger.add(lambda m: lines.append(str(m)), level="ERROR", format="{message}")
    yield lines
    logger.remove(sink)


async def test_a_session_that_cannot_be_ended_is_named(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, errors: list[str]
) -> None:
    """When Runway fails too, an error names the session that may be billed on; no hang."""
    faults(obey_end_call=False, delete_status=500)
    async with running(make_service()) as run:
        await face(run)
        began = time.monotonic()
        await run.end()
        assert time.monotonic() - began < 5.0 + SOON
    session = runway.sessions[-1]
    (error,) = errors
    assert session.id in error
    assert "billed" in error
    assert 3 <= len([r for r in runway.requests if r.method == "DELETE"])
    runway.cancel(session)  # unless it has noticed by now that its room is gone
    await asyncio.wait_for(session.ended.wait(), SOON)


async def test_a_killed_worker_does_not_hold_the_end(livekit_server: LiveKitServer) -> None:
    """Its process dies mid-sentence: the end is told to the API, and the voice is heard out."""
    async with RunwaySimulator(faults=STRICT, livekit=livekit_server) as runway:
        async with running(service_for(runway)) as run:
            await face(run)
            speech = [f async for f in tts_utterance(marked_speech(0, 20, RATE), RATE, 1, "u")]
            await run.queue(*speech)
            await run.tape.wait_for(TTSAudioRawFrame, count=20)
            runway.workers.kill()
            await run.tape.wait_for(TTSStoppedFrame, timeout=10)
            began = time.monotonic()
            await run.end()
            assert time.monotonic() - began < SOON
        await runway.wait_ended(SOON)
        assert not runway.open_sessions
        assert "DELETE" in [request.method for request in runway.requests]


async def test_a_worker_killed_while_it_is_awaited_is_told_of(
    livekit_server: LiveKitServer,
) -> None:
    """Runway reports the session as FAILED long before the wait is over; the voice is heard."""
    faults = STRICT.__class__(publish_video=False, obey_empty_room=False)
    async with RunwaySimulator(faults=faults, livekit=livekit_server) as runway:
        async with running(service_for(runway, ready_timeout=30)) as run:
            await run.started()
            session = await created(runway, 0)
            await session.wait_for("joined", 10)
            runway.workers.kill()
            began = time.monotonic()
            await run.feed(tts_utterance(marked_speech(0, 5, RATE), RATE, 1, "u"))
            await run.tape.wait_for(TTSStoppedFrame, timeout=10)
            assert time.monotonic() - began < SOON
            await run.end()
        (error,) = run.errors
        assert "FAILED" in error.error
        assert compare_content(numbers(0, 5), run.tape.speech_pcm("u").marks()).clean


# -- more than one --------------------------------------------------------------------------------


async def test_two_bots_in_one_process_do_not_hear_each_other(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Each has its own room and avatar; one ends while the other speaks on."""
    async with running(make_service()) as one, running(make_service()) as two:
        await asyncio.gather(face(one), face(two))
        for n, run in enumerate((one, two)):
            length = 8 if run is one else 25
            await run.feed(tts_utterance(marked_speech(50 * n, length, RATE), RATE, 1, "u"))
        await one.end()
        assert not two.tape.of(TTSStoppedFrame)
        await two.tape.wait_for(TTSStoppedFrame, timeout=10)
        await two.end()
    assert compare_content(numbers(0, 8), one.tape.speech_pcm().marks()).clean
    assert compare_content(numbers(50, 25), two.tape.speech_pcm().marks()).clean
    assert not any(session.is_open for session in runway.sessions[-2:])


async def test_speech_that_was_heard_is_not_kept(make_service: MakeService) -> None:
    """However long a bot talks, the ledger holds only what is still to be heard."""
    async with running(make_service()) as run:
        await face(run)
        for n in range(6):
            await run.feed(tts_utterance(marked_speech(2 * n, 2, RATE), RATE, 1, f"spent-{n}"))
        await run.tape.wait_for(TTSStoppedFrame, count=6, timeout=15)
        gc.collect()
        assert 2 >= sum(str(each.context_id).startswith("spent") for each in kept(Utterance))
        await run.end()
