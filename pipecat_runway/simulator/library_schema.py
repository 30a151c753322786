"""What Runway's OpenAPI document says of avatars, documents, conversations and usage, as data.

In the document's own form, as in :mod:`pipecat_runway.simulator.schema`. The document at hand has
no routes for documents and uploads; their limits are those of Runway's docstrings in `runwayml`
5.24.0 and of the full OpenAPI of 2026-08-08.
"""

from typing import Any

from pipecat_runway.simulator.schema import ID, Schema, const, listing, obj, text, union

VOICES = [
    "victoria",
    "vincent",
    "clara",
    "drew",
    "skye",
    "max",
    "morgan",
    "felix",
    "mia",
    "marcus",
    "summer",
    "ruby",
    "aurora",
    "jasper",
    "leo",
    "adrian",
    "nina",
    "emma",
    "blake",
    "david",
    "maya",
    "nathan",
    "sam",
    "georgia",
    "petra",
    "adam",
    "zach",
    "violet",
    "roman",
    "luna",
]
_DAY = (
    r"(?:(?:\d\d[2468][048]|\d\d[13579][26]|\d\d0[48]|[02468][048]00|[13579][26]00)-02-29|\d{4}-"
    r"(?:(?:0[13578]|1[02])-(?:0[1-9]|[12]\d|3[01])|(?:0[469]|11)-(?:0[1-9]|[12]\d|30)|(?:02)-"
    r"(?:0[1-9]|1\d|2[0-8])))"
)
_TIME = r"T(?:(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?:Z))"
DATE: Schema = {"type": "string", "format": "date", "pattern": f"^{_DAY}$"}
DATE_TIME: Schema = {"type": "string", "format": "date-time", "pattern": f"^{_DAY}{_TIME}$"}

_IMAGE: Schema = {
    "anyOf": [
        text(13, 2048, pattern="^https:\\/\\/.*"),
        text(13, 5000, pattern="^runway:\\/\\/.*"),
        text(13, 5_242_880, pattern="^data:image\\/.*"),
    ]
}
_VOICE = union(
    obj(
        ["type", "presetId"],
        {"type": const("runway-live-preset"), "presetId": {"type": "string", "enum": VOICES}},
    ),
    obj(["type", "id"], {"type": const("custom"), "id": ID}),
)
_AVATAR: Schema = {
    "name": text(1, 50),
    "referenceImage": _IMAGE,
    "personality": text(1, 10000),
    "startScript": text(None, 2000),
    "voice": _VOICE,
    "documentIds": listing(50, ID),
    "imageProcessing": {"default": "optimize", "type": "string", "enum": ["optimize", "none"]},
}
CREATE_AVATAR = obj(["name", "referenceImage", "personality", "voice"], _AVATAR)
UPDATE_AVATAR = obj([], {**_AVATAR, "startScript": {"anyOf": [text(None, 2000), {"type": "null"}]}})

_DOCUMENT: Schema = {"name": text(1, 255), "content": text(1, 200_000)}
CREATE_DOCUMENT = obj(["name", "content"], _DOCUMENT)
UPDATE_DOCUMENT = obj([], _DOCUMENT)
CREATE_UPLOAD = obj(["filename", "type"], {"filename": text(3, 255), "type": const("ephemeral")})
USAGE = obj([], {"startDate": DATE, "beforeDate": DATE})


def _pages(default: int, **more: Any) -> Schema:
    limit = {"default": default, "type": "integer", "minimum": 1, "maximum": 100}
    return obj([], {"cursor": text(1, 1000), "limit": limit, **more})


LIST_AVATARS = _pages(50)
LIST_DOCUMENTS = _pages(
    50,
    sort={"default": "createdAt", "type": "string", "enum": ["createdAt", "updatedAt"]},
    order={"default": "desc", "type": "string", "enum": ["asc", "desc"]},
)
LIST_CONVERSATIONS = _pages(20, avatar=ID, startDate=DATE_TIME, endDate=DATE_TIME)
AVATAR_USAGE = obj(["startDate", "endDate"], {"startDate": DATE_TIME, "endDate": DATE_TIME})
