"""The full counts: ``uv run python -m benchmarks barge-in --count 100`` and the like."""

import argparse
import asyncio
import json
import platform
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

from loguru import logger
from pipecat.frames.frames import BotSpeakingFrame

from pipecat_runway.simulator import ClearAnswer, Faults, RunwaySimulator
from tests.conftest import STRICT, service_for
from tests.kit.pipeline import Pace, Tape, running
from tests.kit.transport import LoopbackTransport
from tests.scenarios.barge_in import barge_ins
from tests.scenarios.marked import Shape, shapes, speak_all
from tests.scenarios.renewals import renewals

Result = dict[str, Any]


async def barge_in(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count old pieces after, and lost pieces of the utterance after, every kind of barge-in."""
    result = {}
    for answer in ClearAnswer:
        if options.only and answer.value not in options.only:
            continue
        runway.faults = replace(STRICT, clear=answer, effective_limit=3600)
        report = await barge_ins(service_for(runway, max_duration=1800), runway, options.count)
        result[answer.value] = {
            "barge-ins": options.count,
            "old pieces": report.old,
            "next utterance not whole": {k: asdict(v) for k, v in report.verdicts.items()},
            "onset delayed by, p95, ms": round(report.delay_p95 * 1000, 1),
            "errors": sorted(set(report.errors)),
        }
        print(answer.value, json.dumps(result[answer.value]), flush=True)
    return result


async def marked_speech(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count marked speech of every shape, and speech queued before the avatar is there."""
    runway.faults = replace(STRICT, effective_limit=3600)
    reports = {
        "one by one": await speak_all(service_for(runway), runway, list(shapes(options.count)))
    }
    for delay in (0.5, 2.0, 5.0):
        runway.faults = replace(STRICT, join_delay=delay)
        wanted = [Shape(20, 24_000, 1, 20, "burst"), Shape(10, 16_000, 1, 20, "burst")]
        reports[f"queued with its EndFrame, avatar after {delay} s"] = await speak_all(
            service_for(runway), runway, wanted, at_once=True
        )
    return {
        name: {
            "utterances": len(report.received),
            "wrong marks": {k: asdict(v) for k, v in report.verdicts.items()},
            "samples too many or few at the worker": report.received,
            "length heard less length sent, ms": [round(ms, 1) for ms in report.lengths],
            "brackets": report.brackets,
            "errors": report.errors,
        }
        for name, report in reports.items()
    }


async def idle(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count BotSpeakingFrames of a face that has nothing to say."""
    runway.faults = replace(STRICT, noise_floor=25)
    transport, front, behind = LoopbackTransport(), Tape(name="Front"), Tape(name="Behind")
    async with running(service_for(runway), front, transport.output(), behind) as run:
        await run.started()
        await front.wait_for_pictures(24 * options.seconds, timeout=options.seconds * 2 + 20)
        await run.end()
    return {
        "seconds": options.seconds,
        "pictures": len(front.pictures),
        "BotSpeakingFrames": len(behind.of(BotSpeakingFrame)),
        "audio frames": len(front.audio()),
    }


async def flows(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count Flows' actions against the words they follow."""
    from tests.scenarios.flows import conversations

    runway.faults = replace(STRICT, effective_limit=3600)
    report = await conversations(lambda: service_for(runway), options.count)
    return asdict(report)


async def renewal(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count what is lost where one session follows another, sessions being of 10 s."""
    runway.faults = STRICT
    report = await renewals(service_for(runway, max_duration=10), runway, options.count)
    billed, call = report.billed
    return {
        "renewed": report.renewed,
        "utterances": report.utterances,
        "wrong marks": {k: asdict(v) for k, v in report.verdicts.items()},
        "brackets": report.brackets,
        "longest gap in the picture, ms": round(1000 * max(report.gaps)),
        "two sessions open, s, longest": round(max(report.doubled), 2),
        "billed, s, and the call's length": [billed, round(call, 1)],
        "sessions left open": report.left,
        "errors": report.errors,
    }


async def words(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count words in the LLM's context against words heard, at barge-ins of every kind of TTS.

    With word times `count`; without, a third of it for each way sentences come.
    """
    from tests.scenarios.words import Kind, Report
    from tests.scenarios.words import barge_ins as word_barge_ins

    runway.faults = replace(STRICT, effective_limit=3600)

    async def run(kind: Kind, count: int, pace: Pace = "burst", seed: int = 1) -> Report:
        service = service_for(runway, max_duration=1800)
        return await word_barge_ins(service, count, kind, pace=pace, seed=seed)

    third = max(1, options.count // 3)
    reports = {
        "word times": await run("word times", options.count),
        "sentence behind its sound": await run("sentence behind", third),
        "sentence ahead of its sound": await run("sentence ahead", third, seed=2),
        "sentence behind, in real time": await run("sentence behind", third, "realtime", seed=3),
    }
    return {
        name: {
            "barge-ins": len(report.kept),
            "off by words": dict(sorted(Counter(report.off).items())),
            "off by at most 1": round(report.within(1), 3),
            "off by at most 2": round(report.within(2), 3),
            "context not the beginning of what was said": report.wrong,
            "captions unlike the context": report.captions,
            "captions with a word time": len(report.late),
            "of them within 100 ms of their word": round(report.timely(0.1), 3),
            "errors": sorted(set(report.errors)),
        }
        for name, report in reports.items()
    }


async def receptionist(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count the Flows example's actions against its words, from Python and from YAML."""
    from tests.scenarios.receptions import receptions

    runway.faults = replace(STRICT, effective_limit=3600)
    return {
        kind: asdict(
            await receptions(
                # The flow chooses the character before the session exists.
                lambda: service_for(runway, start_on="first_speech"),
                options.count,
                yaml=kind == "yaml",
            )
        )
        for kind in ("python", "yaml")
    }


BENCHMARKS: dict[str, Callable[[RunwaySimulator, argparse.Namespace], Awaitable[Result]]] = {
    "barge-in": barge_in,
    "marked-speech": marked_speech,
    "idle": idle,
    "flows": flows,
    "renewal": renewal,
    "receptionist": receptionist,
    "words": words,
}

COUNTS = {
    "barge-in": 100,
    "marked-speech": 20,
    "flows": 50,
    "renewal": 50,
    "receptionist": 10,
    "words": 200,
}


def main() -> None:
    """Run one benchmark and print its report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--count", type=int, default=None, help="how many of what is counted")
    parser.add_argument("--seconds", type=int, default=120, help="idle: how long")
    parser.add_argument("--only", nargs="*", default=[], help="barge-in: only these workers")
    options = parser.parse_args()
    options.count = options.count or COUNTS.get(options.benchmark, 1)
    logger.remove()
    logger.add(sys.stderr, level="WARNING")

    async def run() -> Result:
        async with RunwaySimulator(faults=Faults(), keep_audio=True) as runway:
            return await BENCHMARKS[options.benchmark](runway, options)

    result = asyncio.run(run())
    packages = ("pipecat-runway", "pipecat-ai", "livekit", "runwayml")
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: version(name) for name in packages},
    }
    print(json.dumps({"machine": machine, options.benchmark: result}, indent=2))


if __name__ == "__main__":
    main()
