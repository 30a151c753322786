"""The process in which an avatar lives: ``python -m pipecat_runway.simulator.worker``.

Orders come as lines on stdin, events go as lines to stdout. When stdin closes, because the parent
closed it or because the parent is no more, all avatars leave and the process ends.
"""

import asyncio
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipecat_runway.simulator.avatar import Avatar
from pipecat_runway.simulator.faults import Action
from pipecat_runway.simulator.partner import Partner
from pipecat_runway.simulator.performer import Performer
from pipecat_runway.simulator.playout import Cues
from pipecat_runway.simulator.switchboard import IN_THE_ROOM, LIVE, Switch, read_switch, shown
from pipecat_runway.simulator.worker_messages import HELLO, Do, Join, Leave, WorkerEvent, read_order

LAST_WORDS = 2.0  # seconds the avatars have to leave their rooms when the process must end
ORDER_LIMIT = 64 * 1024 * 1024  # a script may hold minutes of sound

# Three base64url parts: an access token, however it got into a message.
TOKEN = re.compile(r"[\w-]{16,}\.[\w-]{16,}\.[\w-]{16,}")

Emit = Callable[[WorkerEvent], None]


class Session:
    """The avatar of one Runway session: its coming, its drop-outs, its leaving.

    Args:
        order: The order it follows.
        emit: Takes what it reports.
        keep_audio: Whether ``audio`` events carry the samples.
    """

    def __init__(self, order: Join, emit: Emit, *, keep_audio: bool) -> None:
        self._order = order
        self._emit = emit
        self._keep_audio = keep_audio
        self._timers: list[asyncio.TimerHandle] = []
        self._cues = Cues()
        self._avatar: Performer | None = None
        self._end: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._drop_out = asyncio.Event()
        for text in order.faults.script:
            if (switch := read_switch(text)).speech is not None:
                self.throw(switch)
        self.task = asyncio.create_task(self._run())

    def end(self, reason: str) -> None:
        """Let the avatar leave; the first reason counts."""
        if not self._end.done():
            self._end.set_result(reason)
        self._drop_out.set()

    def throw(self, switch: Switch) -> None:
        """Throw a switch, at once or when so much has been said."""
        if switch.speech is None:
            self._do(switch)
        else:
            self._cues.add(switch.speech, lambda: self._do(switch.now))

    def _do(self, switch: Switch) -> None:
        if self._end.done():
            return
        action = switch.action
        mine = switch.name in LIVE if action is None else action in IN_THE_ROOM
        if not mine:
            self._report("due", {"switch": str(switch)})
            return
        self._report("fault", {"name": switch.name, "value": shown(switch)})
        match action:
            case Action.KILL:
                os.kill(os.getpid(), signal.SIGKILL)
            case Action.FREEZE:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Action.LEAVE:
                self.end("fault")
            case Action.REJOIN:
                self._drop_out.set()
            case Action.BABBLE if self._avatar is not None:
                self._avatar.babble(switch.value)
            case None:
                faults = replace(self._order.faults, **{switch.name: switch.value})
                self._order = replace(self._order, faults=faults)
                if self._avatar is not None:
                    self._avatar.turn(faults)

    async def _run(self) -> None:
        faults = self._order.faults
        try:
            await asyncio.wait(
                [self._end], timeout=None if faults.never_join else faults.join_delay
            )
            while not self._end.done():
                await self._stay()
        except Exception as error:
            # The class only: LiveKit's message may quote the address with its token.
            self._report("join_failed", {"error": type(error).__name__})
        else:
            self._report("left", {"reason": self._end.result()})
        finally:
            for timer in self._timers:
                timer.cancel()

    async def _stay(self) -> None:
        """Be in the room until the end, or the next drop-out."""
        kind = Avatar if self._order.part is None else Partner
        self._avatar = avatar = kind(
            self._order, self._report, self.end, self._cues, keep_audio=self._keep_audio
        )
        try:
            await avatar.join()
            if not self._timers:
                self._set_timers()
            await self._drop_out.wait()
            if not self._end.done():
                self._drop_out.clear()
        finally:
            self._avatar = None
            await avatar.leave()

    def _set_timers(self) -> None:
        """Begin to count what is counted from the first joining."""
        loop, faults = asyncio.get_running_loop(), self._order.faults
        if faults.leave_after is not None:
            self._timers.append(loop.call_later(faults.leave_after, self.end, "fault"))
        if faults.rejoin_after is not None:
            self._timers.append(loop.call_later(faults.rejoin_after, self._drop_out.set))

    def _report(self, kind: str, data: dict[str, Any]) -> None:
        self._emit(WorkerEvent(self._order.session_id, kind, time.monotonic(), data))


async def serve(orders: int, events: int, *, keep_audio: bool) -> None:
    """Follow orders until there are no more to come, then end the process.

    Args:
        orders: The file descriptor they are read from.
        events: The file descriptor events are written to.
        keep_audio: Whether ``audio`` events carry the samples.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=ORDER_LIMIT)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(orders, "rb")
    )
    writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, os.fdopen(events, "wb"))

    def emit(event: WorkerEvent) -> None:
        writer.write(event.to_line())

    emit(WorkerEvent("", HELLO, time.monotonic(), {}))
    sessions: dict[str, Session] = {}
    async for line in reader:
        match read_order(line):
            case Join() as order:
                session = Session(order, emit, keep_audio=keep_audio)
                sessions[order.session_id] = session
                session.task.add_done_callback(_forget(sessions, order.session_id))
            case Leave(session_id, reason):
                if session_id in sessions:
                    sessions[session_id].end(reason)
            case Do(session_id, switch):
                if session_id in sessions:
                    sessions[session_id].throw(read_switch(switch))
    for session in sessions.values():
        session.end("deleted")
    if sessions:
        await asyncio.wait([s.task for s in sessions.values()], timeout=LAST_WORDS)
    # Not the usual way out: LiveKit's threads would call into an interpreter being taken down.
    os._exit(0)


def _forget(sessions: dict[str, Session], session_id: str) -> Callable[[object], None]:
    def forget(_: object) -> None:
        del sessions[session_id]

    return forget


class _NoTokens(logging.Filter):
    """Takes tokens out of log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = TOKEN.sub("<token>", record.getMessage()), None
        record.exc_info = None  # LiveKit's errors quote the address they failed to reach
        return True


def main() -> None:
    """Run the process."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_NoTokens())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # Its complaints about connections come to light as events, or mean nothing at a farewell.
    logging.getLogger("livekit").setLevel(logging.CRITICAL)
    # The voice must not wait long for a thread that paints.
    sys.setswitchinterval(0.0005)
    # The protocol keeps stdout for itself; whatever else prints there goes to stderr.
    events = os.dup(1)
    os.dup2(2, 1)
    asyncio.run(serve(0, events, keep_audio="--keep-audio" in sys.argv[1:]))


if __name__ == "__main__":
    main()
