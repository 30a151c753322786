"""Functions as Runway's `tools`, checked against every limit before a session is created.

A function is described the way Pipecat's ``FunctionSchema`` does it: by JSON schemas of its
parameters. Runway has a form of its own, flatter than that (OAS: ``tools``). What it has no word
for is refused, so that the model is not told less than was written.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

from pipecat_runway import wire
from pipecat_runway.errors import ConfigError

_SCALARS: Final = ("string", "integer", "number", "boolean")
_ANNOTATIONS: Final = frozenset(  # of a JSON schema: they constrain nothing
    {"type", "description", "title", "default", "examples", "$comment", "additionalProperties"}
)
_DEEPEST: Final = 8  # objects within objects


class Function(Protocol):
    """What is told of a function: Pipecat's ``FunctionSchema`` fits."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def description(self) -> str:
        """What it does, and when to call it."""

    @property
    def properties(self) -> dict[str, Any]:
        """The JSON schemas of its parameters, by name."""

    @property
    def required(self) -> list[str]:
        """The parameters that must be given."""


def backend_rpc(function: Function, timeout: float | None = None) -> dict[str, Any]:
    """Return the tool for a function whose answer the model waits for.

    Args:
        function: The function.
        timeout: How long it waits, in s, 1 to 8; None for Runway's default of 4.

    Raises:
        ConfigError: If Runway would refuse it.
    """
    tool = _tool(wire.TOOL_BACKEND_RPC, function)
    if timeout is not None:
        shortest, longest = wire.MIN_TOOL_TIMEOUT, wire.MAX_TOOL_TIMEOUT
        if isinstance(timeout, bool) or not isinstance(timeout, int | float):
            raise _refused(function.name, f"has a timeout of type {type(timeout).__name__}")
        if not shortest <= timeout <= longest:
            raise _refused(
                function.name,
                f"has a timeout of {timeout:g} s; Runway's model waits {shortest:g} to "
                f"{longest:g} s",
                "Answer at once that the work has begun, or set timeout_secs within these bounds.",
            )
        tool["timeoutSeconds"] = timeout
    return tool


def client_event(function: Function) -> dict[str, Any]:
    """Return the tool for an event that the model sends and does not wait for.

    Args:
        function: What the event is called, when it is sent, and what comes with it.

    Raises:
        ConfigError: If Runway would refuse it.
    """
    return _tool(wire.TOOL_CLIENT_EVENT, function)


def check_tools(tools: Sequence[Mapping[str, Any]]) -> None:
    """Check a session's tools together.

    Raises:
        ConfigError: If there are too many, or two of one name.
    """
    if len(tools) > wire.MAX_TOOLS:
        raise ConfigError(
            f"a session can have {wire.MAX_TOOLS} tools, got {len(tools)} "
            f"(the first too many is `{tools[wire.MAX_TOOLS]['name']}`)",
            advice="Leave out some, or make one function of several.",
        )
    if (twice := _first_twice(tool["name"] for tool in tools)) is not None:
        raise _refused(twice, "is given twice", "Every tool needs a name of its own.")


def _tool(kind: str, function: Function) -> dict[str, Any]:
    name, description = function.name, function.description
    if not isinstance(name, str) or not wire.TOOL_NAME.fullmatch(name):
        raise _refused(
            str(name)[: wire.MAX_TOOL_NAME],
            f"has no name that Runway takes: 1 to {wire.MAX_TOOL_NAME} letters, digits and "
            "underscores, and no digit first",
            "Rename it.",
        )
    _check_description(name, None, description)
    return {
        "type": kind,
        "name": name,
        "description": description,
        "parameters": _parameters(name, "", function.properties, function.required),
    }


def _parameters(
    function: str, within: str, properties: Any, required: Any, depth: int = 0
) -> list[dict[str, Any]]:
    if not isinstance(properties, Mapping):
        raise _refused(function, f"{_has(within)} parameters that are no mapping by name")
    if len(properties) > wire.MAX_TOOL_PARAMETERS:
        raise _refused(
            function,
            f"{_has(within)} {len(properties)} parameters; Runway takes {wire.MAX_TOOL_PARAMETERS}",
            "Split it up.",
        )
    if depth > _DEEPEST:
        raise _refused(function, f"{_has(within)} objects within objects {_DEEPEST} deep")
    required = required if isinstance(required, Iterable) else ()
    return [
        _parameter(
            function, f"{within}.{name}" if within else str(name), name, schema, required, depth
        )
        for name, schema in properties.items()
    ]


