"""What was found, and what it means. Pure: what is judged here was measured elsewhere."""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pipecat_runway import wire
from pipecat_runway.addresses import check_room_address, split_address
from pipecat_runway.api import Account
from pipecat_runway.doctor.observed import Observed
from pipecat_runway.errors import (
    ConfigError,
    KeyRefusedError,
    NeverJoinedError,
    NoPictureError,
    RunwayError,
)

FEW_CREDITS: Final = 5 * wire.CREDITS_A_MINUTE  # one session of Runway's longest
CLOCK_NOTED: Final = 10.0  # s
CLOCK_BOUND: Final = 60.0  # s, which LiveKit's server allows a token to be off
FROM_RUNWAY: Final = "LiveKit from Runway"


class Verdict(Enum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNCHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: What was looked at.
        verdict: How it went.
        what: What was seen; of what was not checked, the reason.
        remedy: What to do about it.
    """

    check: str
    verdict: Verdict
    what: str
    remedy: str = ""


def unchecked(reason: str, *checks: str) -> list[Finding]:
    """Return a finding for each check that could not be made."""
    return [Finding(check, Verdict.UNCHECKED, reason) for check in checks]


def failed(check: str, error: RunwayError, remedy: str = "") -> Finding:
    """Return what an error says: its message, and its advice as the remedy."""
    what = str(error).removesuffix(error.advice).strip()
    return Finding(check, Verdict.FAILED, what, remedy or error.advice)


def in_range(release: tuple[int, ...], specifier: str) -> bool:
    """Return whether a version is in a range such as ``<2,>=1.14``.

    Raises:
        ValueError: The range cannot be read.
    """
    for clause in specifier.split(","):
        found = re.fullmatch(r"\s*(>=|<)\s*([\d.]+)\s*", clause)
        if found is None:
            raise ValueError(clause)
        bound = release_of(found[2])
        if (release < bound) == (found[1] == ">="):
            return False
    return True


def release_of(version: str) -> tuple[int, ...]:
    """Return the numbers a version begins with, without zeros at their end."""
    found = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in found[0].split(".")] if found else [0]
    while numbers and not numbers[-1]:
        numbers.pop()
    return tuple(numbers)


def version(package: str, installed: str, specifier: str) -> Finding:
    """Judge an installed version.

    Args:
        package: Its name.
        installed: Its version.
        specifier: The range that was tested.
    """
    try:
        fits = in_range(release_of(installed), specifier)
    except ValueError:
        return unchecked(f"{installed}; the range {specifier} cannot be read", package)[0]
    if fits:
        return Finding(package, Verdict.OK, installed)
    remedy = f'pip install "{package}{specifier}"'
    if package == "python":
        remedy = f"Use a Python {specifier}."
    return Finding(package, Verdict.FAILED, f"{installed} is outside {specifier}", remedy)


def base_url(url: str) -> Finding:
    """Judge the address of Runway's API by its form."""
    check, (scheme, host) = "base URL", split_address(url)
    if scheme not in ("http", "https") or not host:
        remedy = f"Set {wire.ENV_BASE_URL} to {wire.BASE_URL}, or leave it out."
        return Finding(check, Verdict.FAILED, f"{url!r} is not an http(s) address", remedy)
    if host == wire.MISTAKEN_HOST:
        remedy = f"Leave {wire.ENV_BASE_URL} out, or set it to {wire.BASE_URL}."
        return Finding(check, Verdict.FAILED, f"{host} is not the API's", remedy)
    return Finding(check, Verdict.OK, url)


def key_refused(error: KeyRefusedError, key: str) -> Finding:
    """Say why a key may have been refused; the key itself is not shown."""
    if re.fullmatch(wire.KEY_FORM, key):
        return failed("API key", error)
    hint = "It does not look like one of Runway's, which are key_ and 128 hexadecimal digits."
    return failed("API key", error, f"{hint} {error.advice}")


def credits_left(account: Account) -> Finding:
    """Judge what is left of the credits."""
    check, minutes = "credits", account.credits // wire.CREDITS_A_MINUTE
    what = f"{account.credits}, for about {minutes} min"
    if account.credits <= 0:
        return Finding(
            check, Verdict.FAILED, "none are left", "Buy credits in Runway's developer portal."
        )
    if account.credits < FEW_CREDITS:
        return Finding(check, Verdict.WARNING, what, "Buy credits before they run out in a call.")
    return Finding(check, Verdict.OK, what)


def tier(account: Account) -> Finding:
    """Judge how many sessions the account may have."""
    check = "tier"
    if not account.has_characters:
        what = f"the account's limits do not name {wire.MODEL}"
        remedy = "Ask Runway's support whether the account has Characters."
        return Finding(check, Verdict.WARNING, what, remedy)
    if account.at_once == 0 or account.daily == 0:
        return Finding(
            check, Verdict.FAILED, "it allows no sessions", "Ask Runway's support, or raise it."
        )
    if account.daily is not None and account.today >= account.daily:
        what = f"{account.today} of {account.daily} sessions of a day are used up"
        return Finding(check, Verdict.FAILED, what, "Wait until tomorrow, or raise the tier.")
    at_once = "any number of" if account.at_once is None else account.at_once
    what = f"{at_once} at once"
    if account.daily is not None:
        what += f", {account.today} of {account.daily} today"
    if account.at_once == 1:
        what += "; after each session the voice bridges until the next"
    return Finding(check, Verdict.OK, what)


def preset(preset_id: str) -> Finding:
    """Judge a preset: no route lists them."""
    if preset_id in wire.PRESETS:
        return Finding("avatar", Verdict.OK, f"{preset_id} is one of Runway's presets")
    remedy = f"Give one of {', '.join(sorted(wire.PRESETS))}."
    return Finding("avatar", Verdict.FAILED, f"{preset_id!r} is none of Runway's presets", remedy)


def avatar(status: str) -> Finding:
    """Judge a custom avatar by its status."""
    match status:
        case "READY":
            return Finding("avatar", Verdict.OK, "it is READY")
        case "PROCESSING":
            remedy = "Wait until it is READY, and run this again; it takes minutes."
        case _:
            remedy = "Make it again, with another picture, in Runway's developer portal."
    return Finding("avatar", Verdict.FAILED, f"it is {status}", remedy)


def clock(offset: float) -> Finding:
    """Judge this machine's clock.

    Args:
        offset: How far it is ahead of Runway's, in s.
    """
    check, off = "clock", abs(offset)
    what = f"{off:.0f} s {'ahead of' if offset > 0 else 'behind'} Runway's"
    remedy = "Set this machine's clock by NTP: the LiveKit tokens made here carry their times."
    if off > CLOCK_BOUND:
        return Finding(check, Verdict.FAILED, what, remedy)
    if off > CLOCK_NOTED:
        return Finding(check, Verdict.WARNING, what, remedy)
    return Finding(check, Verdict.OK, "agrees with Runway's")


def from_runway(observed: Observed) -> Finding:
    """Judge from a session whether Runway's avatar gets into the room, and its media out of it."""
    check = FROM_RUNWAY
    if observed.pictured is not None:
        return Finding(check, Verdict.OK, f"the avatar's picture came in {observed.pictured:.1f} s")
    if observed.joined is not None:
        what, remedy = "the avatar came, and sent no picture", NoPictureError.advice
    elif observed.session_id is not None:
        what, remedy = "the avatar did not come", NeverJoinedError.advice
    else:
        return unchecked("no session came about", check)[0]
    return Finding(check, Verdict.FAILED, what, remedy)


def room_address(url: str, api_host: str) -> Finding:
    """Judge the LiveKit server's address by its form."""
    try:
        check_room_address(url, api_host)
    except ConfigError as e:
        return failed("LiveKit address", e)
    return Finding("LiveKit address", Verdict.OK, url)
