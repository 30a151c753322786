"""The avatar worker in a real room: a bot on bare livekit.rtc speaks to it and listens."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from livekit import api, rtc
from numpy.typing import NDArray

from pipecat_runway.simulator.face import mouth_openness
from pipecat_runway.simulator.faults import ClearAnswer, Faults
from pipecat_runway.simulator.worker_host import WorkerHost
from tests.kit.marks import Mark, compare, marked_speech, numbers, read_marks
from tests.kit.timing import timed
from tests.simulator.worker_kit import AGENT, HEARD_RATE, RATE, SMALL, Bot, Events, Stage, token

AGENTS_PYTHON = os.environ.get("PIPECAT_RUNWAY_AGENTS_PYTHON", "")


@pytest_asyncio.fixture(scope="module")
async def stage() -> AsyncIterator[Stage]:
    async with Stage.open(keep_audio=True) as stage:
        yield stage


def speech(first: int, pieces: int, rate: int = RATE, channels: int = 1) -> NDArray[np.int16]:
    return np.frombuffer(marked_speech(first, pieces, rate, channels), np.int16)


def heard(bot: Bot, among: list[int], since: float = 0.0) -> list[Mark]:
    return read_marks(bot.heard(since), HEARD_RATE, among=among)


def assert_whole(sent: list[int], marks: list[Mark]) -> None:
    """Everything was heard, in order, and nothing else.

    A busy machine makes WebRTC's receiver stretch a piece, or tear one in two; that is not ours.
    """
    verdict = compare(sent, marks)
    assert verdict.lost == verdict.out_of_order == verdict.foreign == [], verdict
    assert set(verdict.doubled) <= set(verdict.partial), verdict


def silence_within(bot: Bot, rate: int) -> float:
    """Seconds that the first and only speech was longer than its samples."""
    first, *_, last = bot.events("playing")
    return last.data["at"] - first.data["at"] - last.data["sample"] / rate


@contextmanager
def held_up(stage: Stage) -> Iterator[None]:
    """The workers' processes do nothing meanwhile."""
    pids = stage.host.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def together(*checks: Coroutine[Any, Any, None]) -> None:
    """Run checks at the same time: most of what they do is to listen."""
    async with asyncio.TaskGroup() as group:
        for check in checks:
            group.create_task(check)


def knobs(**changes: Any) -> Faults:
    return replace(SMALL, **changes)


# --- speech -------------------------------------------------------------------------------------


async def test_whole_speech_arrives(stage: Stage) -> None:
    """An utterance of any format is heard whole, and told of with the right times and numbers."""
    formats = ((16_000, 1), (24_000, 2), (48_000, 1), (8_000, 1))
    await together(*(whole_speech_arrives(stage, *each) for each in formats))


async def whole_speech_arrives(stage: Stage, rate: int, channels: int) -> None:
    async with stage.conversation() as bot:
        await bot.say(speech(1, 12, rate, channels), rate, channels=channels)
        finished = await bot.event("playback_finished")
        await bot.until(lambda: bool(bot.finished))
        await bot.hear_out(finished.at)

        marks = heard(bot, numbers(0, 20))
        assert_whole(numbers(1, 12), marks)
        assert bot.finished == [
            {
                "playback_position": pytest.approx(1.2, abs=0.001),
                "interrupted": False,
                "synchronized_transcript": None,
            }
        ]
        assert len(bot.started) == 1
        (opened,), (closed,) = bot.events("stream_opened"), bot.events("stream_closed")
        assert opened.data["sender"] == AGENT
        assert opened.data["attributes"]["sample_rate"] == str(rate)
        assert closed.data["samples"] == 1.2 * rate
        assert bot.received == speech(1, 12, rate).tobytes()
        played = bot.events("playing")
        assert played[0].data["sample"] == 0
        (started,) = bot.events("playback_started")
        assert started.at > played[0].data["at"] - 0.1
        assert finished.at > played[0].data["at"] + 1.1  # never before its sound has left


