"""The ledger of utterances: what was sent, what was heard, what waits behind it.

The laws:

* One utterance is one TTS context. Utterances sound one after another, in the order they began.
* What arrives while an utterance is unfinished is held in its place and leaves with the sound:
  the frames of the utterance itself when the sound has reached them, everything else after it.
* Nothing is dropped but by an interruption, and then only what may be interrupted.

Positions and lengths are counted in samples at 16 kHz mono, times are seconds. Items are opaque:
nothing here knows what a frame is, what time it is or where the items go.
"""

from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import zip_longest
from typing import Any

from pipecat_runway.wire import SAMPLE_WIDTH, SPEECH_RATE


class Stage(Enum):
    """How far an utterance has come."""

    WAITING = auto()  # not heard yet
    SOUNDING = auto()  # its first sound has come back
    HEARD = auto()  # its last sound has come back
    CUT = auto()  # interrupted: whatever still comes back of it is stale
    VOICED = auto()  # spoken without the avatar


@dataclass(frozen=True)
class Held:
    """Something that waits for the sound.

    Attributes:
        item: The thing itself.
        keep: Whether it survives an interruption.
        position: How much of its utterance must have been heard before it leaves.
        loose: Whether its position may change until it leaves.
    """

    item: Any
    keep: bool
    position: int = 0
    loose: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A part of a piece of speech.

    Attributes:
        item: The piece as the TTS made it.
        start: Where the part begins, in s.
        end: Where it ends, in s; None for the end of the piece.
    """

    item: Any
    start: float
    end: float | None


@dataclass(eq=False)
class Utterance:
    """One TTS context, or, after :meth:`Ledger.split`, a part of one.

    Attributes:
        context_id: The TTS's id of it.
        keep: Whether it survives an interruption.
        pcm: The whole speech so far, 16 kHz mono s16le.
        closed: Whether the TTS has finished it.
        sent: Samples handed to the avatar.
        heard: Samples that have come back, counted from the start.
        stage: How far it has come.
        base: Samples of its context that are parts of their own before it.
        part_of: The first part of its context; None for that one itself.
        divided: Whether it goes on as another part.
        speaker: Who is to say it; None until somebody begins.
    """

    context_id: str | None
    keep: bool
    fed_at: float
    base: int = 0
    part_of: "Utterance | None" = None
    divided: bool = False
    speaker: Any = None
    stage: Stage = Stage.WAITING
    pcm: bytearray = field(default_factory=bytearray)
    closed: bool = False
    sent: int = 0
    heard: int = 0
    opening: list[Held] = field(default_factory=list)
    voice: list[Held] = field(default_factory=list)
    within: deque[Held] = field(default_factory=deque)
    behind: deque[Held] = field(default_factory=deque)

    @property
    def whole(self) -> "Utterance":
        """The first part of its context."""
        return self.part_of or self

    @property
    def samples(self) -> int:
        """Length of the speech so far, in samples."""
        return len(self.pcm) // SAMPLE_WIDTH

    @property
    def over(self) -> bool:
        """Whether it will not be heard any more, or not from the avatar."""
        return self.stage in (Stage.CUT, Stage.VOICED)

    @property
    def unsent(self) -> int:
        """Samples the avatar has not been given yet."""
        return self.samples - self.sent

    @property
    def owed(self) -> float:
        """Seconds of this speech that have not been heard."""
        return max(0, self.samples - self.heard) / SPEECH_RATE

    def speech(self, start: int, end: int) -> bytes:
        """Return the samples from `start` to `end` as s16le bytes."""
        return bytes(self.pcm[max(0, start) * SAMPLE_WIDTH : end * SAMPLE_WIDTH])

    def __repr__(self) -> str:
        return (
            f"Utterance({self.context_id!r}, {self.stage.name}, sent={self.sent}, "
            f"heard={self.heard}, samples={self.samples})"
        )


@dataclass(frozen=True)
class Cut:
    """What an interruption did.

    Attributes:
        utterances: Those that were cut, in order. Their unheard speech may still come back.
        released: Items that survived and wait for nothing any more, in order.
    """

    utterances: list[Utterance]
    released: list[Any]


class Ledger:
    """The utterances that are not finished, in the order they are heard."""

    def __init__(self) -> None:
        self._line: deque[Utterance] = deque()
        self._over: dict[str | None, Stage] = {}  # contexts that ended before the TTS finished them
        self._voiced: dict[str | None, Utterance] = {}  # the VOICED among them that had begun here

    def __iter__(self) -> Iterator[Utterance]:
        return iter(self._line)

    def __len__(self) -> int:
        return len(self._line)

    @property
    def head(self) -> Utterance | None:
        """The utterance that sounds, or sounds next."""
        return self._line[0] if self._line else None

    @property
    def owed(self) -> float:
        """Seconds of speech that have not been heard."""
        return sum(utterance.owed for utterance in self._line)

    def find(self, context_id: str | None) -> Utterance | None:
        """Return the utterance of this context that the TTS has not finished, if any."""
        for utterance in reversed(self._line):
            if utterance.context_id == context_id and not utterance.closed:
                return utterance
        return None

    def over(self, context_id: str | None) -> Stage | None:
        """Return how a context ended that the TTS has not finished: CUT, VOICED or None."""
        return self._over.get(context_id)

    def voice(self, context_id: str | None) -> None:
        """Note that a context that begins now is spoken without the avatar."""
        self._over[context_id] = Stage.VOICED

    def voiced(self, context_id: str | None) -> Utterance | None:
        """Return the utterance that goes on without the avatar and is not finished, if any."""
        return self._voiced.get(context_id)

    def forget(self, context_id: str | None) -> list[Any]:
        """Note that the TTS has finished a context that was over, or begins it anew.

        Returns:
            Items that still waited for its sound.
        """
        self._over.pop(context_id, None)
        utterance = self._voiced.pop(context_id, None)
        return _items(utterance.within) if utterance else []

    def open(
        self, context_id: str | None, *, keep: bool, now: float, item: Any | None = None
    ) -> Utterance:
        """Begin an utterance at the end of the line.

        Args:
            context_id: The TTS's id of it.
            keep: Whether it survives an interruption.
            now: The time.
            item: What announced it; it leaves with the first sound.

        Returns:
            The utterance.
        """
        self.forget(context_id)
        utterance = Utterance(context_id, keep, fed_at=now)
        if item is not None:
            utterance.opening.append(Held(item, keep))
        self._line.append(utterance)
        return utterance

    def feed(self, utterance: Utterance, pcm: bytes, *, now: float, item: Any) -> None:
        """Add speech to an utterance.

        Args:
            utterance: An utterance that is not closed.
            pcm: 16 kHz mono s16le; may be empty while a resampler fills.
            now: The time.
            item: The speech as the TTS made it, in case the avatar cannot speak it.
        """
        utterance.voice.append(Held(item, utterance.keep, utterance.samples))
        utterance.pcm += pcm
        utterance.fed_at = now

    def close(self, utterance: Utterance, pcm: bytes = b"", *, item: Any | None = None) -> None:
        """Note that the TTS has finished an utterance.

        Args:
            utterance: An utterance that is not closed.
            pcm: The last samples a resampler held back.
            item: What announced the end; it leaves after the last sound.
        """
        utterance.pcm += pcm
        utterance.closed = True
        if item is not None:
            utterance.behind.appendleft(Held(item, utterance.keep))

    def hold(
        self, item: Any, *, keep: bool, context_id: str | None = None, position: int | None = None
    ) -> bool:
        """Hold an item in its place.

        Args:
            item: The item.
            keep: Whether it survives an interruption.
            context_id: The context it belongs to, if it belongs to one.
            position: Where in that context's speech it belongs; left out, where it arrived.

        Returns:
            False if there is nothing to wait for: the item is then the caller's to pass on.
        """
        voiced = self._voiced.get(context_id) if context_id is not None else None
        if voiced is not None and position is not None and position > _end(voiced):
            _wait(voiced, Held(item, keep, position - voiced.base))
            return True
        if not self._line:
            return False
        own = self.find(context_id) if context_id is not None else None
        if own is None:
            self._line[-1].behind.append(Held(item, keep))
            return True
        at = own.samples if position is None else max(0, position - own.base)
        at = max([at, *(held.position for held in own.within if not held.loose)])
        if own.stage is Stage.SOUNDING and not own.within and at <= own.heard:
            return False
        _wait(own, Held(item, keep, at))
        return True

    def take_loose(self, utterance: Utterance) -> int:
        """Take back the loose items of an utterance's context; return how many still waited."""
        count = 0
        for part in self._parts(utterance):
            fixed = deque(held for held in part.within if not held.loose)
            count += len(part.within) - len(fixed)
            part.within = fixed
        return count

    def lay_loose(self, utterance: Utterance, items: Iterable[tuple[Any, int]]) -> None:
        """Have items leave when their context has been heard up to them.

        Args:
            utterance: An utterance in the line, or one that goes on by voice.
            items: Each with its position in the context's speech, in order.
        """
        parts = self._parts(utterance)
        for item, position in items:
            part = next((p for p in parts if position <= _end(p)), parts[-1])
            place = max(0, position - part.base)
            _wait(part, Held(item, part.keep, place, loose=True))

    def _parts(self, utterance: Utterance) -> list[Utterance]:
        parts = [each for each in self._line if each.whole is utterance.whole]
        return parts or [utterance]

    def say(self, utterance: Utterance, pcm: bytes, *, item: Any) -> list[Any]:
        """Add speech to an utterance that goes on by voice; return what leaves, in order."""
        piece = Held(item, utterance.keep, utterance.samples)
        utterance.pcm += pcm
        utterance.heard = utterance.samples
        due = _due(utterance.within, utterance.samples)
        return _items(_interleaved([(piece, utterance.samples)], due))

    def split(self, utterance: Utterance, at: int) -> Utterance:
        """Divide an utterance: what follows a position becomes a part of its own, right behind it.

        Args:
            utterance: An utterance in the line.
            at: The position, not before what has been heard and not behind the speech so far.

        Returns:
            The rest. It goes on where the TTS is, and what waits for its sound waits there.
        """
        rest = Utterance(utterance.context_id, utterance.keep, utterance.fed_at)
        rest.base, rest.part_of = utterance.base + at, utterance.whole
        rest.pcm = utterance.pcm[at * SAMPLE_WIDTH :]
        del utterance.pcm[at * SAMPLE_WIDTH :]
        rest.closed, utterance.closed = utterance.closed, True
        rest.divided, utterance.divided = utterance.divided, True
        utterance.sent = min(utterance.sent, at)
        rest.behind, utterance.behind = utterance.behind, deque()
        rest.within = deque(
            replace(held, position=held.position - at)
            for held in utterance.within
            if held.position > at
        )
        utterance.within = deque(held for held in utterance.within if held.position <= at)
        moved = [i for i, held in enumerate(utterance.voice) if held.position >= at]
        first = moved[0] if moved else len(utterance.voice)
        # The piece in which the position lies belongs to both.
        rest.voice = [
            Held(held.item, held.keep, held.position - at)
            for held in utterance.voice[max(0, first - 1) :]
        ]
        del utterance.voice[first:]
        self._line.insert(self._line.index(utterance) + 1, rest)
        return rest

    def start(self, utterance: Utterance) -> list[Any]:
        """Note the first sound of the head of the line; return the items it releases."""
        utterance.stage = Stage.SOUNDING
        opening, utterance.opening = utterance.opening, []
        return [held.item for held in opening] + self.advance(utterance, utterance.heard)

    def advance(self, utterance: Utterance, heard: int) -> list[Any]:
        """Note how far an utterance has been heard; return the items it releases."""
        utterance.heard = heard
        return _take(utterance.within, heard)

    def rewind(self, utterance: Utterance, heard: int) -> None:
        """Note that an utterance was heard less far than it seemed."""
        utterance.heard = min(utterance.heard, heard)

    def finish(self, utterance: Utterance) -> list[Any]:
        """Note the last sound of the head of the line; return the items it releases."""
        utterance.heard = utterance.samples
        utterance.stage = Stage.HEARD
        self._line.remove(utterance)
        return _items([*utterance.opening, *utterance.within, *utterance.behind])

    def interrupt(self) -> Cut:
        """Cut every utterance that may be interrupted, with the items that wait on it."""
        cut: list[Utterance] = []
        released: list[Any] = []
        kept: deque[Utterance] = deque()
        for utterance in self._line:
            survivors = [held for held in utterance.behind if held.keep]
            if utterance.keep:
                utterance.behind = deque(survivors)
                utterance.within = deque(h for h in utterance.within if h.keep)
                kept.append(utterance)
                continue
            self._end(utterance, Stage.CUT)
            cut.append(utterance)
            survivors = [h for h in (*utterance.opening, *utterance.within) if h.keep] + survivors
            if kept:
                kept[-1].behind.extend(survivors)
            else:
                released += _items(survivors)
        self._line = kept
        for utterance in [voiced for voiced in self._voiced.values() if not voiced.keep]:
            self._end(utterance, Stage.CUT)
            del self._voiced[utterance.context_id]
            released += [held.item for held in utterance.within if held.keep]
        return Cut(cut, released)

    def give_up(self) -> list[Any]:
        """End every utterance; return all that was held, with the speech that was not heard.

        What the TTS still makes of them is the caller's to pass on: see :meth:`over`.

        The speech comes in the pieces the TTS made, of one that was sounding an :class:`Excerpt`.
        """
        items: list[Any] = []
        for utterance in self._line:
            self._end(utterance, Stage.VOICED)
            due = list(utterance.within)
            if not utterance.closed:  # what belongs to later speech waits for it
                due = _due(utterance.within, utterance.samples)
                self._voiced[utterance.context_id] = utterance
            spoken = _interleaved(_unheard(utterance), due)
            items += _items([*utterance.opening, *spoken, *utterance.behind])
            utterance.heard = utterance.samples
        self._line.clear()
        return items

    def _end(self, utterance: Utterance, stage: Stage) -> None:
        utterance.stage = stage
        if not utterance.closed:
            self._over[utterance.context_id] = stage


