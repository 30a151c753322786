"""Barge-ins at known instants: the words the LLM's context keeps against the words heard.

Every word is said with marks of its own, so the last mark that was played names the last word
that was heard. How long words and pauses are varies as in real speech, and the service is told of
it only by the TTS's own word times, if it has any.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    TextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService

from pipecat_runway import RunwayVideoService
from tests.kit.marks import MARKS, PIECE, marked_speech
from tests.kit.pipeline import Pace, Tape, paced_audio, recording_of, running
from tests.kit.transport import LoopbackTransport

Kind = Literal["word times", "sentence behind", "sentence ahead"]
"""What the TTS tells of its words: each one's time, or sentences behind or ahead of their sound."""

_VOCABULARY = """
a I we to of is it on the and you can not for but will have this that from they please about order
would there which their right today other every small water again never house world because another
possible delivery customer question remember yesterday different available information appointment
particularly understanding
"""


@dataclass(frozen=True)
class Saying:
    """What a TTS said.

    Attributes:
        text: The text.
        marks: The marks of each of its words.
        pauses: The silence before each of its words, in s.
    """

    text: str
    marks: list[list[int]]
    pauses: list[float]


def sentences(rng: random.Random, words: int) -> str:
    """Return some text of so many words, with commas and full stops."""
    text = ""
    since = 0
    for number in range(words):
        text += (" " if text else "") + rng.choice(_VOCABULARY.split())
        since += 1
        if number == words - 1 or (since > 5 and rng.random() < 0.2):
            text, since = text + ".", 0
        elif since > 2 and rng.random() < 0.12:
            text += ","
    return text


class WordyTTSService(TTSService):
    """A real Pipecat TTS service whose words are marks.

    Args:
        kind: What it tells of its words.
        pace: How fast its sound comes.
        seed: Of the lengths of words and pauses.
    """

    def __init__(self, kind: Kind, *, pace: Pace = "burst", seed: int = 1) -> None:
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            push_text_frames=kind != "word times",
            settings=TTSSettings(model="marks", voice="marks", language=None),
        )
        self.said: list[Saying] = []
        self._kind, self._pace = kind, pace
        self._rng = random.Random(seed)
        self._next_mark = 0
        self._spoken: Counter[str] = Counter()  # bytes of each context so far
        self._speaking: set[asyncio.Task[None]] = set()

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        saying = self._say(text)
        pcm, times = b"", []
        for marks, pause in zip(saying.marks, saying.pauses, strict=True):
            pcm += bytes(2 * round(pause * self.sample_rate))
            times.append(len(pcm) / 2 / self.sample_rate)
            pcm += marked_speech(marks[0], len(marks), self.sample_rate)
        if self._kind == "word times":
            offset = self._spoken[context_id] / 2 / self.sample_rate
            self._spoken[context_id] += len(pcm)
            words = [(w, offset + at) for w, at in zip(text.split(), times, strict=True)]
            await self.add_word_timestamps(words, context_id)
        if self._kind == "sentence ahead":
            task = self.create_task(self._speak_later(pcm, context_id))
            self._speaking.add(task)
            task.add_done_callback(self._speaking.discard)
            yield None
            return
        async for frame in paced_audio(pcm, self.sample_rate, 1, context_id, pace=self._pace):
            yield frame

    async def _speak_later(self, pcm: bytes, context_id: str) -> None:
        """Let the sound come as from a socket: behind the text."""
        async for frame in paced_audio(pcm, self.sample_rate, 1, context_id, pace=self._pace):
            if not self.audio_context_available(context_id):
                return
            await self.append_to_audio_context(context_id, frame)
            await asyncio.sleep(0)
        await self.remove_audio_context(context_id)

    async def cleanup(self) -> None:
        for task in list(self._speaking):
            await self.cancel_task(task)
        await super().cleanup()  # type: ignore[no-untyped-call]

    def _say(self, text: str) -> Saying:
        marks, pauses, before = [], [], ""
        for word in text.split():
            letters = sum(char.isalnum() for char in word)
            seconds = 0.065 * (letters + 1) * self._rng.lognormvariate(0, 0.3)
            count = max(1, round(seconds / PIECE))
            marks.append([(self._next_mark + n) % MARKS for n in range(count)])
            self._next_mark += count
            rest = {",": (0.15, 0.35), ".": (0.35, 0.7)}.get(before[-1:])
            pauses.append(self._rng.uniform(*rest) if rest else 0.0)
            before = word
        self.said.append(Saying(text, marks, pauses))
        return self.said[-1]


