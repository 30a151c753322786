"""Checks request bodies against their schema and says what is wrong as Zod 4 would.

Runway's issue objects carry Zod 4's keys and wording in every live capture seen, so that form is
used for all of them.
"""

import ipaddress
import math
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from pipecat_runway.simulator.faults import ErrorBody, Faults
from pipecat_runway.simulator.schema import CREATE_SESSION, UUID4, Schema

Issue = dict[str, Any]
Path = tuple[str | int, ...]

DOCS = "https://docs.dev.runwayml.com/api"


def session_issues(body: Any, faults: Faults) -> list[Issue]:
    """What is wrong with the body of a create; nothing wrong is an empty list."""
    if not isinstance(body, dict):
        return [_wrong_type("object", body, ())]
    forbidden = set()
    if not faults.allow_integration:
        forbidden.add("integration")
    if not faults.allow_livekit_key:
        forbidden.add("livekit")
    known = CREATE_SESSION["properties"].keys() - forbidden
    refused = [key for key in body if key not in known and (faults.strict_body or key in forbidden)]
    read = {key: value for key, value in body.items() if key in known}
    issues = list(_issues(read, CREATE_SESSION, (), faults.strict_nested))
    if refused:
        issues.append(_unrecognized(refused, ()))
    if not issues:
        issues += [*_combination_issues(read, faults), *_address_issues(read, faults)]
    return issues


def body_issues(body: Any, schema: Schema, faults: Faults) -> list[Issue]:
    """What is wrong with the body of any other request."""
    if not isinstance(body, dict):
        return [_wrong_type("object", body, ())]
    known = {key: value for key, value in body.items() if key in schema["properties"]}
    extra = [key for key in body if key not in known]
    issues = list(_issues(known, schema, (), faults.strict_nested))
    return [*issues, _unrecognized(extra, ())] if extra and faults.strict_body else issues


def query_issues(query: dict[str, Any], schema: Schema) -> list[Issue]:
    """What is wrong with a query."""
    return list(_issues(query, schema, (), strict=False))


def issue(message: str, *path: str | int) -> Issue:
    """Something that no schema says."""
    return _custom(message, path)


def refusal(issues: list[Issue], form: ErrorBody, part: str = "body") -> dict[str, Any]:
    """The 400 body that tells of ``issues``."""
    if form is ErrorBody.PLAIN:
        first = issues[0]
        if first["code"] == "unrecognized_keys":
            return {"error": f"Unrecognized key: {', '.join(first['keys'])}"}
        return {"error": first["message"]}
    return {"error": f"Validation of {part} failed", "issues": issues, "docUrl": DOCS}


def _issues(value: Any, schema: Schema, path: Path, strict: bool) -> Iterator[Issue]:
    if "anyOf" in schema:
        yield from _any_issues(value, schema, path, strict)
        return
    if "oneOf" in schema:
        yield from _union_issues(value, schema, path, strict)
        return
    kind = schema.get("type")
    if kind == "object":
        if not isinstance(value, dict):
            yield _wrong_type("object", value, path)
            return
        for name, of in schema["properties"].items():
            if name in value or name in schema["required"]:
                yield from _issues(value.get(name, _MISSING), of, (*path, name), strict)
        extra = [name for name in value if name not in schema["properties"]]
        if extra and strict:
            yield _unrecognized(extra, path)
    elif kind == "array":
        if not isinstance(value, list):
            yield _wrong_type("array", value, path)
            return
        for index, item in enumerate(value):
            yield from _issues(item, schema["items"], (*path, index), strict)
        yield from _bounds(len(value), "array", " items", None, schema.get("maxItems"), path)
    elif kind == "string":
        yield from _string_issues(value, schema, path)
    elif kind in ("integer", "number"):
        yield from _number_issues(value, schema, path)
    elif kind == "null" and value is not None:
        yield _wrong_type("null", value, path)
    elif kind == "boolean" and not isinstance(value, bool):
        yield _wrong_type("boolean", value, path)


def _union_issues(value: Any, schema: Schema, path: Path, strict: bool) -> Iterator[Issue]:
    key = schema["discriminator"]["propertyName"]
    if not isinstance(value, dict):
        yield _wrong_type("object", value, path)
        return
    for option in schema["oneOf"]:
        if option["properties"][key]["const"] == value.get(key):
            yield from _issues(value, option, path, strict)
            return
    yield {
        "code": "invalid_union",
        "errors": [],
        "note": "No matching discriminator",
        "discriminator": key,
        "path": [*path, key],
        "message": "Invalid input",
    }


def _any_issues(value: Any, schema: Schema, path: Path, strict: bool) -> Iterator[Issue]:
    errors = [list(_issues(value, option, path, strict)) for option in schema["anyOf"]]
    if all(errors):
        yield {
            "code": "invalid_union",
            "errors": errors,
            "path": list(path),
            "message": "Invalid input",
        }


