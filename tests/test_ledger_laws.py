"""The ledger's laws, over every order of events; and breaks of each law, which are noticed."""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipecat_runway.playback import Cut, Excerpt, Held, Ledger, Stage, Utterance

LONGEST = 400  # samples of a piece; lengths do not matter here, borders do
WHICH = st.integers(0, 9)  # of those there are
SELDOM = st.sampled_from([False, False, False, True])


@dataclass(frozen=True)
class Thing:
    """An item that is not speech.

    Attributes:
        turn: The turn of the utterance it belongs to or waits behind.
        phase: 0 what opens an utterance, 1 what waits in it, 2 what closes it, 3 what waits behind.
        number: When it came.
        keep: Whether an interruption spares it.
        position: How much of its utterance has to be heard before.
    """

    turn: int
    phase: int
    number: int
    keep: bool
    position: int = 0

    @property
    def place(self) -> tuple[int, int, int]:
        """Its place in the order of all things."""
        return self.turn, self.phase, self.number


@dataclass(frozen=True)
class Piece:
    """A piece of speech as the TTS made it.

    Attributes:
        context: Whose.
        start: Where it begins in its context's speech, in samples.
        number: When it came.
    """

    context: str
    start: int
    number: int


@dataclass
class Context:
    """What the model knows of one TTS context.

    Attributes:
        turn: Its place in the line.
        keep: Whether an interruption spares it.
        speech: All its speech, every sample different from its neighbours.
        pieces: Its pieces.
        heard: How much the avatar has been heard to say.
        spoken: Stretches that went on by voice.
        finished: Whether the TTS has finished it.
    """

    turn: int
    keep: bool
    speech: bytes = b""
    pieces: list[Piece] = field(default_factory=list)
    heard: int = 0
    spoken: list[tuple[int, int]] = field(default_factory=list)
    finished: bool = False

    @property
    def samples(self) -> int:
        return len(self.speech) // 2

    def end_of(self, piece: Piece) -> int:
        """Where a piece ends; what a resampler held back belongs to the last one."""
        later = self.pieces[self.pieces.index(piece) + 1 :]
        return later[0].start if later else self.samples


