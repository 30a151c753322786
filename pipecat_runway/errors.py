"""What can go wrong, by whose fault it is and whether trying again can help.

* :class:`RunwayError`

  * :class:`ConfigError` (also a ``ValueError``): yours, found before any money is spent

    * :class:`RoomAddressError`: the LiveKit server's address cannot work

  * :class:`APIError`: what Runway's REST API answered, or did not

    * :class:`KeyRefusedError`: 401 and 403
    * :class:`CreditsError`: the account has no credits left
    * :class:`ConcurrencyError`: 429, or still queued: too many sessions or requests
    * :class:`UnknownAvatarError`: 404 for the avatar
    * :class:`UnknownDocumentError`: 404 for a document
    * :class:`AvatarNotReadyError`: a character that was made is not READY
    * :class:`FieldRefusedError`: 400 for a field of the request

      * :class:`OwnRoomRefusedError`: the field that names a LiveKit room of one's own

    * :class:`CredentialsGoneError`: a session's credentials have expired, or were handed out
    * :class:`VendorFaultError`: 5xx
    * :class:`UnreachableError`: no connection, so nothing was created
    * :class:`AnswerLostError`: the request may have been carried out, and may be billed

  * :class:`ToolError`: a tool has no answer for the model, whatever became of it
  * :class:`RoomError`: the LiveKit server

    * :class:`RoomCredentialsError`: it refuses the API key or secret
    * :class:`RoomUnreachableError`: it cannot be reached
    * :class:`RoomLostError`: the connection to it ended

  * :class:`AvatarError`: the avatar itself

    * :class:`NeverJoinedError`: it did not come into the room in time
    * :class:`NoPictureError`: it came, and sent no picture in time
    * :class:`SessionFailedError`: Runway reports the session as FAILED
    * :class:`AvatarGoneError`: it left while it was needed
    * :class:`AvatarStalledError`: its picture or its speech has stopped
    * :class:`ProtocolError`: it does not do what the protocol says

  * :class:`CallLimitError`: the call is as old as `max_call_duration` lets a face be

Messages name the session id where there is one: Runway's support asks for it. They never hold
keys, tokens or spoken text. No credential's name is followed by a colon in them: Pipecat masks the
word behind one.
"""

from typing import Any


class RunwayError(Exception):
    """Base of every error of this package.

    Attributes:
        retryable: Whether the same call may succeed later with nothing changed.
        category: Pipecat's word for it, the value of an `ErrorCategory`.
        advice: One line on what to do.
        status_code: The HTTP status, where one was answered.
        session_id: The Runway session concerned, if it has an id.
        retry_after: How long to wait before another try, in s, where the answer said so.
    """

    retryable = False
    category = "unknown"
    advice = ""

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        status_code: int | None = None,
        session_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.advice = advice if advice is not None else type(self).advice
        self.status_code = status_code
        self.session_id = session_id
        self.retry_after = retry_after
        parts = [message.rstrip(".")]
        if session_id:
            parts.append(f"session {session_id}")
        text = ", ".join(parts) + "."
        super().__init__(f"{text} {self.advice}".rstrip())


class ConfigError(RunwayError, ValueError):
    """An argument, setting or environment variable that cannot work."""

    category = "invalid_request"


class RoomAddressError(ConfigError):
    """A LiveKit address that Runway's cloud can never reach."""

    advice = (
        "Runway's avatar dials in from the internet: give a public wss:// address "
        "(LiveKit Cloud or your own server), or point RUNWAYML_BASE_URL at the local simulator."
    )


class APIError(RunwayError):
    """Runway's REST API answered with an error, or not at all."""


class KeyRefusedError(APIError):
    """The API key was refused, or may not do this."""

    category = "authentication"
    advice = (
        "Check that RUNWAYML_API_SECRET is enabled and was made for this base URL, in the "
        "developer portal at dev.runwayml.com."
    )

    def __init__(self, message: str, **rest: Any) -> None:
        super().__init__(message, **rest)
        if self.status_code == 403:  # the key is known, and lacks a right
            self.category = "authorization"


class CreditsError(APIError):
    """The organization has no credits left."""

    category = "quota"
    advice = "Buy credits in Runway's developer portal; a session is billed from its creation."


