"""The full counts: ``uv run python -m benchmarks barge-in --count 100`` and the like."""

import argparse
import asyncio
import gc
import json
import platform
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from loguru import logger
from pipecat.frames.frames import BotSpeakingFrame

from benchmarks.compare import command as comparison
from benchmarks.compare.reading import figures
from pipecat_runway.simulator import ClearAnswer, Faults, RunwaySimulator
from tests.conftest import STRICT, service_for
from tests.kit.pipeline import Pace, Tape, running
from tests.kit.simulator_process import simulator_process
from tests.kit.transport import LoopbackTransport
from tests.scenarios import soak as soaking
from tests.scenarios.barge_in import barge_ins
from tests.scenarios.marked import Shape, shapes, speak_all
from tests.scenarios.renewals import Report as Renewals
from tests.scenarios.renewals import renewals
from tests.scenarios.starts import starts

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
            "onsets without a barge-in spread, p95, ms": round(report.spread_p95 * 1000, 1),
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
    seconds = options.seconds or 120
    transport, front, behind = LoopbackTransport(), Tape(name="Front"), Tape(name="Behind")
    async with running(service_for(runway), front, transport.output(), behind) as run:
        await run.started()
        await front.wait_for_pictures(round(24 * seconds), timeout=seconds * 2 + 20)
        await run.end()
    return {
        "seconds": seconds,
        "pictures": len(front.pictures),
        "BotSpeakingFrames": len(behind.of(BotSpeakingFrame)),
        "audio frames": len(front.audio()),
    }


