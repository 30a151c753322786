"""Another character in the middle of a call."""

import asyncio

from pipecat.frames.frames import ServiceUpdateSettingsFrame, TTSStoppedFrame

from pipecat_runway import RunwayUpdateSettingsFrame, RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import compare_content, damage
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import Run, bracket_faults, running, tts_utterance
from tests.scenarios.renewals import renewals

from .conftest import MakeService, TurnKnobs

RATE = 24_000
Settings = RunwayVideoService.Settings


async def test_the_character_changes_while_speech_goes_on(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Nothing is lost or doubled, the new face is the one asked for, and one session is left."""
    report = await renewals(
        make_service(), runway, 2, characters=("tennis-coach", "influencer"), seed=3
    )
    assert {} == damage(report.verdicts)
    assert [] == report.brackets
    assert [] == report.errors
    assert ["tennis-coach", "influencer"] == report.shown[1:]
    assert 0 == report.left


async def test_an_unknown_character_leaves_the_face_as_it_was(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """One error names the cause; the old face goes on, and the service stays usable."""
    service = make_service()
    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        session = service.session_id
        nobody = Settings(avatar_id="3fa85f64-5717-4562-b3fc-2c963f66afa6")
        await run.queue(RunwayUpdateSettingsFrame(delta=nobody))
        await run.feed(tts_utterance(marked_speech(0, 8, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        assert session == service.session_id
        assert service.is_usable
        await run.end()
    assert ["UnknownAvatarError"] == [type(error.exception).__name__ for error in run.errors]
    heard = run.tape.speech_pcm("u").marks(among=range(30))
    assert compare_content(numbers(0, 8), heard).clean


async def test_without_a_second_slot_the_voice_bridges_the_change(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """The old face ends first, nothing is lost, and no error is made of it."""
    faults(max_sessions=1, queue_when_full=False)
    changed = asyncio.Event()
    service = make_service()

    @service.event_handler("on_avatar_renewed")
    async def on_avatar_renewed(_service: object, _session_id: str) -> None:
        changed.set()

    async with running(service) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await run.feed(tts_utterance(marked_speech(0, 8, RATE), RATE, 1, "u0"))
        await run.queue(ServiceUpdateSettingsFrame(delta=Settings(preset_id="influencer")))
        said = await _speak_until(run, changed)
        await run.end()
    assert [] == run.errors
    assert [] == bracket_faults(run.tape)
    assert "influencer" == runway.sessions[-1].character
    for n in range(said):
        heard = run.tape.speech_pcm(f"u{n}").marks(among=range(8 * said))
        assert compare_content(numbers(8 * n, 8), heard).clean


async def _speak_until(run: Run, event: asyncio.Event) -> int:
    """Speak one utterance after another, the first having been fed; return how many."""
    said = 1
    async with asyncio.timeout(30):
        while True:
            await run.tape.wait_for(TTSStoppedFrame, timeout=10, count=said)
            if event.is_set():
                return said
            speech = marked_speech(8 * said, 8, RATE)
            await run.feed(tts_utterance(speech, RATE, 1, f"u{said}", pace="realtime", frame_ms=20))
            said += 1
