"""Looks at and listens to what leaves a bot, and tells ``pipecat eval`` what it found.

A scenario can only expect the events that the tool knows. Of these, a function call made
elsewhere carries values that a scenario can ask for, so each finding is reported as one:

- ``pictures(sizes)``: the sizes of the face's first pictures, such as ``["640x360"]``.
- ``heard(words, whole, share, old)``: an utterance has left the transport. `whole`: its sound is
  the voice's own, from the first word to the last; `share`: how much of it. `old`: speech that
  had been interrupted before was heard, too.
"""

import asyncio
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pipecat.frames.frames import (
    EndFrame,
    ExternalFunctionCallInProgressFrame,
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
    OutputTransportMessageUrgentFrame,
    TTSAudioRawFrame,
    TTSStoppedFrame,
    TTSTextFrame,
)
from pipecat.observers.base_observer import BaseObserver, FramePushed
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

from pipecat_runway.cli.measure import Film, share_heard
from pipecat_runway.matching import Samples, find, level, samples
from pipecat_runway.resampling import SpeechResampler
from pipecat_runway.wire import SPEECH_RATE

ENOUGH = 24  # pictures, about 1 s
WHOLE = 0.9  # of an utterance: a jitter buffer may mend a piece of it
PIECE = 0.3  # s of old speech that is looked for: shorter ones are alike by chance
ALIKE = 0.6  # normalized correlation of two hearings of the same sound
AUDIBLE = 300  # RMS, in steps of 16 bits
PATIENCE = 3.0  # s the end of a call waits for the last finding


@dataclass
class Speech:
    """An utterance as the voice made it: mono s16le."""

    words: str = ""
    pcm: bytearray = field(default_factory=bytearray)
    rate: int = 0


class Gate(FrameProcessor):
    """Holds the end of a call until the tool has been told of the last words.

    Attributes:
        told: Whether it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told = asyncio.Event()
        self.told.set()

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if isinstance(frame, EndFrame):
            with suppress(TimeoutError):
                await asyncio.wait_for(self.told.wait(), PATIENCE)
        await self.push_frame(frame, direction)
        if isinstance(frame, OutputTransportMessageUrgentFrame) and _is_heard(frame.message):
            self.told.set()


class Witness(BaseObserver):
    """Compares what leaves the transport with what the voice said.

    Attributes:
        gate: Belongs in front of the transport's output.
    """

    def __init__(self, tts: FrameProcessor, face: FrameProcessor, output: FrameProcessor) -> None:
        super().__init__()
        self.gate = Gate()
        self._tts, self._face, self._output = tts, face, output
        self._sizes: list[str] = []
        self._said: dict[str | None, Speech] = {}
        self._cut: Speech | None = None
        self._played = bytearray()
        self._rate = 0

    async def on_push_frame(self, data: FramePushed) -> None:
        if data.source is self._tts:
            self._from_tts(data.frame)
        elif data.source is self._face and isinstance(data.frame, OutputImageRawFrame):
            await self._look(data.frame)
        elif data.source is self._output:
            await self._listen(data.frame)

    def _from_tts(self, frame: Frame) -> None:
        if isinstance(frame, TTSAudioRawFrame):
            speech = self._said.setdefault(frame.context_id, Speech())
            speech.pcm += frame.audio
            self.gate.told.clear()
            speech.rate = frame.sample_rate
        elif isinstance(frame, TTSTextFrame):
            self._said.setdefault(frame.context_id, Speech()).words += frame.text

    async def _look(self, frame: OutputImageRawFrame) -> None:
        self._sizes.append("{}x{}".format(*frame.size))
        if len(self._sizes) == ENOUGH:
            await self._tell("pictures", sizes=sorted(set(self._sizes)))

    async def _listen(self, frame: Frame) -> None:
        if isinstance(frame, OutputAudioRawFrame):
            self._played += frame.audio
            self._rate = frame.sample_rate
        elif isinstance(frame, InterruptionFrame):
            self._interrupt()
        elif isinstance(frame, TTSStoppedFrame):
            speech = self._said.pop(frame.context_id, None)
            if speech is None:  # it was cut, and should not have come
                return
            played, cut = bytes(self._played), self._cut
            self._played.clear()
            self._cut = None
            share, old = await asyncio.to_thread(_compare, played, self._rate, speech, cut)
            await self._tell(
                "heard",
                words=speech.words.strip(),
                whole=share >= WHOLE,
                share=round(share, 2),
                old=old,
            )

    def _interrupt(self) -> None:
        """Remember what had been said and not yet played."""
        spoken = [speech for speech in self._said.values() if speech.rate]
        if spoken:
            played = len(self._played) // 2 * spoken[0].rate // max(1, self._rate) * 2
            rest = b"".join(speech.pcm for speech in spoken)[played:]
            self._cut = Speech(pcm=bytearray(rest), rate=spoken[0].rate)
        self._said.clear()
        self._played.clear()
        self.gate.told.set()

    async def _tell(self, name: str, **findings: Any) -> None:
        # Not by the worker's queue: it is closed behind the end of a call.
        await self._output.push_frame(
            ExternalFunctionCallInProgressFrame(name, str(uuid.uuid4()), findings)
        )


def _is_heard(message: dict[str, Any]) -> bool:
    return (message.get("data") or {}).get("function_name") == "heard"


def _compare(played: bytes, rate: int, speech: Speech, cut: Speech | None) -> tuple[float, bool]:
    """How much of a speech is in what was played, and whether anything of another one is."""
    sound = _resampled(played, rate)
    nothing = np.zeros(0)
    film = Film((0, 0), 1.0, nothing, nothing, sound / 32768)
    share = share_heard(film, bytes(speech.pcm), speech.rate)
    return share, cut is not None and _any_of(_resampled(bytes(cut.pcm), cut.rate), sound)


def _any_of(speech: Samples, sound: Samples) -> bool:
    """Whether a piece of a speech is in a sound."""
    size = round(PIECE * SPEECH_RATE)
    pieces = [speech[place : place + size] for place in range(0, len(speech) - size, size)]
    return any(find(piece, sound).score > ALIKE for piece in pieces if level(piece) > AUDIBLE)


def _resampled(pcm: bytes, rate: int) -> Samples:
    resampler = SpeechResampler()
    return samples(resampler.push(pcm, rate, 1) + resampler.flush())
