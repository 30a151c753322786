"""What an operator sees: metrics and OpenTelemetry spans, under Pipecat's own switches.

``enable_metrics`` and ``enable_usage_metrics`` of the worker give :class:`MetricsFrame`,
``enable_tracing`` gives spans below Pipecat's own: an utterance below the turn it is said in, the
rest below the conversation. Nothing of what is said is in them.
"""

import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipecat.frames.frames import Frame, MetricsFrame
from pipecat.metrics.metrics import MetricsData
from pipecat.services.ai_service import AIService

from pipecat_runway import wire
from pipecat_runway.billed import Usage
from pipecat_runway.measures import Arrival, HandOver
from pipecat_runway.reception import Watched

if TYPE_CHECKING:
    from opentelemetry.context import Context

Attributes = dict[str, str | int | float | bool | None]


class RunwayUsageMetricsData(MetricsData):
    """What Runway bills for, since the last such data.

    Parameters:
        creates: Sessions created.
        seconds: For which sessions were open, in s, by this machine's clock.
    """

    creates: int
    seconds: float


class RunwayArrivalMetricsData(MetricsData):
    """How long an avatar took to come.

    Parameters:
        session_id: Runway's id; None if the create was never answered.
        create: From the create to its answer, in s; None if there was none.
        join: From the create to the avatar in the room, in s.
        picture: From the create to its first decoded picture, in s.
    """

    session_id: str | None
    create: float | None
    join: float
    picture: float


class RunwayHandOverMetricsData(MetricsData):
    """How long two sessions were open for one to follow the other.

    Parameters:
        session_id: Runway's id of the session that goes on.
        followed: That of the one before.
        value: From the new one's create to the old one's end, in s: both are billed.
    """

    session_id: str | None
    followed: str | None
    value: float


class RunwaySpeechMetricsData(MetricsData):
    """How an utterance was said. Its time to first sound is Pipecat's ``TTFBMetricsData``.

    Parameters:
        session_id: Runway's id of the session that said it.
        value: From its first sound to its end, in s; None if it had none.
        pictures: The avatar's pictures passed on meanwhile.
        dropped: Pictures that were not, because whoever takes them was slow.
        picture_size: Width and height in pixels in which they arrived; None before the first.
        offset: By how much the picture was late against the sound once they were in step, in s, by
            what WebRTC tells of its buffers; negative if it was early, None if that does not tell
            yet.
        interrupted: Whether it was cut short.
    """

    session_id: str | None
    value: float | None
    pictures: int
    dropped: int
    picture_size: tuple[int, int] | None
    offset: float | None
    interrupted: bool


@dataclass
class _Saying:
    """An utterance that is being said."""

    session_id: str | None
    sent_at: float
    before: Watched
    parent: "Context | None"
    heard_at: float | None = None