@timed
async def test_utterances_follow_each_other_without_a_gap(stage: Stage) -> None:
    """Three utterances sent at once are played in order, contiguous, each reported finished."""
    async with stage.conversation() as bot:
        for first in (1, 11, 21):
            await bot.say(speech(first, 4))
        finished = await bot.event("playback_finished", 3)
        await bot.hear_out(finished.at)

        sent = numbers(1, 4) + numbers(11, 4) + numbers(21, 4)
        assert_whole(sent, heard(bot, numbers(0, 30)))
        first_samples = [e.data["at"] for e in bot.events("playing") if e.data["sample"] == 0]
        assert np.diff(first_samples) == pytest.approx([0.4, 0.4], abs=0.1)
        assert [call["playback_position"] for call in bot.finished] == pytest.approx([0.4] * 3)


@timed
async def test_speech_that_comes_in_real_time_does_not_stutter(stage: Stage) -> None:
    """TTS at the pace of speech, in small chunks, is heard as one piece."""
    async with stage.conversation() as bot:
        writer = await bot.open()
        pcm = speech(1, 12)
        begun, late = time.monotonic(), 0.0
        for number in range(60):
            await writer.write(pcm[320 * number : 320 * (number + 1)].tobytes())
            early = begun + 0.02 * (number + 1) - time.monotonic()
            late = max(late, -early)
            await asyncio.sleep(max(0.0, early))
        await writer.aclose()
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)

        assert_whole(numbers(1, 12), heard(bot, numbers(0, 20)))
        assert silence_within(bot, RATE) < 0.1 + 2 * late  # a busy machine may hold up the sender


async def test_silence_while_speech_runs_dry(stage: Stage) -> None:
    """When TTS falls behind there is silence, and the position does not count it."""
    async with stage.conversation() as bot:
        writer = await bot.open()
        await writer.write(speech(1, 4).tobytes())
        begun = await bot.event("playing")
        await bot.hear_until(begun.at + 0.9)
        await writer.write(speech(5, 4).tobytes())
        await writer.aclose()
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)

        marks = heard(bot, numbers(0, 20))
        assert_whole(numbers(1, 8), marks)
        assert marks[4].start_s - marks[3].end_s > 0.3
        assert bot.finished[0]["playback_position"] == pytest.approx(0.8)


@timed
async def test_a_new_stream_ends_the_one_that_was_open(stage: Stage) -> None:
    """A stream whose end got lost holds up the next one for a moment only."""
    async with stage.conversation() as bot:
        lost = await bot.open()
        await lost.write(speech(1, 3).tobytes())
        await bot.event("playing")
        await bot.say(speech(11, 3))
        finished = await bot.event("playback_finished", 2)
        await bot.hear_out(finished.at)

        marks = heard(bot, numbers(0, 20))
        assert_whole(numbers(1, 3) + numbers(11, 3), marks)
        assert marks[3].start_s - marks[2].end_s < 0.3
        await lost.aclose()


async def test_a_stream_without_its_format_is_not_played(stage: Stage) -> None:
    """Bytes that do not say what they are do no harm, and the next speech is heard."""
    async with stage.conversation() as bot:
        await bot.say(speech(1, 3), rate="loud")
        await bot.say(speech(11, 3))
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)

        assert_whole(numbers(11, 3), heard(bot, numbers(0, 20)))


# --- lk.clear_buffer ----------------------------------------------------------------------------


async def interrupt(bot: Bot, answer_timeout: float = 2.0) -> tuple[float, str]:
    """Interrupt 2 s of speech after some 0.4 s, and speak anew as soon as that was answered.

    Returns:
        When the new speech was sent, and the answer or the name of the error.
    """
    await bot.say(speech(1, 20))
    await bot.event("playing", 3)
    try:
        answer = await bot.clear(answer_timeout)
    except rtc.RpcError as error:
        answer = rtc.RpcError.ErrorCode(error.code).name
    sent = await bot.say(speech(101, 5))
    new_stream = (await bot.event("stream_opened", 2)).data["stream"]
    while bot.events("playing")[-1].data["stream"] != new_stream:
        await bot.event("playing", len(bot.events("playing")) + 1)
    begun = bot.events("playing")[-1].data["at"]
    await bot.hear_out(begun + 0.5)
    return sent, answer


