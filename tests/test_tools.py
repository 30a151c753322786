"""Functions as Runway's tools: what we take is what Runway's own document takes, and no more."""

import json
import string
from pathlib import Path
from typing import Any, TypedDict

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipecat.adapters.llm.schemas.direct_function import tool_options
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema

from pipecat_runway import BackendTools, tools
from pipecat_runway.errors import ConfigError
from pipecat_runway.simulator import schema as simulated

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "runway-openapi-excerpt.json"


class Place(TypedDict):
    street: str
    number: int


async def book(
    params: Any,
    name: str,
    people: int,
    hours: list[float],
    where: Place,
    terrace: bool = False,
    note: str | None = None,
) -> None:
    """Book a table.

    Ask for the name first.

    Args:
        params: Pipecat's.
        name: Whose table it is.
        people: How many come.
        hours: When they could.
        where: Of which restaurant.
        terrace: Whether they would sit outside.
        note: What else there is to say.
    """


def test_a_function_becomes_a_tool() -> None:
    """Signature and docstring say everything; what has a default is not required."""
    assert BackendTools.wire([book]) == [
        {
            "type": "backend_rpc",
            "name": "book",
            "description": "Book a table.\n\nAsk for the name first.",
            "parameters": [
                _parameter("name", "string", "Whose table it is."),
                _parameter("people", "integer", "How many come."),
                _parameter("hours", "array", "When they could.", items={"type": "number"}),
                _parameter(
                    "where",
                    "object",
                    "Of which restaurant.",
                    properties=[
                        {"name": "street", "type": "string", "required": True},
                        {"name": "number", "type": "integer", "required": True},
                    ],
                ),
                _parameter("terrace", "boolean", "Whether they would sit outside.", required=False),
                _parameter("note", "string", "What else there is to say.", required=False),
            ],
        }
    ]


def _parameter(
    name: str, kind: str, description: str, required: bool = True, **more: Any
) -> dict[str, Any]:
    return {
        "name": name, "type": kind, "description": description, "required": required, **more
    }  # fmt: skip


def test_a_timeout_is_told() -> None:
    """@tool_options says how long the model waits."""
    assert BackendTools.wire([tool_options(timeout_secs=8)(book)])[0]["timeoutSeconds"] == 8
    assert "timeoutSeconds" not in BackendTools.wire([_plain])[0]


async def _plain(params: Any) -> None:
    """Do nothing."""


def test_every_shape_of_tools_is_taken() -> None:
    """A ToolsSchema, a list, a FunctionSchema with a handler."""
    schema = FunctionSchema("look", "Look.", {}, [], handler=_plain)
    assert BackendTools.wire(ToolsSchema(standard_tools=[schema, _plain])) == BackendTools.wire(
        [schema, _plain]
    )


# -- what is refused, and how it is said ----------------------------------------------------------

STRING = {"type": "string", "description": "x"}


def function(
    name: str = "book",
    description: str = "Book.",
    properties: Any = None,
    required: tuple[str, ...] = (),
) -> FunctionSchema:
    return FunctionSchema(name, description, properties or {}, list(required))


def with_parameter(**schema: Any) -> FunctionSchema:
    return function(properties={"who": {"description": "x", **schema}})


