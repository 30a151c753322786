"""Sessions one after another, and several at once, in one process: what they leave behind."""

import asyncio
import gc
import os
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from livekit import api, rtc
from livekit.rtc._ffi_client import FfiClient
from pipecat.frames.frames import TTSStoppedFrame
from pipecat.processors.filters.identity_filter import IdentityFilter
from runwayml import AsyncRunwayML

from pipecat_runway import RunwayVideoService
from pipecat_runway.playback import Utterance
from tests.kit.content import compare_content
from tests.kit.marks import marked_speech, numbers
from tests.kit.pipeline import running, tts_utterance

RATE = 24_000
PIECES = 4  # of 100 ms, in each session
MB = 1_000_000
STATUS = Path("/proc/self/status")  # Linux


class Runway(Protocol):
    """Where Runway and the LiveKit server are."""

    @property
    def env(self) -> dict[str, str]:
        """The settings that point at them."""


@dataclass(frozen=True)
class Sizes:
    """What this process holds.

    Attributes:
        memory: Resident memory in bytes; 0 where the system does not say.
        tasks: Tasks of the event loop.
        threads: Threads, LiveKit's own included where the system says.
        handles: Open files and sockets.
        rpc_handlers: RPC methods that are registered with LiveKit.
        listeners: Queues that LiveKit's library fills.
        kept: Rooms and utterances that still exist.
    """

    memory: int
    tasks: int
    threads: int
    handles: int
    rpc_handlers: int
    listeners: int
    kept: int

    @classmethod
    def now(cls) -> "Sizes":
        """Collect garbage and measure."""
        gc.collect()
        status = STATUS.read_text().split() if STATUS.exists() else []

        def field_of(name: str, default: int) -> int:
            return int(status[status.index(name) + 1]) if name in status else default

        things = gc.get_objects()
        participants = [t for t in things if isinstance(t, rtc.LocalParticipant)]
        return cls(
            memory=field_of("VmRSS:", 0) * 1024,
            tasks=len(asyncio.all_tasks()),
            threads=field_of("Threads:", threading.active_count()),
            handles=len(os.listdir("/dev/fd")),
            rpc_handlers=sum(len(p._rpc_handlers) for p in participants),
            listeners=len(FfiClient.instance.queue._subscribers),
            kept=sum(isinstance(thing, Utterance | rtc.Room) for thing in things),
        )


@dataclass(frozen=True)
class Growth:
    """How memory grew, by least squares.

    Attributes:
        slope: MB a session.
        bound: The upper end of its 95 % confidence interval, in MB a session.
    """

    slope: float
    bound: float

    @classmethod
    def of(cls, memory: Sequence[int]) -> "Growth":
        """Fit a line to what was measured after each session, in bytes."""
        count = len(memory)
        x, y = np.arange(count, dtype=float), np.asarray(memory, dtype=float) / MB
        slope, start = np.polyfit(x, y, 1)
        left = y - (start + slope * x)
        spread = np.sqrt(np.sum(left**2) / (count - 2) / np.sum((x - x.mean()) ** 2))
        student = 1.96 + 2.4 / (count - 2)
        return cls(float(slope), float(slope + student * spread))


@dataclass
class Report:
    """What was counted.

    Attributes:
        heard: Sessions in which every word was heard.
        wrong: What was wrong in the others.
        sizes: After each session.
        seconds: How long each took.
    """

    heard: int = 0
    wrong: list[str] = field(default_factory=list)
    sizes: list[Sizes] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def growth(self, warm_up: int) -> Growth:
        """How memory grew after the first so many sessions."""
        return Growth.of([sizes.memory for sizes in self.sizes[warm_up:]])

    def grown(self, warm_up: int) -> dict[str, tuple[int, int]]:
        """What there is more of after the last session than at most after the first so many."""
        first, last = self.sizes[:warm_up], self.sizes[-1]
        most = {f.name: max(getattr(s, f.name) for s in first) for f in fields(Sizes)}
        return {
            name: (before, getattr(last, name))
            for name, before in most.items()
            if name != "memory" and getattr(last, name) > before
        }


async def one_after_another(
    session: Callable[[], Awaitable[str]],
    count: int,
    told: Callable[[int, Sizes], None] = lambda number, sizes: None,
) -> Report:
    """Hold sessions one after another.

    Args:
        session: Holds one; returns what was wrong.
        count: How many.
        told: Called after each.
    """
    report = Report()
    for number in range(count):
        began = time.monotonic()
        if wrong := await session():
            report.wrong.append(f"{number}: {wrong}")
        else:
            report.heard += 1
        report.seconds.append(time.monotonic() - began)
        report.sizes.append(Sizes.now())
        told(number, report.sizes[-1])
    return report


