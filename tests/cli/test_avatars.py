"""``pipecat-runway avatars | documents`` and ``sessions show | delete``, as a user runs them."""

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from PIL import Image
from typer.testing import CliRunner

from pipecat_runway import wire
from pipecat_runway.cli import avatars, documents
from pipecat_runway.cli.app import app
from pipecat_runway.cli.interrupt import INTERRUPTED
from tests.cli.processes import running_command
from tests.cli.test_app import run
from tests.kit.account import Account, account

NOBODY = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
LONG = "x" * 10_001
GUIDE = ("--voice", "clara", "--personality", "A guide.")


@pytest.fixture
def face(tmp_path: Path) -> str:
    """A picture's file."""
    path = tmp_path / "ada.png"
    Image.effect_noise((64, 64), 80).save(path)
    return str(path)


@pytest.fixture
def hours(tmp_path: Path) -> str:
    """A text's file."""
    path = tmp_path / "hours.md"
    path.write_text("# Hours\nWe open at nine.\n")
    return str(path)


@pytest.fixture(autouse=True)
def _interrupts() -> Iterator[None]:
    """Give Ctrl-C back: a command takes it for itself."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@dataclass
class Shell:
    """Where commands are typed, beside an account that is served from another thread."""

    it: Account
    portal: BlockingPortal

    def __call__(self, *arguments: str, answer: str = "") -> tuple[int, str]:
        """Run a command, and answer what it asks; its status and what it said."""
        result = CliRunner().invoke(app, [*arguments, "--verbose"], input=answer)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert self.it.runway.api_key not in result.output
        return result.exit_code, result.output


OpenShell = Callable[..., AbstractContextManager[Shell]]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> OpenShell:
    """Opens a shell with an account of these knobs."""

    @contextmanager
    def begin(**knobs: Any) -> Iterator[Shell]:
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(account(**knobs)) as it,
        ):
            for name, value in it.runway.env.items():
                monkeypatch.setenv(name, value)
            yield Shell(it, portal)

    return begin


def created(said: str) -> list[str]:
    """The ids of what was created."""
    return re.findall(r"Created: (\S+)", said)


def test_a_character_from_its_picture_to_its_end(shell: OpenShell, face: str, hours: str) -> None:
    """Created with a document, shown, listed, deleted; with the price, and each after a yes."""
    more = ("--start-script", "Hello!", "--document", hours)
    with shell(avatar_processing=0.1) as command:
        it = command.it
        status, said = command("avatars", "create", face, *GUIDE, *more, answer="y\n")
        assert 0 == status, said
        assert f"{wire.CREDITS_A_MINUTE} credits" in said
        assert "keeps them until they are deleted" in said
        document_id, avatar_id = created(said)
        assert f'READY. In your bot: RunwayVideoService.Settings(avatar_id="{avatar_id}")' in said
        _, listed = command("avatars", "list")
        assert f"{avatar_id}  READY       ada  (clara)" in listed
        status, said = command("avatars", "delete", avatar_id, answer="n\n")
        assert (0, True) == (status, avatar_id in it.runway.avatars)
        for part in ("ada", "READY", "A guide.", "Hello!", document_id):  # what would be deleted
            assert part in said
        status, said = command("avatars", "delete", avatar_id, answer="y\n")
        assert (0, False) == (status, avatar_id in it.runway.avatars), said
        assert [document_id] == list(it.runway.library.documents)  # it stays


def test_a_document_from_its_file_to_its_end(shell: OpenShell, hours: str) -> None:
    """Its text is shown as it is; without a yes nothing is deleted."""
    with shell() as command:
        it = command.it
        status, said = command("documents", "create", hours)
        assert 0 == status, said
        (document_id,) = created(said)
        _, shown = command("documents", "show", document_id)
        assert shown.endswith("\n\n# Hours\nWe open at nine.\n")
        status, said = command("documents", "delete", document_id)
        assert (1, [document_id]) == (status, list(it.runway.library.documents))
        status, said = command("documents", "delete", document_id, "--yes")
        assert (0, {}) == (status, it.runway.library.documents), said
        _, listed = command("documents", "list")
        assert "There is no document." in listed


def test_what_cannot_work_is_said_before_anything_is_asked(
    face: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 2, and one line with the field and the remedy; there is not even a key here."""
    binary = tmp_path / "binary.md"
    binary.write_bytes(b"\xff\xfe")
    book = tmp_path / "book.md"
    book.touch()
    os.truncate(book, 800_001)
    guide: dict[str, Any] = {"name": None, "voice": "clara", "personality": "A guide."}
    guide |= {"start_script": None, "files": [], "ask": True}
    tries: dict[str, Callable[[], int]] = {
        "voice is neither": lambda: avatars.create(face, **guide | {"voice": "bob"}),
        "personality has 10001": lambda: avatars.create(face, **guide | {"personality": LONG}),
        "start_script has 0": lambda: avatars.create(face, **guide | {"start_script": ""}),
        "document_ids has 51": lambda: avatars.create(face, **guide | {"files": [binary] * 51}),
        "picture cannot be read": lambda: avatars.create("/nowhere.png", **guide),
        "picture is no https": lambda: avatars.create("http://a.example/b.png", **guide),
        "name has 0": lambda: avatars.create("https://a.example/", **guide),
        "byte 0 is not UTF-8": lambda: avatars.create(face, **guide | {"files": [binary]}),
        "document is no file": lambda: documents.create(tmp_path, None),
        "document has 800001 bytes": lambda: documents.create(book, None),
        "document cannot be read": lambda: documents.create(Path("/nowhere.md"), None),
        "api_key is missing": lambda: documents.show_all(),
    }
    for what, work in tries.items():
        assert 2 == work(), what
        assert what in capsys.readouterr().out