class LedgerLaws(RuleBasedStateMachine):
    """Speech, frames, sound, divisions, interruptions and failures, in any order."""

    ledger_type: type[Ledger] = Ledger

    def __init__(self) -> None:
        super().__init__()
        self.ledger = self.ledger_type()
        self.contexts: dict[str, Context] = {}
        self.count = self.sample = 0
        self.turn = -1
        self.waiting: list[Thing] = []
        self.out: list[Thing] = []
        self.out_alone: dict[int, list[Thing]] = {}  # by turn that goes on by voice

    # -- what may happen ---------------------------------------------------------------------

    @rule(keep=st.booleans(), announced=st.booleans())
    @precondition(lambda self: len(self._all_unfinished) < 3)
    def open(self, keep: bool, announced: bool) -> None:
        self.turn += 1
        name = f"c{self.turn}"
        self.contexts[name] = Context(self.turn, keep)
        item = self._thing(0, keep) if announced else None
        self.ledger.open(name, keep=keep, now=0.0, item=item)

    @rule(which=WHICH, samples=st.integers(0, LONGEST))
    @precondition(lambda self: self._all_unfinished)
    def feed(self, which: int, samples: int) -> None:
        name = self._unfinished(which)
        context = self.contexts[name]
        if self.ledger.over(name) is Stage.CUT:
            return
        piece = Piece(name, context.samples, len(context.pieces))
        pcm = self._pcm(samples)
        context.pieces.append(piece)
        context.speech += pcm
        if self.ledger.over(name) is Stage.VOICED:
            utterance = self.ledger.voiced(name)
            assert utterance is not None, f"{name} was forgotten"
            self._say(self.ledger.say(utterance, pcm, item=piece))
            return
        utterance = self.ledger.find(name)
        assert utterance is not None, f"{name} was forgotten"
        self.ledger.feed(utterance, pcm, now=0.0, item=piece)

    @rule(which=WHICH, tail=st.integers(0, 40), announced=st.booleans())
    @precondition(lambda self: self._all_unfinished)
    def close(self, which: int, tail: int, announced: bool) -> None:
        name = self._unfinished(which)
        context = self.contexts[name]
        context.finished = True
        if self.ledger.over(name) is not None:
            self._say(self.ledger.forget(name))
            assert self.ledger.over(name) is None
            return
        utterance = self.ledger.find(name)
        assert utterance is not None, f"{name} was forgotten"
        pcm = self._pcm(tail) if context.pieces else b""
        context.speech += pcm
        item = self._thing(2, context.keep, turn=context.turn) if announced else None
        self.ledger.close(utterance, pcm, item=item)

    @rule(keep=st.booleans())
    def hold_behind(self, keep: bool) -> None:
        thing = self._thing(3, keep)
        if not self.ledger.hold(thing, keep=keep):
            assert not len(self.ledger), "there was something to wait for"
            self._leave([thing])

    @rule(which=WHICH, keep=st.booleans(), place=st.none() | st.floats(0, 1.2))
    @precondition(lambda self: self._all_unfinished)
    def hold_within(self, which: int, keep: bool, place: float | None) -> None:
        name = self._unfinished(which)
        if self.ledger.over(name) is not None:  # what a voiced one holds came before
            return
        position = None if place is None else int(place * self.contexts[name].samples)
        context, part = self.contexts[name], self.ledger.find(name)
        assert part is not None, f"{name} was forgotten"
        ahead = [t.position for t in self.waiting if (t.turn, t.phase) == (context.turn, 1)]
        at = max(part.base, context.samples if position is None else position, *ahead)
        thing = replace(self._thing(1, keep, turn=context.turn), position=at)
        self.waiting[-1] = thing
        if not self.ledger.hold(thing, keep=keep, context_id=name, position=position):
            self._leave([thing])

    @rule(part=st.floats(0, 1), back=st.booleans())
    @precondition(lambda self: len(self.ledger) > 0)
    def sound(self, part: float, back: bool) -> None:
        head = self._head
        if head.stage is Stage.WAITING:
            self._leave(self.ledger.start(head))
        slack = min(head.heard, 30) if back else 0  # the ear may find that it was too far ahead
        place = head.heard - slack + int(part * (head.samples - head.heard + slack))
        released = self.ledger.advance(head, place)
        context = self.contexts[str(head.context_id)]
        context.heard = head.base + place
        self._leave(released)

    @rule(which=WHICH, part=st.floats(0, 1))
    @precondition(lambda self: len(self.ledger) > 0)
    def split(self, which: int, part: float) -> None:
        line = list(self.ledger)
        utterance = line[which % len(line)]
        ahead = int(part * (utterance.samples - utterance.heard))
        self.ledger.split(utterance, utterance.heard + ahead)

    @rule()
    @precondition(lambda self: len(self.ledger) > 0 and self._head.closed)
    def finish(self) -> None:
        head = self._head
        if head.stage is Stage.WAITING:
            self._leave(self.ledger.start(head))
        context = self.contexts[str(head.context_id)]
        context.heard = head.base + head.samples
        self._leave(self.ledger.finish(head))

    @rule(sure=SELDOM)
    @precondition(lambda self: len(self.ledger) > 0 or self._voiced)
    def interrupt(self, sure: bool) -> None:
        if not sure:
            return
        owed = {utterance.context_id for utterance in self.ledger if not utterance.keep}
        cut = self.ledger.interrupt()
        assert owed == {utterance.context_id for utterance in cut.utterances}
        self.waiting = [thing for thing in self.waiting if thing.keep]
        self._leave(cut.released)
        for name in owed:
            context = self.contexts[str(name)]
            context.heard = context.samples  # nobody owes the rest any more

    @rule(sure=SELDOM)
    @precondition(lambda self: len(self.ledger) > 0)
    def fail(self, sure: bool) -> None:
        if sure:
            self.give_up()

    def give_up(self) -> None:
        owing = [u.context_id for u in self.ledger if u.heard < u.samples]
        for utterance in self.ledger:
            self.out_alone[self.contexts[str(utterance.context_id)].turn] = []
        said = self._say(self.ledger.give_up())
        assert not len(self.ledger)
        assert set(owing) <= set(said), "speech that was owed is not said"
        turns = [self.contexts[name].turn for name in said]
        assert turns == sorted(turns), "one context speaks in the middle of another"

    # -- the laws ----------------------------------------------------------------------------

    @invariant()
    def one_voice(self) -> None:
        """At most one utterance sounds, and it is the first in the line."""
        sounding = [u for u in self.ledger if u.stage is Stage.SOUNDING]
        assert sounding in ([], [self.ledger.head])

    @invariant()
    def nothing_is_said_twice_or_not_at_all(self) -> None:
        """What was heard, what the voice said and what is owed are exactly the speech."""
        owed: dict[str, list[tuple[int, int]]] = {}
        for utterance in self.ledger:
            stretch = (utterance.base + utterance.heard, utterance.base + utterance.samples)
            owed.setdefault(str(utterance.context_id), []).append(stretch)
        for name, context in self.contexts.items():
            parts = [(0, context.heard), *context.spoken, *owed.get(name, [])]
            assert _joined(parts) == [(0, context.samples)], (name, parts, context.samples)

    @invariant()
    def the_speech_is_that_of_the_tts(self) -> None:
        """Divided or not, what is kept of an utterance is its own samples, in their place."""
        for utterance in self.ledger:
            speech = self.contexts[str(utterance.context_id)].speech
            first, last = 2 * utterance.base, 2 * (utterance.base + utterance.samples)
            assert bytes(utterance.pcm) == speech[first:last]

    @invariant()
    def what_the_sound_has_reached_has_left(self) -> None:
        """Nothing waits longer than for its place in the speech that sounds."""
        head = self.ledger.head
        if head is not None and head.stage is Stage.SOUNDING:
            context = self.contexts[str(head.context_id)]
            reached = [t for t in self.waiting if (t.turn, t.phase) == (context.turn, 1)]
            end = head.base + head.samples if head.divided else None
            late = [t for t in reached if t.position <= context.heard and t.position != end]
            assert not late

    @invariant()
    def everything_waits_or_has_left(self) -> None:
        """What waits is in the ledger, and nothing else is."""
        held = [
            entry.item
            for utterance in self.ledger
            for entry in (*utterance.opening, *utterance.within, *utterance.behind)
        ]
        held += [entry.item for utterance in self._voiced for entry in utterance.within]
        assert sorted(held, key=_place) == sorted(self.waiting, key=_place)

    def teardown(self) -> None:
        self.give_up()
        for name in self._all_unfinished:
            self._say(self.ledger.forget(name))
        assert not self.waiting, "never released"

    # -- how they are told -------------------------------------------------------------------

    @property
    def _head(self) -> Utterance:
        head = self.ledger.head
        assert head is not None
        return head

    @property
    def _voiced(self) -> list[Utterance]:
        """What goes on by voice, and still holds what belongs to speech that has not come."""
        voiced = [self.ledger.voiced(name) for name in self.contexts]
        return [utterance for utterance in voiced if utterance is not None]

    def _say(self, items: list[Any]) -> dict[str, list[tuple[int, int]]]:
        """Speech goes on by voice, with things in their places; return whose, and which of it."""
        said: dict[str, list[tuple[int, int]]] = {}
        for item in items:
            if isinstance(item, Thing):
                self._leave([item])
                so_far = said.get(f"c{item.turn}", []) if item.phase == 1 else []
                behind = [start for start, end in so_far if end > start >= item.position]
                assert not behind, f"{item} came behind the sound it belongs ahead of"
                continue
            piece, start, end = self._stretch(item)
            assert piece.context in self.contexts
            said.setdefault(piece.context, []).append((start, end))
        for name, stretches in said.items():
            self.contexts[name].spoken += stretches
        return said

    def _leave(self, things: list[Any]) -> None:
        """Things leave: once, in the order of their places, none ahead of its sound."""
        for thing in things:
            assert isinstance(thing, Thing), f"speech left unasked: {thing}"
            assert thing in self.waiting, f"{thing} was cut, or has left before"
            self.waiting.remove(thing)
            # What goes on by voice goes on by itself: nothing else waits for it.
            alone = thing.phase == 1 and thing.turn in self.out_alone
            line = self.out_alone[thing.turn] if alone else self.out
            if line:
                assert line[-1].place < thing.place, f"{thing} was overtaken"
            line.append(thing)
            name = f"c{thing.turn}"
            if thing.phase == 1 and any(u.context_id == name for u in self.ledger):
                heard = self.contexts[name].heard
                assert thing.position <= heard, f"{thing} was ahead of its sound"

    def _thing(self, phase: int, keep: bool, turn: int | None = None) -> Thing:
        self.count += 1
        thing = Thing(self.turn if turn is None else turn, phase, self.count, keep)
        self.waiting.append(thing)
        return thing

    @property
    def _all_unfinished(self) -> list[str]:
        return [name for name, context in self.contexts.items() if not context.finished]

    def _unfinished(self, which: int) -> str:
        names = self._all_unfinished
        return names[which % len(names)]

    def _pcm(self, samples: int) -> bytes:
        first, self.sample = self.sample, self.sample + samples
        return b"".join((n % 65_536).to_bytes(2, "little") for n in range(first, self.sample))

    def _stretch(self, item: Any) -> tuple[Piece, int, int]:
        """Which samples of its context an item of speech is."""
        whole = item.item if isinstance(item, Excerpt) else item
        assert isinstance(whole, Piece)
        end = self.contexts[whole.context].end_of(whole)
        if not isinstance(item, Excerpt):
            return whole, whole.start, end
        until = end if item.end is None else whole.start + round(item.end * 16_000)
        return whole, whole.start + round(item.start * 16_000), until


