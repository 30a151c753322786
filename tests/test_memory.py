"""What is over is let go of at once: speech is large, and the collector may be long in coming."""

import gc

from pipecat.frames.frames import TTSStoppedFrame

from pipecat_runway.playback import Utterance
from tests.kit.machine import kept
from tests.kit.marks import marked_speech
from tests.kit.pipeline import running, tts_utterance
from tests.kit.waiting import until

from .conftest import MakeService

RATE = 24_000
BOUND = 20.0  # s


async def test_what_was_said_or_cut_is_let_go(make_service: MakeService) -> None:
    """With its speech and the TTS's frames, which are kept with it until it has been heard."""
    async with running(make_service()) as run:
        await run.started()
        gc.collect()
        gc.disable()  # what a cycle holds stays until somebody looks for it
        try:
            await run.feed(tts_utterance(marked_speech(0, 4, RATE), RATE, 1, "said", pace="burst"))
            await run.tape.wait_for(TTSStoppedFrame, timeout=BOUND)
            await run.feed(tts_utterance(marked_speech(9, 30, RATE), RATE, 1, "cut", pace="burst"))
            await run.head.wait_for(TTSStoppedFrame, timeout=BOUND, count=2)
            await until(lambda: run.tape.audio("cut"), BOUND)
            assert len(kept(Utterance)) == 1
            await run.interrupt()
            await run.feed(tts_utterance(marked_speech(50, 4, RATE), RATE, 1, "new", pace="burst"))
            await run.tape.wait_for(TTSStoppedFrame, timeout=BOUND, count=2)
            # What was cut last is known: its sound may still come back.
            await until(lambda: len(kept(Utterance)) == 1, BOUND)
        finally:
            gc.enable()
