"""``pipecat-runway doctor``: what is wrong has its remedy, what is right raises no alarm."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from pipecat_runway import wire
from pipecat_runway.api import Account
from pipecat_runway.cli import doctor
from pipecat_runway.doctor.examination import Settings, examine
from pipecat_runway.doctor.findings import (
    Finding,
    Verdict,
    base_url,
    clock,
    from_runway,
    in_range,
    release_of,
    tier,
)
from pipecat_runway.doctor.observed import Observed
from pipecat_runway.doctor.report import Report, as_markdown
from pipecat_runway.doctor.trial import Trial
from pipecat_runway.doctor.unknowns import Outcome, answers
from pipecat_runway.simulator import ClearAnswer, RunwaySimulator
from tests.conftest import TurnKnobs
from tests.kit.waiting import until

from .processes import running_command

PRESET = {"type": "runway-preset", "preset_id": "cooking-teacher"}
NOBODY = {"type": "custom", "avatar_id": "3fa85f64-5717-4562-b3fc-2c963f66afa6"}
NOT_ALARMING = {Verdict.OK, Verdict.UNCHECKED}


@dataclass(frozen=True)
class Seed:
    """A misconfiguration.

    Attributes:
        check: Which check is to fail, and no other.
        remedy: What only its remedy says.
        settings: What is changed of the settings.
        knobs: What is changed of the local Runway.
    """

    check: str
    remedy: str
    settings: dict[str, Any]
    knobs: dict[str, Any]


SEEDS = {
    "wrong key": Seed("API key", "RUNWAYML_API_SECRET", {"api_key": "key_" + "0" * 128}, {}),
    "something else as key": Seed("API key", "hexadecimal", {"api_key": "sk-123"}, {}),
    "no credits": Seed("credits", "Buy credits", {}, {"no_credits": True}),
    "no such avatar": Seed("avatar", "Check avatar_id", {"character": NOBODY}, {}),
    "no such preset": Seed(
        "avatar", "Give one of", {"character": {"type": "runway-preset", "preset_id": "cat"}}, {}
    ),
    "wrong LiveKit secret": Seed(
        "LiveKit secret", "LIVEKIT_API_SECRET belong", {"livekit_api_secret": "s" * 40}, {}
    ),
    "LiveKit unreachable": Seed(
        "LiveKit server", "server is running", {"livekit_url": "ws://127.0.0.1:9"}, {}
    ),
    "LiveKit scheme mistyped": Seed(
        "LiveKit address", "Check LIVEKIT_URL", {"livekit_url": "wws://livekit.example.com"}, {}
    ),
    "LiveKit name mistyped": Seed(
        "LiveKit address", "DNS", {"livekit_url": "wss://livekit.invalid"}, {}
    ),
    "clock off": Seed("clock", "NTP", {}, {"clock_offset": 600.0}),
    "base URL unreachable": Seed(
        "API", "Check the network", {"base_url": "http://127.0.0.1:9"}, {}
    ),
    "base URL mistyped": Seed("base URL", "leave it out", {"base_url": "http://[::1"}, {}),
    "base URL without a scheme": Seed("base URL", "leave it out", {"base_url": "localhost"}, {}),
    "a variable left out": Seed("settings", "Set it", {"livekit_api_key": ""}, {}),
}


def settings_of(runway: RunwaySimulator, **changes: Any) -> Settings:
    """What points at the local Runway."""
    return replace(Settings.of(runway.env, PRESET), **changes)


async def test_what_is_right_raises_no_alarm_and_costs_nothing(runway: RunwaySimulator) -> None:
    """Every check passes but the one that only a session can make; nothing was created."""
    before = len(runway.sessions)
    found = await examine(settings_of(runway))
    assert {f.verdict for f in found} == NOT_ALARMING
    assert ["LiveKit from Runway"] == [f.check for f in found if f.verdict is Verdict.UNCHECKED]
    assert not [f.remedy for f in found if f.remedy]
    assert {"python", "pipecat-ai", "livekit", "livekit-api", "runwayml", "httpx"} <= {
        f.check for f in found
    }
    assert {"GET"} == {request.method for request in runway.requests}
    assert before == len(runway.sessions)


@pytest.mark.parametrize("name", SEEDS)
async def test_a_misconfiguration_is_found_and_no_other(
    runway: RunwaySimulator, faults: TurnKnobs, name: str
) -> None:
    """Its check alone fails, with its own remedy; what depends on it says why it was not made."""
    seed = SEEDS[name]
    faults(**seed.knobs)
    found = await examine(settings_of(runway, **seed.settings))
    (failure,) = [f for f in found if f.verdict not in NOT_ALARMING]
    assert (failure.check, failure.verdict) == (seed.check, Verdict.FAILED)
    assert seed.remedy in failure.remedy
    assert all(f.what for f in found)


def test_there_are_more_than_ten() -> None:
    """And what is looked for in the remedies differs, but for two ways to mistype one address."""
    assert len({seed.remedy for seed in SEEDS.values()}) >= 12


@pytest.fixture
def own_avatar(runway: RunwaySimulator) -> Iterator[str]:
    """An avatar of the account that is still being made."""
    avatar = next(iter(runway.avatars.values()))
    runway.avatars[avatar.id] = replace(avatar, status="PROCESSING")
    yield avatar.id
    runway.avatars[avatar.id] = avatar


async def test_an_avatar_that_is_not_ready_is_found(
    runway: RunwaySimulator, own_avatar: str
) -> None:
    """One still being processed is to be waited for; a READY one is well."""
    character = {"type": "custom", "avatar_id": own_avatar}
    found = await examine(settings_of(runway, character=character))
    (failure,) = [f for f in found if f.verdict is Verdict.FAILED]
    assert ("avatar", "it is PROCESSING") == (failure.check, failure.what)
    assert "Wait until it is READY" in failure.remedy
    runway.avatars[own_avatar] = replace(runway.avatars[own_avatar], status="READY")
    found = await examine(settings_of(runway, character=character))
    assert {f.verdict for f in found} == NOT_ALARMING


async def test_a_private_address_is_no_use_to_runways_cloud(
    runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its look, and by what its name stands for; nothing is sent to Runway here."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for url, remedy in (
        ("wss://192.168.1.4:7880", "public wss:// address"),
        ("ws://livekit.example.com", "public wss:// address"),
    ):
        found = await examine(settings_of(runway, base_url=wire.BASE_URL, livekit_url=url))
        failures = {f.check: f for f in found if f.verdict is Verdict.FAILED}
        assert {"API", "LiveKit address"} == set(failures)
        assert remedy in failures["LiveKit address"].remedy
    assert [] == runway.requests


def test_the_host_that_is_often_taken_for_the_apis_is_known() -> None:
    """Runway names it as a cause of refused keys."""
    assert Verdict.FAILED is base_url("https://api.runwayml.com").verdict
    assert Verdict.OK is base_url(wire.BASE_URL).verdict


async def test_a_package_out_of_range_is_found(
    runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The ranges are those of the package's own metadata."""
    metadata = tmp_path / "pipecat_runway-0.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(
        "Metadata-Version: 2.4\nName: pipecat-runway\nVersion: 0.1.0\nRequires-Python: >=3.11\n"
        "Requires-Dist: pipecat-ai<1.2,>=1.1\nRequires-Dist: runwayml<6,>=5.8\n"
        "Requires-Dist: typer<1,>=0.15; extra == 'simulator'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    found = await examine(settings_of(runway))
    (failure,) = [f for f in found if f.verdict not in NOT_ALARMING]
    assert "pipecat-ai" == failure.check
    assert 'pip install "pipecat-ai<1.2,>=1.1"' == failure.remedy


