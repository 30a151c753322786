import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_runway.simulator import ErrorBody, Faults, library_schema
from pipecat_runway.simulator.schema import CREATE_SESSION, Schema
from pipecat_runway.simulator.validation import refusal, session_issues

from .api_kit import OpenAPI, session_body

LENIENT = Faults(strict_body=False, strict_nested=False, elevenlabs_presets=True)


def tool(**more: Any) -> dict[str, Any]:
    return {"type": "client_event", "name": "wave", "description": "Wave a hand.", **more}


def parameter(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": "how", "description": "How to wave.", **more}


def with_integration(**more: Any) -> dict[str, Any]:
    body = session_body()
    body["integration"] |= more
    return body


def codes(body: Any, faults: Faults = Faults()) -> list[tuple[str, list[str | int]]]:  # noqa: B008
    return [(issue["code"], issue["path"]) for issue in session_issues(body, faults)]


# -- the schema is Runway's ------------------------------------------------------------------------


def bare(schema: Any) -> Any:
    """The schema without what says nothing about validity."""
    aside = {"description", "title", "example", "deprecated", "x-stainless-model", "$schema"}
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if isinstance(schema.get("properties"), dict):
        named = {name: bare(of) for name, of in schema["properties"].items()}
        rest = {key: bare(of) for key, of in schema.items() if key not in {*aside, "properties"}}
        return {**rest, "properties": named}
    return {key: bare(of) for key, of in schema.items() if key not in aside}


def test_schemas_are_those_of_the_openapi_document(openapi: OpenAPI) -> None:
    """Every limit of a create's body and of a list's query is Runway's own, to the letter."""
    assert bare(openapi.body("post", "/v1/realtime_sessions")) == CREATE_SESSION
    bodies = {
        ("post", "/v1/avatars"): library_schema.CREATE_AVATAR,
        ("patch", "/v1/avatars/{id}"): library_schema.UPDATE_AVATAR,
        ("post", "/v1/organization/usage"): library_schema.USAGE,
    }
    queries = {
        "/v1/avatars": library_schema.LIST_AVATARS,
        "/v1/avatar_conversations": library_schema.LIST_CONVERSATIONS,
        "/v1/avatar_usage": library_schema.AVATAR_USAGE,
    }
    for (method, path), schema in bodies.items():
        assert {"required": [], **bare(openapi.body(method, path))} == schema, path
    for path, schema in queries.items():
        assert bare(openapi.parameters("get", path)) == schema["properties"], path


# -- the validator means what the schema says ------------------------------------------------------

# Bodies are valid but for one spot, which is at or around a limit: a second fault would hide the
# first one's judgement.

anything = st.one_of(st.none(), st.booleans(), st.integers(-5, 20), st.text(max_size=3))
UUID = "6f1c9a52-3b7e-4d08-9a41-5e2f7c80d1b3"


def least(schema: Schema) -> Any:
    """The smallest value a schema takes."""
    match schema:
        case {"oneOf": [option, *_]}:
            return least(option)
        case {"type": "object"}:
            return {name: least(schema["properties"][name]) for name in schema["required"]}
        case {"type": "array"}:
            return []
        case {"const": value} | {"enum": [value, *_]} | {"minimum": value}:
            return value
        case {"format": "uuid"}:
            return UUID
        case {"format": "uri"}:
            return "wss://livekit.example"
        case {"type": "boolean"}:
            return True
    return "x"


def any_of(strategies: list[st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Each equally often; `st.one_of` would flatten, and tools have most of the leaves."""
    return st.sampled_from(strategies).flatmap(lambda strategy: strategy)


def around(schema: Schema) -> st.SearchStrategy[Any]:
    """Values on, just over and just under one of a schema's limits, and of other kinds."""
    others = anything
    if schema.get("format") == "uri":  # jsonschema would take any text
        others = anything.filter(lambda value: not isinstance(value, str))
    return any_of([_around(schema), _around(schema), others])


def _around(schema: Schema) -> st.SearchStrategy[Any]:
    match schema:
        case {"oneOf": options}:
            return any_of([_around(option) for option in options])
        case {"type": "object", "properties": properties}:
            whole = least(schema)
            varied = [
                st.builds(lambda value, name: {**whole, name: value}, around(of), st.just(name))
                for name, of in properties.items()
            ]
            lacking = [{key: whole[key] for key in whole if key != name} for name in whole]
            return any_of([*varied, st.sampled_from([whole, {}, *lacking])])
        case {"type": "array", "items": items, "maxItems": most}:
            long = [[least(items)] * size for size in (0, most, most + 1)]
            return st.one_of(around(items).map(lambda item: [item]), st.sampled_from(long))
        case {"const": value}:
            return st.sampled_from([value, value.upper()])
        case {"enum": values}:
            return st.sampled_from([*values, "another"])
        case {"format": "uri"}:
            return st.just(least(schema))
        case {"format": "uuid"}:
            wrong = [UUID.replace("-4", "-1"), UUID.replace("-9", "-c"), f"{UUID}0", UUID[1:], ""]
            return st.sampled_from([UUID, UUID.upper(), *wrong])
        case {"type": "string", "maxLength": most}:
            sizes = [0, 1, most - 1, most, most + 1]
            texts = st.sampled_from([size * "x" for size in sizes])
            return (
                st.one_of(texts, st.from_regex(r"[\w-]{0,3}\Z")) if "pattern" in schema else texts
            )
        case {"minimum": low, "maximum": high}:
            edges = [low - 1, low, low + 0.5, float(low), high - 0.5, high, float(high), high + 1]
            return st.sampled_from(edges)
    return anything


def compare_with(schema: Schema) -> None:
    """Fail if the simulator judges any body otherwise than jsonschema does by ``schema``."""
    independent = jsonschema.Draft202012Validator(schema)

    @settings(max_examples=1000, deadline=None, derandomize=True)
    @given(around(CREATE_SESSION))
    def agree(body: Any) -> None:
        theirs = [error.message for error in independent.iter_errors(body)]
        ours = session_issues(body, LENIENT)
        assert bool(ours) == bool(theirs), f"{ours=} {theirs=}"

    agree()


def test_takes_and_refuses_exactly_what_the_schema_does() -> None:
    """On and around every limit the simulator and an independent validator agree."""
    compare_with(CREATE_SESSION)


def test_the_comparison_notices_a_wrong_limit() -> None:
    """A deliberate break: with one limit off by one the comparison above fails."""
    off_by_one = copy.deepcopy(CREATE_SESSION)
    off_by_one["properties"]["maxDuration"]["maximum"] -= 1
    with pytest.raises(AssertionError, match="1799"):
        compare_with(off_by_one)


OVER = [
    ("maxDuration", 9, "too_small"),
    ("maxDuration", 1801, "too_big"),
    ("maxDuration", 10.5, "invalid_type"),
    ("maxDuration", "60", "invalid_type"),
    ("maxDuration", True, "invalid_type"),
    ("personality", "", "too_small"),
    ("personality", "x" * 10001, "too_big"),
    ("startScript", "", "too_small"),
    ("startScript", "x" * 2001, "too_big"),
    ("tools", [tool()] * 21, "too_big"),
    ("tools", {}, "invalid_type"),
    ("model", "gwm2", "invalid_value"),
    ("livekit", {}, "invalid_type"),
]
WITHIN = [
    ("maxDuration", 10),
    ("maxDuration", 1800),
    ("maxDuration", 60.0),
    ("personality", "x" * 10000),
    ("startScript", "x" * 2000),
    ("tools", [tool()] * 20),
    ("tools", [tool(type="backend_rpc", timeoutSeconds=8, parameters=[parameter("string")])]),
    ("tools", [tool(parameters=[parameter("array", items={"type": "number"})])]),
    ("tools", [tool(parameters=[parameter("object", properties=[{"free": 1}])])]),
]


@pytest.mark.parametrize(("name", "value", "code"), OVER)
def test_refuses_what_is_over_a_limit(name: str, value: Any, code: str) -> None:
    """A value just over a limit is refused with the issue that says so."""
    issues = session_issues(session_body(**{name: value}), Faults())
    assert issues
    assert issues[0]["code"] == code
    assert issues[0]["path"][0] == name


@pytest.mark.parametrize(("name", "value"), WITHIN)
def test_takes_what_is_on_a_limit(name: str, value: Any) -> None:
    """A value just on a limit is taken."""
    assert session_issues(session_body(**{name: value}), Faults()) == []


@pytest.mark.parametrize(
    ("name", "size"), [("token", 2048), ("roomName", 256), ("agentIdentity", 256)]
)
def test_limits_of_the_room(name: str, size: int) -> None:
    """Token, room name and identity: 1 up to their limit, no more and no less."""
    assert codes(with_integration(**{name: "x"})) == []
    assert codes(with_integration(**{name: "x" * size})) == []
    assert codes(with_integration(**{name: "x" * (size + 1)})) == [
        ("too_big", ["integration", name])
    ]
    assert codes(with_integration(**{name: ""})) == [("too_small", ["integration", name])]


def test_tools_are_checked_to_the_bottom() -> None:
    """An issue's path leads to the parameter that is wrong."""
    bad = tool(parameters=[parameter("string"), parameter("array", items={"type": "object"})])
    at = ["tools", 0, "parameters", 1, "items", "type"]
    assert codes(session_body(tools=[bad])) == [("invalid_value", at)]
    assert codes(session_body(tools=[tool(name="2nd")])) == [
        ("invalid_format", ["tools", 0, "name"])
    ]
    assert codes(session_body(tools=[tool(name="wave\n")])) == [
        ("invalid_format", ["tools", 0, "name"])
    ]


# -- the words -------------------------------------------------------------------------------------


def only_issue(body: Any, faults: Faults = Faults()) -> dict[str, Any]:  # noqa: B008
    (issue,) = session_issues(body, faults)
    return issue


def test_says_it_as_the_live_api_was_seen_to() -> None:
    """The wordings captured from the live API, on the fields they belong to."""
    too_long = only_issue(session_body(maxDuration=1801))
    assert too_long["message"] == "Too big: expected number to be <=1800"
    assert too_long["maximum"] == 1800
    assert only_issue(session_body(tools=[tool(type="function")])) == {
        "code": "invalid_union",
        "errors": [],
        "note": "No matching discriminator",
        "discriminator": "type",
        "path": ["tools", 0, "type"],
        "message": "Invalid input",
    }
    token = with_integration()
    del token["integration"]["token"]
    assert only_issue(token) == {
        "expected": "string",
        "code": "invalid_type",
        "path": ["integration", "token"],
        "message": "Invalid input: expected string, received undefined",
    }


def test_both_forms_of_a_400() -> None:
    """A refused field is told as a list of issues, or as the bare sentence seen in April 2026."""
    faults = Faults(allow_livekit_key=False)
    body = session_body(livekit={"url": "wss://a", "token": "t", "roomName": "r"})
    issues = session_issues(body, faults)
    assert refusal(issues, ErrorBody.PLAIN) == {"error": "Unrecognized key: livekit"}
    assert refusal(issues, ErrorBody.ISSUES) == {
        "error": "Validation of body failed",
        "issues": [
            {
                "code": "unrecognized_keys",
                "keys": ["livekit"],
                "path": [],
                "message": 'Unrecognized key: "livekit"',
            }
        ],
        "docUrl": "https://docs.dev.runwayml.com/api",
    }
    other = session_issues(session_body(maxDuration=1801), faults)
    assert refusal(other, ErrorBody.PLAIN) == {"error": "Too big: expected number to be <=1800"}


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_a_body_that_is_no_object(body: Any) -> None:
    """Anything but an object is refused as a whole."""
    assert codes(body) == [("invalid_type", [])]


@pytest.mark.parametrize("avatar", [None, "cat-character", {}, {"type": "preset"}])
def test_an_avatar_that_is_none(avatar: Any) -> None:
    """An avatar of no known type is one issue, at the avatar."""
    (issue,) = session_issues({**session_body(), "avatar": avatar}, Faults())
    assert issue["path"][0] == "avatar"


# -- the knobs -------------------------------------------------------------------------------------


def test_unknown_fields() -> None:
    """Unknown fields are refused on top, and further down, each by its own knob."""
    top = session_body(instructions="Be kind.")
    below = with_integration(codec="vp8")
    assert codes(top) == [("unrecognized_keys", [])]
    assert codes(top, Faults(strict_body=False)) == []
    assert codes(below) == [("unrecognized_keys", ["integration"])]
    assert codes(below, Faults(strict_nested=False)) == []


@pytest.mark.parametrize("strict", [True, False])
def test_a_field_that_is_not_allowed_is_refused_however_lenient(strict: bool) -> None:
    """`integration` unknown to the API is a 400 whether or not other unknown fields are."""
    faults = Faults(allow_integration=False, strict_body=strict)
    assert codes(session_body(), faults) == [("unrecognized_keys", [])]
    assert codes(session_body(integration=None), faults) == []


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("wss://project.livekit.cloud", True),
        ("https://livekit.example.com:7880/path", True),
        ("wss://1.1.1.1", True),
        ("ws://project.livekit.cloud", False),
        ("wss://localhost", False),
        ("wss://127.0.0.1:7880", False),
        ("wss://[::1]", False),
        ("wss://10.0.0.7", False),
        ("wss://192.168.1.2", False),
        ("wss://livekit", False),
        ("wss://livekit.local", False),
    ],
)
def test_public_addresses(url: str, public: bool) -> None:
    """The real service's rule can be had: TLS and a public host; without it loopback is fine."""
    body = with_integration(url=url)
    assert codes(body) == []
    enforced = codes(body, Faults(require_public_livekit=True))
    assert enforced == ([] if public else [("custom", ["integration", "url"])])


@pytest.mark.parametrize(
    "url", ["", "livekit", "wss://", "wss://h:port", "wss://[", "ftp://h.example"]
)
def test_malformed_addresses(url: str) -> None:
    """What is no address of a LiveKit server is refused as an invalid URL."""
    assert codes(with_integration(url=url)) == [("invalid_format", ["integration", "url"])]


def test_combinations() -> None:
    """What may stand beside `integration`, and whether tools may share a name, are knobs."""
    body = session_body(personality="Kind.", tools=[tool(), tool()])
    assert codes(body) == []
    assert codes(body, Faults(integration_alone=True)) == [
        ("custom", ["personality"]),
        ("custom", ["tools"]),
    ]
    assert codes(body, Faults(unique_tool_names=True)) == [("custom", ["tools"])]
