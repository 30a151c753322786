"""Nobody in the room is believed but the avatar, and the avatar no more than it must be."""

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pipecat.frames.frames import TTSAudioRawFrame, TTSStoppedFrame

from pipecat_runway import wire
from pipecat_runway.errors import RoomUnreachableError
from pipecat_runway.room import AvatarRoom
from pipecat_runway.simulator import LiveKitServer, RunwaySimulator
from tests.kit.answers import http, raw_server
from tests.kit.content import compare_content
from tests.kit.guests import Ears, Guest, guest, token_for
from tests.kit.marks import marked_speech, numbers, read_marks
from tests.kit.pipeline import bracket_faults, recording_of, running, tts_utterance
from tests.kit.waiting import until

from .conftest import MakeService

RATE = 24_000
AVATAR = f"{wire.AVATAR_IDENTITY}-00000000"
STRANGER = f"{wire.AVATAR_IDENTITY}-ffffffff"  # as an avatar's, but nobody's
TRUE_REPORT = json.dumps({"playback_position": 1.0, "interrupted": False})
MALFORMED = [
    *("", "null", "[]", "{}", "7", '"x"', "{", "\x00", "[" * 15_000, '{"a":' * 2_400),
    '{"playback_position": "x", "interrupted": false}',
    '{"playback_position": [], "interrupted": {}}',
    '{"playback_position": NaN, "interrupted": false}',
    '{"playback_position": Infinity, "interrupted": false}',
    '{"playback_position": 1e999, "interrupted": false}',
    '{"playback_position": ' + "9" * 400 + ', "interrupted": false}',
    '{"playback_position": ' + "9" * 9_000 + ', "interrupted": false}',
    '{"playback_position": 1.0}',
    "\U0001f600" * 100,
]


@asynccontextmanager
async def a_room(server: LiveKitServer) -> AsyncIterator[tuple[AvatarRoom, Ears]]:
    """A room that is open."""
    ears = Ears()
    room = AvatarRoom(
        url=server.url,
        api_key=server.api_key,
        api_secret=server.api_secret,
        sample_rate=RATE,
        listener=ears,
    )
    try:
        await room.reserve()
        await room.connect()
        yield room, ears
    finally:
        await room.close()


def invited(server: LiveKitServer, room: AvatarRoom) -> Any:
    """The avatar, by hand."""
    return guest(server.url, room.avatar_token(AVATAR, datetime.timedelta(minutes=1)))


def uninvited(server: LiveKitServer, room_name: str, identity: str = STRANGER) -> Any:
    """Somebody who knows the server's secret, and tries to look like the avatar."""
    disguise = {wire.PUBLISH_ON_BEHALF: wire.AGENT_IDENTITY, "lk.agent.state": "speaking\n\x00"}
    token = token_for(
        server.api_key, server.api_secret, room_name, identity, name=AVATAR, **disguise
    )
    return guest(server.url, token)


async def pester(stranger: Guest) -> list[str]:
    """Say everything the avatar says, and much that nobody says; what our methods answered."""
    calls = [
        stranger.call(wire.AGENT_IDENTITY, method, payload)
        for method in (wire.RPC_PLAYBACK_STARTED, wire.RPC_PLAYBACK_FINISHED)
        for payload in (*MALFORMED, TRUE_REPORT)
    ]
    unknown = stranger.call(wire.AGENT_IDENTITY, wire.RPC_CLEAR_BUFFER, "")
    *answers, unsupported = await asyncio.gather(*calls, unknown)
    assert "UNSUPPORTED_METHOD" == unsupported
    me = stranger.me
    for data in (wire.END_CALL, b"", b"\x00" * 60_000, b"{" * 500, "\ud7ff".encode()):
        await me.publish_data(data, reliable=len(data) > 500, topic="lk.audio_stream")
    for attributes in (wire.speech_attributes(), {"sample_rate": "-1", "num_channels": "\x00"}):
        stream = await me.stream_bytes(
            "AUDIO_x", topic=wire.AUDIO_STREAM_TOPIC, attributes=attributes
        )
        await stream.write(b"\x7f" * 32_001)
        await stream.aclose()
    await me.stream_bytes("AUDIO_y", topic=wire.AUDIO_STREAM_TOPIC)  # never closed
    for topic in ("lk.transcription", wire.RPC_PLAYBACK_FINISHED, ""):
        await me.send_text("{" * 20_000, topic=topic)
    await me.set_metadata("{" * 9_000)
    await me.set_name("\n" * 200)
    await me.set_attributes({"x" * 90: "y" * 900})
    return answers


