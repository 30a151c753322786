"""What others define, and we or the simulator repeat: a test that fails names what has moved."""

import ast
import asyncio
import dataclasses
import importlib
import inspect
import json
import typing
from pathlib import Path
from typing import Any

import pytest
import runwayml
from livekit import rtc
from pipecat.adapters.llm.schemas.direct_function import tool_options
from pipecat.frames.frames import FunctionCallResultFrame
from pipecat.services.llm_service import LLMService
from runwayml.types import avatar_create_params
from runwayml.types import realtime_session_create_params as create
from runwayml.types import realtime_session_retrieve_response as retrieve

from pipecat_runway import wire
from pipecat_runway.simulator import schema
from tests.judges import judge

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "runway-openapi-excerpt.json"


def literal(hint: Any) -> set[str]:
    """The values of a Literal, however deep it is wrapped."""
    if typing.get_origin(hint) is typing.Literal:
        return set(typing.get_args(hint))
    return set().union(*(literal(part) for part in typing.get_args(hint)))


def hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def statuses(*kinds: Any) -> set[str]:
    return set().union(*(literal(kind.model_fields["status"].annotation) for kind in kinds))


# -- runwayml -------------------------------------------------------------------------------------


def test_presets_are_the_sdks() -> None:
    """wire.PRESETS and schema.PRESETS are runwayml's AvatarRunwayPreset.preset_id."""
    presets = literal(hints(create.AvatarRunwayPreset)["preset_id"])
    assert presets == wire.PRESETS
    assert presets == set(schema.PRESETS)


def test_voices_are_the_sdks() -> None:
    """wire.VOICES is runwayml's VoiceRunwayLivePreset.preset_id."""
    assert wire.VOICES == literal(hints(avatar_create_params.VoiceRunwayLivePreset)["preset_id"])


def test_the_model_is_the_sdks() -> None:
    """wire.MODEL is the only value of runwayml's `model`."""
    assert {wire.MODEL} == literal(hints(create.RealtimeSessionCreateParams)["model"])
    assert wire.MODEL == schema.MODEL


def test_statuses_are_the_sdks() -> None:
    """wire.ENDED_STATUSES are those the SDK has a class for and that are not an open session's."""
    everything = typing.get_args(retrieve.RealtimeSessionRetrieveResponse)[0]
    opened = (retrieve.NotReady, retrieve.Ready, retrieve.Running)
    assert wire.ENDED_STATUSES == statuses(*typing.get_args(everything)) - statuses(*opened)
    assert {wire.FAILED_STATUS} == statuses(retrieve.Failed)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("RealtimeSessionCreateParams", {"avatar", "model", "integration", "max_duration"}),
        ("IntegrationLivekit", {"type", "url", "token", "room_name", "agent_identity"}),
        ("AvatarCustom", {"type", "avatar_id"}),
        ("AvatarRunwayPreset", {"type", "preset_id"}),
    ],
)
def test_the_fields_of_a_create_are_the_sdks(kind: str, fields: set[str]) -> None:
    """Each field we send is one the SDK knows."""
    assert fields <= set(getattr(create, kind).__annotations__)


def test_addresses_and_variables_are_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    """wire.ENV_API_SECRET, ENV_BASE_URL, BASE_URL and schema.API_VERSION are what the SDK uses."""
    monkeypatch.setenv(wire.ENV_API_SECRET, "key")
    client = runwayml.RunwayML()
    assert "key" == client.api_key
    assert wire.BASE_URL == str(client.base_url).rstrip("/")
    assert schema.API_VERSION == client.default_headers[schema.VERSION_HEADER]
    monkeypatch.setenv(wire.ENV_BASE_URL, "http://127.0.0.1:1")
    assert "http://127.0.0.1:1" == str(runwayml.RunwayML().base_url).rstrip("/")


# -- Runway's OpenAPI document --------------------------------------------------------------------


@pytest.mark.skipif(not REFERENCE.exists(), reason="Runway's OpenAPI document is not here")
def test_limits_are_the_documents() -> None:
    """wire.MIN_DURATION, MAX_DURATION and MAX_TOKEN_LENGTH are what the document says."""
    text = REFERENCE.read_text()
    document = json.loads(text)
    post = document["paths"]["/v1/realtime_sessions"]["post"]
    body = post["requestBody"]["content"]["application/json"]["schema"]
    body = (body.get("oneOf") or [body])[0]
    duration = body["properties"]["maxDuration"]
    assert (wire.MIN_DURATION, wire.MAX_DURATION) == (duration["minimum"], duration["maximum"])
    tokens = [
        option["properties"]["token"]["maxLength"]
        for option in body["properties"]["integration"]["oneOf"]
        if "token" in option["properties"]
    ]
    assert [wire.MAX_TOKEN_LENGTH] == tokens


