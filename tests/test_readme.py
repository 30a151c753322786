"""The papers are true: their snippets run, their links lead somewhere, their tables are whole."""

import ast
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import fields
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from runpy import run_module, run_path
from types import CodeType
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from pipecat.flows import FlowConfig
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameProcessor

from pipecat_runway import RunwayVideoService, errors, wire
from pipecat_runway.cli.app import app
from pipecat_runway.simulator import ClearAnswer, Faults, RunwaySimulator

from .kit.transport import LoopbackTransport

ROOT = Path(__file__).parent.parent
PAPERS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md")]
    if path.relative_to(ROOT).parts[0] in (path.name, "docs", "examples", "benchmarks")
)
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()
BIN = Path(sys.executable).parent

SNIPPET = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(?:#([^)]*))?\)")


class Snippet(NamedTuple):
    """A piece of code in a paper."""

    where: str
    language: str
    code: str


def snippets(language: str) -> list[Any]:
    """The papers' snippets in a language, as a test's parameters."""
    found = [
        Snippet(f"{path.relative_to(ROOT)}:{text[: m.start()].count(chr(10)) + 1}", m[1], m[2])
        for path in PAPERS
        for text in [path.read_text()]
        for m in SNIPPET.finditer(text)
    ]
    assert {snippet.language for snippet in found} <= {"python", "bash", "yaml", "toml"}, found
    return [pytest.param(s.code, id=s.where) for s in found if s.language == language]


def commands(code: str) -> Iterator[list[str]]:
    """The commands of a shell snippet."""
    for line in code.splitlines():
        yield shlex.split(line, comments=True)


def helped(program: Callable[[], object]) -> str:
    """What a program writes when asked for help."""
    with (
        patch.dict(os.environ, {"COLUMNS": "200", "TERM": "dumb"}),
        patch.object(sys, "argv", ["program", "--help"]),
        redirect_stdout(StringIO()) as written,
        pytest.raises(SystemExit) as ended,
    ):
        program()
    assert not ended.value.code
    return written.getvalue()


# -- Python ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", snippets("python"))
async def test_python_snippets_run(
    code: str, runway: RunwaySimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test passes; anything else is executed, with the simulator's settings."""
    for name, value in runway.env.items():
        monkeypatch.setenv(name, value)
    names = await executed(compile(code, "snippet", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    fixtures = {"monkeypatch": monkeypatch, "runway": runway}
    for name, value in names.items():
        if name.startswith("test_"):
            await value(
                **{wanted: fixtures[wanted] for wanted in inspect.signature(value).parameters}
            )
        elif isinstance(value, RunwayVideoService):
            await value.cleanup()


async def executed(code: CodeType) -> dict[str, Any]:
    """The names a snippet leaves, given what a reader would already have."""
    processors = ("stt", "user_aggregator", "llm", "tts", "assistant_aggregator")
    names: dict[str, Any] = {name: FrameProcessor() for name in processors}
    names["transport"] = LoopbackTransport()
    names["worker"] = PipelineWorker(Pipeline([FrameProcessor()]))
    names["aggregators"] = LLMContextAggregatorPair(LLMContext())
    result = eval(code, names)
    if inspect.isawaitable(result):
        await result
    return names


# -- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", snippets("yaml"))
def test_yaml_snippets_are_flows(code: str) -> None:
    """Pipecat's Flows takes each as it stands."""
    FlowConfig.from_yaml(code)


@pytest.mark.parametrize("code", snippets("toml"))
def test_toml_snippets_are_toml(code: str) -> None:
    """Each can be read."""
    tomllib.loads(code)


# -- the shell ------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", snippets("bash"))
def test_commands_exist(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every program, file and extra is there, and every option is known to its help."""
    monkeypatch.chdir(ROOT)
    for command in commands(code):
        match command:
            case ["pip", "install", *packages]:
                for package in packages:
                    assert_extras(package)
            case [".ci/run"]:
                assert os.access(ROOT / ".ci" / "run", os.X_OK)
            case ["uv", "sync", "--locked"]:
                pass
            case ["uv", "run", "--env-file", _, *program] | ["uv", "run", *program]:
                assert_program(program)
            case _:
                pytest.fail(f"this test does not know {shlex.join(command)}")


@pytest.mark.parametrize(
    "code",
    [
        "uv run pipecat-runway demo --loud",
        "uv run pytest tests/test_nothing.py",
        'pip install ".[everything]"',
        "make all",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(
    code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: an unknown option, file, extra and program are found out."""
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test_commands_exist(code, monkeypatch)


def assert_extras(package: str) -> None:
    """A package to install is this one, and has the extras that are asked for."""
    name, _, extras = package.rstrip("]").partition("[")
    wanted = set(filter(None, extras.split(",")))
    if name == "pipecat-ai":
        return
    assert name in (".", "pipecat-runway")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert wanted <= set(project["optional-dependencies"])


def assert_program(program: list[str]) -> None:
    """A program of the environment, or a script of ours, that knows its options."""
    match program:
        case ["pytest" | "mypy" | "ruff" as tool, *arguments]:
            assert (BIN / tool).exists()
            assert all((ROOT / a).exists() for a in arguments if a not in ("check", "format"))
        case ["sphinx-build", *_, source, _]:
            assert (ROOT / source / "conf.py").exists()
        case ["pipecat-runway", "sessions" | "avatars" | "documents" as of, name, *arguments]:
            assert_options(helped(lambda: app([of, name, "--help"])), arguments)
        case ["pipecat-runway", name, *arguments]:
            assert_options(helped(lambda: app([name, "--help"])), arguments)
        case ["pipecat", "eval", "run", scenarios, *arguments]:
            assert (ROOT / scenarios).exists()
            command = [str(BIN / "pipecat"), "eval", "run", "--help"]
            assert_options(
                subprocess.run(command, capture_output=True, text=True).stdout, arguments
            )
        case ["python", "-m", module, name, *arguments]:
            shown = helped(lambda: run_module(module, run_name="__main__"))
            assert name in shown
            assert_options(shown, arguments)
        case [script, *arguments]:
            assert_options(helped(lambda: run_path(script, run_name="__main__")), arguments)


def assert_options(shown: str, arguments: list[str]) -> None:
    """The options among the arguments stand in a help text."""
    for argument in arguments:
        if argument.startswith("-"):
            assert re.search(rf"(?<![\w-]){argument}(?![\w-])", shown), f"{argument} in {shown}"


# -- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(paper: Path) -> None:
    """Files that are linked exist, and so do the headings in them."""
    for target, heading in LINK.findall(paper.read_text()):
        if target.startswith("https://"):
            continue
        file = (paper.parent / target).resolve()
        assert file.is_file(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
            assert heading in slugs, f"{target}#{heading}"


def test_the_readme_names_every_argument_setting_event_and_error() -> None:
    """Nothing that a user may give, get or see is missing."""
    arguments = set(inspect.signature(RunwayVideoService).parameters) - {"kwargs"}
    settings = {"preset_id", "avatar_id"}
    events = set(re.findall(r"on_avatar_\w+", inspect.getdoc(RunwayVideoService) or ""))
    assert len(events) == 4
    leaves = {
        name
        for name, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.RunwayError) and not error.__subclasses__()
    } - {"RoomLostError", "ProtocolError"}  # these are no bad starts
    for name in {*arguments, *settings, *wire.PRESETS, *leaves, *events}:
        assert re.search(rf"`[^`]*\b{name}\b", README), name


def test_every_knob_is_in_the_protocol() -> None:
    """Each unknown has its row: what it is, and how the service survives it."""
    named = set(re.findall(r"`(\w+)`", PROTOCOL[PROTOCOL.index("## Unknowns") :]))
    assert {field.name for field in fields(Faults)} <= named
    assert {answer.name for answer in ClearAnswer} <= named


def test_every_module_is_in_the_architecture() -> None:
    """The text and the figure name each, so that neither shows an older house."""
    figure = (ROOT / "docs" / "architecture.svg").read_text()
    for path in (ROOT / "pipecat_runway").glob("*.py"):
        assert f"`{path.stem}`" in ARCHITECTURE, path.stem
        if path.stem not in ("__init__", "pytest_plugin"):  # no word goes through these
            assert f"{path.name}<" in figure or f" {path.name}" in figure


def test_the_versions_are_those_of_this_run() -> None:
    """What the README was tested with is what is installed here."""
    assert f"Pipecat v{version('pipecat-ai')}" in README
    assert f"`runwayml` {version('runwayml')}" in README
    assert f"`livekit` {version('livekit')}" in README
