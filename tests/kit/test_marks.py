import asyncio
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from livekit import api, rtc
from numpy.typing import NDArray

from pipecat_runway.simulator.livekit_server import LiveKitServer

from .marks import (
    MARKS,
    PIECE,
    Samples,
    Verdict,
    compare,
    marked_speech,
    mono,
    numbers,
    onset_end,
    piece,
    read_marks,
    resampled,
    stretches,
)

RATES = [8000, 16000, 22050, 24000, 32000, 44100, 48000]
READING = settings(deadline=None, max_examples=40, derandomize=True)


def sixteen_bit(wave: NDArray[np.floating]) -> NDArray[np.floating]:
    rounded: NDArray[np.floating] = np.rint(wave * 32767)
    return rounded


def heard_in(*waves: Samples, rate: int = 48000) -> list[int]:
    return [mark.number for mark in read_marks(sixteen_bit(np.concatenate(waves)), rate)]


# --- reading back what was made ---------------------------------------------------------------


@READING
@given(
    made_at=st.sampled_from(RATES),
    heard_at=st.sampled_from(RATES),
    first=st.integers(0, MARKS - 1),
    pieces=st.integers(1, 12),
    ahead=st.floats(0, 0.2),
    gain=st.floats(0.3, 1.0),
    noise=st.integers(0, 25),
)
def test_marks_are_read_back_with_their_times(
    made_at: int, heard_at: int, first: int, pieces: int, ahead: float, gain: float, noise: int
) -> None:
    """Whatever rate, offset, gain and noise floor: all marks, once, in order, within 1 ms."""
    speech = mono(marked_speech(first, pieces, made_at))
    silence = np.zeros(round(ahead * heard_at), np.float32)
    wave = gain * np.concatenate([silence, resampled(speech, made_at, heard_at), silence])
    floor = np.random.default_rng(pieces).integers(-noise, noise, len(wave), endpoint=True)
    marks = read_marks(sixteen_bit(wave) + floor, heard_at)
    assert compare(numbers(first, pieces), marks).clean
    for index, mark in enumerate(marks):
        assert abs(mark.start_s - ahead - index * PIECE) < 0.001
        assert abs(mark.end_s - ahead - (index + 1) * PIECE) < 0.001


def test_stereo_pauses_and_tail_are_as_asked() -> None:
    """The speech has the length, channels and pauses asked for; a cut tail is heard as such."""
    pcm = marked_speech(7, 5, 16000, 2, pauses={0: 0.25, 3: 0.5}, tail=0.06, noise=25)
    samples = np.frombuffer(pcm, "<i2").reshape(-1, 2)
    assert len(samples) == 16000 * (0.25 + 0.3 + 0.5 + 0.2 + 0.06)
    assert np.array_equal(samples[:, 0], samples[:, 1])
    marks = read_marks(pcm, 16000, 2)
    assert [m.number for m in marks] == [7, 8, 9, 10, 11, 12]
    assert [round(m.start_s, 3) for m in marks] == [0.25, 0.35, 0.45, 1.05, 1.15, 1.25]
    assert 0.05 <= marks[-1].heard_s <= 0.07
    assert stretches(pcm, 16000, channels=2) == [
        pytest.approx((0.25, 0.55), abs=0.003),
        pytest.approx((1.05, 1.31), abs=0.003),
    ]
    assert onset_end(pcm, 16000, channels=2) == pytest.approx((0.25, 1.31), abs=0.003)


def test_reading_among_some_numbers_finds_the_same() -> None:
    """Restricting the search changes nothing about those that are looked for."""
    pcm = marked_speech(990, 20, 24000)
    every = read_marks(pcm, 24000)
    assert [m.number for m in every] == numbers(990, 20) == [*range(990, 1000), *range(10)]
    assert read_marks(pcm, 24000, among=range(10)) == [m for m in every if m.number < 10]


def test_where_there_are_no_marks_none_are_read() -> None:
    """Silence, noise floors, loud noise and speech-coloured noise carry no marks."""
    rng = np.random.default_rng(4)
    loud = rng.normal(0, 4000, 16000 * 10)
    coloured = np.convolve(loud, 0.9 ** np.arange(60))[: len(loud)]
    for sound in (np.zeros(16000), rng.integers(-25, 26, 16000), loud, coloured):
        assert read_marks(sound, 16000) == []
    assert stretches(rng.integers(-25, 26, 16000), 16000) == []
    assert onset_end(np.zeros(16000), 16000) is None
    assert read_marks(b"", 48000) == []


# --- what the marks are made of ---------------------------------------------------------------


