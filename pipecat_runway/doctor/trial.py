"""One short real session, in which everything that is unknown of Runway is watched for."""

import asyncio
import contextlib
import dataclasses
import json
import secrets
import time
import uuid
from collections.abc import Callable

import numpy as np

from pipecat_runway import matching, wire
from pipecat_runway.api import RawAnswer, RunwayAPI
from pipecat_runway.doctor.examination import ORGANIZATION, Settings
from pipecat_runway.doctor.observed import Cleared, Observed, Spoken
from pipecat_runway.doctor.witness import Witness
from pipecat_runway.errors import APIError, RunwayError
from pipecat_runway.room import AvatarRoom
from pipecat_runway.session import AvatarSession

LONGEST = 60  # s that Runway is told the session may last
RUN_BOUND = 50.0  # s from its beginning to the beginning of its end
READY_TIMEOUT = 30.0  # s
IDLE = 1.0  # s that an avatar without speech is listened to
SPEECH = 2.0  # s of the first utterance
LONG_SPEECH = 6.0  # s of the one that is cleared
CLEAR_AFTER = 1.0  # s of it that are heard
LAST_SPEECH = 1.5  # s of the one behind it
ONSET_BOUND = 4.0  # s from the sending to the first sound
SILENCE = 0.7  # s without sound, after which an utterance is over
REPORT_BOUND = 1.0  # s that a report may come behind the sound
CLEAR_BOUND = 2.0  # s for an answer to lk.clear_buffer: the reference sender's
LOOK_INTERVAL = 0.5  # s between looks at the session's status
CREATED_INTERVAL = 0.05  # s between looks for its id
QUIETEST = 300.0  # peak, in steps of 16 bits, that is sound at least
CONVERSATION = "/v1/avatar_conversations"
LONGEST_QUOTE = 200  # characters of an answer's body


