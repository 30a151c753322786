"""Who may have a session in a browser, and who is still there: arithmetic, all times in s."""

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from pipecat_runway.errors import ConfigError

MINUTE: Final = 60.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much may be begun, since whoever opens the page begins something that is billed.

    Attributes:
        open: Sessions at once.
        open_per_visitor: Of these, one visitor's.
        per_minute: Sessions that one visitor may begin within a minute.

    Raises:
        ConfigError: If one of them is no whole number above 0.
    """

    open: int = 10
    open_per_visitor: int = 1
    per_minute: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"Limits: {name} must be a whole number above 0, got {value!r}")


class Reason(Enum):
    """Why somebody is turned away."""

    FULL = auto()  # all sessions are taken
    HAS_ONE = auto()  # their own are
    TOO_OFTEN = auto()


@dataclass(frozen=True)
class TurnedAway:
    """A visitor is turned away.

    Attributes:
        reason: Why.
        retry_after: When to come back, in s; None if nobody can say.
    """

    reason: Reason
    retry_after: float | None = None


class Admission:
    """Counts what is open, and what was begun lately; of visitors who left it keeps a minute.

    Args:
        limits: What is allowed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: dict[str, int] = {}
        self._begun: deque[tuple[float, str]] = deque()

    def admit(self, visitor: str, now: float) -> TurnedAway | None:
        """Count a session as begun, until :meth:`leave`, or say why it must not be."""
        while self._begun and self._begun[0][0] <= now - MINUTE:
            self._begun.popleft()
        limits, own = self._limits, [at for at, who in self._begun if who == visitor]
        if self._open.get(visitor, 0) >= limits.open_per_visitor:
            return TurnedAway(Reason.HAS_ONE)
        if len(own) >= limits.per_minute:
            return TurnedAway(Reason.TOO_OFTEN, own[0] + MINUTE - now)
        if sum(self._open.values()) >= limits.open:
            return TurnedAway(Reason.FULL)
        self._open[visitor] = self._open.get(visitor, 0) + 1
        self._begun.append((now, visitor))
        return None

    def leave(self, visitor: str) -> None:
        """Count one of a visitor's sessions as ended."""
        self._open[visitor] -= 1
        if not self._open[visitor]:
            del self._open[visitor]


class Attendance:
    """Whether a user is still to be expected in the room.

    Args:
        join_timeout: How long a user's coming is waited for.
        away_timeout: How long a user who was there may be away.
    """

    def __init__(self, *, join_timeout: float, away_timeout: float) -> None:
        self._join_timeout, self._away_timeout = join_timeout, away_timeout
        self.until: float | None = None  # then nobody is expected any more; None: for ever
        self.has_come = False
        self._is_seen = False  # whether it can be seen who is there

    def expect(self, now: float) -> None:
        """Expect the user from now on."""
        if not self.has_come:
            self.until = now + self._join_timeout

    def note(self, is_there: bool | None, now: float) -> None:
        """Note that the user is in the room or not; None: it cannot be seen any more."""
        self._is_seen = is_there is not None
        if is_there:
            self.has_come, self.until = True, None
        elif self.has_come and is_there is None:
            self.until = None
        elif self.has_come and self.until is None:
            self.until = now + self._away_timeout

    def note_running(self) -> None:
        """Note that Runway says that somebody is there; counts where that cannot be seen."""
        if not self._is_seen:
            self.has_come, self.until = True, None

    def is_over(self, now: float) -> bool:
        """Whether nobody is expected any more."""
        return self.until is not None and now >= self.until
