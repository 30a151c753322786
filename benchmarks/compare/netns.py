"""A network namespace of the benchmark's own, in which packets may be lost or late."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

from benchmarks.compare.stage import ROOT

BOUND = 3600.0  # s
ADDRESS = "10.200.0.1/24"  # leads nowhere


def unable() -> str | None:
    """Why there cannot be one here; None if there can."""
    if os.geteuid() != 0:
        return "it takes root"
    missing = [tool for tool in ("unshare", "ip", "iptables") if shutil.which(tool) is None]
    return f"there is no {', '.join(missing)}" if missing else None


async def apart(module: str, **arguments: Any) -> Any:
    """Run a module in a namespace of its own, with these arguments as JSON.

    Returns:
        What it prints as its last line, read as JSON.
    """
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "--", sys.executable, "-m", module, json.dumps(arguments)),
        stdout=PIPE,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        limit=1 << 24,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), BOUND)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"{module} failed with {process.returncode}")
    return json.loads(said.splitlines()[-1])


def begin() -> None:
    """Have a loopback interface, and another one, without which WebRTC does not begin."""
    for command in (
        "link set lo up",
        "link add outside type veth peer name nobody",
        f"address add {ADDRESS} dev outside",
        "link set outside up",
        "link set nobody up",
        "route add default dev outside",
    ):
        subprocess.run(["ip", *command.split()], check=True)


def lose(percent: float, port: int) -> None:
    """Lose so many of the UDP packets that come from a port, at random."""
    rule = ["-A", "INPUT", "-i", "lo", "-p", "udp", "--sport", str(port)]
    chance = ["-m", "statistic", "--mode", "random", "--probability", str(percent / 100)]
    subprocess.run(["iptables", *rule, *chance, "-j", "DROP"], check=True)


def divert(port: int, to: int, *, unless: int) -> None:
    """Lead UDP packets for one port to another one, unless they carry a mark."""
    rule = f"-t nat -A OUTPUT -p udp --dport {port} -m mark ! --mark {unless} -j REDIRECT"
    subprocess.run(["iptables", *rule.split(), "--to-ports", str(to)], check=True)


def udp_ports() -> list[int]:
    """The UDP ports that are bound in here."""
    lines = [
        line
        for table in ("udp", "udp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
    ]
    return sorted({int(line.split()[1].rpartition(":")[2], 16) for line in lines})
