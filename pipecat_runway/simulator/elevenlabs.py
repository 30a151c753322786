"""ElevenLabs' own API, as far as Runway's integration needs it: signed addresses.

Source: elevenlabs.io/docs, ``GET /v1/convai/conversation/get-signed-url``, as used by
avatars-sdk-react 0.17.0 (`api/elevenlabs.ts`). The bodies of its refusals are unknown.
"""

import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiohttp import web

from pipecat_runway.simulator.console import PREFIX

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

BASE = f"{PREFIX}elevenlabs"  # what stands for https://api.elevenlabs.io
SIGNED_URL = "/v1/convai/conversation/get-signed-url"
CONVERSATION = "/v1/convai/conversation"
KEY_HEADER = "xi-api-key"
RATE = 16_000  # of the sound between Runway and ElevenLabs (Runway's documentation)


class ElevenLabs:
    """Signs the addresses of conversations with agents, and knows them again.

    Args:
        runway: Whose partners use them.

    Attributes:
        api_key: The key it accepts.
    """

    def __init__(self, runway: "RunwaySimulator") -> None:
        self.api_key = f"sk_{secrets.token_hex(24)}"
        self._runway = runway
        self._signed: dict[str, float] = {}  # address: when it was signed

    @property
    def base_url(self) -> str:
        """What stands for ElevenLabs' own address."""
        return f"{self._runway.base_url}{BASE}"

    def routes(self) -> list[web.RouteDef]:
        """The routes, for an application."""
        return [web.get(f"{BASE}{SIGNED_URL}", self.sign, allow_head=False)]

    async def sign(self, request: web.Request) -> web.Response:
        """`GET …/get-signed-url?agent_id=…`."""
        given = request.headers.get(KEY_HEADER, "")
        if not secrets.compare_digest(given.encode(), self.api_key.encode()):
            return _refused(401, "Invalid API key")
        if not (agent := request.query.get("agent_id")):
            return _refused(422, "agent_id is missing")
        address = self.base_url.replace("http", "ws", 1) + CONVERSATION
        signature = f"cvtkn_{secrets.token_hex(16)}"
        url = f"{address}?agent_id={quote(agent)}&conversation_signature={signature}"
        self._signed[url] = time.monotonic()
        return web.json_response({"signed_url": url})

    def accepts(self, url: str) -> bool:
        """Whether it has signed this address, and not too long ago."""
        signed = self._signed.get(url)
        lifetime = self._runway.faults.signed_url_lifetime
        return signed is not None and time.monotonic() < signed + lifetime


def _refused(status: int, text: str) -> web.Response:
    return web.json_response({"detail": {"message": text}}, status=status)
