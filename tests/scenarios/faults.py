"""Everything that can go wrong, at every moment of a call, and what was noticed and heard of it."""

import asyncio
import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from pipecat.frames.frames import ErrorFrame, TTSStoppedFrame

from pipecat_runway import RunwayVideoService
from pipecat_runway.simulator import Faults, RunwaySimulator, SimulatedSession, Voice
from pipecat_runway.simulator.switchboard import LIVE, read_switch
from tests.kit.content import compare_content
from tests.kit.marks import Mark, Recording, marked_speech, numbers, stretches
from tests.kit.pipeline import UP, Run, bracket_faults, running, tts_utterance
from tests.kit.voices import read_altered
from tests.kit.waiting import until

RATE = 24_000
HIT, AFTER = 32, 8  # marks of 100 ms: of the utterance that is hit, and of those that follow
TURN = 18  # of those that are said while one session follows another
AT_WORD = 1.05  # s of speech, in the middle of a mark
NOTICE = 2.5  # s in which an idle face's failure may be noticed
READY = 8.0  # s an avatar is waited for
LIMIT = 10  # s of a session that another one follows
HAND_OVER = 20.0  # s after which it is not waited for any more
SOON = 0.5  # s from the notice to the next sound
TWICE = 2  # marks that may be heard twice: 200 ms
ENDED = 4.0  # s a session has to end once the pipeline has

PLACE = Faults(width=160, height=90, fps=12.0, obey_empty_room=False)


class Moment(Enum):
    """When it goes wrong."""

    BEFORE = "before ready"
    IDLE = "idle"
    MID_WORD = "mid-word"
    HAND_OVER = "during a hand-over"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What goes wrong.

    Attributes:
        name: What the table calls it.
        switches: What is thrown, see :mod:`pipecat_runway.simulator.switchboard`.
        options: Of the service.
        errors: The types of error that may be reported of it, one of them; "" for none.
        senseless: The moments at which it cannot happen, and why.
    """

    name: str
    switches: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    errors: frozenset[str] = frozenset({""})
    senseless: Mapping[Moment, str] = field(default_factory=dict)

    @property
    def is_the_faces(self) -> bool:
        """Whether it befalls a session that exists, not a request or the simulator."""
        named = [read_switch(text) for text in self.switches]
        return any(s.action is not None or s.name in LIVE for s in named)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of it.

    Attributes:
        cause: What went wrong.
        moment: When.
        noticed: Seconds from then, or from when speech was owed, until it was told or the face was
            gone. None: it was not.
        lost: Marks that nobody heard.
        twice: Marks that were heard twice.
        wrong: Marks out of order or foreign.
        silence: The longest silence in an utterance, in s.
        soon: Seconds from the notice to the next sound that was due.
        errors: The types of the errors reported.
        falls: How often a face was gone.
        brackets: What was wrong with the frames around the speech.
        left: Sessions open at the end.
        trouble: What kept it from being played to its end.
    """

    cause: str
    moment: str
    noticed: float | None = None
    lost: int = 0
    twice: int = 0
    wrong: int = 0
    silence: float = 0.0
    soon: float | None = None
    errors: tuple[str, ...] = ()
    falls: int = 0
    brackets: tuple[str, ...] = ()
    left: int = 0
    trouble: str = ""

    def complaints(self, allowed: frozenset[str]) -> list[str]:
        """What is not as it should be."""
        found = [self.trouble] if self.trouble else []
        if self.lost or self.wrong:
            found.append(f"{self.lost} marks lost, {self.wrong} out of place")
        if self.twice > TWICE:
            found.append(f"{self.twice} marks heard twice")
        if self.soon is not None and self.soon > SOON:
            found.append(f"{self.soon:.1f} s without sound after the notice")
        # In a hand-over the next face is there already: nobody has to be told.
        silent = not self.errors and self.moment == Moment.HAND_OVER.value
        too_many = len(self.errors) > max(1, self.falls)  # a cause that lasts fells the next, too
        if not silent and (too_many or not set(self.errors or ("",)) <= allowed):
            found.append(f"errors {', '.join(self.errors) or 'none'}")
        if self.brackets:
            found.append("; ".join(self.brackets))
        if self.left:
            found.append(f"{self.left} sessions left open")
        return found


