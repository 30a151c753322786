"""A painted face and a voice in a LiveKit room: what every simulated avatar is."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc

from pipecat_runway.simulator.face import Face
from pipecat_runway.simulator.faults import Babble, Faults, Picture
from pipecat_runway.simulator.playout import RATE, Cues, Line, Speech
from pipecat_runway.simulator.speaker import QUEUE_MS, Speaker
from pipecat_runway.simulator.worker_messages import Join

logger = logging.getLogger(__name__)

END_CALL = {"type": "END_CALL"}  # livekit-plugins-runway 1.8.9, avatar.py; avatars-sdk-react 0.17.0

CONNECT_TIMEOUT = 15.0
PUBLISH_TIMEOUT = 10.0
DISCONNECT_TIMEOUT = 3.0

Report = Callable[[str, dict[str, Any]], None]


class Performer:
    """A stay in a room, from :meth:`join` to :meth:`leave`; what it does there others say.

    Args:
        order: Where to go and how to behave.
        report: Told, as (kind, data), what :class:`WorkerEvent` lists.
        on_end: Called with the reason when something in the room ends the stay.
        cues: What is to happen once it has said so much.
        keep_audio: Whether reports of sound carry the samples.
    """

    auto_subscribe = False  # whether it wants what others publish

    def __init__(
        self,
        order: Join,
        report: Report,
        on_end: Callable[[str], None],
        cues: Cues,
        *,
        keep_audio: bool,
    ) -> None:
        self._order = order
        self._faults: Faults = order.faults
        self._report = report
        self._on_end = on_end
        self._keep_audio = keep_audio
        self._room = rtc.Room()
        self._line = Line()
        self._tasks: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._audio = (
            rtc.AudioSource(RATE, 1, queue_size_ms=QUEUE_MS) if self._faults.publish_audio else None
        )
        self._video = (
            rtc.VideoSource(self._faults.width, self._faults.height)
            if self._faults.publish_video
            else None
        )
        self._speaker = Speaker(
            self._line,
            self._audio,
            self._faults,
            cues,
            on_started=self._on_started,
            on_finished=self._on_finished,
            on_playing=self._on_playing,
        )

    async def join(self) -> None:
        """Enter the room, publish, and begin to live.

        Raises:
            Exception: The room could not be entered or published to, as LiveKit names it.
        """
        room = self._room
        room.on("disconnected", self._on_disconnected)
        self._listen_to(room)
        look = (self._order.character, self._faults.width, self._faults.height)
        painting = asyncio.create_task(asyncio.to_thread(Face, *look))
        try:
            options = rtc.RoomOptions(auto_subscribe=self.auto_subscribe)
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await room.connect(self._order.url, self._order.token, options)
            self._report("joined", {"identity": room.local_participant.identity})
            self._entered(room)
            face = await painting
            if self._video is not None:
                self._capture(self._video, face, time.monotonic())  # until then LiveKit sends black
            async with asyncio.timeout(PUBLISH_TIMEOUT):
                await self._publish()
            self._spawn(self._speaker.run())
            if self._video is not None:
                self._spawn(self._show(self._video, face))
                self._spawn(asyncio.to_thread(face.prepare))
        finally:
            painting.cancel()
        tracks = {"audio": self._audio is not None, "video": self._video is not None}
        self._report("published", tracks)

    async def leave(self) -> None:
        """Leave the room and let go of everything."""
        self._leaving = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(DISCONNECT_TIMEOUT):
                await self._room.disconnect()
        except TimeoutError:
            pass  # the server is not there any more
        finally:
            if self._audio is not None:
                await self._audio.aclose()
            if self._video is not None:
                await self._video.aclose()

    def turn(self, faults: Faults) -> None:
        """Behave otherwise from now on."""
        self._faults = self._speaker.faults = faults

    # --- what each kind of avatar does in its own way -----------------------------------------

    def babble(self, kind: Babble) -> None:
        """Send whom it speaks for, or with, what no avatar should."""

    def _listen_to(self, room: rtc.Room) -> None:
        """Register for what happens in a room that is about to be entered."""

    def _entered(self, room: rtc.Room) -> None:
        """Look about: it is in the room."""

    def _on_started(self, speech: Speech) -> None:
        """The first sample of a speech leaves."""

    def _on_finished(self, speech: Speech) -> None:
        """The last sample of a speech has left."""

    def _on_playing(self, speech: Speech, played: int, at: float) -> None:
        sample = round(played * speech.rate / RATE)
        self._report("playing", {"stream": speech.stream, "sample": sample, "at": at})

    # --- picture and tracks -------------------------------------------------------------------

    async def _publish(self) -> None:
        me = self._room.local_participant
        if self._audio is not None:
            track: rtc.LocalTrack = rtc.LocalAudioTrack.create_audio_track(
                "avatar_audio", self._audio
            )
            options = rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False
            )
            options.audio_encoding.max_bitrate = 96_000
            await me.publish_track(track, options)
        if self._video is not None:
            track = rtc.LocalVideoTrack.create_video_track("avatar_video", self._video)
            options = rtc.TrackPublishOptions(
                source=rtc.TrackSource.SOURCE_CAMERA,
                simulcast=self._faults.simulcast,
                video_codec=rtc.VideoCodec.VP8,
            )
            options.video_encoding.max_framerate = self._faults.fps
            pixels = self._faults.width * self._faults.height
            options.video_encoding.max_bitrate = max(300_000, round(3.2 * pixels))
            await me.publish_track(track, options)

    async def _show(self, video: rtc.VideoSource, face: Face) -> None:
        tick = 1.0 / self._faults.fps
        due = time.monotonic()
        last = self._capture(video, face, due)
        while True:
            due = max(due + tick, time.monotonic() - tick)
            await asyncio.sleep(due - time.monotonic())
            match self._faults.picture:
                case Picture.MOVING:
                    last = self._capture(video, face, due)
                case Picture.STILL:
                    video.capture_frame(last)

    def _capture(self, video: rtc.VideoSource, face: Face, at: float) -> rtc.VideoFrame:
        """Send, and return, the face as it is at an instant."""
        heard = self._speaker.heard(at - self._faults.picture_delay, 1.0 / self._faults.fps)
        picture = face.paint(at, heard.level, heard.brightness)
        frame = rtc.VideoFrame(face.width, face.height, rtc.VideoBufferType.I420, picture.data)
        video.capture_frame(frame)
        return frame

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        if not self._leaving:
            self._report("room_lost", {"reason": rtc.DisconnectReason.Name(reason)})
            self._on_end("room_lost")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._leaving:
            logger.warning("A simulated avatar's task failed: %r", error)
