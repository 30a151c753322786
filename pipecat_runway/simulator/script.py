"""What the partner of a managed room says and does, turn by turn.

A script is data: it goes to the partner's process as it is.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Tool = Mapping[str, Any]  # as it stands in the body of a create


@dataclass(frozen=True)
class Call:
    """A tool the partner calls.

    Attributes:
        name: The tool's.
        args: What it is called with.
    """

    name: str
    args: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Turn:
    """What the partner does when the user has said something.

    Attributes:
        text: What it says; ``{name}`` stands for what the tool of that name has answered,
            ``{name[key]}`` for a part of it. Empty: nothing.
        calls: The tools it calls before it speaks, all at once.
        heard: What its transcript says the user has said. None: how long that was.
        pcm: The sound of `text`, s16le mono. None: it is spoken by espeak-ng, or hummed where
            that is not installed.
        rate: Samples a second of `pcm`.
    """

    text: str = ""
    calls: Sequence[Call] = ()
    heard: str | None = None
    pcm: bytes | None = field(default=None, repr=False)
    rate: int = 24_000


@dataclass(frozen=True)
class Script:
    """What the partner does in a whole conversation.

    Attributes:
        turns: One for each time the user has spoken; after the last one they begin again. None
            has it answer anything and try the session's tools, one each time.
        greeting: What it begins with. None: the session's, or its avatar's, start script.
    """

    turns: Sequence[Turn] | None = None
    greeting: Turn | None = None


@dataclass(frozen=True, kw_only=True)
class Part:
    """The part of a partner in one session.

    Attributes:
        turns: One for each time the user has spoken, over and over.
        greeting: What it begins with; None: it waits to be spoken to.
        tools: The session's, as they were created.
        backend: Identity of the participant that answers for tools of the backend.
    """

    turns: Sequence[Turn]
    greeting: Turn | None
    tools: Sequence[Tool]
    backend: str

    @classmethod
    def of(cls, script: Script, body: Mapping[str, Any], start: str | None, backend: str) -> "Part":
        """Cast a script for a session.

        Args:
            script: The script.
            body: The body of the session's create.
            start: What it opens with if the script does not say.
            backend: Identity of the participant that answers for tools of the backend.
        """
        tools = body.get("tools", [])
        return cls(
            turns=script.turns or small_talk(tools),
            greeting=script.greeting or (Turn(start) if start else None),
            tools=tools,
            backend=backend,
        )

    def turn(self, number: int) -> Turn:
        """What it does about the user's turn of this number, from 0."""
        return self.turns[number % len(self.turns)]

    def tool(self, name: str) -> Tool | None:
        """The session's tool of this name."""
        return next((tool for tool in self.tools if tool["name"] == name), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "turns": [_to_json(turn) for turn in self.turns],
            "greeting": _to_json(self.greeting) if self.greeting else None,
            "tools": list(self.tools),
            "backend": self.backend,
        }

    @classmethod
    def from_json(cls, part: Mapping[str, Any]) -> "Part":
        """What :meth:`to_json` has written."""
        return cls(
            turns=[_from_json(turn) for turn in part["turns"]],
            greeting=_from_json(part["greeting"]) if part["greeting"] else None,
            tools=part["tools"],
            backend=part["backend"],
        )


def small_talk(tools: Sequence[Tool]) -> list[Turn]:
    """Turns for whoever has written none: each of the tools once, then something to say."""
    trials = [
        Turn(
            f"I have tried {tool['name']}."
            if tool["type"] == "client_event"
            else f"{tool['name']} says {{{tool['name']}}}.",
            (Call(tool["name"], example(tool.get("parameters", []))),),
        )
        for tool in tools
    ]
    sayings = ["I see. Please go on.", "That is good to know.", "What makes you say that?"]
    return [*trials, *(Turn(saying) for saying in sayings)]


def example(parameters: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Arguments that a tool's parameters allow."""
    return {each["name"]: _example(each) for each in parameters}


def filled_in(text: str, results: Mapping[str, Any]) -> str:
    """A turn's text with what the tools have answered; what cannot be filled in stays."""
    try:
        return text.format_map(results) if results else text
    except (LookupError, ValueError, AttributeError, TypeError):
        return text


def _example(parameter: Mapping[str, Any]) -> Any:
    match parameter["type"]:
        case "string":
            return (parameter.get("enum") or ["something"])[0]
        case "integer":
            return 7
        case "number":
            return 1.5
        case "boolean":
            return True
        case "array":
            return [_example(parameter["items"])]
    properties = [p for p in parameter["properties"] if isinstance(p, Mapping) and "type" in p]
    return {each["name"]: _example(each) for each in properties}


def _to_json(turn: Turn) -> dict[str, Any]:
    pcm = None if turn.pcm is None else base64.b64encode(turn.pcm).decode()
    calls = [{"name": call.name, "args": json.loads(json.dumps(call.args))} for call in turn.calls]
    return {**vars(turn), "pcm": pcm, "calls": calls}


def _from_json(turn: Mapping[str, Any]) -> Turn:
    pcm = None if turn["pcm"] is None else base64.b64decode(turn["pcm"])
    calls = tuple(Call(call["name"], call["args"]) for call in turn["calls"])
    return Turn(**{**turn, "pcm": pcm, "calls": calls})
