"""An ElevenLabs agent as the one who thinks and speaks for a Character: its signed address.

Sources: CORE api/elevenlabs.ts, DOC characters/elevenlabs.
"""

from dataclasses import dataclass, field

import httpx

from pipecat_runway import wire
from pipecat_runway.errors import (
    APIError,
    KeyRefusedError,
    UnknownAvatarError,
    UnreachableError,
    VendorFaultError,
)

TIMEOUT = httpx.Timeout(10.0, connect=5.0)  # s
AUDIO_ADVICE = (
    "ElevenLabs sends no sound unless the agent's user input audio format is PCM 16000 Hz: set it "
    "under the agent's Advanced settings."
)


@dataclass(frozen=True, kw_only=True)
class ElevenLabsAgent:
    """An agent of ElevenLabs that is to lead the conversation.

    Attributes:
        agent_id: Its id.
        api_key: An ElevenLabs key that may read agents; it never goes to Runway.
        base_url: Where ElevenLabs' API is.
    """

    agent_id: str
    api_key: str = field(repr=False)
    base_url: str = wire.ELEVENLABS_URL

    async def integration(self) -> dict[str, str]:
        """Return the `integration` of a create request. It is good for some 15 min.

        Raises:
            KeyRefusedError: ElevenLabs refuses the key.
            UnknownAvatarError: It knows no such agent.
            UnreachableError: It cannot be reached.
            APIError: It answers something else.
        """
        try:
            async with httpx.AsyncClient(base_url=self.base_url, timeout=TIMEOUT) as client:
                answer = await client.get(
                    wire.ELEVENLABS_SIGNED_URL,
                    params={"agent_id": self.agent_id},
                    headers={"xi-api-key": self.api_key},
                )
        except (httpx.HTTPError, httpx.InvalidURL) as e:
            raise UnreachableError(
                f"ElevenLabs could not be reached ({type(e).__name__})",
                advice="Check the network and the agent's base_url.",
            ) from e
        if answer.status_code != httpx.codes.OK:
            raise _refused(answer.status_code)
        try:
            url = answer.json()["signed_url"]
        except (ValueError, TypeError, KeyError):
            url = None
        if not isinstance(url, str) or not wire.ROOM_URL.match(url):
            raise APIError("ElevenLabs answered without a signed URL", advice="Check base_url.")
        return {"type": "elevenlabs", "signed_url": url}


def _refused(status: int) -> APIError:
    if status in (401, 403):
        return KeyRefusedError(
            f"ElevenLabs refused the API key (HTTP {status})",
            status_code=status,
            advice="Check that it is an ElevenLabs key that may read agents.",
        )
    if status in (400, 404, 422):
        return UnknownAvatarError(
            f"ElevenLabs knows no such agent (HTTP {status})",
            status_code=status,
            advice="Check agent_id: the agent must belong to the same workspace as the key.",
        )
    kind = VendorFaultError if status >= 500 else APIError
    return kind(
        f"ElevenLabs would not sign an address (HTTP {status})",
        status_code=status,
        advice="Try again later." if status >= 500 else "",
    )