class Trial:
    """Speaks through one session. However it goes, the session is ended.

    Args:
        settings: What is used.
        tell: Told, in a sentence, what happens.
    """

    def __init__(self, settings: Settings, tell: Callable[[str], None]) -> None:
        self._settings, self._tell = settings, tell
        self._observed = Observed()
        self._witness = Witness()
        self._threshold = QUIETEST

    async def run(self) -> Observed:
        """Create, join, speak, interrupt, end; return what was seen.

        It raises nothing of its own: what cuts it short stands in `trouble`. If it is cancelled,
        the session is ended first.
        """
        settings, observed = self._settings, self._observed
        api = RunwayAPI(api_key=settings.api_key, base_url=settings.base_url)
        room = AvatarRoom(
            url=settings.livekit_url,
            api_key=settings.livekit_api_key,
            api_secret=settings.livekit_api_secret,
            sample_rate=wire.SPEECH_RATE,
            listener=self._witness,
        )
        session = self._witness.session = AvatarSession(
            api=api,
            room=room,
            avatar=settings.character,
            identity=f"{wire.AVATAR_IDENTITY}-{uuid.uuid4().hex[:8]}",
            livekit_url=settings.livekit_url,
            max_duration=LONGEST,
            ready_timeout=READY_TIMEOUT,
        )
        watch = asyncio.create_task(self._watch(api, session))
        before: int | None = None
        try:
            try:
                before = (await api.account()).credits
                async with asyncio.timeout(RUN_BOUND):
                    await room.reserve()
                    await room.connect()
                    await self._perform(room, session)
            except (RunwayError, TimeoutError) as e:
                observed.trouble = str(e) or f"it took longer than {RUN_BOUND:g} s"
            finally:
                self._tell("Ending the session")
                began = time.monotonic()
                await session.end()
                self._note_end(session, began)
            watch.cancel()
            await self._ask_afterwards(api, session)
            with contextlib.suppress(APIError):
                observed.credits = (
                    None if before is None else before - (await api.account()).credits
                )
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            observed.session_id = session.session_id
            observed.started_reports = room.calls[wire.RPC_PLAYBACK_STARTED]
            await room.close()
            await api.close()
        return observed

    # -- the session --------------------------------------------------------------------------

    async def _perform(self, room: AvatarRoom, session: AvatarSession) -> None:
        observed, witness = self._observed, self._witness
        self._tell("Waiting for the avatar")
        try:
            await session.start()
        finally:
            asked, witnessed = session.asked_at, (witness.joined_at, witness.pictured_at)
            observed.joined, observed.pictured = (at and at - asked for at in witnessed)
        self._tell("Listening to it")
        began = time.monotonic()
        await asyncio.sleep(IDLE)
        observed.idle_peak = witness.peak(began) if witness.heard else None
        self._threshold = max(QUIETEST, 3.0 * (observed.idle_peak or 0))
        self._tell("Speaking")
        observed.spoken.append(await self._say(room, session, SPEECH))
        self._note_pictures(began)
        self._tell("Interrupting")
        observed.cleared = await self._clear(room, session)
        observed.after_clear = await self._say(room, session, LAST_SPEECH)
        observed.tracks = [dataclasses.asdict(t) for t in await room.tracks(session.identity)]

    async def _say(self, room: AvatarRoom, session: AvatarSession, length: float) -> Spoken:
        """Have an utterance said to its end."""
        speech, witness = babble(length), self._witness
        spoken, reported = Spoken(length), len(witness.reports)
        began = await self._send(room, session, speech)
        if not await witness.until(lambda: self._heard_since(began), ONSET_BOUND):
            return spoken
        await self._silence(length)
        loud = witness.loud(began, self._threshold)
        await witness.until(lambda: len(witness.reports) > reported, REPORT_BOUND)
        spoken.first_sound = loud[0] - began
        spoken.finished = [report.at - loud[-1] for report in witness.reports[reported:]]
        spoken.positions = [report.position for report in witness.reports[reported:]]
        returned = witness.between(loud[0], loud[-1])
        spoken.likeness = likeness(returned, speech)
        spoken.loudness = matching.level(returned) / matching.level(speech)
        return spoken

    async def _clear(self, room: AvatarRoom, session: AvatarSession) -> Cleared | None:
        """Interrupt an utterance; None if it did not even begin."""
        witness = self._witness
        began = await self._send(room, session, babble(LONG_SPEECH))
        if not await witness.until(lambda: self._heard_since(began), ONSET_BOUND):
            return None
        await asyncio.sleep(CLEAR_AFTER)
        reported, asked = len(witness.reports), time.monotonic()
        confirmed = await room.clear_buffer(session.identity, CLEAR_BOUND)
        answered = time.monotonic() - asked
        await self._silence(REPORT_BOUND)
        await witness.until(lambda: len(witness.reports) > reported, REPORT_BOUND)
        loud = witness.loud(asked, self._threshold)
        went_on = bool(loud) and loud[-1] > time.monotonic() - SILENCE
        silent = loud[-1] - asked if loud else 0.0
        if went_on:
            await self._silence(LONG_SPEECH)
        return Cleared(
            confirmed,
            answered,
            silent,
            went_on,
            [r.interrupted for r in witness.reports[reported:]],
        )

    async def _send(
        self, room: AvatarRoom, session: AvatarSession, speech: matching.Samples
    ) -> float:
        """Send speech as the service does, and return when its first sample went."""
        stream = await room.open_speech(session.identity)
        began = time.monotonic()
        await stream.write(speech.astype("<i2").tobytes())
        await stream.close()
        return began

    def _heard_since(self, began: float) -> bool:
        pieces = self._witness.heard
        return bool(pieces) and pieces[-1][0] >= began and self._is_loud(pieces[-1][1])

    def _is_loud(self, samples: matching.Samples) -> bool:
        return bool(np.max(np.abs(samples)) > self._threshold)

    async def _silence(self, expected: float) -> None:
        """Wait until there has been silence for a while; bounded."""
        until = time.monotonic() + expected + ONSET_BOUND
        last = time.monotonic()
        while (now := time.monotonic()) < until and now - last < SILENCE:
            await asyncio.sleep(SILENCE / 10)
            last = max([last, *self._witness.loud(last, self._threshold)])

    # -- what is noted beside it --------------------------------------------------------------

    async def _watch(self, api: RunwayAPI, session: AvatarSession) -> None:
        """Note every status the session passes."""
        observed = self._observed
        while session.session_id is None:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(CREATED_INTERVAL)
        observed.created = time.monotonic() - session.asked_at
        while True:
            with contextlib.suppress(APIError):
                await self._note_status(api, session.session_id, session.asked_at)
            observed.queued = observed.queued or session.queued.is_set()
            await asyncio.sleep(LOOK_INTERVAL)

    async def _note_status(self, api: RunwayAPI, session_id: str, asked_at: float) -> None:
        observed, status = self._observed, await api.session_status(session_id)
        seen = {"status": status.name, "fields": list(status.fields)}
        last = observed.statuses[-1] if observed.statuses else {}
        if last.get("status") != status.name or last.get("fields") != seen["fields"]:
            after = round(time.monotonic() - asked_at, 1)
            observed.statuses.append({"after_s": after, **seen})
        observed.failure = status.failure or observed.failure
        if status.name in wire.ENDED_STATUSES:
            observed.final_status, observed.duration = status.name, status.duration

    def _note_pictures(self, since: float) -> None:
        times = [at for at, _ in self._witness.pictures if at >= since]
        if len(times) > 1:
            self._observed.picture_rate = (len(times) - 1) / (times[-1] - times[0])

    def _note_end(self, session: AvatarSession, began: float) -> None:
        observed, witness = self._observed, self._witness
        observed.sizes = sorted({size for _, size in witness.pictures})
        observed.left_because = witness.left_because
        if session.session_id is not None:
            observed.lasted = time.monotonic() - session.asked_at
        if witness.left_at is not None and witness.left_at >= began:
            observed.left = witness.left_at - began

    async def _ask_afterwards(self, api: RunwayAPI, session: AvatarSession) -> None:
        """Ask what can be asked of a session that is over, and of nobody; all of it is free."""
        answers = self._observed.answers
        wrong_key = "key_" + secrets.token_hex(64)
        with contextlib.suppress(APIError):
            answer = await api.look(ORGANIZATION, key=wrong_key)
            answers["wrong key"] = quoted(answer.status, answer.text)
            answer = await api.look(ORGANIZATION, with_version=False)
            told = quoted(answer.status, "" if answer.status == 200 else answer.text)
            answers["no version"] = told
            answer = await api.look(f"/v1/realtime_sessions/{uuid.uuid4()}")
            answers["unknown session"] = quoted(answer.status, answer.text)
            limits = [name for name in answer.headers if "limit" in name or "retry" in name]
            answers["limit headers"] = ", ".join(limits)
        if session.session_id is None:
            return
        with contextlib.suppress(APIError):
            await self._note_status(api, session.session_id, session.asked_at)
        with contextlib.suppress(APIError):
            answer = await api.look(f"{CONVERSATION}/{session.session_id}")
            answers["conversation"] = record(answer)
        try:
            await api.delete_session(session.session_id)
            self._observed.delete_again = 204
        except APIError as e:
            self._observed.delete_again = e.status_code


