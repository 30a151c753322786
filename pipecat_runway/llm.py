"""Runway's own agent as the one who listens, thinks and speaks in a Pipecat pipeline."""

import asyncio
import os
import time
import uuid
from dataclasses import replace
from typing import Any, Literal, get_args

from pipecat.frames.frames import (
    CancelFrame,
    ClientConnectedFrame,
    EndFrame,
    Frame,
    FunctionCallCancelFrame,
    FunctionCallFromLLM,
    FunctionCallResultFrame,
    InputAudioRawFrame,
    InputImageRawFrame,
    InputTextRawFrame,
    InterruptionFrame,
    LLMContextFrame,
    LLMServiceMetadataFrame,
    LLMSetToolsFrame,
    ProposedUserStartedSpeakingFrame,
    ProposedUserStoppedSpeakingFrame,
    StartFrame,
    STTMetadataFrame,
    UserAudioRawFrame,
    VADUserStartedSpeakingFrame,
    VADUserStoppedSpeakingFrame,
)
from pipecat.processors.aggregators.llm_context import LLMContext, is_given
from pipecat.processors.frame_processor import FrameDirection, FrameProcessorSetup
from pipecat.services.llm_service import LLMService, LLMWithBackendRole
from pipecat.services.settings import LLMSettings
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.utils.errors import ErrorCategory
from runwayml import AsyncRunwayML

from pipecat_runway import wire
from pipecat_runway.api import RunwayAPI
from pipecat_runway.billed import Usage
from pipecat_runway.conversation import LOOK_INTERVAL, Conversation, ConversationOptions
from pipecat_runway.elevenlabs import ElevenLabsAgent
from pipecat_runway.errors import ConfigError, RunwayError, ToolError
from pipecat_runway.frames import RunwayClientEventFrame
from pipecat_runway.functions import (
    Tools,
    as_schema,
    no_handler,
    runway_tools,
    timeouts_of,
    waits_of,
)
from pipecat_runway.managed import Brief
from pipecat_runway.managedroom import CAMERA_SIZE
from pipecat_runway.measures import Arrival
from pipecat_runway.media import Decimator, fit_picture
from pipecat_runway.narration import Narration
from pipecat_runway.options import (
    category_of,
    check_choice,
    check_duration,
    check_positive,
)
from pipecat_runway.pictures import STAND_IN_EVERY, Pictures, Placeholder
from pipecat_runway.profiles import check_briefing
from pipecat_runway.settings import RunwayRealtimeLLMSettings, which_character
from pipecat_runway.sizes import Fit, Picture, PictureSize
from pipecat_runway.speaking import Began, Ended, Sound
from pipecat_runway.telemetry import Telemetry
from pipecat_runway.transcripts import (
    ANSWERED_QUIET,
    BotText,
    CarryOver,
    ClientEvent,
    UserText,
    carried_over,
)

StartRealtimeOn = Literal["setup", "client_connected"]

READY_TIMEOUT = 30.0  # s; a session is READY after 5 to 15 s as a rule
MAX_CALL_DURATION = 3600.0  # s
SAMPLE_RATE = 24_000  # Hz, Pipecat's default, until the pipeline says otherwise
MICROPHONE_RATE = 16_000  # Hz, likewise
QUESTION_SLACK = 0.3  # s more that Pipecat waits for a question's last words, once it is answered
FIXED_TOOLS = "tools are fixed when a Runway session is created, and cannot be changed in it"
FIXED_TOOLS_ADVICE = (
    "Give them to the service: RunwayRealtimeLLMService(tools=[...]). A FlowManager, which changes "
    "them from node to node, needs an LLM of your own with RunwayVideoService behind its TTS."
)


