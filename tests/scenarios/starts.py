"""Pipelines that start while Runway takes its time."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from pipecat.pipeline.worker import PipelineParams
from pipecat.processors.filters.identity_filter import IdentityFilter

from pipecat_runway import RunwayArrivalMetricsData, RunwayVideoService
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.pipeline import running
from tests.kit.waiting import until

METRICS = PipelineParams(enable_metrics=True)


@dataclass
class Report:
    """What was measured, all in s.

    Attributes:
        made: What the service took to be made: what trusts Runway's certificate is loaded with it.
        without: From the pipeline's making to its start, with a filter that does nothing.
        started: The same with the service.
        until_create: From the pipeline's making until Runway was asked: the room is entered first,
            because a room that cannot be reached must not cost money.
        create: What Runway took to answer.
        face: From the pipeline's making until the first picture left the service. The avatar may be
            there before Runway has answered.
    """

    made: list[float] = field(default_factory=list)
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
        begun = time.monotonic()
        async with running(IdentityFilter(), params=METRICS) as run:  # type: ignore[no-untyped-call]
            await run.started(30)
            report.without.append(time.monotonic() - begun)
            await run.end()
        begun = time.monotonic()
        service = make()
        report.made.append(time.monotonic() - begun)
        begun = time.monotonic()
        async with running(service, params=METRICS) as run:
            await run.started(30)
            report.started.append(time.monotonic() - begun)
            picture = await run.tape.wait_for_pictures(1, 30)
            await until(partial(run.tape.metrics, RunwayArrivalMetricsData))
            await run.end()
        (arrival,) = run.tape.metrics(RunwayArrivalMetricsData)
        assert arrival.create is not None
        asked = runway.sessions[-1].created_at.timestamp() - (time.time() - time.monotonic())
        report.until_create.append(asked - begun)
        report.create.append(arrival.create)
        report.face.append(picture.at - begun)
    return report
