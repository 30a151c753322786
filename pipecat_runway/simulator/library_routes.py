"""The routes of avatars, documents and uploads."""

from base64 import b64decode
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pipecat_runway.simulator.answers import (
    NO_CONTENT,
    Refused,
    checked_body,
    checked_query,
    page,
    read_json,
)
from pipecat_runway.simulator.avatars import SimulatedAvatar
from pipecat_runway.simulator.console import PREFIX
from pipecat_runway.simulator.library import UPLOADED, SimulatedDocument
from pipecat_runway.simulator.library_schema import (
    CREATE_AVATAR,
    CREATE_DOCUMENT,
    CREATE_UPLOAD,
    LIST_AVATARS,
    LIST_DOCUMENTS,
    UPDATE_AVATAR,
    UPDATE_DOCUMENT,
)
from pipecat_runway.simulator.schema import Schema
from pipecat_runway.simulator.validation import issue, refusal

if TYPE_CHECKING:
    from pipecat_runway.simulator.runway import RunwaySimulator

UNKNOWN_AVATAR = "Could not find Avatar"
UPLOADS = f"{PREFIX}uploads/"
FILES = f"{PREFIX}files/"
POLICY = "policy"  # the field by which an upload is known to have been begun


class LibraryRoutes:
    """Avatars, documents and uploads over HTTP.

    Args:
        runway: Whose they are.
    """

    def __init__(self, runway: "RunwaySimulator") -> None:
        self._runway = runway
        self._library = runway.library

    def routes(self) -> list[web.RouteDef]:
        """The routes, for an application."""
        avatar, document = "/v1/avatars/{id}", "/v1/documents/{id}"
        return [
            web.get("/v1/avatars", self.list_avatars, allow_head=False),
            web.post("/v1/avatars", self.create_avatar),
            web.get(avatar, self.retrieve_avatar, allow_head=False),
            web.patch(avatar, self.update_avatar),
            web.delete(avatar, self.delete_avatar),
            web.get("/v1/documents", self.list_documents, allow_head=False),
            web.post("/v1/documents", self.create_document),
            web.get(document, self.retrieve_document, allow_head=False),
            web.patch(document, self.update_document),
            web.delete(document, self.delete_document),
            web.post("/v1/uploads", self.create_upload),
            web.post(f"{UPLOADS}{{id}}", self.take_upload),
            web.get(f"{FILES}{{id}}", self.show_file, allow_head=False),
        ]

    # --- avatars ------------------------------------------------------------------------------

    async def list_avatars(self, request: web.Request) -> web.Response:
        """`GET /v1/avatars`, by pages."""
        query = checked_query(request, LIST_AVATARS, self._runway.faults)
        return page(query, [avatar.to_json() for avatar in self._library.avatars.values()])

    async def create_avatar(self, request: web.Request) -> web.Response:
        """`POST /v1/avatars`."""
        body = await self._avatar_body(request, CREATE_AVATAR)
        avatar = self._library.create_avatar(body, self._runway.faults)
        return web.json_response(avatar.to_json())

    async def retrieve_avatar(self, request: web.Request) -> web.Response:
        """`GET /v1/avatars/{id}`."""
        return web.json_response(self._avatar(request).to_json())

    async def update_avatar(self, request: web.Request) -> web.Response:
        """`PATCH /v1/avatars/{id}`."""
        avatar = self._avatar(request)
        body = await self._avatar_body(request, UPDATE_AVATAR)
        if "referenceImage" in body and avatar.status == "PROCESSING":
            # The only refusal but 404 that the OpenAPI has for avatars.
            text = "The reference image cannot be updated while the avatar is processing."
            raise Refused(409, text)
        changed = self._library.change_avatar(avatar, body, self._runway.faults)
        return web.json_response(changed.to_json())

    async def delete_avatar(self, request: web.Request) -> web.Response:
        """`DELETE /v1/avatars/{id}`."""
        self._library.delete_avatar(self._avatar(request).id)
        return web.Response(status=NO_CONTENT)

    def _avatar(self, request: web.Request) -> SimulatedAvatar:
        avatar = self._library.avatars.get(request.match_info["id"])
        if avatar is None:
            raise Refused(404, UNKNOWN_AVATAR)
        return avatar

    async def _avatar_body(self, request: web.Request, schema: Schema) -> dict[str, Any]:
        faults = self._runway.faults
        body = checked_body(await read_json(request, faults), schema, faults)
        issues = [
            issue("Could not find Document", "documentIds", number)
            for number, document_id in enumerate(body.get("documentIds", []))
            if document_id not in self._library.documents
        ]
        image = body.get("referenceImage", "")
        if image.startswith(UPLOADED):
            if self._library.uploaded(image) is None:
                issues.append(issue("Could not find the uploaded file", "referenceImage"))
            body["referenceImage"] = self._url(FILES, image.removeprefix(UPLOADED))
        elif image.startswith("data:"):
            try:
                content = b64decode(image.partition(",")[2], validate=True)
            except ValueError:
                issues.append(issue("Invalid data URI", "referenceImage"))
            else:
                body["referenceImage"] = self._url(FILES, self._library.keep("image", content))
        if not body and schema is UPDATE_AVATAR:
            issues.append(issue("At least one field must be given"))
        if faults.filtered_text and faults.filtered_text in (body.get("startScript") or ""):
            # The text one third party reports; its status is unknown.
            issues.append(issue("This text cannot be used for an avatar", "startScript"))
        if issues:
            raise Refused(400, refusal(issues, faults.error_body))
        return body

    # --- documents ----------------------------------------------------------------------------

    async def list_documents(self, request: web.Request) -> web.Response:
        """`GET /v1/documents`, by pages."""
        query = checked_query(request, LIST_DOCUMENTS, self._runway.faults)
        by_update = query["sort"] == "updatedAt"
        documents = sorted(
            self._library.documents.values(),
            key=lambda each: each.updated_at if by_update else each.created_at,
            reverse=query["order"] == "desc",
        )
        return page(query, [self._library.document_json(d, content=False) for d in documents])

    async def create_document(self, request: web.Request) -> web.Response:
        """`POST /v1/documents`."""
        faults = self._runway.faults
        body = checked_body(await read_json(request, faults), CREATE_DOCUMENT, faults)
        document = self._library.create_document(body)
        return web.json_response(self._library.document_json(document))

    async def retrieve_document(self, request: web.Request) -> web.Response:
        """`GET /v1/documents/{id}`."""
        return web.json_response(self._library.document_json(self._document(request)))

    async def update_document(self, request: web.Request) -> web.Response:
        """`PATCH /v1/documents/{id}`."""
        faults, document = self._runway.faults, self._document(request)
        body = checked_body(await read_json(request, faults), UPDATE_DOCUMENT, faults)
        self._library.change_document(document, body)
        return web.Response(status=NO_CONTENT)

    async def delete_document(self, request: web.Request) -> web.Response:
        """`DELETE /v1/documents/{id}`."""
        self._library.delete_document(self._document(request).id)
        return web.Response(status=NO_CONTENT)

    def _document(self, request: web.Request) -> SimulatedDocument:
        document = self._library.documents.get(request.match_info["id"])
        if document is None:
            raise Refused(404, "Could not find Document")
        return document

    # --- uploads ------------------------------------------------------------------------------

    async def create_upload(self, request: web.Request) -> web.Response:
        """`POST /v1/uploads`."""
        faults = self._runway.faults
        body = checked_body(await read_json(request, faults), CREATE_UPLOAD, faults)
        upload_id = self._library.keep(body["filename"])
        return web.json_response(
            {
                "uploadUrl": self._url(UPLOADS, upload_id),
                "fields": {"key": upload_id, POLICY: upload_id},
                "runwayUri": f"{UPLOADED}{upload_id}",
            }
        )

    async def take_upload(self, request: web.Request) -> web.Response:
        """`POST` of a file with the fields its upload was begun with; it needs no key."""
        upload = self._library.uploads.get(request.match_info["id"])
        form = await request.post()
        file = form.get("file")
        if upload is None or form.get(POLICY) != request.match_info["id"]:
            return web.Response(status=403)
        if not isinstance(file, web.FileField):
            return web.Response(status=400)
        if (status := self._runway.faults.upload_status) is not None:
            return web.Response(status=status)
        upload.content = file.file.read()
        return web.Response(status=NO_CONTENT)

    async def show_file(self, request: web.Request) -> web.Response:
        """`GET` of an uploaded file."""
        upload = self._library.uploads.get(request.match_info["id"])
        if upload is None or upload.content is None:
            return web.Response(status=404)
        return web.Response(body=upload.content)

    def _url(self, prefix: str, name: str) -> str:
        return f"{self._runway.base_url}{prefix}{name}"
