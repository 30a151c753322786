"""Frames of every kind pass a face unharmed, and speech in every dress comes out whole."""

import asyncio
import dataclasses
import inspect
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pipecat.audio.dtmf.types import KeypadEntry
from pipecat.audio.vad.vad_analyzer import VADParams
from pipecat.frames import frames as pipecat_frames
from pipecat.frames.frames import (
    CancelFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    ManuallySwitchServiceFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
    StartFrame,
    StopFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
    WorkerFrame,
    WorkerSystemFrame,
)
from pipecat.observers.base_observer import BaseObserver, FrameProcessed
from pipecat.pipeline.parallel_pipeline import ParallelPipeline
from pipecat.pipeline.service_switcher import ServiceSwitcher, ServiceSwitcherStrategyFailover
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.filters.function_filter import FunctionFilter
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType

from pipecat_runway.errors import RunwayError
from pipecat_runway.simulator import RunwaySimulator, SimulatedSession
from tests.kit.content import compare_content
from tests.kit.marks import Verdict, marked_speech, numbers, read_marks
from tests.kit.pipeline import (
    DOWN,
    UP,
    MarkedTTSService,
    Run,
    Tape,
    Taped,
    bracket_faults,
    running,
    tts_utterance,
)
from tests.kit.timing import timed

from .conftest import MakeService

RATE = 24_000

# The pipeline's own life, and speech: their tests are elsewhere. Every other class is here.
EXCEPT = (
    CancelFrame,
    EndFrame,
    InterruptionFrame,
    StartFrame,
    StopFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    WorkerFrame,
    WorkerSystemFrame,
)
BASES = (Frame, SystemFrame, pipecat_frames.DataFrame, pipecat_frames.ControlFrame)


def every_frame() -> Iterator[Frame]:
    """One frame of each of Pipecat's classes, built from the types of its fields."""
    for name, cls in inspect.getmembers(pipecat_frames, inspect.isclass):
        if not issubclass(cls, Frame) or issubclass(cls, EXCEPT) or cls in BASES:
            continue
        if name == "FatalErrorFrame" or "Task" in name:  # ends the pipeline; deprecated names
            continue
        yield made(cls)