def _end(utterance: Utterance) -> int:
    """Return where an utterance ends by now, in samples of its context."""
    return utterance.base + utterance.samples


def _wait(utterance: Utterance, held: Held) -> None:
    insort(utterance.within, held, key=lambda other: other.position)


def _take(line: deque[Held], heard: int) -> list[Any]:
    return _items(_due(line, heard))


def _due(line: deque[Held], heard: int) -> list[Held]:
    taken = []
    while line and line[0].position <= heard:
        taken.append(line.popleft())
    return taken


def _interleaved(pieces: Iterable[tuple[Held, int]], waiting: Iterable[Held]) -> Iterator[Held]:
    """Yield pieces of speech, each with where it ends, and what waits for them, in its place."""
    waiting = deque(waiting)
    for piece, end in pieces:
        item, start = piece.item, piece.position
        while waiting and waiting[0].position < end:
            if waiting[0].position > start:
                done, item = _divided(item, (waiting[0].position - start) / SPEECH_RATE)
                start = waiting[0].position
                yield Held(done, piece.keep, start)
            yield waiting.popleft()
        yield Held(item, piece.keep, start)
    yield from waiting


def _divided(item: Any, seconds: float) -> tuple[Excerpt, Excerpt]:
    """Divide a piece of speech so many seconds behind its beginning."""
    whole = item if isinstance(item, Excerpt) else Excerpt(item, 0.0, None)
    middle = whole.start + seconds
    return Excerpt(whole.item, whole.start, middle), Excerpt(whole.item, middle, whole.end)


def _unheard(utterance: Utterance) -> Iterator[tuple[Held, int]]:
    """Yield the pieces of an utterance that were not heard, or what was not heard of them.

    Each with where it ends.
    """
    begun = utterance.heard > 0 or utterance.base > 0
    for held, following in zip_longest(utterance.voice, utterance.voice[1:]):
        end = following.position if following else utterance.samples
        if end <= utterance.heard and begun:
            continue
        start = max(0, utterance.heard - held.position) / SPEECH_RATE
        last = utterance.divided and not following
        until = (end - held.position) / SPEECH_RATE if last else None
        item = Excerpt(held.item, start, until) if start or last else held.item
        yield Held(item, held.keep, max(held.position, utterance.heard)), end


def _items(held: Iterable[Held]) -> list[Any]:
    return [entry.item for entry in held]
