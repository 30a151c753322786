"""The ear: which utterance is sounding, how far it has got, and what is old speech.

The laws:

* The sound itself is the first witness. What comes back is what was sent, after Opus, so a
  short window of it is looked up in the speech that was sent. The avatar's reports come second
  and the clock third; neither is needed while the sound can be matched.
* After an interruption nothing is passed on until a window has been recognised as new speech.
* Nobody waits for ever: every doubt has a bound.

Nothing here does IO or knows the time: sound and `now` come in, :class:`Started`, :class:`Sound`,
:class:`Finished` and :class:`StillSpeaking` go out.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pipecat_runway.matching import (
    NO_MATCH,
    Match,
    Samples,
    find,
    is_voiced,
    level,
    loudness,
    resampled,
    samples,
    voiced_start,
)
from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.wire import SAMPLE_WIDTH, SPEECH_RATE

MS = SPEECH_RATE // 1000  # samples in a millisecond

MEMORY = 1000 * MS  # how much returned sound is kept while it is not known whose it is
PRE_ROLL = 10 * MS  # passed on ahead of the first loud piece, for soft beginnings
SILENCE_BEFORE = 20 * MS  # new speech is looked up together with so much before its beginning
QUIET_LEVEL = 40.0  # RMS in 16-bit steps: what is softer is silence (-58 dBFS)
NOISE_FACTOR = 4.0  # …or softer than this many times the idle noise…
NOISE_BLOCK = 10 * MS  # …whose level is taken so often…
NOISE_SHARE = 0.02  # …and counts for so much each time

FOLLOW_WINDOW = 50 * MS  # compared while an utterance sounds
FOLLOW_EVERY = 80 * MS
NEAR_REACH, NEAR_SCORE = 10 * MS, 0.9  # off the expected place it is looked for first…
FOLLOW_REACH, FOLLOW_SCORE = 250 * MS, 0.6  # …and then, if it is not there
LAST_WORD = 60 * MS  # before the end, where the count may be behind by a jitter buffer's doing…
LAST_WORD_STALL = 0.08  # …so that less silence, in s, means that it is over
REPORT_REACH = 500 * MS
STALL_BOUND = 0.7  # s of silence where speech was due before the rest counts as lost
REPORTED_STALL = 0.5  # s of the same once the avatar has reported the end
UNSURE = 180 * MS  # as much of a count may be a network's concealment of a loss…
CONCEALED = 500 * MS  # …or as much, where sound that was recognised is not any more
OVERRUN_BOUND = 1.0  # s of sound past the end, where the end is only counted
MATCHED_OVERRUN = 0.2  # s, where the sound was matched shortly before: as much may be stretched

# After an interruption: window length, the score needed, and the lead needed over old speech.
# Longer windows are surer (measured: the right sentence in 120 of 120 windows of 40 ms).
EVIDENCE = (
    (20 * MS, 0.92, 0.35),
    (30 * MS, 0.85, 0.25),
    (40 * MS, 0.75, 0.2),
    (80 * MS, 0.65, 0.2),
)
BEGINNING_SCORE = 0.6  # for all that has come of it, from its first sound on
TIE_SCORE = 0.85  # enough, once the avatar has confirmed, for what is like old speech as well
TIE_WINDOW = 80 * MS
ON_TIME = 60 * MS  # a network moves sound about by so much
OLD_SCORE = 0.7
BEHIND = 500 * MS  # of old speech that is kept although it was heard: the count may be off
NEW_REACH = 600 * MS  # of new speech from its first sound on
DOUBT_BOUND = 0.6  # s of sound that matches nothing
STALE_BOUND = 2.0  # s after which old speech is not expected any more
TAIL = 300 * MS  # of a finished utterance: its codec's echo is not the next one's beginning
TAIL_BOUND = 0.1  # s
IGNORED_BOUND = 2.0  # s of old speech after the interruption: the avatar does not obey


@dataclass(frozen=True)
class Started:
    """The first sound of an utterance has come back."""

    utterance: Utterance


@dataclass(frozen=True)
class Sound:
    """A piece of an utterance has come back.

    Attributes:
        utterance: Which.
        pcm: s16le mono at the rate of the returned sound.
        heard: How much of the utterance has been heard by the end of the piece, in samples.
    """

    utterance: Utterance
    pcm: bytes
    heard: int


@dataclass(frozen=True)
class Finished:
    """The last sound of an utterance has come back.

    Attributes:
        utterance: Which.
        lost: Samples at its end that never came.
    """

    utterance: Utterance
    lost: int


@dataclass(frozen=True)
class StillSpeaking:
    """The avatar goes on with interrupted speech."""


Effect = Started | Sound | Finished | StillSpeaking


@dataclass
class _Stale:
    """Interrupted speech that may still come back."""

    sound: Samples
    cut: int  # where it had got…
    since: float  # …when it was cut
    until: float
    bound: float = STALE_BOUND
    cleared: bool = False
    reported: bool = False
    recognised: deque[tuple[float, int]] = field(init=False)  # when, and which place; first the cut

    def __post_init__(self) -> None:
        self.recognised = deque([(self.since, self.cut)], MEMORY // (5 * MS))

    @property
    def position(self) -> int:
        """The place that was recognised last, or where it was cut."""
        return self.recognised[-1][1]

    def due(self, now: float) -> int:
        """Return where it is by now if it has gone on from the last known place in its own time."""
        return _gone_on(self.recognised[-1], now)

    def unhindered(self, now: float) -> int:
        """Return where it is by now if nothing has held it up since it was cut."""
        return _gone_on((self.since, self.cut), now)

    def goes_on(self, place: int, now: float, before: float) -> bool:
        """Whether it is where it would be in its own time, by a place known before some time."""
        known = [each for each in self.recognised if each[0] <= before] or [self.recognised[0]]
        return any(abs(place - _gone_on(each, now)) <= ON_TIME for each in known)


def _gone_on(known: tuple[float, int], now: float) -> int:
    """Return where speech is by now that was at a place at some time, in its own time."""
    at, place = known
    return place + round((now - at) * SPEECH_RATE)


def _kept(cut: Utterance) -> tuple[Samples, int]:
    """Return what may still come back of an utterance that was cut, and where it was cut."""
    sound = samples(cut.speech(cut.heard - BEHIND, cut.sent))
    if cut.heard > BEHIND:
        return sound, BEHIND
    # Its beginning is looked up together with the silence before it, as that of new speech is.
    return np.pad(sound, (SILENCE_BEFORE, 0)), SILENCE_BEFORE + cut.heard


class Hearing:
    """Names the utterance behind every piece of returned sound.

    Args:
        ledger: What was sent. The ear reads it; applying its effects is the caller's.
        rate: Rate of the returned sound in Hz.

    Attributes:
        old_heard_at: When interrupted speech was last recognised, in s.
        voiced_at: When an utterance's sound last came back that was not silence, in s.
    """

    def __init__(self, ledger: Ledger, rate: int) -> None:
        self._ledger = ledger
        self._rate = rate
        self._memory = bytearray()  # the latest returned sound, as it came
        self._returned = 0  # how much has come so far, in samples at its own rate
        self._noise = 0.0
        self._stale: _Stale | None = None
        self._matches = False  # whether this avatar's sound has ever been matched
        self._doubt = 0.0  # s of sound that matched nothing
        self._unchecked = 0  # samples since the place was last looked up
        self._unpassed = 0  # samples in memory that were not passed on
        self._candidate: Utterance | None = None  # sent, not heard yet
        self._offered = 0  # samples of returned sound since it was sent
        self._stalled = 0.0
        self._overrun = 0.0
        self._reported_end = False
        self._sure = 0  # of the utterance that sounds, heard beyond doubt…
        self._recognised = False  # …whether that was looked up…
        self._unrecognised = 0  # …and how much sound has come since
        self.old_heard_at = self.voiced_at = 0.0

    @property
    def threshold(self) -> float:
        """RMS level above which sound is not silence."""
        return max(QUIET_LEVEL, NOISE_FACTOR * self._noise)

    @property
    def is_wary(self) -> bool:
        """Whether interrupted speech may still come back."""
        return self._stale is not None and self._stale.bound > TAIL_BOUND

    def lead(self, utterance: Utterance) -> int:
        """Return how many samples of silence the speech that was sent begins with."""
        for start in range(0, utterance.sent, SPEECH_RATE):  # a burst may be a minute long
            second = samples(utterance.speech(start, min(start + SPEECH_RATE, utterance.sent)))
            if (voiced := voiced_start(second, self.threshold)) < len(second):
                return start + voiced
        return utterance.sent

    def sure(self, utterance: Utterance) -> int:
        """Return how far an utterance that sounds has been heard beyond doubt, in samples.

        What comes after the last recognised place may be a network's concealment of a loss.
        """
        sure = max(self._sure, utterance.heard - UNSURE)
        if self._recognised and self._unrecognised <= CONCEALED:
            sure = self._sure
        return min(utterance.heard, sure)

    # -- what else is known -------------------------------------------------------------------

    def interrupted(self, cut: Iterable[Utterance], now: float) -> None:
        """Note that these utterances were cut: what was sent of them may still come back."""
        pieces = [_kept(u) for u in cut if u.sent]
        if not pieces:
            return
        if self._stale is not None:
            place = self._stale.position
            pieces.insert(0, (self._stale.sound[max(0, place - BEHIND) :], min(BEHIND, place)))
        sound = np.concatenate([piece for piece, _ in pieces])
        until = now + len(sound) / SPEECH_RATE + STALE_BOUND
        self._stale = _Stale(sound, pieces[0][1], now, until)
        self._doubt = 0.0

    def cleared(self, now: float) -> None:
        """Note that the avatar has confirmed the interruption."""
        if self._stale is not None:
            self._stale.cleared = True
            self._stale.until = min(self._stale.until, now + self._stale.bound)

    def repeated(self, utterance: Utterance, now: float) -> None:
        """Note that an utterance is sent again; its first copy may come back too."""
        self.interrupted([utterance], now)

    def end_reported(self) -> None:
        """Note that the avatar has reported the end of its playback.

        It is believed only near the end: LiveKit's own runner also reports the end of speech that
        was interrupted while new speech is already sounding.
        """
        head = self._ledger.head
        if head is not None and head.stage is Stage.SOUNDING and head.closed and not head.unsent:
            self._reported_end = head.samples - head.heard < REPORT_REACH

    # -- the sound ----------------------------------------------------------------------------

    def feed(self, pcm: bytes, now: float) -> list[Effect]:
        """Take a piece of returned sound.

        Args:
            pcm: s16le mono at the rate given at construction.
            now: The time in s.

        Returns:
            What it means, in order.
        """
        length, volume = self._remember(pcm), loudness(pcm)
        self._unpassed += length
        loud = volume > self.threshold
        if self._stale is not None and now > self._stale.until:
            self._stale = None
        head = self._ledger.head
        if head is not None and head.stage is Stage.SOUNDING:
            return self._follow(head, pcm, length, loud, now)
        if head is not None and head.sent:
            if head is not self._candidate:
                self._candidate, self._offered = head, 0
            self._offered += length
            if self._stale is None:
                return self._onset(head, length, now) if loud else []
            return self._sort(head, loud, length, now)
        if self._stale is not None:
            return self._watch(loud, length, now)
        if not loud:
            self._note_noise(pcm)
        return []

    def _note_noise(self, pcm: bytes) -> None:
        """Learn how loud silence is, by the block: a knock in it is none."""
        size = self._bytes(NOISE_BLOCK)
        for start in range(0, len(pcm), size):
            volume = loudness(pcm[start : start + size])
            if volume <= self.threshold:
                self._noise += NOISE_SHARE * (volume - self._noise)

    def _remember(self, pcm: bytes) -> int:
        """Keep a piece, and return how many samples at 16 kHz it makes."""
        self._memory += pcm
        del self._memory[: -self._bytes(MEMORY)]
        before = self._returned
        self._returned += len(pcm) // SAMPLE_WIDTH
        ended, began = (n * SPEECH_RATE // self._rate for n in (self._returned, before))
        return ended - began

    def _latest(self, length: int) -> Samples:
        """Return the latest returned sound at 16 kHz; less than asked for if there is no more."""
        return resampled(self._memory, self._rate, length)

    def _bytes(self, length: int) -> int:
        """Return how many raw bytes hold this many 16 kHz samples."""
        return round(length * self._rate / SPEECH_RATE) * SAMPLE_WIDTH

    # -- nothing is sounding ------------------------------------------------------------------

    def _onset(self, head: Utterance, length: int, now: float) -> list[Effect]:
        """Begin an utterance at sound that can only be its beginning."""
        start = self.lead(head)
        length += min(round(self._doubt * SPEECH_RATE), MEMORY - length - PRE_ROLL)
        return self._begin(head, min(start + length, head.sent), length + PRE_ROLL, now)

    def _begin(self, head: Utterance, heard: int, back: int, now: float) -> list[Effect]:
        """Begin an utterance with the latest `back` samples of returned sound."""
        self._stale = None
        self._doubt = self._stalled = self._overrun = 0.0
        self._reported_end = False
        self._unchecked = FOLLOW_EVERY - FOLLOW_WINDOW + back
        self._sure, self._recognised, self._unrecognised = heard, False, 0
        self.voiced_at = now
        raw = bytes(self._memory[-self._bytes(min(back, self._unpassed)) :])
        self._unpassed = 0
        return [Started(head), Sound(head, raw, heard)]

    def _sort(self, head: Utterance, loud: bool, length: int, now: float) -> list[Effect]:
        """Decide whether returned sound is old speech or the beginning of the new."""
        stale = self._stale
        assert stale is not None
        if not loud:
            return []
        lead = self.lead(head)
        start = lead - SILENCE_BEFORE
        # It begins with its beginning: no more of it can have come than there was time for.
        end = min(head.sent, lead + min(NEW_REACH, self._offered))
        beginning = np.pad(samples(head.speech(max(0, start), end)), (max(0, -start), 0))
        old = NO_MATCH
        for size, score, margin in EVIDENCE:
            window = self._loud_window(size)
            if window is None:
                break
            new = find(window, beginning)
            old = self._find_old(window, now)
            if new.score < score or self._likeness(beginning[: new.end]) < BEGINNING_SCORE:
                continue
            tie = stale.cleared and size >= TIE_WINDOW and new.score >= TIE_SCORE
            if tie and old.score >= OLD_SCORE:  # …unless that has gone on in its own time
                began = now - (new.end - SILENCE_BEFORE) / SPEECH_RATE
                tie = not stale.goes_on(old.end, now, before=began - ON_TIME / SPEECH_RATE)
            if tie or new.score >= old.score + margin:
                self._matches = True
                back = min(new.end - SILENCE_BEFORE + PRE_ROLL, MEMORY)
                return self._begin(head, start + new.end, back, now)
        if old.score >= OLD_SCORE:
            return self._heard_old(old, now)
        self._doubt += length / SPEECH_RATE
        trusted = stale.cleared or now > stale.until - stale.bound
        return self._onset(head, 0, now) if trusted and self._doubt > DOUBT_BOUND else []

    def _likeness(self, sound: Samples) -> float:
        """Return how much the latest returned sound is like this, as a whole."""
        return find(self._latest(len(sound)), sound).score

    def _watch(self, loud: bool, length: int, now: float) -> list[Effect]:
        """Keep an eye on old speech while nothing new is due."""
        window = self._loud_window(40 * MS) if loud else None
        old = self._find_old(window, now) if window is not None else NO_MATCH
        return self._heard_old(old, now) if old.score >= OLD_SCORE else []

    def _loud_window(self, size: int) -> Samples | None:
        window = self._latest(size)
        half = len(window) // 2
        both = level(window[:half]) > self.threshold and level(window[half:]) > self.threshold
        return window if len(window) == size and both else None

    def _find_old(self, window: Samples, now: float) -> Match:
        stale = self._stale
        assert stale is not None
        # It goes on where it was, in its own time or later. A vowel may have been taken for another
        # part of itself, so the place it would have without any delay is looked at as well.
        place, due, unhindered = stale.position, stale.due(now), stale.unhindered(now)
        start = max(0, min(place, max(unhindered, place - FOLLOW_REACH)) - FOLLOW_REACH)
        stop = max(due, min(unhindered, due + FOLLOW_REACH)) + FOLLOW_REACH
        near = find(window, stale.sound[start:stop])
        return Match(near.score, start + near.end)

    def _heard_old(self, old: Match, now: float) -> list[Effect]:
        stale = self._stale
        assert stale is not None
        self._matches = True
        self._doubt = 0.0
        self.old_heard_at = now
        stale.recognised.append((now, old.end))
        stale.until = max(stale.until, now + stale.bound)
        if stale.reported or now - stale.since < IGNORED_BOUND:
            return []
        stale.reported = True
        return [StillSpeaking()]

    # -- an utterance is sounding -------------------------------------------------------------

    def _follow(
        self, head: Utterance, pcm: bytes, length: int, loud: bool, now: float
    ) -> list[Effect]:
        self._unpassed = 0
        heard = self._expect(head, length, loud)
        if loud:
            self.voiced_at = now
            self._unrecognised += length
        self._unchecked += length
        complete = head.closed and not head.unsent
        # At the end too: a network that stretched the sound has made the count run ahead.
        if loud and (self._unchecked >= FOLLOW_EVERY or (complete and heard >= head.samples)):
            self._unchecked = 0
            heard = self._look_up(head, heard)
        if not complete or (heard < head.samples and not self._given_up(head, heard)):
            return [Sound(head, pcm, min(heard, head.sent))]
        bound = MATCHED_OVERRUN if self._matches else OVERRUN_BOUND
        following = next(
            (other for other in self._ledger if other is not head and other.sent), None
        )
        if loud and following is None and self._overrun < bound:
            # The place is counted since it was last looked up: some may still be on its way.
            self._overrun += length / SPEECH_RATE
            return [Sound(head, pcm, head.sent)]
        lost = max(0, head.samples - heard)
        lost = lost if lost >= LAST_WORD else 0
        spare = min(length, max(0, heard - head.samples))
        keep = len(pcm) - self._bytes(spare)
        self._unpassed = spare
        self._candidate, self._offered = following, spare
        self._doubt = 0.0
        tail = samples(head.speech(head.samples - TAIL, head.samples))
        self._stale = _Stale(
            tail, len(tail), now, until=now + TAIL_BOUND, bound=TAIL_BOUND, cleared=True
        )
        return [Sound(head, pcm[:keep], head.samples - lost), Finished(head, lost)]

    def _expect(self, head: Utterance, length: int, loud: bool) -> int:
        """Return where the sound should be by now, going by the count alone."""
        if loud:
            self._stalled = 0.0
            return head.heard + length
        complete = head.closed and not head.unsent
        if head.heard >= head.sent:
            return head.heard + length if complete else head.heard
        # Silence where speech is due means that the avatar has paused.
        due = samples(head.speech(head.heard - 20 * MS, head.heard + 40 * MS))
        if is_voiced(due, 2 * self.threshold):
            self._stalled += length / SPEECH_RATE
            return head.heard
        return head.heard + length

    def _given_up(self, head: Utterance, heard: int) -> bool:
        if head.samples - heard < LAST_WORD:
            return self._stalled > LAST_WORD_STALL
        return self._stalled > (REPORTED_STALL if self._reported_end else STALL_BOUND)

    def _look_up(self, head: Utterance, expected: int) -> int:
        """Return where the sound is, going by the sound."""
        window = self._loud_window(FOLLOW_WINDOW)
        if window is None:
            return expected
        for reach, score in ((NEAR_REACH, NEAR_SCORE), (FOLLOW_REACH, FOLLOW_SCORE)):
            start = max(0, expected - FOLLOW_WINDOW - reach)
            match = find(window, samples(head.speech(start, min(head.sent, expected + reach))))
            if match.score >= score:
                self._matches = True
                # Made-up sound that repeats a vowel is like a later place in it.
                self._sure, self._recognised = min(start + match.end, expected), True
                self._unrecognised = 0
                return start + match.end
        return expected
