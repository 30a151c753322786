"""Films what leaves a pipeline: picture and sound as they arrive, into one MP4."""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import Colorspace, VideoReformatter
from pipecat.frames.frames import (
    Frame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputImageRawFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor

SOUND_RATE = 48_000
MAX_GAP = 0.06  # s; sound that stops shorter than this came in a burst and is kept together
WAITING_PICTURES = 24  # about 1 s, 66 MB at 720p
WAITING_PIECES = 6000  # about 60 s of sound
CLOSE_TIMEOUT = 30.0

_PIXELS = {"RGB": "rgb24", "RGBA": "rgba", None: "rgb24"}

Samples = npt.NDArray[np.int16]


class FilmError(RuntimeError):
    """The film could not be made; the message says why."""


class FilmSink(FrameProcessor):
    """Stands where a transport's output stands and films what it would have sent.

    The film begins with the first picture. It is finished when the pipeline is, however that ends.
    """

    def __init__(self, path: Path, *, fps: int = 24) -> None:
        """Begin a film.

        Args:
            path: The MP4 to write; one that is there is replaced.
            fps: Its constant frame rate.
        """
        # Direct mode: a frame is timed where it is pushed, not behind others in a queue.
        super().__init__(enable_direct_mode=True)
        self._film = FilmWriter(path, fps=fps)

    @property
    def dropped_pictures(self) -> int:
        """Pictures left out because encoding could not keep up."""
        return self._film.dropped_pictures

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Film a frame and pass it on.

        Args:
            frame: The frame.
            direction: Where it is going.
        """
        await super().process_frame(frame, direction)
        now = time.monotonic()
        if isinstance(frame, OutputImageRawFrame):
            self._film.picture(now, frame.image, frame.size, frame.format)
        elif isinstance(frame, OutputAudioRawFrame):
            self._film.sound(now, frame.audio, frame.sample_rate, frame.num_channels)
        elif isinstance(frame, InterruptionFrame):
            self._film.interrupt(now)
        await self.push_frame(frame, direction)

    async def cleanup(self) -> None:
        """Finish the film."""
        try:
            await asyncio.to_thread(self._film.close)
        except FilmError as e:
            await self.push_error(str(e), exception=e)
        await super().cleanup()  # type: ignore[no-untyped-call]


class FilmWriter:
    """Owns the MP4 and the thread that encodes it.

    Attributes:
        dropped_pictures: Pictures left out because encoding could not keep up.
    """

    def __init__(self, path: Path, *, fps: int = 24) -> None:
        """Start the thread; the file is opened with the first picture.

        Args:
            path: The MP4 to write; one that is there is removed.
            fps: Its constant frame rate.

        Raises:
            OSError: If what is there cannot be removed.
        """
        path.unlink(missing_ok=True)
        self.dropped_pictures = 0
        self._path = path
        self._fps = fps
        self._steps: queue.Queue[Callable[[], None] | None] = queue.Queue(WAITING_PIECES)
        self._room = threading.BoundedSemaphore(WAITING_PICTURES)
        self._reel: _Reel | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._encode, name="film", daemon=True)
        self._thread.start()

    def picture(self, at: float, pixels: bytes, size: tuple[int, int], mode: str | None) -> bool:
        """Take a picture; returns at once.

        Args:
            at: When it arrived, ``time.monotonic()``.
            pixels: Its bytes.
            size: Width and height.
            mode: ``RGB`` or ``RGBA``.

        Returns:
            Whether there was room for it.
        """
        if not self._room.acquire(blocking=False):
            self.dropped_pictures += 1
            return False

        def step() -> None:
            self._room.release()
            width, height = size
            rows = np.frombuffer(pixels, np.uint8).reshape(height, width, -1)
            picture = av.VideoFrame.from_ndarray(rows, _PIXELS[mode])
            if self._reel is None:
                self._reel = _Reel(self._path, self._fps, at, size)
            self._reel.picture(at, picture)

        self._do(step)
        return True

    def sound(self, at: float, pcm: bytes, rate: int, channels: int) -> None:
        """Take a piece of s16le sound; returns at once.

        Args:
            at: When it arrived, ``time.monotonic()``.
            pcm: Its samples.
            rate: Samples a second.
            channels: Interleaved channels.
        """

        def step() -> None:
            if self._reel is not None:
                samples = np.frombuffer(pcm, np.int16).reshape(-1, channels)
                self._reel.sound(at, samples.mean(axis=1).astype(np.int16), rate)

        self._do(step)

    def interrupt(self, at: float) -> None:
        """Drop the sound that would be heard after this instant, as a transport does.

        Args:
            at: When the interruption arrived, ``time.monotonic()``.
        """

        def step() -> None:
            if self._reel is not None:
                self._reel.interrupt(at)

        self._do(step)

    def close(self) -> None:
        """Finish the file. Calling it again changes nothing.

        Raises:
            FilmError: If there is no film, or not all of it.
        """
        if self._thread.is_alive():
            with suppress(queue.Full):
                self._steps.put(None, timeout=CLOSE_TIMEOUT)
            self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            raise FilmError(f"{self._path}: encoding did not end within {CLOSE_TIMEOUT:.0f} s.")
        if self._error is not None:
            raise FilmError(f"{self._path}: {self._error}") from self._error
        if self._reel is None:
            raise FilmError(f"{self._path}: no picture came, so there is no film.")

    def _do(self, step: Callable[[], None]) -> None:
        """Leave a step to the thread."""
        try:
            self._steps.put_nowait(step)
        except queue.Full:
            self._error = self._error or TimeoutError(
                "encoding is a minute behind, and was given up"
            )

    def _encode(self) -> None:
        try:
            while (step := self._steps.get()) is not None:
                if self._error is None:
                    self._try(step)
        finally:
            if self._reel is not None:
                self._try(self._reel.close)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as e:  # told by close(), to whoever owns the film
            self._error = self._error or e


class _Reel:
    """The open file: a track of pictures and a track of sound on one clock."""

    def __init__(self, path: Path, fps: int, begin: float, size: tuple[int, int]) -> None:
        self._begin = begin
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._pictures = _PictureTrack(self._container, fps, size)
        self._sound = _SoundTrack(self._container)

    def picture(self, at: float, picture: av.VideoFrame) -> None:
        self._pictures.show(at - self._begin, picture)
        self._sound.write_until(at - self._begin - 2 * MAX_GAP)

    def sound(self, at: float, samples: Samples, rate: int) -> None:
        self._sound.play(at - self._begin, samples, rate)

    def interrupt(self, at: float) -> None:
        self._sound.cut(at - self._begin)

    def close(self) -> None:
        try:
            end = self._pictures.finish(self._sound.end)
            self._sound.finish(end)
        finally:
            self._container.close()


class _PictureTrack:
    """Pictures at a constant rate: each is shown in the slot nearest to its arrival."""

    def __init__(
        self, container: av.container.OutputContainer, fps: int, size: tuple[int, int]
    ) -> None:
        self._container = container
        self._fps = fps
        self._width, self._height = (length - length % 2 for length in size)  # yuv420p is even
        self._stream = container.add_stream(
            "libx264", rate=fps, options={"preset": "superfast", "crf": "20", "threads": "1"}
        )
        self._stream.width, self._stream.height = self._width, self._height
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = Fraction(1, fps)
        # Players take HD pictures for BT.709.
        self._stream.codec_context.colorspace = Colorspace.ITU709
        self._reformatter = VideoReformatter()
        self._slot = 0
        self._waiting: av.VideoFrame | None = None

    def show(self, at: float, picture: av.VideoFrame) -> None:
        """Take a picture that arrived at this film time; of two for one slot the later stays."""
        place = at * self._fps
        following = self._slot + 1
        # Arrivals that hover between two slots would double one picture and drop the next.
        slot = following if abs(place - following) < 0.6 else max(round(place), self._slot)
        self._fill(slot)
        self._slot = slot
        self._waiting = self._reformatter.reformat(
            picture,
            width=self._width,
            height=self._height,
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709,
            threads=1,
        )

    def finish(self, end: float) -> float:
        """Hold the last picture until the sound ends; return the film time it is shown to."""
        slot = max(self._slot + 1, round(end * self._fps))
        self._fill(slot)
        self._container.mux(self._stream.encode(None))
        return slot / self._fps

    def _fill(self, until: int) -> None:
        """Encode the waiting picture into every slot before `until`."""
        if self._waiting is not None:
            for slot in range(self._slot, until):
                self._waiting.pts = slot
                self._waiting.time_base = Fraction(1, self._fps)
                self._container.mux(self._stream.encode(self._waiting))


class _SoundTrack:
    """Sound where it arrived, silence between; what arrives in a burst stays in one piece."""

    def __init__(self, container: av.container.OutputContainer) -> None:
        self._container = container
        self._stream = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self._stream.bit_rate = 128_000
        self._written = 0
        self._waiting = np.zeros(0, np.int16)
        self._resampler: _Resampler | None = None
        self.end = 0.0

    def play(self, at: float, samples: Samples, rate: int) -> None:
        """Take samples that arrived at this film time."""
        if at - self.end > MAX_GAP:
            self._end_run()
            self._pad(round(at * SOUND_RATE))
            self.end = at
        if self._resampler is None or self._resampler.rate != rate:
            self._end_run()
            self._resampler = _Resampler(rate)
        self._append(self._resampler.resample(samples))
        self.end += len(samples) / rate

    def cut(self, at: float) -> None:
        """Forget what would be heard after this film time."""
        if self.end > at:
            self._resampler = None
            self._waiting = self._waiting[: max(0, round(at * SOUND_RATE) - self._written)]
            self.end = (self._written + len(self._waiting)) / SOUND_RATE

    def write_until(self, time: float) -> None:
        """Encode up to this film time, twice the gap ago, with silence where nothing arrived."""
        if self.end < time + MAX_GAP:  # nothing can be joined to this run any more
            self._end_run()
        index = round(time * SOUND_RATE)
        if index > self._written:
            self._pad(index)
            count = index - self._written
            self._encode(self._waiting[:count])
            self._waiting = self._waiting[count:]

    def finish(self, end: float) -> None:
        """Encode the rest, at least to this film time."""
        self._end_run()
        self._pad(round(end * SOUND_RATE))
        self._encode(self._waiting)
        self._container.mux(self._stream.encode(None))

    def _end_run(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler.flush())
            self._resampler = None

    def _append(self, samples: Samples) -> None:
        self._waiting = np.concatenate([self._waiting, samples])

    def _pad(self, index: int) -> None:
        missing = index - self._written - len(self._waiting)
        if missing > 0:
            self._append(np.zeros(missing, np.int16))

    def _encode(self, samples: Samples) -> None:
        if len(samples):
            frame = _audio_frame(samples, SOUND_RATE)
            frame.pts = self._written
            frame.time_base = Fraction(1, SOUND_RATE)
            self._container.mux(self._stream.encode(frame))
            self._written += len(samples)


class _Resampler:
    """One run of sound brought to the film's rate."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._resampler = av.AudioResampler("s16", "mono", SOUND_RATE)

    def resample(self, samples: Samples) -> Samples:
        return _samples(self._resampler.resample(_audio_frame(samples, self.rate)))

    def flush(self) -> Samples:
        return _samples(self._resampler.resample(None))


def _audio_frame(samples: Samples, rate: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "s16", "mono")
    frame.sample_rate = rate
    return frame


def _samples(frames: list[av.AudioFrame]) -> Samples:
    pieces = [frame.to_ndarray().reshape(-1) for frame in frames]
    return np.concatenate(pieces) if pieces else np.zeros(0, np.int16)
