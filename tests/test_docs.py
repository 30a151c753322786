"""The documentation answers: it builds, its front page leads to answers, and nothing is missing."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pipecat.services.ai_service
import pytest

from pipecat_runway import (
    RunwayRealtimeLLMService,
    RunwayVideoService,
    RunwayVideoSettings,
    errors,
    wire,
)
from pipecat_runway.simulator import ClearAnswer, Faults

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

LINK = re.compile(r"\[([^]]+)\]\(([^)#]+\.md)#([^)]+)\)")
NEVER_TOLD = "the avatar is not in the room"  # the session hears it, and goes on to the API
HTML_LINK = re.compile(r'href="([\w.-]+\.html)#([^"]+)"')


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with warnings as errors."""
    html = tmp_path_factory.mktemp("docs") / "html"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    built = subprocess.run(
        [*command, "-d", str(html.parent / "doctrees"), str(DOCS), str(html)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert built.returncode == 0, built.stderr
    return html


def page(name: str) -> str:
    """The source of a page."""
    return (DOCS / f"{name}.md").read_text()


def section(text: str, title: str) -> str:
    """What stands under a heading of the second level."""
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


# -- the front page -------------------------------------------------------------------------------


def test_each_question_is_answered_within_one_click(site: Path) -> None:
    """The site's front page has twenty visible links or more, each to a heading that is there."""
    front = (site / "index.html").read_text()
    (listed,) = re.findall(r'<section id="questions">.*?<ol.*?</ol>', front, re.DOTALL)
    answers = HTML_LINK.findall(listed)
    assert 20 <= len(set(answers)) == listed.count("<li>")
    for target, heading in answers:
        assert has_heading((site / target).read_text(), heading), f"{target}#{heading}"


def test_a_heading_that_is_not_there_is_noticed() -> None:
    """The check can fail."""
    html = '<section id="what-a-minute-costs">\n<h2>What a minute costs</h2><p id="an-hour">'
    assert has_heading(html, "what-a-minute-costs")
    assert not has_heading(html, "an-hour")


def has_heading(html: str, heading: str) -> bool:
    """Whether a built page has a section of this name, which begins with its heading."""
    return re.search(rf'<section id="{re.escape(heading)}">\s*<h\d', html) is not None


def test_the_front_page_links_every_page() -> None:
    """Visibly: the site's own list of pages is hidden there."""
    linked = set(re.findall(r"\]\((\w[\w-]*)\.md\)", section(page("index"), "All pages")))
    assert linked == {path.stem for path in DOCS.glob("*.md")} - {"index"}


def test_the_questions_are_written_down_with_the_same_answers() -> None:
    """`questions.md` has the front page's questions, in its order, with its links."""
    front = LINK.findall(section(page("index"), "Questions"))
    rows = [
        (row.split("|")[1].strip(), *link[1:])
        for row in page("questions").splitlines()
        if row.startswith("|")
        for link in LINK.findall(row)[-1:]
    ]
    assert front == rows


def test_the_front_page_says_what_was_never_done() -> None:
    """Nobody has to look for it."""
    assert "**Verified against the live service: never.**" in page("index")
    assert "**Not affiliated with Runway or Daily.**" in page("index")


# -- nothing is missing ---------------------------------------------------------------------------


def test_every_argument_setting_and_variable_is_in_the_settings() -> None:
    """And so are the characters one can choose from."""
    named = set(re.findall(r"`([\w-]+)`", page("settings")))
    arguments = set(inspect.signature(RunwayVideoService).parameters) - {"kwargs"}
    settings = {f.name for f in fields(RunwayVideoSettings)} - {"model", "extra"}
    variables = {value for name, value in vars(wire).items() if name.startswith("ENV_")}
    assert set() == {*arguments, *settings, *variables, *wire.PRESETS} - named


def test_every_argument_and_event_of_the_agent_is_on_its_page() -> None:
    """Runway's own agent has its table and its events there."""
    named = set(re.findall(r"`(\w+)", page("realtime")))
    arguments = set(inspect.signature(RunwayRealtimeLLMService).parameters) - {"kwargs"}
    events = set(re.findall(r"on_\w+(?=\()", inspect.getdoc(RunwayRealtimeLLMService) or ""))
    assert len(events) == 4
    assert set() == {*arguments, *events} - named


def test_pipecats_page_has_every_argument_with_its_default() -> None:
    """The page for Pipecat's own documentation, too."""
    mdx = (DOCS / "pipecat" / "runway.mdx").read_text()
    params = dict(re.findall(r'<ParamField\s+path="(\w+)"([^>]*)>', mdx))
    arguments = dict(inspect.signature(RunwayVideoService).parameters)
    del arguments["kwargs"]
    assert list(arguments) == sorted(params, key=list(arguments).index)
    for name, argument in arguments.items():
        required = argument.default is argument.empty
        assert required or f'default="{argument.default}"' in params[name], name
        assert required == ("required" in params[name]), name


def test_every_event_is_told_of() -> None:
    """Frames and events names each that the service has of its own."""
    events = set(re.findall(r"on_avatar_\w+", inspect.getdoc(RunwayVideoService) or ""))
    assert len(events) == 4
    assert events <= set(re.findall(r"`(\w+)\(", page("frames-and-events")))


def test_every_knob_is_at_the_simulator() -> None:
    """With its default, and every answer to an interruption."""
    knobs = section(page("simulator"), "Knobs")
    named = set(re.findall(r"`(\w+)`", knobs))
    assert set() == {f.name for f in fields(Faults)} - named
    assert set() == {answer.name for answer in ClearAnswer} - named


def test_every_error_is_in_troubleshooting() -> None:
    """Whoever saw a class finds it, and its category."""
    classes = {
        name
        for name, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, errors.RunwayError)
    }
    assert set() == classes - set(re.findall(r"`(\w+)`", page("troubleshooting")))
    leaves = {name for name in classes if not getattr(errors, name).__subclasses__()}
    categories = section(page("frames-and-events"), "Errors in Pipecat's terms")
    assert set() == leaves - set(re.findall(r"`(\w+)`", categories))


def test_every_error_says_in_one_table_what_to_do() -> None:
    """With what the class says of itself: whether it passes, its category and its advice."""
    rows = {
        cells[1].strip(" `"): [cell.strip() for cell in cells[3:6]]
        for row in section(page("troubleshooting"), "Every error").splitlines()
        if (cells := row.split("|"))[1:] and cells[1].strip().startswith("`")
    }
    for name, error in inspect.getmembers(errors, inspect.isclass):
        if not issubclass(error, errors.RunwayError) or name not in rows:
            assert error.__subclasses__() or not issubclass(error, errors.RunwayError), name
            continue
        passes, category, advice = rows[name]
        assert ("yes" if error.retryable else "no") == passes, name
        assert category.startswith(error.category.replace("_", " ")), name
        assert advice, name
        assert error.advice in ("", advice), name


def test_every_example_is_listed() -> None:
    """Whoever looks for a bot like his finds it."""
    linked = set(re.findall(r"\]\(\.\./examples/([\w/]+\.py)\)", page("examples")))
    bots = {path.name for path in (ROOT / "examples").glob("*.py")}
    assert set() == bots - linked


# -- what one saw is what stands there ------------------------------------------------------------


def quoted() -> Iterator[str]:
    """The texts in troubleshooting, between their gaps."""
    for line in page("troubleshooting").splitlines():
        if line.startswith("> "):
            for text in re.findall(r"`([^`]+)`", line):
                yield from text.split("…")


@pytest.fixture(scope="module")
def written() -> list[str]:
    """The pieces of text in our code and in Pipecat's service."""
    sources = [*(ROOT / "pipecat_runway").rglob("*.py"), Path(pipecat.services.ai_service.__file__)]
    pieces = {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(source.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    pieces = {piece.strip("`:. ") for piece in pieces}
    return [piece for piece in pieces if " " in piece or len(piece) > 2]


def unwritten(text: str, written: list[str]) -> list[str]:
    """The words of a text that are in none of the pieces found in it."""
    known = [False] * len(text)
    for piece in (piece for piece in written if piece in text):
        for at in (found.start() for found in re.finditer(re.escape(piece), text)):
            known[at : at + len(piece)] = [True] * len(piece)
    return [
        word[0]
        for word in re.finditer(r"[A-Za-z]{3,}", text)
        if not all(known[slice(*word.span())])
    ]


def test_the_texts_in_troubleshooting_are_those_of_the_code(written: list[str]) -> None:
    """So that a search for what one saw finds it."""
    texts = list(quoted())
    assert len(texts) > 50
    assert {} == {text: words for text in texts if (words := unwritten(text, written))}


def test_a_text_that_nobody_writes_is_noticed(written: list[str]) -> None:
    """The check can fail."""
    assert unwritten("the avatar did not wave within 30 s.", written)


@pytest.mark.parametrize(
    "module",
    [
        *("video", "flows", "addresses", "client", "api", "refusals", "session", "billed"),
        *("room", "avatar", "face", "options", "managed", "managedroom", "conversation"),
        *("elevenlabs", "portrait", "characters", "server", "visitors", "visits"),
    ],
)
def test_every_error_is_quoted(module: str) -> None:
    """Whatever a module raises or reports stands in troubleshooting, word for word."""
    quotes = "".join(quoted())
    tree = ast.parse((ROOT / "pipecat_runway" / f"{module}.py").read_text())
    assert [] == [m for m in messages(tree) if m not in quotes and m != NEVER_TOLD]


def messages(tree: ast.AST) -> Iterator[str]:
    """The longest fixed piece of every error of ours that is made with a text."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not hasattr(errors, getattr(node.func, "id", "")):
            continue
        pieces = [n.value for arg in node.args for n in ast.walk(arg) if is_text(n)]
        if pieces:
            yield max(pieces, key=len).strip()


def is_text(node: Any) -> bool:
    """Whether a node is a piece of text."""
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