def quoted(status: int, text: str) -> str:
    """Return an answer in short, on one line."""
    return f"HTTP {status} {' '.join(text.split())[:LONGEST_QUOTE]}".strip()


def record(answer: RawAnswer) -> str:
    """Return what a conversation's record holds, without what was said."""
    try:
        found = json.loads(answer.text)
        said, film = len(found["transcript"]), found["recordingUrl"] is not None
    except (ValueError, TypeError, KeyError):
        return f"HTTP {answer.status}"
    return f"HTTP {answer.status}, {said} entries, {'a' if film else 'no'} recording"


def babble(seconds: float) -> matching.Samples:
    """Return syllables of a pitch that never comes again: 16 kHz, full scale 32768."""
    rate, chance = wire.SPEECH_RATE, np.random.default_rng()
    pieces: list[matching.Samples] = []
    while sum(map(len, pieces)) < seconds * rate:
        at = np.arange(int(chance.uniform(0.12, 0.22) * rate)) / rate
        pitch = chance.uniform(100, 220) * (1 + chance.uniform(-0.3, 0.3) * at)
        weights = chance.uniform(0.2, 1.0, 12) / np.arange(1, 13)
        tone = sum(w * np.sin(2 * np.pi * n * pitch * at) for n, w in enumerate(weights, start=1))
        shape = np.sin(np.pi * np.arange(len(at)) / len(at)) ** 0.5
        pieces += [(8000 * tone * shape / weights.sum()).astype(np.float32)]
        pieces += [np.zeros(int(0.04 * rate), np.float32)]
    return np.concatenate(pieces)[: int(seconds * rate)]


def likeness(returned: matching.Samples, sent: matching.Samples) -> float:
    """Return how well pieces of returned sound are found in what was sent, from 0 to 1."""
    size = wire.SPEECH_RATE // 5
    scores = [
        matching.find(returned[at : at + size], sent).score
        for at in range(0, len(returned) - size, size)
    ]
    return max(0.0, float(np.median(scores))) if scores else 0.0
