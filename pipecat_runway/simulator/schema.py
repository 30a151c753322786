"""What Runway's OpenAPI document says of the routes simulated here, as data.

Schemas are in the document's own form (JSON Schema), without its descriptions; source: the
OpenAPI of 2026-08-08, `paths./v1/realtime_sessions.post.requestBody` and
`paths./v1/avatars.get.parameters`.
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


def _text(minimum: int | None, maximum: int, **more: Any) -> Schema:
    least = {} if minimum is None else {"minLength": minimum}
    return {"type": "string", **least, "maxLength": maximum, **more}


def _const(value: str) -> Schema:
    return {"type": "string", "const": value}


def _object(required: list[str], properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": required}


def _list(maximum: int, items: Schema, **more: Any) -> Schema:
    return {"type": "array", "maxItems": maximum, "items": items, **more}


def _union(*options: Schema) -> Schema:
    return {"oneOf": list(options), "discriminator": {"propertyName": "type"}}


_NAME = _text(1, 64, pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")
_DESCRIPTION = _text(1, 1024)


def _parameter(kind: str, required: list[str] | None = None, **more: Schema) -> Schema:
    properties = {
        "name": _NAME,
        "description": _DESCRIPTION,
        "required": {"default": True, "type": "boolean"},
        "type": _const(kind),
        **more,
    }
    return _object(["name", "description", "type", *(required or [])], properties)


_PARAMETERS = _list(
    20,
    _union(
        _parameter("string", enum=_list(20, _text(None, 64))),
        _parameter("integer"),
        _parameter("number"),
        _parameter("boolean"),
        _parameter(
            "array",
            ["items"],
            items=_object(
                ["type"],
                {"type": {"type": "string", "enum": ["string", "integer", "number", "boolean"]}},
            ),
        ),
        _parameter("object", ["properties"], properties=_list(20, {})),
    ),
    default=[],
)


def _tool(kind: str, **more: Schema) -> Schema:
    properties = {
        "type": _const(kind),
        "name": _NAME,
        "description": _DESCRIPTION,
        "parameters": _PARAMETERS,
        **more,
    }
    return _object(["type", "name", "description"], properties)


_LIVEKIT = {
    "url": {"type": "string", "format": "uri"},
    "token": _text(1, 2048),
    "roomName": _text(1, 256),
    "agentIdentity": _text(1, 256),
}
_LIVEKIT_REQUIRED = ["url", "token", "roomName"]

CREATE_SESSION: Schema = _object(
    ["model", "avatar"],
    {
        "model": _const(MODEL),
        "avatar": _union(
            _object(
                ["type", "presetId"],
                {
                    "type": _const("runway-preset"),
                    "presetId": {"type": "string", "enum": PRESETS},
                },
            ),
            _object(
                ["type", "avatarId"],
                {
                    "type": _const("custom"),
                    "avatarId": {"type": "string", "format": "uuid", "pattern": UUID4},
                },
            ),
        ),
        "maxDuration": {"default": 300, "type": "integer", "minimum": 10, "maximum": 1800},
        "personality": _text(1, 10000),
        "startScript": _text(1, 2000),
        "tools": _list(
            20,
            _union(
                _tool("client_event"),
                _tool(
                    "backend_rpc",
                    timeoutSeconds={"default": 4, "type": "number", "minimum": 1, "maximum": 8},
                ),
            ),
            default=[],
        ),
        "integration": _union(
            _object(
                ["type", "signedUrl"],
                {
                    "type": _const("elevenlabs"),
                    "signedUrl": {"type": "string", "format": "uri"},
                },
            ),
            _object(
                ["type", *_LIVEKIT_REQUIRED],
                {"type": _const("livekit"), **_LIVEKIT},
            ),
        ),
        "livekit": _object(_LIVEKIT_REQUIRED, _LIVEKIT),
    },
)

LIST_AVATARS: Schema = _object(
    [],
    {
        "cursor": _text(1, 1000),
        "limit": {"default": 50, "type": "integer", "minimum": 1, "maximum": 100},
    },
)
