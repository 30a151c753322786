"""What a conversation tells, as the frames that Pipecat's speech-to-speech services push."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable

from pipecat.frames.frames import (
    Frame,
    InterimTranscriptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMTextFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.utils.text.base_text_aggregator import TextType
from pipecat.utils.time import time_now_iso8601

from pipecat_runway.responses import Mark, Responses
from pipecat_runway.speaking import Began, Ended, Sound
from pipecat_runway.transcripts import BotText, UserText

LOOK_INTERVAL = 0.1  # s between looks at a response that waits for its text or its voice


class Narration:
    """Makes frames of voice and text, and pushes them one after another.

    Args:
        processor: Who pushes them.

    Attributes:
        sample_rate: Rate of the voice in Hz.
        user_id: Who is heard, as the transport names them.
    """

    def __init__(self, processor: FrameProcessor, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.user_id = ""
        self._processor = processor
        self._responses = Responses()
        self._context_id: str | None = None  # of what is being said
        self._cut_id = ""  # of what was interrupted last
        self._out: asyncio.Queue[tuple[Frame, FrameDirection] | Callable[[], Awaitable[None]]] = (
            asyncio.Queue()
        )

    # -- what is told -------------------------------------------------------------------------

    def voice(self, what: Began | Sound | Ended) -> None:
        """Take what the avatar's voice does."""
        match what:
            case Began():
                self._context_id = uuid.uuid4().hex
                self._mark(self._responses.voice_begins())
                self.send(TTSStartedFrame(context_id=self._context_id))
            case Sound(pcm):
                self.send(TTSAudioRawFrame(pcm, self.sample_rate, 1, context_id=self._context_id))
            case Ended():
                self.send(TTSStoppedFrame(context_id=self._context_id))
                self._context_id = None
                self._mark(self._responses.voice_ends(time.monotonic()))

    def text(self, what: UserText | BotText) -> None:
        """Take what somebody has said."""
        if isinstance(what, UserText):
            kind = TranscriptionFrame if what.final else InterimTranscriptionFrame
            heard = kind(what.text, self.user_id, time_now_iso8601())
            self.send(heard, FrameDirection.UPSTREAM)
            return
        self._mark(self._responses.text(time.monotonic(), new_turn=what.new_turn))
        # RTVI goes by the one, context aggregators by the other.
        text = LLMTextFrame(what.text)
        text.append_to_context = False
        kind_of_text = TextType.SENTENCE if what.is_whole else TextType.WORD
        spoken = TTSTextFrame(what.text, kind_of_text, context_id=self._context_id)
        for frame in (text, spoken):
            frame.includes_inter_frame_spaces = not what.is_whole
            self.send(frame)

    def interrupt(self) -> None:
        """Let nothing more out of what is being said; its end is still told by :meth:`voice`."""
        self._cut_id = self._context_id or self._cut_id

    def end(self) -> None:
        """End the response there is."""
        self._mark(self._responses.end())

    # -- out, in order ------------------------------------------------------------------------

    def send(self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM) -> None:
        """Push a frame behind all that was told before."""
        self._out.put_nowait((frame, direction))

    def tell(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call something behind all that was told before."""
        self._out.put_nowait(call)

    async def told(self) -> None:
        """Wait until all of it was pushed."""
        await self._out.join()

    async def push(self) -> None:
        """Push for ever."""
        while True:
            item = await self._out.get()
            try:
                if not isinstance(item, tuple):
                    await item()
                elif not self._is_old(item[0]):
                    await self._processor.push_frame(*item)
            except Exception as e:  # a frame that cannot be pushed must not hold the others
                what = f"a frame could not be pushed: {type(e).__name__}"
                await self._processor.push_error(what, e)
            finally:
                self._out.task_done()

    async def look(self) -> None:
        """For ever, end responses that wait in vain."""
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self._mark(self._responses.look(time.monotonic()))

    def _mark(self, marks: list[Mark]) -> None:
        for mark in marks:
            begins = mark is Mark.BEGINS
            self.send(LLMFullResponseStartFrame() if begins else LLMFullResponseEndFrame())

    def _is_old(self, frame: Frame) -> bool:
        """Whether it is sound from before an interruption."""
        return isinstance(frame, TTSAudioRawFrame) and frame.context_id == self._cut_id
