"""Which pictures a pipeline gets: the avatar's, and what stands in for them without a face."""

import time
from typing import Literal

from loguru import logger
from pipecat.frames.frames import OutputImageRawFrame
from pipecat.processors.frame_processor import FrameProcessor
from pipecat.transports.base_output import BaseOutputTransport

from pipecat_runway.errors import ConfigError
from pipecat_runway.media import Decimator, fit_picture
from pipecat_runway.sizes import Picture, PictureSize

Placeholder = Literal["last", "black"] | OutputImageRawFrame

LARGER = 4  # times a picture: as many of them may be freed at once
STAND_IN_EVERY = 1.0  # s: often enough for who joins late, and hardly any work


class Pictures:
    """Makes frames of the avatar's pictures, and stands in for them.

    Args:
        size: What is wanted of them.
        framerate: Most pictures a second; None: as many as come.
        placeholder: What is seen without a face: the avatar's last picture, a black one, or this
            one, tight RGB.

    Raises:
        ConfigError: If the placeholder is no such picture.
    """

    def __init__(
        self,
        *,
        size: PictureSize,
        framerate: float | None,
        placeholder: Placeholder,
    ) -> None:
        self._wanted = size
        self._framerate, self._decimator = framerate, Decimator(framerate)
        self._size = (size.width, size.height) if size.width and size.height else None
        self._own = _own_picture(placeholder)
        self._keeps_last = placeholder == "last"
        self._last: Picture | None = None
        self._shown_at = 0.0

    async def show(self, picture: Picture, processor: FrameProcessor) -> OutputImageRawFrame | None:
        """Return the frame for a picture of the avatar's; None if it is to be left out.

        Args:
            picture: At the avatar's own size.
            processor: Who pushes it; with the first picture the output transport behind it is
                looked at, and a mismatch of sizes or rates is warned of.
        """
        now = time.monotonic()
        if not self._decimator.wants(now):
            return None
        size = self._wanted.of(picture.size)
        if self._shown_at == 0.0:
            self._compare_with_transport(processor, size)
            # Until something larger was freed, glibc gives a picture's memory back to the system
            # each time, and faults it in again for the next: a tenth of a call's CPU.
            bytes(LARGER * len(picture.rgb))
        self._shown_at, self._size = now, size
        picture = await fit_picture(picture, size, self._wanted.fit)
        self._last = picture if self._keeps_last else None
        return OutputImageRawFrame(picture.rgb, picture.size, "RGB")

    async def stand_in(self) -> OutputImageRawFrame | None:
        """Return what is seen without a face; None if there is nothing to be seen, or no need."""
        if time.monotonic() - self._shown_at < STAND_IN_EVERY:
            return None
        picture = self._own or self._last
        if picture is None and not self._keeps_last and self._size is not None:
            picture = Picture(bytes(3 * self._size[0] * self._size[1]), self._size)
        if picture is None:
            return None
        picture = await fit_picture(picture, self._size or picture.size, self._wanted.fit)
        return OutputImageRawFrame(picture.rgb, picture.size, "RGB")

    def _compare_with_transport(self, face: FrameProcessor, size: tuple[int, int]) -> None:
        processor = face.next
        while processor is not None and not isinstance(processor, BaseOutputTransport):
            processor = processor.next
        if processor is None:
            return
        params = processor._params
        if not params.video_out_enabled:
            logger.warning(f"{face}: {processor} has video_out_enabled=False, no picture is shown")
        elif (params.video_out_width, params.video_out_height) != size:
            logger.warning(
                f"{face}: pictures are {size[0]}x{size[1]}, {processor} expects "
                f"{params.video_out_width}x{params.video_out_height} and will stretch them; make "
                "video_out_width and video_out_height the same on both"
            )
        elif self._framerate and params.video_out_framerate < self._framerate:
            logger.warning(
                f"{face}: up to {self._framerate:g} pictures a second, {processor} shows "
                f"{params.video_out_framerate}; make video_out_framerate the same on both"
            )


def _own_picture(placeholder: Placeholder) -> Picture | None:
    if not isinstance(placeholder, OutputImageRawFrame):
        if placeholder not in ("last", "black"):
            raise ConfigError(
                "placeholder must be 'last', 'black' or an OutputImageRawFrame, "
                f"got {placeholder!r}"
            )
        return None
    width, height = placeholder.size
    if placeholder.format != "RGB" or len(placeholder.image) != 3 * width * height:
        raise ConfigError(
            f"the placeholder must be tight RGB, got {placeholder.format!r} with "
            f"{len(placeholder.image)} bytes for {width}x{height}"
        )
    return Picture(placeholder.image, placeholder.size)
