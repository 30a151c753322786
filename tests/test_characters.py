"""Characters of one's own and what they know, by the typed API, against the simulated account."""

import datetime
import logging
import os
import traceback
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from runwayml import AsyncRunwayML

from pipecat_runway import wire
from pipecat_runway.characters import PAGES, RunwayCharacters
from pipecat_runway.errors import (
    AnswerLostError,
    APIError,
    AvatarNotReadyError,
    ConfigError,
    FieldRefusedError,
    KeyRefusedError,
    UnknownAvatarError,
    UnknownDocumentError,
)
from pipecat_runway.portrait import Portrait
from pipecat_runway.simulator import ErrorBody, Garbage, Route
from tests.kit.account import account

ADA: dict[str, Any] = {
    "name": "Ada",
    "picture": "https://pictures.example/ada.png",
    "voice": "clara",
    "personality": "A guide.",
}
NOBODY = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
NOON = datetime.datetime(2026, 8, 4, 12, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def picture(kind: str = "PNG") -> bytes:
    """A picture in a format of Pillow's."""
    file = BytesIO()
    Image.effect_noise((64, 64), 80).save(file, kind)
    return file.getvalue()


@pytest.fixture
def portrait(tmp_path: Path) -> Portrait:
    """A picture from a file."""
    path = tmp_path / "my own face.png"
    path.write_bytes(picture())
    return Portrait.read(path)


# -- characters -----------------------------------------------------------------------------------


async def test_a_character_is_made_from_a_picture_and_knows_its_documents(
    portrait: Portrait,
) -> None:
    """Created PROCESSING, waited for, found, and gone when it is deleted; its document stays."""
    async with account(avatar_processing=0.1) as it:
        document = await it.characters.create_document(name="Hours", content="We open at nine.")
        made = await it.characters.create_avatar(
            **{**ADA, "picture": portrait}, start_script="Hello!", document_ids=[document.id]
        )
        assert "PROCESSING" == made.status
        ready = await it.characters.wait_ready(made.id)
        assert ready.is_ready
        assert ("Ada", "clara", "A guide.", "Hello!", (document.id,)) == (
            ready.name,
            ready.voice.preset_id,
            ready.personality,
            ready.start_script,
            ready.document_ids,
        )
        (upload,) = it.runway.library.uploads.values()
        assert ("picture.png", portrait.data) == (upload.filename, upload.content)
        assert made.id in [avatar.id for avatar in await it.characters.avatars()]
        used = (await it.characters.document(document.id)).used_by
        assert [made.id] == [user.id for user in used]
        await it.characters.delete_avatar(made.id)
        with pytest.raises(UnknownAvatarError):
            await it.characters.avatar(made.id)
        assert () == (await it.characters.document(document.id)).used_by


async def test_an_address_and_a_voice_of_ones_own_are_handed_on() -> None:
    """Runway fetches the picture itself: nothing is uploaded."""
    async with account(avatar_processing=0.0) as it:
        made = await it.characters.create_avatar(**{**ADA, "voice": NOBODY})
        assert ADA["picture"] == made.reference_image_uri
        assert ("custom", NOBODY) == (made.voice.type, made.voice.id)
        assert 0 == it.asked("POST", "/v1/uploads")


async def test_a_character_that_failed_says_why() -> None:
    """In one line, whatever Runway wrote."""
    async with account(avatar_processing=0.0, avatar_failure="No\nface \x1b[31mfound.") as it:
        made = await it.characters.create_avatar(**ADA)
        with pytest.raises(AvatarNotReadyError, match=r"'No face \[31mfound\.'") as told:
            await it.characters.wait_ready(made.id)
        assert ("FAILED", False) == (told.value.status, told.value.retryable)


async def test_the_wait_for_a_character_has_a_bound() -> None:
    """It goes on being made, and is not made twice."""
    async with account(avatar_processing=60.0) as it:
        made = await it.characters.create_avatar(**ADA)
        with pytest.raises(AvatarNotReadyError, match=r"after 0\.3 s") as told:
            await it.characters.wait_ready(made.id, timeout=0.3)
        assert ("PROCESSING", True) == (told.value.status, told.value.retryable)
        assert 1 == it.asked("POST", "/v1/avatars")


# -- what is checked before it is sent ------------------------------------------------------------

LIMITS = [
    ("name", "name", 50),
    ("personality", "personality", 10_000),
    ("start_script", "startScript", 2_000),
]


@pytest.mark.parametrize(("ours", "theirs", "most"), LIMITS)
async def test_texts_are_as_long_as_runway_takes_them(ours: str, theirs: str, most: int) -> None:
    """What we let pass is taken, and what we refuse is refused; nothing is sent of that."""
    body = {
        "name": "Ada",
        "referenceImage": ADA["picture"],
        "personality": "A guide.",
        "voice": {"type": "runway-live-preset", "presetId": "clara"},
    }
    async with account(avatar_processing=0.0) as it:
        for length in (1, most):
            made = await it.characters.create_avatar(**{**ADA, ours: "x" * length})
            await it.characters.delete_avatar(made.id)
        too_long = {**body, theirs: "x" * (most + 1)}
        assert 400 == (await it.http.post("/v1/avatars", json=too_long)).status_code
        it.runway.requests.clear()
        for text, shape in (("", "has 0"), ("x" * (most + 1), f"has {most + 1}")):
            with pytest.raises(ConfigError, match=f"^{ours} {shape} characters"):
                await it.characters.create_avatar(**{**ADA, ours: text})
        for value, shape in (("\udc80", "is not text"), (7, "is of type int")):
            with pytest.raises(ConfigError, match=f"^{ours} {shape}"):
                await it.characters.create_avatar(**{**ADA, ours: value})
        assert [] == it.runway.requests


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"voice": "bob"}, "^voice is neither"),
        ({"picture": "http://pictures.example/ada.png"}, "^picture is no https"),
        ({"picture": "https://93.184.216.34/ada.png"}, "^picture is no https"),
        ({"picture": "https://[::1/ada.png"}, "^picture is no https"),
        ({"picture": f"https://pictures.example/{'x' * 2048}"}, "^picture has 2073 characters"),
        ({"document_ids": [NOBODY] * 51}, "^document_ids has 51 entries"),
        ({"document_ids": ["../avatars"]}, "^document_ids is not an id, got 10 characters"),
    ],
)
async def test_what_runway_would_refuse_is_not_sent(wrong: dict[str, Any], said: str) -> None:
    """The error names the field and the shape of its value, not the value, and has advice."""
    async with account() as it:
        with pytest.raises(ConfigError, match=said) as told:
            await it.characters.create_avatar(**{**ADA, **wrong})
        assert told.value.advice
        assert [] == it.runway.requests


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "^name has 0"),
        ({"name": "x" * 256}, "^name has 256"),
        ({"content": ""}, "^content has 0"),
        ({"content": "x" * 200_001}, "^content has 200001"),
    ],
)
async def test_documents_are_checked_too(wrong: dict[str, str], said: str) -> None:
    """Ours and the simulator's limits are the same ones."""
    async with account() as it:
        document = {"name": "x" * 255, "content": "x" * 200_000}
        await it.characters.create_document(**document)
        refused = await it.http.post("/v1/documents", json=document | wrong)
        assert 400 == refused.status_code
        it.runway.requests.clear()
        with pytest.raises(ConfigError, match=said):
            await it.characters.create_document(**document | wrong)
        assert [] == it.runway.requests