@timed
async def test_clear_falls_silent(stage: Stage) -> None:
    """The old speech stops at once, the new one is whole, and what was asked for is told."""
    await together(
        clear_falls_silent(stage, ClearAnswer.CONFIRM, "ok", [True, False]),
        clear_falls_silent(stage, ClearAnswer.NO_FINISHED, "ok", [False]),
    )
    await together(
        clear_falls_silent(stage, ClearAnswer.TWICE, "ok", [True, True, False]),
        clear_falls_silent(stage, ClearAnswer.LATE, "ok", [True, False]),
        clear_falls_silent(stage, ClearAnswer.NO_ANSWER, "RESPONSE_TIMEOUT", [True, False]),
    )


async def clear_falls_silent(
    stage: Stage, how: ClearAnswer, answer: str, finished: list[bool]
) -> None:
    async with stage.conversation(knobs(clear=how, clear_delay=0.3)) as bot:
        sent, got = await interrupt(bot, answer_timeout=1.0)
        await bot.until(lambda: len(bot.finished) == len(finished))

        assert got == answer
        assert [call["interrupted"] for call in bot.finished] == finished
        old, new = heard(bot, numbers(1, 20)), heard(bot, numbers(101, 5))
        assert_whole(numbers(101, 5), new)
        (cleared,) = bot.events("clear_buffer")
        length = old[-1].end_s - old[0].start_s
        assert 0.3 < length < 1.6
        for call in bot.finished[:-1]:
            # A busy machine makes WebRTC's receiver stretch what it got.
            assert call["playback_position"] - 0.1 < length < call["playback_position"] + 0.6
        if how is ClearAnswer.LATE:
            assert sent - cleared.at > 0.28
            assert bot.events("playback_finished")[0].at - cleared.at > 0.28


@timed
async def test_clear_that_goes_on_speaking(stage: Stage) -> None:
    """A worker may play out what it has, confirmed at once, or say all of its old speech."""
    await together(
        clear_keeps_some_sound(stage),
        clear_does_nothing(stage, ClearAnswer.IGNORE, "ok"),
        clear_does_nothing(stage, ClearAnswer.UNSUPPORTED, "UNSUPPORTED_METHOD"),
    )


async def clear_keeps_some_sound(stage: Stage) -> None:
    faults = knobs(clear=ClearAnswer.KEEP, clear_keep=0.5)
    async with stage.conversation(faults) as bot:
        sent, answer = await interrupt(bot)

        assert answer == "ok"
        (cleared,) = bot.events("clear_buffer")
        assert bot.events("playback_finished")[0].at - cleared.at < 0.2
        assert sent - cleared.at < 0.4
        old, new = heard(bot, numbers(1, 20)), heard(bot, numbers(101, 5))
        assert_whole(numbers(101, 5), new)
        position = bot.finished[0]["playback_position"]
        assert old[-1].end_s - old[0].start_s == pytest.approx(position + 0.5, abs=0.2)
        await bot.until(lambda: len(bot.finished) == 2)
        assert [call["interrupted"] for call in bot.finished] == [True, False]


async def clear_does_nothing(stage: Stage, how: ClearAnswer, answer: str) -> None:
    async with stage.conversation(knobs(clear=how)) as bot:
        _, got = await interrupt(bot)
        await bot.until(lambda: len(bot.finished) == 2)

        assert got == answer
        assert [call["interrupted"] for call in bot.finished] == [False, False]
        sent = numbers(1, 20) + numbers(101, 5)
        assert_whole(sent, heard(bot, sent))


async def test_clear_ends_what_was_open_and_only_that(stage: Stage) -> None:
    """What still comes on an older stream is not heard; a newer stream is, from its first sample.

    The worker is held up meanwhile, so that it finds all of it at once.
    """
    async with stage.conversation() as bot:
        old = await bot.open()
        await old.write(speech(1, 30).tobytes())
        await bot.event("playing", 2)
        assert await bot.clear() == "ok"
        with held_up(stage):
            await old.write(speech(51, 5).tobytes())
            await bot.say(speech(101, 5))
        await old.write(speech(61, 5).tobytes())
        await old.aclose()
        finished = await bot.event("playback_finished", 2)
        await bot.hear_out(finished.at)

        assert [call["interrupted"] for call in bot.finished] == [True, False]
        assert_whole(numbers(101, 5), heard(bot, numbers(101, 5)))
        assert not heard(bot, numbers(51, 20))


