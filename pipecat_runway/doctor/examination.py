"""Looks at key, account, avatar, LiveKit server and clock, and spends nothing."""

import asyncio
import email.utils
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

from pipecat_runway import wire
from pipecat_runway.addresses import is_runways, split_address
from pipecat_runway.api import RawAnswer, RunwayAPI
from pipecat_runway.doctor import findings
from pipecat_runway.doctor.findings import FROM_RUNWAY, Finding, Verdict, failed, unchecked
from pipecat_runway.doctor.installed import versions
from pipecat_runway.errors import (
    APIError,
    ConfigError,
    KeyRefusedError,
    RoomCredentialsError,
    RoomError,
)
from pipecat_runway.room import AvatarRoom
from pipecat_runway.sizes import Picture

ORGANIZATION = "/v1/organization"
SAMPLE_RATE = 24_000  # Hz
NAME_BOUND = 5.0  # s for a name to be resolved
SKEW_BOUND = 2.0  # s that a request may have taken for its date to be worth comparing

CERTIFICATE = (
    "Its TLS certificate is not trusted here: give the server one of a public authority, for the "
    "name in LIVEKIT_URL."
)
AFTER_API = ("API key", "credits", "tier", "avatar", "clock")
AFTER_ADDRESS = ("LiveKit server", "LiveKit secret", "LiveKit media")


@dataclass(frozen=True)
class Settings:
    """What a bot would use.

    Attributes:
        api_key: Runway's API secret.
        base_url: Where Runway's API is.
        livekit_url: The LiveKit server.
        livekit_api_key: Its API key.
        livekit_api_secret: Its API secret.
        character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
    """

    api_key: str = field(repr=False)
    base_url: str
    livekit_url: str
    livekit_api_key: str = field(repr=False)
    livekit_api_secret: str = field(repr=False)
    character: dict[str, str]

    @classmethod
    def of(cls, env: Mapping[str, str], character: dict[str, str]) -> Self:
        """Read them from environment variables; what is not there is empty."""
        return cls(
            api_key=env.get(wire.ENV_API_SECRET, ""),
            base_url=env.get(wire.ENV_BASE_URL) or wire.BASE_URL,
            livekit_url=env.get(wire.ENV_LIVEKIT_URL, ""),
            livekit_api_key=env.get(wire.ENV_LIVEKIT_API_KEY, ""),
            livekit_api_secret=env.get(wire.ENV_LIVEKIT_API_SECRET, ""),
            character=character,
        )

    @property
    def missing(self) -> list[str]:
        """The environment variables that are not set."""
        given = {
            wire.ENV_API_SECRET: self.api_key,
            wire.ENV_LIVEKIT_URL: self.livekit_url,
            wire.ENV_LIVEKIT_API_KEY: self.livekit_api_key,
            wire.ENV_LIVEKIT_API_SECRET: self.livekit_api_secret,
        }
        return [name for name, value in given.items() if not value]

    @property
    def api_host(self) -> str:
        """The host of Runway's API."""
        return split_address(self.base_url)[1]


async def examine(settings: Settings) -> list[Finding]:
    """Make every check; what depends on a failed one is not checked.

    Args:
        settings: What a bot would use.

    Returns:
        The findings, in an order to be read in.
    """
    found = versions()
    if settings.missing:
        remedy = "Set it in the environment, or load your .env before this."
        found += [
            Finding("settings", Verdict.FAILED, f"{name} is not set", remedy)
            for name in settings.missing
        ]
    runway, livekit = await asyncio.gather(_runway(settings), _livekit(settings))
    return [*found, *runway, *_with_the_clock_in_mind(runway, livekit)]


async def _runway(settings: Settings) -> list[Finding]:
    address = findings.base_url(settings.base_url)
    if address.verdict is not Verdict.OK:
        return [address, *unchecked("the base URL is wrong", "API", *AFTER_API)]
    if not settings.api_key:
        return [address, *unchecked(f"{wire.ENV_API_SECRET} is not set", "API", *AFTER_API)]
    try:
        api = RunwayAPI(api_key=settings.api_key, base_url=settings.base_url)
    except ConfigError as e:
        return [failed(address.check, e), *unchecked("the base URL is wrong", "API", *AFTER_API)]
    try:
        asked = time.time()
        try:
            answer = await api.look(ORGANIZATION)
        except APIError as e:
            reason = "Runway's API cannot be reached"
            return [address, failed("API", e), *unchecked(reason, *AFTER_API)]
        clock = _clock(answer, asked, time.time())
        return [address, *await _account(api, settings), clock]
    finally:
        await api.close()


async def _account(api: RunwayAPI, settings: Settings) -> list[Finding]:
    there = Finding("API", Verdict.OK, f"{settings.api_host} answers")
    dependent = AFTER_API[1:-1]
    try:
        account = await api.account()
    except KeyRefusedError as e:
        refused = findings.key_refused(e, settings.api_key)
        return [there, refused, *unchecked("the API key was refused", *dependent)]
    except APIError as e:
        strange = failed("API", e, f"Is {wire.ENV_BASE_URL} the address of Runway's API?")
        return [strange, *unchecked("the API does not answer as Runway's does", *AFTER_API[:-1])]
    accepted = Finding("API key", Verdict.OK, "it is accepted")
    avatar = await _avatar(api, settings.character)
    return [there, accepted, findings.credits_left(account), findings.tier(account), avatar]


