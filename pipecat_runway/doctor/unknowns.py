"""What nobody has said of Runway's realtime sessions, and what one session shows of it. Pure.

The questions are those that docs/protocol.md leaves open, and the simulator has as knobs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from pipecat_runway.doctor.observed import Cleared, Observed, Spoken


class Outcome(Enum):
    """How a question fared."""

    SEEN = "seen"
    NOT_SEEN = "not seen"
    NOT_TRIED = "not tried"


@dataclass(frozen=True)
class Answer:
    """A question and what was seen.

    Attributes:
        question: What is unknown.
        outcome: Whether anything was seen.
        what: That; of what was not tried, the reason.
    """

    question: str
    outcome: Outcome
    what: str


NOT_TRIED = {
    "whether maxDuration is honoured beyond 300 s": "takes longer than this trial lasts",
    "what ends an idle session, and when": "takes longer than this trial lasts",
    "how long READY lasts, and what becomes of it": "this mode consumes no credentials",
    "consume and connect_backend, their errors": "this mode does not use them",
    "429 or a queue when no slot is free": "would take a second session",
    "what the avatar does when the bot or the room disappears": "would leave a session to itself",
    "what an unusable room token leads to": "would bill a session that cannot come",
    "whom the avatar hears without agentIdentity": "it is always sent",
    "tools, personality and startScript in this mode": "they are never sent",
    "bodies of 402, 405, 422 and 5xx": "cannot be asked for",
    "webhooks": "none are documented",
}


def answers(observed: Observed) -> list[Answer]:
    """Answer every question from what was seen of one session."""
    pairs = [*_session(observed), *_media(observed), *_playback(observed), *_free(observed)]
    seen = [
        Answer(question, Outcome.SEEN if what else Outcome.NOT_SEEN, what)
        for question, what in pairs
    ]
    return seen + [Answer(q, Outcome.NOT_TRIED, why) for q, why in NOT_TRIED.items()]


_Pairs = Iterator[tuple[str, str]]  # a question, and what was seen; empty if nothing was


def _session(o: Observed) -> _Pairs:
    passed = [f"{s['status']} ({', '.join(s['fields'])}) at {s['after_s']} s" for s in o.statuses]
    ready = next((s for s in o.statuses if s["status"] == "READY"), None)
    yield "how long a create takes", _s(o.created)
    yield "statuses of a session in a room of one's own", "; ".join(passed)
    yield "READY in this mode", f"with {', '.join(ready['fields'])}" if ready else ""
    yield "queueing", "it waited for a slot" if o.queued else ""
    yield "failureCode", o.failure or ""
    yield "from the create to the avatar in the room", _s(o.joined)
    yield "from the create to its first picture", _s(o.pictured)
    ended = f"left after {o.left:.2f} s ({o.left_because})" if o.left is not None else ""
    yield "whether END_CALL ends it", f"{ended}, {o.final_status}" if ended else ""
    counted = f"{o.duration} s, while {_s(o.lasted)} passed from create to end"
    yield "what `duration` counts", counted if o.duration is not None else ""
    yield "DELETE of a session that has ended", f"HTTP {o.delete_again}" if o.delete_again else ""
    yield "the price", f"{o.credits} credits for {_s(o.lasted)}" if o.credits is not None else ""


def _media(o: Observed) -> _Pairs:
    tracks = [
        f"{t['kind']} {t['name']!r}, {t['source']}" + (", simulcast" if t["simulcast"] else "")
        for t in o.tracks
    ]
    codecs = [f"{t['codec']} {t['rate']} Hz, {t['channels']} ch" for t in o.tracks if t["codec"]]
    yield "its tracks", "; ".join(tracks)
    yield "its codecs", "; ".join(codecs)
    yield "size of its picture", ", ".join(f"{width}x{height}" for width, height in o.sizes)
    yield "pictures a second", f"{o.picture_rate:.1f}" if o.picture_rate else ""
    idle = f"peak {o.idle_peak} of 32767" if o.idle_peak is not None else ""
    yield "how silent it is when idle", idle


def _playback(o: Observed) -> _Pairs:
    heard = [s for s in (*o.spoken, o.after_clear) if s and s.first_sound is not None]
    yield (
        "whether it sends the sound itself",
        f"{len(heard)} utterances were heard" if heard else "",
    )
    yield "from speech sent to its first sound", _each(heard, lambda s: _s(s.first_sound))
    alike = _each(heard, lambda s: f"{s.likeness:.2f} alike, {s.loudness:.2f} times as loud")
    yield "whether it alters the voice", alike
    started = f"called {o.started_reports} times" if o.started_reports else ""
    yield "lk.playback_started", started
    told = [s for s in heard if s.finished]
    finished = _each(told, lambda s: ", ".join(f"{at:+.2f} s" for at in s.finished))
    yield "lk.playback_finished, from the last sound", finished
    where = _each(told, lambda s: f"{s.positions[0]:.2f} s of {s.length:.2f} s")
    yield "its playback_position", where
    yield "what lk.clear_buffer is answered", _clear_answer(o.cleared)
    silent = ""
    if o.cleared:
        silent = "it went on" if o.cleared.went_on else f"silent after {o.cleared.silent:.2f} s"
    yield "silence after lk.clear_buffer", silent
    reports = [f"interrupted={r}" for r in o.cleared.reports] if o.cleared else []
    yield "lk.playback_finished after lk.clear_buffer", ", ".join(reports)
    follow = o.after_clear if o.after_clear and o.after_clear.first_sound is not None else None
    yield (
        "speech right behind lk.clear_buffer",
        f"heard after {_s(follow.first_sound)}, {follow.likeness:.2f} alike" if follow else "",
    )


def _free(o: Observed) -> _Pairs:
    yield "the answer to a wrong key", o.answers.get("wrong key", "")
    yield "the answer to a request without a version", o.answers.get("no version", "")
    yield "the answer to an unknown session", o.answers.get("unknown session", "")
    yield "headers that tell of limits", o.answers.get("limit headers", "")
    yield "the record of a conversation in this mode", o.answers.get("conversation", "")


def _clear_answer(cleared: Cleared | None) -> str:
    if cleared is None:
        return ""
    answer = "ok" if cleared.confirmed else "no confirmation"
    return f"{answer} after {cleared.answered:.2f} s"


def _s(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.2f} s"


def _each(spoken: list[Spoken], tell: Callable[[Spoken], str]) -> str:
    return "; ".join(tell(s) for s in spoken)
