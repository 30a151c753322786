"""What is said in a room of Runway's, in every form it has been seen in, and who said it when.

Sources: CORE utils (the messages and what counts as their end), docs/protocol.md. There is no end
marker; a turn is final once something else has begun, or nothing more of it comes for a while.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from pipecat_runway import wire

QUIET = 3.0  # s without anything more, after which a user's turn is final…
ANSWERED_QUIET = 0.3  # …or so many, once the avatar answers
LATE = 1.0  # s after an answer has begun in which its question may still come
KEPT = 2 * wire.MAX_PERSONALITY  # characters of a conversation that are kept for the next session

_TRANSCRIPTIONS: Final = frozenset(
    {None, "transcription", "transcript", "voice_transcript"}
)  # CORE
_GOES_ON: Final = (
    "\n\nThis conversation began earlier and goes on now, with the same person. Do not greet them "
    "again. What was said last:\n"
)


class Role(Enum):
    """Who speaks."""

    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True)
class Delta:
    """A piece of a turn, to be put behind those before it.

    Attributes:
        role: Who says it.
        turn: The turn's number; a higher one of the same role ends it.
        text: The piece.
    """

    role: Role
    turn: int
    text: str = field(repr=False)


@dataclass(frozen=True)
class Segment:
    """The text of a turn, or of a part of one, as it stands now.

    Attributes:
        role: Who says it.
        id: Which it is; another one with the same id takes its place.
        text: All of it.
        final: Whether it changes no more.
    """

    role: Role
    id: str
    text: str = field(repr=False)
    final: bool


@dataclass(frozen=True)
class ClientEvent:
    """A tool of the kind ``client_event`` was used.

    Attributes:
        tool: Its name.
        args: What came with it.
    """

    tool: str
    args: dict[str, Any] = field(repr=False)


Said = Delta | Segment


def read(data: bytes, own_identity: str) -> list[Said | ClientEvent]:
    """Read a data packet.

    Args:
        data: Its payload; anything may stand there.
        own_identity: Ours in the room: what is said under it, the user has said.

    Returns:
        What it tells; nothing if it is none of the known forms.
    """
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return []
    match message:
        case {"type": "client_event", "tool": str(tool), **rest}:
            args = rest.get("args", {})
            if not isinstance(args, dict) or args.get("status") == wire.EVENT_SENT:
                return []  # no more than the echo of one
            return [ClientEvent(tool, args)]
        case {"segments": list(segments)} | {"data": {"segments": list(segments)}}:
            if message.get("type") in _TRANSCRIPTIONS:
                return list(_segments(segments, own_identity))
        case {"type": "transcription", "text": str(text), **rest}:
            return [Delta(_role(rest.get("role")), _turn(rest.get("turn", 0)), text)]
    return []


def _segments(segments: list[Any], own_identity: str) -> Iterable[Segment]:
    for segment in segments:
        match segment:
            case {"id": str(name), "text": str(text), **rest}:
                role = Role.USER if rest.get("participantIdentity") == own_identity else None
                yield Segment(
                    role or _role(rest.get("role")), name, text, rest.get("final") is not False
                )


def _role(said: object) -> Role:
    return Role.USER if said == Role.USER.value else Role.ASSISTANT  # CORE: missing is assistant


def _turn(said: object) -> int:
    return said if isinstance(said, int) else 0  # CORE: missing is 0


# -- the conversation -------------------------------------------------------------------------


@dataclass(frozen=True)
class UserText:
    """What the user says.

    Attributes:
        text: All of the turn so far, or what of it has become final.
        final: Whether it is final; every word is so once.
    """

    text: str = field(repr=False)
    final: bool


@dataclass(frozen=True)
class BotText:
    """What the avatar says, to be put behind what came before.

    Attributes:
        text: The piece.
        new_turn: Whether another turn surely begins with it.
        is_whole: Whether it is a sentence or more, and a space belongs between it and the next.
    """

    text: str = field(repr=False)
    new_turn: bool
    is_whole: bool


@dataclass(frozen=True)
class Turn:
    """A turn that is over, or a part of one.

    Attributes:
        role: Who said it.
        text: What.
    """

    role: Role
    text: str = field(repr=False)


class Transcript:
    """Both sides of a conversation, in order, each word final once.

    The same words may be told in several forms. For each side the one that came first is believed.
    All times are in s, by any clock that goes on.
    """

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self._user = ""
        self._begin()

    def _begin(self) -> None:
        """Count from the beginning: a session's numbers and forms are its own."""
        self._forms: dict[Role, type] = {}
        self._user_turn, self._user_at = -1, -math.inf
        self._answered_at = math.inf  # when the answer to it began
        self._bot_at = -math.inf  # when the avatar last began, or said something more
        self._bot_turn: int | str = -1
        self._cut_turn: int | str | None = None
        self._final: set[tuple[Role, str]] = set()  # segments

    @property
    def due(self) -> float:
        """When the user's turn is final if nothing more comes; infinity if there is none."""
        if not self._user:
            return math.inf
        answered = max(self._answered_at, self._user_at) + ANSWERED_QUIET
        return min(self._user_at + QUIET, answered)

    def take(self, said: Said, now: float) -> list[UserText | BotText]:
        """Take what was told."""
        if self._forms.setdefault(said.role, type(said)) is not type(said):
            return []
        if isinstance(said, Segment):
            return self._segment(said, now)
        if said.role is Role.USER:
            return self._user_piece(said, now)
        if said.turn == self._cut_turn:
            return []
        return self._bot_piece(said, said.turn, now)

    def answered(self, now: float) -> None:
        """Note that the avatar begins to answer, or goes on."""
        self._bot_at = now
        if self._user:
            self._answered_at = min(self._answered_at, now)

    def interrupted(self) -> None:
        """Note that nothing more of the avatar's turn is heard."""
        self._cut_turn, self._bot_at = self._bot_turn, -math.inf

    def look(self, now: float) -> list[UserText | BotText]:
        """Return what has become final by now."""
        return self.close() if now >= self.due else []

    def close(self) -> list[UserText | BotText]:
        """Return what becomes final because nothing more is to come."""
        if not self._user:
            return []
        text, self._user = self._user, ""
        answered, self._answered_at = self._answered_at < math.inf, math.inf
        if answered and self.turns and self.turns[-1].role is Role.ASSISTANT:
            answer = self.turns.pop()  # its text comes while the question's is still mended
            self._keep(Role.USER, text)
            self._keep(Role.ASSISTANT, answer.text)
        else:
            self._keep(Role.USER, text)
        return [UserText(text, final=True)]

    def renew(self) -> list[UserText | BotText]:
        """Go on in another session; return what becomes final by that."""
        closed = self.close()
        self._begin()
        return closed

    def _user_piece(self, said: Delta, now: float) -> list[UserText | BotText]:
        closed = self.close() if said.turn != self._user_turn else []
        if not self._user and now - self._bot_at < LATE:
            self._answered_at = now  # it is the question to what is being answered
        self._user += said.text
        self._user_turn, self._user_at = said.turn, now
        return [*closed, UserText(self._user, final=False)] if self._user else closed

    def _bot_piece(self, said: Said, turn: int | str, now: float) -> list[UserText | BotText]:
        if not said.text:
            return []
        is_new, self._bot_turn = turn != self._bot_turn, turn
        self.answered(now)
        self._keep(Role.ASSISTANT, said.text, goes_on=not is_new)
        is_whole = isinstance(said, Segment)
        return [BotText(said.text, new_turn=is_new and not is_whole, is_whole=is_whole)]

    def _segment(self, said: Segment, now: float) -> list[UserText | BotText]:
        if (said.role, said.id) in self._final or not said.text:
            return []
        if said.final:
            self._final.add((said.role, said.id))
        if said.role is Role.USER:
            if said.final:
                self._keep(Role.USER, said.text)
            return [UserText(said.text, said.final)]
        if not said.final or said.id == self._cut_turn:
            return []  # it may still be put otherwise
        return self._bot_piece(said, said.id, now)

    def _keep(self, role: Role, text: str, *, goes_on: bool = False) -> None:
        if goes_on and self.turns and self.turns[-1].role is role:
            text = self.turns.pop().text + text
        self.turns.append(Turn(role, text[-KEPT:]))
        while sum(len(turn.text) for turn in self.turns) > 2 * KEPT:
            del self.turns[0]


CarryOver = Callable[[Sequence[Turn]], str | None]
"""Makes the next session's personality of what was said; None: there is no next one."""


def carried_over(personality: str, turns: Sequence[Turn]) -> str:
    """Return a personality with the latest turns, for a session that goes on with a conversation.

    Args:
        personality: The original one.
        turns: What was said, oldest first.

    Returns:
        As many of the latest turns as the 10,000 characters of a personality (OAS) have room for.
    """
    room = wire.MAX_PERSONALITY - len(personality) - len(_GOES_ON)
    lines: list[str] = []
    for turn in reversed(turns):
        line = f"{'They' if turn.role is Role.USER else 'You'}: {turn.text.strip()}\n"
        if len(line) > room:
            break
        room -= len(line)
        lines.append(line)
    return personality + _GOES_ON + "".join(reversed(lines)) if lines else personality
