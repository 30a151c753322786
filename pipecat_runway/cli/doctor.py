"""``pipecat-runway doctor``: what is wrong with the settings, and what to do about it."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

import typer
from rich.console import Console
from rich.text import Text

from pipecat_runway import wire
from pipecat_runway.cli.consent import PRICE
from pipecat_runway.cli.interrupt import INTERRUPTED, run
from pipecat_runway.cli.stages import Stages
from pipecat_runway.doctor.examination import Settings, examine
from pipecat_runway.doctor.findings import Finding, Verdict, from_runway
from pipecat_runway.doctor.observed import Observed
from pipecat_runway.doctor.report import Report, as_json, as_markdown
from pipecat_runway.doctor.trial import LONGEST, Trial
from pipecat_runway.doctor.unknowns import Outcome

STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "red",
    Verdict.UNCHECKED: "dim",
}
PACKAGES = ("pipecat-runway", "pipecat-ai", "livekit", "livekit-api", "runwayml")


def main(character: dict[str, str], *, speak: bool, report: Path | None, ask: bool) -> int:
    """Run the command.

    Args:
        character: The create request's `avatar`.
        speak: Whether to speak through a real session, which is billed.
        report: Where to write what was found; None: nowhere.
        ask: Whether to ask before credits are spent.

    Returns:
        The exit status: 1 if anything failed.
    """
    console = Console(highlight=False)
    if speak and ask and not _agreed(console):
        return 0
    try:
        status = run(
            _doctor(character, speak, report, console),
            lambda: console.print("Still ending the session, or it would be billed on."),
        )
    except OSError as e:
        console.print(f"The report cannot be written: {e}", style="red", markup=False)
        return 1
    if status == INTERRUPTED:
        console.print("Stopped.")
    return status


async def _doctor(
    character: dict[str, str], speak: bool, report: Path | None, console: Console
) -> int:
    settings = Settings.of(os.environ, character)
    findings = await examine(settings)
    for finding in findings:
        _show(console, finding)
    failures = [finding for finding in findings if finding.verdict is Verdict.FAILED]
    observed = None
    if failures:
        console.print(_count(len(failures)))
        if speak:
            console.print("So nothing was spoken, and nothing spent.")
    elif speak:
        stages = Stages(console)
        with stages.stage("Speaking through a session"):
            observed = await Trial(settings, stages.note).run()
        findings = [*findings[:-1], from_runway(observed)]  # the last one is what only this tells
        _show(console, findings[-1])
    written = Report(
        made_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        made_with={"python": platform.python_version()} | _versions(),
        api_host=settings.api_host,
        findings=findings,
        observed=observed,
    )
    if observed is not None:
        _show_trial(console, written, observed)
    if report is not None:
        _write(report, written)
        console.print(f"Written to {report}.", markup=False)
    return 1 if failures or (observed is not None and observed.trouble) else 0


def _write(path: Path, report: Report) -> None:
    path.write_text(as_markdown(report) if path.suffix == ".md" else as_json(report))


def _agreed(console: Console) -> bool:
    """Name the price, and ask."""
    most = LONGEST * wire.CREDITS_A_MINUTE // 60
    console.print(
        f"--speak uses one session of {LONGEST} s at most, which is {most} credits at most: "
        f"{PRICE}."
    )
    return typer.confirm("Speak?")


def _show(console: Console, finding: Finding) -> None:
    line = Text(f"{finding.verdict.value:<12}", style=STYLES[finding.verdict])
    line.append(f"{finding.check}: {finding.what}", style="default")
    console.print(line, soft_wrap=True)
    if finding.remedy:
        console.print(Text(f"{'':<12}{finding.remedy}"), soft_wrap=True)


def _show_trial(console: Console, report: Report, observed: Observed) -> None:
    for answer in report.answers:
        if answer.outcome is not Outcome.NOT_TRIED:
            line = f"{answer.outcome.value:<12}{answer.question}: {answer.what}"
            console.print(line.rstrip(": "), markup=False, soft_wrap=True)
    console.print(f"Session {observed.session_id}: {observed.final_status or 'UNKNOWN'}")
    if observed.trouble:
        console.print(observed.trouble, style="red", markup=False, soft_wrap=True)


def _count(failures: int) -> str:
    return "1 check failed." if failures == 1 else f"{failures} checks failed."


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
