"""Whether Runway's cloud can reach a LiveKit address. No name is resolved here."""

import ipaddress
from urllib.parse import urlsplit

from pipecat_runway import wire
from pipecat_runway.errors import ConfigError, RoomAddressError

_SECURE = ("wss", "https")
_SCHEMES = (*_SECURE, "ws", "http")
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def check_room_address(livekit_url: str, api_host: str) -> None:
    """Refuse a LiveKit address before anything is requested.

    Args:
        livekit_url: The LiveKit server's address.
        api_host: The host of Runway's API. A host of one's own (the simulator) may be told any
            address.

    Raises:
        ConfigError: If it is not the address of a LiveKit server at all.
        RoomAddressError: If Runway's cloud could never reach it (SDK: "a wss:// or https:// URL
            that resolves to a public host").
    """
    scheme, host = split_address(livekit_url)
    if scheme not in _SCHEMES or not host:
        raise ConfigError(
            f"livekit_url must look like wss://host, got the scheme {scheme!r}",
            advice=f"Check {wire.ENV_LIVEKIT_URL}.",
        )
    if not is_runways(api_host):
        return
    if scheme not in _SECURE:
        raise RoomAddressError(f"livekit_url is {scheme}://, Runway takes only wss:// here")
    if _is_private(host):
        raise RoomAddressError(f"livekit_url names {host}, which is not a public host")


def split_address(url: str) -> tuple[str, str]:
    """Return scheme and host of an address; what is not there is empty."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that do not match
        return "", ""
    return parts.scheme, parts.hostname or ""


def is_runways(host: str) -> bool:
    """Return whether a host is one of Runway's own."""
    return host == wire.CLOUD_DOMAIN or host.endswith("." + wire.CLOUD_DOMAIN)


def _is_private(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host.rstrip(".") or host.rstrip(".").endswith(_PRIVATE_SUFFIXES)
