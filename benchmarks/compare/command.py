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

from loguru import logger

from benchmarks.compare import barge_in, lips, load, netns, onsets, own_delay, report, slow_consumer
from benchmarks.compare.pacing import PACES
from benchmarks.compare.stage import PARTIES, Stage
from pipecat_runway.simulator import LiveKitServer
from tests.conftest import service_for
from tests.judges import judge
from tests.scenarios.bars import LUMA, show_bars

Result = dict[str, Any]
PACKAGES = ("pipecat-runway", "pipecat-ai", "livekit", "runwayml", "aiortc")
USAGE = "Beside other services: compare, curve, slow-consumer, colours, lips, report."
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
            found["load"] = await load.measure(stage, parties, options.rounds, options.seconds)
    return found


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
    """Whether sound and picture belong together, with packets lost and without."""
    parties = list(options.only)
    found = {}
    for loss in options.loss:
        if not loss:
            async with Stage(judges=await _judges(parties)) as stage:
                found["0"] = await lips.measure(stage, parties, options.minutes)
        elif reason := netns.unable():
            print(f"lips: no packets are lost on purpose here: {reason}", file=sys.stderr)
        else:
            found[f"{loss:g}"] = await netns.apart(
                "benchmarks.compare.lossy", loss=loss, parties=parties, minutes=options.minutes
            )
    return {"minutes": options.minutes, "loss": found}


COMMANDS: dict[str, Callable[[argparse.Namespace], Awaitable[Result]]] = {
    "compare": compare,
    "curve": curve,
    "slow-consumer": slow,
    "colours": colours,
    "lips": lips_and_sound,
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


def main(arguments: list[str]) -> None:
    """Run one command, keep its figures, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("command", choices=[*COMMANDS, "report"])
    parser.add_argument("--count", type=int, default=20, help="utterances of each pace; barge-ins")
    parser.add_argument("--only", nargs="+", choices=PARTIES, help="these parties")
    parser.add_argument("--pace", nargs="+", choices=PACES, default=PACES, help="how TTS comes")
    parser.add_argument("--what", nargs="+", choices=WHAT, default=WHAT, help="compare: only these")
    parser.add_argument("--rounds", type=int, default=3, help="compare: rounds of the load")
    parser.add_argument("--seconds", type=float, default=20, help="how long a session runs")
    parser.add_argument("--most", type=int, default=8, help="curve: sessions in one process")
    parser.add_argument("--size", type=_size, default=(1280, 720), help="curve: of the picture")
    parser.add_argument("--minutes", type=float, default=1, help="how long others run")
    parser.add_argument(
        "--loss", nargs="+", type=float, default=[0], help="lips: %% of packets lost, in turn"
    )
    parser.add_argument("--write-docs", action="store_true", help="renew docs/benchmarks.md")
    options = parser.parse_args(arguments)
    if options.only is None:
        options.only = [p for p in PARTIES if options.command == "compare" or p != "livekit"]
    logger.remove()
    logger.add(sys.stderr, level="WARNING")
    if options.command != "report":
        told = machine()
        found = asyncio.run(COMMANDS[options.command](options))
        report.keep(options.command, {"machine": told, "figures": found})
        print(json.dumps({"machine": told, options.command: found}, indent=2))
    report.write(docs=options.write_docs)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    return int(width), int(height)
