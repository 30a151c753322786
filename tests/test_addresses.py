"""Which LiveKit addresses Runway's cloud can reach."""

import pytest

from pipecat_runway.addresses import check_room_address
from pipecat_runway.errors import ConfigError, RoomAddressError

CLOUD, LOCAL = "api.dev.runwayml.com", "127.0.0.1"


@pytest.mark.parametrize(
    "url",
    [
        "wss://project-abc.livekit.cloud",
        "https://livekit.example.com:443",
        "wss://8.8.8.8:7880",
        "wss://[2606:4700::1111]",
    ],
)
def test_public_addresses_are_taken(url: str) -> None:
    """A TLS address of a public host is fine."""
    check_room_address(url, CLOUD)


@pytest.mark.parametrize(
    "url",
    [
        "ws://project-abc.livekit.cloud",
        "http://livekit.example.com",
        "wss://localhost:7880",
        "wss://127.0.0.1:7880",
        "wss://10.1.2.3",
        "wss://192.168.0.7",
        "wss://172.16.0.1",
        "wss://169.254.1.1",
        "wss://[::1]:7880",
        "wss://[fe80::1]",
        "wss://livekit",
        "wss://livekit.local",
        "wss://media.internal",
        "wss://box.lan.",
    ],
)
def test_addresses_the_cloud_cannot_reach_are_refused(url: str) -> None:
    """Private and plain addresses are refused for the cloud, and fine for a local Runway."""
    with pytest.raises(RoomAddressError, match="livekit_url"):
        check_room_address(url, CLOUD)
    check_room_address(url, LOCAL)


@pytest.mark.parametrize("url", ["", "livekit.example.com", "ftp://host", "wss://", "wss://[::1"])
def test_what_is_no_address_is_refused_everywhere(url: str) -> None:
    """A value that names no server is refused before anything is requested."""
    with pytest.raises(ConfigError):
        check_room_address(url, LOCAL)


def test_a_look_alike_host_is_not_the_cloud() -> None:
    """Only hosts below runwayml.com count as Runway's cloud."""
    check_room_address("ws://127.0.0.1:7880", "notrunwayml.com")
