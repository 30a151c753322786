"""A local Runway: the owner of its API server, its sessions, its workers and its LiveKit server."""

import asyncio
import math
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Any, Protocol, Self

from aiohttp import web

from pipecat_runway.simulator.api import SeenRequest, create_app
from pipecat_runway.simulator.avatars import SimulatedAvatar
from pipecat_runway.simulator.elevenlabs import RATE as ELEVENLABS_RATE
from pipecat_runway.simulator.elevenlabs import ElevenLabs
from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.library import Library
from pipecat_runway.simulator.livekit_binary import Progress
from pipecat_runway.simulator.livekit_server import LiveKitServer
from pipecat_runway.simulator.rooms import LiveKitKeys
from pipecat_runway.simulator.script import Part, Script, Turn
from pipecat_runway.simulator.sessions import SimulatedSession, Status
from pipecat_runway.simulator.switchboard import Switch, SwitchError, read_switch
from pipecat_runway.simulator.switching import Operator
from pipecat_runway.simulator.worker_host import WorkerHost, WorkerProcessError
from pipecat_runway.simulator.worker_messages import WorkerEvent

CREDITS = 10_000  # what the simulated account begins with
END_TIMEOUT = 5.0

# Why a worker is called back from a session that ended with this status.
LEAVE_REASONS = {Status.COMPLETED: "limit", Status.CANCELLED: "deleted", Status.FAILED: "fault"}


class Workers(Protocol):
    """What the simulator asks of its avatar workers; :class:`WorkerHost` is the real one."""

    async def start(self) -> None:
        """Be ready to send workers."""

    async def aclose(self) -> None:
        """End all of them."""

    def kill(self) -> None:
        """End all of them as a crash would."""

    async def join(
        self,
        *,
        session_id: str,
        url: str,
        token: str,
        room_name: str,
        agent_identity: str | None,
        character: str,
        faults: Faults,
        part: Part | None = None,
    ) -> None:
        """Send a worker into a room."""

    async def leave(self, session_id: str, reason: str) -> None:
        """Call it back."""

    async def do(self, session_id: str, switch: Switch) -> None:
        """Have it throw a switch; a LookupError if there is no such worker."""