async def test_no_id_becomes_part_of_another_path() -> None:
    """Every method that takes one checks it."""
    async with account() as it:
        ask = it.characters
        methods = (
            *(ask.avatar, ask.wait_ready, ask.delete_avatar, ask.document, ask.delete_document),
            *(ask.conversation, ask.delete_conversation, ask.conversations),
        )
        for method in methods:
            with pytest.raises(ConfigError, match="is not an id"):
                await method("../organization")
        assert [] == it.runway.requests


@pytest.mark.parametrize("kind", list(wire.PICTURE_TYPES))
def test_every_format_of_runways_is_read(tmp_path: Path, kind: str) -> None:
    """By what is in the file, whatever it is called."""
    path = tmp_path / "face.txt"
    path.write_bytes(picture(kind))
    assert wire.PICTURE_TYPES[kind] == Portrait.read(path).media_type


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "picture has 0 bytes"),
        (b"no picture", "picture has 10 bytes"),
        (picture("GIF"), "picture has .* bytes"),
        (picture()[:1000], "picture has 1000 bytes"),
        (None, "picture cannot be read"),
    ],
)
def test_a_file_that_is_no_picture_is_refused(
    tmp_path: Path, data: bytes | None, said: str
) -> None:
    """Empty, of another format, cut off, not there."""
    path = tmp_path / "face.png"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(ConfigError, match=said):
        Portrait.read(path)