@dataclass
class Report:
    """What was counted.

    Attributes:
        kept: Words in the context, by barge-in.
        heard: Words audible in what was played.
        wrong: What the context held beside the beginning of what was said.
        captions: Captions that differ by more than one word from what the service put out.
        late: How long behind its word's first sound a caption came, in s; with word times.
        errors: Messages of the errors reported.
    """

    kept: list[int] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def off(self) -> list[int]:
        """Words too many (or, below 0, too few) in the context, by barge-in."""
        return [kept - heard for kept, heard in zip(self.kept, self.heard, strict=True)]

    def timely(self, bound: float) -> float:
        """Return the share of captions that came within so many s of their word's first sound."""
        return sum(abs(late) <= bound for late in self.late) / max(1, len(self.late))

    def within(self, words: int) -> float:
        """Return the share of barge-ins that left the context off by at most so many words."""
        return sum(abs(off) <= words for off in self.off) / len(self.kept)


async def barge_ins(
    service: RunwayVideoService,
    count: int,
    kind: Kind,
    *,
    pace: Pace = "burst",
    seed: int = 1,
    words: tuple[int, int] = (4, 18),
    meanwhile: Callable[[], Awaitable[None]] | None = None,
) -> Report:
    """Interrupt `count` texts at random instants of their sound.

    Args:
        service: The service, not running yet.
        count: How many.
        kind: What the TTS tells of its words.
        pace: How fast its sound comes.
        seed: Of texts and instants.
        words: Fewest and most words of a text.
        meanwhile: Called in the first half of each text; the interruption is in the second.
    """
    report, rng = Report(), random.Random(seed)
    context = LLMContext()
    pair = LLMContextAggregatorPair(context)
    tts = WordyTTSService(kind, pace=pace, seed=seed)
    transport = LoopbackTransport()
    output, front, behind, last = transport.output(), Tape(), Tape(), Tape()
    chain = [pair.user(), tts, service, front, output, behind, pair.assistant(), last]
    async with running(*chain) as run:
        await run.started()
        await front.wait_for_pictures(1, timeout=20)
        for number in range(count):
            text = sentences(rng, rng.randint(*words))
            place, put = len(behind.taped), len(front.taped)
            played = len(output.played.get(None, []))
            messages = len(context.messages)
            sounds = len(front.audio())
            await run.queue(TTSSpeakFrame(text))
            first = await front.wait_for(TTSAudioRawFrame, timeout=20, count=sounds + 1)
            saying = tts.said[number]
            length = sum(saying.pauses) + PIECE * sum(len(marks) for marks in saying.marks)
            if meanwhile is not None:
                await _until(first.at + rng.uniform(0.05, 0.3 * length))
                await meanwhile()
            await _until(first.at + length * rng.uniform(0.5 if meanwhile else 0.02, 1))
            await run.interrupt()
            await last.wait_for(InterruptionFrame, count=number + 1)
            heard = recording_of(output.played.get(None, [])[played:])
            word_of = {m: n for n, marks in enumerate(saying.marks) for m in marks}
            marks = heard.marks(among=word_of)
            report.heard.append(max((word_of[mark.number] + 1 for mark in marks), default=0))
            said = [str(m["content"]) for m in context.messages[messages:] if isinstance(m, dict)]
            words_kept = " ".join(said).removeprefix(_stray(behind, number)).split()
            if stray := _stray(front, number):
                report.wrong.append(f"{number}: {stray} behind the interruption")
            report.kept.append(len(words_kept))
            if words_kept != text.split()[: len(words_kept)] or len(said) > 1:
                report.wrong.append(f"{number}: {said}")
            passed = behind.taped[place:]
            shown = [(t.at, t.frame) for t in passed if isinstance(t.frame, TTSTextFrame)]
            caption = " ".join(frame.text for _, frame in shown)
            told = [t.frame for t in front.taped[put:] if isinstance(t.frame, TextFrame)]
            words_put = sum(type(frame) is TextFrame for frame in told)
            off = abs(len(caption.split()) - words_put) > 1 and kind != "word times"
            if off or not text.startswith(caption):
                report.captions.append(f"{number}: {caption}")
            if kind == "word times":
                sound = {mark.number: mark.start_s for mark in reversed(marks)}
                report.late += [
                    at - heard.started - sound[each[0]]
                    for (at, _), each in zip(shown, saying.marks, strict=False)
                    if each[0] in sound
                ]
            await asyncio.sleep(rng.uniform(0.05, 0.3))
        await run.end()
        report.errors = [frame.error for frame in run.errors]
    return report


def _stray(tape: Tape, number: int) -> str:
    """Return the text between an interruption and the speech after it.

    Behind an output transport there may be a word of it: the transport passes the interruption on
    first and drops what it holds then.
    """
    text, interruptions = "", 0
    for frame in (taped.frame for taped in tape.taped):
        interruptions += isinstance(frame, InterruptionFrame)
        if interruptions > number or (interruptions == number and type(frame) is TTSStartedFrame):
            break
        if interruptions == number and type(frame) is TextFrame:
            text += frame.text
    return text if number else ""


async def _until(at: float) -> None:
    """Let an instant that is part of the scenario come."""
    await asyncio.sleep(max(0.0, at - time.monotonic()))
