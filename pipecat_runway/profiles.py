"""What a character is made of, checked against every limit before anything is sent."""

from typing import NoReturn
from urllib.parse import urlsplit

from pipecat_runway import wire
from pipecat_runway.errors import ConfigError


def check_profile(*, name: str, personality: str, start_script: str | None, documents: int) -> None:
    """Check what a character is called, told, says first, and how many documents it knows.

    Raises:
        ConfigError: Runway would refuse it.
    """
    check_text("name", name, wire.MAX_AVATAR_NAME)
    check_briefing(personality, start_script)
    if documents > wire.MAX_AVATAR_DOCUMENTS:
        _refuse(
            f"document_ids has {documents} entries, Runway takes "
            f"{wire.MAX_AVATAR_DOCUMENTS} at most",
            "Join some of the documents.",
        )


def check_document(name: str, content: str) -> None:
    """Check a document.

    Raises:
        ConfigError: Runway would refuse it.
    """
    check_text("name", name, wire.MAX_DOCUMENT_NAME)
    check_text("content", content, wire.MAX_DOCUMENT, "Make several documents of it.")


def check_briefing(personality: str | None, start_script: str | None) -> None:
    """Check what a character is told, and says first, if it is given.

    Raises:
        ConfigError: Runway would refuse it.
    """
    if personality is not None:
        check_text(
            "personality", personality, wire.MAX_PERSONALITY, "Put knowledge into documents."
        )
    if start_script is not None:
        check_text("start_script", start_script, wire.MAX_START_SCRIPT)


def check_text(field: str, text: str, most: int, advice: str = "Shorten it.") -> None:
    """Check that something is text of a length that Runway takes.

    Args:
        field: What it is called here.
        text: The text.
        most: How many characters it may have.
        advice: What to do if it has more.

    Raises:
        ConfigError: It is none.
    """
    if not isinstance(text, str):
        _refuse(f"{field} is of type {type(text).__name__}, not text", "Give a str.")
    if not 1 <= len(text) <= most:
        _refuse(
            f"{field} has {len(text)} characters, Runway takes 1 to {most}",
            advice if text else "Write some.",
        )
    try:
        text.encode()
    except UnicodeEncodeError:
        _refuse(f"{field} is not text, it has halves of characters", "Write it as UTF-8.")


def check_picture_url(url: str) -> None:
    """Check the address of a picture (DOC assets/inputs: what Runway fetches itself).

    Raises:
        ConfigError: Runway would refuse it.
    """
    if len(url) > wire.MAX_PICTURE_URL:
        _refuse(
            f"picture has {len(url)} characters, Runway takes an address of "
            f"{wire.MAX_PICTURE_URL} at most",
            "Give a file instead.",
        )
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:  # brackets that do not match
        host = ""
    # The last label is what tells a name from an IP address.
    if not url.startswith("https://") or "." not in host or host.rpartition(".")[2].isdecimal():
        _refuse(
            "picture is no https:// address at a domain's name, and Runway fetches no other",
            "Give a public https:// address, or a file.",
        )


def check_id(field: str, value: str) -> None:
    """Check that something is an id of Runway's, before it becomes part of an address.

    Raises:
        ConfigError: It is none.
    """
    if not wire.UUID.fullmatch(value):
        _refuse(
            f"{field} is not an id, got {len(value)} characters that are no UUID",
            "Copy it from where it was printed: 36 characters, as in "
            "3fa85f64-5717-4562-b3fc-2c963f66afa6.",
        )


def voice_of(voice: str) -> dict[str, str]:
    """Return the `voice` of a create, fields spelled as the SDK spells them.

    Args:
        voice: The name of one of Runway's voices, or the id of one of your own.

    Raises:
        ConfigError: It is neither.
    """
    if voice in wire.VOICES:
        return {"type": "runway-live-preset", "preset_id": voice}
    if wire.UUID.fullmatch(voice):
        return {"type": "custom", "id": voice}
    _refuse(
        "voice is neither one of Runway's nor an id",
        f"Runway's are {', '.join(sorted(wire.VOICES))}.",
    )


def _refuse(what: str, advice: str) -> NoReturn:
    raise ConfigError(what, advice=advice)
