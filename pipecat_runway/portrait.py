"""The picture a character is made from, looked at before it is uploaded."""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from PIL import Image

from pipecat_runway import wire
from pipecat_runway.errors import ConfigError


@dataclass(frozen=True)
class Portrait:
    """A picture in memory.

    Attributes:
        data: As it stood in its file.
        media_type: Of one of the formats that Runway takes.
    """

    data: bytes = field(repr=False)
    media_type: str

    @property
    def filename(self) -> str:
        """What it is called at Runway. Its own name is nobody's business there."""
        return f"picture.{self.media_type.partition('/')[2]}"

    @classmethod
    def read(cls, path: Path) -> "Portrait":
        """Read a file, and look at what is in it.

        Raises:
            ConfigError: It cannot be read, or is no picture that Runway takes.
        """
        try:
            if not path.is_file() and path.exists():  # a pipe would be waited for
                raise ConfigError("picture is no file", advice=f"Check {path}.")
            size = path.stat().st_size
            if size > wire.MAX_UPLOAD:
                raise ConfigError(
                    f"picture has {size} bytes, Runway takes {wire.MAX_UPLOAD} at most",
                    advice="Make it smaller.",
                )
            data = path.read_bytes()
        except OSError as e:
            raise ConfigError(
                f"picture cannot be read ({e.strerror})", advice=f"Check {path}."
            ) from e
        return cls(data, _media_type(data))


def _media_type(data: bytes) -> str:
    formats = list(wire.PICTURE_TYPES)
    try:
        with Image.open(BytesIO(data), formats=formats) as picture:
            picture.load()  # a file that was cut off opens well
            return wire.PICTURE_TYPES[str(picture.format)]
    # Whatever a decoder makes of what is no picture: Pillow names no one class for it.
    except Exception as e:
        raise ConfigError(
            f"picture has {len(data)} bytes that are no whole picture in a format of Runway's "
            f"({type(e).__name__})",
            advice=f"Runway takes {', '.join(formats)}.",
        ) from e
