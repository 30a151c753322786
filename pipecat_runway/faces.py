"""One face after another, in one room: who speaks for the bot, and who is seen.

:class:`Faces` owns the room, the sessions and their avatars: the first one's coming, the change to
the next before Runway's limit, the return after a failure, and the end of them all. What is said
and heard is :class:`~pipecat_runway.avatar.Avatar`'s.
"""

import asyncio
import contextlib
import time
import uuid
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from livekit import rtc
from loguru import logger

from pipecat_runway import renewal, wire
from pipecat_runway.addresses import check_room_address
from pipecat_runway.api import RunwayAPI
from pipecat_runway.errors import AvatarGoneError, ConcurrencyError, RunwayError
from pipecat_runway.face import Face
from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.room import AvatarRoom, Listener
from pipecat_runway.session import AvatarSession

STEADY = 30.0  # s; an avatar that lasted less is followed the later, the more often that happens
AHEAD = wire.SPEECH_RATE * 3 // 10  # samples, of where a word is divided between two faces


class Presence(Enum):
    """Whether there is a face."""

    ABSENT = auto()  # nothing was asked of Runway yet
    COMING = auto()  # it is being provisioned; speech waits
    PRESENT = auto()  # its picture has been seen
    AWAY = auto()  # its successor is awaited; meanwhile there is only voice
    GONE = auto()  # it failed, left or was ended; there is only voice


@dataclass(frozen=True, kw_only=True)
class AvatarOptions:
    """What an avatar is made of.

    Attributes:
        character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        livekit_url: The LiveKit server.
        livekit_api_key: Its API key.
        livekit_api_secret: Its API secret.
        sample_rate: Rate in Hz at which the avatar's sound is wanted.
        max_duration: Longest duration of a session in s; None for Runway's default.
        max_call_duration: After so many s no session follows another any more.
        voice_fallback: Whether another avatar comes after one that failed.
        ready_timeout: How long avatar and first picture are waited for, in s.
    """

    character: dict[str, str]
    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: str
    sample_rate: int
    max_duration: int | None
    max_call_duration: float
    voice_fallback: bool
    ready_timeout: float

    def __repr__(self) -> str:
        return f"AvatarOptions({self.character})"


class Audience(Protocol):
    """Who sees and hears the avatar. Called on the event loop; must not block."""

    def release(self, items: list[Any]) -> None:
        """These held items may go on, in this order."""

    def tail(self, utterance: Utterance) -> bytes:
        """Return the last samples of an utterance that the TTS never finished, 16 kHz mono."""

    def sent(self, utterance: Utterance) -> None:
        """The first sample of an utterance has been sent."""

    def heard(self, utterance: Utterance) -> None:
        """The first sound of an utterance has come back."""

    def sound(self, utterance: Utterance, pcm: bytes) -> None:
        """A piece of an utterance has come back: s16le mono."""

    async def picture(self, frame: rtc.VideoFrame) -> None:
        """The avatar's picture: tight RGB24."""

    def connected(self, session_id: str | None) -> None:
        """The avatar's first picture has been seen."""

    def disconnected(self, session_id: str | None, reason: str) -> None:
        """The avatar, once connected, is gone."""

    def renewing(self, session_id: str | None) -> None:
        """The session comes to its limit, another one is asked for."""

    def renewed(self, session_id: str | None) -> None:
        """The avatar goes on in this session."""

    def failed(self, error: RunwayError) -> None:
        """Something went wrong; speech goes on by voice."""


class Speaker(Protocol):
    """Who has the faces speak."""

    def spoke(self) -> None:
        """The ledger has changed, or whose turn it is."""

    def give_up(self) -> None:
        """What is owed goes on by voice."""