class RunwayRealtimeLLMService(LLMService):
    """A conversation with a Runway Character that listens, thinks and speaks by itself.

    Stands where the LLM stands, between the user's and the assistant's aggregator; there is no STT
    and no TTS. The user's voice goes to Runway; its voice comes back as :class:`TTSAudioRawFrame`,
    its picture as :class:`OutputImageRawFrame`, and what both say as Pipecat's own frames. The
    session is provisioned while the pipeline starts, is billed from its creation, and is ended with
    the pipeline.

    Event handlers available, besides those of :class:`LLMService`:

    - on_avatar_connected(service, session_id): The first picture was seen.
    - on_avatar_disconnected(service, session_id, reason): The session is over. Another one follows
      if `continue_with` says so; otherwise an error says why, and nothing more comes.
    - on_session_queued(service, session_id): It waits for a free slot.
    - on_client_event(service, tool, args): The avatar has used a tool that nobody answers.

    Errors are reported by Pipecat's own ``on_error``.

    Example::

        llm = RunwayRealtimeLLMService(
            settings=RunwayRealtimeLLMService.Settings(preset_id="cooking-teacher"),
            personality="You teach cooking, in two sentences at most.",
            tools=[get_recipe],
        )
        Pipeline([transport.input(), user, llm, transport.output(), assistant])
    """

    Settings = RunwayRealtimeLLMSettings
    _settings: RunwayRealtimeLLMSettings

    def __init__(
        self,
        *,
        settings: RunwayRealtimeLLMSettings,
        personality: str | None = None,
        start_script: str | None = None,
        tools: Tools | None = None,
        client_events: Tools | None = None,
        elevenlabs: ElevenLabsAgent | None = None,
        api_key: str | None = None,
        base_url: str | None = None,
        client: AsyncRunwayML | None = None,
        continue_with: Literal["turns"] | CarryOver | None = None,
        max_duration: int | None = None,
        max_call_duration: float = MAX_CALL_DURATION,
        ready_timeout: float = READY_TIMEOUT,
        start_on: StartRealtimeOn = "setup",
        user_video_framerate: float | None = None,
        video_out_width: int | None = None,
        video_out_height: int | None = None,
        video_out_framerate: float | None = None,
        fit: Fit = "contain",
        placeholder: Placeholder = "last",
        **kwargs: Any,
    ) -> None:
        """Initialize the service. Nothing is requested yet.

        Args:
            settings: The character: exactly one of ``preset_id`` and ``avatar_id``.
            personality: Who it is and what it knows, 1 to 10,000 characters; left out, the
                character's own.
            start_script: What it says first, 1 to 2,000 characters; left out, the character's own.
            tools: Functions it can call, as Pipecat's LLMs take them: direct functions,
                ``FunctionSchema`` with handlers, or a ``ToolsSchema``. The model waits 4 s for an
                answer, or what ``@tool_options(timeout_secs=...)`` says, 1 to 8.
            client_events: What it can let a client know, each a ``FunctionSchema`` without a
                handler: comes as ``on_client_event`` and as a `RunwayClientEventFrame`.
            elevenlabs: An ElevenLabs agent that leads the conversation in its place; with a
                custom character only.
            api_key: Runway's API secret; left out, ``RUNWAYML_API_SECRET``.
            base_url: Where Runway's API is; left out, ``RUNWAYML_BASE_URL``, else Runway's cloud.
            client: A Runway client to use instead of `api_key` and `base_url`. It is not closed.
            continue_with: What another session is made of when one has ended, as Runway ends them
                after about five minutes: ``"turns"`` for `personality` and as many of the latest
                turns as fit into 10,000 characters, or a function from the turns to a personality,
                which may return None. Left out, the conversation ends with its session.
            max_duration: Longest duration of a Runway session in s, 10 to 1800.
            max_call_duration: After so many s no other session follows.
            ready_timeout: How long a session, and its avatar's first picture, are waited for, in s.
            start_on: When to create the session, which is billed from then on: ``"setup"`` with
                the pipeline, ``"client_connected"`` with the first client.
            user_video_framerate: How many pictures a second of the user's camera Runway is shown,
                such as 2; left out, none.
            video_out_width: Width of the pictures in pixels; left out, by the avatar's own.
            video_out_height: Height of the pictures in pixels; left out, by the avatar's own.
            video_out_framerate: Most pictures a second; left out, as many as the avatar sends.
            fit: ``"contain"`` shows the whole picture with black bars, ``"cover"`` fills the size.
            placeholder: What is seen without an avatar: its ``"last"`` picture, a ``"black"`` one,
                or this RGB picture.
            **kwargs: Passed to :class:`LLMService`.

        Raises:
            ConfigError: If an argument, setting or environment variable is missing or cannot work;
                it is a ``ValueError``.
        """
        store = RunwayRealtimeLLMSettings(
            model=wire.MODEL,
            preset_id=None,
            avatar_id=None,
            # What Runway's agent has no word for.
            system_instruction=None,
            temperature=None,
            max_tokens=None,
            top_p=None,
            top_k=None,
            frequency_penalty=None,
            presence_penalty=None,
            seed=None,
            filter_incomplete_user_turns=False,
            user_turn_completion_config=None,
        )
        if is_given(settings.system_instruction) and settings.system_instruction:
            raise ConfigError(
                "settings.system_instruction means nothing to Runway", advice="Use personality."
            )
        store.apply_update(settings)
        if not (store.preset_id or store.avatar_id):
            raise which_character("none was given")
        super().__init__(settings=store, **kwargs)
        self._api = RunwayAPI(
            api_key=api_key or os.getenv(wire.ENV_API_SECRET),
            base_url=base_url or os.getenv(wire.ENV_BASE_URL),
            client=client,
        )
        check_positive(
            video_out_width=video_out_width,
            video_out_height=video_out_height,
            video_out_framerate=video_out_framerate,
            user_video_framerate=user_video_framerate,
            ready_timeout=ready_timeout,
            max_call_duration=max_call_duration,
        )
        check_choice("fit", fit, get_args(Fit))
        check_choice("start_on", start_on, get_args(StartRealtimeOn))
        check_duration(max_duration)
        check_briefing(personality, start_script)
        if elevenlabs is not None and not store.avatar_id:
            raise ConfigError(
                "an ElevenLabs agent can only lead a custom character, and a preset was given",
                advice="Make a character of your own, and give its avatar_id.",
            )
        self._tools, self._client_events = as_schema(tools), as_schema(client_events)
        self._wire_tools()  # what is wrong with them is said here
        self._brief = Brief(personality=personality, start_script=start_script)
        self._elevenlabs = elevenlabs
        self._carry_over = _carry_over(continue_with, personality)
        self._max_duration, self._max_call_duration = max_duration, float(max_call_duration)
        self._ready_timeout, self._start_on = float(ready_timeout), start_on
        self._camera = Decimator(user_video_framerate) if user_video_framerate else None
        self._picture_size = PictureSize(video_out_width, video_out_height, fit)
        self._pictures = Pictures(
            size=self._picture_size, framerate=video_out_framerate, placeholder=placeholder
        )

        self._conversation: Conversation | None = None
        self._microphone_rate = MICROPHONE_RATE
        self._started = asyncio.Event()
        self._context: LLMContext | None = None
        self._has_vad = False
        self._narration = Narration(self, SAMPLE_RATE)
        self._calls: dict[str, asyncio.Future[Any]] = {}  # by tool call id
        self._told: set[str] = set()  # what is said once
        self._telemetry = Telemetry(self, self._narration.send)
        self._tasks: list[asyncio.Task[None]] = []
        self._register_event_handler("on_avatar_connected")
        self._register_event_handler("on_avatar_disconnected")
        self._register_event_handler("on_session_queued")
        self._register_event_handler("on_client_event")

    @property
    def session_id(self) -> str | None:
        """Runway's id of the current session; None before it exists."""
        return self._conversation.session_id if self._conversation else None

    def can_generate_metrics(self) -> bool:
        """Return True: TTFB from the user's last word to the avatar's first, and Runway's usage."""
        return True

    def service_metadata_frame(self) -> LLMServiceMetadataFrame:
        """Return what aggregators go by: a realtime service that says when the user speaks."""
        return LLMServiceMetadataFrame(
            service_name=self.name,
            is_realtime_service=True,
            user_turn_strategies=ExternalUserTurnStrategies(),
        )

    async def broadcast_service_metadata(self) -> None:
        """Say what aggregators go by, and how long after the answer's beginning its question comes.

        An answer that is interrupted before that stands ahead of its question in the context.
        """
        await super().broadcast_service_metadata()  # type: ignore[no-untyped-call]
        latency = ANSWERED_QUIET + LOOK_INTERVAL + QUESTION_SLACK
        frame = STTMetadataFrame(service_name=self.name, ttfs_p99_latency=latency)
        await self.broadcast_frame_instance(frame)

    @property
    def accepts_intermediate_function_call_results(self) -> bool:
        """False: Runway's model takes one answer to a call."""
        return False

    def llm_with_backend_role_objection(self, role: LLMWithBackendRole) -> str | None:
        """Return why this service cannot take a role in an ``LLMWithBackend``."""
        return f"RunwayRealtimeLLMService cannot be an LLMWithBackend {role}: {FIXED_TOOLS}"

    # -- the pipeline's life --------------------------------------------------------------------

    async def setup(  # type: ignore[override]  # as every FrameProcessor does
        self, setup: FrameProcessorSetup
    ) -> None:
        """Begin to provision the session, without waiting for it."""
        await super().setup(setup)
        self._narration.sample_rate = setup.audio_out_sample_rate or SAMPLE_RATE
        self._microphone_rate = setup.audio_in_sample_rate or MICROPHONE_RATE
        self._tasks = [
            self.create_task(self._push_out(), name=f"{self}::out"),
            self.create_task(self._narration.look(), name=f"{self}::look"),
            self.create_task(self._stand_in(), name=f"{self}::stand_in"),
        ]
        if self._start_on == "setup":
            self._begin()

    def _begin(self) -> None:
        """Begin the conversation, once.

        Raises:
            ConfigError: If there is a tool that Runway would refuse, or that nothing runs.
        """
        if self._conversation is not None:
            return
        self._sync_registered_tool_handlers(None)
        for schema in self._tools.standard_tools:
            if not (schema.name in self._functions or None in self._functions):
                raise no_handler(schema.name)
        brief = replace(self._brief, tools=self._wire_tools())
        options = ConversationOptions(
            character=self._settings.character(),
            brief=brief,
            agent=self._elevenlabs,
            functions=waits_of(brief.tools or []),
            carry_over=self._carry_over,
            sample_rate=self._narration.sample_rate,
            microphone_rate=self._microphone_rate,
            has_camera=self._camera is not None,
            picture_size=self._picture_size,
            max_duration=self._max_duration,
            max_call_duration=self._max_call_duration,
            ready_timeout=self._ready_timeout,
        )
        self._conversation = Conversation(
            self._api, options, audience=self, call=self._call_function
        )
        self._conversation.begin()

    def _wire_tools(self) -> list[dict[str, Any]]:
        timeouts = timeouts_of(self._tools, self._function_call_timeout_secs)
        for name, item in self._functions.items():  # what was said when it was registered counts
            if name in timeouts and item.timeout_secs:
                timeouts[name] = item.timeout_secs
        return runway_tools(self._tools, self._client_events, timeouts)

    async def stop(self, frame: EndFrame) -> None:
        """Let the avatar finish what it is saying, then end the session."""
        await super().stop(frame)
        if self._conversation is not None:
            await self._conversation.drain()
            await self._narration.told()
            await self._conversation.end()
            await self._narration.told()

    async def cancel(self, frame: CancelFrame) -> None:
        """End the session at once."""
        await super().cancel(frame)
        if self._conversation is not None:
            await self._conversation.end()

    async def cleanup(self) -> None:
        """End whatever is left, from any state."""
        await super().cleanup()  # type: ignore[no-untyped-call]
        if self._conversation is not None:
            await self._conversation.end()
        else:
            await self._api.close()
        while self._tasks:
            await self.cancel_task(self._tasks.pop())

    # -- frames -----------------------------------------------------------------------------------

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Let the avatar hear the user; everything else goes on its way.

        Args:
            frame: The frame.
            direction: Where it is going.
        """
        await super().process_frame(frame, direction)
        match frame:
            case LLMContextFrame():
                await self._note_context(frame.context)
                return  # the context is Runway's; this one only follows it
            case InputAudioRawFrame():
                self._hear(frame)
            case InputImageRawFrame():
                await self._see(frame)
            case InterruptionFrame():
                await self._interrupt()
            case VADUserStartedSpeakingFrame() | VADUserStoppedSpeakingFrame():
                self._has_vad = True
                await self._propose(isinstance(frame, VADUserStartedSpeakingFrame))
            case LLMSetToolsFrame():
                await self._refuse(FIXED_TOOLS, FIXED_TOOLS_ADVICE)
            case InputTextRawFrame():
                await self._refuse("Runway's agent hears, and takes no typed text")
            case ClientConnectedFrame() if self._start_on == "client_connected":
                await self._begin_or_tell()
        await self.push_frame(frame, direction)
        if isinstance(frame, StartFrame):
            self._started.set()

    async def push_frame(
        self, frame: Frame, direction: FrameDirection = FrameDirection.DOWNSTREAM
    ) -> None:
        """Push a frame; what a function has answered goes to the avatar as well.

        Args:
            frame: The frame.
            direction: Where it is going.
        """
        if direction is FrameDirection.DOWNSTREAM:
            match frame:
                case FunctionCallResultFrame() if not (
                    frame.properties and frame.properties.is_final is False
                ):
                    self._answer(frame)
                case FunctionCallCancelFrame():
                    self._resolve(
                        frame.tool_call_id,
                        ToolError(f"the function `{frame.function_name}` was stopped"),
                    )
        await super().push_frame(frame, direction)

    async def _begin_or_tell(self) -> None:
        try:
            self._begin()
        except ConfigError as e:
            await self.push_error(str(e), exception=e, force_treat_as_permanent=True)

    def _hear(self, frame: InputAudioRawFrame) -> None:
        if isinstance(frame, UserAudioRawFrame):
            self._narration.user_id = frame.user_id
        if self._conversation is not None:
            self._conversation.speak(frame.audio, frame.sample_rate, frame.num_channels)

    async def _see(self, frame: InputImageRawFrame) -> None:
        if self._camera is None or self._conversation is None:
            return
        if frame.format != "RGB":
            await self._refuse(f"the user's pictures must be RGB, got {frame.format!r}")
        elif self._camera.wants(time.monotonic()):
            picture = await fit_picture(Picture(frame.image, frame.size), CAMERA_SIZE, "contain")
            self._conversation.show(picture.rgb, picture.size)

    async def _interrupt(self) -> None:
        """Let nothing more be heard of what was being said."""
        self._narration.interrupt()
        if self._conversation is not None:
            self._conversation.interrupt()
        self._narration.end()
        await self.stop_all_metrics()  # type: ignore[no-untyped-call]

    async def _propose(self, speaks: bool) -> None:
        """Let the user's turn begin or end; the user's aggregator decides about it."""
        if speaks:
            await self.broadcast_frame(ProposedUserStartedSpeakingFrame)
        else:
            await self.start_ttfb_metrics()
            await self.broadcast_frame(ProposedUserStoppedSpeakingFrame)

    async def _note_context(self, context: LLMContext) -> None:
        self._context = context
        if is_given(context.tools) and context.tools:
            await self._refuse(FIXED_TOOLS, FIXED_TOOLS_ADVICE)
        messages = context.get_messages()
        if any(isinstance(m, dict) and m["role"] in ("system", "developer") for m in messages):
            await self._refuse(
                "messages in the context do not reach Runway's agent", "Use personality."
            )

    async def _refuse(self, what: str, advice: str = "") -> None:
        """Tell, once, of something that cannot be done; the conversation is as well as before."""
        if what not in self._told:
            self._told.add(what)
            error = ConfigError(what, advice=advice)
            await self.push_error(str(error), exception=error, category=ErrorCategory.APPLICATION)

    async def _update_settings(  # type: ignore[override]  # as every LLMService does
        self, delta: LLMSettings
    ) -> dict[str, Any]:
        changed = await super()._update_settings(delta)
        if changed:
            await self._refuse(
                f"{', '.join(sorted(changed))} cannot change while a Runway session runs"
            )
        return changed

    # -- functions --------------------------------------------------------------------------------

    def _service_tools(self) -> Any:
        return self._tools

    async def _call_function(self, name: str, arguments: dict[str, Any]) -> Any:
        """Call a function for the avatar, as Pipecat calls them.

        Raises:
            ToolError: It has no answer.
        """
        await self._started.wait()
        call_id = uuid.uuid4().hex
        answer = self._calls[call_id] = asyncio.get_running_loop().create_future()
        try:
            await self.run_function_calls(
                [
                    FunctionCallFromLLM(
                        function_name=name,
                        tool_call_id=call_id,
                        arguments=arguments,
                        context=self._context,
                    )
                ]
            )
            return await answer
        finally:
            del self._calls[call_id]
            if not answer.done() or answer.cancelled():  # nobody waits for it any more
                await self._cancel_function_calls_by_tool_call_id(call_id)

    def _answer(self, frame: FunctionCallResultFrame) -> None:
        failed = frame.error is not None
        self._resolve(frame.tool_call_id, ToolError(str(frame.result)) if failed else frame.result)

    def _resolve(self, call_id: str, answer: Any) -> None:
        future = self._calls.get(call_id)
        if future is None or future.done():
            return
        if isinstance(answer, ToolError):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    # -- what the conversation tells (conversation.Audience) --------------------------------------

    def voice(self, what: Began | Sound | Ended) -> None:  # noqa: D102 - see Audience
        if isinstance(what, Began):
            self._narration.tell(self.stop_ttfb_metrics)
        self._narration.voice(what)

    async def picture(self, picture: Picture) -> None:  # noqa: D102
        if not self._started.is_set():
            return
        if (shown := await self._pictures.show(picture, self)) is not None:
            await self.push_frame(shown)

    def text(self, what: UserText | BotText) -> None:  # noqa: D102
        self._narration.text(what)

    def client_event(self, event: ClientEvent) -> None:  # noqa: D102
        self._narration.send(RunwayClientEventFrame(event.tool, event.args))
        self._narration.tell(
            lambda: self._call_event_handler("on_client_event", event.tool, event.args)
        )

    def user_speaks(self, speaks: bool) -> None:  # noqa: D102
        if not self._has_vad:  # which is quicker, if there is one
            self._narration.tell(lambda: self._propose(speaks))

    def queued(self, session_id: str | None) -> None:  # noqa: D102
        self._narration.tell(lambda: self._call_event_handler("on_session_queued", session_id))

    def connected(self, session_id: str | None) -> None:  # noqa: D102
        self._narration.tell(lambda: self._call_event_handler("on_avatar_connected", session_id))

    def disconnected(self, session_id: str | None, reason: str) -> None:  # noqa: D102
        self._narration.tell(
            lambda: self._call_event_handler("on_avatar_disconnected", session_id, reason)
        )

    def used(self, usage: Usage) -> None:  # noqa: D102
        self._telemetry.used(usage)

    def arrived(self, arrival: Arrival) -> None:  # noqa: D102
        self._telemetry.arrived(arrival)

    def failed(self, error: RunwayError) -> None:  # noqa: D102
        self._narration.tell(
            lambda: self.push_error(str(error), exception=error, category=category_of(error))
        )

    async def _push_out(self) -> None:
        """Push on what is told, once the pipeline has started."""
        await self._started.wait()
        await self._narration.push()

    async def _stand_in(self) -> None:
        """Show something while there is no avatar."""
        while True:
            await asyncio.sleep(STAND_IN_EVERY)
            present = self._conversation is not None and self._conversation.is_present
            if present or not self._started.is_set():
                continue
            if (picture := await self._pictures.stand_in()) is not None:
                await self.push_frame(picture)


def _carry_over(
    given: Literal["turns"] | CarryOver | None, personality: str | None
) -> CarryOver | None:
    if given != "turns":
        if given is not None and not callable(given):
            raise ConfigError(f"continue_with must be 'turns' or a function, got {given!r:.40}")
        return given
    if personality is None:
        raise ConfigError(
            "continue_with='turns' needs a personality: what it adds to replaces the character's",
            advice="Pass personality, or a function as continue_with.",
        )
    return lambda turns: carried_over(personality, turns)
