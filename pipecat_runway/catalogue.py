"""What Runway keeps of an account: characters, documents, conversations and their usage.

Source: OAS and SDK, ``/v1/avatars``, ``/v1/documents``, ``/v1/avatar_conversations`` and
``/v1/avatar_usage``. Fields that are not read are ignored, so that new ones do no harm.
"""

import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from pipecat_runway import wire


class _Kept(BaseModel):
    # A complaint about an answer must not quote it: somebody's words may stand in it.
    model_config = ConfigDict(alias_generator=to_camel, frozen=True, hide_input_in_errors=True)


class Voice(_Kept):
    """A character's voice.

    Attributes:
        type: ``"runway-live-preset"`` or ``"custom"``.
        preset_id: Which of Runway's.
        id: Which of your own.
        name: What it is called; None if it was deleted.
    """

    type: str
    preset_id: str | None = None
    id: str | None = None
    name: str | None = None


class Avatar(_Kept):
    """A character of your own.

    Attributes:
        id: The `avatar_id` of a session.
        name: What it is called.
        status: PROCESSING, READY or FAILED.
        personality: What it is told about itself.
        start_script: What it says first.
        voice: How it sounds.
        document_ids: What it knows.
        reference_image_uri: The picture it was made from.
        processed_image_uri: The picture that moves.
        created_at: When it was made.
        updated_at: When it was last changed.
        failure_reason: Why it FAILED, in Runway's words.
    """

    id: str
    name: str
    status: str
    personality: str = Field(repr=False)
    start_script: str | None = Field(default=None, repr=False)
    voice: Voice
    document_ids: tuple[str, ...] = ()
    reference_image_uri: str | None = Field(default=None, repr=False)
    processed_image_uri: str | None = Field(default=None, repr=False)
    created_at: datetime.datetime
    updated_at: datetime.datetime
    failure_reason: str | None = Field(default=None, repr=False)

    @property
    def is_ready(self) -> bool:
        """Whether sessions can be made with it."""
        return self.status == wire.READY_STATUS


class DocumentUser(_Kept):
    """A character that a document is attached to.

    Attributes:
        id: Its id.
        name: What it is called.
    """

    id: str
    name: str


class Document(_Kept):
    """A text that characters can know. It is there as soon as it is created.

    Attributes:
        id: One of an avatar's `document_ids`.
        name: What it is called.
        type: ``"text"`` or ``"file"``.
        content: The text; None in a list.
        used_by: The characters that know it.
        created_at: When it was created.
        updated_at: When it was last changed.
    """

    id: str
    name: str
    type: str
    content: str | None = Field(default=None, repr=False)
    used_by: tuple[DocumentUser, ...] = ()
    created_at: datetime.datetime
    updated_at: datetime.datetime


class ToolCall(_Kept):
    """A tool that the character called.

    Attributes:
        name: Which.
        arguments: With what.
    """

    name: str
    arguments: dict[str, Any] = Field(default_factory=dict, repr=False)


class ToolResult(_Kept):
    """What a tool answered.

    Attributes:
        name: Which.
        result: The answer.
        error: Why there was none.
    """

    name: str
    result: Any = Field(default=None, repr=False)
    error: str | None = Field(default=None, repr=False)


class TranscriptEntry(_Kept):
    """A turn of a conversation.

    Attributes:
        role: ``"user"`` or ``"assistant"``.
        content: What was said; None if only tools were called.
        timestamp: When.
        tool_calls: The tools that were called in it.
        tool_results: What they answered.
    """

    role: str
    content: str | None = Field(default=None, repr=False)
    timestamp: datetime.datetime | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()


class Partner(_Kept):
    """Who a conversation was had with.

    Attributes:
        type: ``"runway-preset"`` or ``"custom"``.
        preset_id: Which of Runway's.
        id: Which of your own; None if it was deleted.
        name: What it is called.
    """

    type: str
    preset_id: str | None = None
    id: str | None = None
    name: str | None = None


class Conversation(_Kept):
    """What is kept of a session.

    Attributes:
        id: The session's id.
        name: What it is called.
        status: ``"in_progress"``, ``"ended"`` or ``"failed"``.
        avatar: Who it was had with.
        created_at: When the session was created.
        started_at: When it began; None if it never did, and in a list.
        ended_at: When it ended.
        duration: What it lasted, in s; None if it never began.
        transcript: What was said; empty in a list.
        recording_url: Where its recording can be fetched for 24 to 48 h. Who knows it can: it is
            as good as a key.
        failure_code: What it failed of.
    """

    id: str
    name: str = Field(repr=False)
    status: str
    avatar: Partner | None = None
    created_at: datetime.datetime
    started_at: datetime.datetime | None = None
    ended_at: datetime.datetime | None = None
    duration: int | None = None
    transcript: tuple[TranscriptEntry, ...] = Field(default=(), repr=False)
    recording_url: str | None = Field(default=None, repr=False)
    failure_code: str | None = None


class DayUsage(_Kept):
    """The sessions of a day.

    Attributes:
        date: The day.
        sessions: How many began.
        seconds: What they lasted together.
    """

    date: datetime.date
    sessions: int
    seconds: int


class Usage(_Kept):
    """The sessions of some days, those without any included.

    Attributes:
        total_sessions: How many began.
        total_seconds: What they lasted together.
        by_day: The same day by day.
    """

    total_sessions: int
    total_seconds: int
    by_day: tuple[DayUsage, ...] = ()
