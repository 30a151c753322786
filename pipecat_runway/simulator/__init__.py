"""A local Runway: its REST API, and avatars that join a real LiveKit server; no key, no credits."""

from pipecat_runway.simulator.faults import ClearAnswer, ErrorBody, Faults
from pipecat_runway.simulator.livekit_binary import LiveKitServerError
from pipecat_runway.simulator.livekit_server import LiveKitServer
from pipecat_runway.simulator.runway import RunwaySimulator
from pipecat_runway.simulator.sessions import SimulatedSession

__all__ = [
    "ClearAnswer",
    "ErrorBody",
    "Faults",
    "LiveKitServer",
    "LiveKitServerError",
    "RunwaySimulator",
    "SimulatedSession",
]