def test_versions_are_compared_by_their_numbers() -> None:
    """Zeros at the end, many digits, and a range that cannot be read."""
    assert in_range(release_of("1.14.0"), "<2,>=1.14")
    assert in_range(release_of("1.100"), ">=1.14,<2")
    assert not in_range(release_of("1.9.9"), "<2,>=1.14")
    assert not in_range(release_of("2.0.0rc1"), "<2,>=1.14")
    with pytest.raises(ValueError, match="~=1"):
        in_range((1,), "~=1")


@pytest.mark.parametrize(
    ("account", "verdict"),
    [
        (Account(1000, 1, 50, 49, True), Verdict.OK),
        (Account(1000, None, None, 0, True), Verdict.OK),
        (Account(1000, 1, 50, 50, True), Verdict.FAILED),
        (Account(1000, 0, 50, 0, True), Verdict.FAILED),
        (Account(1000, None, None, 0, False), Verdict.WARNING),
    ],
)
def test_a_tier_is_judged_by_what_it_still_allows(account: Account, verdict: Verdict) -> None:
    """The sessions of a day can be used up."""
    assert verdict is tier(account).verdict


def test_a_clock_may_be_a_little_off() -> None:
    """LiveKit's server allows a minute."""
    assert [clock(off).verdict for off in (3, -30, 90)] == [
        Verdict.OK,
        Verdict.WARNING,
        Verdict.FAILED,
    ]