async def test_a_stranger_cannot_be_heard_seen_or_believed(
    make_service: MakeService, runway: RunwaySimulator, livekit_server: LiveKitServer
) -> None:
    """Under the avatar's prefix and in its name it says all it can; the speech comes out whole."""
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        room = runway.sessions[-1].room
        assert room is not None
        async with uninvited(livekit_server, room.room_name) as stranger:
            await stranger.speak(400, 30)
            await stranger.show()
            await run.feed(tts_utterance(marked_speech(0, 40, RATE), RATE, 1, "u"))
            await run.tape.wait_for(TTSAudioRawFrame, count=20)
            answers = await pester(stranger)
            await run.tape.wait_for(TTSStoppedFrame, timeout=15)
            assert not stranger.taken
        await run.feed(tts_utterance(marked_speech(50, 5, RATE), RATE, 1, "v"))
        await run.tape.wait_for(TTSStoppedFrame, timeout=15, count=2)
        await run.end()
    assert {wire.RPC_REJECT} == set(answers)
    assert [] == run.errors
    assert [] == bracket_faults(run.tape)
    expected = [*numbers(0, 40), *numbers(50, 5)]
    heard = recording_of((0.0, frame) for _, frame in run.tape.audio())
    verdict = compare_content(expected, heard.marks(among=[*expected, *range(400, 430)]))
    assert verdict.clean, verdict
    assert {(320, 180)} == {picture.size for picture in run.tape.pictures}


async def test_of_a_stranger_nothing_is_told(livekit_server: LiveKitServer) -> None:
    """Not its coming, its tracks, its calls or its leaving; the avatar's are."""
    async with a_room(livekit_server) as (room, ears):
        async with (
            uninvited(livekit_server, room.name) as stranger,
            invited(livekit_server, room) as avatar,
        ):
            await stranger.speak(400, 10)
            await stranger.show()
            await avatar.speak(0, 10)
            await avatar.show()
            answers = await pester(stranger)
            await ears.hear(AVATAR)
            assert "ok" == await avatar.call(
                wire.AGENT_IDENTITY, wire.RPC_PLAYBACK_FINISHED, TRUE_REPORT
            )
            assert not stranger.taken
            await until(lambda: ears.pictures, every=0.02)
        await until(lambda: any(what[0] == "left" for what in ears.told), every=0.02)
    assert {wire.RPC_REJECT} == set(answers)
    assert {AVATAR} == {what[1] for what in ears.told}
    assert {"joined", "reachable", "seen", "finished", "left"} == {what[0] for what in ears.told}
    assert {AVATAR} == set(ears.sounds) == ears.pictures
    assert [] == ears.lost


async def test_an_avatars_malformed_reports_are_refused(livekit_server: LiveKitServer) -> None:
    """Each call is answered, none of them is passed on, and a true one after them is."""
    async with a_room(livekit_server) as (room, ears), invited(livekit_server, room) as avatar:
        calls = [
            avatar.call(wire.AGENT_IDENTITY, wire.RPC_PLAYBACK_FINISHED, payload)
            for payload in MALFORMED
        ]
        answers = await asyncio.gather(*calls)
        answers.append(await avatar.call(wire.AGENT_IDENTITY, wire.RPC_PLAYBACK_STARTED, "{" * 99))
        answers.append(
            await avatar.call(wire.AGENT_IDENTITY, wire.RPC_PLAYBACK_FINISHED, TRUE_REPORT)
        )
    assert ["reject"] * len(MALFORMED) + ["ok", "ok"] == answers
    finished = [what for what in ears.told if what[0] == "finished"]
    assert [("finished", AVATAR, wire.PlaybackFinished(1.0, False))] == finished