def test_a_picture_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to, or a directory, is no picture."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ConfigError, match="picture is no file"):
            Portrait.read(path)


def test_a_picture_that_is_too_large_is_not_even_read(tmp_path: Path) -> None:
    """Its size is looked at first."""
    path = tmp_path / "face.png"
    path.touch()
    os.truncate(path, wire.MAX_UPLOAD + 1)  # a hole: it takes no room
    with pytest.raises(ConfigError, match="picture has 200000001 bytes"):
        Portrait.read(path)


# -- what goes wrong on the way -------------------------------------------------------------------


async def test_what_only_reads_is_repeated_and_what_creates_is_not(portrait: Portrait) -> None:
    """An answer that cannot be read is one that was lost: the thing may exist."""
    async with account(garbage=Garbage.HTML) as it:
        with pytest.raises(AnswerLostError):
            await it.characters.avatars()
        assert 3 == it.asked("GET", "/v1/avatars")
        with pytest.raises(AnswerLostError, match="look at the list before"):
            await it.characters.create_avatar(**ADA)
        assert 1 == it.asked("POST", "/v1/avatars")
        with pytest.raises(AnswerLostError, match="look at the list before"):
            await it.characters.create_document(name="x", content="y")
        assert 1 == it.asked("POST", "/v1/documents")
        with pytest.raises(AnswerLostError):
            await it.characters.create_avatar(**{**ADA, "picture": portrait})
        assert (1, 1) == (it.asked("POST", "/v1/uploads"), it.asked("POST", "/v1/avatars"))


@pytest.mark.parametrize("kind", list(Garbage))
async def test_no_garbage_is_taken_for_a_character(kind: Garbage) -> None:
    """An error of ours, whatever came; and none of it is quoted."""
    async with account(garbage=kind, garbage_route=Route.AVATARS) as it:
        words = ADA["personality"]
        with pytest.raises(AnswerLostError) as told:
            await it.characters.create_avatar(**ADA)
        assert words in [avatar.personality for avatar in it.runway.avatars.values()]
        assert words not in "".join(traceback.format_exception(told.value))


async def test_a_storage_that_refuses_says_nothing_of_the_key(portrait: Portrait) -> None:
    """Nothing was created; a key that is refused is another thing."""
    async with account(upload_status=403) as it:
        with pytest.raises(APIError, match=r"the storage .* \(HTTP 403\)") as told:
            await it.characters.create_avatar(**{**ADA, "picture": portrait})
        assert not isinstance(told.value, KeyRefusedError)
        assert 0 == it.asked("POST", "/v1/avatars")
        url = it.runway.env[wire.ENV_BASE_URL]
        async with RunwayCharacters(api_key="key_other", base_url=url) as stranger:
            with pytest.raises(KeyRefusedError):
                await stranger.create_avatar(**{**ADA, "picture": portrait})


@pytest.mark.parametrize("form", list(ErrorBody))
async def test_the_content_filter_is_told_from_a_field(form: ErrorBody) -> None:
    """In both forms of body; the text itself is not repeated."""
    word = "damnation"
    async with account(filtered_text=word, error_body=form) as it:
        with pytest.raises(FieldRefusedError, match="content filter") as told:
            await it.characters.create_avatar(**ADA, start_script=f"Say {word}!")
        assert word not in "".join(traceback.format_exception(told.value))


async def test_a_document_that_is_not_there() -> None:
    """Reading and deleting say so alike."""
    async with account() as it:
        for method in (it.characters.document, it.characters.delete_document):
            with pytest.raises(UnknownDocumentError):
                await method(NOBODY)


# -- lists ----------------------------------------------------------------------------------------