async def test_the_command_tells_and_its_status_says_it(runway: RunwaySimulator) -> None:
    """Status 1 and the remedy if something fails; nothing is spoken then, and no key is shown."""
    env = runway.env | {wire.ENV_LIVEKIT_API_SECRET: "s" * 40}
    before = len(runway.sessions)

    def run() -> tuple[int, str]:
        with running_command("doctor", "--speak", "--yes", **env) as command:
            return command.wait(60), command.output

    status, output = await asyncio.to_thread(run)
    assert status == 1
    assert "failed      LiveKit secret" in output
    assert "LIVEKIT_API_SECRET belong to the server" in output
    assert "nothing was spoken" in output
    assert before == len(runway.sessions)
    assert env[wire.ENV_API_SECRET] not in output
    assert env[wire.ENV_LIVEKIT_API_SECRET] not in output


# -- without a request ----------------------------------------------------------------------------


def test_whether_runway_reaches_the_room_is_read_off_a_session() -> None:
    """A picture, an avatar without one, no avatar, and no session."""
    seen = [
        Observed(session_id="s", joined=1.0, pictured=2.0),
        Observed(session_id="s", joined=1.0),
        Observed(session_id="s"),
        Observed(),
    ]
    failed = Verdict.FAILED
    assert [from_runway(o).verdict for o in seen] == [Verdict.OK, failed, failed, Verdict.UNCHECKED]
    assert "UDP" in from_runway(seen[1]).remedy
    assert "internet" in from_runway(seen[2]).remedy


def test_a_report_for_people_has_every_finding_and_every_unknown() -> None:
    """As tables, which no bar in a text breaks."""
    found = [Finding("API", Verdict.FAILED, "it said a|b", "Check it.")]
    text = as_markdown(Report("now", {"python": "3"}, "host", found, Observed(trouble="No luck.")))
    assert "| API | failed | it said a/b | Check it. |" in text
    assert "It was cut short: No luck." in text
    for answer in answers(Observed()):
        assert f"| {answer.question} | {answer.outcome.value} |" in text


