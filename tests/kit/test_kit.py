import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import numpy as np
import pytest
from pipecat.frames.frames import (
    BotSpeakingFrame,
    Frame,
    InterruptionFrame,
    OutputImageRawFrame,
    SpeechOutputAudioRawFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.transports.base_transport import TransportParams

from .marks import Verdict, compare, marked_speech, numbers, stretches
from .pipeline import (
    UP,
    MarkedTTSService,
    Run,
    Tape,
    bracket_faults,
    paced_audio,
    running,
    tts_utterance,
)
from .transport import LoopbackTransport, bot_turns, rtvi_messages

RATE = 24000


class Passthrough(FrameProcessor):
    """The most trivial service: passes everything on."""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        await self.push_frame(frame, direction)


class DoubledBracket(Passthrough):
    """A service that sends brackets of its own beside the TTS's."""

    async def push_frame(
        self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM
    ) -> None:
        await super().push_frame(frame, direction)
        if isinstance(frame, TTSStartedFrame | TTSStoppedFrame):
            await super().push_frame(type(frame)(frame.context_id), direction)


async def stream(pcm: bytes, stop_after: int | None = None) -> AsyncIterator[Frame]:
    """An avatar's voice as a speech stream, the TTS's stop passing after so many 10 ms of it."""
    yield TTSStartedFrame("a")
    frames = 0
    async for audio in paced_audio(pcm, RATE, frame_ms=10):
        yield SpeechOutputAudioRawFrame(audio.audio, RATE, 1)
        frames += 1
        if frames == stop_after:
            yield TTSStoppedFrame("a")


# --- facts about the host framework, seen through the kit --------------------------------------


async def test_unbracketed_speech_gets_silence_spliced_in() -> None:
    """E1: a TTSStoppedFrame passing within a speech stream tears a hole of silence into it."""
    transport = LoopbackTransport()
    speech = marked_speech(0, 10, RATE) + bytes(480)  # 45 + 56 frames, of which 4 make a chunk
    async with running(Passthrough(), transport.output()) as run:
        await run.started()
        await run.feed(stream(speech, stop_after=45))
        await run.end()
    heard = transport.heard()
    torn = stretches(heard.pcm, heard.rate, gap=0.008)
    assert len(torn) == 2
    assert torn[1][0] - torn[0][1] == pytest.approx(0.03, abs=0.004)
    assert compare(numbers(0, 10), heard.marks()) == Verdict(partial=[4])


async def test_unbracketed_speech_flaps_on_a_pause() -> None:
    """E2: a pause of 0.5 s inside a speech stream stops the bot's speaking and starts it again."""
    transport, after = LoopbackTransport(), Tape()
    speech = marked_speech(0, 8, RATE, pauses={4: 0.5}) + bytes(RATE)  # then silence goes on
    async with running(Passthrough(), transport.output(), after) as run:
        await run.started()
        await run.feed(stream(speech))
        await run.end()
    assert len(bot_turns(after)) == 2


async def test_bracketed_speech_is_whole_and_exact() -> None:
    """E4: within its bracket speech has one start, one stop at its end, and no hole in it."""
    transport, before, after = LoopbackTransport(), Tape(), Tape()
    speech = marked_speech(0, 8, RATE, pauses={4: 0.5}, noise=25)
    async with running(Passthrough(), before, transport.output(), after) as run:
        await run.started()
        await run.feed(tts_utterance(speech, RATE, context_id="a", pace="realtime", text="Hello."))
        await after.wait_for(TTSStoppedFrame)
        await run.end()
    assert bracket_faults(before) == []
    ((started, stopped),) = bot_turns(after)
    heard = transport.heard()
    assert compare(numbers(0, 8), heard.marks()).clean
    assert heard.stretches() == [
        pytest.approx((0.0, 0.4), abs=0.02),
        pytest.approx((0.9, 1.3), abs=0.02),
    ]
    assert stopped is not None
    assert stopped - started == pytest.approx(1.3, abs=0.1)
    assert started == pytest.approx(heard.started, abs=0.05)
    assert 5 <= len(after.of(BotSpeakingFrame)) <= 8


# --- deliberate breaks --------------------------------------------------------------------------


async def test_a_doubled_bracket_is_noticed() -> None:
    """Brackets sent beside the TTS's own are named, and double what RTVI tells the client."""

    async def script(run: Run) -> None:
        speech = marked_speech(0, 4, RATE)
        await run.feed(tts_utterance(speech, RATE, context_id="a", text="Hello."))
        await run.tape.wait_for(TTSStoppedFrame)

    plain = Counter(await rtvi_messages(script))
    assert plain["bot-tts-started"] == plain["bot-tts-stopped"] == 1
    assert plain["bot-started-speaking"] == plain["bot-stopped-speaking"] == 1
    assert Counter(await rtvi_messages(script, Passthrough())) == plain
    doubled = Counter(await rtvi_messages(script, DoubledBracket()))
    assert doubled - plain == Counter({"bot-tts-started": 1, "bot-tts-stopped": 1})

    async with running(DoubledBracket()) as run:
        await run.started()
        await script(run)
        await run.end()
    assert bracket_faults(run.tape) == ["a: started 2 times", "a: stopped 2 times"]


async def test_faults_of_brackets_are_named() -> None:
    """Audio outside, missing stops, stops first and overlapping utterances are all named."""
    audio = bytes(480)
    async with running(Passthrough()) as run:
        await run.started()
        await run.queue(
            TTSStoppedFrame("early"),
            TTSStartedFrame("a"),
            TTSStartedFrame("b"),
            TTSStoppedFrame("b"),
            TTSStoppedFrame("a"),
            TTSAudioRawFrame(audio, RATE, 1, context_id="a"),
            TTSStartedFrame("cut"),
            TTSStartedFrame("open"),
        )
        await run.end()
    assert sorted(bracket_faults(run.tape, interrupted=["cut"])) == [
        "a: 1 audio frames outside its bracket",
        "b: TTSStartedFrame inside a",
        "b: TTSStoppedFrame inside a",
        "early: stopped before it was started",
        "open: never stopped",
    ]


# --- the tape -----------------------------------------------------------------------------------


async def test_the_timeline_shows_what_a_player_would_have_played() -> None:
    """Audio that comes early follows on; audio that comes late has silence before it."""
    async with running(Passthrough()) as run:
        await run.started()
        await run.feed(paced_audio(marked_speech(0, 5, RATE), RATE, context_id="a"))
        await run.feed(paced_audio(marked_speech(5, 1, 48000, 2), 48000, 2, context_id="a"))
        await run.tape.wait_for(TTSAudioRawFrame, count=30)
        await asyncio.sleep(1.0)
        resumed = time.monotonic()
        await run.feed(paced_audio(marked_speech(6, 2, RATE), RATE, context_id="b"))
        await run.end()
    line = run.tape.timeline_pcm()
    marks = line.marks()
    assert line.rate == 48000
    assert compare(numbers(0, 8), marks).clean
    assert [mark.start_s for mark in marks[:6]] == pytest.approx(np.arange(6) / 10, abs=0.002)
    assert line.started + marks[6].start_s == pytest.approx(resumed, abs=0.05)
    assert run.tape.speech_pcm().seconds == pytest.approx(0.8, abs=0.001)
    assert compare(numbers(6, 2), run.tape.speech_pcm("b").marks()).clean
    assert len(run.tape.audio("b")) == 10


async def test_waiting_is_bounded_and_says_what_did_pass() -> None:
    """wait_for gives the frame asked for, or a TimeoutError that names what passed instead."""
    async with running(Passthrough()) as run:
        await run.started()
        await run.queue(TextFrame("one"), TextFrame("two"))
        found = await run.tape.wait_for(lambda f: isinstance(f, TextFrame) and f.text == "two")
        assert (await run.tape.wait_for(TextFrame, count=2)) == found
        with pytest.raises(TimeoutError, match=r"2 of 3 .*'TextFrame': 2"):
            await run.tape.wait_for(TextFrame, timeout=0.05, count=3)


async def test_pictures_are_kept_without_pixels_and_paced_by_the_transport() -> None:
    """What the `look` function saw is kept; live pictures are shown at the transport's rate."""
    params = TransportParams(
        video_out_enabled=True,
        video_out_is_live=True,
        video_out_width=4,
        video_out_height=2,
        video_out_framerate=25,
        audio_out_end_silence_secs=0,
    )
    tape = Tape(look=lambda frame: frame.image[0])
    transport = LoopbackTransport(params, look=lambda frame: frame.image[0])
    async with running(Passthrough(), tape, transport.output()) as run:
        await run.started()
        for shade in range(10):
            await run.queue(OutputImageRawFrame(bytes([shade] * 24), (4, 2), "RGB"))
        assert (await tape.wait_for_pictures(10)).look == 9
        await asyncio.sleep(0.6)
        await run.end()
    assert [p.look for p in transport.pictures] == list(range(10))
    assert transport.pictures[0].size == (4, 2)
    span = transport.pictures[-1].at - transport.pictures[0].at
    assert span == pytest.approx(9 / 25, abs=0.08)


# --- running and ending -------------------------------------------------------------------------


async def test_interruptions_reach_everybody_from_the_front() -> None:
    """An interruption passes the service once each way and drops what the transport still holds."""
    transport, after = LoopbackTransport(), Tape()
    async with running(Passthrough(), Tape(), transport.output(), after) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 30, RATE), RATE, context_id="a"))
        await after.wait_for(TTSAudioRawFrame, count=10)
        at = await run.interrupt()
        await after.wait_for(InterruptionFrame)
        await run.feed(tts_utterance(marked_speech(100, 3, RATE), RATE, context_id="b"))
        await after.wait_for(TTSStoppedFrame)
        await run.end()
    assert len(after.of(InterruptionFrame)) == 1
    heard = transport.heard()
    marks = heard.marks()
    old = [mark for mark in marks if mark.number < 100]
    assert compare(numbers(100, 3), marks[len(old) :]).clean
    # The chunk of 40 ms being played when the interruption comes is still played.
    assert heard.started + old[-1].end_s < at + 0.06
    assert len(bot_turns(after)) == 2