def made(cls: type[Frame]) -> Frame:
    """A frame of a class."""
    values: dict[str, Any] = {
        "str": "words",
        "bytes": bytes(12),
        "int": 1,
        "float": 0.5,
        "bool": True,
        "Any": {},
        "tuple[int, int]": (2, 2),
        "TextType | str": TextType.WORD,
        "LLMContext": LLMContext(),
        "FrameProcessor": IdentityFilter(),  # type: ignore[no-untyped-call]
        "VADParams": VADParams(),
        "FileSourceType": "url",
        "KeypadEntry": KeypadEntry.ONE,
        "Mapping[str, Any]": {},
    }
    required = [
        field
        for field in dataclasses.fields(cls)
        if field.init
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    given = {}
    for field in required:
        kind = str(field.type)
        given[field.name] = values.get(kind, [] if kind.startswith(("list", "Sequence")) else None)
    if "button" in inspect.signature(cls).parameters:
        given["button"] = KeypadEntry.ONE
    return cls(**given)


def shuffled(seed: int) -> list[Frame]:
    frames = list(every_frame())
    random.Random(seed).shuffle(frames)
    return frames


def keeping_frames(name: str) -> Tape:
    """A tape that keeps small pictures too: the avatar's are larger."""
    return Tape(name=name, look=lambda frame: frame if frame.size == (2, 2) else None)


def passed(tape: Tape, sent: list[Frame], direction: FrameDirection = DOWN) -> list[Frame]:
    """Which of these very objects passed a tape, in order."""
    ids = {id(frame) for frame in sent}
    seen = [(t.at, t.frame) for t in tape.taped if t.direction is direction]
    seen += [(picture.at, picture.look) for picture in tape.pictures]
    return [f for _, f in sorted(seen, key=lambda s: s[0]) if id(f) in ids]


def ordered(frames: list[Frame]) -> list[Frame]:
    """Those that keep their place; system frames never wait."""
    return [frame for frame in frames if not isinstance(frame, SystemFrame)]


async def face(run: Run) -> None:
    """Wait until there is a face."""
    await run.started()
    await run.tape.wait_for_pictures(1, timeout=20)


def heard(run: Run, context_id: str | None, first: int, pieces: int) -> Verdict:
    """How the marks that came out compare with those that went in."""
    return compare_content(numbers(first, pieces), run.tape.speech_pcm(context_id).marks())


class Arrival(BaseObserver):
    """Notes when a processor takes a frame."""

    def __init__(self, processor: FrameProcessor, frame: Frame) -> None:
        super().__init__()
        self._awaited = processor, frame
        self._there = asyncio.Event()

    async def on_process_frame(self, data: FrameProcessed) -> None:
        processor, frame = self._awaited
        if data.processor is processor and data.frame is frame:
            self._there.set()

    async def wait(self, timeout: float = 5.0) -> None:
        await asyncio.wait_for(self._there.wait(), timeout)


async def fed(run: Run, frames: AsyncIterator[Frame]) -> list[Frame]:
    """Feed frames, and say which they were."""
    sent = [frame async for frame in frames]
    await run.queue(*sent)
    return sent


# -- all kinds of frames --------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [DOWN, UP], ids=["downstream", "upstream"])
async def test_every_kind_of_frame_passes_a_face_that_is_silent(
    make_service: MakeService, direction: FrameDirection
) -> None:
    """The same objects, each once, in the same order, whichever way they go."""
    front, behind = keeping_frames("Front"), keeping_frames("Behind")
    sent = shuffled(1)
    assert 100 < len(sent)
    async with running(front, make_service(), behind) as run:
        await face(run)
        await run.queue(*sent, direction=direction)
        last = OutputTransportMessageFrame(message={"n": 1})
        await run.queue(last, direction=direction)
        entry, leaving = (front, behind) if direction is DOWN else (behind, front)
        await leaving.wait_for(lambda frame: frame is last, direction=direction)
        await run.end()
    assert len(sent) == len(passed(entry, sent, direction))
    came, left = passed(entry, sent, direction), passed(leaving, sent, direction)
    assert ordered(came) == ordered(left)
    assert {id(f) for f in came} == {id(f) for f in left}
    assert len(came) == len(left)


async def test_every_kind_of_frame_keeps_its_place_behind_speech(make_service: MakeService) -> None:
    """System frames pass at once; all others after the sound, in the order they came."""
    front, behind = keeping_frames("Front"), keeping_frames("Behind")
    sent = shuffled(2)
    last = LLMFullResponseEndFrame()
    async with running(front, make_service(), behind) as run:
        await face(run)
        *speech, stopped = [
            f async for f in tts_utterance(marked_speech(0, 15, RATE), RATE, 1, "u")
        ]
        await run.queue(*speech)
        await behind.wait_for(TTSAudioRawFrame)
        await run.queue(*sent, stopped, last)
        await behind.wait_for(lambda frame: frame is last, timeout=10)
        await run.end()
    left = passed(behind, [*sent, stopped, last])
    assert ordered(passed(front, sent)) == ordered(passed(behind, sent))
    assert len(sent) + 2 == len(left)
    assert left[-1] is last
    sounds = [t.at for t in behind.of(TTSAudioRawFrame)]
    when = {id(t.frame): t.at for t in behind.taped}
    waiting = [f for f in ordered(sent) if id(f) in when]
    assert all(when[id(frame)] >= sounds[-1] for frame in waiting)
    at_once = [when[id(f)] for f in sent if isinstance(f, SystemFrame)]
    assert max(at_once) < sounds[-1]
    assert compare_content(numbers(0, 15), behind.speech_pcm("u").marks()).clean


async def test_an_interruption_drops_what_may_be_and_keeps_the_rest(
    make_service: MakeService,
) -> None:
    """Behind speech, only frames that are not interruptible survive, at once and in order."""
    behind = keeping_frames("Behind")
    sent = shuffled(3)
    for frame in sent[::2]:
        frame.interruptible = False
    service, last_behind = make_service(), LLMFullResponseEndFrame()
    taken = Arrival(service, last_behind)
    async with running(service, behind, observers=[taken]) as run:
        await face(run)
        await run.feed(tts_utterance(marked_speech(0, 30, RATE), RATE, 1, "old"))
        await behind.wait_for(TTSAudioRawFrame)
        await run.queue(*sent, last_behind)
        await taken.wait()
        await run.interrupt()
        last = OutputTransportMessageFrame(message={"n": 1})
        await run.queue(last)
        arrived = await behind.wait_for(lambda frame: frame is last, timeout=3)
        await run.end()
    cut = behind.of(InterruptionFrame)[0].at
    assert arrived.at - cut < 1.0
    assert [f for f in ordered(sent) if not f.interruptible] == ordered(passed(behind, sent))
    assert all(t.at < cut for t in behind.of(TTSAudioRawFrame, TTSStoppedFrame))


# -- speech in every dress ------------------------------------------------------------------------


async def test_two_contexts_at_once_are_spoken_one_after_the_other(
    make_service: MakeService,
) -> None:
    """However a TTS mixes their frames, each utterance comes out whole and by itself."""
    one = [f async for f in tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "one")]
    two = [f async for f in tts_utterance(marked_speech(20, 6, RATE), RATE, 1, "two")]
    async with running(make_service()) as run:
        await face(run)
        for pair in zip(one, two, strict=True):
            await run.queue(*pair)
        await run.tape.wait_for(TTSStoppedFrame, count=2, timeout=10)
        await run.end()
    assert heard(run, "one", 0, 6).clean
    assert heard(run, "two", 20, 6).clean
    assert [] == bracket_faults(run.tape)
    assert [] == run.errors


