"""The face's actions in flows: registered in one call, the same from Python and from YAML."""

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
import yaml
from pipecat.flows import Flow, FlowConfig, FlowManager
from pipecat.flows.exceptions import FlowError
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair

from pipecat_runway.flows import SET_CHARACTER, WAIT_FOR_FACE, register_runway_actions
from pipecat_runway.simulator import RunwaySimulator
from tests.kit.content import damage
from tests.kit.marks import compare
from tests.scenarios.flows import ScriptedLLMService
from tests.scenarios.led import Led, characters, led, node_with
from tests.scenarios.receptions import EXAMPLES

from .conftest import MakeService, TurnKnobs

SCHEMA = json.loads((files("pipecat.flows") / "flow_config.schema.json").read_text())
CUSTOM = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
WELCOME = "marks 0-5"

FLOW = f"""
initial_node: welcome
nodes:
  welcome:
    task_messages:
      - role: developer
        content: Be welcoming.
    pre_actions:
      - type: runway_set_character
        preset_id: influencer
      - type: runway_wait_for_face
        timeout: 20
      - type: tts_say
        text: {WELCOME}
    respond_immediately: false
  changed:
    task_messages:
      - role: developer
        content: Be another.
    pre_actions:
      - type: runway_set_character
        preset_id: tennis-coach
      - type: runway_wait_for_face
    respond_immediately: false
"""


def assert_heard(call: Led) -> None:
    """The one text that was said was heard."""
    (said,) = call.tts.spoken
    assert {} == damage({said.text: compare(said.marks, call.transport.heard().marks())})


# -- what they do ---------------------------------------------------------------------------------


async def test_a_yaml_flow_chooses_the_face_and_waits_for_it(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """The character chosen first comes and speaks, and the one chosen later follows it."""
    nodes = Flow(FlowConfig.from_yaml(FLOW), handlers={})
    seen: list[str] = []
    face = make_service(start_on="first_speech")
    face.add_event_handler("on_avatar_connected", lambda _face, session_id: seen.append(session_id))
    async with led(face) as call:
        await call.flow.initialize(nodes.initial_node)
        (session,) = runway.sessions[-1:]
        assert "influencer" == session.character
        assert [session.id] == seen
        assert call.flow.state["runway_face"] is True
        await call.flow.set_node_from_config(nodes.node("changed"))
        assert ["influencer", "tennis-coach"] == [each.character for each in runway.sessions[-2:]]
        assert call.flow.state["runway_face"] is True
        assert face.session_id == runway.sessions[-1].id
    assert_heard(call)
    assert not call.run.errors


async def test_a_flow_goes_on_when_the_face_takes_too_long(
    make_service: MakeService, faults: TurnKnobs
) -> None:
    """After the timeout comes the next action; its words wait for the face, and are whole."""
    faults(join_delay=2.0)
    seen: list[str] = []
    face = make_service(start_on="first_speech")
    face.add_event_handler("on_avatar_connected", lambda _face, session_id: seen.append(session_id))
    async with led(face) as call:
        await call.flow.initialize(node_with({"type": WAIT_FOR_FACE, "timeout": 0.1}))
        assert call.flow.state["runway_face"] is False
        assert not seen
        await call.flow.set_node_from_config(node_with({"type": "tts_say", "text": WELCOME}))
    assert seen
    assert_heard(call)
    assert not call.run.errors


async def test_a_flow_goes_on_when_no_face_comes(
    make_service: MakeService, faults: TurnKnobs
) -> None:
    """The wait ends with the failure, and the flow speaks by voice."""
    faults(create_status=429)
    async with led(make_service(start_on="first_speech")) as call:
        wait: dict[str, Any] = {"type": WAIT_FOR_FACE}
        await call.flow.initialize(node_with(wait, {"type": "tts_say", "text": WELCOME}))
        assert call.flow.state["runway_face"] is False
    assert_heard(call)
    (error,) = call.run.errors
    assert "429" in error.error


# -- what they are told ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ({"type": SET_CHARACTER}, "exactly one of preset_id and avatar_id, none was"),
        (
            {"type": SET_CHARACTER, "preset_id": "influencer", "avatar_id": CUSTOM},
            "exactly one of preset_id and avatar_id, both were",
        ),
        ({"type": SET_CHARACTER, "preset_id": ""}, "preset_id must be"),
        ({"type": SET_CHARACTER, "avatar_id": 7}, "avatar_id must be"),
        ({"type": SET_CHARACTER, "preset": "influencer"}, "has no field 'preset'"),
        ({"type": WAIT_FOR_FACE, "timeout": "5"}, "timeout must be"),
        ({"type": WAIT_FOR_FACE, "timeout": 0}, "timeout must be"),
        ({"type": WAIT_FOR_FACE, "timeout": True}, "timeout must be"),
        ({"type": WAIT_FOR_FACE, "seconds": 5}, "has no field 'seconds'"),
    ],
    ids=str,
)
async def test_a_wrong_field_is_named(
    make_service: MakeService, action: dict[str, Any], message: str
) -> None:
    """Entering the node fails, with the action and the field in the message."""
    face, llm = make_service(), ScriptedLLMService([])
    pair = LLMContextAggregatorPair(LLMContext())
    worker = PipelineWorker(Pipeline([face]), enable_rtvi=False)
    flow = FlowManager(llm=llm, context_aggregator=pair, worker=worker)
    register_runway_actions(flow, face)
    with pytest.raises(FlowError, match=message) as raised:
        await flow.initialize(node_with(action))
    assert action["type"] in str(raised.value)
    await face.cleanup()


@pytest.mark.parametrize(
    "document",
    [FLOW, (EXAMPLES / "flows_receptionist.yaml").read_text()],
    ids=["actions", "flows_receptionist.yaml"],
)
def test_flows_own_schema_takes_them(document: str) -> None:
    """Flows with the face's actions are valid by the schema that Pipecat ships."""
    jsonschema.Draft202012Validator(SCHEMA).validate(yaml.safe_load(document))
    registered = {WAIT_FOR_FACE, SET_CHARACTER}
    config = FlowConfig.from_yaml(document)
    named = {a.type for n in config.nodes.values() for a in n.pre_actions if a.registered_in_code}
    assert registered == named


async def test_each_node_has_its_own_face(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """What a node says behind its choice is said by the character it has chosen."""
    report = await characters(make_service(start_on="first_speech"), runway, 3)
    assert {} == damage(report.verdicts)
    assert report.chosen == report.said_by
    assert (0, []) == (report.left, report.errors)