def _place(thing: Thing) -> tuple[int, int, int]:
    return thing.place


def _joined(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Stretches joined where one begins just where the one before it ends."""
    joined = [(0, 0)]
    for start, end in stretches:
        if start == end:
            continue
        if start == joined[-1][1]:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return joined


TestLedgerLaws = LedgerLaws.TestCase
TestLedgerLaws.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# -- breaks, each of which a law forbids -----------------------------------------------------------


class ForgetsWhatWaitsBehind(Ledger):
    def finish(self, utterance: Utterance) -> list[Any]:
        utterance.behind = deque(list(utterance.behind)[:1])
        return super().finish(utterance)


class DropsWhatMayNotBeInterrupted(Ledger):
    def interrupt(self) -> Cut:
        return replace(super().interrupt(), released=[])


class LetsInterruptedItemsLive(Ledger):
    def interrupt(self) -> Cut:
        waiting = [held.item for u in self if not u.keep for held in u.behind]
        cut = super().interrupt()
        return replace(cut, released=[*cut.released, *[i for i in waiting if not i.keep]])


class CutsWhatMayNotBeInterrupted(Ledger):
    def interrupt(self) -> Cut:
        for utterance in self:
            utterance.keep = False
        return super().interrupt()


class RunsAheadOfTheSound(Ledger):
    def advance(self, utterance: Utterance, heard: int) -> list[Any]:
        released = super().advance(utterance, heard + 100)
        utterance.heard = heard
        return released


class LetsTheLateOvertake(Ledger):
    def hold(self, item: Any, **options: Any) -> bool:
        held = super().hold(item, **options)
        own = self.find(options.get("context_id"))
        if held and own is not None and own.within:
            own.within = deque(sorted(own.within, key=lambda entry: -entry.position))
        return held


class RepeatsWhatWasHeard(Ledger):
    def give_up(self) -> list[Any]:
        return [i.item if isinstance(i, Excerpt) else i for i in super().give_up()]


class SaysOnlyWholePieces(Ledger):
    def give_up(self) -> list[Any]:
        return [item for item in super().give_up() if not isinstance(item, Excerpt)]


class LosesThePieceThatIsDivided(Ledger):
    def split(self, utterance: Utterance, at: int) -> Utterance:
        rest = super().split(utterance, at)
        rest.voice = [held for held in rest.voice if held.position >= 0]
        return rest


class KeepsWordsToTheEnd(Ledger):
    def advance(self, utterance: Utterance, heard: int) -> list[Any]:
        utterance.heard = heard
        return []


class OpensBothParts(Ledger):
    def split(self, utterance: Utterance, at: int) -> Utterance:
        rest = super().split(utterance, at)
        rest.opening = list(utterance.opening)
        return rest


class LeavesWordsWithTheFirstPart(Ledger):
    def split(self, utterance: Utterance, at: int) -> Utterance:
        words = list(utterance.within)
        rest = super().split(utterance, at)
        rest.within, utterance.within = deque(), deque(words)
        return rest


class LetsTwoSound(Ledger):
    def split(self, utterance: Utterance, at: int) -> Utterance:
        rest = super().split(utterance, at)
        rest.stage = utterance.stage
        return rest


class ForgetsAContextThatWasGivenUp(Ledger):
    def give_up(self) -> list[Any]:
        items = super().give_up()
        self._over.clear()
        return items


class ClosesAheadOfWhatCame(Ledger):
    def close(self, utterance: Utterance, pcm: bytes = b"", *, item: Any | None = None) -> None:
        super().close(utterance, pcm)
        if item is not None:
            utterance.within.appendleft(Held(item, utterance.keep))


@pytest.mark.parametrize(
    "broken",
    [
        ForgetsWhatWaitsBehind,
        DropsWhatMayNotBeInterrupted,
        LetsInterruptedItemsLive,
        CutsWhatMayNotBeInterrupted,
        RunsAheadOfTheSound,
        LetsTheLateOvertake,
        RepeatsWhatWasHeard,
        SaysOnlyWholePieces,
        LosesThePieceThatIsDivided,
        KeepsWordsToTheEnd,
        OpensBothParts,
        LeavesWordsWithTheFirstPart,
        LetsTwoSound,
        ForgetsAContextThatWasGivenUp,
        ClosesAheadOfWhatCame,
    ],
)
def test_a_broken_ledger_is_noticed(broken: type[Ledger]) -> None:
    """The laws can be broken, and every break is seen."""
    laws = type("Laws", (LedgerLaws,), {"ledger_type": broken})
    search = settings(
        max_examples=1000,  # the first few dozen will do
        stateful_step_count=30,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    with pytest.raises(AssertionError):
        run_state_machine_as_test(laws, settings=search)