def test_marks_are_speech_like_in_level_and_band() -> None:
    """Every mark has the level of speech, never clips and lies between 300 and 3400 Hz."""
    waves = np.stack([piece(number, 16000) for number in range(MARKS)])
    level = 20 * np.log10(np.sqrt(np.mean(waves**2, axis=1)))
    assert level.min() > -15
    assert level.max() < -13
    assert np.abs(waves).max() < 0.5
    power = np.abs(np.fft.rfft(waves, axis=1)) ** 2
    assert power[:, 30:341].sum() / power.sum() > 0.995


def test_short_windows_of_marks_match_nothing_else() -> None:
    """No 20 ms of a mark are found elsewhere in it or in its neighbours with more than 0.7,
    no 40 ms with more than 0.55 (normalized correlation): tracking by sound cannot go astray.
    """  # noqa: D205
    worst = {20: 0.0, 40: 0.0}
    for first in range(0, MARKS, 50):
        line = mono(marked_speech(first, 6, 8000))
        for ms in worst:
            size = 8 * ms
            windows = np.lib.stride_tricks.sliding_window_view(line, size)
            windows = windows / np.linalg.norm(windows, axis=1, keepdims=True)
            for at in range(1600, 2400 - size, 97):
                likeness = windows @ windows[at]
                likeness[at - 4 : at + 5] = 0
                worst[ms] = max(worst[ms], float(likeness.max()))
    assert worst[20] < 0.7
    assert worst[40] < 0.55


# --- what has gone wrong is noticed -----------------------------------------------------------


@READING
@given(
    number=st.integers(0, MARKS - 1),
    length=st.floats(0.040, 0.095),
    where=st.floats(0, 1),
    between=st.sampled_from(["silence", "speech"]),
)
def test_fragments_of_40_ms_are_heard(
    number: int, length: float, where: float, between: str
) -> None:
    """Any 40 ms of a mark count as heard, in silence and between other speech, within 7 ms."""
    begin = where * (PIECE - length)
    fragment = piece(number, 48000)[round(begin * 48000) : round((begin + length) * 48000)]
    around = piece(number + 1, 48000) * (between == "speech"), piece(number + 2, 48000)
    marks = read_marks(sixteen_bit(np.concatenate([around[0], fragment, around[1]])), 48000)
    (mark,) = [m for m in marks if m.number == number]
    assert abs(mark.start_s - 0.1) < 0.007
    assert abs(mark.heard_s - length) < 0.015


def test_breaks_are_noticed() -> None:
    """A piece dropped, doubled, swapped, cut or put in from elsewhere is named as such."""
    a, b, c, d, e = (piece(number, 48000) for number in range(10, 15))
    sent = numbers(10, 5)
    assert compare(sent, heard_in(a, b, c, d, e)).clean
    assert compare(sent, heard_in(a, b, d, e)) == Verdict(lost=[12])
    assert compare(sent, heard_in(a, b, c, c, d, e)) == Verdict(doubled=[12])
    assert compare(sent, heard_in(a, b, c, d, e, b)) == Verdict(doubled=[11])
    assert compare(sent, heard_in(a, c, b, d, e)).out_of_order in ([11], [12])
    assert compare(sent, heard_in(e, a, b, c, d)) == Verdict(out_of_order=[14])
    old = piece(700, 48000)[1000 : 1000 + 1920]
    assert compare(sent, heard_in(a, b, old, c, d, e)) == Verdict(foreign=[700])
    assert compare(sent, []) == Verdict(lost=sent)


def test_holes_are_noticed_and_a_lost_packet_is_not_a_lost_piece() -> None:
    """40 ms missing or spliced in make a piece partial; 20 ms missing, a packet, do not."""
    wave = mono(marked_speech(10, 5, 48000)).copy()
    wave[round(0.230 * 48000) : round(0.270 * 48000)] = 0
    assert compare(numbers(10, 5), read_marks(sixteen_bit(wave), 48000)) == Verdict(partial=[12])
    wave = mono(marked_speech(10, 5, 48000)).copy()
    wave[round(0.240 * 48000) : round(0.260 * 48000)] = 0
    assert compare(numbers(10, 5), read_marks(sixteen_bit(wave), 48000)).clean
    whole = mono(marked_speech(10, 5, 48000))
    torn = np.concatenate([whole[:12000], np.zeros(1920, np.float32), whole[12000:]])
    assert compare(numbers(10, 5), read_marks(sixteen_bit(torn), 48000)) == Verdict(partial=[12])


