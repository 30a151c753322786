"""One list of names, one way of writing: what the switchboard reads, and what it refuses."""

import json
import math
from dataclasses import fields, replace
from enum import Enum

import pytest

from pipecat_runway.simulator import Babble, Faults, Garbage, RunwaySimulator, SwitchError, Voice
from pipecat_runway.simulator.switchboard import (
    ACTIONS,
    IN_THE_ROOM,
    KNOBS,
    LIVE,
    Switch,
    from_plain,
    plain,
    read_switch,
    turned,
)

from .api_kit import NoLiveKit


def test_every_knob_and_action_has_a_name_of_its_own() -> None:
    """No name means two things, and every field but the script can be turned."""
    assert set(KNOBS) == {f.name for f in fields(Faults)} - {"script"}
    assert not set(KNOBS) & set(ACTIONS)
    assert set(KNOBS) >= LIVE
    assert set(ACTIONS.values()) >= IN_THE_ROOM


@pytest.mark.parametrize(
    ("text", "switch"),
    [
        ("kill", Switch("kill")),
        ("kill@2.5", Switch("kill", after=2.5)),
        ("freeze@speech:0", Switch("freeze", speech=0.0)),
        ("fail=INTERNAL.BAD_OUTPUT@180", Switch("fail", "INTERNAL.BAD_OUTPUT", after=180.0)),
        ("babble", Switch("babble", Babble.ALL)),
        ("babble=calls", Switch("babble", Babble.CALLS)),
        ("restart_livekit=2", Switch("restart_livekit", 2.0)),
        ("muted=yes", Switch("muted", True)),
        ("muted=OFF", Switch("muted", False)),
        ("voice=Scrambled@speech:1.2", Switch("voice", Voice.SCRAMBLED, speech=1.2)),
        ("garbage=none", Switch("garbage", None)),
        ("create_status=402", Switch("create_status", 402)),
        ("leave_status=RUNNING", Switch("leave_status", "RUNNING")),
        ("playback_position_error=-3", Switch("playback_position_error", -3.0)),
        ("queue_for=inf", Switch("queue_for", math.inf)),
    ],
)
def test_what_is_written_is_read(text: str, switch: Switch) -> None:
    """Names, values and moments; and what is written again is read as the same."""
    assert read_switch(text) == switch
    assert read_switch(str(switch)) == switch


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 200 characters"),
        ("x" * 201, "1 to 200 characters"),
        ("mutd=yes", "no switch 'mutd'; is it muted?"),
        ("script=kill@1", "no switch 'script'"),
        ("muted", "muted=yes|no"),
        ("muted=perhaps", "yes or no, not 'perhaps'"),
        ("voice=bass", "one of plain, faster, slower, scrambled"),
        ("width=0", "between 1 and"),
        ("width=1.5", "not a whole number"),
        ("gain=loud", "not a number"),
        ("gain=nan", "not between"),
        ("gain=inf", "not between"),
        ("join_delay=-1", "not between"),
        ("join_delay=none", "not a number"),
        ("create_status=42", "not between 200 and 599"),
        ("leave_status=GONE", "one of COMPLETED, FAILED"),
        ("kill=now", "kill takes no value"),
        ("fail", "fail=INTERNAL"),
        ("babble=loudly", "babble is one of"),
        ("kill@", "not a number"),
        ("kill@-1", "not between"),
        ("kill@inf", "not between"),
        ("kill@mark:3", "@SECONDS or @speech:SECONDS"),
        ("kill@:3", "@SECONDS or @speech:SECONDS"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(text: str, why: str) -> None:
    """One error, one sentence, and nothing happens."""
    with pytest.raises(SwitchError) as error:
        read_switch(text)
    assert why in str(error.value)


def test_knobs_begin_as_the_command_line_says() -> None:
    """Values are set; what has a moment becomes the script; an action needs a moment."""
    faults = turned(Faults(), "gain=0.5", "garbage=html", "kill@2.5", "muted=yes@speech:1")
    assert faults == Faults(
        gain=0.5, garbage=Garbage.HTML, script=("kill@2.5", "muted=yes@speech:1")
    )
    with pytest.raises(SwitchError, match="needs a moment"):
        turned(Faults(), "kill")


def test_knobs_survive_the_way_to_the_worker() -> None:
    """Every knob, at its default and turned, is the same after JSON."""
    other = Faults()
    for name, value in vars(other).items():
        match value:
            case bool():
                changed: object = not value
            case int() | float():
                changed = value + 1
            case Enum():
                changed = list(type(value))[-1]
            case ():
                changed = ("kill@1",)
            case None:
                changed = {"garbage": Garbage.HUGE, "garbage_route": None}.get(name, 7)
            case _:
                changed = "RUNNING"
        other = replace(other, **{name: changed})
    for faults in (Faults(), other, Faults(queue_for=math.inf)):
        assert from_plain(json.loads(json.dumps(plain(faults), allow_nan=False))) == faults


@pytest.mark.parametrize("script", [("kill",), ("mutd=yes@1",), ("kill@1", "fail@2")])
def test_a_script_that_cannot_be_followed_is_refused_at_once(script: tuple[str, ...]) -> None:
    """Not when a session comes to it."""
    runway = RunwaySimulator(livekit=NoLiveKit())
    with pytest.raises(SwitchError):
        runway.faults = Faults(script=script)
    assert runway.faults == Faults()
