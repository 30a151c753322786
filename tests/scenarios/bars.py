"""Colour bars instead of an avatar's face, through LiveKit and the service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from livekit import rtc
from numpy.typing import NDArray
from pipecat.frames.frames import OutputImageRawFrame

from pipecat_runway import RunwayVideoService
from pipecat_runway.simulator import Faults, LiveKitServer, RunwaySimulator
from pipecat_runway.simulator.switchboard import Switch
from pipecat_runway.simulator.worker_messages import WorkerEvent
from tests.kit.pipeline import Tape, running

# Red, green, blue: 75 % bars (ITU-R BT.801 has them), then greys.
BARS = [
    *[(r, g, b) for g in (191, 0) for r in (191, 0) for b in (191, 0)],
    *[(grey, grey, grey) for grey in (32, 96, 160, 224)],
]
LUMA = {"BT.601": (0.299, 0.114), "BT.709": (0.2126, 0.0722)}  # of red and blue

Values = NDArray[np.float64]
Pixels = NDArray[np.uint8]


def to_yuv(rgb: Values, matrix: str) -> Values:
    """Turn colours into limited-range Y'CbCr, as ITU-R BT.601 and BT.709 define it."""
    red, blue = LUMA[matrix]
    r, g, b = np.moveaxis(rgb, -1, 0)
    y = red * r + (1 - red - blue) * g + blue * b
    cb, cr = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    return np.stack([16 + y * 219 / 255, 128 + cb * 224 / 255, 128 + cr * 224 / 255], -1)


def from_yuv(yuv: Values, matrix: str) -> Values:
    """Turn limited-range Y'CbCr into colours."""
    red, blue = LUMA[matrix]
    y, cb, cr = np.moveaxis((yuv - [16, 128, 128]) * [255 / 219, 255 / 224, 255 / 224], -1, 0)
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.clip(np.stack([r, g, b], -1), 0, 255)


def i420(matrix: str, width: int, height: int) -> Pixels:
    """The bars side by side, as I420."""
    yuv = np.rint(to_yuv(np.array(BARS, float), matrix)).astype(np.uint8)
    of = np.arange(width) * len(BARS) // width
    luma = np.tile(yuv[of, 0], (height, 1))
    chroma = [np.tile(yuv[of[::2], plane], (height // 2, 1)) for plane in (1, 2)]
    return np.concatenate([luma.ravel(), *(plane.ravel() for plane in chroma)])


def seen(frame: OutputImageRawFrame) -> Values:
    """The colour in the middle of each bar."""
    width, height = frame.size
    pixels = np.frombuffer(frame.image, np.uint8).reshape(height, width, 3)
    middles = ((np.arange(len(BARS)) + 0.5) * width / len(BARS)).astype(int)
    spread, half = max(1, width // len(BARS) // 6), height // 4
    return np.array([pixels[half:-half, m - spread : m + spread].mean((0, 1)) for m in middles])


@dataclass(frozen=True)
class Report:
    """How far the colours that came out are from others, in steps of 255, at most.

    Attributes:
        right: From the bars as they were meant.
        taken_as: From what the bars look like to somebody who reads Y'CbCr by that matrix.
    """

    right: float
    taken_as: dict[str, float]

    @property
    def matrix(self) -> str:
        """The matrix they were read by."""
        return min(self.taken_as, key=lambda name: self.taken_as[name])


async def show_bars(
    livekit: LiveKitServer,
    matrix: str,
    make: Callable[[RunwaySimulator], RunwayVideoService],
    *,
    width: int = 1280,
    height: int = 720,
    pictures: int = 48,
) -> Report:
    """Let an avatar show bars made by a matrix, and look at what the service pushes.

    Args:
        livekit: The server.
        matrix: Of :data:`LUMA`.
        make: Makes the service, given a local Runway.
        width: Of the picture.
        height: Of the picture.
        pictures: After so many the codec has settled.
    """
    faults = Faults(width=width, height=height)
    async with RunwaySimulator(
        faults, livekit=livekit, workers=lambda on_event: _Painters(on_event, matrix)
    ) as runway:
        tape = Tape(look=seen)
        async with running(make(runway), tape) as run:
            await run.started()
            shown = await tape.wait_for_pictures(pictures, timeout=30)
            await run.end()
    meant = np.array(BARS, float)
    sent = np.rint(to_yuv(meant, matrix))
    return Report(
        right=float(np.abs(shown.look - meant).max()),
        taken_as={name: float(np.abs(shown.look - from_yuv(sent, name)).max()) for name in LUMA},
    )


class _Painters:
    """Sends avatars that show bars where the simulator would send its own."""

    def __init__(self, on_event: Callable[[WorkerEvent], None], matrix: str) -> None:
        self._on_event = on_event
        self._matrix = matrix
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Nothing is needed before the first avatar."""

    async def aclose(self) -> None:
        """Call all of them back."""
        self.kill()
        await asyncio.gather(*self._tasks)

    def kill(self) -> None:
        """Call all of them back, and wait for none."""
        for end in self._ends.values():
            end.set()

    async def join(
        self, *, session_id: str, url: str, token: str, faults: Faults, **_: Any
    ) -> None:
        """Send one into a room."""
        self._ends[session_id] = asyncio.Event()
        self._tasks.append(asyncio.create_task(self._paint(session_id, url, token, faults)))

    async def leave(self, session_id: str, reason: str) -> None:
        """Call one back."""
        self._ends[session_id].set()

    async def do(self, session_id: str, switch: Switch) -> None:
        """It throws no switches."""
        raise LookupError(session_id)

    async def _paint(self, session_id: str, url: str, token: str, faults: Faults) -> None:
        bars = i420(self._matrix, faults.width, faults.height)
        async with _publishing(url, token, faults) as video:
            self._tell(session_id, "published", {"audio": False, "video": True})
            while not self._ends[session_id].is_set():
                picture = (faults.width, faults.height, rtc.VideoBufferType.I420, bars.data)
                video.capture_frame(rtc.VideoFrame(*picture))
                await asyncio.sleep(1 / faults.fps)
        self._tell(session_id, "left", {"reason": "deleted"})

    def _tell(self, session_id: str, kind: str, data: dict[str, Any]) -> None:
        at = asyncio.get_running_loop().time()
        self._on_event(WorkerEvent(session_id, kind, at, data))


@asynccontextmanager
async def _publishing(url: str, token: str, faults: Faults) -> AsyncIterator[rtc.VideoSource]:
    room, video = rtc.Room(), rtc.VideoSource(faults.width, faults.height)
    await room.connect(url, token, rtc.RoomOptions(auto_subscribe=False))
    try:
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            simulcast=False,
            video_codec=rtc.VideoCodec.VP8,
        )
        options.video_encoding.max_framerate = faults.fps
        options.video_encoding.max_bitrate = max(
            1_000_000, round(3.2 * faults.width * faults.height)
        )
        track = rtc.LocalVideoTrack.create_video_track("bars", video)
        await room.local_participant.publish_track(track, options)
        yield video
    finally:
        await room.disconnect()
        await video.aclose()
