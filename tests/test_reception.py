"""How an avatar's sound is taken: the less is expected of it, the more at once."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
from livekit import api, rtc
from livekit.rtc._ffi_client import FfiClient
from pipecat.frames.frames import TTSStoppedFrame

from pipecat_runway.reception import Attention, Reception
from pipecat_runway.simulator import LiveKitServer
from pipecat_runway.sizes import Picture
from tests.kit.content import compare_content
from tests.kit.guests import guest, token_for
from tests.kit.machine import kept
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import recording_of, running, tts_utterance
from tests.kit.waiting import until

from .conftest import MakeService

RATE = 24_000
SMALL, PLAIN, LARGE = 480, 960, 4_800  # bytes in 10, 20 and 100 ms of it
BOUND = 10.0  # s


class Ears:
    """Writes down how much sound came at a time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._news = asyncio.Event()

    def sound(self, identity: str, pcm: bytes) -> None:
        self.sizes.append(len(pcm))
        self._news.set()

    def seen(self, identity: str) -> None: ...

    async def picture(self, identity: str, picture: Picture) -> None: ...

    async def hear(self, size: int, pieces: int) -> None:
        """Wait until so many pieces of this size have come from now on."""
        start = len(self.sizes)
        async with asyncio.timeout(BOUND):
            while self.sizes[start:].count(size) < pieces:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def sounding(server: LiveKitServer, name: str) -> AsyncIterator[tuple[Reception, Ears]]:
    """Have somebody make noise in a room, and hear it."""
    speaker, listener, ears = rtc.Room(), rtc.Room(), Ears()
    subscribers = len(FfiClient.instance.queue._subscribers)
    reception = Reception("speaker", sample_rate=RATE, listener=ears)
    subscribed: asyncio.Future[rtc.Track] = asyncio.get_running_loop().create_future()
    listener.on("track_subscribed", lambda track, *_: subscribed.set_result(track))
    source = rtc.AudioSource(48_000, 1)
    noise = np.random.default_rng(1).integers(-3000, 3000, 480, np.int16).tobytes()

    async def play() -> None:
        while True:
            await source.capture_frame(rtc.AudioFrame(noise, 48_000, 1, 480))

    for room, who in ((listener, "listener"), (speaker, "speaker")):
        token = token_for(server.api_key, server.api_secret, name, who)
        await room.connect(server.url, token)
    tasks = [asyncio.create_task(play())]
    try:
        track = rtc.LocalAudioTrack.create_audio_track("voice", source)
        await speaker.local_participant.publish_track(track)
        async with asyncio.timeout(BOUND):
            tasks.append(asyncio.create_task(reception.read(await subscribed)))
        yield reception, ears
        assert not tasks[-1].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listener.disconnect()
        await speaker.disconnect()
        await source.aclose()
        await _delete(server, name)
    assert subscribers == len(FfiClient.instance.queue._subscribers)


async def _delete(server: LiveKitServer, room: str) -> None:
    async with api.LiveKitAPI(server.url, server.api_key, server.api_secret) as livekit:
        await livekit.room.delete_room(api.DeleteRoomRequest(room=room))


async def test_sound_is_taken_by_the_piece_that_is_asked_for(livekit_server: LiveKitServer) -> None:
    """100 ms while idle, else 20, or 10 if old speech may come; while speech sounds, as before."""
    async with sounding(livekit_server, "pieces") as (reception, ears):
        for attention, size in (
            (Attention.EXPECTANT, PLAIN),
            (Attention.SPEAKING, PLAIN),
            (Attention.WARY, SMALL),
            (Attention.SPEAKING, SMALL),
            (Attention.IDLE, LARGE),
            (Attention.WARY, SMALL),
            (Attention.IDLE, LARGE),
            (Attention.EXPECTANT, PLAIN),
        ):
            reception.attend(attention)
            await ears.hear(size, 5)
            begin = len(ears.sizes)
            await ears.hear(size, 3)
            assert {size} == set(ears.sizes[begin:])
    assert {SMALL, PLAIN, LARGE} == set(ears.sizes)


