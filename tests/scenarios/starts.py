"""Pipelines that start while Runway takes its time: what of the waiting is ours."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipecat.frames.frames import MetricsFrame
from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.filters.identity_filter import IdentityFilter
from pipecat.processors.frame_processor import FrameProcessor

from pipecat_runway import RunwayArrivalMetricsData, RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.pipeline import Run, running
from tests.kit.waiting import until

METRICS = PipelineParams(enable_metrics=True)


@dataclass
class Report:
    """What was measured, all in s.

    Attributes:
        without: From the pipeline's making to its start, with a filter that does nothing.
        started: The same with the service.
        until_create: From the pipeline's making until Runway was asked: the room is entered first,
            because a room that cannot be reached must not cost money.
        create: What Runway took to answer.
        face: From the pipeline's making until the first picture left the service. The avatar may be
            there before Runway has answered.
    """

    without: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    until_create: list[float] = field(default_factory=list)
    create: list[float] = field(default_factory=list)
    face: list[float] = field(default_factory=list)


async def starts(
    make: Callable[[], RunwayVideoService], runway: RunwaySimulator, count: int
) -> Report:
    """Start so many pipelines, one after another, with the service and without it in turn."""
    report = Report()
    for _ in range(count):
        report.without.append(await _start(IdentityFilter()))  # type: ignore[no-untyped-call]
        seen: dict[str, Any] = {}
        report.started.append(await _start(make(), seen))
        arrival, offset = seen["arrival"], time.time() - time.monotonic()
        asked = runway.sessions[-1].created_at.timestamp() - offset
        report.until_create.append(asked - seen["begun"])
        report.create.append(arrival.create)
        report.face.append(seen["pushed"] - seen["begun"])
    return report


async def _start(processor: FrameProcessor, seen: dict[str, Any] | None = None) -> float:
    begun = time.monotonic()
    async with running(processor, params=METRICS) as run:
        await run.started(30)
        took = time.monotonic() - begun
        if seen is not None:
            picture = await run.tape.wait_for_pictures(1, 30)
            await until(lambda: _arrivals(run))
            seen |= {"begun": begun, "arrival": _arrivals(run)[0], "pushed": picture.at}
        await run.end()
    return took


def _arrivals(run: Run) -> list[RunwayArrivalMetricsData]:
    taped = [t.frame for t in run.tape.of(MetricsFrame)]
    data = [each for frame in taped if isinstance(frame, MetricsFrame) for each in frame.data]
    return [each for each in data if isinstance(each, RunwayArrivalMetricsData)]
