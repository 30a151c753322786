"""What was seen of one real session, in the order it happens. Pure."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Spoken:
    """An utterance and what came back of it. Times are in s.

    Attributes:
        length: Its length.
        first_sound: From its first sample sent to its first sound; None if none came.
        likeness: How like the sound is to what was sent: 1.0 for the same wave form.
        loudness: How loud it is against what was sent.
        finished: From its last sound to each ``lk.playback_finished``; negative is earlier.
        positions: What those reports said.
    """

    length: float
    first_sound: float | None = None
    likeness: float = 0.0
    loudness: float = 0.0
    finished: list[float] = field(default_factory=list)
    positions: list[float] = field(default_factory=list)


@dataclass
class Cleared:
    """What ``lk.clear_buffer`` did.

    Attributes:
        confirmed: Whether it was answered with ``ok``.
        answered: s until it was answered, or refused; up to the bound if it never was.
        silent: s until the last sound above the idle noise came.
        went_on: Whether there was still such sound when the wait was over.
        reports: The `interrupted` of each ``lk.playback_finished`` that followed.
    """

    confirmed: bool
    answered: float
    silent: float
    went_on: bool
    reports: list[bool]


@dataclass
class Observed:
    """One session. What stayed None, or empty, was not seen. Times are in s.

    Attributes:
        session_id: Runway's id.
        trouble: What cut it short.
        created: How long the create took.
        statuses: Each status: s after the create, its name, and the names of its fields.
        queued: Whether Runway said that it waits for a slot.
        failure: The code of its failure.
        joined: From the create to the avatar in the room.
        pictured: From the create to its first picture.
        tracks: Its tracks, as :class:`~pipecat_runway.roomfacts.TrackFacts`.
        sizes: Every size of its pictures.
        picture_rate: Pictures a second.
        idle_peak: Highest peak of its sound while it had nothing to say, in steps of 16 bits.
        spoken: What it was given to say.
        started_reports: How often it called ``lk.playback_started``.
        cleared: What ``lk.clear_buffer`` did.
        after_clear: The utterance right behind that.
        left: From ``END_CALL`` to its leaving; None if it had to be told by the API.
        left_because: LiveKit's reason.
        final_status: Of the session.
        duration: What Runway says it lasted.
        lasted: From the create to its confirmed end.
        delete_again: The status of a DELETE once it had ended.
        credits: What the account had less afterwards.
        answers: Answers to questions that cost nothing, by their names.
    """

    session_id: str | None = None
    trouble: str = ""
    created: float | None = None
    statuses: list[dict[str, Any]] = field(default_factory=list)
    queued: bool = False
    failure: str | None = None
    joined: float | None = None
    pictured: float | None = None
    tracks: list[dict[str, Any]] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    picture_rate: float | None = None
    idle_peak: int | None = None
    spoken: list[Spoken] = field(default_factory=list)
    started_reports: int = 0
    cleared: Cleared | None = None
    after_clear: Spoken | None = None
    left: float | None = None
    left_because: str = ""
    final_status: str | None = None
    duration: int | None = None
    lasted: float | None = None
    delete_again: int | None = None
    credits: int | None = None
    answers: dict[str, str] = field(default_factory=dict)
