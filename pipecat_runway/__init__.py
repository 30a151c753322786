"""Runway Characters (GWM-1 realtime avatars) for Pipecat voice bots."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipecat_runway.backend_tools import BackendTools
    from pipecat_runway.elevenlabs import ElevenLabsAgent
    from pipecat_runway.frames import RunwayClientEventFrame
    from pipecat_runway.llm import RunwayRealtimeLLMService
    from pipecat_runway.settings import (
        RunwayRealtimeLLMSettings,
        RunwayUpdateSettingsFrame,
        RunwayVideoSettings,
    )
    from pipecat_runway.telemetry import (
        RunwayArrivalMetricsData,
        RunwayHandOverMetricsData,
        RunwaySpeechMetricsData,
        RunwayUsageMetricsData,
    )
    from pipecat_runway.video import RunwayVideoService

_HOMES = {
    "RunwayArrivalMetricsData": "telemetry",
    "RunwayHandOverMetricsData": "telemetry",
    "RunwaySpeechMetricsData": "telemetry",
    "BackendTools": "backend_tools",
    "ElevenLabsAgent": "elevenlabs",
    "RunwayClientEventFrame": "frames",
    "RunwayRealtimeLLMService": "llm",
    "RunwayRealtimeLLMSettings": "settings",
    "RunwayUpdateSettingsFrame": "settings",
    "RunwayUsageMetricsData": "telemetry",
    "RunwayVideoService": "video",
    "RunwayVideoSettings": "settings",
}
__all__ = [
    "BackendTools",
    "ElevenLabsAgent",
    "RunwayArrivalMetricsData",
    "RunwayClientEventFrame",
    "RunwayHandOverMetricsData",
    "RunwayRealtimeLLMService",
    "RunwayRealtimeLLMSettings",
    "RunwaySpeechMetricsData",
    "RunwayUpdateSettingsFrame",
    "RunwayUsageMetricsData",
    "RunwayVideoService",
    "RunwayVideoSettings",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that the command line starts quickly."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