async def test_what_a_frame_says_of_itself_is_kept(make_service: MakeService) -> None:
    """`transport_destination` goes over to the returned sound; the TTS's frames stay themselves."""
    async with running(make_service()) as run:
        await face(run)
        sent = await fed(
            run,
            tts_utterance(
                marked_speech(0, 5, RATE),
                RATE,
                1,
                "u",
                text="words",
                append_to_context=False,
                transport_destination="room-2",
            ),
        )
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.end()
    others = [frame for frame in sent if not isinstance(frame, TTSAudioRawFrame)]
    assert others == passed(run.tape, others)
    sounds = run.tape.audio("u")
    assert sounds
    assert all(frame.transport_destination == "room-2" for _, frame in sounds)
    (started,) = run.tape.of(TTSStartedFrame)
    assert started.frame.append_to_context is False  # type: ignore[attr-defined]


async def test_uninterruptible_speech_outlives_an_interruption(make_service: MakeService) -> None:
    """It is heard whole and once; interruptible speech behind it is not heard at all."""
    async with running(make_service()) as run:
        await face(run)
        await run.feed(
            tts_utterance(marked_speech(0, 20, RATE), RATE, 1, "kept", interruptible=False)
        )
        dropped = await fed(run, tts_utterance(marked_speech(20, 8, RATE), RATE, 1, "dropped"))
        await run.tape.wait_for(TTSAudioRawFrame)
        # An interrupted TTS makes no more: all it made has left it by now.
        await run.head.wait_for(TTSStoppedFrame, count=2)
        await run.interrupt()
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.feed(tts_utterance(marked_speech(40, 6, RATE), RATE, 1, "next"))
        await run.tape.wait_for(TTSStoppedFrame, count=2, timeout=10)
        await run.end()
    assert heard(run, "kept", 0, 20).clean
    assert all(not frame.interruptible for _, frame in run.tape.audio("kept"))
    assert [] == run.tape.audio("dropped")
    assert [] == passed(run.tape, dropped)
    assert heard(run, "next", 40, 6).clean
    assert heard(run, None, 0, 20).foreign == numbers(40, 6), "something else was heard"


async def test_what_a_tts_has_crossed_off_cannot_be_taken_back(make_service: MakeService) -> None:
    """An utterance's end is taken at once: an interruption of the TTS itself comes too late."""
    service = make_service()
    async with running(service) as run:
        await run.started()
        *speech, stopped = [f async for f in tts_utterance(marked_speech(0, 5, RATE), RATE, 1, "u")]
        assert isinstance(stopped, TTSStoppedFrame)
        await run.queue(*speech)
        await run.tape.wait_for(TTSAudioRawFrame)
        with pytest.raises(StopIteration):  # it has nothing to wait for
            service.queue_frame(stopped).send(None)
        await run.tape.wait_for(TTSStoppedFrame)
        await run.end()


async def test_an_interruption_does_not_drop_what_is_told(make_service: MakeService) -> None:
    """An error that is on its way when the user barges in arrives all the same."""
    service = make_service()
    async with running(service) as run:
        await run.started()
        service.failed(RunwayError("the sky has fallen", advice="Look up."))
        await run.interrupt()
        await run.end()
    assert ["the sky has fallen. Look up."] == [frame.error for frame in run.errors]


