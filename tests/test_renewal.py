"""A call outlasts its sessions: one follows the other, and nobody hears it."""

import asyncio

import pytest
from pipecat.frames.frames import TTSAudioRawFrame, TTSStoppedFrame

from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import bracket_faults, running, tts_utterance
from tests.kit.waiting import until

from .conftest import MakeService, TurnKnobs

RATE = 24_000


async def test_in_the_middle_of_a_word_the_next_session_goes_on(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Speech longer than a session is heard whole, in one bracket, and one session is left."""
    renewed = asyncio.Event()
    service = make_service(max_duration=10)
    ids: list[str] = []

    @service.event_handler("on_avatar_renewed")
    async def on_avatar_renewed(_service: object, session_id: str) -> None:
        ids.append(session_id)
        renewed.set()

    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        before = service.session_id
        await run.feed(tts_utterance(marked_speech(0, 110, RATE), RATE, 1, "u"))
        await asyncio.wait_for(renewed.wait(), 20)
        await run.tape.wait_for(TTSStoppedFrame, timeout=20)
        await run.end()
    assert before not in ids
    assert {session.id for session in runway.sessions[-len(ids) - 1 :]} >= {before, *ids}
    assert [] == run.errors
    assert [] == bracket_faults(run.tape)
    verdict = compare_content(numbers(0, 110), run.tape.speech_pcm("u").marks(among=range(150)))
    assert verdict.clean, verdict


@pytest.mark.parametrize("queue", [True, pytest.param(False, marks=pytest.mark.long)])
async def test_without_a_second_slot_the_voice_bridges(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, queue: bool
) -> None:
    """The old session ends first, its utterance whole, and no error is made of it."""
    faults(max_sessions=1, queue_when_full=queue)
    renewed = asyncio.Event()
    service = make_service(max_duration=10)

    @service.event_handler("on_avatar_renewed")
    async def on_avatar_renewed(_service: object, _session_id: str) -> None:
        renewed.set()

    said = 0
    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        async with asyncio.timeout(30):
            while not renewed.is_set() or said % 3:
                speech = marked_speech(8 * said, 8, RATE)
                await run.feed(
                    tts_utterance(speech, RATE, 1, f"u{said}", pace="realtime", frame_ms=20)
                )
                said += 1
                await run.tape.wait_for(TTSStoppedFrame, timeout=10, count=said)
        await run.end()
    assert [] == run.errors
    assert [] == bracket_faults(run.tape)
    for n in range(said):
        heard = run.tape.speech_pcm(f"u{n}").marks(among=range(8 * said))
        verdict = compare_content(numbers(8 * n, 8), heard)
        assert verdict.clean, (n, verdict)
    assert {"COMPLETED"} == {session.status.value for session in runway.sessions[-2:]}


async def test_an_interruption_during_the_change_leaves_nothing_old(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """What both faces hold is dropped; the next utterance is whole and the new face's."""
    renewing = asyncio.Event()
    service = make_service(max_duration=10)

    @service.event_handler("on_avatar_renewing")
    async def on_avatar_renewing(_service: object, _session_id: str) -> None:
        renewing.set()

    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        before = service.session_id
        await run.feed(tts_utterance(marked_speech(0, 90, RATE), RATE, 1, "old"))
        await asyncio.wait_for(renewing.wait(), 20)
        await until(lambda: service.session_id != before, 20)
        await run.interrupt()
        place = len(run.tape.taped)
        await run.feed(tts_utterance(marked_speech(100, 8, RATE), RATE, 1, "new"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.end()
    assert [] == run.errors
    late = [t.frame for t in run.tape.taped[place:] if isinstance(t.frame, TTSAudioRawFrame)]
    assert {"new"} == {frame.context_id for frame in late}
    heard = run.tape.speech_pcm("new").marks(among=range(120))
    assert compare_content(numbers(100, 8), heard).clean


@pytest.mark.long
async def test_an_avatar_that_leaves_comes_back(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """The voice says the rest of the word it left in; the next utterance has a face again."""
    connected: list[str] = []
    there = asyncio.Event()
    service = make_service()

    @service.event_handler("on_avatar_connected")
    async def on_avatar_connected(_service: object, session_id: str) -> None:
        connected.append(session_id)
        there.set()

    faults(leave_after=2.0)
    async with running(service) as run:
        await run.started()
        await asyncio.wait_for(there.wait(), 20)
        there.clear()
        faults(leave_after=None)
        await run.feed(tts_utterance(marked_speech(0, 40, RATE), RATE, 1, "first"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=20)
        await asyncio.wait_for(there.wait(), 20)
        await run.feed(tts_utterance(marked_speech(50, 8, RATE), RATE, 1, "second"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=20, count=2)
        await run.end()
    assert 2 == len(set(connected))
    assert ["left the room"] == [error.error[11:24] for error in run.errors]
    assert [] == bracket_faults(run.tape)
    for context, first, pieces in (("first", 0, 40), ("second", 50, 8)):
        heard = run.tape.speech_pcm(context).marks(among=range(80))
        verdict = compare_content(numbers(first, pieces), heard)
        assert [] == verdict.lost + verdict.doubled, verdict
    session = runway.sessions[-1]
    assert [e for e in session.events if e.kind == "stream_opened"]