async def start(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Time the start of pipelines while Runway's create takes 5 s, and its avatar as long."""
    result = {}
    for slow in (0.0, 5.0):
        runway.faults = replace(STRICT, create_delay=slow, join_delay=slow)
        report = await starts(lambda: service_for(runway), runway, options.count)
        result[f"create and join after {slow:g} s"] = {
            f"{name}, ms": figures(took) for name, took in asdict(report).items()
        }
    return result


async def flows(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count Flows' actions against the words they follow."""
    from tests.scenarios.flows import conversations

    runway.faults = replace(STRICT, effective_limit=3600)
    report = await conversations(lambda: service_for(runway), options.count)
    return asdict(report)


async def renewal(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count what is lost where one session follows another, sessions being of 10 s."""
    runway.faults = STRICT if options.slots is None else replace(STRICT, max_sessions=options.slots)
    return _renewed(await renewals(service_for(runway, max_duration=10), runway, options.count))


async def change(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count what is lost where another character takes over while speech goes on."""
    runway.faults = replace(STRICT, effective_limit=3600)
    presets = ("tennis-coach", "influencer", "cooking-teacher")
    service = service_for(runway, max_duration=1800)
    report = await renewals(service, runway, options.count, characters=presets)
    return _renewed(report) | {"characters": report.shown}


async def deaths(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count what is lost where the avatar dies in mid-word, unannounced."""
    from tests.scenarios.deaths import deaths as die

    result = {}
    for fault, undo in (("kill", None), ("freeze", None), ("freeze", "thaw"), ("rejoin", None)):
        name = f"{fault} and {undo}" if undo else fault
        if options.only and name not in options.only:
            continue
        runway.faults = replace(STRICT, effective_limit=3600)
        service = service_for(runway, max_duration=1800, picture_timeout=0.5)
        report = await die(service, runway, options.count, fault=fault, undo=undo)
        result[name] = {
            "deaths": options.count,
            "wrong marks": {k: asdict(v) for k, v in report.verdicts.items()},
            "brackets": report.brackets,
            "heard twice, s, longest": round(max(report.repeated), 3),
            "silence in mid-word, s, median and longest": [
                round(median(report.silences), 2),
                round(max(report.silences), 2),
            ],
            "errors": dict(Counter(str(each) for each in report.errors)),
            "without a face, s, median and longest": [
                round(median(report.away), 1),
                round(max(report.away), 1),
            ],
            "went on in the same session": report.same,
            "sessions left open": report.left,
        }
        print(name, json.dumps(result[name]), flush=True)
    return result


async def flow_changes(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count what flow nodes say that choose another character each."""
    from tests.scenarios.led import characters

    runway.faults = replace(STRICT, effective_limit=3600)
    service = service_for(runway, max_duration=1800, start_on="first_speech")
    return asdict(await characters(service, runway, options.count))


def _renewed(report: Renewals) -> Result:
    billed, call = report.billed
    return {
        "renewed": report.renewed,
        "utterances": report.utterances,
        "wrong marks": {k: asdict(v) for k, v in report.verdicts.items()},
        "brackets": report.brackets,
        "longest gap in the picture, ms": round(1000 * max(report.gaps)),
        "two sessions open, s, longest": round(max(report.doubled, default=0.0), 2),
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


async def faults(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Play everything that can go wrong, at every moment, into docs/fault-matrix.md."""
    from benchmarks import fault_matrix

    played = await fault_matrix.play_all(runway, options.only)
    fault_matrix.write(played)
    return fault_matrix.result(played)


async def soak(options: argparse.Namespace) -> Result:
    """Count what session after session, and ten at once, leave behind in this process."""
    warm_up = options.count // 4
    wanted = options.only or ["service"]
    result: Result = {}

    def told(number: int, sizes: soaking.Sizes) -> None:
        if number % 10 == 9:
            print(number + 1, json.dumps(asdict(sizes)), file=sys.stderr, flush=True)

    async with simulator_process(width=160, height=96, fps=8, effective_limit=3600) as runway:
        sessions: dict[str, Callable[[], Awaitable[str]]] = {
            "service": lambda: soaking.speaking(service_for(runway)),
            "livekit": lambda: soaking.livekit_alone(runway),
            "pipecat": soaking.pipeline_alone,
        }
        for name in wanted:
            report = await soaking.one_after_another(sessions[name], options.count, told)
            result[name] = {
                "sessions": options.count,
                "of them for warming up": warm_up,
                "wrong": report.wrong,
                "memory, MB a session": asdict(report.growth(warm_up)),
                "memory, MB, after warming up and at the end": [
                    round(report.sizes[n].memory / soaking.MB, 1) for n in (warm_up, -1)
                ],
                "more than while warming up, before and after": report.grown(warm_up),
                "at the end": asdict(report.sizes[-1]),
                "longest, s": round(max(report.seconds), 1),
            }
            print(name, json.dumps(result[name]), flush=True)
        if "service" in wanted:
            wrong = await soaking.at_once(lambda: service_for(runway), 10)
            heard = sum(not each for each in wrong)
            result["ten at once"] = {"heard": heard, "wrong": [each for each in wrong if each]}
    return result


async def kills(runway: RunwaySimulator, options: argparse.Namespace) -> Result:
    """Count what stays open after bots that died in every way, each in a process of its own."""
    from tests.scenarios.kills import WAYS
    from tests.scenarios.kills import kills as all_kills

    ways = {name: way for name, way in WAYS.items() if not options.only or name in options.only}
    result = {}
    with tempfile.TemporaryDirectory() as state:
        async for name, report in all_kills(runway, Path(state), count=options.count, ways=ways):
            past = sorted(report.past_end)
            result[name] = {
                "deaths": report.deaths,
                "sessions they had": report.sessions,
                "sessions left open": report.open,
                "rooms and files left": [report.rooms, report.files],
                "billed past the end, s, p50, p95, longest": [
                    round(past[min(len(past) - 1, int(len(past) * part))], 2)
                    for part in (0.5, 0.95, 1.0)
                    if past
                ],
                "did not end by themselves": report.hung,
                "said": sorted(set(report.said)),
            }
            if ways[name].reaped:
                result[name]["a live sibling untouched"] = report.sibling_untouched
            print(name, json.dumps(result[name]), flush=True)
    return result


BENCHMARKS: dict[str, Callable[[RunwaySimulator, argparse.Namespace], Awaitable[Result]]] = {
    "barge-in": barge_in,
    "marked-speech": marked_speech,
    "idle": idle,
    "start": start,
    "flows": flows,
    "renewal": renewal,
    "change": change,
    "deaths": deaths,
    "flow-changes": flow_changes,
    "receptionist": receptionist,
    "faults": faults,
    "words": words,
    "kills": kills,
}
# With the simulator in a process of its own.
APART: dict[str, Callable[[argparse.Namespace], Awaitable[Result]]] = {"soak": soak}

COMPARED = (*comparison.COMMANDS, "report")
COUNTS = {
    "barge-in": 100,
    "marked-speech": 20,
    "start": 20,
    "flows": 50,
    "renewal": 50,
    "change": 20,
    "deaths": 20,
    "flow-changes": 20,
    "receptionist": 10,
    "soak": 200,
    "words": 200,
    "compare": 20,
    "instant": 20,
    "kills": 20,
}


def _dropped_datagrams() -> int:
    """How many UDP datagrams this machine has dropped because nobody fetched them in time.

    The network of these counts is the loopback, where a packet is seldom lost otherwise. 0 where
    the system does not say.
    """
    counted = Path("/proc/net/snmp")  # Linux
    if not counted.exists():
        return 0
    names, values = (line.split() for line in counted.read_text().splitlines() if "Udp: " in line)
    return int(values[names.index("RcvbufErrors")])


def main() -> None:
    """Run one benchmark and print its report as JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("benchmark", choices=[*BENCHMARKS, *APART, *COMPARED])
    parser.add_argument("--count", type=int, default=None, help="how many of what is counted")
    parser.add_argument("--seconds", type=float, help="idle, compare, curve: how long")
    parser.add_argument(
        "--only",
        nargs="*",
        default=[],
        help="barge-in, deaths, faults, kills: only these; "
        "soak: service, or for comparison livekit and pipecat; "
        "compare and the like: these parties",
    )
    parser.add_argument("--slots", type=int, default=None, help="renewal: sessions at once")
    comparison.add_options(parser)
    options = parser.parse_args()
    options.count = options.count or COUNTS.get(options.benchmark, 1)
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    if options.benchmark in COMPARED:
        return comparison.main(options)
    gc.collect()
    gc.freeze()  # as docs/operating.md advises: a full collection stops the loop for 0.1 s

    async def run() -> Result:
        if options.benchmark in APART:
            return await APART[options.benchmark](options)
        # Whoever measures instants has no samples sent from process to process meanwhile.
        kept = options.benchmark != "barge-in"
        async with RunwaySimulator(faults=Faults(), keep_audio=kept) as runway:
            return await BENCHMARKS[options.benchmark](runway, options)

    dropped = _dropped_datagrams()
    result = asyncio.run(run())
    packages = ("pipecat-runway", "pipecat-ai", "livekit", "runwayml")
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        **{name: version(name) for name in packages},
        "datagrams dropped meanwhile": _dropped_datagrams() - dropped,
    }
    print(json.dumps({"machine": machine, options.benchmark: result}, indent=2))


if __name__ == "__main__":
    main()
