"""An ElevenLabs agent in a Character's place: its signed address, and what goes wrong with it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from pipecat_runway import ElevenLabsAgent
from pipecat_runway.errors import (
    APIError,
    ConfigError,
    KeyRefusedError,
    RunwayError,
    UnknownAvatarError,
    UnreachableError,
    VendorFaultError,
)
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.talks import llm_for

SIGNED = "wss://api.elevenlabs.io/v1/convai/conversation?agent_id=a&conversation_signature=s"


class Signer:
    """ElevenLabs' one route."""

    def __init__(self) -> None:
        self.answer: Any = {"signed_url": SIGNED}
        self.status = 200
        self.requests: list[tuple[str, str | None]] = []
        self.url = ""

    async def sign(self, request: web.Request) -> web.Response:
        self.requests.append((request.path_qs, request.headers.get("xi-api-key")))
        return web.json_response(self.answer, status=self.status)


@pytest_asyncio.fixture
async def signer() -> AsyncIterator[Signer]:
    made, app = Signer(), web.Application()
    app.router.add_get("/v1/convai/conversation/get-signed-url", made.sign)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def test_an_address_is_signed(signer: Signer) -> None:
    """The key goes to ElevenLabs alone, and into no repr."""
    agent = ElevenLabsAgent(agent_id="agent_1", api_key="xi-secret", base_url=signer.url)
    assert await agent.integration() == {"type": "elevenlabs", "signed_url": SIGNED}
    assert signer.requests == [
        ("/v1/convai/conversation/get-signed-url?agent_id=agent_1", "xi-secret")
    ]
    assert "xi-secret" not in repr(agent)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "word"),
    [
        (401, {}, KeyRefusedError, "may read agents"),
        (404, {}, UnknownAvatarError, "agent_id"),
        (503, {}, VendorFaultError, "later"),
        (418, {}, APIError, "418"),
        (200, {}, APIError, "without a signed URL"),
        (200, {"signed_url": "file:///etc/passwd"}, APIError, "without a signed URL"),
        (200, [], APIError, "without a signed URL"),
    ],
)
async def test_what_goes_wrong_is_named(
    signer: Signer, status: int, answer: Any, kind: type[RunwayError], word: str
) -> None:
    """ElevenLabs' fault is not taken for Runway's."""
    signer.status, signer.answer = status, answer
    with pytest.raises(kind, match=word) as caught:
        await ElevenLabsAgent(agent_id="a", api_key="xi-s", base_url=signer.url).integration()
    assert "ElevenLabs" in str(caught.value)
    assert "xi-s" not in str(caught.value)


async def test_it_cannot_be_reached() -> None:
    """Nor is Runway's address blamed."""
    with pytest.raises(UnreachableError, match="ElevenLabs could not be reached"):
        await ElevenLabsAgent(
            agent_id="a", api_key="b", base_url="http://127.0.0.1:9"
        ).integration()


def test_a_preset_cannot_be_led(runway: RunwaySimulator) -> None:
    """ElevenLabs needs a character of one's own."""
    with pytest.raises(ConfigError, match="custom character"):
        llm_for(runway, elevenlabs=ElevenLabsAgent(agent_id="a", api_key="b"))
