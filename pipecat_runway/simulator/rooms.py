"""The LiveKit rooms that sessions take place in, and who may enter them."""

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol

import aiohttp
from livekit import api

DELETE_TIMEOUT = 5.0


class LiveKitKeys(Protocol):
    """A LiveKit server's address and keys: a `LiveKitServer`, or any object like it."""

    url: str
    api_key: str
    api_secret: str


@dataclass(frozen=True, kw_only=True)
class AvatarRoom:
    """A room, and what a session's avatar needs to enter it."""

    url: str
    token: str = field(repr=False)
    room_name: str
    agent_identity: str | None = None

    @classmethod
    def of(cls, body: dict[str, Any]) -> "AvatarRoom | None":
        """The customer's room named in a create's body; `integration` goes before `livekit`."""
        given = body.get("integration", body.get("livekit"))
        if given is None or "roomName" not in given:
            return None
        return cls(
            url=given["url"],
            token=given["token"],
            room_name=given["roomName"],
            agent_identity=given.get("agentIdentity"),
        )


class ManagedRoom:
    """Runway's own room of one session; it is named like it (avatars-node-rpc 0.1.0, README).

    Of the identities only the worker's is known, that it begins with ``worker:``
    (avatars-node-rpc 0.1.0, handler.ts).

    Args:
        session_id: The session.
        keys: The server it is on.
        lifetime: Seconds for which tokens open it.
    """

    def __init__(self, session_id: str, keys: LiveKitKeys, lifetime: float) -> None:
        self._name = session_id
        self._keys = keys
        self._lifetime = timedelta(seconds=lifetime)
        self.user = f"user:{session_id}"
        self.backend = f"backend:{session_id}"

    def for_worker(self) -> AvatarRoom:
        """What its avatar enters with."""
        # Of this kind, because livekit-server 1.13.5 passes on transcription events of no other.
        token = self._token(f"worker:{self._name}", kind="agent")
        return AvatarRoom(url=self._keys.url, token=token, room_name=self._name)

    def for_user(self, url: str | None = None) -> dict[str, str]:
        """The answer to a consume; `url` is told instead of the true address."""
        return {**self._answer(self._token(self.user)), **({"url": url} if url else {})}

    def for_backend(self) -> dict[str, str]:
        """The answer to a connect_backend: a participant nobody sees (avatars-node-rpc README)."""
        return self._answer(self._token(self.backend, hidden=True))

    async def delete(self) -> None:
        """Close the room, whoever is in it."""
        timeout = aiohttp.ClientTimeout(total=DELETE_TIMEOUT)
        keys = self._keys
        async with api.LiveKitAPI(
            keys.url, keys.api_key, keys.api_secret, timeout=timeout
        ) as livekit:
            with suppress(api.TwirpError, aiohttp.ClientError, TimeoutError):  # it is gone already
                await livekit.room.delete_room(api.DeleteRoomRequest(room=self._name))

    def _answer(self, token: str) -> dict[str, str]:
        return {"url": self._keys.url, "token": token, "roomName": self._name}

    def _token(
        self,
        identity: str,
        *,
        kind: Literal["standard", "agent"] = "standard",
        hidden: bool = False,
    ) -> str:
        granted = api.VideoGrants(room_join=True, room=self._name, hidden=hidden)
        token = api.AccessToken(self._keys.api_key, self._keys.api_secret).with_kind(kind)
        return token.with_identity(identity).with_grants(granted).with_ttl(self._lifetime).to_jwt()