def test_speaking_names_its_price_and_asks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A no is no error, and nothing was asked of anybody."""
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    assert 0 == doctor.main(PRESET, speak=True, report=None, ask=True)
    said = " ".join(capsys.readouterr().out.split())
    assert "60 s at most" in said
    assert "20 credits" in said
    assert "API key" not in said


# -- speaking -------------------------------------------------------------------------------------


@pytest.mark.long
async def test_a_trial_reports_what_it_saw(
    runway: RunwaySimulator, faults: TurnKnobs, tmp_path: Path
) -> None:
    """The command speaks, ends its session, and writes what the avatar did and what it did not."""
    report = tmp_path / "report.json"
    arguments = ("doctor", "--speak", "--yes", "--report", str(report))

    def run() -> tuple[int, str]:
        with running_command(*arguments, **runway.env) as command:
            return command.wait(90), command.output

    status, output = await asyncio.to_thread(run)
    assert status == 0, output
    text = report.read_text()
    for secret in (runway.env[wire.ENV_API_SECRET], runway.env[wire.ENV_LIVEKIT_API_SECRET], "eyJ"):
        assert secret not in text + output
    written = json.loads(text)
    seen = {a["question"]: (a["outcome"], a["what"]) for a in written["unknowns"]}
    session = runway.sessions[-1]
    assert session.id == written["observed"]["session_id"]
    assert session.body["maxDuration"] == 60
    assert {"ok"} == {finding["verdict"] for finding in written["findings"]}
    assert ("seen", "320x180") == seen["size of its picture"]
    assert (
        "RUNNING (createdAt, id, status)" in seen["statuses of a session in a room of one's own"][1]
    )
    assert seen["what lk.clear_buffer is answered"][1].startswith("ok after")
    assert ("seen", "interrupted=True") == seen["lk.playback_finished after lk.clear_buffer"]
    assert "COMPLETED" in seen["whether END_CALL ends it"][1]
    assert ("seen", "HTTP 204") == seen["DELETE of a session that has ended"]
    assert "seen" == seen["lk.playback_started"][0]
    assert seen["the answer to a wrong key"][1].startswith("HTTP 401")
    assert "not tried" == seen["webhooks"][0]
    spoken = written["observed"]["spoken"][0]
    assert spoken["likeness"] > 0.8
    assert session.status == "COMPLETED"


@pytest.mark.long
async def test_another_avatar_makes_another_report(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """One that reports nothing, is smaller, and softer."""
    faults(
        clear=ClearAnswer.NO_FINISHED,
        playback_started=False,
        playback_finished=False,
        width=160,
        height=96,
        gain=0.5,
        delete_ended_status=404,
    )
    observed = await Trial(settings_of(runway), lambda note: None).run()
    seen = {answer.question: answer for answer in answers(observed)}
    assert "" == observed.trouble
    assert "160x96" == seen["size of its picture"].what
    for question in (
        "lk.playback_started",
        "lk.playback_finished, from the last sound",
        "lk.playback_finished after lk.clear_buffer",
    ):
        assert Outcome.NOT_SEEN is seen[question].outcome, question
    assert seen["what lk.clear_buffer is answered"].what.startswith("ok")
    assert 0.4 < observed.spoken[0].loudness < 0.6
    assert "COMPLETED" == observed.final_status
    assert "HTTP 404" == seen["DELETE of a session that has ended"].what


async def test_a_trial_that_is_stopped_ends_its_session(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """Ctrl-C, which cancels it, is not the end before Runway has been told."""
    # A worker that is called back while it connects would open the deleted room once more.
    faults(join_delay=3.0)
    before = len(runway.sessions)
    trial = asyncio.create_task(Trial(settings_of(runway), lambda note: None).run())
    await until(lambda: len(runway.sessions) != before)
    trial.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trial
    assert not runway.open_sessions


async def test_a_trial_that_cannot_begin_says_why(
    runway: RunwaySimulator, faults: TurnKnobs
) -> None:
    """What cut it short is in the report, and no question is taken for answered."""
    faults(create_status=402)
    observed = await Trial(settings_of(runway), lambda note: None).run()
    assert "no credits left" in observed.trouble
    assert observed.session_id is None
    seen = {answer.question: answer.outcome for answer in answers(observed)}
    assert Outcome.NOT_SEEN is seen["size of its picture"]
