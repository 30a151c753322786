"""Actions by which a Pipecat flow, written in Python or in YAML, directs the face.

Words need none: what ``tts_say``, ``end_conversation`` or the LLM says waits for the face by
itself, and what comes behind words waits for their sound.
"""

import asyncio
import contextlib
from typing import Any

from pipecat.flows import FlowManager
from pipecat.frames.frames import Frame
from pipecat.processors.frame_processor import FrameProcessor

from pipecat_runway.errors import ConfigError
from pipecat_runway.settings import RunwayUpdateSettingsFrame
from pipecat_runway.video import RunwayVideoService

WAIT_FOR_FACE = "runway_wait_for_face"
SET_CHARACTER = "runway_set_character"
TAKEN_BOUND = 10.0  # s the next action waits until the face has a new character


def register_runway_actions(flow_manager: FlowManager, face: RunwayVideoService) -> None:
    """Register the face's actions, before ``flow_manager.initialize()``.

    They may stand among the `pre_actions` and `post_actions` of any node:

    - ``runway_wait_for_face``: What comes next begins when the face, or the character chosen
      last, is seen; the session is created if it was not yet. ``timeout`` in s is optional.
      Without it the wait ends, at the latest, when the service gives up (its `ready_timeout`). The
      flow goes on in any case, and ``flow_manager.state["runway_face"]`` says whether a face was
      seen. A shorter ``timeout`` does not make words come sooner: they wait in the service, until
      `ready_timeout`.
    - ``runway_set_character``: Another character, by exactly one of ``preset_id`` and
      ``avatar_id``, sent as a :class:`~pipecat_runway.settings.RunwayUpdateSettingsFrame`. During a
      call the old one speaks until the new one is there; ``runway_wait_for_face`` behind it has
      what comes next said by the new one.

    A field that is missing, unknown or wrong is a ``ConfigError`` when the node is entered. Flows
    raises it on as its own error, with the same text.

    Args:
        flow_manager: The flow's.
        face: The face in the same pipeline.
    """
    taken: dict[int, asyncio.Event] = {}

    def on_after_process_frame(_face: FrameProcessor, frame: Frame) -> None:
        if frame.id in taken:
            taken[frame.id].set()

    async def wait_for_face(action: dict[str, Any], _flow_manager: FlowManager) -> None:
        timeout = _fields(action, "timeout").get("timeout")
        if timeout is not None and (type(timeout) not in (int, float) or not timeout > 0):
            raise ConfigError(f"timeout must be a number of seconds above 0, got {timeout!r}")
        seen = False
        with contextlib.suppress(TimeoutError):
            seen = await asyncio.wait_for(face.prewarm(), timeout)
        flow_manager.state["runway_face"] = seen

    async def set_character(action: dict[str, Any], _flow_manager: FlowManager) -> None:
        character = _fields(action, "preset_id", "avatar_id")
        if len(character) != 1:
            raise ConfigError(
                "give exactly one of preset_id and avatar_id, "
                f"{'both were' if character else 'none was'} given"
            )
        for name, value in character.items():
            if not isinstance(value, str) or not value:
                raise ConfigError(f"{name} must be a name or a UUID, got {value!r}")
        update = RunwayUpdateSettingsFrame(delta=face.Settings(**character), service=face)
        taken[update.id] = asyncio.Event()
        try:
            await flow_manager.worker.queue_frame(update)
            # Or a runway_wait_for_face behind it would have the old character come.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(taken[update.id].wait(), TAKEN_BOUND)
        finally:
            del taken[update.id]

    face.add_event_handler("on_after_process_frame", on_after_process_frame)
    flow_manager.register_action(WAIT_FOR_FACE, wait_for_face)
    flow_manager.register_action(SET_CHARACTER, set_character)


def _fields(action: dict[str, Any], *known: str) -> dict[str, Any]:
    """Return an action's fields but its type.

    Raises:
        ConfigError: If there is one that the action does not know.
    """
    fields = {name: value for name, value in action.items() if name != "type"}
    for name in fields:
        if name not in known:
            raise ConfigError(
                f"{action['type']} has no field {name!r}", advice=f"It knows {', '.join(known)}."
            )
    return fields
