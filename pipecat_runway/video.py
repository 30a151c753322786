"""A Runway Character as the face of a Pipecat bot, for any transport."""

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    InterruptionFrame,
    ServiceUpdateSettingsFrame,
    StartFrame,
    SystemFrame,
    TTSAudioRawFrame,
    TTSStartedFrame,
    TTSStoppedFrame,
    UserStartedSpeakingFrame,
)
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.ai_service import AIService
from pipecat.utils.errors import ErrorCategory
from pipecat.utils.frame_queue import FrameQueue
from runwayml import AsyncRunwayML

from pipecat_runway import wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.avatar import Avatar
from pipecat_runway.billed import Usage
from pipecat_runway.errors import ConfigError, RunwayError
from pipecat_runway.measures import Arrival, HandOver
from pipecat_runway.options import category_of, check_choice, check_duration, check_positive
from pipecat_runway.pictures import STAND_IN_EVERY, Pictures, Placeholder
from pipecat_runway.playback import Excerpt, Stage, Utterance
from pipecat_runway.reception import Watched
from pipecat_runway.renewal import Presence
from pipecat_runway.resampling import SpeechResampler
from pipecat_runway.sessions import AvatarOptions
from pipecat_runway.settings import RunwayVideoSettings, which_character
from pipecat_runway.sizes import Fit, Picture, PictureSize
from pipecat_runway.telemetry import Telemetry
from pipecat_runway.texts import HeardTextFrame, Texts

StartOn = Literal["setup", "client_connected", "first_speech"]

READY_TIMEOUT = 30.0  # s; a join takes 5 to 15 s as a rule
MAX_CALL_DURATION = 3600.0  # s
PICTURE_TIMEOUT = 0.5  # s; LiveKit tells of a dead participant after some 20 s only
SAMPLE_RATE = 24_000  # Hz, Pipecat's default, until the pipeline says otherwise


@dataclass
class _Told(Frame):
    """Something that is told in its place among the frames."""

    call: Callable[[], Awaitable[None]]