async def test_ended_and_cancelled_pipelines_leave_nothing_running() -> None:
    """End, cancel and merely leaving the block all end every task that was begun."""
    before = asyncio.all_tasks()
    async with running(Passthrough(), LoopbackTransport().output()) as run:
        await run.started()
        await run.end()
        assert run.finished
    async with running(Passthrough()) as run:
        await run.started()
        await run.cancel()
        assert run.finished
    transport = LoopbackTransport()
    async with running(transport.input(), Passthrough(), transport.output()) as run:
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, 50, RATE), RATE))
    async with running(Passthrough()) as run:
        pass  # not even started
    await asyncio.sleep(0)
    assert not asyncio.all_tasks() - before


async def test_a_stuck_processor_is_reported_within_its_bound() -> None:
    """A pipeline that does not end in time raises instead of hanging, and is cleared up."""

    class Stuck(Passthrough):
        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            await super().process_frame(frame, direction)
            if isinstance(frame, TextFrame):
                await asyncio.sleep(60)

    async with running(Stuck()) as run:
        await run.started()
        await run.queue(TextFrame("stop here"))
        with pytest.raises(TimeoutError, match="did not end"):
            await run.end(timeout=0.2)
    assert run.finished


async def test_errors_are_kept() -> None:
    """Errors pushed by a processor are found in `run.errors`."""
    service = Passthrough()
    async with running(service) as run:
        await run.started()
        await service.push_error("no face")
        await run.head.wait_for(lambda f: "no face" in str(f), direction=UP)
        assert [error.error for error in run.errors] == ["no face"]