@pytest.mark.parametrize("what", ["avatars show", "documents delete", "sessions show"])
def test_what_is_no_id_is_refused(what: str) -> None:
    """As wrong usage, before anything heavy is imported."""
    status, said = run(*what.split(), "../organization")
    assert 2 == status
    assert "ID is not an id, got 15 characters" in said


def test_a_character_that_cannot_be_made_leaves_no_document(
    shell: OpenShell, face: str, hours: str
) -> None:
    """What was created for it is deleted again; one that failed later says why, and stays."""
    start = ("avatars", "create", face, *GUIDE, "--document", hours, "--yes")
    with shell(avatar_processing=0.1, upload_status=500) as command:
        it = command.it
        status, said = command(*start)
        assert 1 == status
        assert "the storage that Runway named would not take the picture (HTTP 500)" in said
        assert {} == it.runway.library.documents
        it.turn(upload_status=None, avatar_failure="No face was found.")
        status, said = command(*start)
        assert 1 == status
        assert "No face was found." in said
        assert "Traceback" not in said
        assert created(said)[-1] in it.runway.avatars


def test_a_session_is_shown_and_deleted(shell: OpenShell) -> None:
    """Status, transcript, tools, recording and usage; gone for good only after a yes."""
    with shell() as command:
        it = command.it
        session_id = command.portal.call(it.talked, "It is \x1b[2J warm.")
        status, said = command("sessions", "show", session_id)
        assert 0 == status, said
        for part in (
            f"session {session_id}: COMPLETED, ",
            " credits",
            "cat-character",
            "user       Is it warm?",
            'calls weather({"city": "Paris"})',
            'weather answers {"degrees": 21}',
            "warm.",
            "The account had 1 sessions that day",
        ):
            assert part in said
        assert "\x1b[2J" not in said
        status, said = command("sessions", "delete", session_id, answer="n\n")
        assert (0, 0) == (status, it.asked("DELETE", "/v1")), said
        assert "Is it warm?" not in said
        status, said = command("sessions", "delete", session_id, answer="y\n")
        assert 0 == status
        assert "Runway says that it is gone" in said
        status, said = command("sessions", "show", session_id)
        assert 0 == status
        assert "warm" not in said


def test_an_open_session_is_ended_before_it_is_deleted(shell: OpenShell) -> None:
    """It would be written on; and one that nobody knows is an error."""
    with shell() as command:
        it = command.it
        session_id = command.portal.call(partial(it.talked, "It is warm.", end=False))
        status, said = command("sessions", "delete", session_id, "--yes")
        assert 0 == status
        assert f"Ended: {session_id}, CANCELLED" in said
        assert "Runway says that it is gone" in said
        assert [] == it.runway.open_sessions
        status, said = command("sessions", "show", NOBODY)
        assert 1 == status
        assert "Runway has no such session" in said


def test_a_session_of_which_nothing_is_kept(shell: OpenShell) -> None:
    """As may be with those in a LiveKit room of one's own: their status is told."""
    with shell(livekit_conversations=False) as command:
        session_id = command.portal.call(command.it.called)
        status, said = command("sessions", "show", session_id)
        assert 0 == status, said
        assert f"session {session_id}: COMPLETED, " in said
        assert "nothing" in said
        status, said = command("sessions", "delete", session_id, "--yes")
        assert 0 == status, said
        assert f"Nothing is kept of {session_id}." in said


def test_ctrl_c_leaves_no_document(shell: OpenShell, face: str, hours: str) -> None:
    """What was created for a character that is not made is deleted on the way out."""
    with shell(answer_delay=0.5) as command:
        library = command.it.runway.library
        start = ("avatars", "create", face, *GUIDE, "--document", hours, "--yes")
        with running_command(*start, **command.it.runway.env) as process:
            process.wait_for("hours.md")
            assert 1 == len(library.documents)
            process.interrupt()
            assert INTERRUPTED == process.wait()
            assert "Deleted:" in process.output
        assert {} == library.documents