@pytest.mark.skipif(not REFERENCE.exists(), reason="Runway's OpenAPI document is not here")
def test_limits_of_a_character_are_the_documents() -> None:
    """wire.MAX_AVATAR_NAME and those beside it, wire.UUID and wire.MAX_PAGE."""
    methods = json.loads(REFERENCE.read_text())["paths"]["/v1/avatars"]
    body = methods["post"]["requestBody"]["content"]["application/json"]["schema"]["properties"]
    limits = {
        "name": wire.MAX_AVATAR_NAME,
        "personality": wire.MAX_PERSONALITY,
        "startScript": wire.MAX_START_SCRIPT,
    }
    assert limits == {name: body[name]["maxLength"] for name in limits}
    assert wire.MAX_AVATAR_DOCUMENTS == body["documentIds"]["maxItems"]
    assert wire.MAX_PICTURE_URL == body["referenceImage"]["anyOf"][0]["maxLength"]
    assert f"^({wire.UUID.pattern})$" == body["documentIds"]["items"]["pattern"]
    (page,) = [p["schema"] for p in methods["get"]["parameters"] if p.get("name") == "limit"]
    assert wire.MAX_PAGE == page["maximum"]


# -- LiveKit's avatar classes and its Runway plugin -----------------------------------------------

DATASTREAM = "livekit/agents/voice/avatar/_datastream_io.py"
PLUGIN = "livekit/plugins/runway/avatar.py"
CONSTANTS = [
    ("RPC_CLEAR_BUFFER", DATASTREAM, "RPC_CLEAR_BUFFER"),
    ("RPC_PLAYBACK_STARTED", DATASTREAM, "RPC_PLAYBACK_STARTED"),
    ("RPC_PLAYBACK_FINISHED", DATASTREAM, "RPC_PLAYBACK_FINISHED"),
    ("AUDIO_STREAM_TOPIC", DATASTREAM, "AUDIO_STREAM_TOPIC"),
    ("SPEECH_RATE", PLUGIN, "SAMPLE_RATE"),
    ("AVATAR_IDENTITY", PLUGIN, "_AVATAR_AGENT_IDENTITY"),
]