# --- voices -------------------------------------------------------------------------------------


async def test_fed_utterances_look_like_those_of_a_real_tts_service() -> None:
    """`tts_utterance` sends what Pipecat's own TTSService sends: same frames, order and fields."""

    def shape(tape: Tape) -> list[tuple[object, ...]]:
        fields = ("context_id", "text", "text_type", "append_to_context", "will_be_spoken", "pts")
        frames = [t.frame for t in tape.taped if getattr(t.frame, "context_id", None)]
        names = {frame.context_id: "a" for frame in frames}  # type: ignore[attr-defined]
        return [
            (type(f).__name__, *(names.get(v, v) for k in fields if (v := getattr(f, k, 0)) != 0))
            for f in frames
        ]

    async with running(MarkedTTSService()) as real:
        await real.started()
        await real.queue(TTSSpeakFrame("marks 10-12"))
        await real.end()
    async with running(Passthrough()) as fed:
        await fed.started()
        speech = marked_speech(10, 3, RATE)
        await fed.feed(tts_utterance(speech, RATE, context_id="a", text="marks 10-12"))
        await fed.end()
    assert shape(fed.tape) == shape(real.tape)
    assert fed.tape.speech_pcm().pcm == real.tape.speech_pcm().pcm


@pytest.mark.parametrize("word_times", [False, True])
async def test_the_marked_voice_is_a_whole_tts_service(word_times: bool) -> None:
    """TTSSpeakFrames are said in order, each in its bracket; `spoken` tells with which marks."""
    tts, transport, before = MarkedTTSService(word_times=word_times), LoopbackTransport(), Tape()
    async with running(tts, before, transport.output()) as run:
        await run.started()
        await run.queue(TTSSpeakFrame("marks 10-15"), TTSSpeakFrame("Goodbye then."))
        await run.end()
    assert bracket_faults(before) == []
    assert [spoken.text for spoken in tts.spoken] == ["marks 10-15", "Goodbye then."]
    assert tts.spoken[0].marks == numbers(10, 6)
    expected = [mark for spoken in tts.spoken for mark in spoken.marks]
    assert compare(expected, transport.heard().marks()).clean
    contexts = [spoken.context_id for spoken in tts.spoken]
    assert [t.frame.context_id for t in before.of(TTSStartedFrame)] == contexts  # type: ignore[attr-defined]


async def test_the_marked_voice_stops_when_interrupted() -> None:
    """A paced voice falls silent at once and speaks the next text whole."""
    tts = MarkedTTSService(pace="realtime")
    async with running(tts) as run:
        await run.started()
        await run.queue(TTSSpeakFrame("marks 0-30"))
        await run.tape.wait_for(TTSAudioRawFrame, count=10)
        at = await run.interrupt()
        await run.tape.wait_for(InterruptionFrame)
        await run.queue(TTSSpeakFrame("marks 100-102"))
        await run.tape.wait_for(TTSStoppedFrame)
        await run.end()
    cut, whole = (spoken.context_id for spoken in tts.spoken)
    assert all(when < at + 0.05 for when, _ in run.tape.audio(cut))
    assert compare(numbers(100, 3), run.tape.speech_pcm(whole).marks()).clean
    assert bracket_faults(run.tape, interrupted=[cut]) == []
