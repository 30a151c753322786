"""What the model believes it said, and what captions show, is what was heard."""

import asyncio
from typing import Any, cast

import pytest
from pipecat.frames.frames import (
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair

from pipecat_runway import RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.pipeline import Run, Tape, running
from tests.kit.timing import timed
from tests.kit.transport import LoopbackTransport, rtvi_messages
from tests.scenarios.words import Kind, Report, WordyTTSService, barge_ins

from .conftest import MakeService

SHORT = (3, 8)
KINDS: tuple[Kind, ...] = ("word times", "sentence behind", "sentence ahead")


@timed
async def test_a_barge_in_leaves_in_the_context_what_was_heard(make_service: MakeService) -> None:
    """Off by a word at most with word times, by two without (200 of them: see benchmarks)."""
    bots = [
        barge_ins(make_service(), 3, kind, seed=seed, words=SHORT)
        for seed, kind in enumerate(KINDS)
    ]
    for kind, report in zip(KINDS, await asyncio.gather(*bots), strict=True):
        assert report.within(1 if kind == "word times" else 2) == 1, (kind, report)
        assert [] == report.wrong + report.captions + report.errors, kind


@pytest.mark.long
async def test_so_does_one_in_an_utterance_that_is_divided_or_goes_on_by_voice(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """Whoever says the rest of it, the words go with the sound."""

    async def divided(kind: Kind) -> Report:
        service = make_service()

        async def divide() -> None:
            avatar = service._avatar
            assert avatar is not None
            head = avatar.ledger.head
            assert head is not None
            avatar.ledger.split(head, min(head.heard + 4_800, head.samples))
            avatar.spoke()

        return await barge_ins(service, 1, kind, words=(8, 12), meanwhile=divide)

    async def by_voice(kind: Kind) -> Report:
        service = make_service()

        async def leave() -> None:
            await runway.workers.leave(cast(str, service.session_id), "deleted")

        return await barge_ins(service, 1, kind, words=(8, 12), meanwhile=leave)

    for way in (divided, by_voice):
        for kind, report in zip(
            KINDS, await asyncio.gather(*(way(kind) for kind in KINDS[:2])), strict=False
        ):
            assert report.within(2) == 1, (way.__name__, kind, report)
            assert [] == report.wrong, (way.__name__, kind, report)


async def test_text_that_is_kept_whole_is_noticed(make_service: MakeService) -> None:
    """The count can fail: a service that does not divide its sentences is found out."""
    service = make_service()
    service._texts._take = lambda *_, **__: None  # type: ignore[method-assign]  # the break
    report = await barge_ins(service, 1, "sentence ahead", seed=5, words=(12, 16))
    assert max(report.off) > 2


SENTENCES = "One of the parcels is on its way. The other, I am afraid, is not."


@pytest.mark.long
async def test_whoever_is_not_interrupted_says_the_same_with_a_face(
    make_service: MakeService,
) -> None:
    """The same context and the same messages to the client, as many of each, as without a face."""

    async def said(kind: Kind, *faces: RunwayVideoService) -> tuple[list[Any], list[str]]:
        context = LLMContext()
        tts, last = WordyTTSService(kind), Tape()

        async def script(run: Run) -> None:
            await run.queue(TTSSpeakFrame("Hello, you there."))
            # Without a face, the first word of what follows at once gets into this message.
            await last.wait_for(TTSStoppedFrame, timeout=30)
            await run.queue(LLMFullResponseStartFrame())
            await run.queue(*(LLMTextFrame(word + " ") for word in SENTENCES.split()))
            await run.queue(LLMFullResponseEndFrame())
            await last.wait_for(TTSStoppedFrame, count=2, timeout=30)

        assistant = LLMContextAggregatorPair(context).assistant()
        messages = await rtvi_messages(script, tts, *faces, behind=(assistant, last))
        # On a busy machine a voice may take over, with an error; the text is the same.
        return list(context.messages), sorted(kind for kind in messages if kind != "error")

    faced = [said(kind, make_service()) for kind in KINDS]
    said_by = await asyncio.gather(*faced, *(said(kind) for kind in KINDS))
    for kind, seen, plain in zip(KINDS, said_by, said_by[len(KINDS) :], strict=False):
        assert plain[0] == seen[0], kind
        assert len(plain[0]) == 2, kind
        assert plain[1] == seen[1], kind


async def test_text_that_is_not_for_the_context_and_text_that_may_not_be_cut(
    make_service: MakeService,
) -> None:
    """`append_to_context=False` is shown and not kept; uninterruptible text is kept whole."""
    context = LLMContext()
    pair, transport = LLMContextAggregatorPair(context), LoopbackTransport()
    tts, front, last = WordyTTSService("sentence behind"), Tape(), Tape()
    chain = [tts, make_service(), front, transport.output(), last, pair.assistant()]
    async with running(*chain) as run:
        await run.started()
        await front.wait_for_pictures(1, timeout=20)
        await run.queue(TTSSpeakFrame("Just a moment.", append_to_context=False))
        await last.wait_for(TTSStoppedFrame, timeout=10)
        kept = TTSSpeakFrame("Calls are recorded.")
        kept.interruptible = False
        sounds = len(front.audio())
        await run.queue(kept)
        await front.wait_for(TTSAudioRawFrame, count=sounds + 10, timeout=10)
        await run.interrupt()
        await last.wait_for(TTSStoppedFrame, count=2, timeout=10)
        await run.queue(TTSSpeakFrame("Go on."))
        await last.wait_for(TTSStoppedFrame, count=3, timeout=10)
        await run.end()
    shown = [t.frame.text for t in last.of(TTSTextFrame) if isinstance(t.frame, TTSTextFrame)]
    assert ["Just a moment.", "Calls are recorded.", "Go on."] == shown
    contents = [str(cast(Any, message)["content"]) for message in context.messages]
    assert "Calls are recorded. Go on." == " ".join(contents)
