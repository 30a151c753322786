"""Avatars, documents, uploads, conversations and usage, by the official client and by HTTP."""

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import runwayml
from runwayml import RunwayML

from pipecat_runway.simulator import Garbage, Route
from tests.kit.waiting import until

from .api_kit import Local, OpenAPI, Start, official_client

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CLARA: Any = {"type": "runway-live-preset", "preset_id": "clara"}
BOUND = 2.0


def avatar_body(**more: Any) -> dict[str, Any]:
    """A body that is taken."""
    body = {
        "name": "Ada",
        "referenceImage": "https://pictures.example/ada.png",
        "personality": "Kind.",
        "voice": {"type": "runway-live-preset", "presetId": "clara"},
    }
    return {**body, **more}


def day(number: int) -> str:
    """The beginning of a day, counted from today, in the only form that Runway's pattern takes."""
    return (datetime.now(UTC) + timedelta(days=number)).strftime("%Y-%m-%dT00:00:00Z")


async def test_the_async_client_makes_a_character(start: Start) -> None:
    """Upload, create, wait, change, attach a document, list by pages, delete: `AsyncRunwayML`."""
    async with (
        start(avatar_processing=0.3) as local,
        official_client(local, max_retries=0) as client,
    ):
        upload = await client.uploads.create_ephemeral(file=("ada.png", PNG))
        assert upload.uri.startswith("runway://")
        document = await client.documents.create(name="Facts", content="Tea is at five.")
        made = await client.avatars.create(
            name="Ada",
            reference_image=upload.uri,
            personality="A guide.",
            voice=CLARA,
            start_script="Hello!",
            document_ids=[document.id],
        )
        assert (made.status, made.processed_image_uri) == ("PROCESSING", None)
        with pytest.raises(runwayml.ConflictError):
            await client.avatars.update(made.id, reference_image=upload.uri)
        await until(lambda: local.runway.avatars[made.id].status == "READY", BOUND)
        ready = await client.avatars.retrieve(made.id)
        assert (ready.status, ready.start_script) == ("READY", "Hello!")
        assert ready.processed_image_uri
        shown = await local.http.get(ready.processed_image_uri)
        assert shown.content == PNG
        used = (await client.documents.retrieve(document.id)).used_by
        assert [(by.id, by.name) for by in used] == [(made.id, "Ada")]
        changed = await client.avatars.update(made.id, start_script=None, name="Eva")
        assert (changed.start_script, changed.name, changed.status) == (None, "Eva", "READY")
        await client.documents.update(document.id, content="Tea is at six.")
        assert (await client.documents.retrieve(document.id)).content == "Tea is at six."
        names = [
            d.name async for d in client.documents.list(limit=1, order="asc", sort="createdAt")
        ]
        assert names == ["Facts"]
        await client.documents.delete(document.id)
        assert (await client.avatars.retrieve(made.id)).document_ids == []
        listed = [avatar.name async for avatar in client.avatars.list(limit=2)]
        assert listed == ["Ada", "Otto", "Eva"]
        await client.avatars.delete(made.id)
        with pytest.raises(runwayml.NotFoundError):
            await client.avatars.retrieve(made.id)


async def test_the_sync_client_reads_it_all(start: Start, tmp_path: Path) -> None:
    """`RunwayML` does the same from a thread, and reads conversations and usage."""
    picture = tmp_path / "ada.png"
    picture.write_bytes(PNG)

    def talk(env: dict[str, str], session_id: str) -> list[str]:
        key, url = env["RUNWAYML_API_SECRET"], env["RUNWAYML_BASE_URL"]
        with RunwayML(api_key=key, base_url=url) as client:
            upload = client.uploads.create_ephemeral(file=picture)
            made = client.avatars.create(
                name="Ada", reference_image=upload.uri, personality="Kind.", voice=CLARA
            )
            client.avatars.update(made.id, personality="Kinder.")
            document = client.documents.create(name="Facts", content="Tea is at five.")
            client.documents.update(document.id, name="Truths")
            assert client.documents.retrieve(document.id).name == "Truths"
            assert len(list(client.documents.list(limit=9, order="asc", sort="updatedAt"))) == 1
            client.documents.delete(document.id)
            client.avatars.delete(made.id)
            (item,) = client.avatar_conversations.list(limit=20)
            assert client.avatar_conversations.retrieve(item.id).id == session_id
            client.avatar_conversations.delete(item.id)
            assert not list(client.avatar_conversations.list(limit=20))
            # As text: the client writes a datetime with +00:00, and Runway's pattern wants Z.
            usage = client.avatars.get_usage(start_date=day(0), end_date=day(1))
            spent = client.organization.retrieve_usage()
            return [str(usage.total_sessions), *(r.used_credits[0].model for r in spent.results)]

    async with start() as local:
        session = await local.create(integration=None)
        told = await asyncio.to_thread(talk, local.runway.env, session.id)
        assert told == ["1", "gwm1_avatars"]