async def test_a_list_is_read_to_its_end() -> None:
    """Page by page, without what the documents say."""
    async with account() as it:
        for number in range(205):
            it.runway.library.create_document({"name": f"{number}", "content": "x"})
        found = await it.characters.documents()
        assert sorted(map(str, range(205))) == sorted(document.name for document in found)
        assert {None} == {document.content for document in found}
        assert 3 == it.asked("GET", "/v1/documents")


async def test_a_list_without_an_end_is_left() -> None:
    """After a number of pages that no account has."""
    pages = 0

    def page(request: httpx.Request) -> httpx.Response:
        nonlocal pages
        pages += 1
        return httpx.Response(200, json={"data": [], "hasMore": True, "nextCursor": "again"})

    async with httpx.AsyncClient(transport=httpx.MockTransport(page)) as http:
        client = AsyncRunwayML(api_key="key", base_url="http://runway.test", http_client=http)
        with pytest.raises(APIError, match=f"within {PAGES} pages"):
            await RunwayCharacters(client=client).avatars()
    assert PAGES == pages


# -- conversations --------------------------------------------------------------------------------


async def test_a_conversation_is_read_and_deleted() -> None:
    """What was said, what the tools did, how long it was; and then it is gone."""
    async with account() as it:
        session_id = await it.talked("It is warm.")
        read = await it.characters.conversation(session_id)
        assert ("ended", "cat-character") == (read.status, read.avatar and read.avatar.preset_id)
        said = [(entry.role, entry.content) for entry in read.transcript]
        assert [("user", "Is it warm?"), ("assistant", None), ("assistant", "It is warm.")] == said
        tools = read.transcript[1]
        assert [{"city": "Paris"}] == [call.arguments for call in tools.tool_calls]
        assert [{"degrees": 21}] == [result.result for result in tools.tool_results]
        assert "warm" not in repr(read)
        assert [session_id] == [one.id for one in await it.characters.conversations()]
        assert [] == await it.characters.conversations(next(iter(it.runway.avatars)))
        await it.characters.delete_conversation(session_id)
        with pytest.raises(APIError) as told:
            await it.characters.conversation(session_id)
        assert 404 == told.value.status_code


async def test_the_usage_of_some_days() -> None:
    """In any time zone; more than 90 days are not asked for."""
    async with account() as it:
        await it.talked("It is warm.")
        zone = datetime.timezone(datetime.timedelta(hours=-7))
        now = datetime.datetime.now(zone)
        usage = await it.characters.usage(now - DAY, now + DAY)
        assert 1 == usage.total_sessions == sum(day.sessions for day in usage.by_day)
        it.runway.requests.clear()
        for start, end in ((NOON, NOON), (NOON, NOON + 91 * DAY), (NOON, NOON - DAY)):
            with pytest.raises(ConfigError, match="days after start"):
                await it.characters.usage(start, end)
        with pytest.raises(ConfigError, match="time zone"):
            await it.characters.usage(NOON.replace(tzinfo=None), NOON)
        assert [] == it.runway.requests


async def test_a_new_field_or_voice_of_runways_does_no_harm() -> None:
    """What is not read is ignored, what is only shown is not judged."""
    async with account() as it:
        known = next(iter(it.runway.avatars.values()))
    new: dict[str, Any] = {**known.to_json(), "mood": "good", "status": "DREAMING"}
    new["voice"] = {**new["voice"], "presetId": "aria"}

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=new)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        client = AsyncRunwayML(api_key="key", base_url="http://runway.test", http_client=http)
        read = await RunwayCharacters(client=client).avatar(known.id)
    assert ("aria", known.name, False) == (read.voice.preset_id, read.name, read.is_ready)


async def test_no_words_and_no_key_reach_the_log(
    portrait: Portrait, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even at DEBUG, where the client prints whole requests."""
    caplog.set_level(logging.DEBUG)
    async with account(avatar_processing=0.0) as it:
        document = await it.characters.create_document(name="Hours", content="Open at nine.")
        made = await it.characters.create_avatar(
            **{**ADA, "picture": portrait}, start_script="Hello!", document_ids=[document.id]
        )
        await it.characters.wait_ready(made.id)
        await it.characters.conversation(await it.talked("It is warm."))
        assert "/v1/avatars" in caplog.text
        for secret in (it.runway.api_key, "A guide.", "Hello!", "Open at nine.", "warm"):
            assert secret not in caplog.text
