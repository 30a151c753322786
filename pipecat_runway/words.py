"""Which words of a text have been heard, by how far its sound has been heard.

The laws:

* A text is divided at its words and nowhere else; its parts are the whole text, in order.
* A part is placed in the speech, counted in samples at 16 kHz. More speech heard never means fewer
  words.
* What is known is believed in this order: word times of the TTS, the place where a text's speech
  ended, the pauses in the speech, the pace of the voice.

Items are opaque, as in :mod:`~pipecat_runway.playback`: nothing here knows what a frame is.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np

from pipecat_runway.pauses import Rest, Voice, matched
from pipecat_runway.wire import SPEECH_RATE

GROWTH = SPEECH_RATE // 5  # samples that make it worth while to place a text anew…
GROWTH_PART = 0.1  # …or this part of the speech so far

USUAL_PACE = 1000.0  # samples of voice for a weight of 1, before the voice is known
PACE_GAIN = 0.3
TELLING = 15.0  # weight of a text that tells of the voice's pace
OWN_SPEECH = 0.5  # part of the expected speech that must have come between a text and its report

# How long a character takes to be said, against a letter.
_BETWEEN = 1.0  # what goes with every word
_DIGIT, _IDEOGRAPH, _SYLLABLE = 4.0, 3.0, 2.0
_SENTENCE_ENDS = ("FULL STOP", "EXCLAMATION MARK", "QUESTION MARK", "ELLIPSIS", "DANDA")
_IN_WORDS = ("APOSTROPHE", "SINGLE QUOTATION MARK")
_LETTERS_ONLY = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def divide(text: str) -> list[str]:
    """Divide a text into its words, each with the punctuation and the space that follow it.

    Where words are not set apart, as in Chinese, Japanese or Thai, each character is a word.

    Args:
        text: Any text.

    Returns:
        The parts, which together are the text.
    """
    parts: list[str] = []
    part, said = "", ""  # `said` is the last character of the part that is spoken
    for char in text:
        spoken = _is_spoken(char)
        begins = spoken and (_stands_alone(char) or (said and _stands_alone(said)))
        if said and (begins or (part[-1].isspace() and not char.isspace())):
            parts.append(part)
            part, said = "", ""
        part += char
        said = char if spoken else said
    if part and (said or not parts):
        parts.append(part)
    elif part:
        parts[-1] += part
    return parts


def weight(part: str) -> float:
    """Return how long a word takes to be said, against a letter."""
    return _BETWEEN * (not _is_foreign(part)) + sum(_weight(char) for char in part)


def rest(part: str) -> bool | None:
    """Return whether a speaker pauses behind a word: None for no, True at a sentence's end."""
    found = None
    for char in reversed(part):
        if _is_spoken(char):
            break
        name = unicodedata.name(char, "")
        if unicodedata.category(char).startswith("P") and not name.endswith(_IN_WORDS):
            found = bool(found) or name.endswith(_SENTENCE_ENDS)
    return found


def _weight(char: str) -> float:
    if not _is_spoken(char):
        return 0.0
    if char.isdigit():
        return _DIGIT
    if _stands_alone(char):
        return _IDEOGRAPH if unicodedata.name(char, "").startswith("CJK") else _SYLLABLE
    return _SYLLABLE if unicodedata.name(char, "").startswith("HANGUL") else 1.0


def _is_foreign(part: str) -> bool:
    return any(_stands_alone(char) for char in part)


def _is_spoken(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char) in ("Sc", "Sm", "So")


def _stands_alone(char: str) -> bool:
    return char > "\u0e00" and unicodedata.name(char, "").startswith(_LETTERS_ONLY)


