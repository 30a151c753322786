"""A voice without a key: Pipecat TTS on the espeak-ng library."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.types import NOT_GIVEN, NotGiven, require_given

from pipecat_runway.simulator.espeak import DEFAULT_SPEED, DEFAULT_VOICE, Espeak, EspeakError

__all__ = [
    "DEFAULT_SPEED",
    "DEFAULT_VOICE",
    "Espeak",
    "EspeakError",
    "EspeakTTSService",
    "EspeakTTSSettings",
]


@dataclass
class EspeakTTSSettings(TTSSettings):
    """Settings of :class:`EspeakTTSService`.

    Parameters:
        speed: Words a minute, 80 to 450.
    """

    speed: int | NotGiven = field(default_factory=lambda: NOT_GIVEN)


class EspeakTTSService(TTSService):
    """Text to speech on this machine, without a key, faster than real time."""

    Settings = EspeakTTSSettings
    _settings: EspeakTTSSettings

    def __init__(self, *, settings: EspeakTTSSettings | None = None, **kwargs: Any) -> None:
        """Load espeak-ng.

        Args:
            settings: Voice and speed; by default American English at 165 words a minute.
            **kwargs: Passed on to :class:`TTSService`.

        Raises:
            EspeakError: If espeak-ng or the voice is missing.
        """
        chosen = self.Settings(model=None, voice=DEFAULT_VOICE, language=None, speed=DEFAULT_SPEED)
        if settings is not None:
            chosen.apply_update(settings)
        self._espeak = Espeak.shared()
        self._espeak.check_voice(str(chosen.voice))
        super().__init__(
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=self._espeak.sample_rate,
            settings=chosen,
            **kwargs,
        )

    def can_generate_metrics(self) -> bool:
        """Return True: synthesis is timed."""
        return True

    async def run_tts(self, text: str, context_id: str) -> AsyncGenerator[Frame | None, None]:
        """Yield the sound of a text, piece by piece, as espeak-ng makes it.

        Args:
            text: What to say.
            context_id: The utterance it belongs to.

        Yields:
            Audio frames, or an error frame.
        """
        await self.start_tts_usage_metrics(text)
        try:
            async for pcm in self._synthesize(text):
                await self.stop_ttfb_metrics()
                yield TTSAudioRawFrame(pcm, self.sample_rate, 1, context_id=context_id)
        except EspeakError as e:
            yield ErrorFrame(str(e), exception=e)
        finally:
            await self.stop_ttfb_metrics()

    async def _synthesize(self, text: str) -> AsyncGenerator[bytes, None]:
        """Run espeak-ng in a thread and yield its sound; leaving early stops it."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        unwanted = threading.Event()

        def on_audio(pcm: bytes) -> bool:
            loop.call_soon_threadsafe(pieces.put_nowait, pcm)
            return not unwanted.is_set()

        speaking = loop.run_in_executor(
            None,
            self._espeak.speak,
            text,
            str(self._settings.voice),
            require_given(self._settings.speed, "espeak-ng speed"),
            on_audio,
        )
        speaking.add_done_callback(lambda _: pieces.put_nowait(None))
        try:
            while (pcm := await pieces.get()) is not None:
                yield pcm
            await speaking
        finally:
            unwanted.set()
            await asyncio.wait({speaking})  # ends with the piece under way
