"""Takes the times of a conversation from the frames that pass."""

import asyncio
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from pipecat.frames.frames import (
    InterruptionFrame,
    OutputImageRawFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.processors.frame_processor import FrameProcessor

AUDIBLE = 300  # peak, in LSB of 16 bits
SECOND = 1e9  # ns, the unit of Pipecat's clock


@dataclass
class Spoken:
    """One utterance. Its times are in s since the pipeline's start, None until they are known.

    Attributes:
        asked: Its first sample came out of the TTS.
        rate: The TTS's sample rate.
        sound: What came out of the TTS so far, mono s16le.
        began: Its first audible sound came out of the face.
        last: So did its last, so far.
        stopped: It was told to be over.
    """

    asked: float
    rate: int
    sound: bytearray = field(default_factory=bytearray)
    began: float | None = None
    last: float | None = None
    stopped: float | None = None


class Stopwatch(BaseObserver):
    """Watches a TTS and the face behind it.

    Attributes:
        spoken: The utterances in their order.
        first_picture: When the first picture came out of the face, in s since the start.
        interrupted: When the last interruption began its way.
    """

    def __init__(self, tts: FrameProcessor, face: FrameProcessor) -> None:
        """Watch two processors.

        Args:
            tts: Where speech comes from.
            face: Where it is seen and heard.
        """
        super().__init__()
        self.spoken: list[Spoken] = []
        self.first_picture: float | None = None
        self.interrupted: float | None = None
        self._tts = tts
        self._face = face
        self._by_context: dict[str | None, Spoken] = {}
        self._last_interruption: int | None = None
        self._news = asyncio.Condition()

    async def until(self, condition: Callable[[], bool], timeout: float) -> None:
        """Wait until something is true of what was seen.

        Args:
            condition: Looked at after every frame that matters.
            timeout: How long to wait, in s.

        Raises:
            TimeoutError: It did not become true.
        """
        async with asyncio.timeout(timeout), self._news:
            await self._news.wait_for(condition)

    async def on_push_frame(self, data: FramePushed) -> None:
        """Note the time of a frame.

        Args:
            data: The frame and its way.
        """
        at, frame = data.timestamp / SECOND, data.frame
        if isinstance(frame, InterruptionFrame):
            if frame.id != self._last_interruption:
                self._last_interruption, self.interrupted = frame.id, at
        elif data.source is self._tts:
            if isinstance(frame, TTSAudioRawFrame):
                self._from_tts(at, frame)
        elif data.source is self._face:
            self._from_face(at, frame)
        else:
            return
        async with self._news:
            self._news.notify_all()

    def _from_tts(self, at: float, frame: TTSAudioRawFrame) -> None:
        spoken = self._by_context.get(frame.context_id)
        if spoken is None:
            spoken = self._by_context[frame.context_id] = Spoken(at, frame.sample_rate)
            self.spoken.append(spoken)
        spoken.sound += frame.audio

    def _from_face(self, at: float, frame: object) -> None:
        if isinstance(frame, OutputImageRawFrame):
            self.first_picture = at if self.first_picture is None else self.first_picture
        elif isinstance(frame, TTSAudioRawFrame | TTSStoppedFrame):
            spoken = self._by_context.get(frame.context_id)
            if spoken is None:
                return
            if isinstance(frame, TTSStoppedFrame):
                spoken.stopped = at
            elif max(map(abs, array("h", frame.audio)), default=0) > AUDIBLE:
                spoken.began = at if spoken.began is None else spoken.began
                spoken.last = at
