"""A voice without a key: Pipecat TTS on the espeak-ng library."""

import asyncio
import ctypes
import importlib
import threading
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pipecat.frames.frames import ErrorFrame, Frame, TTSAudioRawFrame
from pipecat.services.settings import TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.utils.types import NOT_GIVEN, NotGiven, require_given

DEFAULT_VOICE = "en-us"
DEFAULT_SPEED = 165
PIECE_MS = 200  # few frames: each costs the event loop about a millisecond

# From espeak-ng's public header speak_lib.h, release 1.52.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_PARAMETER_RATE = 1
_EE_OK = 0
_SPEEDS = range(80, 451)
_OnSamples = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class EspeakError(RuntimeError):
    """espeak-ng cannot speak; the message says what to do."""


class Espeak:
    """The espeak-ng library of this process. Its state is global: one sentence at a time.

    Attributes:
        sample_rate: Rate of the mono s16le sound, in Hz.
    """

    _shared: ClassVar["Espeak | None"] = None
    _loading: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self) -> None:
        try:
            loader = importlib.import_module("espeakng_loader")
        except ModuleNotFoundError as e:
            raise EspeakError(
                'There is no voice: pip install "pipecat-runway[demo]" brings espeak-ng.'
            ) from e
        try:
            self._library = ctypes.CDLL(loader.get_library_path())
            data: str = loader.get_data_path()
        except (OSError, RuntimeError) as e:
            raise EspeakError(
                f"espeak-ng cannot be loaded ({e}): reinstall the package espeakng-loader."
            ) from e
        self._library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self.sample_rate: int = self._library.espeak_Initialize(
            _AUDIO_OUTPUT_SYNCHRONOUS, PIECE_MS, data.encode(), _INITIALIZE_DONT_EXIT
        )
        if self.sample_rate <= 0:
            raise EspeakError(
                f"espeak-ng found no voice data in {data}: reinstall the package espeakng-loader."
            )
        self._speaking = threading.Lock()

    @classmethod
    def shared(cls) -> "Espeak":
        """Return the library, loaded on the first call.

        Raises:
            EspeakError: If it or its voices are missing.
        """
        with cls._loading:
            if cls._shared is None:
                cls._shared = cls()
            return cls._shared

    def check_voice(self, voice: str) -> None:
        """Raise an :class:`EspeakError` if there is no such voice."""
        with self._speaking:
            self._choose_voice(voice)

    def speak(self, text: str, voice: str, speed: int, on_audio: Callable[[bytes], bool]) -> None:
        """Synthesize a text, blocking; the sound is handed over as it is made.

        Args:
            text: What to say.
            voice: An espeak-ng voice, such as ``en-us`` or ``en-us+f3``.
            speed: Words a minute, 80 to 450.
            on_audio: Takes each piece of sound; False ends the synthesis.

        Raises:
            EspeakError: If the voice or the speed does not exist, or synthesis fails.
        """
        if speed not in _SPEEDS:
            raise EspeakError(
                f"espeak-ng speaks {_SPEEDS.start} to {_SPEEDS.stop - 1} words a minute, "
                f"not {speed}."
            )

        def on_samples(samples: Any, count: int, _events: Any) -> int:
            goes_on = not count or on_audio(ctypes.string_at(samples, count * 2))
            return 0 if goes_on else 1

        callback = _OnSamples(on_samples)
        utf8 = text.encode()
        with self._speaking:
            self._choose_voice(voice)
            self._library.espeak_SetParameter(_PARAMETER_RATE, speed, 0)
            self._library.espeak_SetSynthCallback(callback)
            status = self._library.espeak_Synth(
                utf8, len(utf8) + 1, 0, 0, 0, _CHARS_UTF8, None, None
            )
        if status != _EE_OK:
            raise EspeakError(f"espeak-ng could not speak the text (status {status}).")

    def _choose_voice(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()) != _EE_OK:
            raise EspeakError(
                f"espeak-ng has no voice {voice!r}: give one such as {DEFAULT_VOICE!r}, 'de' or "
                f"'{DEFAULT_VOICE}+f3'."
            )


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