class RunwaySimulator:
    """Runway's API on 127.0.0.1, with avatar workers that join a real LiveKit server.

    An async context manager; what it started it ends, within bounds.

    Args:
        faults: The switchboard.
        livekit: A LiveKit server to share. None starts one and owns it.
        host: Address of the API.
        port: Its port. 0 takes a free one.
        api_key: The key it accepts. None makes one in Runway's form.
        keep_audio: Whether sessions keep the samples they receive.
        progress: Told, line by line, what building a LiveKit server is doing.
        workers: Makes the avatar workers' host, given the handler of their events.

    Attributes:
        elevenlabs: What stands for ElevenLabs; a session may have its agent for a brain.
        library: What the account keeps: avatars, documents, uploaded files.
        partner: What the partners of managed rooms say and do, in sessions to come.
        requests: Every request answered, oldest first, without tokens.
        api_key: The key it accepts.
        workers: The avatar workers' host.
    """

    def __init__(
        self,
        faults: Faults | None = None,
        *,
        livekit: LiveKitKeys | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        keep_audio: bool = False,
        progress: Progress = lambda line: None,
        workers: Callable[[Callable[[WorkerEvent], None]], Workers] | None = None,
    ) -> None:
        self.faults = faults or Faults()
        self.library = Library()
        self.elevenlabs = ElevenLabs(self)
        self.partner = Script()
        self.requests: list[SeenRequest] = []
        self.api_key = api_key or f"key_{secrets.token_hex(64)}"
        self.workers = (
            workers(self._on_event)
            if workers
            else WorkerHost(self._on_event, keep_audio=keep_audio)
        )
        self._livekit = livekit
        self._progress = progress
        self._host = host
        self._port = port
        self._base_url = ""
        self._sessions: dict[str, SimulatedSession] = {}
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._operator = Operator(self)
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"RunwaySimulator(base_url={self._base_url!r}, sessions={len(self._sessions)})"

    async def start(self) -> None:
        """Start everything; if a part fails, end what was started."""
        async with AsyncExitStack() as stack:
            if self._livekit is None:
                server = LiveKitServer(progress=self._progress)
                self._livekit = await stack.enter_async_context(server)
            stack.callback(self.library.close)
            stack.push_async_callback(self.workers.aclose)
            await self.workers.start()
            stack.push_async_callback(self._end_sessions)
            stack.push_async_callback(self._operator.aclose)
            runner = web.AppRunner(create_app(self), access_log=None, shutdown_timeout=0.5)
            stack.push_async_callback(runner.cleanup)
            await runner.setup()
            await web.TCPSite(runner, self._host, self._port).start()
            self._base_url = f"http://{self._host}:{runner.addresses[0][1]}"
            self._stack = stack.pop_all()

    async def aclose(self) -> None:
        """End every session, then everything else. Harmless when repeated."""
        await self._stack.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.aclose()

    @property
    def faults(self) -> Faults:
        """The knobs; set them at any time, for sessions and requests from then on.

        Raises:
            SwitchError: Their script cannot be read.
        """
        return self._faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        for text in faults.script:
            if (switch := read_switch(text)).now == switch:
                raise SwitchError(f"{text} stands in a script and needs a moment: {text}@2.5")
        self._faults = faults

    @property
    def avatars(self) -> dict[str, SimulatedAvatar]:
        """The account's custom avatars, by id."""
        return self.library.avatars

    @property
    def base_url(self) -> str:
        """Where its API is."""
        return self._base_url

    @property
    def livekit(self) -> LiveKitKeys:
        """The LiveKit server."""
        assert self._livekit is not None, "not started"
        return self._livekit

    @property
    def env(self) -> dict[str, str]:
        """The environment variables under which Runway's and LiveKit's clients find all this."""
        livekit = self.livekit
        return {
            "RUNWAYML_API_SECRET": self.api_key,
            "RUNWAYML_BASE_URL": self._base_url,
            "LIVEKIT_URL": livekit.url,
            "LIVEKIT_API_KEY": livekit.api_key,
            "LIVEKIT_API_SECRET": livekit.api_secret,
        }

    @property
    def sessions(self) -> list[SimulatedSession]:
        """Every session, oldest first."""
        return list(self._sessions.values())

    @property
    def open_sessions(self) -> list[SimulatedSession]:
        """The sessions that have not ended, and so are billed on."""
        return [session for session in self.sessions if session.is_open]

    @property
    def credit_balance(self) -> int:
        """What is left of the account."""
        if self.faults.no_credits:
            return 0
        return max(0, CREDITS - sum(session.credits for session in self.sessions))

    @property
    def is_full(self) -> bool:
        """Whether every slot for a session is taken."""
        limit = self.faults.max_sessions
        taken = [session for session in self.open_sessions if not session.queued]
        return limit is not None and len(taken) >= limit

    async def fault(self, switch: str, session: SimulatedSession | str | None = None) -> None:
        """Turn a knob, or do something, while sessions run.

        Args:
            switch: ``NAME[=VALUE][@[speech:]SECONDS]``, see
                :mod:`pipecat_runway.simulator.switchboard`: ``"kill"``, ``"muted=yes"``,
                ``"freeze@speech:1.2"``.
            session: Whose, or its id. None: all that are open and, of a knob, all to come.

        Raises:
            SwitchError: There is no such switch, or no such session, or not now.
        """
        if isinstance(session, str) and (found := self.find(session)) is None:
            raise SwitchError(f"there is no session {session!r}")
        of = found if isinstance(session, str) else session
        await self._operator.throw(read_switch(switch), of)

    async def wait_ended(self, timeout: float) -> None:
        """Wait until every session has ended, with its worker gone and its own room closed.

        Raises:
            TimeoutError: Some had not in time; the message names them.
        """
        try:
            async with asyncio.timeout(timeout):
                while waiting := self._unsettled():
                    await waiting[0].worker_gone.wait()
                    if life := self._lives.get(waiting[0].id):
                        await asyncio.wait([life])
        except TimeoutError:
            raise TimeoutError(f"not ended within {timeout} s: {self._unsettled()}") from None

    def find(self, session_id: str) -> SimulatedSession | None:
        """The session of this id."""
        return self._sessions.get(session_id)

    def create(self, body: dict[str, Any]) -> SimulatedSession:
        """Begin a session with a body that was found valid."""
        faults = self.faults
        queued = self.is_full or faults.queue_for > 0
        session = SimulatedSession(body, faults, self.livekit, queued=queued)
        self._sessions[session.id] = session
        self._operator.begin(session)
        life = asyncio.create_task(self._live(session), name=f"simulated session {session.id}")
        self._lives[session.id] = life
        life.add_done_callback(lambda _: self._over(session))
        return session

    def cancel(self, session: SimulatedSession) -> None:
        """End a session as a DELETE does: at once, and its worker is called back."""
        self._end(session, Status.CANCELLED)

    def fail(self, session: SimulatedSession, code: str) -> None:
        """Have a session turn FAILED."""
        self._end(session, Status.FAILED, code)

    async def _live(self, session: SimulatedSession) -> None:
        """A session's life. Whoever sends a worker calls it back: both happen here."""
        faults = session.faults
        doomed = faults.failure_delay if faults.end_after_failure is not None else None
        try:
            async with asyncio.timeout(doomed):
                await self._serve(session)
        except TimeoutError:
            session.end(Status.FAILED, faults.end_after_failure)
        except WorkerProcessError as error:
            failed = {"error": str(error)}
            self._on_event(WorkerEvent(session.id, "join_failed", time.monotonic(), failed))
        finally:
            if session.worker_called:
                await self.workers.leave(session.id, LEAVE_REASONS[session.status])
            if session.managed is not None and faults.deletes_room:
                with suppress(TimeoutError):
                    await asyncio.wait_for(session.worker_gone.wait(), END_TIMEOUT)
                await session.managed.delete()

    async def _serve(self, session: SimulatedSession) -> None:
        faults = session.faults
        if 0 < faults.queue_for < math.inf:
            await asyncio.sleep(faults.queue_for)
            self._admit()
        await session.admitted.wait()
        await asyncio.sleep(faults.join_delay)
        if faults.never_join:
            await session.ended.wait()
        elif session.managed is None:
            if faults.passes_ready:
                session.ready()
            await self._send_worker(session)
        else:
            await self._serve_user(session)
        await session.running.wait()
        if session.is_open:
            await asyncio.sleep(session.limit)
            session.end(Status.COMPLETED)

    async def _serve_user(self, session: SimulatedSession) -> None:
        """A session in a managed room, up to the coming of its user."""
        faults = session.faults
        if session.signed_url is not None and not self.elevenlabs.accepts(session.signed_url):
            session.end(Status.FAILED)
            return
        if faults.joins_after_consume is None:
            await self._send_worker(session)  # it is READY once that is there
        else:
            session.ready()
        await session.at_ready.wait()
        try:
            async with asyncio.timeout(faults.ready_lifetime):
                await session.consumed.wait()
            async with asyncio.timeout(faults.consumed_timeout):
                if faults.joins_after_consume is not None:
                    await asyncio.sleep(faults.joins_after_consume)
                    await self._send_worker(session)
                await session.running.wait()
        except TimeoutError:
            session.end(Status(faults.ready_expired_status))

    async def _send_worker(self, session: SimulatedSession) -> None:
        room = session.call_worker()
        await self.workers.join(
            session_id=session.id,
            url=room.url,
            token=room.token,
            room_name=room.room_name,
            agent_identity=room.agent_identity,
            character=session.character,
            faults=replace(session.faults, join_delay=0.0),  # it is over
            part=self._part(session),
        )

    def _part(self, session: SimulatedSession) -> Part | None:
        if session.managed is None:
            return None
        if session.signed_url is not None and session.faults.elevenlabs_rate != ELEVENLABS_RATE:
            silent = Script([Turn(heard="")])
            return Part.of(silent, session.body, None, session.managed.backend)
        avatar = self.avatars.get(session.character)
        start = session.body.get("startScript", avatar.start_script if avatar else None)
        return Part.of(self.partner, session.body, start, session.managed.backend)

    def _on_event(self, event: WorkerEvent) -> None:
        session = self._sessions[event.session_id]
        session.record(event)
        if event.kind == "due":
            self._operator.due(session, event.data["switch"])
        faults = session.faults
        match event.kind, event.data.get("reason"):
            case "joined", _ if session.managed is not None:
                session.ready()
            case (("joined" | "user_joined"), _):
                session.run()
            case "join_failed", _:
                self._end(session, Status.FAILED)
            case "left", "fault":
                self._end(session, Status(faults.leave_status))
            case "left", "room_lost" | "killed":
                self._end(session, Status(faults.room_lost_status))
            case "left", _:
                self._end(session, Status.COMPLETED)

    def _end(
        self, session: SimulatedSession, status: Status, failure_code: str | None = None
    ) -> None:
        was_open = session.is_open
        session.end(status, failure_code)
        # Only once: what is left of its life is to clear up.
        if was_open and not session.is_open and (life := self._lives.get(session.id)):
            life.cancel()

    def _over(self, session: SimulatedSession) -> None:
        """A session's life is over, so another's may begin."""
        del self._lives[session.id]
        self._operator.over(session)
        self._admit()

    def _admit(self) -> None:
        """Let those begin that wait for nothing but a slot that is free."""
        for waiting in self.open_sessions:
            if waiting.queued and not waiting.held_up and not self.is_full:
                waiting.admit()

    def _unsettled(self) -> list[SimulatedSession]:
        return [s for s in self.sessions if not s.worker_gone.is_set() or s.id in self._lives]

    async def _end_sessions(self) -> None:
        for session in self.open_sessions:
            self._end(session, Status.CANCELLED)
        if self._lives:
            await asyncio.wait(self._lives.values(), timeout=END_TIMEOUT)
        with suppress(TimeoutError):  # their process is ended next
            await self.wait_ended(END_TIMEOUT)
