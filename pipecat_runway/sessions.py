"""A call's room, and every session in it: the one place where they begin, and where they end."""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from pipecat_runway import renewal, wire
from pipecat_runway.addresses import check_room_address
from pipecat_runway.api import RunwayAPI
from pipecat_runway.billed import Usage
from pipecat_runway.errors import RunwayError
from pipecat_runway.joining import Connection
from pipecat_runway.room import AvatarRoom, Listener
from pipecat_runway.session import AvatarSession
from pipecat_runway.sizes import PictureSize


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
        max_call_duration: After so many s there is to be no face any more.
        idle_timeout: After so many s in which nobody speaks the face is parked.
        voice_fallback: Whether another avatar comes after one that failed.
        ready_timeout: How long avatar and first picture are waited for, in s.
        picture_timeout: How long a picture may stand still while speech is owed, in s.
        picture_size: What is to become of its pictures.
    """

    character: dict[str, str]
    livekit_url: str
    livekit_api_key: str
    livekit_api_secret: str
    sample_rate: int
    max_duration: int | None
    max_call_duration: float
    idle_timeout: float
    voice_fallback: bool
    ready_timeout: float
    picture_timeout: float
    picture_size: PictureSize

    def __repr__(self) -> str:
        return f"AvatarOptions({self.character})"


class Sessions:
    """The room of one call and all its sessions.

    Args:
        api: Runway's REST API.
        options: What an avatar is made of.
        used: Told what was used since the last time.
        listener: Who is told what happens in the room.

    Attributes:
        room: The room we are in, or were; None before the first.
        newest: The session created last; None before the first.
    """

    def __init__(
        self,
        api: RunwayAPI,
        options: AvatarOptions,
        *,
        used: Callable[[Usage], None],
        listener: Listener,
    ) -> None:
        self.room: AvatarRoom | None = None
        self.newest: AvatarSession | None = None
        self._api, self._options = api, options
        self._used, self._listener = used, listener
        self._open: dict[str, AvatarSession] = {}  # those that may be open, by identity
        self._retiring: dict[object, asyncio.Task[None]] = {}  # by session or room
        self._closing: asyncio.Task[None] | None = None

    def find(self, identity: str) -> AvatarSession | None:
        """Return the session of an avatar in the room."""
        return self._open.get(identity)

    def all(self) -> list[AvatarSession]:
        """Return those that may be open."""
        return list(self._open.values())

    async def enter(self) -> AvatarRoom:
        """Return the room we are in; another one if we have lost it.

        Raises:
            RoomAddressError: Runway can never reach its server.
            RoomError: There is none to be had.
        """
        old, options = self.room, self._options
        if old is not None:
            if old.connection is Connection.HERE:
                return old
            self._retire(old, old.close())
        check_room_address(options.livekit_url, self._api.host)
        room = self.room = AvatarRoom(
            url=options.livekit_url,
            api_key=options.livekit_api_key,
            api_secret=options.livekit_api_secret,
            sample_rate=options.sample_rate,
            listener=self._listener,
            picture_size=options.picture_size,
        )
        # A wrong address or secret shows before anything is billed, and whoever is in the room
        # first is told of the avatar at once: LiveKit tells latecomers up to 3 s later.
        await room.reserve()
        await room.connect()
        return room

    def new(self, room: AvatarRoom, character: dict[str, str]) -> AvatarSession:
        """Return a session that has not begun.

        Args:
            room: The room its avatar is to join.
            character: The create request's `avatar`, see :meth:`RunwayAPI.create_session`.
        """
        options = self._options
        session = AvatarSession(
            api=self._api,
            room=room,
            avatar=character,
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            livekit_url=options.livekit_url,
            # Always named: whatever happens to us, Runway ends the session then.
            max_duration=options.max_duration or int(renewal.SESSION_LIMIT),
            ready_timeout=options.ready_timeout,
        )
        self._open[session.identity] = self.newest = session
        return session

    async def start(self, session: AvatarSession) -> None:
        """Have its avatar come into the room.

        Raises:
            RunwayError: It does not; the session is being ended.
        """
        try:
            await session.start()
        except RunwayError:
            self.end(session)
            raise

    def end(self, session: AvatarSession) -> asyncio.Task[None]:
        """End a session while the call goes on."""

        async def end() -> None:
            await session.end()
            self.meter()
            self._open.pop(session.identity, None)

        return self._retire(session, end())

    def close(self) -> asyncio.Task[None]:
        """End all sessions and leave the room, once."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._unwind())
        return self._closing

    def meter(self) -> None:
        """Tell what was used since the last time."""
        usage = sum((session.take_usage() for session in self._open.values()), Usage())
        if usage.seconds:
            self._used(usage)

    def _retire(self, owned: object, end: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """End something while the call goes on, once."""
        if owned in self._retiring:
            end.close()
            return self._retiring[owned]
        task = self._retiring[owned] = asyncio.create_task(end)
        task.add_done_callback(lambda _: self._retiring.pop(owned, None))
        return task

    async def _unwind(self) -> None:
        await asyncio.gather(*(session.end() for session in self._open.values()))
        await asyncio.gather(*self._retiring.values())
        self.meter()
        if self.room is not None:
            await self.room.close()
