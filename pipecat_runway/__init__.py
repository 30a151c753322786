"""Runway Characters (GWM-1 realtime avatars) for Pipecat voice bots."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipecat_runway.video import (
        RunwayUpdateSettingsFrame,
        RunwayUsageMetricsData,
        RunwayVideoService,
        RunwayVideoSettings,
    )

__all__ = [
    "RunwayUpdateSettingsFrame",
    "RunwayUsageMetricsData",
    "RunwayVideoService",
    "RunwayVideoSettings",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts quickly."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pipecat_runway import video

    return getattr(video, name)
