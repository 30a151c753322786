"""The film: what arrives when is what is seen and heard when."""

import asyncio
import itertools
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from pipecat.frames.frames import OutputImageRawFrame, TTSAudioRawFrame

from pipecat_runway.cli.film import WAITING_PICTURES, FilmError, FilmSink, FilmWriter
from pipecat_runway.cli.measure import SOUND_RATE, Film, read_film
from tests.kit.pipeline import Run, running
from tests.kit.timing import timed

SIZE = (320, 180)
RATE = 22_050
BLACK, WHITE = (bytes([value]) * (SIZE[0] * SIZE[1] * 3) for value in (0, 255))

Event = tuple[float, Callable[[float], object]]


def tone(seconds: float, rate: int = RATE) -> bytes:
    """A tone of 1 kHz."""
    phase = np.arange(round(seconds * rate)) / rate * 2 * np.pi * 1000
    return (np.sin(phase) * 20_000).astype(np.int16).tobytes()


def pictures(writer: FilmWriter, seconds: float, fps: int, *white_at: float) -> list[Event]:
    """Black pictures at a constant rate, with a white one at some times."""
    white = {round(at * fps) for at in white_at}

    def event(number: int) -> Event:
        pixels = WHITE if number in white else BLACK

        def arrive(at: float) -> None:
            while not writer.picture(at, pixels, SIZE, "RGB"):
                time.sleep(0.001)  # the encoder's turn

        return number / fps, arrive

    return [event(number) for number in range(round(seconds * fps))]


def sound(writer: FilmWriter, at: float, pcm: bytes, rate: int = RATE) -> list[Event]:
    """Sound in pieces of 10 ms that arrive in real time."""
    size = rate // 100 * 2
    pieces = [pcm[place : place + size] for place in range(0, len(pcm), size)]
    return [
        (at + number / 100, lambda now, piece=piece: writer.sound(now, piece, rate, 1))  # type: ignore[misc]
        for number, piece in enumerate(pieces)
    ]


def play(path: Path, events: list[Event], writer: FilmWriter) -> Film:
    """Let everything arrive in its order, and read the film back with brightness for a mouth."""
    begin = 1000.0  # time.monotonic() begins anywhere
    for at, arrive in sorted(events, key=lambda event: event[0]):
        arrive(begin + at)
    writer.close()
    return read_film(path, lambda pixels: float(pixels.mean()))


def begins(film: Film, gap: float = 0.03) -> list[float]:
    """When sound begins after silence."""
    loud = np.flatnonzero(np.abs(film.sound) > 0.05) / SOUND_RATE
    return [float(loud[0]), *(float(b) for a, b in itertools.pairwise(loud) if b - a > gap)]


@pytest.mark.parametrize("fps", [24, 25])
def test_flash_and_beep_stay_together(tmp_path: Path, fps: int) -> None:
    """A flash and a beep that arrived together are within 10 ms in the film, early and late."""
    path, times = tmp_path / "film.mp4", (1.0, 3.0, 7.0)
    writer = FilmWriter(path, fps=fps)
    events = pictures(writer, 8.0, fps, *times)
    for at in times:
        events += sound(writer, at, tone(0.1))
    film = play(path, events, writer)
    assert film.fps == fps
    assert film.size == SIZE
    assert film.times[film.openness > 128] == pytest.approx(times, abs=0.001)
    assert begins(film) == pytest.approx(times, abs=0.01)


def test_the_film_is_what_players_expect(tmp_path: Path) -> None:
    """H.264 with yuv420p and AAC, both from 0 s to the end, every frame at its time."""
    path = tmp_path / "film.mp4"
    writer = FilmWriter(path)
    play(path, pictures(writer, 2.0, 24) + sound(writer, 0.5, tone(0.5)), writer)
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert audio.codec_context.name == "aac"
        assert video.start_time == audio.start_time == 0
        times = [picture.time for picture in container.decode(video)]
    assert times == pytest.approx([number / 24 for number in range(48)], abs=0.001)


def test_late_pictures_are_shown_where_they_arrived(tmp_path: Path) -> None:
    """A pause in the pictures holds the last one; jitter of a third of a frame changes nothing."""
    path = tmp_path / "film.mp4"
    writer = FilmWriter(path)
    jitter = itertools.cycle((0.0, 0.013, -0.013))
    events = [
        (max(0.0, at + shift), arrive)
        for (at, arrive), shift in zip(pictures(writer, 3.0, 24, 0.5, 2.0), jitter, strict=False)
        if not 0.75 < at < 1.75
    ]
    film = play(path, events, writer)
    assert len(film.times) == 72
    assert film.times[film.openness > 128] == pytest.approx([0.5, 2.0], abs=0.001)


