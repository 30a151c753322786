"""A local Runway: its REST API, and avatars that join a real LiveKit server; no key, no credits."""

from pipecat_runway.simulator.faults import (
    Action,
    Babble,
    Captions,
    ClearAnswer,
    ErrorBody,
    Faults,
    Garbage,
    Picture,
    Route,
    Voice,
)
from pipecat_runway.simulator.livekit_binary import LiveKitServerError
from pipecat_runway.simulator.livekit_server import LiveKitServer
from pipecat_runway.simulator.runway import RunwaySimulator
from pipecat_runway.simulator.script import Call, Script, Turn
from pipecat_runway.simulator.sessions import Said, SimulatedSession, ToolCall
from pipecat_runway.simulator.switchboard import SwitchError

__all__ = [
    "Action",
    "Babble",
    "Call",
    "Captions",
    "ClearAnswer",
    "ErrorBody",
    "Faults",
    "Garbage",
    "LiveKitServer",
    "LiveKitServerError",
    "Picture",
    "Route",
    "RunwaySimulator",
    "Said",
    "Script",
    "SimulatedSession",
    "SwitchError",
    "ToolCall",
    "Turn",
    "Voice",
]
