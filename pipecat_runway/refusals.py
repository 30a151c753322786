"""What an error answer of Runway's API means, read off its status and its body."""

import re

from pipecat_runway import wire
from pipecat_runway.errors import (
    APIError,
    ConcurrencyError,
    CreditsError,
    FieldRefusedError,
    KeyRefusedError,
    OwnRoomRefusedError,
    RoomAddressError,
    RunwayError,
    UnknownAvatarError,
    UnknownDocumentError,
    VendorFaultError,
)

FIELDS_NAMED = 5  # of those a refusal lists
CONTENT_FILTER = "cannot be used for an avatar"  # seen by one third party, of a start script


def refused(
    status: int,
    body: object,
    *,
    action: str,
    missing: type[APIError],
    session_id: str | None,
    retry_after: float | None,
    sent_with: str,
) -> RunwayError:
    """Name the cause of an error answer.

    Args:
        status: Its HTTP status.
        body: Its body, as parsed JSON or as text. Anything may stand there.
        action: What was asked for.
        missing: What a 404 means.
        session_id: The session it was asked of.
        retry_after: Seconds to wait, where the answer said so.
        sent_with: The client and its version.

    Returns:
        The error.
    """
    text = _error_text(body)
    kind: type[RunwayError]
    advice = None
    match status:
        case 401:
            kind, what = KeyRefusedError, "the API key was refused"
        case 403:
            kind, what = KeyRefusedError, "the API key was refused"
            advice = (
                f"{KeyRefusedError.advice} With 403 it can also be a good key, whose account may "
                "not do this."
            )
        case 402:
            kind, what = CreditsError, "the organization has no credits left"
        case 400 if "credits" in text:
            kind, what = CreditsError, "the organization has no credits left"
        case 404 if missing is UnknownAvatarError:
            kind, what = UnknownAvatarError, "the avatar does not exist for this API key"
        case 404 if missing is UnknownDocumentError:
            kind, what = UnknownDocumentError, "the document does not exist for this API key"
        case 429:
            kind, what = ConcurrencyError, "too many sessions or requests at once"
        case 400 if any(CONTENT_FILTER in said for said in (text, *_messages(body))):
            kind, what = FieldRefusedError, "its content filter refused a text or the picture"
            advice = "Say it in other words; the same has passed on another try."
        case 400 | 422:
            fields = _refused_fields(body, text)
            kind = _field_error(fields)
            named = ", ".join(f"`{name}`" for name in fields)
            # The bare word, not "key: word": Pipecat masks what follows such a colon.
            what = f"it refused the field {named}" if named else "it refused the request's body"
            advice = (
                f"{kind.advice} Sent with {sent_with}; upgrade it and pipecat-runway, "
                "or check the value."
            ).lstrip()
        case _ if status >= 500:
            kind, what = VendorFaultError, "Runway failed"
        case _ if status < 400:
            kind, what = APIError, "what answers there points elsewhere"
        case _:
            kind, what = APIError, "the request was refused"
    return kind(
        f"Runway's API would not {action}, {what} (HTTP {status})",
        status_code=status,
        session_id=session_id,
        advice=advice,
        retry_after=retry_after,
    )


def _error_text(body: object) -> str:
    text = body.get("error") if isinstance(body, dict) else body
    return text if isinstance(text, str) else ""


def _refused_fields(body: object, text: str) -> list[str]:
    """Say which fields were refused; both forms of body seen in the wild are read."""
    names: list[str] = []
    for issue in _issues(body):
        path, keys = _names(issue.get("path")), _names(issue.get("keys"))
        names += [".".join([*path, key]) for key in keys] or [".".join(path)]
    if not names and (match := re.search(r"Unrecognized keys?:?\s*\"?(\w{1,64})", text)):
        names = [match[1]]
    return [name for name in dict.fromkeys(names) if name][:FIELDS_NAMED]


def _messages(body: object) -> list[str]:
    return [str(issue.get("message")) for issue in _issues(body)]


def _issues(body: object) -> list[dict[object, object]]:
    listed = _list(body.get("issues")) if isinstance(body, dict) else []
    return [issue for issue in listed if isinstance(issue, dict)]


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _names(parts: object) -> list[str]:
    """Return the names in a list from an answer, as far as they can be repeated."""
    words = [str(part) for part in _list(parts)[:FIELDS_NAMED] if isinstance(part, str | int)]
    return [word for word in words if wire.named(word)]


def _field_error(fields: list[str]) -> type[RunwayError]:
    if any(name in ("integration", "integration.type") for name in fields):
        return OwnRoomRefusedError
    return RoomAddressError if "integration.url" in fields else FieldRefusedError