async def test_a_character_that_fails(start: Start) -> None:
    """`avatar_failure` is its failureReason; with another picture it may come right."""
    async with start(avatar_processing=0.0, avatar_failure="No face was found.") as local:
        made = (await local.http.post("/v1/avatars", json=avatar_body())).json()
        await until(lambda: local.runway.avatars[made["id"]].status == "FAILED", BOUND)
        path = f"/v1/avatars/{made['id']}"
        assert (await local.http.get(path)).json()["failureReason"] == "No face was found."
        local.runway.faults = replace(local.runway.faults, avatar_failure=None)
        inline = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
        again = await local.http.patch(path, json={"referenceImage": inline})
        assert again.json()["status"] == "PROCESSING"
        await until(lambda: local.runway.avatars[made["id"]].status == "READY", BOUND)
        shown = await local.http.get((await local.http.get(path)).json()["processedImageUri"])
        assert shown.content == PNG


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"name": "x" * 51}, "name"),
        ({"name": ""}, "name"),
        ({"personality": "x" * 10001}, "personality"),
        ({"startScript": "x" * 2001}, "startScript"),
        ({"referenceImage": "http://pictures.example/ada.png"}, "referenceImage"),
        ({"referenceImage": "runway://not-uploaded"}, "referenceImage"),
        ({"referenceImage": "data:image/png;base64,%%%"}, "referenceImage"),
        ({"voice": {"type": "runway-live-preset", "presetId": "aria"}}, "voice"),
        ({"voice": {"type": "preset", "presetId": "clara"}}, "voice"),
        ({"documentIds": ["6f1c9a52-3b7e-4d08-9a41-5e2f7c80d1b3"]}, "documentIds"),
        ({"imageProcessing": "some"}, "imageProcessing"),
        ({"startScript": "Say damnation!"}, "startScript"),
    ],
)
async def test_what_is_refused_of_an_avatar(
    start: Start, wrong: dict[str, Any], field: str
) -> None:
    """400, and the issue names the field; the same in a PATCH."""
    async with start(avatar_processing=0.0, filtered_text="damnation") as local:
        refused = await local.http.post("/v1/avatars", json=avatar_body(**wrong))
        assert refused.status_code == 400
        assert {issue["path"][0] for issue in refused.json()["issues"]} == {field}
        made = (await local.http.post("/v1/avatars", json=avatar_body())).json()
        await until(lambda: local.runway.avatars[made["id"]].status == "READY", BOUND)
        refused = await local.http.patch(f"/v1/avatars/{made['id']}", json=wrong)
        assert refused.status_code == 400


async def test_what_else_is_refused(start: Start) -> None:
    """Empty changes, documents that are too long, files that were never announced, old usage."""
    async with start(upload_status=500) as local:
        http = local.http
        avatar = next(iter(local.runway.avatars))
        assert (await http.patch(f"/v1/avatars/{avatar}", json={})).status_code == 400
        for wrong in (
            {"name": "x"},
            {"name": "x" * 256, "content": "y"},
            {"name": "x", "content": ""},
        ):
            assert (await http.post("/v1/documents", json=wrong)).status_code == 400
        long = {"name": "x", "content": "y" * 200_001}
        assert (await http.post("/v1/documents", json=long)).status_code == 400
        assert (await http.get("/v1/documents?order=up")).status_code == 400
        assert (await http.get("/v1/documents/none")).status_code == 404
        assert (await http.get("/v1/avatar_conversations/none")).status_code == 404
        upload = {"filename": "a", "type": "ephemeral"}
        assert (await http.post("/v1/uploads", json=upload)).status_code == 400
        begun = (await http.post("/v1/uploads", json={**upload, "filename": "a.png"})).json()
        stranger = await http.post(begun["uploadUrl"], files={"file": ("a.png", PNG)})
        assert stranger.status_code == 403
        taken = await http.post(
            begun["uploadUrl"], data=begun["fields"], files={"file": ("a.png", PNG)}
        )
        assert taken.status_code == 500
        days = {"startDate": "2026-01-01T00:00:00Z", "endDate": "2026-06-01T00:00:00Z"}
        assert (await http.get("/v1/avatar_usage", params=days)).status_code == 400
        assert (await http.get("/v1/avatar_usage")).status_code == 400
        body = {"startDate": "2026-01-32"}
        assert (await http.post("/v1/organization/usage", json=body)).status_code == 400