async def test_clear_of_nothing_confirms_nothing(stage: Stage) -> None:
    """Asked for silence while silent, the worker answers and has nothing to tell."""
    async with stage.conversation() as bot:
        assert await bot.clear() == "ok"
        await bot.say(speech(1, 3))
        await bot.event("playback_finished")
        await bot.until(lambda: bool(bot.finished))
        assert [call["interrupted"] for call in bot.finished] == [False]


async def test_clear_from_a_stranger_is_rejected(stage: Stage) -> None:
    """Only the agent may interrupt; nobody else is heard either."""
    async with stage.conversation() as bot, a_guest(stage, bot) as guest:
        await bot.say(speech(1, 8))
        await bot.event("playing")
        assert await guest.clear() == "reject"
        await guest.say(speech(101, 3))
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)
        assert_whole(numbers(1, 8), heard(bot, numbers(1, 8)))
        assert not heard(bot, numbers(101, 3))


# --- the knobs of sound and telling -------------------------------------------------------------


async def test_the_noise_floor_is_there_in_silence(stage: Stage) -> None:
    """Idle sound is random, with the peak that was asked for; speech still is whole."""
    async with stage.conversation(knobs(noise_floor=25)) as bot:
        await bot.hear_until(time.monotonic() + 0.5)
        idle = bot.heard().astype(int)
        assert 5 < np.abs(idle[-HEARD_RATE // 4 :]).max() < 75
        await bot.say(speech(1, 5))
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)
        assert_whole(numbers(1, 5), heard(bot, numbers(0, 10)))


async def test_gain_and_swallowed_pieces(stage: Stage) -> None:
    """Half as loud, and every third 100 ms missing."""
    async with stage.conversation(knobs(gain=0.5, drop_piece=3)) as bot:
        await bot.say(speech(1, 9))
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)
        assert compare(numbers(1, 9), heard(bot, numbers(0, 20))).lost == [3, 6, 9]
        assert bot.finished[0]["playback_position"] == pytest.approx(0.6, abs=0.005)
        loud = np.abs(speech(1, 9).astype(float))
        assert np.abs(bot.heard().astype(float)).max() < 0.75 * loud.max()


async def test_telling_is_a_matter_of_knobs(stage: Stage) -> None:
    """Started never told; finished told early and three times, never, or late."""
    await together(told_early(stage), not_told(stage), told_late(stage))


async def told_early(stage: Stage) -> None:
    faults = knobs(playback_started=False, playback_finished_delay=-0.3, playback_finished_times=3)
    async with stage.conversation(faults) as bot:
        await bot.say(speech(1, 10))
        await bot.until(lambda: len(bot.finished) == 3)
        begun = bot.events("playing")[0].data["at"]
        told = bot.events("playback_finished")
        assert told[0].at < begun + 0.95
        assert [c["playback_position"] for c in bot.finished] == pytest.approx([1.0] * 3)
        assert not bot.started


async def not_told(stage: Stage) -> None:
    async with stage.conversation(knobs(playback_finished=False)) as bot:
        await bot.say(speech(1, 3))
        await bot.say(speech(11, 3))
        await bot.until(lambda: len(bot.started) == 2)
        assert not bot.finished


async def told_late(stage: Stage) -> None:
    async with stage.conversation(knobs(playback_finished_delay=0.4)) as bot:
        await bot.say(speech(1, 3))
        finished = await bot.event("playback_finished")
        begun = bot.events("playing")[0].data["at"]
        assert finished.at > begun + 0.65


