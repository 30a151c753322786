"""A local Runway: its REST API, and avatars that join a real LiveKit server; no key, no credits."""

from pipecat_runway.simulator.faults import (
    Action,
    Babble,
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
from pipecat_runway.simulator.sessions import SimulatedSession
from pipecat_runway.simulator.switchboard import SwitchError

__all__ = [
    "Action",
    "Babble",
    "ClearAnswer",
    "ErrorBody",
    "Faults",
    "Garbage",
    "LiveKitServer",
    "LiveKitServerError",
    "Picture",
    "Route",
    "RunwaySimulator",
    "SimulatedSession",
    "SwitchError",
    "Voice",
]