def _parameter(
    function: str, path: str, name: Any, schema: Any, required: Iterable[Any], depth: int
) -> dict[str, Any]:
    if not isinstance(name, str) or not wire.TOOL_NAME.fullmatch(name):
        raise _refused(
            function,
            f"has a parameter `{path[: wire.MAX_TOOL_NAME]}` whose name Runway does not take: 1 to "
            f"{wire.MAX_TOOL_NAME} letters, digits and underscores, and no digit first",
            "Rename it.",
        )
    schema, optional = _without_null(schema)
    kind = schema.get("type")
    found: dict[str, Any] = {"name": name, "type": kind}
    if depth == 0 or "description" in schema:  # Runway leaves open what describes inner fields
        found["description"] = _check_description(function, path, schema.get("description"))
    found["required"] = name in required and not optional
    known = set(_ANNOTATIONS)
    match kind:
        case "string":
            known.add("enum")
            if "enum" in schema:
                found["enum"] = _enum(function, path, schema["enum"])
        case "integer" | "number" | "boolean":
            pass
        case "array":
            known.add("items")
            found["items"] = _items(function, path, schema.get("items"))
        case "object":
            known |= {"properties", "required"}
            found["properties"] = _parameters(
                function, path, schema.get("properties", {}), schema.get("required", ()), depth + 1
            )
        case _:
            raise _refused(
                function,
                f"has a parameter `{path}` of a type that Runway does not know"
                + (f" ({kind!r:.40})" if isinstance(kind, str) else ""),
                "It knows str, int, float, bool, lists of these, and dict or TypedDict.",
            )
    if unknown := sorted(str(word) for word in schema.keys() - known):
        raise _refused(
            function,
            f"has a parameter `{path}` with `{unknown[0][:40]}`, which Runway cannot be told",
            "Say it in the parameter's description, and check it in the function.",
        )
    return found


def _without_null(schema: Any) -> tuple[dict[str, Any], bool]:
    """Take apart "this or nothing", which Runway says by `required`."""
    if not isinstance(schema, Mapping):
        return {}, False
    found = dict(schema)
    choices = found.get("anyOf")
    if isinstance(choices, list):
        others = [c for c in choices if c != {"type": "null"}]
        if len(others) == 1 and isinstance(others[0], Mapping):
            del found["anyOf"]
            return {**others[0], **found}, len(others) < len(choices)
    kinds = found.get("type")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        if len(others) == 1:
            return {**found, "type": others[0]}, len(others) < len(kinds)
    return found, False


def _check_description(function: str, parameter: str | None, text: Any) -> str:
    if not isinstance(text, str) or not text:
        where = ", below Args" if parameter else ""
        raise _refused(
            function,
            f"{_has(parameter)} no description",
            f"Describe it in the function's docstring{where}: the model goes by that.",
        )
    if len(text) > wire.MAX_TOOL_DESCRIPTION:
        raise _refused(
            function,
            f"{_has(parameter)} a description of {len(text)} characters; Runway takes "
            f"{wire.MAX_TOOL_DESCRIPTION}",
            "Shorten it.",
        )
    return text


def _enum(function: str, path: str, values: Any) -> list[str]:
    if not isinstance(values, Sequence) or not all(isinstance(value, str) for value in values):
        raise _refused(
            function, f"has a parameter `{path}` whose enum is no list of strings", "Use strings."
        )
    if len(values) > wire.MAX_TOOL_ENUM:
        raise _refused(
            function,
            f"has a parameter `{path}` with {len(values)} allowed values; Runway takes "
            f"{wire.MAX_TOOL_ENUM}",
            "Make it a plain string, and say in its description what may stand there.",
        )
    if (longest := max(map(len, values), default=0)) > wire.MAX_TOOL_ENUM_VALUE:
        raise _refused(
            function,
            f"has a parameter `{path}` with an allowed value of {longest} characters; Runway takes "
            f"{wire.MAX_TOOL_ENUM_VALUE}",
            "Shorten it.",
        )
    return list(values)


def _items(function: str, path: str, schema: Any) -> dict[str, str]:
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if kind not in _SCALARS or schema.keys() - _ANNOTATIONS:
        raise _refused(
            function,
            f"has a parameter `{path}` that is a list of something Runway does not know",
            "It knows lists of str, int, float and bool, such as list[str].",
        )
    return {"type": kind}


def _has(parameter: str | None) -> str:
    return f"has a parameter `{parameter}` with" if parameter else "has"


def _first_twice(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _refused(function: str, what: str, advice: str = "") -> ConfigError:
    return ConfigError(f"the function `{function}` {what}", advice=advice)
