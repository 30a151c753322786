"""The supported versions, each tried: ``uv run python -m tests.matrix [CELL …]``.

A cell is a Python and either the oldest supported releases of what we stand on or the newest there
are. Each gets an environment of its own, is checked for drift, and runs what shows that a face
speaks. Without arguments all cells are tried whose Python is here.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
CELLS = {
    "3.11-oldest": ("3.11", True),
    "3.11-newest": ("3.11", False),
    "3.12-newest": ("3.12", False),
    "3.13-newest": ("3.13", False),
    "3.14-newest": ("3.14", False),
}
STAND_ON = ("pipecat-ai", "livekit", "livekit-api", "runwayml", "httpx")
TESTS = ["drift", "wire", "speech", "barge_in", "bad_starts", "ending"]


def oldest() -> list[str]:
    """The lower bounds of what we stand on, as exact pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    bounds = {
        requirement.name: specifier.version
        for requirement in wanted
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    return [f"{name}=={bounds[name]}" for name in STAND_ON]


def uv(*arguments: str) -> None:
    """Run uv quietly.

    Raises:
        subprocess.CalledProcessError: It failed; it has said why.
    """
    subprocess.run([os.environ.get("UV", "uv"), *arguments, "--quiet"], cwd=ROOT, check=True)


def has_python(version: str) -> bool:
    """Whether uv finds such a Python here, or can get one."""
    found = subprocess.run(
        [os.environ.get("UV", "uv"), "python", "find", version], capture_output=True, check=False
    )
    return found.returncode == 0


def try_cell(name: str, tests: list[str]) -> bool:
    """Install a cell and run its tests; return whether they passed."""
    version, is_oldest = CELLS[name]
    with tempfile.TemporaryDirectory(prefix="pipecat-runway-matrix-") as directory:
        python = str(Path(directory, "bin", "python"))
        uv("venv", "--python", version, directory)
        pins = oldest() if is_oldest else []
        uv("pip", "install", "--python", python, "-e", ".[demo]", "--group", "dev", *pins)
        shown = subprocess.run(
            ["uv", "pip", "freeze", "--python", python], capture_output=True, text=True, check=True
        )
        versions = [line for line in shown.stdout.split() if line.split("==")[0] in STAND_ON]
        print(f"== {name}: {', '.join(versions)}", flush=True)
        paths = [f"tests/test_{test}.py" for test in tests]
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
        environment = {k: v for k, v in os.environ.items() if k != "VIRTUAL_ENV"}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def main() -> int:
    """Try the cells asked for, and say how each came out."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("cells", nargs="*", metavar="CELL", help=", ".join(CELLS))
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests/test_….py")
    options = parser.parse_args()
    if unknown := set(options.cells) - set(CELLS):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}")
    results = {}
    for name in options.cells or CELLS:
        if not options.cells and not has_python(CELLS[name][0]):
            results[name] = "its Python is not here"
        else:
            results[name] = "passed" if try_cell(name, options.tests) else "FAILED"
    for name, result in results.items():
        print(f"{name}: {result}")
    return 1 if "FAILED" in results.values() else 0


if __name__ == "__main__":
    sys.exit(main())