async def test_of_an_avatars_tracks_one_of_a_kind_is_taken(livekit_server: LiveKitServer) -> None:
    """The newest: two voices at once would be one noise. One that ends takes nothing down."""
    async with a_room(livekit_server) as (room, ears), invited(livekit_server, room) as avatar:
        voices = []
        for first_mark in (0, 100, 200):
            voices.append(await avatar.speak(first_mark, 10))
            await avatar.show()
            await ears.hear(AVATAR, 60)
        ears.sounds.clear()
        await ears.hear(AVATAR, 120)
        pieces = ears.sounds[AVATAR][60:]
        await avatar.me.unpublish_track(voices[0].sid)
        await avatar.me.unpublish_track(voices[2].sid)
        await avatar.speak(300, 10)
        await ears.hear(AVATAR, 100)
        again = ears.sounds[AVATAR][-50:]
    assert [] == ears.lost
    for sound, first in ((pieces, 200), (again, 300)):
        marks = read_marks(b"".join(sound), RATE, among=range(400))
        heard = {mark.number // 100 * 100 for mark in marks}
        assert {first} == heard


@pytest.mark.long
async def test_a_flood_leaves_nothing_behind(livekit_server: LiveKitServer) -> None:
    """Hundreds of calls, packets and streams from anybody: as many tasks as before, and on it goes.

    What is in flight at once is LiveKit's; nothing of ours keeps any of it.
    """
    async with (
        a_room(livekit_server) as (room, ears),
        uninvited(livekit_server, room.name) as stranger,
        invited(livekit_server, room) as avatar,
    ):
        await avatar.speak(0, 10)
        await ears.hear(AVATAR)
        before = len(asyncio.all_tasks())
        for _ in range(10):
            calls = [
                who.call(wire.AGENT_IDENTITY, wire.RPC_PLAYBACK_FINISHED, "{" * 9_000)
                for who in (stranger, avatar)
                for _ in range(15)
            ]
            for n in range(30):
                await stranger.me.publish_data(b"\x00" * 12_000, topic=f"{n}")
            stream = await stranger.me.stream_bytes("x", topic=wire.AUDIO_STREAM_TOPIC)
            await stream.write(b"\x00" * 60_000)
            assert {"reject"} == set(await asyncio.gather(*calls))
        await ears.hear(AVATAR)
        await until(lambda: len(asyncio.all_tasks()) <= before, every=0.05)
    assert [] == ears.lost


@pytest.mark.parametrize(
    "answer",
    [
        http(b"<html>Welcome", "200 OK", "text/html"),
        http(b"<html>Not here", "404 Not Found", "text/html"),
        http(b"[]", "500 Oh"),
        http(b'{"code": "' + b"x" * 9_000 + b'\\n"}', "404 Not Found"),
        b"",
    ],
    ids=["a page", "no page", "a list", "a long code", "nothing"],
)
async def test_what_is_no_livekit_server_is_named_as_that(answer: bytes) -> None:
    """A room cannot be reserved at a web page, and the end of the attempt holds nothing up."""
    async with raw_server(answer) as raw:
        room = AvatarRoom(
            url=raw.base_url.replace("http", "ws"),
            api_key="key",
            api_secret="s" * 32,
            sample_rate=RATE,
            listener=Ears(),
        )
        with pytest.raises(RoomUnreachableError, match="LiveKit server") as caught:
            await room.reserve()
        await room.close()
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400
