"""Whether what is installed is what this package was made for: its own metadata has the ranges."""

import platform
import re
from importlib import metadata

from pipecat_runway.doctor.findings import Finding, Verdict, unchecked, version

DISTRIBUTION = "pipecat-runway"


def versions() -> list[Finding]:
    """Judge Python and every package that the service itself needs."""
    try:
        ours = metadata.distribution(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return unchecked(f"{DISTRIBUTION} is not installed as a package", "versions")
    found = [version("python", platform.python_version(), ours.metadata["Requires-Python"])]
    for requirement in ours.requires or []:
        parts = re.fullmatch(r"([\w.-]+)\s*\(?([^;()\[\]]*)\)?", requirement)
        if parts is None:  # of an extra
            continue
        name, specifier = parts[1], parts[2].strip()
        try:
            found.append(version(name, metadata.version(name), specifier))
        except metadata.PackageNotFoundError:
            remedy = f'pip install "{name}{specifier}"'
            found.append(Finding(name, Verdict.FAILED, "it is not installed", remedy))
    return found
