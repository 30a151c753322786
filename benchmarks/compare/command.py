"""The comparison's commands: ``python -m benchmarks compare --write-docs`` and the like.

Each writes its figures to ``benchmarks/results/<command>.json`` and the report over all of them.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.compare import barge_in, lips, load, netns, onsets, own_delay, report, slow_consumer
from benchmarks.compare.pacing import PACES
from benchmarks.compare.stage import ALONE, DELIVERED, PARTIES, PIPECAT_FLOOR, Stage
from pipecat_runway.simulator import LiveKitServer
from tests.conftest import service_for
from tests.judges import judge
from tests.scenarios.bars import LUMA, show_bars

Result = dict[str, Any]
PACKAGES = ("pipecat-runway", "pipecat-ai", "livekit", "runwayml", "aiortc")
SECONDS = 20.0  # that a session runs
GOOD: tuple[list[float], list[float]] = ([0.0], [])  # % of packets lost, and ms they are late
BAD: tuple[list[float], list[float]] = ([1.0, 5.0], [30.0])
WHAT = ("onsets", "own-delay", "barge-in", "load")


async def compare(options: argparse.Namespace) -> Result:
    """Everything side by side."""
    parties, found = list(options.only), Result()
    async with Stage(judges=await _judges(parties)) as stage:
        if "onsets" in options.what:
            found["onsets"] = await onsets.measure(stage, parties, options.pace, options.count)
            found["detour"] = onsets.figures(stage.detours)
        if "own-delay" in options.what and "ours" in parties:
            found["own-delay"] = await own_delay.measure(stage, options.pace, options.count)
        if "barge-in" in options.what:
            found["barge-in"] = await barge_in.measure(stage, parties, options.count)
        if "load" in options.what:
            also = {"floor": PIPECAT_FLOOR, "ours": ALONE}
            parties += [also[party] for party in parties if party in also]
            found["load"] = await load.measure(stage, parties, options.rounds, options.seconds)
    return found


async def instant(options: argparse.Namespace) -> Result:
    """From speech to lips and sound, of an avatar that renders in no time."""
    async with Stage(judges=await _judges(options.only), render_delay=0.0) as stage:
        return await onsets.measure(stage, options.only, options.pace, options.count)


async def curve(options: argparse.Namespace) -> Result:
    """More and more sessions in one process."""
    parties = list(options.only)
    async with Stage(
        width=options.size[0], height=options.size[1], judges=await _judges(parties)
    ) as stage:
        found = await load.curve(stage, parties, options.most, options.seconds)
    return {"size": options.size, "sessions": found}


async def slow(options: argparse.Namespace) -> Result:
    """Our service in front of a slow consumer."""
    async with Stage() as stage:
        return await slow_consumer.measure(stage, options.minutes)


async def colours(options: argparse.Namespace) -> Result:
    """Colour bars through our service, made by either matrix."""
    async with LiveKitServer() as livekit:
        return {matrix: asdict(await show_bars(livekit, matrix, service_for)) for matrix in LUMA}


async def lips_and_sound(options: argparse.Namespace) -> Result:
    """Whether sound and picture belong together, on a good network and on bad ones."""
    parties, found = list(options.only), Result()
    size = {"width": options.size[0], "height": options.size[1]}
    networks = [(loss, 0.0) for loss in options.loss] + [(0.0, late) for late in options.jitter]
    for loss, jitter in networks:
        name = f"{loss:g} % lost" if loss else f"up to {jitter:g} ms late" if jitter else "good"
        if name == "good":
            async with Stage(**size, judges=await _judges(parties)) as stage:
                found[name] = await lips.measure(stage, parties, options.minutes)
        elif reason := netns.unable():
            print(f"lips: the network cannot be made bad here: {reason}", file=sys.stderr)
        else:
            found[name] = await netns.apart(
                "benchmarks.compare.lossy",
                loss=loss,
                jitter=jitter,
                parties=parties,
                minutes=options.minutes,
                size=size,
            )
    return {"minutes": options.minutes, "size": options.size, "network": found}


COMMANDS: dict[str, Callable[[argparse.Namespace], Awaitable[Result]]] = {
    "compare": compare,
    "instant": instant,
    "curve": curve,
    "slow-consumer": slow,
    "colours": colours,
    "lips": lips_and_sound,
    "delivered": lips_and_sound,  # behind Pipecat's own transports
    "lossy": lips_and_sound,  # on bad networks
}


async def _judges(parties: list[str]) -> Path | None:
    """The environment livekit-agents is in, made if it is not there."""
    return await judge.install() if "livekit" in parties else None


def machine() -> Result:
    """What the figures were taken on, and with."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.processor(),
    )
    found = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": f"{os.cpu_count()} × {model}",
        "load before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
    }
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only these commands have."""
    parser.add_argument("--pace", nargs="+", choices=PACES, default=PACES, help="how TTS comes")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT, help="compare: only these")
    parser.add_argument("--rounds", type=int, default=3, help="compare: rounds of the load")
    parser.add_argument("--most", type=int, default=8, help="curve: sessions in one process")
    parser.add_argument(
        "--size",
        type=_size,
        default=(1280, 720),
        help="curve, lips, lossy, delivered: of the picture",
    )
    parser.add_argument(
        "--minutes", type=float, default=1, help="lips, lossy, delivered, slow-consumer: how long"
    )
    parser.add_argument(
        "--loss", nargs="+", type=float, default=None, help="lossy: %% of packets lost, in turn"
    )
    parser.add_argument(
        "--jitter", nargs="+", type=float, default=None, help="lossy: and ms they are late, in turn"
    )
    parser.add_argument("--write-docs", action="store_true", help="renew docs/benchmarks.md")


def main(options: argparse.Namespace) -> None:
    """Run one command, keep its figures, and write the report."""
    command = options.benchmark
    if command != "report":
        if strangers := set(options.only) - {*PARTIES, *DELIVERED}:
            sys.exit(f"--only: there is no {', '.join(sorted(strangers))}")
        options.only = options.only or _usual(command)
        options.seconds = options.seconds or SECONDS
        if options.loss is None and options.jitter is None:
            options.loss, options.jitter = BAD if command == "lossy" else GOOD
        options.loss, options.jitter = options.loss or [], options.jitter or []
        told = machine()
        found = asyncio.run(COMMANDS[command](options))
        report.keep(command, {"machine": told, "figures": found})
        print(json.dumps({"machine": told, command: found}, indent=2))
    report.write(docs=options.write_docs)


def _usual(command: str) -> list[str]:
    """Whom a command compares."""
    if command == "delivered":
        return list(DELIVERED)
    # For lips and for many sessions LiveKit's has the floor's ears, and nothing more.
    return [
        name for name in PARTIES if name != "livekit" or command not in ("curve", "lips", "lossy")
    ]


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)