async def test_a_tts_says_words_that_nobody_may_cut(make_service: MakeService) -> None:
    """`TTSSpeakFrame(interruptible=False)`, said by a real TTS service, survives interruptions."""
    tts = MarkedTTSService()
    async with running(tts, make_service()) as run:
        await face(run)
        speak = TTSSpeakFrame("marks 0-11")
        speak.interruptible = False
        await run.queue(speak, TTSSpeakFrame("marks 30-39"))
        for count in (1, 30):
            await run.tape.wait_for(TTSAudioRawFrame, count=count)
            await run.interrupt()
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.end()
    assert heard(run, None, 0, 12).clean
    assert [] == bracket_faults(run.tape)


async def test_a_tts_that_never_stops_or_never_starts_is_heard_all_the_same(
    make_service: MakeService,
) -> None:
    """No TTSStoppedFrame, no TTSStartedFrame, not even a context: nothing is lost or stuck."""
    async with running(make_service()) as run:
        await face(run)
        endless = [f async for f in tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "endless")]
        await run.queue(*endless[:-1])
        await run.feed(tts_utterance(marked_speech(20, 6, RATE), RATE, 1, "next"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=12)
        bare = [f async for f in tts_utterance(marked_speech(40, 6, RATE), RATE, 1, "bare")]
        await run.queue(*bare[1:])
        await run.tape.wait_for(TTSStoppedFrame, count=2, timeout=10)
        anonymous = [f async for f in tts_utterance(marked_speech(60, 6, RATE), RATE, 1, None)]  # type: ignore[arg-type]
        await run.queue(*anonymous[1:-1])
        await run.end()
    assert ["endless", "next", "bare", None] == list(
        dict.fromkeys(_context(frame) for _, frame in run.tape.audio())
    )
    everything = [n for first in (0, 20, 40, 60) for n in numbers(first, 6)]
    verdict = compare_content(everything, run.tape.speech_pcm().marks())
    assert verdict.clean, verdict
    assert [] == run.errors


@timed
async def test_words_leave_with_their_sound(make_service: MakeService) -> None:
    """Text frames with word times leave when their word is heard, after an interruption too."""
    tts = MarkedTTSService(word_times=True)
    texts = [" ".join(f"marks {n}-{n + 2}" for n in range(m, m + 18, 3)) for m in (0, 30, 60)]
    async with running(tts, make_service()) as run:
        await face(run)
        await run.queue(TTSSpeakFrame(texts[0]))
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.queue(TTSSpeakFrame(texts[1]))
        await run.tape.wait_for(lambda f: isinstance(f, TTSTextFrame) and f.text == "30-32")
        await run.interrupt()
        await run.queue(TTSSpeakFrame(texts[2]))
        await run.tape.wait_for(TTSStoppedFrame, count=2, timeout=10)
        await run.end()
    first, cut, last = (spoken.context_id for spoken in tts.spoken)
    for context, text in ((first, texts[0]), (last, texts[2])):
        words = [t for t in run.tape.of(TTSTextFrame) if _context(t.frame) == context]
        assert text.split() == [t.frame.text for t in words]  # type: ignore[attr-defined]
        heard_at = [mark.start_s for mark in run.tape.speech_pcm(context).marks()]
        assert 18 == len(heard_at)
        # Two words to three marks: every other word begins with a mark.
        late = [
            sound_before(run.tape, context, word) - at
            for word, at in zip(words[::2], heard_at[::3], strict=True)
        ]
        assert -0.2 < min(late), late  # a stall of the machine is noticed within 0.1 s
        assert max(late) < 0.2, late
    assert 4 > len([t for t in run.tape.of(TTSTextFrame) if _context(t.frame) == cut])


def sound_before(tape: Tape, context_id: str, taped: Taped) -> float:
    """Seconds of a context's sound that had left before a frame did."""
    frames = [f for f in (t.frame for t in tape.taped[: tape.taped.index(taped)])]
    sounds = [f for f in frames if isinstance(f, TTSAudioRawFrame) and f.context_id == context_id]
    return sum(len(f.audio) / 2 / f.sample_rate for f in sounds)


def _context(frame: Frame) -> str | None:
    return getattr(frame, "context_id", None)


# -- unusual pipelines ----------------------------------------------------------------------------


async def test_a_face_in_one_branch_of_a_parallel_pipeline(make_service: MakeService) -> None:
    """Its speech is whole, the other branch is not delayed, and both end together."""

    def only(context_id: str) -> FunctionFilter:
        async def fits(frame: Frame) -> bool:
            return getattr(frame, "context_id", context_id) == context_id

        return FunctionFilter(filter=fits)

    async def speech_only(frame: Frame) -> bool:
        return isinstance(frame, TTSAudioRawFrame | TTSStartedFrame | TTSStoppedFrame)

    branches = ParallelPipeline(  # type: ignore[no-untyped-call]
        [only("face"), make_service()], [only("voice"), FunctionFilter(filter=speech_only)]
    )
    async with running(branches) as run:
        await face(run)
        voice = [f async for f in tts_utterance(marked_speech(20, 6, RATE), RATE, 1, "voice")]
        await run.feed(tts_utterance(marked_speech(0, 8, RATE), RATE, 1, "face"))
        await run.queue(*voice)
        note = OutputTransportMessageFrame(message={})
        urgent = OutputTransportMessageUrgentFrame(message={})
        await run.queue(note, urgent)
        await run.tape.wait_for(lambda frame: frame is note, timeout=10)
        await run.end()
    assert voice == passed(run.tape, voice)
    assert heard(run, "face", 0, 8).clean
    assert [note] == passed(run.tape, [note])
    assert [urgent] == passed(run.tape, [urgent])
    assert 1 == len(run.tape.of(EndFrame))


async def test_a_switcher_between_two_faces_and_a_bare_voice(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Speech goes to the one that is active; the others neither swallow nor double a frame."""
    faces, bare = [make_service(), make_service()], IdentityFilter()  # type: ignore[no-untyped-call]
    one, two = faces
    switcher: Any = ServiceSwitcher(services=[one, two, bare])
    async with running(switcher) as run:
        await run.started()
        async with asyncio.timeout(20):
            assert all(await asyncio.gather(*(service.prewarm() for service in faces)))
        sent: list[Frame] = []
        for n, active in enumerate((one, two, bare, one)):
            await run.queue(ManuallySwitchServiceFrame(service=active))
            speech = await fed(
                run, tts_utterance(marked_speech(20 * n, 6, RATE), RATE, 1, f"u{n}", text="words")
            )
            sent += [f for f in speech if not isinstance(f, TTSAudioRawFrame) or active is bare]
            await run.tape.wait_for(TTSStoppedFrame, count=n + 1, timeout=10)
        ids = [service.session_id for service in faces]
        await run.end()
    for n in range(4):
        assert heard(run, f"u{n}", 20 * n, 6).clean, n
    assert sent == passed(run.tape, sent)
    assert [] == bracket_faults(run.tape)
    streams = [[e for e in _session(runway, i).events if e.kind == "stream_opened"] for i in ids]
    assert [2, 1] == [len(opened) for opened in streams]


async def test_a_switcher_goes_over_to_a_face_that_works(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """A refused key makes the service unusable, so Pipecat's fail-over takes the next one."""
    refused = make_service(api_key="key_" + "0" * 128, voice_fallback=False)
    spare = make_service(start_on="first_speech")
    switcher = ServiceSwitcher(
        services=[refused, spare], strategy_type=ServiceSwitcherStrategyFailover
    )
    switched = asyncio.Event()

    @switcher.strategy.event_handler("on_service_switched")  # type: ignore[untyped-decorator]
    async def on_service_switched(_: Any, service: FrameProcessor) -> None:
        if service is spare:
            switched.set()

    async with running(switcher) as run:
        await run.started()
        await asyncio.wait_for(switched.wait(), 10)
        assert spare.session_id is None
        await run.feed(tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=20)
        await run.end()
    assert heard(run, "u", 0, 6).clean
    assert 1 == len([e for e in runway.sessions[-1].events if e.kind == "stream_opened"])
    assert [] == run.errors


async def test_only_speech_reaches_the_avatar(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Of a pipeline full of sound and pictures only the TTS's voice enters the avatar's room."""
    service = make_service()
    async with running(service) as run:
        await face(run)
        await run.queue(*shuffled(4))
        await run.feed(tts_utterance(marked_speech(0, 6, RATE), RATE, 1, "u"))
        other = OutputAudioRawFrame(marked_speech(20, 6, RATE), RATE, 1)
        await run.queue(other)
        await run.tape.wait_for(lambda frame: frame is other, timeout=10)
        session = _session(runway, service.session_id)
        await run.end()
    assert [other] == passed(run.tape, [other])
    assert [] == [event for event in session.events if event.kind == "foreign_track"]
    (opened,) = [event for event in session.events if event.kind == "stream_opened"]
    received = session.received(opened.data["stream"])
    assert compare_content(numbers(0, 6), read_marks(received, 16_000)).clean


def _session(runway: RunwaySimulator, session_id: str | None) -> SimulatedSession:
    session = runway.find(session_id or "")
    assert session is not None
    return session