async def talked(local: Local, end: str | None) -> str:
    """A conversation with a few words and tools in it; returns its id."""
    tools = [
        {"type": "backend_rpc", "name": "weather", "description": "Tells", "parameters": []},
        {"type": "client_event", "name": "show", "description": "Shows", "parameters": []},
    ]
    session = await local.create(integration=None, tools=tools, maxDuration=60)
    if end == "FAILED before":
        local.runway.fail(session, "INTERNAL")
        return session.id
    await session.wait_for("joined", BOUND)
    say, call = local.workers.say, {"call": "1", "name": "weather"}
    say(session.id, "user_joined")
    say(session.id, "turn_heard", turn=0, seconds=1.0, text="Hello?")
    say(session.id, "backend_call", **call, args={"city": "Paris"})
    say(session.id, "client_event", name="show", args={"page": 3})
    say(session.id, "backend_result", **call, seconds=0.5, result=[21, "degrees"])
    say(session.id, "said", turn=0, text="It is warm.", cut=False)
    match end:
        case "COMPLETED":
            local.workers.leave_now(session.id, "end_call")
        case "CANCELLED":
            local.runway.cancel(session)
        case "FAILED":
            local.runway.fail(session, "INTERNAL")
    return session.id


async def test_conversations_of_every_status(start: Start, openapi: OpenAPI) -> None:
    """What Runway's document says of them, they are: in progress, ended, failed."""
    wanted = {
        "in_progress": None,
        "ended": "COMPLETED",
        "failed": "FAILED",
    }
    path = "/v1/avatar_conversations/{id}"
    async with start() as local:
        for status, end in [*wanted.items(), ("ended", "CANCELLED"), ("failed", "FAILED before")]:
            name = await talked(local, end)
            answer = (await local.http.get(path.format(id=name))).json()
            openapi.check("get", path, answer)
            assert answer["status"] == status
            if end != "FAILED before":
                said = [entry["content"] for entry in answer["transcript"]]
                assert said == ["Hello?", None, None, "It is warm."]
                (result,) = answer["transcript"][1]["toolResults"]
                assert (result["result"], result["durationMs"]) == ('[21, "degrees"]', 500)
        listed = (await local.http.get("/v1/avatar_conversations")).json()
        openapi.check("get", "/v1/avatar_conversations", listed)
        assert [item["status"] for item in listed["data"]].count("ended") == 2
        assert all(item["hasTools"] for item in listed["data"])
        for query in ({"avatar": next(iter(local.runway.avatars))}, {"endDate": day(-1)}):
            found = await local.http.get("/v1/avatar_conversations", params=query)
            assert found.json()["data"] == []
        usage = {"startDate": day(0), "endDate": day(1)}
        answer = (await local.http.get("/v1/avatar_usage", params=usage)).json()
        openapi.check("get", "/v1/avatar_usage", answer)
        assert answer["totalSessions"] == 5
        spent = (await local.http.post("/v1/organization/usage", json={})).json()
        openapi.check("post", "/v1/organization/usage", spent)
        assert spent["results"][0]["usedCredits"][0]["amount"] == sum(
            session.credits for session in local.runway.sessions
        )


async def test_the_clients_parse_every_conversation(start: Start) -> None:
    """`AsyncRunwayML` reads each status as the class it has for it."""
    async with start() as local, official_client(local) as client:
        for end, name in ((None, "InProgress"), ("COMPLETED", "Ended"), ("FAILED", "Failed")):
            read = await client.avatar_conversations.retrieve(await talked(local, end))
            assert type(read).__name__ == name
            assert [tool.name for tool in read.tools] == ["weather", "show"]
            results = read.transcript[1].tool_results
            assert results
            assert results[0].result == '[21, "degrees"]'


