"""What an avatar sends that no avatar should: malformed, oversized, or not its to send."""

import asyncio
import json
from contextlib import suppress
from itertools import product

from livekit import rtc

from pipecat_runway.simulator.faults import Babble

CALL_LIMIT = 15 * 1024  # bytes of an RPC's payload (livekit 1.2.0, rtc/rpc.py)
CALL_TIMEOUT = 2.0
CALLS_AT_ONCE = 8
PACKET = 60_000  # bytes; a reliable packet takes 64 kB
STREAM = 300_000  # bytes

METHODS = ("lk.playback_finished", "lk.playback_started", "lk.clear_buffer", "lk.no_such_method")
TOPICS = ("lk.audio_stream", "lk.transcription", "lk.chat", "")


def _report(position: str, interrupted: str = "false") -> str:
    return f'{{"playback_position": {position}, "interrupted": {interrupted}}}'


PAYLOADS = (
    "",
    "not JSON",
    "\x00\ufffd",
    "null",
    "[]",
    "7",
    "{}",
    '{"playback_position": 1.0}',
    _report('"soon"', '"perhaps"'),
    _report("null", "null"),
    _report("{}", "[]"),
    _report("-1"),
    _report("NaN"),
    _report("Infinity"),
    _report("1e308"),
    _report("9" * 400),  # more than a float holds
    _report("9" * 5000),  # more than Python reads as an int
    "[" * CALL_LIMIT,  # deeper than a parser goes
    "x" * CALL_LIMIT,
)

PACKETS = (
    b"",
    b"\xff\xfe\x00",
    b"null",
    b"[" * PACKET,
    b"x" * PACKET,
    json.dumps({"type": "END_CALL"}).encode(),
)

ATTRIBUTES: tuple[dict[str, str], ...] = (
    {},
    {"sample_rate": "none", "num_channels": "-1"},
    {"sample_rate": "16000", "num_channels": "1"},
)


async def babble(me: rtc.LocalParticipant, agent: str, kind: Babble) -> None:
    """Send an agent what no avatar should.

    Args:
        me: Who sends it.
        agent: Who is to get it.
        kind: What of it.
    """
    parts = {Babble.CALLS: _call, Babble.DATA: _send, Babble.STREAMS: _stream}
    for each in parts.values() if kind is Babble.ALL else [parts[kind]]:
        await each(me, agent)


async def _call(me: rtc.LocalParticipant, agent: str) -> None:
    places = asyncio.Semaphore(CALLS_AT_ONCE)

    async def call(method: str, payload: str) -> None:
        async with places:
            with suppress(rtc.RpcError):
                await me.perform_rpc(
                    destination_identity=agent,
                    method=method,
                    payload=payload,
                    response_timeout=CALL_TIMEOUT,
                )

    await asyncio.gather(*(call(*both) for both in product(METHODS, PAYLOADS)))


async def _send(me: rtc.LocalParticipant, agent: str) -> None:
    for packet, topic, reliable in product(PACKETS, TOPICS, (True, False)):
        with suppress(Exception):  # LiveKit itself may refuse it
            await me.publish_data(
                packet, reliable=reliable, destination_identities=[agent], topic=topic
            )


async def _stream(me: rtc.LocalParticipant, agent: str) -> None:
    for topic, attributes in product(TOPICS, ATTRIBUTES):
        with suppress(Exception):
            # Longer than it is said to be, and never closed.
            sound = await me.stream_bytes(
                "AUDIO_",
                destination_identities=[agent],
                topic=topic,
                attributes=attributes,
                total_size=1,
            )
            await sound.write(b"\xff" * (STREAM if not attributes else 3))
            text = await me.stream_text(
                destination_identities=[agent], topic=topic, attributes=attributes
            )
            await text.write("\ufffd" * 100)
            await text.aclose()