class Telemetry:
    """Tells of a face's doings.

    Args:
        service: Whose face it is.
        push: Takes the frames it makes.
    """

    def __init__(self, service: AIService, push: Callable[[Frame], None]) -> None:
        self._service, self._push = service, push
        self._sayings: dict[str | None, _Saying] = {}

    # -- what is said -----------------------------------------------------------------------------

    def sent(self, context_id: str | None, session_id: str | None, watched: Watched) -> None:
        """Note that the first sample of an utterance has been sent."""
        if self._service.metrics_enabled or self._traced:
            parent = self._parent(turn=True)
            self._sayings[context_id] = _Saying(session_id, time.monotonic(), watched, parent)

    def heard(self, context_id: str | None) -> None:
        """Note that the first sound of an utterance has come back."""
        if (saying := self._sayings.get(context_id)) is not None:
            saying.heard_at = time.monotonic()

    def said(self, context_id: str | None, watched: Watched, *, interrupted: bool) -> None:
        """Note that an utterance is over."""
        if (saying := self._sayings.pop(context_id, None)) is None:
            return
        now, heard_at, before = time.monotonic(), saying.heard_at, saying.before
        data = RunwaySpeechMetricsData(
            processor=self._service.name,
            model=wire.MODEL,
            session_id=saying.session_id,
            value=None if heard_at is None else now - heard_at,
            # After a change of face the count is the new one's, which begins anew.
            pictures=max(0, watched.passed - before.passed),
            dropped=max(0, watched.dropped - before.dropped),
            picture_size=watched.size,
            offset=watched.offset,
            interrupted=interrupted,
        )
        self._measure(data)
        attributes: Attributes = {
            "metrics.ttfb": None if heard_at is None else heard_at - saying.sent_at,
            "runway.session_id": data.session_id,
            "runway.pictures": data.pictures,
            "runway.pictures.dropped": data.dropped,
            "runway.offset": data.offset,
            "runway.interrupted": interrupted,
        }
        self._trace("runway.utterance", saying.sent_at, now, attributes, saying.parent)

    def interrupted(self, watched: Watched, surviving: Container[str | None]) -> None:
        """Note that all that was being said is over, except for these contexts."""
        for context_id in [each for each in self._sayings if each not in surviving]:
            self.said(context_id, watched, interrupted=True)

    # -- who says it ------------------------------------------------------------------------------

    def arrived(self, arrival: Arrival) -> None:
        """Note that an avatar has come."""
        asked_at, created_at = arrival.asked_at, arrival.created_at
        self._measure(
            RunwayArrivalMetricsData(
                processor=self._service.name,
                model=wire.MODEL,
                session_id=arrival.session_id,
                create=None if created_at is None else created_at - asked_at,
                join=arrival.joined_at - asked_at,
                picture=arrival.took,
            )
        )
        attributes: Attributes = {"runway.session_id": arrival.session_id}
        whole = self._trace("runway.arrival", asked_at, arrival.pictured_at, attributes)
        came_at = created_at or asked_at
        for name, began, ended in (
            ("runway.create", asked_at, came_at),
            # The avatar may be there before the create is answered.
            ("runway.join", min(came_at, arrival.joined_at), arrival.joined_at),
            ("runway.first_picture", arrival.joined_at, arrival.pictured_at),
        ):
            self._trace(name, began, ended, attributes, whole)

    def handed_over(self, change: HandOver) -> None:
        """Note that one session has followed another."""
        self._measure(
            RunwayHandOverMetricsData(
                processor=self._service.name,
                model=wire.MODEL,
                session_id=change.session_id,
                followed=change.followed,
                value=change.done_at - change.asked_at,
            )
        )
        attributes: Attributes = {
            "runway.session_id": change.session_id,
            "runway.followed": change.followed,
        }
        self._trace("runway.hand_over", change.asked_at, change.done_at, attributes)

    def used(self, usage: Usage) -> None:
        """Note what is billed."""
        if self._service.usage_metrics_enabled:
            data = RunwayUsageMetricsData(
                processor=self._service.name,
                model=wire.MODEL,
                creates=usage.creates,
                seconds=usage.seconds,
            )
            self._tell(data)

    # -- how it is told ---------------------------------------------------------------------------

    def _measure(self, data: MetricsData) -> None:
        if self._service.metrics_enabled:
            self._tell(data)

    def _tell(self, data: MetricsData) -> None:
        frame = MetricsFrame(data=[data])
        frame.interruptible = False  # each is told once, whatever happens to the speech
        self._push(frame)

    @property
    def _traced(self) -> bool:
        return self._service._tracing_enabled  # where Pipecat's own tracing looks

    def _parent(self, *, turn: bool) -> "Context | None":
        context = self._service._tracing_context if self._traced else None
        if context is None:
            return None
        return (turn and context.get_turn_context()) or context.get_conversation_context()

    def _trace(
        self,
        name: str,
        began: float,
        ended: float,
        attributes: Attributes,
        parent: "Context | None" = None,
    ) -> "Context | None":
        """Make a span of what is over; return the context for those below it."""
        if not self._traced:
            return None
        from opentelemetry import trace  # an extra of Pipecat's; without it nothing is traced

        span = trace.get_tracer("pipecat_runway").start_span(
            name,
            context=parent or self._parent(turn=False),
            start_time=_wall(began),
            attributes={"gen_ai.system": "runway", **_given(attributes)},
        )
        span.end(_wall(ended))
        return trace.set_span_in_context(span)


def _given(attributes: Attributes) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _wall(at: float) -> int:
    """Return an instant of `time.monotonic()` in ns since the epoch."""
    return time.time_ns() - round((time.monotonic() - at) * 1e9)
