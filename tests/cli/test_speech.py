"""The voice: real espeak-ng in real pipelines."""

import asyncio
import threading

import numpy as np
import pytest
from pipecat.frames.frames import (
    TTSAudioRawFrame,
    TTSSpeakFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    TTSUpdateSettingsFrame,
)

from pipecat_runway.cli.speech import Espeak, EspeakError, EspeakTTSService
from tests.kit.pipeline import Tape, running

SENTENCE = "Every word you hear me say is moving my lips."
LONG = " ".join([SENTENCE] * 40)


async def test_a_sentence_becomes_sound() -> None:
    """A sentence is loud mono sound at 22,050 Hz of a plausible length, in pieces, once."""
    async with running(EspeakTTSService()) as run:
        await run.queue(TTSSpeakFrame(SENTENCE))
        await run.tape.wait_for(TTSStoppedFrame)
        audio = [frame for _, frame in run.tape.audio()]
        samples = np.frombuffer(b"".join(frame.audio for frame in audio), np.int16)
        assert {(frame.sample_rate, frame.num_channels) for frame in audio} == {(22_050, 1)}
        assert len(audio) > 8
        assert 2.0 < len(samples) / 22_050 < 4.0
        assert np.abs(samples).max() > 3000
        assert len(run.tape.of(TTSStartedFrame)) == len(run.tape.of(TTSStoppedFrame)) == 1
        assert not run.errors


async def test_sound_is_handed_on_as_it_is_made() -> None:
    """The first piece is out long before a long text has been synthesized."""
    async with running(EspeakTTSService()) as run:
        await run.queue(TTSSpeakFrame(LONG))
        first = await run.tape.wait_for(TTSAudioRawFrame)
        last = await run.tape.wait_for(TTSStoppedFrame)
        started = run.tape.of(TTSStartedFrame)[0]
        assert first.at - started.at < 0.3 * (last.at - started.at)


async def test_an_interruption_ends_the_sentence_and_the_next_is_whole() -> None:
    """What was being said stops, and the voice is at once ready for the next sentence."""
    async with running(EspeakTTSService(), tape := Tape()) as run:
        await run.queue(TTSSpeakFrame(LONG))
        first = await tape.wait_for(TTSAudioRawFrame)
        await run.interrupt()
        await run.queue(TTSSpeakFrame(SENTENCE))
        await tape.wait_for(TTSStoppedFrame)
        old = first.frame.context_id  # type: ignore[attr-defined]
        contexts = [frame.context_id for _, frame in tape.audio()]  # type: ignore[attr-defined]
        new = next(context for context in contexts if context != old)
        assert contexts == [old] * contexts.count(old) + [new] * contexts.count(new)
        assert tape.speech_pcm(old).seconds < 50.0  # of 100 s
        assert tape.speech_pcm(new).seconds > 2.0


async def test_leaving_early_stops_the_library() -> None:
    """A synthesis nobody wants any more ends with the piece under way."""
    pieces = 0

    def one_piece(_: bytes) -> bool:
        nonlocal pieces
        pieces += 1
        return False

    await asyncio.to_thread(Espeak.shared().speak, LONG, "en-us", 165, one_piece)
    assert pieces == 1


async def test_two_voices_at_once_do_not_mix() -> None:
    """The library's state is global; two threads get what each asked for."""
    lengths: dict[int, int] = {}

    def speak(speed: int) -> None:
        total = 0

        def on_audio(pcm: bytes) -> bool:
            nonlocal total
            total += len(pcm)
            return True

        Espeak.shared().speak(SENTENCE, "en-us", speed, on_audio)
        lengths[speed] = total

    threads = [threading.Thread(target=speak, args=(speed,)) for speed in (100, 300)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert lengths[100] > 2 * lengths[300] > 0


def test_an_unknown_voice_is_refused_at_once() -> None:
    """The error names the voice and an existing one."""
    with pytest.raises(EspeakError, match=r"no voice 'atlantean'.*'en-us'"):
        EspeakTTSService(settings=EspeakTTSService.Settings(voice="atlantean"))


async def test_a_voice_can_change_and_a_wrong_one_is_an_error() -> None:
    """A live change to a voice that does not exist is one ErrorFrame that names it."""
    async with running(EspeakTTSService()) as run:
        delta = EspeakTTSService.Settings(voice="atlantean")
        await run.queue(TTSUpdateSettingsFrame(delta=delta), TTSSpeakFrame(SENTENCE))
        await run.tape.wait_for(TTSStoppedFrame)
        assert any("atlantean" in error.error for error in run.errors)
        assert not run.tape.audio()
        delta = EspeakTTSService.Settings(voice="de", speed=300)
        await run.queue(TTSUpdateSettingsFrame(delta=delta), TTSSpeakFrame("Guten Tag."))
        await run.tape.wait_for(TTSAudioRawFrame)


def test_a_speed_out_of_range_is_refused() -> None:
    """The error names the range."""
    with pytest.raises(EspeakError, match="80 to 450 words a minute, not 7"):
        Espeak.shared().speak(SENTENCE, "en-us", 7, lambda _: True)
