"""The inside of a party's process: it does as it is told, line by line, and writes down what comes.

The same for all of them, so that their figures can be compared. Times are `time.monotonic()`, which
on Linux all processes of a machine share. Runs in the judges' environment too: numpy and asyncio
only.
"""

import asyncio
import gc
import json
import os
import resource
import sys
import time
import uuid
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.compare.pacing import RATE, frames
from benchmarks.compare.record import Record

JOIN_BOUND = 40.0  # s
QUIET = 1.2  # s without sound: the utterance is over, also for those who know by a time-out
SETTLE = 2.0  # s after the first picture: jitter buffers and encoders come to rest
WARM_UP = 12.0  # s of speech: the avatar's encoder has as many bits for each party by then
LAG_EVERY = 0.005  # s between looks at the event loop
MEMORY_EVERY = 5.0  # s
LINE_LIMIT = 1 << 20


class Party(Protocol):
    """A client of the avatar: one session of one of those who are compared."""

    async def join(self, where: dict[str, Any]) -> None:
        """Get a session, up to its first picture or a little before."""

    async def say(self, speech: AsyncIterator[bytes], context: str) -> None:
        """Hand over one utterance as its frames come (24 kHz mono s16le), and end it.

        Notes `in` when the first frame is there.
        """

    async def interrupt(self) -> None:
        """Fall silent. Notes `interrupted` at the moment it is asked for."""

    async def leave(self) -> None:
        """End the session."""

    async def told(self) -> dict[str, Any]:
        """What else is known of what has just happened."""


Make = Callable[[Record], Party]


