"""A conversation with Runway's own agent, over one session or several, one after another.

Here sessions begin and end, and what is heard and read in their rooms becomes one conversation.
"""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from loguru import logger

from pipecat_runway import renewal
from pipecat_runway.api import Credentials, RunwayAPI
from pipecat_runway.backend import Backend, Call
from pipecat_runway.billed import Usage
from pipecat_runway.elevenlabs import AUDIO_ADVICE, ElevenLabsAgent
from pipecat_runway.errors import (
    AvatarGoneError,
    AvatarStalledError,
    CallLimitError,
    CredentialsGoneError,
    RoomLostError,
    RoomUnreachableError,
    RunwayError,
)
from pipecat_runway.guard import Guard
from pipecat_runway.managed import Brief, ManagedSession
from pipecat_runway.managedroom import ManagedRoom
from pipecat_runway.measures import Arrival
from pipecat_runway.sizes import Picture, PictureSize
from pipecat_runway.speaking import Began, Ended, Sound, Speaking
from pipecat_runway.transcripts import (
    BotText,
    CarryOver,
    ClientEvent,
    Said,
    Transcript,
    UserText,
)

STARTS = 2  # sessions that are asked for until one works, after which it is given up
WORTHWHILE = 5.0  # s a session has to last, or something is wrong that another one will not mend
DRAIN_BOUND = 5.0  # s the avatar is given to finish what it is saying
SILENT_BOUND = 20.0  # s in which an ElevenLabs agent is not heard at all
DEAF_BOUND = 1.0  # s without any sound from the track: it is muted, and nobody speaks
LOOK_INTERVAL = 0.1  # s between looks at what has become final
ENDING_ADVICE = (
    "Runway ends a session at its max_duration, seen after about five minutes; give continue_with "
    "to have another one go on with the conversation."
)


@dataclass(frozen=True, kw_only=True)
class ConversationOptions:
    """What a conversation is made of.

    Attributes:
        character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        brief: What the first session's avatar is told.
        agent: Who thinks for it, if not Runway.
        functions: Its tools that are answered here, and how long it waits for each, in s.
        carry_over: Makes the personality of each further session; None: there is only one.
        sample_rate: Rate in Hz at which the avatar's sound is wanted.
        microphone_rate: Rate in Hz of the user's voice.
        has_camera: Whether pictures of the user are sent.
        picture_size: What is to become of the avatar's pictures.
        max_duration: Longest duration of a session in s; None for 300.
        max_call_duration: After so many s no other session follows.
        ready_timeout: How long an avatar and its first picture are waited for, in s.
    """

    character: dict[str, str]
    brief: Brief
    agent: ElevenLabsAgent | None
    functions: Mapping[str, float]
    carry_over: CarryOver | None = field(repr=False)
    sample_rate: int
    microphone_rate: int
    has_camera: bool
    picture_size: PictureSize
    max_duration: int | None
    max_call_duration: float
    ready_timeout: float


class Audience(Protocol):
    """Who is told of a conversation. Called on the event loop; must not block."""

    def voice(self, what: Began | Sound | Ended) -> None:
        """The avatar speaks."""

    async def picture(self, picture: Picture) -> None:
        """A picture of the avatar, at its own size."""

    def text(self, what: UserText | BotText) -> None:
        """Somebody has said something."""

    def client_event(self, event: ClientEvent) -> None:
        """The avatar has used a tool that nobody answers."""

    def user_speaks(self, speaks: bool) -> None:
        """LiveKit hears the user begin, or end."""

    def queued(self, session_id: str | None) -> None:
        """A session waits for a free slot."""

    def arrived(self, arrival: Arrival) -> None:
        """The avatar has come."""

    def connected(self, session_id: str | None) -> None:
        """The avatar is there: its first picture was seen."""

    def disconnected(self, session_id: str | None, reason: str) -> None:
        """The avatar is gone."""

    def used(self, usage: Usage) -> None:
        """So much was used since the last time."""

    def failed(self, error: RunwayError) -> None:
        """Something has gone wrong."""


