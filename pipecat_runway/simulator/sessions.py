"""One simulated realtime session: its status, what its worker did, and what it is billed."""

import asyncio
import base64
import math
import secrets
import time
import uuid
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from pipecat_runway.simulator.avatars import timestamp
from pipecat_runway.simulator.faults import Faults
from pipecat_runway.simulator.rooms import AvatarRoom, LiveKitKeys, ManagedRoom
from pipecat_runway.simulator.worker_host import LAST_KINDS
from pipecat_runway.simulator.worker_messages import WorkerEvent


class Status(StrEnum):
    """The statuses of the OpenAPI's session union."""

    NOT_READY = "NOT_READY"
    READY = "READY"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


ENDED = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
REMOVED = "[removed]"


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A tool of the backend that a session's partner has called.

    Attributes:
        name: The tool's.
        args: What it was called with.
        result: What it answered. None: it failed, or has not answered yet.
        error: Why it failed, as the partner was told. None: it has not.
        seconds: How long it took. None: it has not answered yet.
    """

    name: str
    args: dict[str, Any]
    result: Any = None
    error: str | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Said:
    """What one side of a conversation has said.

    Attributes:
        role: ``user`` or ``assistant``.
        text: What of it was heard.
        at: When that was over, UTC.
    """

    role: str
    text: str
    at: datetime


class SimulatedSession:
    """A session as the API shows it, and what a test may want to know beyond that.

    Its statuses only ever move forward; once it has ended nothing changes but its events.

    Attributes:
        id: UUID version 4.
        status: What a retrieve says.
        queued: Whether it waits for a free slot.
        created_at: When it was created, UTC.
        body: The create's body, without tokens and signed addresses.
        room: The customer's room; None: Runway's own, `managed`.
        managed: The room of Runway's own; None: the customer's.
        signed_url: Where its conversation is held instead, at ElevenLabs.
        character: A preset's id, or an avatar's own id.
        faults: The knobs it began with, as they were turned since.
        events: What its worker reported, oldest first.
        worker_called: Whether its worker may be in the room or on the way to it.
        admitted: Set when it has a slot.
        at_ready: Set when it is READY for the first time.
        consumed: Set when the user's credentials for the managed room have been handed out.
        running: Set when it is RUNNING for the first time, or has ended.
        ended: Set when its status is final.
        worker_gone: Set when it has ended and its worker is in no room, or never came.
    """

    def __init__(
        self, body: dict[str, Any], faults: Faults, keys: LiveKitKeys, *, queued: bool = False
    ) -> None:
        self.id = str(uuid.uuid4())
        self.status = Status.NOT_READY
        self.queued = queued
        self.created_at = datetime.now(UTC)
        self.body = without_secrets(body)
        self.room = AvatarRoom.of(body)
        self.managed = None if self.room else ManagedRoom(self.id, keys, faults.token_lifetime)
        self.signed_url: str | None = body.get("integration", {}).get("signedUrl")
        self.character: str = body["avatar"].get("presetId") or body["avatar"]["avatarId"]
        self.faults = faults
        self.events: list[WorkerEvent] = []
        self.admitted = asyncio.Event()
        self.at_ready = asyncio.Event()
        self.consumed = asyncio.Event()
        self.running = asyncio.Event()
        self.ended = asyncio.Event()
        self.worker_gone = asyncio.Event()
        self.worker_called = False
        self._began = time.monotonic()
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._expires_at = self.created_at
        self._session_key = ""
        self._failure_code = ""
        self._news = asyncio.Event()
        if not queued:
            self.admit()

    def __repr__(self) -> str:
        return f"SimulatedSession(id={self.id!r}, status={self.status.value!r})"

    @property
    def is_open(self) -> bool:
        """Whether it has not ended, and so is billed on."""
        return self.status not in ENDED

    @property
    def held_up(self) -> bool:
        """Whether it is queued whatever slots are free."""
        return time.monotonic() < self._began + self.faults.queue_for

    @property
    def limit(self) -> float:
        """Seconds it may be RUNNING."""
        asked: float = self.body.get("maxDuration", 300)  # the OpenAPI's default
        return min(asked, self.faults.effective_limit)

    @property
    def billed_seconds(self) -> int:
        """Seconds from its create to its end, or until now; a begun second counts."""
        end = time.monotonic() if self._ended_at is None else self._ended_at
        return math.ceil(end - self._began)

    @property
    def credits(self) -> int:
        """What it cost so far: two at its create, two for every six seconds begun."""
        # One third party's model, which fits the two bills it gives (44 and 46 for two minutes).
        return 2 + 2 * math.ceil(self.billed_seconds / 6)

    def to_json(self) -> dict[str, Any]:
        """What a retrieve answers: exactly the fields of its status."""
        answer: dict[str, Any] = {
            "id": self.id,
            "createdAt": timestamp(self.created_at),
            "status": self.status.value,
        }
        match self.status:
            case Status.NOT_READY if self.queued:
                answer["queued"] = True
            case Status.READY:
                answer["expiresAt"] = timestamp(self._expires_at)
                answer["sessionKey"] = self._session_key
            case Status.COMPLETED:
                answer["duration"] = self.billed_seconds
            case Status.FAILED:
                answer["failure"] = "The simulated session failed."
                answer["failureCode"] = self._failure_code
        return answer

    def ready(self) -> None:
        """Its credentials can be consumed for a while."""
        if self.status is Status.NOT_READY:
            self.status = Status.READY
            self._expires_at = datetime.now(UTC) + timedelta(seconds=self.faults.ready_lifetime)
            self._session_key = f"stk_{secrets.token_hex(32)}"
            self.at_ready.set()

    def admit(self) -> None:
        """It has a slot."""
        self.queued = False
        self.admitted.set()

    def call_worker(self) -> AvatarRoom:
        """Its worker is about to be sent to the room."""
        self.worker_called = True
        if self.managed is not None:
            return self.managed.for_worker()
        assert self.room is not None
        return self.room

    @property
    def room_name(self) -> str:
        """Name of its LiveKit room."""
        return self.room.room_name if self.room else self.id

    def opens_with(self, session_key: str) -> bool:
        """Whether this is its session key."""
        return bool(self._session_key) and secrets.compare_digest(
            session_key.encode(), self._session_key.encode()
        )

    def run(self) -> None:
        """Its avatar is in the room."""
        if self.status in (Status.NOT_READY, Status.READY):
            self.status = Status.RUNNING
            self._started_at = time.monotonic()
            self.running.set()

    def end(self, status: Status, failure_code: str | None = None) -> None:
        """It is over, if ``status`` is a final one; only the first such call counts."""
        if not self.is_open or status not in ENDED:
            return
        self._ended_at = time.monotonic()
        self._failure_code = failure_code or self.faults.failure_code
        self.queued = False
        self.status = status
        self.running.set()
        self.ended.set()
        self._settle()

    def record(self, event: WorkerEvent) -> None:
        """Keep what its worker reported and wake those who wait for it."""
        self.events.append(event)
        self._news.set()
        self._news = asyncio.Event()
        if event.kind in LAST_KINDS:
            self.worker_called = False
            self._settle()

    async def wait_for(self, kind: str, timeout: float, **data: Any) -> WorkerEvent:
        """The first event of this kind, past or to come.

        Args:
            kind: See :class:`~pipecat_runway.simulator.worker_messages.WorkerEvent`.
            timeout: Seconds to wait.
            **data: What the event's data must hold.

        Raises:
            TimeoutError: None came in time; the message tells which kinds did.
        """

        def fits(event: WorkerEvent) -> bool:
            return event.kind == kind and data.items() <= event.data.items()

        return await self.wait_until(fits, timeout, f"{kind!r} with {data}" if data else repr(kind))

    async def wait_until(
        self, fits: Callable[[WorkerEvent], bool], timeout: float, wanted: str = "fitting"
    ) -> WorkerEvent:
        """The first event ``fits`` accepts, past or to come; otherwise as :meth:`wait_for`."""
        seen = 0
        try:
            async with asyncio.timeout(timeout):
                while True:
                    for event in self.events[seen:]:
                        if fits(event):
                            return event
                    seen = len(self.events)
                    await self._news.wait()
        except TimeoutError:
            kinds = ", ".join(dict.fromkeys(event.kind for event in self.events)) or "nothing"
            message = f"no {wanted} event within {timeout} s; there were: {kinds}"
            raise TimeoutError(message) from None

    def received(self, stream: str) -> bytes:
        """The samples that came in on one byte stream, if the simulator keeps audio."""
        parts = [
            base64.b64decode(event.data["pcm"])
            for event in self.events
            if event.kind == "audio" and event.data["stream"] == stream and "pcm" in event.data
        ]
        return b"".join(parts)

    @property
    def heard(self) -> bytes:
        """What its partner heard of the user, if the simulator keeps audio: 16 kHz s16le mono."""
        return b"".join(
            base64.b64decode(event.data["pcm"])
            for event in self.events
            if event.kind == "heard" and "pcm" in event.data
        )

    @property
    def calls(self) -> list[ToolCall]:
        """The calls its partner made of tools of the backend, in order, with what came of them."""
        calls: dict[str, ToolCall] = {}
        for event in self.events:
            data = event.data
            if event.kind == "backend_call":
                calls[data["call"]] = ToolCall(name=data["name"], args=data["args"])
            elif event.kind == "backend_result":
                calls[data["call"]] = replace(
                    calls[data["call"]],
                    result=data.get("result"),
                    error=data.get("error"),
                    seconds=data["seconds"],
                )
        return list(calls.values())

    @property
    def client_events(self) -> list[tuple[str, dict[str, Any]]]:
        """The client events its partner sent, by name and arguments, in order."""
        sent = [event.data for event in self.events if event.kind == "client_event"]
        return [(data["name"], data["args"]) for data in sent]

    @property
    def conversation(self) -> list[Said]:
        """What both sides have said in a managed room, in order."""
        roles = {"turn_heard": "user", "said": "assistant"}
        return [
            Said(roles[event.kind], event.data["text"], self.when(event.at))
            for event in self.events
            if event.kind in roles
        ]

    @property
    def started_at(self) -> datetime | None:
        """When it was RUNNING first, UTC."""
        return None if self._started_at is None else self.when(self._started_at)

    @property
    def ended_at(self) -> datetime | None:
        """When it ended, UTC."""
        return None if self._ended_at is None else self.when(self._ended_at)

    @property
    def failure_code(self) -> str:
        """Why it is FAILED."""
        return self._failure_code

    def when(self, at: float) -> datetime:
        """The instant of an event, UTC."""
        return self.created_at + timedelta(seconds=at - self._began)

    def _settle(self) -> None:
        if not self.is_open and not self.worker_called:
            self.worker_gone.set()


def without_secrets(body: Any) -> Any:
    """A copy of a request's body in which tokens and signed addresses are gone."""
    copy = deepcopy(body)
    if isinstance(copy, dict):
        for name in ("integration", "livekit"):
            given = copy.get(name)
            if isinstance(given, dict):
                given.update({key: REMOVED for key in ("token", "signedUrl") if key in given})
    return copy
