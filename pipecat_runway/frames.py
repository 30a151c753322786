"""Frames of this package's own."""

from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import SystemFrame


@dataclass
class RunwayClientEventFrame(SystemFrame):
    """The avatar has used a tool of the kind ``client_event``; nobody waits for an answer.

    Parameters:
        tool: The tool's name.
        args: What came with it.
    """

    tool: str
    args: dict[str, Any] = field(repr=False)