@pytest.mark.parametrize(("ours", "path", "theirs"), CONSTANTS)
def test_literals_are_livekits(ours: str, path: str, theirs: str) -> None:
    """Each is the constant of that name in LiveKit's source."""
    if judge.find_uv() is None:
        pytest.skip("uv, which makes the judges' environment, is not on PATH")
    python = asyncio.run(judge.install())
    (source,) = (python.parents[1] / "lib").glob(f"python3.*/site-packages/{path}")
    values = {
        target.id: ast.literal_eval(node.value)
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    assert getattr(wire, ours) == values[theirs]


# -- Pipecat --------------------------------------------------------------------------------------

PROCESSOR = "pipecat.processors.frame_processor"
HOOKS = [
    (PROCESSOR, "FrameProcessor", "setup cleanup push_frame push_error next get_clock"),
    (PROCESSOR, "FrameProcessor", "create_task cancel_task"),
    (PROCESSOR, "FrameProcessor", "start_ttfb_metrics stop_ttfb_metrics cancel_ttfb_metrics"),
    ("pipecat.services.ai_service", "AIService", "start stop cancel _update_settings"),
    ("pipecat.services.ai_service", "AIService", "_warn_unhandled_updated_settings"),
    ("pipecat.services.settings", "ServiceSettings", "apply_update copy"),
    ("pipecat.utils.frame_queue", "FrameQueue", "get put_nowait task_done reset join"),
    ("pipecat.utils.base_object", "BaseObject", "_register_event_handler _call_event_handler"),
]
FIELDS = [
    ("TTSStartedFrame", "context_id append_to_context"),
    ("TTSStoppedFrame", "context_id"),
    ("TTSAudioRawFrame", "audio sample_rate num_channels context_id"),
    ("TextFrame", "text append_to_context includes_inter_frame_spaces"),
    ("AggregatedTextFrame", "text text_type context_id raw_text will_be_spoken"),
    ("TTSTextFrame", "text context_id segment_id"),
    ("OutputImageRawFrame", "image size format"),
    ("ServiceUpdateSettingsFrame", "delta service"),
]


@pytest.mark.parametrize(("module", "name", "members"), HOOKS)
def test_pipecats_hooks_are_there(module: str, name: str, members: str) -> None:
    """Each method and property of Pipecat that we call or override exists."""
    kind = getattr(importlib.import_module(module), name)
    assert set() == {member for member in members.split() if not hasattr(kind, member)}


@pytest.mark.parametrize(("name", "fields"), FIELDS)
def test_pipecats_frames_have_their_fields(name: str, fields: str) -> None:
    """Each field of a frame that we read or set exists, and so do those all frames have."""
    frame = getattr(importlib.import_module("pipecat.frames.frames"), name)
    known = {field.name for field in dataclasses.fields(frame)} | set(dir(frame))
    known |= set(inspect.signature(frame).parameters)
    assert set() == set(fields.split()) - known
    common = {"pts", "interruptible", "transport_destination"}
    assert set() == common - {field.name for field in dataclasses.fields(frame)} - set(dir(frame))


def test_a_transports_picture_size_can_be_read() -> None:
    """BaseOutputTransport keeps its TransportParams as `_params`, with these fields."""
    from pipecat.transports.base_output import BaseOutputTransport
    from pipecat.transports.base_transport import TransportParams

    fields = {"video_out_enabled", "video_out_width", "video_out_height", "video_out_framerate"}
    assert fields <= set(TransportParams.model_fields)
    assert "self._params = params" in inspect.getsource(BaseOutputTransport.__init__)


def test_livekits_sound_and_pictures_are_where_we_think() -> None:
    """What the streams of `reception` do is what LiveKit's do, but for one copy and one task."""
    for stream, event in ((rtc.AudioStream, "audio_event"), (rtc.VideoStream, "video_event")):
        source = inspect.getsource(stream)
        for line in (
            "self._loop.create_task(self._run())",
            "await self._ffi_queue.wait_for(self._is_event)",
            f'{event}.HasField("frame_received")',
            f'elif {event}.HasField("eos"):',
            "self._ffi_handle.dispose()",
            "await self._task",
            "FfiClient.instance.queue.unsubscribe(self._ffi_queue)",
        ):
            assert line in source, line
    assert "frame_received.frame" in inspect.getsource(rtc.AudioStream)
    assert "frame_received.buffer" in inspect.getsource(rtc.VideoStream)
    assert "normalize_stride = True" in inspect.getsource(rtc.VideoStream)
    for frame in (rtc.AudioFrame, rtc.VideoFrame):
        source = inspect.getsource(frame._from_owned_info)  # type: ignore[attr-defined]
        for line in ("info.data_ptr", "FfiHandle(owned_info.handle.id).dispose()"):
            assert line in source, line


# -- what Runway's own agent leans on -------------------------------------------------------------


def test_livekit_gives_a_call_up_where_we_think() -> None:
    """A callee is told a time-out, which `managedroom` makes longer."""
    handler = inspect.signature(rtc.LocalParticipant._handle_rpc_method_invocation)
    assert list(handler.parameters) == [
        *("self", "invocation_id", "method", "request_id"),
        *("caller_identity", "payload", "response_timeout"),
    ]
    assert "response_timeout" in inspect.getsource(rtc.LocalParticipant)


def test_pipecats_functions_are_where_we_think() -> None:
    """The hooks of LLMService that `llm` uses, and what @tool_options leaves on a function."""
    for name in (
        *("_service_tools", "_sync_registered_tool_handlers", "_functions"),
        *("_cancel_function_calls_by_tool_call_id", "_function_call_timeout_secs"),
    ):
        assert name in inspect.getsource(LLMService), name
    assert tool_options(timeout_secs=3)(print_nothing)._pipecat_timeout_secs == 3  # type: ignore[attr-defined]
    fields = {f.name for f in dataclasses.fields(FunctionCallResultFrame)}
    assert {"tool_call_id", "result", "error", "properties"} <= fields


async def print_nothing(params: Any) -> None:
    """Do nothing."""


def test_limits_of_tools_are_the_documents() -> None:
    """What `tools` checks is what the simulator's copy of the OpenAPI document says."""
    tools = schema.CREATE_SESSION["properties"]["tools"]
    assert tools["maxItems"] == wire.MAX_TOOLS
    body = schema.CREATE_SESSION["properties"]
    assert body["personality"]["maxLength"] == wire.MAX_PERSONALITY
    assert body["startScript"]["maxLength"] == wire.MAX_START_SCRIPT
    kinds = {t["properties"]["type"]["const"]: t["properties"] for t in tools["items"]["oneOf"]}
    assert set(kinds) == {wire.TOOL_BACKEND_RPC, wire.TOOL_CLIENT_EVENT}
    waits = kinds[wire.TOOL_BACKEND_RPC]["timeoutSeconds"]
    assert (waits["minimum"], waits["maximum"], waits["default"]) == (
        wire.MIN_TOOL_TIMEOUT,
        wire.MAX_TOOL_TIMEOUT,
        wire.TOOL_TIMEOUT,
    )
    name, description = (kinds[wire.TOOL_BACKEND_RPC][field] for field in ("name", "description"))
    assert name["maxLength"] == wire.MAX_TOOL_NAME
    assert description["maxLength"] == wire.MAX_TOOL_DESCRIPTION
