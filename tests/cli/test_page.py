"""The demo's page, as its visitors see it: a real browser, a microphone that hears a file."""

import re
import socket
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from pipecat_runway.cli.talk import lacks, what_is_used
from pipecat_runway.simulator.face import Face
from tests.kit.timing import timed

from .browser import CHROMIUM, SIZE, Glance, record_microphone, visiting
from .processes import Command, running_command

needs_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium: apt-get install chromium"
)
NO_KEYS = {"DEEPGRAM_API_KEY": "", "OPENAI_API_KEY": "", "CARTESIA_API_KEY": ""}
TYPED = "The quick brown fox jumps over the lazy dog."
LONG = (
    "This sentence goes on and on about nothing in particular because its only purpose is to be "
    "interrupted long before anybody could have heard how it was going to end, which is a pity "
    "for the sentence but quite all right for whoever has something better to say."
)


def address(command: Command) -> str:
    """Where it listens."""
    command.wait_for("and press Connect")
    found = re.search(r"http://127\.0\.0\.1:\d+", command.output)
    assert found is not None
    return found[0]


def sessions(command: Command) -> list[str]:
    """The sessions there have been."""
    return re.findall(r"The face is there: session (\S+)\.", command.output)


def wait_for_the_end(command: Command, session: str) -> None:
    """Wait until a session has ended as a user ends it."""
    command.wait_for(f"Session {session} ended: yes, COMPLETED")


def end(command: Command) -> None:
    """Press Ctrl-C: it ends well, and nothing is left of it."""
    command.interrupt()
    assert command.wait(20) == 0, command.output
    assert not command.left()
    assert "Traceback" not in command.output
    for session in sessions(command):
        assert f"Session {session} ended: yes, COMPLETED" in command.output, command.output


def assert_is_the_painted_face(picture: NDArray[np.uint8]) -> None:
    """The picture is that of the character, whatever its eyes are doing."""
    width, height = SIZE
    painted = Face("cooking-teacher", width, height).paint(0.0, 0.0, 0.0)
    expected = np.asarray(painted[: width * height], np.float64)
    seen = picture.astype(np.float64) @ (0.299, 0.587, 0.114)
    assert np.corrcoef(expected, seen.ravel())[0, 1] > 0.95


def assert_the_mouth_moved_with_the_voice(glances: list[Glance]) -> None:
    """There was a second of sound and more, the mouth was open in it, and is shut afterwards."""
    assert sum(glance.is_loud for glance in glances) >= 10
    assert max(glance.mouth for glance in glances if glance.is_loud) > 0.06
    assert min(glance.mouth for glance in glances[-10:]) < 0.03


@needs_a_browser
@timed
def test_a_face_greets_and_says_what_is_typed(tmp_path: Path) -> None:
    """It is seen, says that it is an AI, and speaks typed text, with captions and moving lips.

    With the page closed its session is ended; the next visitor has one of their own.
    """
    record_microphone(tmp_path / "silence.wav", silence=1.0, words="")
    with (
        running_command("demo", "--no-browser", "--port", "0", **NO_KEYS) as command,
        visiting(tmp_path / "silence.wav") as visitor,
    ):
        url = address(command)
        visitor.connect(url)
        visitor.wait_for_line("AI: Hello! I am an AI")
        visitor.wait_for_voice()
        visitor.wait_for_silence()
        assert_is_the_painted_face(visitor.look())
        assert_the_mouth_moved_with_the_voice(visitor.glances())

        visitor.type(TYPED)
        visitor.wait_for_line(f"You: {TYPED}")
        visitor.wait_for_line(f"AI: {TYPED}")
        visitor.wait_for_voice()
        visitor.wait_for_silence()
        assert_the_mouth_moved_with_the_voice(visitor.glances())

        visitor.page.close()
        command.wait_for("ended: yes")
        (first,) = sessions(command)
        wait_for_the_end(command, first)

        another = visitor.another()
        another.connect(url)
        end(command)
        assert len(set(sessions(command))) == 2


@pytest.mark.long
@needs_a_browser
@timed
def test_speech_interrupts_it(tmp_path: Path) -> None:
    """A microphone's speech silences it in the middle; it then says that it can only read."""
    record_microphone(tmp_path / "speech.wav", silence=9.0, words="Excuse me, may I ask?")
    with (
        running_command("demo", "--no-browser", "--port", "0", **NO_KEYS) as command,
        visiting(tmp_path / "speech.wav") as visitor,
    ):
        visitor.connect(address(command))
        visitor.wait_for_line("AI: You spoke, so I stopped.")
        visitor.type(LONG)  # the next words come 9 s later
        visitor.wait_for_voice()
        visitor.wait_for_line("AI: You spoke, so I stopped.", 2)
        assert visitor.page.locator("#log .cut").get_by_text(LONG).count() == 1
        end(command)


def test_it_says_where_it_listens_and_what_it_uses() -> None:
    """A port that is taken is left to whoever has it; nobody needs to have come."""
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        running_command(
            "demo", "--no-browser", "--port", str(taken.getsockname()[1]), **NO_KEYS
        ) as command,
    ):
        assert not address(command).endswith(f":{taken.getsockname()[1]}")
        said = " ".join(command.output.split())
        assert "painted by the local Runway" in said
        assert "by espeak-ng" in said
        assert "DEEPGRAM_API_KEY, OPENAI_API_KEY" in said
        end(command)


@pytest.mark.long
def test_pipecats_own_client_is_there_too() -> None:
    """Its page, and the three requests it makes; by another name than this machine's, nothing."""
    with running_command("demo", "--no-browser", "--port", "0", **NO_KEYS) as command:
        url = address(command)
        assert '<div id="root">' in httpx.get(f"{url}/client/", timeout=10).text
        started = httpx.post(f"{url}/start", json={"transport": "webrtc"}, timeout=10).json()
        offer = f"{url}/sessions/{started['sessionId']}/api/offer"
        candidate = {"candidate": "", "sdp_mid": "0", "sdp_mline_index": 0}
        late = {"pc_id": "nobody", "candidates": [candidate]}
        assert httpx.patch(offer, json=late, timeout=10).status_code == 404
        assert httpx.post(offer, json={"no": "sdp"}, timeout=10).status_code == 422
        elsewhere = {"Host": "elsewhere.example"}
        assert httpx.get(url, headers=elsewhere, timeout=10).status_code == 400
        end(command)


def test_keys_make_a_conversation() -> None:
    """What is missing for one is named; without a voice's key espeak-ng speaks."""
    keys = {"DEEPGRAM_API_KEY": "d", "OPENAI_API_KEY": "o"}
    assert lacks({})[:2] == list(keys)
    assert not {*lacks(keys)} & {*keys}
    assert "espeak-ng" in what_is_used({})
    assert "Cartesia" in what_is_used({"CARTESIA_API_KEY": "c"})