async def play(
    runway: RunwaySimulator,
    service: RunwayVideoService,
    cause: Cause,
    moment: Moment,
    *,
    voice: Voice = Voice.PLAIN,
) -> Cell:
    """Let something go wrong once.

    Args:
        runway: The local Runway. Its knobs are set.
        service: The service, not running yet, with what :func:`options_for` says.
        cause: What goes wrong.
        moment: When.
        voice: How the avatars' voices differ from what they are given.
    """
    runway.faults = replace(PLACE, voice=voice)
    before = len(runway.sessions)
    scene = _Scene(runway, service, cause, before)
    try:
        async with asyncio.timeout(90), running(service) as run:
            scene.run = run
            await {
                Moment.BEFORE: scene.before,
                Moment.IDLE: scene.idle,
                Moment.MID_WORD: scene.mid_word,
                Moment.HAND_OVER: scene.hand_over,
            }[moment]()
            await run.end(timeout=40)
    except Exception as e:
        scene.trouble = f"{type(e).__name__}: {e}"[:200]
    left = await _still_open(runway, before)
    return scene.cell(moment, voice, left)


def options_for(cause: Cause, moment: Moment) -> dict[str, Any]:
    """The arguments of the service for a cell."""
    limit = {"max_duration": LIMIT} if moment is Moment.HAND_OVER else {}
    return {"ready_timeout": READY, "picture_timeout": 0.5, **limit, **cause.options}


async def _still_open(runway: RunwaySimulator, before: int) -> int:
    """How many sessions were left open; they are ended now."""
    sessions = runway.sessions[before:]
    with suppress(TimeoutError):
        async with asyncio.timeout(ENDED):
            for session in sessions:
                await session.ended.wait()
    left = [session for session in sessions if session.is_open]
    for session in left:
        runway.cancel(session)
    with suppress(TimeoutError):
        await runway.wait_ended(5.0)
    return len(left)