class RunwayVideoService(AIService):
    """Speaks through a Runway Character.

    Stands between the TTS and ``transport.output()``. TTS audio goes to the avatar; its voice
    comes back as :class:`TTSAudioRawFrame` and its picture as :class:`OutputImageRawFrame`. The
    session is provisioned while the pipeline starts, is billed from its creation, and is ended
    with the pipeline.

    Event handlers available:

    - on_avatar_connected(service, session_id): The first picture was seen.
    - on_avatar_disconnected(service, session_id, reason): The avatar is gone; speech goes on by
      voice.
    - on_avatar_renewing(service, session_id): Another session is asked for: this one nears its
      limit, or another character is wanted.
    - on_avatar_renewed(service, session_id): The avatar goes on in this session.

    Errors are reported by Pipecat's own ``on_error``.

    Example::

        runway = RunwayVideoService(
            settings=RunwayVideoService.Settings(preset_id="cooking-teacher"),
        )
        Pipeline([transport.input(), stt, user, llm, tts, runway, transport.output(), assistant])
    """

    Settings = RunwayVideoSettings
    _settings: RunwayVideoSettings

    def __init__(
        self,
        *,
        settings: RunwayVideoSettings,
        api_key: str | None = None,
        base_url: str | None = None,
        livekit_url: str | None = None,
        livekit_api_key: str | None = None,
        livekit_api_secret: str | None = None,
        client: AsyncRunwayML | None = None,
        video_out_width: int | None = None,
        video_out_height: int | None = None,
        video_out_framerate: float | None = None,
        fit: Fit = "contain",
        placeholder: Placeholder = "last",
        max_duration: int | None = None,
        max_call_duration: float = MAX_CALL_DURATION,
        idle_timeout: float | None = None,
        ready_timeout: float = READY_TIMEOUT,
        picture_timeout: float = PICTURE_TIMEOUT,
        start_on: StartOn = "setup",
        voice_fallback: bool = True,
        **kwargs: Any,
    ) -> None:
        """Initialize the service. Nothing is requested yet.

        Args:
            settings: The character: exactly one of ``preset_id`` and ``avatar_id``.
            api_key: Runway's API secret; left out, ``RUNWAYML_API_SECRET``.
            base_url: Where Runway's API is; left out, ``RUNWAYML_BASE_URL``, else Runway's cloud.
            livekit_url: A LiveKit server that Runway can reach, whatever the bot's own transport;
                left out, ``LIVEKIT_URL``.
            livekit_api_key: Its API key; left out, ``LIVEKIT_API_KEY``.
            livekit_api_secret: Its API secret; left out, ``LIVEKIT_API_SECRET``.
            client: A Runway client to use instead of `api_key` and `base_url`. It is not closed.
            video_out_width: Width of the pictures in pixels; left out, by the avatar's own.
            video_out_height: Height of the pictures in pixels; left out, by the avatar's own.
            video_out_framerate: Most pictures a second; left out, as many as the avatar sends.
            fit: ``"contain"`` shows the whole picture with black bars, ``"cover"`` fills the size.
            placeholder: What is seen without a face, so before it comes, after it has failed and
                while it is parked: its ``"last"`` picture, a ``"black"`` one, or this RGB picture.
            max_duration: Longest duration of a Runway session in s, 10 to 1800. Sessions have been
                seen to end after about 300 s whatever it says; another one follows then.
            max_call_duration: How long a call has a face, over all sessions, in s from the first
                one's creation. After that it goes on by voice.
            idle_timeout: After so many s in which neither user nor bot speaks the face is parked:
                its session ends, its last picture stays. Speech wakes it; until it is there, the
                voice speaks. None: it is never parked.
            ready_timeout: How long the avatar and its first picture are waited for, in s.
            picture_timeout: How long the picture may stand still in s while speech is owed and
                not heard. Then the voice goes on.
            start_on: When to create the session, which is billed from then on: ``"setup"`` with
                the pipeline, ``"client_connected"`` with the first client, ``"first_speech"`` with
                the first word. Speech always begins it.
            voice_fallback: What becomes of a call whose face fails. True: the voice goes on from
                the word it had got to, the service stays usable, and a face that was there comes
                back, or another one. False: an error that lasts makes the service unusable, so that
                a ``ServiceSwitcher``, or the worker's ``ProcessorUnusablePolicy``, decides.
            **kwargs: Passed to :class:`AIService`.

        Raises:
            ConfigError: If an argument, setting or environment variable is missing or cannot work;
                it is a ``ValueError``.
        """
        store = RunwayVideoSettings(model=wire.MODEL, preset_id=None, avatar_id=None)
        store.apply_update(settings)
        if not (store.preset_id or store.avatar_id):
            raise which_character("none was given")
        # The ledger is the queue; one of Pipecat's would hold up the beginning of a burst.
        super().__init__(settings=store, enable_direct_mode=True, **kwargs)
        self._api = RunwayAPI(
            api_key=api_key or os.getenv(wire.ENV_API_SECRET),
            base_url=base_url or os.getenv(wire.ENV_BASE_URL),
            client=client,
        )
        self._livekit_url = _required("livekit_url", livekit_url, wire.ENV_LIVEKIT_URL)
        self._livekit_key = _required("livekit_api_key", livekit_api_key, wire.ENV_LIVEKIT_API_KEY)
        self._livekit_secret = _required(
            "livekit_api_secret", livekit_api_secret, wire.ENV_LIVEKIT_API_SECRET
        )
        check_positive(
            video_out_width=video_out_width,
            video_out_height=video_out_height,
            video_out_framerate=video_out_framerate,
            ready_timeout=ready_timeout,
            idle_timeout=idle_timeout,
            picture_timeout=picture_timeout,
            max_call_duration=max_call_duration,
        )
        check_choice("fit", fit, get_args(Fit))
        check_choice("start_on", start_on, get_args(StartOn))
        check_duration(max_duration)
        self._max_duration, self._ready_timeout = max_duration, float(ready_timeout)
        self._max_call_duration = float(max_call_duration)
        self._idle_timeout = math.inf if idle_timeout is None else float(idle_timeout)
        self._picture_timeout = float(picture_timeout)
        self._start_on, self._voice_fallback = start_on, voice_fallback
        self._picture_size = PictureSize(video_out_width, video_out_height, fit)
        self._pictures = Pictures(
            size=self._picture_size, framerate=video_out_framerate, placeholder=placeholder
        )

        self._avatar: Avatar | None = None
        self._sample_rate = SAMPLE_RATE
        self._started = False
        self._resamplers: WeakKeyDictionary[Utterance, SpeechResampler] = WeakKeyDictionary()
        self._texts = Texts()
        self._cut_texts: list[HeardTextFrame] = []  # due ahead of an interruption
        self._voice_until = 0.0  # until then speech that was passed on is being heard
        self._out = FrameQueue()
        self._telemetry = Telemetry(self, self._out.put_nowait)
        self._tasks: list[asyncio.Task[None]] = []
        self._endings: list[asyncio.Task[None]] = []
        self._register_event_handler("on_avatar_connected")
        self._register_event_handler("on_avatar_disconnected")
        self._register_event_handler("on_avatar_renewing")
        self._register_event_handler("on_avatar_renewed")

    @property
    def session_id(self) -> str | None:
        """Runway's id of the current session; None before it exists."""
        return self._avatar.session_id if self._avatar else None

    @property
    def _watched(self) -> Watched:
        return self._avatar.watched if self._avatar else Watched()

    def can_generate_metrics(self) -> bool:
        """Return True: TTFB from the first sample sent to the first sound, and Runway's usage."""
        return True

    async def set_usable(self, is_usable: bool) -> None:
        """Set whether this processor can be given work.

        Args:
            is_usable: With `voice_fallback` it always can: without a face there is the voice.
        """
        await super().set_usable(is_usable or self._voice_fallback)

    async def prewarm(self) -> bool:
        """Provision the avatar before the pipeline runs, or wait until it is there.

        Returns:
            Whether the avatar is there. If not, the reason was reported as an error.
        """
        avatar = self._make_avatar()
        avatar.begin()
        return await avatar.settled()

    def _make_avatar(self) -> Avatar:
        if self._avatar is None:
            options = AvatarOptions(
                character=self._settings.character(),
                livekit_url=self._livekit_url,
                livekit_api_key=self._livekit_key,
                livekit_api_secret=self._livekit_secret,
                sample_rate=self._sample_rate,
                max_duration=self._max_duration,
                max_call_duration=self._max_call_duration,
                idle_timeout=self._idle_timeout,
                voice_fallback=self._voice_fallback,
                ready_timeout=self._ready_timeout,
                picture_timeout=self._picture_timeout,
                picture_size=self._picture_size,
            )
            self._avatar = Avatar(self._api, options, self)
        return self._avatar

    # -- the pipeline's life --------------------------------------------------------------------

    async def setup(  # type: ignore[override]  # as every FrameProcessor does
        self, setup: FrameProcessorSetup
    ) -> None:
        """Begin to provision the avatar, without waiting for it."""
        await super().setup(setup)
        if self._avatar is None:  # one that was prewarmed keeps the rate it was begun with
            self._sample_rate = setup.audio_out_sample_rate or SAMPLE_RATE
        self._tasks = [
            self.create_task(self._push_out(), name=f"{self}::out"),
            self.create_task(self._stand_in(), name=f"{self}::stand_in"),
        ]
        avatar = self._make_avatar()
        if self._start_on == "setup":
            avatar.begin()

    async def stop(self, frame: EndFrame) -> None:
        """Let the last words be heard, then end the session."""
        await super().stop(frame)
        if self._avatar is not None:
            await self._avatar.drain()
            await self._out.join()
            await self._avatar.end()
            await self._out.join()

    async def cancel(self, frame: CancelFrame) -> None:
        """End the session at once."""
        await super().cancel(frame)
        if self._avatar is not None:
            await self._avatar.end()

    async def cleanup(self) -> None:
        """End whatever is left, from any state."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        await self._end_no_more()
        if self._avatar is not None:
            await self._avatar.end()
        else:
            await self._api.close()
        while self._tasks:
            await self.cancel_task(self._tasks.pop())

    # -- frames -----------------------------------------------------------------------------------

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Send speech to the avatar; keep everything else in its place.

        Args:
            frame: The frame.
            direction: Where it is going.
        """
        if isinstance(frame, InterruptionFrame):
            self._interrupt()  # before anything else: from here on no old speech leaves
            await self.cancel_ttfb_metrics()  # type: ignore[no-untyped-call]
        if isinstance(frame, EndFrame | CancelFrame):
            await self._end_with(frame, direction)
            return
        await super().process_frame(frame, direction)
        while self._cut_texts and isinstance(frame, InterruptionFrame):
            await self.push_frame(self._cut_texts.pop(0))
        if isinstance(frame, ClientConnectedFrame) and self._start_on == "client_connected":
            self._make_avatar().begin()
        if isinstance(frame, UserStartedSpeakingFrame) and self._avatar is not None:
            self._avatar.stir()  # the answer will need the face
        if direction is FrameDirection.DOWNSTREAM and not isinstance(frame, SystemFrame):
            await self._take(frame)
            return
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._started = True

    async def _end_with(self, frame: EndFrame | CancelFrame, direction: FrameDirection) -> None:
        """End, and pass on what ended it; whoever pushes it does not wait for the last words."""
        if isinstance(frame, CancelFrame):
            await self._end_no_more()
        self._endings.append(self.create_task(self._end(frame, direction), name=f"{self}::end"))

    async def _end_no_more(self) -> None:
        """Take no more frames, and let what ends go no further."""
        self._cancelling = True
        while self._endings:
            await self.cancel_task(self._endings.pop())

    async def _end(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)  # stop() or cancel()
        await self.push_frame(frame, direction)

    async def _take(self, frame: Frame) -> None:
        """Give a frame its place."""
        avatar = self._make_avatar()
        if isinstance(frame, ServiceUpdateSettingsFrame) and await self._update(frame):
            return
        voiced = avatar.ledger.voiced(getattr(frame, "context_id", None))
        if avatar.presence is Presence.GONE and voiced is None:
            self._pass_on(frame)
            return
        if avatar.presence.voice_bridges and isinstance(frame, TTSStartedFrame):
            avatar.ledger.voice(frame.context_id)
        match frame:
            case TTSStartedFrame() if avatar.ledger.over(frame.context_id) is not Stage.VOICED:
                avatar.ledger.open(
                    frame.context_id,
                    keep=not frame.interruptible,
                    now=time.monotonic(),
                    item=frame,
                )
                self._texts.begin(frame)
                avatar.begin()
            case TTSAudioRawFrame():
                self._speak(avatar, frame)
            case TTSStoppedFrame():
                self._finish(avatar, frame)
            case _:
                self._hold(avatar, frame)
        avatar.spoke()
        if isinstance(frame, TTSAudioRawFrame):
            # A burst of speech must not hold up its own beginning. Nothing else waits: a TTS that
            # is interrupted here would not push what it has already crossed off.
            await avatar.handed()

    def _speak(self, avatar: Avatar, frame: TTSAudioRawFrame) -> None:
        ledger, now = avatar.ledger, time.monotonic()
        match ledger.over(frame.context_id):
            case Stage.CUT:
                return
            case Stage.VOICED if (utterance := ledger.voiced(frame.context_id)) is not None:
                pcm = self._resample(utterance, frame)
                self._texts.speech(ledger, utterance, pcm, frame.transport_destination)
                self.release(ledger.say(utterance, pcm, item=frame))
                return
            case Stage.VOICED:
                self._voice(avatar, frame)
                return
        utterance = ledger.find(frame.context_id)
        if utterance is None and avatar.presence.voice_bridges:
            ledger.voice(frame.context_id)
            self._voice(avatar, frame)
            return
        if utterance is None:
            utterance = ledger.open(frame.context_id, keep=not frame.interruptible, now=now)
            avatar.begin()
        self._texts.count(utterance, self.get_clock().get_time())
        pcm = self._resample(utterance, frame)
        ledger.feed(utterance, pcm, now=now, item=frame)
        self._texts.speech(ledger, utterance, pcm, frame.transport_destination)

    def _resample(self, utterance: Utterance, frame: TTSAudioRawFrame) -> bytes:
        if (resampler := self._resamplers.get(utterance.whole)) is None:
            resampler = self._resamplers[utterance.whole] = SpeechResampler()
        return resampler.push(frame.audio, frame.sample_rate, frame.num_channels)

    def _voice(self, avatar: Avatar, frame: TTSAudioRawFrame) -> None:
        """Pass speech on as the TTS made it."""
        seconds = frame.num_frames / frame.sample_rate
        avatar.voiced(seconds)
        self._voice_until = max(time.monotonic(), self._voice_until) + seconds
        self._out.put_nowait(frame)

    def _pass_on(self, frame: Frame) -> None:
        """Pass on a frame that waits for nothing."""
        late = time.monotonic() < self._voice_until
        if late and getattr(frame, "context_id", None) is None:
            frame.pts = None  # the time is the TTS's: it would overtake a voice that took over late
        self._out.put_nowait(frame)

    def _finish(self, avatar: Avatar, frame: TTSStoppedFrame) -> None:
        ledger = avatar.ledger
        utterance = ledger.find(frame.context_id)
        if utterance is not None:
            tail = self.tail(utterance)
            ledger.close(utterance, tail, item=frame)
            self._texts.close(ledger, utterance, tail)
            return
        over = ledger.over(frame.context_id)
        self.release(ledger.forget(frame.context_id))
        self._texts.forget(frame.context_id)
        if over is not Stage.CUT:
            self._hold(avatar, frame)

    def _hold(self, avatar: Avatar, frame: Frame) -> None:
        """Keep a frame behind the speech it came after, or pass it on."""
        context_id = getattr(frame, "context_id", None)
        cut = context_id is not None and avatar.ledger.over(context_id) is Stage.CUT
        if cut and frame.interruptible:
            return
        if not self._texts.hold(avatar.ledger, frame, self.get_clock().get_time()):
            self._pass_on(frame)

    def _interrupt(self) -> None:
        self._out.reset()
        self._voice_until = 0.0
        if self._avatar is not None:
            self._cut_texts = self._texts.interrupt(self._avatar.ledger)
            self.release(self._avatar.interrupt())
            surviving = [utterance.context_id for utterance in self._avatar.ledger]
            self._telemetry.interrupted(self._avatar.watched, surviving)

    async def _update(self, frame: ServiceUpdateSettingsFrame[Any]) -> bool:
        """Apply an update that is meant for this service; return whether it was."""
        if not isinstance(frame.delta, RunwayVideoSettings) or frame.service not in (None, self):
            return False
        try:
            changed = await self._update_settings(frame.delta)
        except ConfigError as e:
            # The one who sent it is mistaken; the face is as well as before.
            await self.push_error(str(e), exception=e, category=ErrorCategory.APPLICATION)
            return True
        if changed and self._avatar is not None:
            if self._avatar.presence is Presence.ABSENT:
                self._avatar = None
            else:
                self._avatar.change(self._settings.character())
        return True

    async def _stand_in(self) -> None:
        """Show something while there is no face."""
        while True:
            await asyncio.sleep(STAND_IN_EVERY)
            avatar = self._avatar
            if not self._started or (avatar and avatar.presence is Presence.PRESENT):
                continue
            if (picture := await self._pictures.stand_in()) is not None:
                await self.push_frame(picture)

    async def _push_out(self) -> None:
        """Push frames on, one after another; the only task that does."""
        while True:
            frame: Frame = await self._out.get()
            try:
                if isinstance(frame, _Told):
                    await frame.call()
                else:
                    await self.push_frame(frame)
            except Exception as e:  # a frame that cannot be pushed must not hold the others
                await self.push_error(f"a frame could not be pushed: {type(e).__name__}", e)
            finally:
                self._out.task_done()

    # -- what the avatar tells (audience.Audience) ------------------------------------------------

    def release(self, items: list[Any]) -> None:  # noqa: D102 - see audience.Audience
        for item in items:
            frame = _part(item) if isinstance(item, Excerpt) else self._texts.leave(item)
            if frame is None:
                continue
            frame.pts = None  # it has waited for its sound, and now only follows it
            if isinstance(frame, TTSStoppedFrame):
                self._texts.forget(frame.context_id)
                self._telemetry.said(frame.context_id, self._watched, interrupted=False)
            if isinstance(frame, TTSAudioRawFrame) and self._avatar is not None:
                self._voice(self._avatar, frame)
            else:
                self._out.put_nowait(frame)

    def tail(self, utterance: Utterance) -> bytes:  # noqa: D102
        resampler = self._resamplers.pop(utterance.whole, None)
        return resampler.flush() if resampler else b""

    def sent(self, utterance: Utterance) -> None:  # noqa: D102
        if utterance is not utterance.whole:
            return
        began = time.time()
        self._telemetry.sent(utterance.context_id, self.session_id, self._watched)
        self._tell(lambda: self.start_ttfb_metrics(start_time=began), interruptible=True)

    def heard(self, utterance: Utterance) -> None:  # noqa: D102
        if utterance is not utterance.whole:
            return
        ended = time.time()
        self._telemetry.heard(utterance.context_id)
        self._tell(lambda: self.stop_ttfb_metrics(end_time=ended), interruptible=True)

    def sound(self, utterance: Utterance, pcm: bytes) -> None:  # noqa: D102
        original: TTSAudioRawFrame = utterance.voice[0].item
        frame = TTSAudioRawFrame(pcm, self._sample_rate, 1, context_id=utterance.context_id)
        frame.transport_destination = original.transport_destination
        frame.interruptible = not utterance.keep
        self._out.put_nowait(frame)

    async def picture(self, picture: Picture) -> None:  # noqa: D102
        if self._started and (frame := await self._pictures.show(picture, self)) is not None:
            await self.push_frame(frame)

    def connected(self, session_id: str | None) -> None:  # noqa: D102
        self._tell(lambda: self._call_event_handler("on_avatar_connected", session_id))

    def disconnected(self, session_id: str | None, reason: str) -> None:  # noqa: D102
        self._tell(lambda: self._call_event_handler("on_avatar_disconnected", session_id, reason))

    def renewing(self, session_id: str | None) -> None:  # noqa: D102
        self._tell(lambda: self._call_event_handler("on_avatar_renewing", session_id))

    def renewed(self, session_id: str | None) -> None:  # noqa: D102
        self._tell(lambda: self._call_event_handler("on_avatar_renewed", session_id))

    def arrived(self, arrival: Arrival) -> None:  # noqa: D102
        self._telemetry.arrived(arrival)

    def handed_over(self, change: HandOver) -> None:  # noqa: D102
        self._telemetry.handed_over(change)

    def used(self, usage: Usage) -> None:  # noqa: D102
        self._telemetry.used(usage)

    def failed(self, error: RunwayError) -> None:  # noqa: D102
        self._tell(lambda: self._report(error))

    def _tell(self, call: Callable[[], Awaitable[None]], *, interruptible: bool = False) -> None:
        """Tell something in its place; what is only about speech that is cut may be dropped."""
        told = _Told(call)
        told.interruptible = interruptible
        self._out.put_nowait(told)

    async def _report(self, error: RunwayError) -> None:
        gone = self._avatar is not None and self._avatar.presence is Presence.GONE
        await self.push_error(
            str(error),
            exception=error,
            category=category_of(error),
            force_treat_as_permanent=gone and not self._voice_fallback,
        )


def _part(excerpt: Excerpt) -> TTSAudioRawFrame:
    """Return a frame with a part of another one's sound."""
    frame: TTSAudioRawFrame = excerpt.item
    width = frame.num_channels * wire.SAMPLE_WIDTH

    def place(seconds: float) -> int:
        return round(seconds * frame.sample_rate) * width

    end = None if excerpt.end is None else place(excerpt.end)
    sound = frame.audio[place(excerpt.start) : end]
    part = TTSAudioRawFrame(
        sound, frame.sample_rate, frame.num_channels, context_id=frame.context_id
    )
    part.transport_destination = frame.transport_destination
    part.interruptible = frame.interruptible
    return part


def _required(name: str, value: str | None, variable: str) -> str:
    value = value or os.getenv(variable)
    if not value:
        raise ConfigError(f"{name} is missing", advice=f"Pass {name} or set {variable}.")
    return value