REFUSED: dict[str, tuple[FunctionSchema, list[str]]] = {
    "no name": (function(""), ["function ``", "1 to 64"]),
    "a name with a dash": (function("book-it"), ["`book-it`", "letters"]),
    "a long name": (function("x" * 65), ["1 to 64"]),
    "no description": (function(description=""), ["`book`", "no description", "docstring"]),
    "a long description": (function(description="x" * 1025), ["1025", "1024"]),
    "many parameters": (
        function(properties={f"p{n}": STRING for n in range(21)}),
        ["`book`", "21", "20"],
    ),
    "a parameter's name": (function(properties={"a b": STRING}), ["`book`", "`a b`"]),
    "an undescribed parameter": (
        function(properties={"who": {"type": "string"}}),
        ["`book`", "`who`", "no description", "Args"],
    ),
    "a long parameter": (with_parameter(type="string", description="x" * 1025), ["`who`", "1025"]),
    "no type": (with_parameter(), ["`book`", "`who`", "type"]),
    "a foreign type": (with_parameter(type="date"), ["`who`", "'date'"]),
    "either or": (
        with_parameter(anyOf=[{"type": "string"}, {"type": "integer"}]),
        ["`who`", "type"],
    ),
    "many values": (
        with_parameter(type="string", enum=[str(n) for n in range(21)]),
        ["`who`", "21", "20"],
    ),
    "a long value": (with_parameter(type="string", enum=["x" * 65]), ["`who`", "65", "64"]),
    "numbers to choose from": (with_parameter(type="string", enum=[1]), ["`who`", "strings"]),
    "a list of what": (with_parameter(type="array"), ["`who`", "list[str]"]),
    "a list of lists": (with_parameter(type="array", items={"type": "array"}), ["`who`", "list"]),
    "a limit": (with_parameter(type="integer", minimum=1), ["`who`", "`minimum`", "description"]),
    "deep inside": (
        with_parameter(
            type="object", properties={"in": {"type": "object", "properties": {"x": {}}}}
        ),
        ["`who.in.x`"],
    ),
    "many fields": (
        with_parameter(type="object", properties={f"p{n}": STRING for n in range(21)}),
        ["`who`", "21"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_runway_would_refuse_is_named(name: str) -> None:
    """Function and parameter by name, the limit, and what to do."""
    wrong, words = REFUSED[name]
    with pytest.raises(ConfigError) as caught:
        tools.backend_rpc(wrong)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("timeout", [0.5, 9, True, "4"])
def test_a_timeout_has_bounds(timeout: Any) -> None:
    """1 to 8 s."""
    with pytest.raises(ConfigError, match="`book` has a timeout"):
        tools.backend_rpc(function(), timeout)


def test_too_many_tools() -> None:
    """20 to a session, each of a name of its own."""
    many = [tools.client_event(function(f"f{n}")) for n in range(21)]
    tools.check_tools(many[:20])
    with pytest.raises(ConfigError, match=r"20 tools, got 21.*`f20`"):
        tools.check_tools(many)
    with pytest.raises(ConfigError, match="`f1` is given twice"):
        tools.check_tools([many[1], many[1]])


# -- the same judgement as the document's ---------------------------------------------------------

LETTERS = string.ascii_letters + string.digits + "_- é"
names = st.text(LETTERS, max_size=6) | st.sampled_from(["x" * 64, "x" * 65, "good", "_1"])
texts = st.text(max_size=5) | st.sampled_from(["x" * 1024, "x" * 1025])
enums = st.lists(st.text(max_size=3) | st.sampled_from(["x" * 64, "x" * 65]), max_size=3) | st.just(
    [str(n) for n in range(21)]
)
kinds = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "date"])
scalars = st.sampled_from(["string", "integer", "number", "boolean"])
parameters = st.one_of(
    st.fixed_dictionaries({"type": scalars, "description": texts}),
    st.fixed_dictionaries({"type": kinds, "description": texts}),
    st.fixed_dictionaries({"type": st.just("string"), "description": texts, "enum": enums}),
    st.fixed_dictionaries(
        {
            "type": st.just("array"),
            "description": texts,
            "items": st.fixed_dictionaries({"type": kinds}),
        }
    ),
    st.fixed_dictionaries({"type": st.just("object"), "description": texts}),
)
functions = st.builds(
    FunctionSchema,
    names,
    texts,
    st.dictionaries(names, parameters, max_size=4)
    | st.integers(19, 21).map(lambda n: {f"p{i}": STRING for i in range(n)}),
    st.lists(names, max_size=2),
)
timeouts = st.none() | st.floats(0, 10, allow_nan=False)


def unchecked(schema: FunctionSchema, timeout: float | None) -> dict[str, Any]:
    """The tool as it would be sent if nothing were checked."""
    tool: dict[str, Any] = {
        "type": "backend_rpc",
        "name": schema.name,
        "description": schema.description,
        "parameters": [
            {
                **each,
                "name": name,
                "required": name in schema.required,
                **({"properties": []} if each["type"] == "object" else {}),
            }
            for name, each in schema.properties.items()
        ],
    }
    return tool if timeout is None else {**tool, "timeoutSeconds": timeout}


@given(functions, timeouts)
def test_we_take_what_the_document_takes(schema: FunctionSchema, timeout: float | None) -> None:
    """Accepted here is accepted by Runway's OpenAPI document, and the other way round.

    The simulator, whose literals are its own, judges likewise.
    """
    sent = unchecked(schema, timeout)
    [fits] = {judge.is_valid([sent]) for judge in JUDGES}  # they agree
    if fits:
        assert tools.backend_rpc(schema, timeout) == sent
    else:
        with pytest.raises(ConfigError):
            tools.backend_rpc(schema, timeout)


def _judges() -> list[jsonschema.Draft202012Validator]:
    documents = [simulated.CREATE_SESSION]
    if REFERENCE.exists():
        paths = json.loads(REFERENCE.read_text())["paths"]
        body = paths["/v1/realtime_sessions"]["post"]["requestBody"]
        documents.append(body["content"]["application/json"]["schema"])
    found = [document["properties"]["tools"] for document in documents]
    return [jsonschema.Draft202012Validator(document) for document in found]


JUDGES = _judges()