class _Scene:
    """One call in which something goes wrong."""

    run: Run

    def __init__(
        self, runway: RunwaySimulator, service: RunwayVideoService, cause: Cause, before: int
    ) -> None:
        self.trouble = ""
        self._runway, self._cause, self._before = runway, cause, before
        self._thrown_at: float | None = None
        self._owed_from: float | None = None  # from when on sound was due
        self._gone: list[float] = []
        self._renewed = asyncio.Event()
        self._connected = asyncio.Event()
        self._spoken: list[tuple[str, int, int]] = []
        self._mark = 0

        @service.event_handler("on_avatar_disconnected")
        async def on_avatar_disconnected(_service: object, _id: str, reason: str) -> None:
            if reason != "ended":
                self._gone.append(time.monotonic())

        @service.event_handler("on_avatar_renewing")
        async def on_avatar_renewing(_service: object, _id: str) -> None:
            if not cause.is_the_faces:  # what was thrown before happens now
                self._thrown_at = time.monotonic()

        @service.event_handler("on_avatar_renewed")
        async def on_avatar_renewed(_service: object, _id: str) -> None:
            self._renewed.set()

        @service.event_handler("on_avatar_connected")
        async def on_avatar_connected(_service: object, _id: str) -> None:
            self._connected.set()

    # -- the moments ------------------------------------------------------------------------------

    async def before(self) -> None:
        """It goes wrong while the face is awaited; what is said meanwhile waits."""
        actions = [t for t in self._cause.switches if read_switch(t).action is not None]
        for text in self._cause.switches:
            if text not in actions:
                await self._runway.fault(text)
        self._thrown_at = time.monotonic()
        await self.run.started()
        saying = asyncio.create_task(self._say(HIT // 2))
        if actions:
            session = await self._session(0)
            await session.wait_for("joined", 20)
            await self._throw(actions, session)
        await saying
        await self._say(AFTER)

    async def idle(self) -> None:
        """It goes wrong while nobody speaks."""
        await self._ready()
        await self._throw(self._cause.switches, await self._session(0))
        with suppress(TimeoutError):
            await until(lambda: self._noticed() is not None, NOTICE)
        self._owed_from = time.monotonic()
        await self._say(HIT // 2)
        await self._say(AFTER)

    async def mid_word(self) -> None:
        """It goes wrong in the middle of a word."""
        await self._ready()
        session = await self._session(0)
        by_hand = []
        for text in self._cause.switches:
            if text.startswith("restart_livekit"):
                by_hand.append(text)
            else:
                await self._runway.fault(f"{text}@speech:{AT_WORD}", self._own(text, session))
        self._thrown_at = time.monotonic()
        saying = asyncio.create_task(self._say(HIT))
        if by_hand:
            await session.wait_until(
                lambda e: e.kind == "playing" and e.data["sample"] > AT_WORD * 16_000, 20
            )
            await self._throw(by_hand, session)
        elif self._cause.switches:
            names = [read_switch(text).name for text in self._cause.switches]
            event = await session.wait_until(
                lambda e: (e.kind == "fault" and e.data["name"] in names) or e.kind == "due", 20
            )
            self._thrown_at = event.at
        await saying
        await self._say(AFTER)

    async def hand_over(self) -> None:
        """It goes wrong while one session follows another and the first one speaks."""
        await self._ready()
        old = await self._session(0)
        if not self._cause.is_the_faces:
            await self._throw(self._cause.switches, old)
        until = time.monotonic() + HAND_OVER
        throwing = asyncio.create_task(self._throw_between(old))
        try:
            while time.monotonic() < until and not self._renewed.is_set():
                await self._say(TURN)
                if self._noticed() is not None and self._connected.is_set():
                    break
        finally:
            throwing.cancel()
            await asyncio.gather(throwing, return_exceptions=True)
        await self._say(AFTER)

    async def _throw_between(self, old: SimulatedSession) -> None:
        if self._cause.is_the_faces:
            new = await self._session(1)
            await new.wait_for("joined", 20)
            self._connected.clear()
            await self._throw(self._cause.switches, old)

    # -- what the moments need --------------------------------------------------------------------

    async def _ready(self) -> None:
        await self.run.started()
        await self.run.tape.wait_for_pictures(1, timeout=20)
        with suppress(TimeoutError):
            await (await self._session(0)).wait_for("agent_seen", 5)

    async def _session(self, index: int) -> SimulatedSession:
        await until(lambda: len(self._runway.sessions) > self._before + index, 30)
        return self._runway.sessions[self._before + index]

    def _own(self, text: str, session: SimulatedSession) -> SimulatedSession | None:
        switch = read_switch(text)
        own = switch.action is not None or switch.name in LIVE
        return session if own and not text.startswith("restart_livekit") else None

    async def _throw(self, switches: Sequence[str], session: SimulatedSession) -> None:
        self._thrown_at = time.monotonic()
        for text in switches:
            await self._runway.fault(text, self._own(text, session))

    async def _say(self, pieces: int) -> None:
        first, context = self._mark, f"u{len(self._spoken)}"
        self._mark += pieces
        self._spoken.append((context, first, pieces))
        await self.run.feed(tts_utterance(marked_speech(first, pieces, RATE), RATE, 1, context))
        await self.run.tape.wait_for(TTSStoppedFrame, timeout=30, count=len(self._spoken))
        # The voice comes as fast as the TTS makes it; whoever plays it takes its time.
        began = self.run.tape.audio(context)[0][0]
        await asyncio.sleep(began + pieces / 10 - time.monotonic())

    # -- what came of it --------------------------------------------------------------------------

    def _noticed(self) -> float | None:
        """When it was first told, or seen to be gone."""
        if self._thrown_at is None:
            return None
        told = [t.at for t in self.run.head.of(ErrorFrame, direction=UP)]
        return min((at for at in (*told, *self._gone) if at >= self._thrown_at), default=None)

    def _could_be_noticed(self, noticed: float) -> float:
        """From when on: an idle face's death shows once it owes speech."""
        owed, thrown = self._owed_from, self._thrown_at or 0.0
        return owed if owed is not None and noticed >= owed else thrown

    def cell(self, moment: Moment, voice: Voice, left: int) -> Cell:
        lost = twice = wrong = 0
        silence, sounds = 0.0, []
        for context, first, pieces in self._spoken:
            among = range(first - 50, first + pieces + 50)
            marks = _marks(self.run.tape.speech_pcm(context), among, voice)
            verdict = compare_content(numbers(first, pieces), marks)
            lost += len(verdict.lost)
            twice += len(verdict.doubled)
            wrong += len(verdict.foreign) + len(verdict.out_of_order)
            recording = self.run.tape.timeline_pcm(context)
            audible = stretches(recording.pcm, recording.rate)
            pairs = itertools.pairwise(audible)
            silence = max([silence, *(b[0] - a[1] for a, b in pairs)])
            sounds += [(recording.started + a, recording.started + b) for a, b in audible]
        noticed = self._noticed()
        return Cell(
            cause=self._cause.name,
            moment=moment.value,
            noticed=None if noticed is None else noticed - self._could_be_noticed(noticed),
            lost=lost,
            twice=twice,
            wrong=wrong,
            silence=silence,
            soon=self._soon(noticed, sounds),
            errors=tuple(type(error.exception).__name__ for error in self.run.errors),
            falls=len(self._gone),
            brackets=tuple(bracket_faults(self.run.tape)),
            left=left,
            trouble=self.trouble,
        )

    def _soon(self, noticed: float | None, sounds: list[tuple[float, float]]) -> float | None:
        """From the notice, or from when sound was due, to the next sound."""
        if noticed is None:
            return None
        due = max(noticed, self._owed_from or 0.0)
        after = [max(0.0, begin - due) for begin, end in sounds if end > due]
        return min(after, default=None)


def _marks(recording: Recording, among: range, voice: Voice) -> list[Mark]:
    """What was heard: by the TTS's own voice, or by an avatar's."""
    marks = recording.marks(among=among)
    if voice is not Voice.PLAIN:
        marks += read_altered(recording.pcm, recording.rate, voice.value, among)
    return sorted(marks, key=lambda mark: mark.start_s)