class Faces:
    """The avatars of one call.

    Args:
        api: Runway's REST API.
        options: What an avatar is made of.
        ledger: What is to be said. A change of faces may divide an utterance.
        audience: Who sees and hears them.
        speaker: Who has them speak.
        listener: Who is told what happens in the room.

    Attributes:
        presence: Whether there is a face.
        current: Who says what is said from now on; None before the first one is there.
        shown: Whose picture is seen.
        began_at: When the first one was asked for, in s.
        quiet: Set while nothing is owed.
        moved: Set by every change of the ledger.
        settled: Set once there is a face, or none will come.
    """

    def __init__(
        self,
        api: RunwayAPI,
        options: AvatarOptions,
        ledger: Ledger,
        *,
        audience: Audience,
        speaker: Speaker,
        listener: Listener,
    ) -> None:
        self.presence = Presence.ABSENT
        self.current: Face | None = None
        self.shown: Face | None = None
        self.began_at = 0.0
        self.quiet, self.moved, self.settled = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.quiet.set()
        self._api, self._options, self._ledger = api, options, ledger
        self._audience, self._speaker, self._listener = audience, speaker, listener
        self._room: AvatarRoom | None = None
        self._sessions: dict[str, AvatarSession] = {}  # those that may be open, by identity
        self._newest: AvatarSession | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._releasing: asyncio.Task[None] | None = None
        self._fallen = asyncio.Event()

    @property
    def session_id(self) -> str | None:
        """Runway's id of the session that speaks, or is to; None before it exists."""
        session = self.current.session if self.current else self._newest
        return session.session_id if session else None

    def present(self) -> list[Face]:
        """Return whoever speaks, or is about to."""
        return self.all() if self.presence is Presence.PRESENT else []

    def holder(self) -> Face | None:
        """Return whose turn it is to be heard."""
        if self.presence is not Presence.PRESENT:
            return None
        head = self._ledger.head
        return head.speaker if head is not None and head.speaker is not None else self.current

    def all(self) -> list[Face]:
        """Return whoever may still hold speech."""
        return [face for face in dict.fromkeys((self.shown, self.current)) if face is not None]

    async def end(self, was: Presence) -> None:
        """End every session and leave the room.

        Args:
            was: The presence before the end began.
        """
        for face in self.all():
            await face.aclose()
        await self._release()
        self.settled.set()
        if was is Presence.PRESENT:
            self._audience.disconnected(self.session_id, "ended")

    # -- coming, one after another -----------------------------------------------------------------

    async def run(self) -> None:
        """Have a first avatar come, and others follow it."""
        self.began_at = time.monotonic()
        options = self._options
        room = self._room = AvatarRoom(
            url=options.livekit_url,
            api_key=options.livekit_api_key,
            api_secret=options.livekit_api_secret,
            sample_rate=options.sample_rate,
            listener=self._listener,
        )
        try:
            check_room_address(options.livekit_url, self._api.host)
            # A wrong address or secret shows before anything is billed, and whoever is in the room
            # first is told of the avatar at once: LiveKit tells latecomers up to 3 s later.
            await room.reserve()
            await room.connect()
            session = self._new_session(room)
            await self._join(session)
            self.current = self.shown = self._new_face(room, session)
        except RunwayError as e:
            self.lose(e)
            return
        self.presence = Presence.PRESENT
        self.settled.set()
        self._audience.connected(self.session_id)
        self._speaker.spoke()
        falls = 0
        while not self._is(Presence.GONE) and self._is_young():
            if self._is(Presence.PRESENT):
                await self._renew(room, self.current)
            else:
                age = time.monotonic() - self.current.session.asked_at
                falls = falls + 1 if age < STEADY else 0
                await self._come_back(room, falls)

    def _is(self, presence: Presence) -> bool:
        return self.presence is presence

    def _is_young(self) -> bool:
        return time.monotonic() - self.began_at < self._options.max_call_duration

    def _new_session(self, room: AvatarRoom) -> AvatarSession:
        options = self._options
        session = AvatarSession(
            api=self._api,
            room=room,
            avatar=options.character,
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            livekit_url=options.livekit_url,
            max_duration=options.max_duration,
            ready_timeout=options.ready_timeout,
        )
        self._sessions[session.identity] = self._newest = session
        return session

    def _new_face(self, room: AvatarRoom, session: AvatarSession) -> Face:
        return Face(
            room=room,
            session=session,
            ledger=self._ledger,
            sample_rate=self._options.sample_rate,
            on_sent=self._audience.sent,
        )

    async def _join(self, session: AvatarSession) -> None:
        """Have an avatar come into the room.

        Raises:
            RunwayError: It does not; its session is being ended.
        """
        try:
            await session.start()
        except RunwayError:
            self._retire(session)
            raise

    def _retire(self, session: AvatarSession) -> asyncio.Task[None]:
        """End a session while the call goes on."""

        async def end() -> None:
            await session.end()
            self._sessions.pop(session.identity, None)

        task = asyncio.create_task(end())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return task

    # -- one session after another ----------------------------------------------------------------

    async def _renew(self, room: AvatarRoom, old: Face) -> None:
        """Let another session follow this one when it is due, without a word lost."""
        limit = renewal.limit(self._options.max_duration)
        ends_at = old.session.asked_at + limit
        due = old.session.asked_at + renewal.renew_after(limit, old.session.join)
        self._fallen.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._fallen.wait(), due - time.monotonic())
        if not self._is(Presence.PRESENT):
            return
        self._audience.renewing(old.session.session_id)
        by = ends_at - renewal.MARGIN
        attempt = 0
        while (new := await self._successor(room, old, by)) is None:
            await asyncio.sleep(renewal.pause(attempt))
            attempt += 1
            if self._is(Presence.GONE):
                return
        await self._hand_over(old, new, by)
        self._audience.renewed(new.session.session_id)

    async def _successor(self, room: AvatarRoom, old: Face, by: float) -> Face | None:
        """Return the next face, or None if it did not come: then it is to be tried again."""
        session = self._new_session(room)
        joining = asyncio.create_task(self._join(session))
        queued = asyncio.create_task(session.queued.wait())
        try:
            await asyncio.wait(
                {joining, queued},
                timeout=by - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not joining.done():
                await self._step_aside(old, by)
            await joining
        except RunwayError as e:
            logger.info(f"the next session did not come ({type(e).__name__})")
            if isinstance(e, ConcurrencyError) or time.monotonic() > by:
                await self._step_aside(old, by)
            return None
        finally:
            await cancelled(joining, queued)
        return self._new_face(room, session)

    async def _step_aside(self, old: Face, by: float) -> None:
        """Make room for the next session: the voice goes on alone from the next silence on."""
        if self.presence is not Presence.PRESENT:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(by)):
                await self.quiet.wait()
        if not self._is(Presence.PRESENT):
            return
        self.presence = Presence.AWAY
        self._speaker.give_up()
        await self._retire(old.session)

    async def _hand_over(self, old: Face, new: Face, by: float) -> None:
        """Have the new face say what the old one has not begun, and, at the latest, its rest."""
        self.current = new
        self.presence = Presence.PRESENT
        for utterance in self._ledger:
            if utterance.speaker is old and utterance is not self._ledger.head:
                utterance.speaker, utterance.sent = None, 0
        self._speaker.spoke()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(_loop_time(by)):
                await self._done_with(old)
        head = self._ledger.head
        if head is not None and head.speaker is old:
            self._divide(head)
            await self._done_with(old)
        self.shown = new
        await old.aclose()
        self._retire(old.session)

    def _divide(self, head: Utterance) -> None:
        """Have the face of the hour say the rest of an utterance that another one is saying."""
        self._ledger.split(head, min(head.heard + AHEAD, head.samples))
        self._speaker.spoke()

    async def _done_with(self, face: Face) -> None:
        """Wait until nothing is owed by a face any more."""
        while any(utterance.speaker is face for utterance in self._ledger):
            self.moved.clear()
            await self.moved.wait()

    async def _come_back(self, room: AvatarRoom, attempt: int) -> None:
        """Have another avatar come after one that failed; it speaks from the next utterance on."""
        while self._is(Presence.AWAY) and self._is_young():
            await asyncio.sleep(renewal.pause(attempt))
            attempt += 1
            session = self._new_session(room)
            try:
                await self._join(session)
            except RunwayError as e:
                logger.info(f"the avatar did not come back yet ({type(e).__name__})")
                if e.retryable:
                    continue
                self.lose(e)
                return
            self.current = self.shown = self._new_face(room, session)
            self.presence = Presence.PRESENT
            self._audience.connected(session.session_id)
            self._speaker.spoke()

    def fall(self, error: RunwayError) -> None:
        """Go on by voice until another avatar comes, which is seen to."""
        face, may_return = self.current, self._options.voice_fallback and self._is_young()
        if face is None or self.presence is not Presence.PRESENT or not may_return:
            self.lose(error)
            return
        self.presence = Presence.AWAY
        self._fallen.set()
        self._audience.failed(error)
        self._speaker.give_up()
        self._audience.disconnected(face.session.session_id, type(error).__name__)
        self._retire(face.session)

    def lose(self, error: RunwayError) -> None:
        """Go on without a face."""
        if self.presence is Presence.GONE:
            return
        was, self.presence = self.presence, Presence.GONE
        self.settled.set()
        self._audience.failed(error)
        self._speaker.give_up()
        if was is Presence.PRESENT:
            self._audience.disconnected(self.session_id, type(error).__name__)
        self._release()

    def _release(self) -> asyncio.Task[None]:
        """End the session and leave the room, once: the one place where both end."""
        if self._releasing is None:
            self._releasing = asyncio.create_task(self._unwind())
        return self._releasing

    async def _unwind(self) -> None:
        await asyncio.gather(*(session.end() for session in self._sessions.values()))
        if self._room is not None:
            await self._room.close()

    # -- what the room tells ----------------------------------------------------------------------

    def joined(self, identity: str) -> None:
        """Note that an avatar has entered the room."""
        if (session := self._sessions.get(identity)) is not None:
            session.joined()

    def reachable(self, identity: str) -> None:
        """Note that data sent to an avatar arrives."""
        if (session := self._sessions.get(identity)) is not None:
            session.reachable()

    def left(self, identity: str, reason: str) -> None:
        """Note that an avatar has left the room."""
        if (session := self._sessions.get(identity)) is None:
            return
        session.left()
        if identity not in [face.identity for face in self.present()]:
            return
        session.lost()
        if self.current is not None and self.current.identity != identity:
            self._take_over()
            return
        error = AvatarGoneError(
            f"the avatar left the room ({reason})", session_id=session.session_id
        )
        self.fall(error)

    def pictured(self, identity: str) -> bool:
        """Note a picture; return whether it is to be shown."""
        if (session := self._sessions.get(identity)) is None:
            return False
        session.pictured()
        return self.shown is None or self.shown.identity == identity

    def disconnected(self, error: RunwayError) -> None:
        """Note that the room is gone."""
        for session in self._sessions.values():
            session.left()
            session.lost()
        self.lose(error)

    def _take_over(self) -> None:
        """Have the new face say all that the old one, which is gone, still owed."""
        for utterance in list(self._ledger):
            if utterance.speaker in (None, self.current):
                continue
            if utterance.stage is Stage.SOUNDING:
                self._ledger.split(utterance, utterance.heard)
                self._audience.release(self._ledger.finish(utterance))
            else:
                utterance.speaker, utterance.sent = None, 0
        self._speaker.spoke()


def _loop_time(at: float) -> float:
    """Return an instant of `time.monotonic()` on the event loop's clock."""
    return asyncio.get_running_loop().time() + at - time.monotonic()


async def cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended."""
    running = [task for task in tasks if not task.done()]
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
