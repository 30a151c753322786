"""Where one response of an avatar ends and the next begins, out of its voice and its text.

The two come by different ways, and neither says where a response ends. All times are in s.
"""

import math
from enum import Enum, auto

TEXT_BOUND = 1.5  # s after the voice's end until a response without text is over
VOICE_BOUND = 2.0  # s after the last text until a response without a voice is over


class Mark(Enum):
    """Where a response begins or ends."""

    BEGINS = auto()
    ENDS = auto()


class _State(Enum):
    NONE = auto()
    SILENT = auto()  # there is one, and its voice is not heard
    SPEAKING = auto()


class Responses:
    """Follows the responses of an avatar, one after another."""

    def __init__(self) -> None:
        self._state = _State.NONE
        self._text_at = self._voice_at = -math.inf  # the last of either

    def voice_begins(self) -> list[Mark]:
        """Note that the voice is heard."""
        marks = self._begin()
        self._state = _State.SPEAKING
        return marks

    def voice_ends(self, now: float) -> list[Mark]:
        """Note that the voice is not heard any more."""
        if self._state is not _State.SPEAKING:
            return []
        self._state, self._voice_at = _State.SILENT, now
        return self.end() if self._text_at > -math.inf else []

    def text(self, now: float, *, new_turn: bool) -> list[Mark]:
        """Note that text has come, of another turn or the same."""
        follows = new_turn and self._text_at > -math.inf
        self._text_at = now
        return [Mark.ENDS, Mark.BEGINS] if follows else self._begin()

    def look(self, now: float) -> list[Mark]:
        """Note that time has passed."""
        waited = now > max(self._voice_at + TEXT_BOUND, self._text_at + VOICE_BOUND)
        return self.end() if waited and self._state is _State.SILENT else []

    def end(self) -> list[Mark]:
        """End the response there is."""
        was, self._state = self._state, _State.NONE
        self._text_at = self._voice_at = -math.inf
        return [] if was is _State.NONE else [Mark.ENDS]

    def _begin(self) -> list[Mark]:
        if self._state is not _State.NONE:
            return []
        self._state = _State.SILENT
        return [Mark.BEGINS]