async def test_render_delay(stage: Stage) -> None:
    """No sample leaves before its time."""
    async with stage.conversation(knobs(render_delay=0.5)) as bot:
        await bot.say(speech(1, 5))
        begun = await bot.event("playing")
        chunk = await bot.event("audio")
        assert begun.data["at"] - chunk.at > 0.45


async def test_a_stall_of_the_worker_costs_no_sample(stage: Stage) -> None:
    """A worker that was held up for a while says everything all the same, once."""
    async with stage.conversation() as bot:
        await bot.say(speech(1, 15))
        await bot.event("playing", 2)
        with held_up(stage):
            await asyncio.sleep(0.3)
        finished = await bot.event("playback_finished")
        await bot.hear_out(finished.at)
        assert_whole(numbers(1, 15), heard(bot, numbers(0, 20)))


async def test_without_tracks(stage: Stage) -> None:
    """A worker that publishes nothing, or only sound, still plays in time."""
    async with stage.conversation(knobs(publish_audio=False, publish_video=False)) as bot:
        await bot.say(speech(1, 3))
        await bot.until(lambda: bool(bot.finished))
        await bot.event("playback_finished")
        assert not any(p.track_publications for p in bot.room.remote_participants.values())
    async with stage.conversation(knobs(publish_video=False)) as bot:
        kinds = [p.kind for p in bot.room.remote_participants["avatar"].track_publications.values()]
        assert kinds == [rtc.TrackKind.KIND_AUDIO]


# --- the picture --------------------------------------------------------------------------------


