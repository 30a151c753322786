"""The switchboard: the names of everything that can be turned or done, and how it is written.

A switch is one line of text, in Python, on the command line and over HTTP alike::

    NAME[=VALUE][@[speech:]SECONDS]

The name is a knob of :class:`~pipecat_runway.simulator.faults.Faults` or an
:class:`~pipecat_runway.simulator.faults.Action`. ``@2.5`` is 2.5 s later, ``@speech:2.5`` once the
session's avatar has said so much more. Nothing here does IO; who throws switches is
:mod:`pipecat_runway.simulator.switching`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from enum import Enum
from http import HTTPStatus
from types import NoneType
from typing import Any, get_args, get_type_hints

from pipecat_runway.simulator.faults import Action, Babble, Faults

KNOBS: Mapping[str, Any] = {
    name: kind for name, kind in get_type_hints(Faults).items() if name != "script"
}
ACTIONS: Mapping[str, Action] = {action.value: action for action in Action}

# Knobs that its worker, or its end, reads again and again: they can be turned while a session runs.
LIVE = frozenset(
    {"picture", "voice", "muted", "noise_floor", "gain", "drop_piece"}
    | {"render_delay", "playback_started", "playback_finished", "playback_finished_delay"}
    | {"playback_finished_times", "playback_position_error", "rpc_delay", "rpc_lost"}
    | {"clear", "clear_delay", "clear_keep", "obey_end_call", "obey_empty_room"}
    | {"leave_status", "room_lost_status", "failure_code"}
    | {"obey_barge_in", "user_grace", "thinking", "tool_echoes", "wrapped_args"}
)
# What the avatar's worker does itself, in its own process; all else is done from outside.
IN_THE_ROOM = frozenset({Action.KILL, Action.FREEZE, Action.LEAVE, Action.REJOIN, Action.BABBLE})
# What does not belong to one session.
FOR_ALL = frozenset({Action.RESTART_LIVEKIT})

TRUE, FALSE = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
STATUSES = ("COMPLETED", "FAILED", "CANCELLED", "RUNNING")
SIGNED = frozenset({"playback_finished_delay", "playback_position_error"})
POSITIVE = frozenset({"width", "height", "fps"})
LONGEST = 86_400.0  # s; only what is queued can be so for ever
MOST = 1_000_000
TEXT_LIMIT = 200


class SwitchError(ValueError):
    """A switch that cannot be read, or cannot be thrown; the message says why."""


@dataclass(frozen=True)
class Switch:
    """A knob turned, or an action.

    Attributes:
        name: Of the knob or action.
        value: The knob's new value, or the action's argument.
        after: Seconds from when it is thrown. None: at once, unless `speech` says otherwise.
        speech: Seconds of the avatar's speech from when it is thrown.
    """

    name: str
    value: Any = None
    after: float | None = None
    speech: float | None = None

    @property
    def action(self) -> Action | None:
        """What it does; None for a knob."""
        return ACTIONS.get(self.name)

    @property
    def now(self) -> "Switch":
        """The same without a moment."""
        return Switch(self.name, self.value)

    def __str__(self) -> str:
        text = self.name if self.value is None and self.action else f"{self.name}={shown(self)}"
        if self.speech is not None:
            return f"{text}@speech:{self.speech:g}"
        return text if self.after is None else f"{text}@{self.after:g}"


def read_switch(text: str) -> Switch:
    """Read a switch.

    Raises:
        SwitchError: There is no such name, or the value or the moment makes no sense.
    """
    if not isinstance(text, str) or not 0 < len(text) <= TEXT_LIMIT:
        raise SwitchError(f"a switch is a text of 1 to {TEXT_LIMIT} characters")
    what, at, moment = text.strip().partition("@")
    name, given, value = what.partition("=")
    seconds = _moment(text, moment) if at else {}
    if name in ACTIONS:
        return Switch(name, _argument(ACTIONS[name], value if given else None), **seconds)
    if name not in KNOBS:
        raise SwitchError(_unknown(name))
    if not given:
        raise SwitchError(f"{name} is a knob and needs a value: {name}={_choices(KNOBS[name])}")
    return Switch(name, _value(name, value), **seconds)


def turned(faults: Faults, *texts: str) -> Faults:
    """Return knobs as these switches set them; those with a moment, and actions, become script.

    Raises:
        SwitchError: As :func:`read_switch`, or for an action without a moment.
    """
    for text in texts:
        switch = read_switch(text)
        if switch.after is not None or switch.speech is not None:
            faults = replace(faults, script=(*faults.script, text))
        elif switch.action is not None:
            raise SwitchError(f"{switch.name} needs a moment here, such as {text}@2.5")
        else:
            faults = replace(faults, **{switch.name: switch.value})
    return faults


def plain(faults: Faults) -> dict[str, Any]:
    """Knobs as JSON holds them, those with a value of no JSON as text."""
    values = {f.name: getattr(faults, f.name) for f in fields(faults)}
    return {
        name: value.value if isinstance(value, Enum) else "inf" if value == math.inf else value
        for name, value in values.items()
    }


def from_plain(values: Mapping[str, Any]) -> Faults:
    """The knobs that :func:`plain` has written."""
    read: dict[str, Any] = {**values, "queue_for": float(values["queue_for"])}
    for name, value in values.items():
        if value is not None and name in KNOBS and (enum := _enum(KNOBS[name])):
            read[name] = enum(value)
    return Faults(**{**read, "script": tuple(values["script"])})


def shown(switch: Switch) -> str:
    """The value of a switch as it is written."""
    match switch.value:
        case None:
            return "none"
        case bool(value):
            return "yes" if value else "no"
        case Enum() as member:
            return str(member.value)
        case value:
            return f"{value:g}" if isinstance(value, float) else str(value)


def _moment(text: str, moment: str) -> dict[str, float]:
    anchor, colon, seconds = moment.rpartition(":")
    if anchor not in ("", "speech") or (colon and not anchor):
        raise SwitchError(f"{text}: a moment is @SECONDS or @speech:SECONDS")
    return {anchor or "after": _number(text, seconds, float, 0.0, LONGEST)}


def _argument(action: Action, value: str | None) -> Any:
    match action:
        case Action.FAIL:
            if not value:
                raise SwitchError("fail needs a failureCode: fail=INTERNAL")
            return value
        case Action.BABBLE:
            return Babble.ALL if value is None else _member("babble", Babble, value)
        case Action.RESTART_LIVEKIT:  # how long it is away
            return _number("restart_livekit", "0" if value is None else value, float, 0.0, 60.0)
    if value is not None:
        raise SwitchError(f"{action.value} takes no value")
    return None


def _value(name: str, text: str) -> Any:
    kind = KNOBS[name]
    kinds = get_args(kind) or (kind,)
    if NoneType in kinds and text == "none":
        return None
    if enum := _enum(kind):
        return _member(name, enum, text)
    if bool in kinds:
        if text.lower() not in (*TRUE, *FALSE):
            raise SwitchError(f"{name} is yes or no, not {text!r}")
        return text.lower() in TRUE
    if str in kinds:
        if name.endswith("_status") and text not in STATUSES:
            raise SwitchError(f"{name} is one of {', '.join(STATUSES)}, not {text!r}")
        return text
    if name.endswith("_status"):
        return int(_number(name, text, int, HTTPStatus.OK, 599))
    low = -LONGEST if name in SIGNED else 1 if name in POSITIVE else 0
    if int in kinds:
        return int(_number(name, text, int, low, MOST))
    high = math.inf if name == "queue_for" else LONGEST
    return _number(name, text, float, low, high)


def _number(name: str, text: str, kind: Callable[[str], float], low: float, high: float) -> float:
    try:
        value = kind(text)
    except ValueError:
        whole = "a whole number" if kind is int else "a number"
        raise SwitchError(f"{name}: {text!r} is not {whole}") from None
    if not low <= value <= high:
        raise SwitchError(f"{name}: {text} is not between {low:g} and {high:g}")
    return value


def _member(name: str, enum: type[Enum], text: str) -> Enum:
    try:
        return enum(text.lower())
    except ValueError:
        choices = ", ".join(member.value for member in enum)
        raise SwitchError(f"{name} is one of {choices}, not {text!r}") from None


def _enum(kind: Any) -> type[Enum] | None:
    for each in get_args(kind) or (kind,):
        if isinstance(each, type) and issubclass(each, Enum):
            return each
    return None


def _choices(kind: Any) -> str:
    if enum := _enum(kind):
        return "|".join(member.value for member in enum)
    kinds = get_args(kind) or (kind,)
    return "yes|no" if bool in kinds else "TEXT" if str in kinds else "NUMBER"


def _unknown(name: str) -> str:
    near = get_close_matches(name, [*KNOBS, *ACTIONS], 1)
    return f"there is no switch {name!r}" + (f"; is it {near[0]}?" if near else "")
