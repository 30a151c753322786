"""What Runway's OpenAPI document says of the routes simulated here, as data.

Schemas are in the document's own form (JSON Schema), without its descriptions; source: the
OpenAPI of 2026-08-08, `paths./v1/realtime_sessions.post.requestBody`.
"""

from typing import Any

Schema = dict[str, Any]

API_VERSION = "2024-11-06"  # components.parameters.X-Runway-Version
VERSION_HEADER = "X-Runway-Version"
MODEL = "gwm1_avatars"
PRESETS = [
    "game-character",
    "music-superstar",
    "game-character-man",
    "cat-character",
    "influencer",
    "tennis-coach",
    "human-resource",
    "fashion-designer",
    "cooking-teacher",
]
UUID4 = "^([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12})$"


ID: Schema = {"type": "string", "format": "uuid", "pattern": UUID4}


def text(minimum: int | None, maximum: int, **more: Any) -> Schema:
    """A string of that many characters."""
    least = {} if minimum is None else {"minLength": minimum}
    return {"type": "string", **least, "maxLength": maximum, **more}


def const(value: str) -> Schema:
    """A string of one value."""
    return {"type": "string", "const": value}


def obj(required: list[str], properties: Schema) -> Schema:
    """An object."""
    return {"type": "object", "properties": properties, "required": required}


def listing(maximum: int, items: Schema, **more: Any) -> Schema:
    """An array."""
    return {"type": "array", "maxItems": maximum, "items": items, **more}


def union(*options: Schema) -> Schema:
    """One of several objects, told apart by their `type`."""
    return {"oneOf": list(options), "discriminator": {"propertyName": "type"}}


_NAME = text(1, 64, pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")
_DESCRIPTION = text(1, 1024)


def _parameter(kind: str, required: list[str] | None = None, **more: Schema) -> Schema:
    properties = {
        "name": _NAME,
        "description": _DESCRIPTION,
        "required": {"default": True, "type": "boolean"},
        "type": const(kind),
        **more,
    }
    return obj(["name", "description", "type", *(required or [])], properties)


_PARAMETERS = listing(
    20,
    union(
        _parameter("string", enum=listing(20, text(None, 64))),
        _parameter("integer"),
        _parameter("number"),
        _parameter("boolean"),
        _parameter(
            "array",
            ["items"],
            items=obj(
                ["type"],
                {"type": {"type": "string", "enum": ["string", "integer", "number", "boolean"]}},
            ),
        ),
        _parameter("object", ["properties"], properties=listing(20, {})),
    ),
    default=[],
)


def _tool(kind: str, **more: Schema) -> Schema:
    properties = {
        "type": const(kind),
        "name": _NAME,
        "description": _DESCRIPTION,
        "parameters": _PARAMETERS,
        **more,
    }
    return obj(["type", "name", "description"], properties)


_LIVEKIT = {
    "url": {"type": "string", "format": "uri"},
    "token": text(1, 2048),
    "roomName": text(1, 256),
    "agentIdentity": text(1, 256),
}
_LIVEKIT_REQUIRED = ["url", "token", "roomName"]

CREATE_SESSION: Schema = obj(
    ["model", "avatar"],
    {
        "model": const(MODEL),
        "avatar": union(
            obj(
                ["type", "presetId"],
                {
                    "type": const("runway-preset"),
                    "presetId": {"type": "string", "enum": PRESETS},
                },
            ),
            obj(
                ["type", "avatarId"],
                {
                    "type": const("custom"),
                    "avatarId": ID,
                },
            ),
        ),
        "maxDuration": {"default": 300, "type": "integer", "minimum": 10, "maximum": 1800},
        "personality": text(1, 10000),
        "startScript": text(1, 2000),
        "tools": listing(
            20,
            union(
                _tool("client_event"),
                _tool(
                    "backend_rpc",
                    timeoutSeconds={"default": 4, "type": "number", "minimum": 1, "maximum": 8},
                ),
            ),
            default=[],
        ),
        "integration": union(
            obj(
                ["type", "signedUrl"],
                {
                    "type": const("elevenlabs"),
                    "signedUrl": {"type": "string", "format": "uri"},
                },
            ),
            obj(
                ["type", *_LIVEKIT_REQUIRED],
                {"type": const("livekit"), **_LIVEKIT},
            ),
        ),
        "livekit": obj(_LIVEKIT_REQUIRED, _LIVEKIT),
    },
)