async def _avatar(api: RunwayAPI, character: dict[str, str]) -> Finding:
    if "preset_id" in character:
        return findings.preset(character["preset_id"])
    try:
        return findings.avatar(await api.avatar_status(character["avatar_id"]))
    except APIError as e:
        return failed("avatar", e)


def _clock(answer: RawAnswer, asked: float, answered: float) -> Finding:
    try:
        theirs = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return unchecked("the API's answer names no time", "clock")[0]
    if answered - asked > SKEW_BOUND:
        return unchecked("the API is too slow to compare clocks with", "clock")[0]
    return findings.clock((asked + answered) / 2 - theirs)


async def _livekit(settings: Settings) -> list[Finding]:
    if not settings.livekit_url:
        reason = f"{wire.ENV_LIVEKIT_URL} is not set"
        return unchecked(reason, "LiveKit address", *AFTER_ADDRESS, FROM_RUNWAY)
    address = findings.room_address(settings.livekit_url, settings.api_host)
    if address.verdict is Verdict.OK:
        address = await _resolved(address, settings)
    if address.verdict is not Verdict.OK:
        return [address, *unchecked("the LiveKit address is wrong", *AFTER_ADDRESS, FROM_RUNWAY)]
    if not (settings.livekit_api_key and settings.livekit_api_secret):
        return [address, *unchecked("key or secret is not set", *AFTER_ADDRESS, FROM_RUNWAY)]
    return [address, *await _room(settings), *unchecked("only --speak can tell", FROM_RUNWAY)]


async def _resolved(address: Finding, settings: Settings) -> Finding:
    """Judge the address by what its name stands for."""
    _, host = split_address(settings.livekit_url)
    try:
        async with asyncio.timeout(NAME_BOUND):
            found = await asyncio.get_running_loop().getaddrinfo(host, None)
    except (OSError, TimeoutError, UnicodeError):
        return replace(
            address,
            verdict=Verdict.FAILED,
            what=f"the name {host} cannot be resolved",
            remedy=f"Check {wire.ENV_LIVEKIT_URL} for a typing mistake, and this machine's DNS.",
        )
    hosts = [str(entry[4][0]).partition("%")[0] for entry in found]
    if is_runways(settings.api_host) and not any(ipaddress.ip_address(h).is_global for h in hosts):
        return replace(
            address,
            verdict=Verdict.FAILED,
            what=f"{host} stands for {hosts[0]}, which is not a public address",
            remedy="Runway's avatar dials in from the internet: give the server a public name.",
        )
    return address


async def _room(settings: Settings) -> list[Finding]:
    """Open a room, join it, and leave it: free, and all that a bot itself does there."""
    server, secret, media = AFTER_ADDRESS
    room = AvatarRoom(
        url=settings.livekit_url,
        api_key=settings.livekit_api_key,
        api_secret=settings.livekit_api_secret,
        sample_rate=SAMPLE_RATE,
        listener=Nobody(),
    )
    try:
        await room.reserve()
        found = [
            Finding(server, Verdict.OK, "it answers"),
            Finding(secret, Verdict.OK, "key and secret are accepted"),
        ]
        try:
            await room.connect()
        except RoomError as e:
            remedy = "Open UDP to the server from this machine, or give the server TURN over TLS."
            return [*found, failed(media, e, remedy)]
        path = await room.media_path()
        what = "a room was joined" + (f", by {path}" if path else "")
        return [*found, Finding(media, Verdict.OK, what)]
    except RoomCredentialsError as e:
        there = Finding(server, Verdict.OK, "it answers")
        return [there, failed(secret, e), *unchecked("the secret was refused", media)]
    except RoomError as e:
        remedy = CERTIFICATE if "Certificate" in str(e) else ""
        unreached = failed(server, e, remedy)
        return [unreached, *unchecked("the server cannot be reached", secret, media)]
    finally:
        await room.close()


def _with_the_clock_in_mind(runway: list[Finding], livekit: list[Finding]) -> list[Finding]:
    """A token from a wrong clock is refused like one from a wrong secret: say so."""
    if not any(f.check == "clock" and f.verdict is Verdict.FAILED for f in runway):
        return livekit
    hint = "The clock is wrong: set it first, for that alone can be the reason."
    return [
        replace(f, remedy=f"{hint} {f.remedy}")
        if (f.check, f.verdict) == ("LiveKit secret", Verdict.FAILED)
        else f
        for f in livekit
    ]


class Nobody:
    """Listens to a room, and does nothing about it; see :class:`pipecat_runway.room.Listener`."""

    def avatar_joined(self, identity: str) -> None:
        """Nobody is expected."""

    def avatar_reachable(self, identity: str) -> None:
        """Nothing is sent."""

    def avatar_left(self, identity: str, reason: str) -> None:
        """Nobody is missed."""

    def sound(self, identity: str, pcm: bytes) -> None:
        """Nothing is heard."""

    def seen(self, identity: str) -> None:
        """Nothing is looked at."""

    async def picture(self, identity: str, picture: Picture) -> None:
        """Nothing is seen."""

    def playback_finished(self, identity: str, report: wire.PlaybackFinished) -> None:
        """Nothing was said."""

    def room_lost(self, reason: str) -> None:
        """Whoever asked the room for something is told by its error."""
