"""One start and one stop for each utterance, whatever the sound is like."""

import pytest
from pipecat.frames.frames import (
    BotSpeakingFrame,
    LLMFullResponseEndFrame,
    OutputTransportMessageFrame,
    TextFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)

from tests.kit.content import compare_content
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import (
    MarkedTTSService,
    Run,
    Tape,
    bracket_faults,
    running,
    tts_utterance,
)
from tests.kit.transport import LoopbackTransport, bot_turns, rtvi_messages

from .conftest import MakeService, TurnKnobs

RATE = 24_000


@pytest.mark.parametrize("noise_floor", [pytest.param(0, marks=pytest.mark.long), 25])
async def test_the_bot_starts_and_stops_once_per_utterance(
    make_service: MakeService, faults: TurnKnobs, noise_floor: int
) -> None:
    """Pauses of 0.5 s inside an utterance and a noisy avatar neither split nor prolong it."""
    faults(noise_floor=noise_floor)
    transport, front, behind = LoopbackTransport(), Tape(name="Front"), Tape(name="Behind")
    async with running(make_service(), front, transport.output(), behind) as run:
        await run.started()
        await front.wait_for_pictures(1, timeout=20)
        for n in range(3):
            speech = marked_speech(20 * n, 12, RATE, pauses={4: 0.5, 8: 0.5})
            await run.feed(tts_utterance(speech, RATE, 1, f"u{n}"))
            await behind.wait_for(TTSStoppedFrame, count=n + 1, timeout=10)
        await run.end()
    turns = bot_turns(behind)
    assert len(turns) == 3
    assert all(stop is not None for _, stop in turns)
    for n in range(3):
        sound = front.speech_pcm(f"u{n}")
        assert sound.seconds - sound.marks()[-1].end_s < 0.1
    assert bracket_faults(front) == []
    sent = [n for u in range(3) for n in numbers(20 * u, 12)]
    verdict = compare_content(sent, transport.heard().marks())
    assert verdict.clean, verdict


async def test_a_doubled_bracket_is_noticed(make_service: MakeService) -> None:
    """The check can fail: a second TTSStoppedFrame is seen."""
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await run.feed(tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.queue(TTSStoppedFrame(context_id="u"))
        await run.end()
    assert bracket_faults(run.tape)


async def test_the_client_is_told_the_same_with_and_without_a_face(
    make_service: MakeService,
) -> None:
    """RTVI messages have the same kinds and counts, speech, text and an interruption included."""

    async def script(run: Run) -> None:
        for n in range(2):
            await run.queue(TTSSpeakFrame(f"marks {10 * n}-{10 * n + 7}"))
            await run.tape.wait_for(TTSStoppedFrame, count=n + 1, timeout=15)

    kinds = []
    for service in (None, make_service()):
        between = [MarkedTTSService(), *([service] if service else []), Tape()]
        messages = await rtvi_messages(script, *between)
        kinds.append(sorted(m for m in messages if m not in ("metrics",)))
    assert kinds[0] == kinds[1]
    assert "bot-tts-started" in kinds[0]


async def test_an_idle_face_does_not_speak(make_service: MakeService, faults: TurnKnobs) -> None:
    """Idle sound, noisy as it may be, makes no BotSpeakingFrame (two minutes: see benchmarks)."""
    faults(noise_floor=25)
    transport, front, behind = LoopbackTransport(), Tape(name="Front"), Tape(name="Behind")
    async with running(make_service(), front, transport.output(), behind) as run:
        await run.started()
        await front.wait_for_pictures(24 * 5, timeout=30)
        await run.end()
    assert behind.of(BotSpeakingFrame) == []
    assert front.audio() == []


async def test_frames_keep_their_place_behind_speech(make_service: MakeService) -> None:
    """What arrives behind an unfinished utterance leaves after its sound; the same objects."""
    after = [
        OutputTransportMessageFrame(message={"n": 1}),
        TextFrame("caption"),
        LLMFullResponseEndFrame(),
    ]
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        sent = []
        async for frame in tts_utterance(marked_speech(0, 8, RATE), RATE, 1, "u", text="spoken"):
            sent.append(frame)
            await run.queue(frame)
        await run.queue(*after)
        await run.tape.wait_for(LLMFullResponseEndFrame, timeout=10)
        await run.end()
    taped = [t.frame for t in run.tape.taped]
    last_sound = max(i for i, frame in enumerate(taped) if frame is run.tape.audio("u")[-1][1])
    places = [taped.index(frame) for frame in after]
    assert places == sorted(places)
    assert min(places) > last_sound
    for frame in sent:
        if type(frame).__name__ in ("TTSStartedFrame", "TTSStoppedFrame", "TTSTextFrame"):
            assert any(frame is t for t in taped)


async def test_an_utterance_that_never_gets_a_sound_holds_nothing_up(
    make_service: MakeService,
) -> None:
    """A TTS that announces speech and falls silent blocks neither frames nor the face."""
    behind = OutputTransportMessageFrame(message={"n": 1})
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await run.queue(TTSStartedFrame(context_id="silent"), behind)
        await run.tape.wait_for(OutputTransportMessageFrame, timeout=10)
        await run.feed(tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.end()
    assert [] == run.errors
    assert compare_content(numbers(0, 4), run.tape.speech_pcm("u").marks()).clean