@READING
@given(place=st.floats(0.1, 0.4), change=st.floats(-0.015, 0.015))
def test_time_stretching_neither_loses_nor_doubles(place: float, change: float) -> None:
    """A jitter buffer that takes out or repeats up to 15 ms leaves every piece one piece."""
    wave = mono(marked_speech(30, 5, 48000))
    at, size = round(place * 48000), round(change * 48000)
    wave = np.concatenate([wave[:at], wave[at - size :]])  # size < 0 leaves sound out
    verdict = compare(numbers(30, 5), read_marks(sixteen_bit(wave), 48000))
    assert (verdict.lost, verdict.doubled, verdict.foreign) == ([], [], [])


@given(
    sent=st.lists(st.integers(0, 99), unique=True, min_size=1, max_size=30),
    random=st.randoms(use_true_random=False),
)
def test_comparing_counts_every_difference_once(sent: list[int], random: object) -> None:
    """Of any mixture, what is lost, doubled and foreign is counted exactly."""
    rng = np.random.default_rng(random.randint(0, 2**32))  # type: ignore[attr-defined]
    kept = [n for n in sent if rng.random() < 0.8]
    twice = [n for n in kept if rng.random() < 0.2]
    foreign = [int(n) for n in rng.integers(100, 200, 3)]
    heard = [int(n) for n in rng.permutation([*kept, *twice, *foreign])]
    verdict = compare(sent, heard)
    assert verdict.lost == [n for n in sent if n not in kept]
    assert sorted(verdict.doubled) == sorted(twice)
    assert sorted(verdict.foreign) == sorted(foreign)
    assert compare(sent, kept).out_of_order == []


# --- the real way: Opus, WebRTC, a real LiveKit server ----------------------------------------


async def through_livekit(pcm: bytes, rate: int) -> bytes:
    """Publish sound in a room of a real server, and record what another participant hears."""
    async with LiveKitServer() as server, asyncio.timeout(20 + len(pcm) / 2 / rate):
        speaker, listener = rtc.Room(), rtc.Room()
        tracks: asyncio.Queue[rtc.Track] = asyncio.Queue()
        listener.on("track_subscribed", lambda track, *_: tracks.put_nowait(track))
        for room, identity in ((listener, "listener"), (speaker, "speaker")):
            token = api.AccessToken(server.api_key, server.api_secret).with_identity(identity)
            grants = api.VideoGrants(room_join=True, room="marks")
            await room.connect(server.url, token.with_grants(grants).to_jwt())
        source = rtc.AudioSource(rate, 1)
        track = rtc.LocalAudioTrack.create_audio_track("marks", source)
        publication = await speaker.local_participant.publish_track(track)
        await publication.wait_for_subscription()
        stream = rtc.AudioStream(await tracks.get(), sample_rate=48000, num_channels=1)
        recorded = bytearray()

        async def record() -> None:
            async for event in stream:
                recorded.extend(event.frame.data.cast("b"))

        recording = asyncio.create_task(record())
        pcm = bytes(rate // 5 * 2) + pcm + bytes(rate // 2 * 2)
        for place in range(0, len(pcm), rate // 50 * 2):
            chunk = pcm[place : place + rate // 50 * 2].ljust(rate // 50 * 2, b"\0")
            await source.capture_frame(rtc.AudioFrame(chunk, rate, 1, rate // 50))
        await source.wait_for_playout()
        await stream.aclose()
        recording.cancel()
        with suppress(asyncio.CancelledError):
            await recording
        await speaker.disconnect()
        await listener.disconnect()
        await source.aclose()
        return bytes(recorded)


@pytest.mark.long
async def test_marks_survive_a_real_livekit_room() -> None:
    """5 s of marked speech through Opus: nothing lost or doubled; then breaks, all noticed."""
    whole = marked_speech(100, 50, 24000)
    parts = {n: marked_speech(n, 1, 24000) for n in range(300, 306)}
    old = parts[305][2400 : 2400 + 1920]  # 40 ms
    broken = parts[300] + parts[302] + parts[303] + parts[303] + old + parts[304]
    heard = read_marks(await through_livekit(whole + bytes(24000) + broken, 24000), 48000)
    first = [mark for mark in heard if mark.number < 300]
    # A busy machine may tear or stretch a piece: the real jitter buffer does that, not the reader.
    assert replace(compare(numbers(100, 50), first), partial=[]).clean
    steps = np.diff([mark.start_s for mark in first])
    assert np.median(np.abs(steps - PIECE)) < 0.001
    assert np.median([mark.confidence for mark in first]) > 0.9
    verdict = compare(numbers(300, 5), [mark for mark in heard if mark.number >= 300])
    assert replace(verdict, partial=[]) == Verdict(lost=[301], doubled=[303], foreign=[305])
