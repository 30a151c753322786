"""What an operator sees: how long an avatar took, how it spoke, and who followed it."""

from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pipecat.frames.frames import TTSStoppedFrame
from pipecat.metrics.metrics import MetricsData
from pipecat.pipeline.worker import PipelineParams

from pipecat_runway import (
    RunwayArrivalMetricsData,
    RunwayHandOverMetricsData,
    RunwaySpeechMetricsData,
    RunwayUpdateSettingsFrame,
    RunwayVideoService,
)
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.marks import marked_speech
from tests.kit.pipeline import Run, running, tts_utterance
from tests.kit.waiting import until

from .conftest import MakeService, TurnKnobs

RATE = 24_000


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Where all spans of this process go, from now on."""
    provider, exporter = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    exporter.clear()
    yield exporter
    exporter.clear()


def ours(exporter: InMemorySpanExporter) -> dict[str, list[ReadableSpan]]:
    """Our spans, by name."""
    found: dict[str, list[ReadableSpan]] = {}
    for span in exporter.get_finished_spans():
        if span.name.startswith("runway."):
            found.setdefault(span.name, []).append(span)
    return found


async def speak(run: Run, context: str, first: int) -> None:
    await run.feed(tts_utterance(marked_speech(first, 6, RATE), RATE, 1, context))


async def test_an_operator_sees_how_a_call_went(
    make_service: MakeService, runway: RunwaySimulator, spans: InMemorySpanExporter
) -> None:
    """Arrivals, a hand-over, and each utterance, one of them interrupted; as metrics and spans."""
    params = PipelineParams(enable_metrics=True)
    service = make_service()
    async with running(service, params=params, enable_tracing=True) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await speak(run, "whole", 0)
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await speak(run, "cut", 10)
        await until(lambda: run.tape.audio("cut"))
        await run.interrupt()
        await until(lambda: 2 == len(run.tape.metrics(RunwaySpeechMetricsData)))
        delta = RunwayVideoService.Settings(preset_id="influencer")
        await run.queue(RunwayUpdateSettingsFrame(delta=delta))
        await until(lambda: run.tape.metrics(RunwayHandOverMetricsData), 20)
        await run.end()
    first, second = (session.id for session in runway.sessions[-2:])

    arrivals = run.tape.metrics(RunwayArrivalMetricsData)
    assert [first, second] == [each.session_id for each in arrivals]
    for each in arrivals:
        assert each.create is not None
        assert 0 < each.create <= each.picture
        assert 0 < each.join <= each.picture
    (change,) = run.tape.metrics(RunwayHandOverMetricsData)
    assert (second, first) == (change.session_id, change.followed)
    assert change.value > arrivals[1].picture
    whole, cut = run.tape.metrics(RunwaySpeechMetricsData)
    assert (first, first) == (whole.session_id, cut.session_id)
    assert (False, True) == (whole.interrupted, cut.interrupted)
    assert whole.value is not None
    assert 0.5 < whole.value < 2
    assert whole.pictures > 0

    found = ours(spans)
    assert {name: len(each) for name, each in found.items()} == {
        "runway.arrival": 2,
        "runway.create": 2,
        "runway.join": 2,
        "runway.first_picture": 2,
        "runway.utterance": 2,
        "runway.hand_over": 1,
    }
    arrival, create = found["runway.arrival"][0], found["runway.create"][0]
    assert create.parent is not None
    assert arrival.context.span_id == create.parent.span_id
    assert arrival.start_time is not None
    assert arrival.end_time is not None
    assert (arrival.end_time - arrival.start_time) / 1e9 == pytest.approx(
        arrivals[0].picture, abs=0.01
    )
    assert [0, 1] == [int(s.attributes["runway.interrupted"]) for s in found["runway.utterance"]]
    told = str([(span.name, dict(span.attributes or {})) for span in spans.get_finished_spans()])
    assert "marks" not in told  # what is said


async def test_nothing_is_told_to_who_does_not_ask(
    make_service: MakeService, spans: InMemorySpanExporter
) -> None:
    """Both are Pipecat's switches, and off."""
    async with running(make_service()) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        await speak(run, "u", 0)
        await run.tape.wait_for(TTSStoppedFrame, timeout=10)
        await run.end()
    assert [] == run.tape.metrics(MetricsData)
    assert {} == ours(spans)


@pytest.mark.parametrize(
    ("simulcast", "arrives"), [(True, (320, 180)), (False, (1280, 720))], ids=["several", "one"]
)
async def test_the_smallest_picture_that_is_enough_is_asked_for(
    make_service: MakeService,
    faults: TurnKnobs,
    simulcast: bool,
    arrives: tuple[int, int],
) -> None:
    """Of those the avatar publishes; what leaves has the size asked for either way."""
    faults(simulcast=simulcast, width=1280, height=720)
    service = make_service(video_out_width=256, video_out_height=144)
    async with running(service, params=PipelineParams(enable_metrics=True)) as run:
        await run.started()
        await run.tape.wait_for_pictures(1, timeout=20)
        for n in range(20):
            await speak(run, f"u{n}", 10 * (n % 10))
            await run.tape.wait_for(TTSStoppedFrame, timeout=10, count=n + 1)
            if arrives == run.tape.metrics(RunwaySpeechMetricsData)[-1].picture_size:
                break
        else:
            pytest.fail(f"{run.tape.metrics(RunwaySpeechMetricsData)[-1].picture_size} arrives")
        await run.end()
    assert {(256, 144)} == {picture.size for picture in run.tape.pictures}
