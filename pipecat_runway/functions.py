"""Pipecat's ways to describe a function, as the tools of a session and as what runs them."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipecat.adapters.llm.schemas.direct_function import DirectFunction, DirectFunctionWrapper
from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.schemas.tools_schema import ToolsSchema

from pipecat_runway import tools
from pipecat_runway.errors import ConfigError

Tools = ToolsSchema | Sequence[FunctionSchema | DirectFunction]


def as_schema(given: Tools | None) -> ToolsSchema:
    """Return tools in Pipecat's one form.

    Raises:
        ConfigError: If one of them is no function, or only some other provider's.
    """
    if given is None:
        return ToolsSchema(standard_tools=[])
    if isinstance(given, ToolsSchema):
        if given.custom_tools:
            raise ConfigError("tools of other providers (custom_tools) mean nothing to Runway")
        return given
    try:
        return ToolsSchema(standard_tools=list(given))
    except ConfigError:
        raise
    except Exception as e:  # Pipecat raises the bare class, with the function's name
        raise ConfigError(
            f"a tool cannot be read: {e}",
            advice="Give FunctionSchema objects, or async functions whose first parameter is "
            "`params`.",
        ) from e


def runway_tools(
    backend: ToolsSchema, events: ToolsSchema, timeouts: Mapping[str, float | None]
) -> list[dict[str, Any]]:
    """Return the `tools` of a create request.

    Args:
        backend: The functions whose answers the model waits for.
        events: What it sends to whoever is there.
        timeouts: How long it waits for a function, in s, by name.

    Raises:
        ConfigError: If Runway would refuse one of them.
    """
    for schema in events.standard_tools:
        wrapped = any(direct.name == schema.name for direct in events.direct_functions)
        if wrapped or schema.handler is not None:
            raise ConfigError(
                f"the client event `{schema.name}` has a handler, and nobody waits for its answer",
                advice="Describe it by a FunctionSchema without one, and take it from "
                "on_client_event; or give the function as one of the tools.",
            )
    found = [tools.backend_rpc(f, timeouts.get(f.name)) for f in backend.standard_tools]
    found += [tools.client_event(f) for f in events.standard_tools]
    tools.check_tools(found)
    return found


def timeouts_of(given: ToolsSchema, default: float | None) -> dict[str, float | None]:
    """Return how long each function may take in s, as ``@tool_options`` says on it.

    Args:
        given: The functions.
        default: For those it says nothing of; None leaves it to Runway.
    """
    handlers: dict[str, Any] = {schema.name: schema.handler for schema in given.standard_tools}
    handlers |= {wrapper.name: wrapper.function for wrapper in given.direct_functions}
    return {
        name: getattr(handler, "_pipecat_timeout_secs", None) or default
        for name, handler in handlers.items()
    }


def handlers_of(given: ToolsSchema) -> dict[str, DirectFunctionWrapper | Any]:
    """Return what runs each function, by name.

    Raises:
        ConfigError: If one has nothing that runs it.
    """
    found: dict[str, DirectFunctionWrapper | Any] = {
        wrapper.name: wrapper for wrapper in given.direct_functions
    }
    for schema in given.standard_tools:
        handler = found.setdefault(schema.name, schema.handler)
        if handler is None:
            raise no_handler(schema.name)
    return found


def no_handler(name: str) -> ConfigError:
    """Return the error for a function that nothing runs."""
    return ConfigError(
        f"the function `{name}` has no handler",
        advice="Give its FunctionSchema a handler, or register_function it before the pipeline "
        "runs.",
    )
