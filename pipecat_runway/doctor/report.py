"""What was found, written down: JSON for machines, Markdown for people. Pure."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipecat_runway.doctor.findings import Finding
from pipecat_runway.doctor.observed import Observed
from pipecat_runway.doctor.unknowns import Answer, answers


@dataclass(frozen=True)
class Report:
    """All that one run has found.

    Attributes:
        made_at: When, by RFC 3339.
        made_with: Versions by package.
        api_host: The host of Runway's API.
        findings: What the checks found.
        observed: What was seen of a session; None if none was made.
    """

    made_at: str
    made_with: dict[str, str]
    api_host: str
    findings: Sequence[Finding]
    observed: Observed | None

    @property
    def answers(self) -> list[Answer]:
        """What the session answers of what is unknown."""
        return answers(self.observed) if self.observed else []


def as_json(report: Report) -> str:
    """Write it as JSON."""
    found: dict[str, Any] = {
        "made_at": report.made_at,
        "made_with": report.made_with,
        "api_host": report.api_host,
        "findings": [dataclasses.asdict(f) | {"verdict": f.verdict.value} for f in report.findings],
    }
    if report.observed:
        found["unknowns"] = [
            {"question": a.question, "outcome": a.outcome.value, "what": a.what}
            for a in report.answers
        ]
        found["observed"] = dataclasses.asdict(report.observed)
    return json.dumps(found, indent=2) + "\n"


def as_markdown(report: Report) -> str:
    """Write it as Markdown."""
    made_with = ", ".join(f"{name} {version}" for name, version in report.made_with.items())
    lines = ["# What pipecat-runway doctor found", ""]
    lines += [f"{report.made_at}, {report.api_host}, with {made_with}.", ""]
    lines += ["| check | verdict | what | remedy |", "|---|---|---|---|"]
    lines += [_row(f.check, f.verdict.value, f.what, f.remedy) for f in report.findings]
    if report.observed:
        session = report.observed.session_id or "none"
        lines += ["", "## What is unknown of Runway", "", f"Session {session}.", ""]
        if report.observed.trouble:
            lines += [f"It was cut short: {report.observed.trouble}", ""]
        lines += ["| question | outcome | what |", "|---|---|---|"]
        lines += [_row(a.question, a.outcome.value, a.what) for a in report.answers]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(' '.join(cell.replace('|', '/').split()) for cell in cells)} |"