def test_bursts_of_sound_are_neither_cut_nor_torn(tmp_path: Path) -> None:
    """Pieces that come three at a time every 30 ms are one sound; 200 ms later is a new one."""
    path = tmp_path / "film.mp4"
    writer = FilmWriter(path)
    burst = [
        (1.0 + (number // 3 * 3) / 100, arrive)
        for number, (_, arrive) in enumerate(sound(writer, 1.0, tone(0.6)))
    ]
    film = play(
        path,
        pictures(writer, 3.0, 24) + burst + sound(writer, 1.8, tone(0.2, 16_000), 16_000),
        writer,
    )
    assert begins(film, gap=0.002) == pytest.approx([1.0, 1.8], abs=0.01)
    loud = np.flatnonzero(np.abs(film.sound) > 0.05) / SOUND_RATE
    assert loud[-1] == pytest.approx(2.0, abs=0.01)


def test_an_interruption_takes_back_what_was_not_heard_yet(tmp_path: Path) -> None:
    """Of 2 s of sound that came at once, 0.5 s is in the film when it is interrupted then."""
    path = tmp_path / "film.mp4"
    writer = FilmWriter(path)
    events = pictures(writer, 3.0, 24)
    events += [(1.0, lambda now: writer.sound(now, tone(2.0), RATE, 1)), (1.5, writer.interrupt)]
    film = play(path, events, writer)
    assert film.speech == pytest.approx((1.0, 1.5), abs=0.02)


@timed
def test_taking_frames_never_waits(tmp_path: Path) -> None:
    """More pictures than can be encoded are left out and counted; the caller goes on."""
    writer = FilmWriter(tmp_path / "film.mp4")
    size = (1920, 1080)
    pixels = np.random.default_rng(1).integers(0, 255, size[0] * size[1] * 3, np.uint8).tobytes()
    begin = time.monotonic()
    taken = [writer.picture(1000 + number / 24, pixels, size, "RGB") for number in range(200)]
    assert time.monotonic() - begin < 0.1
    assert WAITING_PICTURES <= sum(taken) < 200
    assert writer.dropped_pictures == taken.count(False)
    writer.close()


def test_without_a_picture_there_is_no_film(tmp_path: Path) -> None:
    """It is said, and no file is left."""
    writer = FilmWriter(tmp_path / "film.mp4")
    writer.sound(1000.0, tone(0.1), RATE, 1)
    with pytest.raises(FilmError, match="no picture came"):
        writer.close()
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error names the file and the reason."""
    writer = FilmWriter(tmp_path / "nowhere" / "film.mp4")
    writer.picture(1000.0, BLACK, SIZE, "RGB")
    with pytest.raises(FilmError, match=r"nowhere/film\.mp4.*No such file"):
        writer.close()


async def _arrive(run: Run, count: int) -> None:
    """A second of pictures and sound in real time, pushed from the front."""
    begin = time.monotonic()
    for number in range(count):
        await asyncio.sleep(begin + number / 24 - time.monotonic())
        await run.queue(OutputImageRawFrame(WHITE if number == 12 else BLACK, SIZE, "RGB"))
        if number == 12:
            await run.queue(TTSAudioRawFrame(tone(0.1), RATE, 1))


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_a_pipeline_is_filmed_to_its_end(tmp_path: Path, how: str) -> None:
    """The film is complete when the pipeline has ended or was cancelled, and all frames passed."""
    path = tmp_path / "film.mp4"
    async with running(FilmSink(path)) as run:
        await run.started()
        await _arrive(run, 30)
        await run.tape.wait_for_pictures(30)
        await (run.end() if how == "end" else run.cancel())
        assert not run.errors
    film = await asyncio.to_thread(read_film, path, lambda pixels: float(pixels.mean()))
    flash = film.times[film.openness > 128]
    assert len(flash) == 1
    # On a real clock the flash may be half a slot off its arrival.
    assert begins(film) == pytest.approx(flash, abs=0.5 / 24 + 0.01)
    assert len(run.tape.pictures) == 30
    assert len(run.tape.audio()) == 1