async def test_conversations_by_their_knobs(start: Start) -> None:
    """Late transcripts; none of sessions in a room of the customer's."""
    async with start(conversation_delay=60.0) as local:
        name = await talked(local, "COMPLETED")
        answer = (await local.http.get(f"/v1/avatar_conversations/{name}")).json()
        assert (answer["transcript"], answer["recordingUrl"]) == ([], None)
    async with start() as local:
        session = await local.create()
        path = f"/v1/avatar_conversations/{session.id}"
        assert (await local.http.get(path)).json()["transcript"] == []
        local.runway.faults = replace(local.runway.faults, livekit_conversations=False)
        assert (await local.http.get(path)).status_code == 404


async def test_avatars_answers_are_as_documented(start: Start, openapi: OpenAPI) -> None:
    """A created and a changed avatar validate against Runway's own schemas; so does the 409."""
    async with start(avatar_processing=60.0) as local:
        made = (await local.http.post("/v1/avatars", json=avatar_body())).json()
        openapi.check("post", "/v1/avatars", made)
        path = f"/v1/avatars/{made['id']}"
        voice = {"type": "custom", "id": made["id"]}
        changed = (await local.http.patch(path, json={"voice": voice})).json()
        openapi.check("patch", "/v1/avatars/{id}", changed)
        refused = await local.http.patch(path, json={"referenceImage": "https://a.example/b.png"})
        assert (refused.status_code, list(refused.json())) == (409, ["error"])


async def test_garbage_reaches_every_new_route(start: Start) -> None:
    """Each of the routes can be garbled alone."""
    routes = {
        Route.DOCUMENTS: "/v1/documents",
        Route.CONVERSATIONS: "/v1/avatar_conversations",
        Route.AVATARS: "/v1/avatars",
    }
    async with start(garbage=Garbage.MISSING) as local:
        for route, path in routes.items():
            local.runway.faults = replace(local.runway.faults, garbage_route=route)
            assert (await local.http.get(path)).json() == {}
            others = [other for other in routes.values() if other != path]
            assert all([(await local.http.get(other)).json() != {} for other in others])


async def test_elevenlabs_signs_addresses(start: Start) -> None:
    """By its own key; a session takes such an address, for a custom character, once it is good."""
    otto = {"type": "custom", "avatarId": "b28e4d17-90ca-4f63-8d5b-1a7e36c2f904"}
    async with start() as local:
        eleven = local.runway.elevenlabs
        path = f"{eleven.base_url}/v1/convai/conversation/get-signed-url"
        key = {"xi-api-key": eleven.api_key}
        assert (await local.http.get(path, params={"agent_id": "a"})).status_code == 401
        assert (await local.http.get(path, headers=key)).status_code == 422
        signed = await local.http.get(path, params={"agent_id": "a"}, headers=key)
        brain = {"type": "elevenlabs", "signedUrl": signed.json()["signed_url"]}
        session = await local.create(avatar=otto, integration=brain)
        await asyncio.wait_for(session.at_ready.wait(), BOUND)
        assert brain["signedUrl"] not in repr((session, session.body, local.runway.requests))
        body = {"model": "gwm1_avatars", "integration": brain}
        preset = {"type": "runway-preset", "presetId": "cat-character"}
        refused = await local.http.post("/v1/realtime_sessions", json={**body, "avatar": preset})
        assert refused.status_code == 400
        local.runway.faults = replace(local.runway.faults, elevenlabs_presets=True)
        taken = await local.http.post("/v1/realtime_sessions", json={**body, "avatar": preset})
        assert taken.status_code == 200
        local.runway.faults = replace(local.runway.faults, signed_url_lifetime=0.0)
        late = await local.create(avatar=otto, integration=brain)
        await asyncio.wait_for(late.ended.wait(), BOUND)
        assert late.status == "FAILED"


async def test_an_agent_of_another_rate_is_silent(start: Start) -> None:
    """With `elevenlabs_rate` other than 16000 the partner says nothing at all."""
    otto = {"type": "custom", "avatarId": "b28e4d17-90ca-4f63-8d5b-1a7e36c2f904"}
    async with start(elevenlabs_rate=48000) as local:
        eleven = local.runway.elevenlabs
        path = f"{eleven.base_url}/v1/convai/conversation/get-signed-url?agent_id=a"
        signed = await local.http.get(path, headers={"xi-api-key": eleven.api_key})
        brain = {"type": "elevenlabs", "signedUrl": signed.json()["signed_url"]}
        session = await local.create(avatar=otto, integration=brain)
        await asyncio.wait_for(session.at_ready.wait(), BOUND)
        part = local.workers.joins[0]["part"]
        assert part.greeting is None
        assert not any(turn.text or turn.heard is None for turn in part.turns)