async def test_a_change_of_mind_does_not_make_it_deaf(livekit_server: LiveKitServer) -> None:
    """However quickly one follows another, the last counts."""
    async with sounding(livekit_server, "minds") as (reception, ears):
        await ears.hear(SMALL, 5)
        ways = list(Attention)
        for turns in range(12):
            for turn in range(turns % 4 + 1):
                reception.attend(ways[(turn + turns) % len(ways)])
                await asyncio.sleep(0.0005 * turns)  # not a wait: where in a change the next comes
        reception.attend(Attention.IDLE)
        await ears.hear(LARGE, 3)
        reception.attend(Attention.EXPECTANT)
        reception.attend(Attention.IDLE)
        reception.attend(Attention.EXPECTANT)
        await ears.hear(PLAIN, 10)
        reception.attend(Attention.IDLE)  # and it is given up in the midst of that


async def test_nothing_is_missed_although_the_loop_stands_still(
    livekit_server: LiveKitServer,
) -> None:
    """What comes while others keep the event loop busy is late, and all there."""
    async with sounding(livekit_server, "busy") as (reception, ears):
        await ears.hear(SMALL, 5)
        reception.attend(Attention.IDLE)
        await ears.hear(LARGE, 2)
        ears.sizes.clear()
        began = time.monotonic()
        reception.attend(Attention.EXPECTANT)
        time.sleep(0.4)  # noqa: ASYNC251 - not a wait: somebody else's mistake
        await ears.hear(PLAIN, 30)
        heard = sum(ears.sizes) / 2 / RATE
        assert heard > time.monotonic() - began - 0.2


class Eyes(Ears):
    """Takes one picture, and never has enough of it."""

    def __init__(self) -> None:
        super().__init__()
        self.pictures = 0
        self.stares = asyncio.Event()

    def seen(self, identity: str) -> None:
        self.pictures += 1

    async def picture(self, identity: str, picture: Picture) -> None:
        self.stares.set()
        await asyncio.get_running_loop().create_future()


async def test_pictures_are_let_go_with_their_track(livekit_server: LiveKitServer) -> None:
    """At once, with the one that was being taken: they are large, and many calls long."""
    server, name, eyes, viewer = livekit_server, "let go", Eyes(), rtc.Room()
    reception = Reception("painter", sample_rate=RATE, listener=eyes)
    subscribed: asyncio.Future[rtc.Track] = asyncio.get_running_loop().create_future()
    viewer.on("track_subscribed", lambda track, *_: subscribed.set_result(track))
    token, other = (
        token_for(server.api_key, server.api_secret, name, who) for who in ("viewer", "painter")
    )
    await viewer.connect(server.url, token)
    gc.collect()
    gc.disable()  # what a cycle holds stays until somebody looks for it
    before = len(kept(Picture))
    try:
        async with asyncio.timeout(BOUND):
            async with guest(server.url, other) as painter:
                await painter.show()
                reading = asyncio.create_task(reception.read(await subscribed))
                await eyes.stares.wait()
                await until(lambda: eyes.pictures >= 5, every=0.02)
                reading.cancel()
                await asyncio.wait([reading])
        assert before == len(kept(Picture))
    finally:
        gc.enable()
        await viewer.disconnect()
        await _delete(server, name)


async def test_speech_after_a_rest_is_heard_whole(make_service: MakeService) -> None:
    """From its first sound on, although hardly anything was listened to before."""
    async with running(make_service()) as run:
        await run.started()
        for n in range(3):
            seen = len(run.tape.pictures)
            await run.tape.wait_for_pictures(seen + 36, timeout=20)  # 1.5 s of rest
            context, speech = f"u{n}", marked_speech(10 * n, 5, RATE)
            await run.feed(tts_utterance(speech, RATE, 1, context, pace="burst"))
            await run.tape.wait_for(TTSStoppedFrame, timeout=BOUND, count=n + 1)
            heard = run.tape.audio(context)
            marks = recording_of(heard).marks(among=numbers(0, 30))
            assert compare_content(numbers(10 * n, 5), marks).clean
            first = sum(mark.heard_s for mark in marks if mark.number == 10 * n)
            assert first > 0.05  # s of 0.1: a jitter buffer may cut some where it tears it
            assert {PLAIN} == {len(frame.audio) for _, frame in heard[1:-1]}
        assert [] == run.errors
        await run.end()