class WordClock:
    """Turns the presentation times of words into places in their context's speech.

    The times of a context count from the later of the last word before it and the moment its
    first sound was pushed: that is how Pipecat makes them. Times are in ns.
    """

    def __init__(self) -> None:
        self._last = 0
        self._last_kept = 0  # of those that may not be interrupted

    def begin(self, now: int) -> int:
        """Return what the times of a context count from that begins now."""
        return max(self._last, now)

    def place(self, pts: int, base: int, *, keep: bool = False) -> int:
        """Note a word; return its place in its context's speech, in samples.

        Args:
            pts: The word's time.
            base: What the times of its context count from.
            keep: Whether it survives an interruption.
        """
        self._last = pts  # Pipecat's own count goes on from the last one, even if it is no later
        if keep:
            self._last_kept = pts
        return max(0, (pts - base) * SPEECH_RATE // 1_000_000_000)

    def interrupt(self) -> None:
        """Note that words which may be interrupted do not come any more."""
        self._last = self._last_kept


class Pace:
    """How fast a voice speaks, pauses left out: learned from text whose speech is known."""

    def __init__(self) -> None:
        self._samples = USUAL_PACE
        self._known = False

    def expect(self, weight: float) -> float:
        """Return how many samples of voice a text will take."""
        return weight * self._samples

    def learn(self, weight: float, voiced: float) -> None:
        """Note how many samples of voice a text took."""
        if weight < TELLING or voiced <= 0:
            return
        gain = PACE_GAIN if self._known else 1.0
        self._samples += gain * (voiced / weight - self._samples)
        self._known = True


@dataclass(eq=False)
class Passage:
    """A text that is said in one go, such as a sentence.

    Attributes:
        recital: The texts of its context.
        source: Who brought the text.
        left: How many of its parts have been heard.
        told: Whether the report of the whole of it has gone out.
        parts: Its words.
        begun: Where the speech was when the text came, in samples.
    """

    recital: "Recital"
    source: Any
    begun: int
    parts: list[str] = field(default_factory=list)
    left: int = 0
    told: bool = False

    @property
    def heard(self) -> str:
        """What was heard of it."""
        return "".join(self.parts[: self.left])


@dataclass(frozen=True, eq=False)
class Part:
    """A word of a passage, which leaves when it is heard."""

    passage: Passage
    text: str
    first: bool


@dataclass(frozen=True, eq=False)
class Whole:
    """The report of a whole passage, which leaves behind its last word."""

    passage: Passage
    item: Any


@dataclass(frozen=True)
class _Entry:
    item: Any
    weight: float = 0.0
    rest: bool | None = None


class Recital:
    """The texts of one TTS context that come without word times, and its speech.

    Args:
        pace: The voice's; it learns.

    Attributes:
        append: Whether the text belongs in the LLM's context.
        destination: Where its frames go.
    """

    def __init__(self, pace: Pace) -> None:
        self.append = False
        self.destination: str | None = None
        self._pace = pace
        self._entries: list[_Entry] = []
        self._passages: dict[Any, Passage] = {}
        self._anchors = [(0, 0)]  # from the entry of this number on, the speech from here on
        self._laid = 0  # entries that were placed at least once
        self._placed_at = 0
        self._stale = False  # whether more is known than when they were placed
        self._closed = False
        self._voice = Voice()
        self._fixed: list[int] = []  # the places of the entries before the last anchor

    @property
    def passages(self) -> list[Passage]:
        """The passages so far, in order."""
        return list(self._passages.values())

    @property
    def due(self) -> bool:
        """Whether its items are to be placed anew."""
        open_ended = self._anchors[-1][0] < len(self._entries)
        grown = self._voice.samples - self._placed_at
        worth = max(GROWTH, GROWTH_PART * (self._voice.samples - self._anchors[-1][1]))
        return self._stale or (open_ended and grown >= worth)

    def hear(self, pcm: bytes) -> None:
        """Take more of the context's speech, 16 kHz mono s16le."""
        self._voice.hear(pcm)

    def announce(self, key: Any, source: Any, text: str | None) -> None:
        """Note a text that is going to be said.

        Args:
            key: What its report will name it by.
            source: Who brought it.
            text: The text; None if only its report will tell.
        """
        passage = self._passages[key] = Passage(self, source, self._voice.samples)
        if text is not None:
            self._divide(passage, text)

    def report(self, key: Any, item: Any, text: str, begins: int | None = None) -> None:
        """Note the report of a text: its speech has come, or will.

        Args:
            key: What it was announced by; unknown or None if it was not.
            item: The report; it leaves behind the text's last word.
            text: The text.
            begins: Where its speech begins, in samples, if that is known.
        """
        passage = self._passages.get(key) if key is not None else None
        if passage is None:
            if begins is not None:
                self._anchors.append((len(self._entries), max(begins, self._anchors[-1][1])))
            passage = Passage(self, item, self._anchors[-1][1])
            self._passages[key if key is not None else object()] = passage
        if not passage.parts:
            self._divide(passage, text)
        self._enter(_Entry(Whole(passage, item)))
        own = self._spent(passage.begun)
        expected = self._pace.expect(sum(weight(part) for part in passage.parts))
        if own >= OWN_SPEECH * expected and own > 0:
            self._anchor()

    def add(self, item: Any) -> None:
        """Note another item that has its place behind the texts so far."""
        self._enter(_Entry(item))

    def close(self) -> None:
        """Note that the TTS has finished the context: all of its speech has come."""
        if not self._closed:
            self._closed = True
            self._anchor()

    def place(self, waiting: int) -> list[tuple[Any, int]]:
        """Place the items that have not left.

        Args:
            waiting: How many of those that were placed before have not left.

        Returns:
            All that have not left, in order, with the samples that must have been heard before.
        """
        missing = waiting + len(self._entries) - self._laid
        self._laid, self._placed_at, self._stale = len(self._entries), self._voice.samples, False
        first = len(self._entries) - missing
        places = self._places()
        return [(self._entries[i].item, places[i]) for i in range(first, len(self._entries))]

    def _divide(self, passage: Passage, text: str) -> None:
        passage.parts = divide(text)
        for number, part in enumerate(passage.parts):
            self._enter(_Entry(Part(passage, part, number == 0), weight(part), rest(part)))

    def _enter(self, entry: _Entry) -> None:
        self._entries.append(entry)
        self._stale = True

    def _anchor(self) -> None:
        """Note that the texts so far end where the speech is."""
        first, start = self._anchors[-1]
        said = sum(entry.weight for entry in self._entries[first:])
        self._pace.learn(said, self._spent(start))
        if first < len(self._entries):
            self._anchors.append((len(self._entries), self._voice.samples))
            self._stale = True

    def _spent(self, start: int) -> float:
        """Return how much voice there is from a place on."""
        return self._voice.voice(self._voice.samples) - self._voice.voice(start)

    # -- places -----------------------------------------------------------------------------------

    def _places(self) -> list[int]:
        while len(self._fixed) < self._anchors[-1][0]:  # an anchored stretch does not change
            number = next(
                n for n, (first, _) in enumerate(self._anchors) if first > len(self._fixed)
            )
            (first, start), (after, end) = self._anchors[number - 1 : number + 1]
            self._fixed += self._spread(self._entries[first:after], start, end)
        open_ended = self._entries[len(self._fixed) :]
        places = self._fixed + self._spread(open_ended, self._anchors[-1][1], None)
        return list(accumulate(places, max))

    def _spread(self, entries: Sequence[_Entry], start: int, end: int | None) -> list[int]:
        """Spread entries over a stretch of speech: by their weights, and by its pauses."""
        weights = [0.0, *accumulate(entry.weight for entry in entries)]
        total, voice = weights[-1], self._voice
        begins = voice.voice(start)
        ends = voice.voice(voice.samples if end is None else end)
        pace = self._pace.expect(1.0)
        if end is not None and total:
            pace = (ends - begins) / total
        knots = [(0.0, begins)]
        if pace > 0:
            rests = [
                Rest(weight, entry.rest)
                for entry, weight in zip(entries, weights[1:-1], strict=False)
                if entry.rest is not None
            ]
            known = None if end is None else (total, ends)
            knots = matched(rests, voice.pauses(begins, ends), begins, pace, known)
        knots.append(self._end_knot(knots, total, ends if end is not None else None))
        shares, voices = zip(*knots, strict=True)
        places = []
        for entry, weight in zip(entries, weights, strict=False):
            at = float(np.interp(weight, shares, voices)) if total else knots[-1][1]
            place = max(start, voice.place(at, after_pause=entry.weight > 0))
            places.append(place if end is None else min(end, place))
        return places

    def _end_knot(
        self, knots: list[tuple[float, float]], total: float, ends: float | None
    ) -> tuple[float, float]:
        """Return where a text ends, as (weight, voice): known, or by the pace so far."""
        if ends is not None:
            return total, ends
        (_, begins), (weight, voice) = knots[0], knots[-1]
        usual = self._pace.expect(TELLING)
        pace = (voice - begins + usual) / (weight + TELLING)
        return total, voice + pace * (total - weight)