class ConcurrencyError(APIError):
    """Too many sessions at once, or too many requests."""

    retryable = True
    category = "rate_limit"
    advice = (
        "Your Runway tier limits how many sessions run at once: end one, or raise ready_timeout or "
        "the tier."
    )


class UnknownAvatarError(APIError):
    """The avatar does not exist for this key."""

    category = "invalid_request"
    advice = (
        "Check avatar_id: it must belong to the same organization as the API key. "
        "Avatars made in the web portal can be invisible to an API key."
    )


class UnknownDocumentError(APIError):
    """The document does not exist for this key."""

    category = "invalid_request"
    advice = "Check its id: it must belong to the same organization as the API key."


class AvatarNotReadyError(APIError):
    """A character that was made is not READY.

    Attributes:
        status: What it is instead, PROCESSING or FAILED.
    """

    category = "server"
    advice = "It can be deleted; another picture may do."

    def __init__(self, message: str, *, status: str = "FAILED", **rest: Any) -> None:
        super().__init__(message, **rest)
        self.status = status
        self.retryable = status == "PROCESSING"


class FieldRefusedError(APIError):
    """A field of the request was refused."""

    category = "invalid_request"


class OwnRoomRefusedError(FieldRefusedError):
    """Sessions in a LiveKit room of one's own are refused."""

    advice = (
        "This account, or the API's version, may not have sessions in a LiveKit room of your own: "
        "ask Runway's support."
    )


class CredentialsGoneError(APIError):
    """A session's credentials cannot be had, or not any more: they are handed out once."""

    retryable = True
    category = "server"
    advice = "A session whose credentials are gone is of no use; another one can be made."


class VendorFaultError(APIError):
    """Runway failed, or sheds load."""

    retryable = True
    category = "server"
    advice = "Runway's fault, usually short: try again later, and give support the session id."


class UnreachableError(APIError):
    """Runway's API could not be reached; nothing was created."""

    retryable = True
    category = "connectivity"
    advice = "Check the network and RUNWAYML_BASE_URL."


class AnswerLostError(APIError):
    """The answer to a create was lost: a session may exist and be billed."""

    category = "connectivity"
    advice = (
        "It is not sent again, because that could bill twice. A session that was created after all "
        "ends by itself at its max_duration."
    )


class ToolError(RunwayError):
    """A tool has no answer for the model. The message is what the model is told."""

    category = "application"


class RoomError(RunwayError):
    """The LiveKit server."""

    category = "connectivity"


class RoomCredentialsError(RoomError):
    """The LiveKit server refuses the API key or secret."""

    category = "authentication"
    advice = (
        "Check that LIVEKIT_API_KEY and LIVEKIT_API_SECRET belong to the server at LIVEKIT_URL."
    )


class RoomUnreachableError(RoomError):
    """The LiveKit server cannot be reached."""

    retryable = True
    advice = "Check LIVEKIT_URL and that the server is running and reachable from this machine."


class RoomLostError(RoomError):
    """The connection to the LiveKit room ended."""

    retryable = True
    advice = "Speech goes on by voice."


class AvatarError(RunwayError):
    """The avatar itself."""

    retryable = True
    category = "server"


class NeverJoinedError(AvatarError):
    """The avatar did not join the room in time."""

    advice = (
        "A join takes 5 to 15 s as a rule. Check that the LiveKit server is reachable from the "
        "internet, and raise ready_timeout if it only takes longer."
    )


class NoPictureError(AvatarError):
    """The avatar joined and sent no picture in time."""

    advice = (
        "Its media does not get through: check the LiveKit server's UDP ports and TURN settings."
    )


class SessionFailedError(AvatarError):
    """Runway reports the session as FAILED."""

    advice = "Give Runway's support the session id if it keeps happening."


class AvatarGoneError(AvatarError):
    """The avatar left while it was needed."""

    advice = "Speech goes on by voice. Runway ends a session after about five minutes."


class AvatarStalledError(AvatarError):
    """The avatar is in the room, and its picture or its speech has stopped."""

    advice = "Speech goes on by voice until its picture is back or another avatar has come."


class ProtocolError(AvatarError):
    """The avatar does not do what the protocol says."""


class CallLimitError(RunwayError):
    """The call is older than `max_call_duration`: no session follows another any more."""

    category = "application"
    advice = "Speech goes on by voice. Raise max_call_duration if calls may last longer."