async def speaking(service: RunwayVideoService, *, others: int = 1, timeout: float = 30.0) -> str:
    """Hold one session: a face, a short utterance, the end.

    Args:
        service: The service, not running yet.
        others: With how many it speaks at once.
        timeout: How long the face and the speech are waited for, each, in s.

    Returns:
        What was wrong with it.
    """
    async with running(service) as run:
        await run.started(timeout)
        await run.tape.wait_for_pictures(1, timeout)
        await run.feed(tts_utterance(marked_speech(0, PIECES, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame, timeout)
        await run.end(timeout)
    marks = run.tape.speech_pcm("u").marks(among=range(PIECES))
    verdict = compare_content(numbers(0, PIECES), marks)
    errors = [frame.error for frame in run.errors]
    # Where many share two cores sound may come in late; that it comes is what counts.
    broken = verdict.lost if others > 1 else [] if verdict.clean else [verdict]
    return "; ".join([*errors, *map(str, broken)])


async def at_once(make: Callable[[], RunwayVideoService], count: int) -> list[str]:
    """Hold sessions at once; what was wrong with each."""
    return list(await asyncio.gather(*(speaking(make(), others=count) for _ in range(count))))


# -- for comparison: the same without us -----------------------------------------------------------


async def pipeline_alone() -> str:
    """A pipeline in which nothing happens to the speech."""
    async with running(IdentityFilter()) as run:  # type: ignore[no-untyped-call]
        await run.started()
        await run.feed(tts_utterance(marked_speech(0, PIECES, RATE), RATE, 1, "u"))
        await run.tape.wait_for(TTSStoppedFrame)
        await run.end()
    return ""


async def livekit_alone(runway: Runway) -> str:
    """A session held with LiveKit's and Runway's own clients only."""
    keys = [runway.env[f"LIVEKIT_{name}"] for name in ("URL", "API_KEY", "API_SECRET")]
    url, key, secret = keys
    name = uuid.uuid4().hex

    def token(identity: str) -> str:
        grants = api.VideoGrants(room_join=True, room=name)
        access = api.AccessToken(key, secret).with_identity(identity).with_kind("agent")
        return access.with_grants(grants).to_jwt()

    async with (
        api.LiveKitAPI(url, key, secret) as livekit,
        AsyncRunwayML(
            api_key=runway.env["RUNWAYML_API_SECRET"], base_url=runway.env["RUNWAYML_BASE_URL"]
        ) as runwayml,
        _bare_room() as (room, seen, heard, left),
    ):
        await livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=600))
        await room.connect(url, token("bot"), rtc.RoomOptions(auto_subscribe=False))
        for method in ("one", "two"):
            room.local_participant.register_rpc_method(method, lambda call: "ok")
        await runwayml.realtime_sessions.create(
            model="gwm1_avatars",
            avatar={"type": "runway-preset", "preset_id": "cooking-teacher"},
            integration={
                "type": "livekit",
                "url": url,
                "token": token("avatar"),
                "room_name": name,
                "agent_identity": "bot",
            },
        )
        async with asyncio.timeout(30):
            await seen.wait()
            await asyncio.sleep(1.0)  # as long as a stream needs to arrive
            stream = await room.local_participant.stream_bytes(
                "AUDIO_",
                topic="lk.audio_stream",
                destination_identities=["avatar"],
                attributes={"sample_rate": "16000", "num_channels": "1"},
            )
            await stream.write(marked_speech(0, PIECES, 16_000))
            await stream.aclose()
            await heard.wait()
            await asyncio.sleep(PIECES / 10)
            while not left.is_set():
                await room.local_participant.publish_data(b'{"type": "END_CALL"}')
                await asyncio.wait({asyncio.ensure_future(left.wait())}, timeout=1.0)
        await room.disconnect()
        await livekit.room.delete_room(api.DeleteRoomRequest(room=name))
    return ""


@asynccontextmanager
async def _bare_room() -> AsyncIterator[
    tuple[rtc.Room, asyncio.Event, asyncio.Event, asyncio.Event]
]:
    """A room whose tracks are read; set when a picture, a sound and the end have come."""
    room, readers = rtc.Room(), []
    seen, heard, left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def read(stream: Any, news: asyncio.Event) -> None:
        try:
            async for event in stream:
                loud = not isinstance(event, rtc.AudioFrameEvent) or any(bytes(event.frame.data))
                if loud:
                    news.set()
        finally:
            await stream.aclose()

    def subscribed(track: Any, publication: Any, participant: Any) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            stream: Any = rtc.AudioStream(track, sample_rate=RATE, frame_size_ms=10)
            readers.append(asyncio.create_task(read(stream, heard)))
        else:
            stream = rtc.VideoStream(track, format=rtc.VideoBufferType.RGB24, capacity=2)
            readers.append(asyncio.create_task(read(stream, seen)))

    room.on("track_published", lambda publication, participant: publication.set_subscribed(True))
    room.on("track_subscribed", subscribed)
    room.on("participant_disconnected", lambda participant: left.set())
    try:
        yield room, seen, heard, left
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