def _string_issues(value: Any, schema: Schema, path: Path) -> Iterator[Issue]:
    if "const" in schema:
        if value != schema["const"]:
            yield _wrong_value(
                [schema["const"]], f'Invalid input: expected "{schema["const"]}"', path
            )
    elif "enum" in schema:
        if value not in schema["enum"]:
            options = "|".join(f'"{option}"' for option in schema["enum"])
            yield _wrong_value(schema["enum"], f"Invalid option: expected one of {options}", path)
    elif not isinstance(value, str):
        yield _wrong_type("string", value, path)
    else:
        least, most = schema.get("minLength"), schema.get("maxLength")
        yield from _bounds(len(value), "string", " characters", least, most, path)
        yield from _format_issues(value, schema, path)


def _format_issues(value: str, schema: Schema, path: Path) -> Iterator[Issue]:
    match schema.get("format"), schema.get("pattern"):
        case "uri", _:
            if not _is_url(value):
                yield _wrong_format("url", "Invalid URL", path)
        case "uuid", _:
            if not re.search(UUID4, value):
                yield _wrong_format("uuid", "Invalid UUID", path, UUID4)
        case ("date-time" | "date" | None) as form, str(pattern):
            # In Python alone `$` also matches before a last line feed.
            if not re.search(pattern.replace("$", r"\Z"), value):
                message = f"Invalid string: must match pattern /{pattern}/"
                name = form.replace("-", "") if form else "regex"
                yield _wrong_format(name, message, path, pattern)


def _number_issues(value: Any, schema: Schema, path: Path) -> Iterator[Issue]:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        yield _wrong_type("number", value, path)
        return
    if schema["type"] == "integer" and value != int(value):
        yield {**_wrong_type("int", value, path), "format": "safeint"}
        return
    yield from _bounds(value, "number", "", schema.get("minimum"), schema.get("maximum"), path)


def _bounds(
    size: float, origin: str, unit: str, least: float | None, most: float | None, path: Path
) -> Iterator[Issue]:
    has = "to be" if origin == "number" else "to have"
    common = {"origin": origin, "inclusive": True, "path": list(path)}
    if least is not None and size < least:
        message = f"Too small: expected {origin} {has} >={least}{unit}"
        yield {"code": "too_small", "minimum": least, **common, "message": message}
    if most is not None and size > most:
        message = f"Too big: expected {origin} {has} <={most}{unit}"
        yield {"code": "too_big", "maximum": most, **common, "message": message}


def _combination_issues(body: dict[str, Any], faults: Faults) -> Iterator[Issue]:
    beside = {"livekit", "personality", "startScript", "tools"} & body.keys()
    if faults.integration_alone and "integration" in body and beside:
        for name in sorted(beside):
            yield _custom(f"{name} cannot be combined with integration", (name,))
    held_elsewhere = body.get("integration", {}).get("type") == "elevenlabs"
    if held_elsewhere and body["avatar"]["type"] != "custom" and not faults.elevenlabs_presets:
        yield _custom("ElevenLabs needs a custom avatar", ("avatar", "type"))
    names = [tool["name"] for tool in body.get("tools", [])]
    if faults.unique_tool_names and len(set(names)) < len(names):
        yield _custom("Tool names must be unique", ("tools",))


def _address_issues(body: dict[str, Any], faults: Faults) -> Iterator[Issue]:
    for name, field in (
        ("integration", "url"),
        ("integration", "signedUrl"),
        ("livekit", "url"),
    ):
        url = body.get(name, {}).get(field)
        if url is None:
            continue
        if faults.require_public_livekit and not _is_public(url):
            # The sentence of the runwayml SDK 5.24.0's docstring, which the OpenAPI lacks.
            message = "Must be a wss:// or https:// URL that resolves to a public host"
            yield _custom(message, (name, field))
        elif urlsplit(url).scheme not in ("ws", "wss", "http", "https"):
            yield _wrong_format("url", "Invalid URL", (name, field))


def _is_public(url: str) -> bool:
    """Whether ``url`` is TLS and its host is not evidently private. Asks no name server."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("wss", "https"):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        private = ("localhost", "local", "internal", "lan", "home", "test")
        return "." in host and host.rsplit(".", 1)[1] not in private


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port  # either may find the address malformed
    except ValueError:
        return False
    return bool(parts.scheme and host)


class _Missing:
    """A field that is not there: JavaScript's ``undefined``."""


_MISSING = _Missing()


def _wrong_type(expected: str, value: Any, path: Path) -> Issue:
    message = f"Invalid input: expected {expected}, received {_type_name(value)}"
    return {"expected": expected, "code": "invalid_type", "path": list(path), "message": message}


def _type_name(value: Any) -> str:
    match value:
        case _Missing():
            return "undefined"
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _wrong_value(values: list[str], message: str, path: Path) -> Issue:
    return {"code": "invalid_value", "values": values, "path": list(path), "message": message}


def _wrong_format(form: str, message: str, path: Path, pattern: str | None = None) -> Issue:
    more = {"pattern": f"/{pattern}/"} if pattern else {}
    return {
        "origin": "string",
        "code": "invalid_format",
        "format": form,
        **more,
        "path": list(path),
        "message": message,
    }


def _unrecognized(keys: list[str], path: Path) -> Issue:
    names = ", ".join(f'"{key}"' for key in keys)
    message = f"Unrecognized key{'s' if len(keys) > 1 else ''}: {names}"
    return {"code": "unrecognized_keys", "keys": keys, "path": list(path), "message": message}


def _custom(message: str, path: Path) -> Issue:
    return {"code": "custom", "path": list(path), "message": message}