async def picture_lag(
    stage: Stage, faults: Faults, character: str = "influencer"
) -> tuple[float, float]:
    """Return how alike the mouth, as received, and the sound, as it left, are, and the lag."""
    async with stage.conversation(faults, watch=True, character=character) as bot:
        await bot.until(lambda: len(bot.pictures) > 24)  # the first second is not a smooth one
        dice = np.random.default_rng(4)
        parts: list[NDArray[np.float64]] = []
        for _ in range(6):
            burst = dice.normal(0, dice.uniform(1500, 5000), int(RATE * dice.uniform(0.1, 0.3)))
            parts += [burst, np.zeros(int(RATE * 0.17))]
        wave = np.clip(np.concatenate(parts), -32768, 32767)
        await bot.say(wave.astype(np.int16))
        finished = await bot.event("playback_finished")
        await bot.hear_until(finished.at + 0.5 + faults.picture_delay)
        begun = bot.events("playing")[0].data["at"]
        pictures = [(at, frame) for at, frame in bot.pictures if at > begun - 0.4]

    mouth = np.array([openness(frame) for _, frame in pictures])
    shown = [at for at, _ in pictures]
    step = 0.005
    grid = np.arange(begun - 0.1, begun + len(wave) / RATE + 0.1, step)
    loud = np.convolve(wave**2, np.ones(RATE // 24) / (RATE // 24), "same") ** 0.5
    left = np.interp(grid - begun, np.arange(len(wave)) / RATE, loud, left=0.0, right=0.0)
    scores = {}
    for lag in np.arange(-0.15, 0.3, step):
        # A picture is there until the next one comes.
        seen = mouth[np.searchsorted(shown, grid + lag, "right") - 1]
        scores[float(lag)] = float(np.corrcoef(seen, left)[0, 1])
    best = max(scores, key=lambda lag: scores[lag])
    return scores[best], best


def openness(frame: rtc.VideoFrame) -> float:
    rgb = frame.convert(rtc.VideoBufferType.RGB24)
    return mouth_openness(np.frombuffer(rgb.data, np.uint8).reshape(rgb.height, rgb.width, 3))


@timed
async def test_the_mouth_goes_with_the_sound(stage: Stage) -> None:
    """After the codec, mouth and sound belong together; a picture held back is seen to be late."""
    prompt = Faults(width=480, height=270)
    (score, lag), (_, held_lag) = await asyncio.gather(
        picture_lag(stage, prompt),
        picture_lag(stage, replace(prompt, picture_delay=0.12), "cat-character"),
    )
    assert score > 0.8
    assert -0.02 < lag < 0.11
    assert held_lag - lag == pytest.approx(0.12, abs=0.04)


@timed
async def test_tracks_and_picture_are_as_promised(stage: Stage) -> None:
    """Camera and microphone, 1280 x 720, some 24 pictures a second, idle included."""
    async with stage.conversation(Faults(), watch=True) as bot:
        await bot.until(lambda: bool(bot.pictures))
        frame = bot.pictures[0][1]
        tracks = bot.room.remote_participants["avatar"].track_publications.values()
        sources = {(p.name, p.kind, p.source) for p in tracks}
    assert (frame.width, frame.height) == (1280, 720)
    assert sources == {
        ("avatar_video", rtc.TrackKind.KIND_VIDEO, rtc.TrackSource.SOURCE_CAMERA),
        ("avatar_audio", rtc.TrackKind.KIND_AUDIO, rtc.TrackSource.SOURCE_MICROPHONE),
    }
    async with stage.conversation(knobs(fps=24.0), watch=True) as bot:
        await bot.until(lambda: len(bot.pictures) > 10)
        begun = time.monotonic()
        await bot.hear_until(begun + 1.5)
        rate = sum(begun < at < begun + 1.5 for at, _ in bot.pictures) / 1.5
        assert rate == pytest.approx(24, abs=3)


# --- coming and going ---------------------------------------------------------------------------


def reasons(bot: Bot) -> list[str]:
    return [event.data["reason"] for event in bot.events("left")]


def a_guest(stage: Stage, bot: Bot, **changes: Any) -> Any:
    """Another participant in the bot's room."""
    return stage.participant("guest", bot.session_id, **changes)


async def test_end_call(stage: Stage) -> None:
    """The agent's END_CALL ends it, anybody else's and anything else does not."""
    async with stage.conversation() as bot, a_guest(stage, bot) as guest:
        await guest.end_call()
        await bot.room.local_participant.publish_data(b"END_CALL")
        await bot.say(speech(1, 2))
        await bot.event("playback_finished")
        assert not bot.events("end_call")
        await bot.end_call()
        await bot.event("left", timeout=3.0)
        assert reasons(bot) == ["end_call"]
        await bot.until(lambda: "avatar" not in bot.room.remote_participants)


@pytest.mark.long
async def test_end_call_ignored(stage: Stage) -> None:
    """A worker may hear END_CALL and stay."""
    async with stage.conversation(knobs(obey_end_call=False)) as bot:
        await bot.end_call()
        await bot.event("end_call")
        await bot.say(speech(1, 2))
        await bot.event("playback_finished")
        assert not bot.events("left")


async def test_empty_room(stage: Stage) -> None:
    """An avatar whose agent has gone leaves after a moment, or stays if told so."""
    await together(empty_room_obeyed(stage), empty_room_ignored(stage))


async def empty_room_obeyed(stage: Stage) -> None:
    async with stage.conversation() as bot:
        await bot.room.disconnect()
        gone = await bot.event("agent_left")
        left = await bot.event("left", timeout=4.0)
        assert reasons(bot) == ["agent_left"]
        assert 0.9 < left.at - gone.at < 2.5


async def empty_room_ignored(stage: Stage) -> None:
    async with stage.conversation(knobs(obey_empty_room=False)) as bot:
        await bot.room.disconnect()
        await bot.event("agent_left")
        async with stage.participant(AGENT, bot.session_id) as again:
            await again.say(speech(1, 15))
            await bot.event("playback_finished")
            assert not bot.events("left")


async def test_called_back(stage: Stage) -> None:
    """The parent's reason is the worker's last word, in a room or on the way there."""
    async with stage.conversation() as bot:
        await stage.host.leave(bot.session_id, "limit")
        await bot.event("left")
        assert reasons(bot) == ["limit"]
    for faults in (knobs(never_join=True), knobs(join_delay=60.0)):
        session_id = stage.new_session()
        await stage.send_avatar(session_id, faults)
        await stage.host.leave(session_id, "deleted")
        left = await stage.events.wait_for("left", session_id=session_id)
        assert left.data == {"reason": "deleted"}
        assert not stage.events.of("joined", session_id)


@timed
async def test_dropping_out(stage: Stage) -> None:
    """A worker may come late, drop out and come back, and leave for good."""
    faults = knobs(join_delay=0.3, rejoin_after=0.5, leave_after=2.0)
    asked = time.monotonic()
    async with stage.conversation(faults) as bot:
        first = bot.events("joined")[0]
        second = await bot.event("joined", 2)
        left = await bot.event("left")
        assert 0.3 < first.at - asked < 1.5
        assert 0.5 < second.at - first.at < 1.8
        assert left.at - first.at == pytest.approx(2.2, abs=0.5)
        assert reasons(bot) == ["fault"]


async def test_wrong_token(stage: Stage) -> None:
    """A room that does not open is reported by the name of the error alone."""
    session_id = stage.new_session()
    wrong = api.AccessToken("key", "secret" * 8).with_identity("avatar")
    secret = wrong.with_grants(api.VideoGrants(room_join=True, room="r")).to_jwt()
    await stage.host.join(
        session_id=session_id,
        url=stage.server.url,
        token=secret,
        room_name="r",
        agent_identity=AGENT,
        character="influencer",
        faults=SMALL,
    )
    failed = await stage.events.wait_for("join_failed", session_id=session_id)
    assert failed.data == {"error": "ConnectError"}
    assert not stage.events.of("left", session_id)


async def test_no_token_in_logs(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever LiveKit has to say about a server that is not there, tokens are not part of it."""
    session_id = stage.new_session()
    secret = token(stage.server, "avatar", session_id)
    await stage.host.join(
        session_id=session_id,
        url="ws://127.0.0.1:9",
        token=secret,
        room_name="r",
        agent_identity=AGENT,
        character="influencer",
        faults=SMALL,
    )
    await stage.events.wait_for("join_failed", session_id=session_id, timeout=25.0)
    assert secret.rpartition(".")[0] not in caplog.text


async def test_lost_room(stage: Stage) -> None:
    """Thrown out of the room, the worker says so."""
    async with stage.conversation() as bot:
        async with api.LiveKitAPI(
            stage.server.url, stage.server.api_key, stage.server.api_secret
        ) as livekit:
            await livekit.room.remove_participant(
                api.RoomParticipantIdentity(room=bot.session_id, identity="avatar")
            )
        lost = await bot.event("room_lost")
        await bot.event("left")
        assert lost.data == {"reason": "PARTICIPANT_REMOVED"}
        assert reasons(bot) == ["room_lost"]


async def test_whom_it_hears(stage: Stage) -> None:
    """Not told whom to hear, it takes the first agent, which no other avatar is."""
    await together(first_agent_heard(stage), some_agent_heard(stage))


async def first_agent_heard(stage: Stage) -> None:
    session_id = stage.new_session()
    on_behalf = {"lk.publish_on_behalf": "somebody"}
    async with (
        stage.participant("other-avatar", session_id, attributes=on_behalf) as other,
        stage.participant("person", session_id, kind="standard") as person,
    ):
        await stage.send_avatar(session_id, agent_identity=None)
        await stage.events.wait_for("published", session_id=session_id)
        for nobody in (other, person):
            await nobody.say(speech(1, 2))
        async with stage.participant("the-bot", session_id) as bot:
            seen = await stage.events.wait_for("agent_seen", session_id=session_id)
            assert seen.data == {"identity": "the-bot"}
            await bot.say(speech(11, 2))
            await bot.until(lambda: bool(bot.finished))
        opened = stage.events.of("stream_opened", session_id)
        assert [event.data["sender"] for event in opened] == ["the-bot"]
    await stage.call_back(session_id)


async def some_agent_heard(stage: Stage) -> None:
    faults = knobs(sender_required=False)
    async with stage.conversation(faults, agent_identity="somebody-else") as bot:
        await bot.say(speech(1, 2))
        await bot.until(lambda: bool(bot.finished))


async def test_foreign_tracks_are_reported(stage: Stage) -> None:
    """Every track of anybody else in the room is named."""
    async with stage.conversation() as bot:
        source = rtc.AudioSource(48_000, 1)
        track = rtc.LocalAudioTrack.create_audio_track("mic", source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await bot.room.local_participant.publish_track(track, options)
        foreign = await bot.event("foreign_track")
        assert foreign.data == {"identity": AGENT, "kind": "audio", "source": "microphone"}
        await source.aclose()


# --- the process --------------------------------------------------------------------------------


async def test_two_sessions_at_once(stage: Stage) -> None:
    """Two avatars speak at the same time, each its own words."""
    async with stage.conversation() as one, stage.conversation(character="cat-character") as two:
        await asyncio.gather(one.say(speech(1, 10)), two.say(speech(101, 10)))
        for bot, first in ((one, 1), (two, 101)):
            finished = await bot.event("playback_finished")
            await bot.hear_out(finished.at)
            all_marks = numbers(1, 10) + numbers(101, 10)
            assert_whole(numbers(first, 10), heard(bot, all_marks))


async def test_killed_and_respawned(stage: Stage) -> None:
    """A crash of all processes ends every session, and the next avatar gets a new one."""
    async with stage.conversation() as one, stage.conversation() as two:
        stage.host.kill()
        await asyncio.gather(one.event("left", timeout=3.0), two.event("left", timeout=3.0))
        assert reasons(one) == reasons(two) == ["killed"]
    async with stage.conversation() as bot:
        await bot.say(speech(1, 2))
        await bot.event("playback_finished")


async def test_closing_leaves_nothing() -> None:
    """Closed once or twice, started or not: no process is left, and sessions were told."""
    events = Events()
    host = WorkerHost(events)
    await host.aclose()
    tasks = asyncio.all_tasks()
    await host.start()
    await host.start()
    (pid,) = host.pids
    process = os.pidfd_open(pid)
    await host.join(
        session_id="s",
        url="ws://127.0.0.1:9",
        token="none",
        room_name="r",
        agent_identity=None,
        character="x",
        faults=knobs(never_join=True),
    )
    await host.aclose()
    await host.aclose()
    with pytest.raises(ProcessLookupError):
        signal.pidfd_send_signal(process, 0)
    os.close(process)
    assert asyncio.all_tasks() == tasks
    assert [event.kind for event in events.all] == ["left"]


PARENT = """
import asyncio
from pipecat_runway.simulator.worker_host import WorkerHost
async def main():
    host = WorkerHost(print)
    await host.start()
    print(*host.pids, flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_ends_with_its_parent() -> None:
    """A parent that is killed takes the process with it."""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 20))
    gone = os.pidfd_open(pid)
    try:
        parent.kill()
        await parent.wait()
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(gone, ended.set)
        await asyncio.wait_for(ended.wait(), 5.0)
    finally:
        asyncio.get_running_loop().remove_reader(gone)
        os.close(gone)


# --- a judge that LiveKit wrote -----------------------------------------------------------------


@pytest.mark.skipif(not AGENTS_PYTHON, reason="PIPECAT_RUNWAY_AGENTS_PYTHON names no Python")
@timed
async def test_livekits_own_sender_is_content(stage: Stage) -> None:
    """LiveKit's DataStreamAudioOutput speaks twice, and interrupts once, as it would anywhere."""
    session_id = stage.new_session()
    judge = await asyncio.create_subprocess_exec(
        AGENTS_PYTHON,
        str(Path(__file__).with_name("livekit_judge.py")),
        stage.server.url,
        token(stage.server, AGENT, session_id),
        "avatar",
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        await stage.send_avatar(session_id)
        out, _ = await asyncio.wait_for(judge.communicate(), 40)
    finally:
        if judge.returncode is None:
            judge.kill()
            await judge.wait()
    told = [json.loads(line) for line in out.splitlines()]
    assert [(t["said"], t["interrupted"]) for t in told] == [
        ("first", False),
        ("second", False),
        ("third", True),
        ("fourth", False),
    ]
    assert [t["position"] for t in told if not t["interrupted"]] == pytest.approx([0.6, 0.4, 0.3])
    assert 0.2 < told[2]["position"] < 1.2
    assert told[2]["clearing_took"] < 0.5
    await stage.call_back(session_id)