class Conversation:
    """A conversation with Runway's own agent.

    Args:
        api: Runway's REST API; closed with the conversation.
        options: What it is made of.
        audience: Who is told of it.
        call: Calls a function for the avatar.
    """

    def __init__(
        self, api: RunwayAPI, options: ConversationOptions, *, audience: Audience, call: Call
    ) -> None:
        self._api, self._options, self._audience, self._call = api, options, audience, call
        self._transcript = Transcript()
        self._speaking = Speaking(options.sample_rate)
        self._session: ManagedSession | None = None
        self._gone: asyncio.Future[RunwayError] | None = None  # why its avatar is there no more
        self._present = False
        self._heard = False
        self._sound_at = 0.0
        self._running: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._settled = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._guard = Guard(self._abandon)

    @property
    def session_id(self) -> str | None:
        """Runway's id of the newest session; None before it exists."""
        return self._session.session_id if self._session else None

    @property
    def is_present(self) -> bool:
        """Whether the avatar is there."""
        return self._present

    # -- its life -----------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin, once; nothing is waited for."""
        if self._running is None and self._ending is None:
            self._running = asyncio.create_task(self._run())
            self._looking = asyncio.create_task(self._look())

    async def drain(self) -> None:
        """Wait until the avatar has finished what it is saying, within a bound."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._quiet.wait(), DRAIN_BOUND)

    async def end(self) -> None:
        """End it, and see it confirmed. Safe in any state, and goes on if the caller is cut off."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        await asyncio.shield(self._ending)

    async def _end(self) -> None:
        for task in (self._running, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        for text in self._transcript.close():
            self._audience.text(text)
        await self._retire()
        await self._api.close()
        self._guard.dismiss()

    async def _abandon(self) -> None:
        """The event loop is taken down; the sessions were ended by the guard."""
        await self._api.close()

    async def _run(self) -> None:
        await self._guard.begin()
        began, brief = time.monotonic(), self._options.brief
        try:
            while True:
                session = await self._start(brief)
                since = time.monotonic()
                assert self._gone is not None
                loss = await self._gone
                self._hush()
                await self._retire()
                self._audience.disconnected(session.session_id, str(loss))
                worthwhile = time.monotonic() - since > WORTHWHILE
                follows = self._follow(brief, began) if worthwhile else None
                if follows is None:
                    raise loss
                logger.info(f"the conversation of Runway session {session.session_id} goes on")
                brief = follows
        except RunwayError as e:
            self._audience.failed(e)
        except Exception as e:  # a mistake of ours, or of a callback's
            logger.opt(exception=e).debug("the conversation broke off")
            self._audience.failed(
                RunwayError(f"the conversation broke off, {type(e).__name__}", advice="")
            )
        finally:
            self._present = False
            self._settled.set()

    def _follow(self, brief: Brief, began: float) -> Brief | None:
        """Return what the next session's avatar is told; None if there is to be none."""
        if self._options.carry_over is None:
            return None
        if time.monotonic() - began > self._options.max_call_duration:
            raise CallLimitError(
                f"the conversation is over {self._options.max_call_duration:g} s old",
                advice="Raise max_call_duration if calls may last longer.",
            )
        for text in self._transcript.renew():
            self._audience.text(text)
        personality = self._options.carry_over(self._transcript.turns)
        if personality is None:
            return None
        return replace(brief, personality=personality, start_script=None)

    async def _start(self, brief: Brief) -> ManagedSession:
        """Return a session whose avatar is there; another one if the first came to nothing."""
        for attempt in range(1, STARTS + 1):
            if self._options.agent is not None:
                brief = replace(brief, integration=await self._options.agent.integration())
            session = self._session = self._new(brief)
            self._gone = asyncio.get_running_loop().create_future()
            watching = asyncio.create_task(self._watch_queue(session))
            try:
                await session.start()
            except (CredentialsGoneError, RoomUnreachableError, RoomLostError) as e:
                await self._retire()
                if attempt == STARTS:
                    raise
                logger.info(f"another Runway session is asked for: {e}")
                continue
            except RunwayError:
                await self._retire()
                raise
            finally:
                watching.cancel()
                await asyncio.wait({watching})
            self._present = True
            self._settled.set()
            self._audience.arrived(session.arrival)
            self._audience.connected(session.session_id)
            return session
        raise AssertionError("unreachable")

    def _new(self, brief: Brief) -> ManagedSession:
        options = self._options
        return ManagedSession(
            api=self._api,
            avatar=options.character,
            brief=brief,
            guard=self._guard,
            # Always named: whatever happens to us, Runway ends the session then.
            max_duration=options.max_duration or int(renewal.SESSION_LIMIT),
            ready_timeout=options.ready_timeout,
            make_room=self._make_room,
            make_backend=self._make_backend if options.functions else None,
        )

    def _make_room(self, credentials: Credentials, session_id: str) -> ManagedRoom:
        return ManagedRoom(
            credentials,
            session_id=session_id,
            sample_rate=self._options.sample_rate,
            microphone_rate=self._options.microphone_rate,
            has_camera=self._options.has_camera,
            picture_size=self._options.picture_size,
            listener=self,
        )

    def _make_backend(self, session_id: str) -> Backend:
        return Backend(
            self._api,
            session_id,
            self._options.functions,
            call=self._call,
            failed=self._audience.failed,
        )

    async def _watch_queue(self, session: ManagedSession) -> None:
        await session.queued.wait()
        self._audience.queued(session.session_id)

    async def _retire(self) -> None:
        """End the session there is."""
        self._present = False
        if (session := self._session) is None:
            return
        await session.end()
        usage = session.take_usage()
        if usage.seconds:
            self._audience.used(usage)

    async def _look(self) -> None:
        """Let what has become final be told, and notice an agent that is not heard."""
        since: float | None = None
        warned = self._options.agent is None
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            now = time.monotonic()
            for text in self._transcript.look(now):
                self._audience.text(text)
            if now - self._sound_at > DEAF_BOUND:
                self._hush()
            if not warned and self._present and not self._heard:
                since = since or now
                if now - since > SILENT_BOUND:
                    warned = True
                    self._audience.failed(
                        AvatarStalledError(
                            f"the ElevenLabs agent was not heard for {SILENT_BOUND:g} s",
                            session_id=self.session_id,
                            advice=AUDIO_ADVICE,
                        )
                    )

    # -- what the user does -------------------------------------------------------------------

    def speak(self, pcm: bytes, sample_rate: int, num_channels: int) -> None:
        """Let the avatar hear a piece of the user's voice, s16le."""
        if (room := self._room) is not None:
            room.speak(pcm, sample_rate, num_channels)

    def show(self, rgb: bytes, size: tuple[int, int]) -> None:
        """Let the avatar see a picture of the user, tight RGB24."""
        if (room := self._room) is not None:
            room.show(rgb, size)

    def interrupt(self) -> None:
        """Let nothing more be heard of what the avatar is saying."""
        for what in self._speaking.cut():
            self._voice(what)
            self._transcript.interrupted()

    @property
    def _room(self) -> ManagedRoom | None:
        return self._session.room if self._session is not None else None

    # -- what the room tells (managedroom.ManagedListener) --------------------------------------

    def avatar_joined(self, identity: str) -> None:  # noqa: D102 - see ManagedListener
        if self._session is not None:
            self._session.joined()

    def avatar_reachable(self, identity: str) -> None:  # noqa: D102
        if self._session is not None:
            self._session.reachable()

    def avatar_left(self, identity: str, reason: str) -> None:  # noqa: D102
        if self._session is not None:
            self._session.left()
        self._lose(
            AvatarGoneError(
                f"the avatar has left ({reason})", session_id=self.session_id, advice=ENDING_ADVICE
            )
        )

    def room_lost(self, reason: str) -> None:  # noqa: D102
        if self._session is not None:
            self._session.left()
            self._session.lost()
        self._lose(
            RoomLostError(
                f"Runway's room was lost ({reason})",
                session_id=self.session_id,
                advice="The conversation has ended; continue_with has another session go on.",
            )
        )

    def sound(self, identity: str, pcm: bytes) -> None:  # noqa: D102
        self._sound_at = time.monotonic()
        for what in self._speaking.feed(pcm):
            self._voice(what)

    def seen(self, identity: str) -> None:  # noqa: D102
        if self._session is not None:
            self._session.pictured()

    async def picture(self, identity: str, picture: Picture) -> None:  # noqa: D102
        await self._audience.picture(picture)

    def told(self, what: Said | ClientEvent) -> None:  # noqa: D102
        if isinstance(what, ClientEvent):
            self._audience.client_event(what)
            return
        for text in self._transcript.take(what, time.monotonic()):
            self._audience.text(text)

    def user_speaks(self, speaks: bool) -> None:  # noqa: D102
        self._audience.user_speaks(speaks)

    def _voice(self, what: Began | Sound | Ended) -> None:
        match what:
            case Began():
                self._heard = True
                self._quiet.clear()
                self._transcript.answered(time.monotonic())
            case Ended():
                self._quiet.set()
        self._audience.voice(what)

    def _hush(self) -> None:
        for what in self._speaking.stop():
            self._voice(what)

    def _lose(self, error: RunwayError) -> None:
        if self._gone is not None and not self._gone.done():
            self._gone.set_result(error)