class Client:
    """A party's sessions, and what is done with them."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._sessions: list[tuple[Party, Record]] = []

    async def join(self, where: dict[str, Any]) -> dict[str, Any]:
        """Begin one more session; over when its picture has come and all has settled."""
        record = Record(tuple(where["mouth"]))
        party = self._make(record)
        began = time.monotonic()
        self._sessions.append((party, record))
        async with asyncio.timeout(JOIN_BOUND):
            await party.join(where)
            while not record.pictures:  # noqa: ASYNC110 - whoever shows it tells nobody
                await asyncio.sleep(0.01)
        took = time.monotonic() - began
        await asyncio.sleep(SETTLE)
        return {"first picture": took, "memory": memory()}

    async def leave(self) -> dict[str, Any]:
        """End all sessions."""
        while self._sessions:
            await self._sessions.pop()[0].leave()
        return {}

    async def utterances(self, speech: str, paces: list[str], file: str) -> dict[str, Any]:
        """Say one thing after another, each in its pace, and wait until each has been heard."""
        party, record = self._sessions[0]
        record.clear()
        record.keep = True
        for number, (pcm, pace) in enumerate(zip(np.load(speech), paces, strict=True)):
            await asyncio.sleep(0.3)  # pictures of a mouth that is shut
            record.note(f"say {number} {pace}")
            await party.say(frames(pcm.tobytes(), pace), f"utterance-{uuid.uuid4()}")
            await self._quiet(record, len(pcm) / RATE)
        record.keep = False
        record.save(Path(file))
        return await party.told()

    async def barge_ins(
        self, speech: str, at: list[float], then: float, file: str
    ) -> dict[str, Any]:
        """Interrupt speech at instants after its first sound, and speak again soon after.

        Each is followed by an utterance that nothing came before, to compare the onset with.
        """
        party, record = self._sessions[0]
        record.clear()
        record.keep = True
        with np.load(speech) as data:
            long, short = list(data["long"]), list(data["short"])
        for number, instant in enumerate(at):
            record.note(f"say {number} burst old")
            before = record.last_audible
            await party.say(frames(long.pop(0).tobytes(), "burst"), f"old-{number}")
            async with asyncio.timeout(10):
                while record.last_audible == before:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0.002)
            await asyncio.sleep(instant)
            record.note(f"cut {number}")
            await party.interrupt()
            await asyncio.sleep(then)
            for name in ("next", "calm"):
                pcm = short.pop(0)
                record.note(f"say {number} burst {name}")
                await party.say(frames(pcm.tobytes(), "burst"), f"{name}-{number}")
                await self._quiet(record, len(pcm) / RATE)
        record.keep = False
        record.save(Path(file))
        return {}

    async def steady(self, speech: str, seconds: float) -> dict[str, Any]:
        """Speak half of the time, in real time, and say what that costs."""
        over = asyncio.Event()
        talking = [
            asyncio.create_task(self._talk(party, np.load(speech), number, over))
            for number, (party, _) in enumerate(self._sessions)
        ]
        await asyncio.sleep(WARM_UP)
        for _, record in self._sessions:
            record.clear()
        lags = array("d")  # as a list it would be what grows
        probe = asyncio.create_task(_probe(lags))
        used, busy, began = cpu(), machine(), time.monotonic()
        resident = [memory()]
        while (left := began + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(left, MEMORY_EVERY))
            resident.append(memory())
        used, busy, wall = cpu() - used, machine() - busy, time.monotonic() - began
        shown = [record.pictures / wall for _, record in self._sessions]
        gaps = [record.longest_gap for _, record in self._sessions]
        probe.cancel()
        over.set()
        await asyncio.gather(*talking)
        await asyncio.gather(probe, return_exceptions=True)
        return {
            "cpu": used / wall,
            "machine": busy / wall,
            "lags": [round(lag * 1000, 3) for lag in lags],
            "memory": resident[-1],
            "resident": resident,
            "pictures a second": shown,
            "longest gaps": gaps,
            "told": [await party.told() for party, _ in self._sessions],
        }

    async def _talk(self, party: Party, speech: Any, session: int, over: asyncio.Event) -> None:
        number = 0
        while not over.is_set():
            pcm = speech[number % len(speech)]
            await party.say(frames(pcm.tobytes(), "real-time"), f"talk-{session}-{number}")
            await asyncio.sleep(len(pcm) / RATE)
            number += 1

    async def _quiet(self, record: Record, length: float) -> None:
        """Wait until an utterance that has been said has been heard as well."""
        said = time.monotonic()
        while time.monotonic() < said + length + 6.0:
            await asyncio.sleep(0.02)
            if time.monotonic() - max(said, record.last_audible) > QUIET and (
                record.last_audible > said - length
            ):
                return
        record.note("never quiet")


async def _probe(lags: "array[float]") -> None:
    """Note by how much timers of this event loop are late."""
    due = time.monotonic()
    while True:
        due = max(due, time.monotonic()) + LAG_EVERY
        await asyncio.sleep(due - time.monotonic())
        lags.append(max(0.0, time.monotonic() - due))


def cpu() -> float:
    """CPU time this process has used, in s."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def machine() -> float:
    """CPU time the whole machine has used, in s."""
    with open("/proc/stat") as stat:
        user, nice, system, _, _, irq, soft = map(int, stat.readline().split()[1:8])
    return (user + nice + system + irq + soft) / os.sysconf("SC_CLK_TCK")


def memory() -> float:
    """What this process has resident, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def _serve(make: Make, answers: int) -> None:
    reader = asyncio.StreamReader(limit=LINE_LIMIT)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    def answer(result: dict[str, Any]) -> None:
        os.write(answers, json.dumps(result).encode() + b"\n")

    client = Client(make)
    gc.collect()
    gc.freeze()  # as docs/operating.md advises, for everybody
    answer({"memory": memory()})
    async for line in reader:
        order = json.loads(line)
        try:
            answer(await getattr(client, order.pop("do"))(**order))
        except Exception as error:
            answer({"error": f"{type(error).__name__}: {error}"})
    await client.leave()


def main(make: Make) -> None:
    """Be a party's process until stdin is closed."""
    answers = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed goes to stderr
    asyncio.run(_serve(make, answers))
    os._exit(0)  # LiveKit's threads would call into an interpreter that is being taken down
