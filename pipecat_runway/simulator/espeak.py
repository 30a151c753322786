"""The espeak-ng library: a voice without a key."""

import ctypes
import importlib
import threading
from collections.abc import Callable
from typing import Any, ClassVar

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
