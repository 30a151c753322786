"""Which character it is, and what of that may change while the pipeline runs."""

from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from pipecat.frames.frames import ServiceUpdateSettingsFrame
from pipecat.services.settings import LLMSettings, ServiceSettings
from pipecat.utils.types import NOT_GIVEN, NotGiven, is_given

from pipecat_runway.errors import ConfigError

_Self = TypeVar("_Self", bound="CharacterSettings")


@dataclass
class CharacterSettings(ServiceSettings):
    """Which character it is: exactly one of the two.

    Parameters:
        preset_id: One of Runway's preset characters, such as ``"cooking-teacher"``.
        avatar_id: A character of your own, by its UUID.
    """

    preset_id: str | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)
    avatar_id: str | NotGiven | None = field(default_factory=lambda: NOT_GIVEN)

    def apply_update(self: _Self, delta: _Self) -> dict[str, Any]:
        """Merge a delta; giving one of the two ids clears the other.

        Args:
            delta: The fields to change.

        Returns:
            The changed fields with their previous values.

        Raises:
            ConfigError: If the delta gives both ids, or takes the only one away.
        """
        preset, custom = (getattr(delta, name, NOT_GIVEN) for name in ("preset_id", "avatar_id"))
        given = [value for value in (preset, custom) if is_given(value) and value is not None]
        if len(given) == 2:
            raise which_character("both were given")
        if given:
            delta = delta.copy()
            delta.preset_id = preset if is_given(preset) and preset else None
            delta.avatar_id = custom if is_given(custom) and custom else None
        changed = super().apply_update(delta)
        if changed and not (self.preset_id or self.avatar_id):
            for name, value in changed.items():
                setattr(self, name, value)
            raise which_character("none would be left")
        return changed

    def character(self) -> dict[str, str]:
        """Return the `avatar` of a create request (OAS)."""
        if is_given(self.avatar_id) and self.avatar_id:
            return {"type": "custom", "avatar_id": self.avatar_id}
        return {"type": "runway-preset", "preset_id": cast(str, self.preset_id)}


@dataclass
class RunwayVideoSettings(CharacterSettings):
    """What may change while the pipeline runs.

    Parameters:
        preset_id: One of Runway's preset characters, such as ``"cooking-teacher"``.
        avatar_id: A character of your own, by its UUID.
    """


@dataclass
class RunwayRealtimeLLMSettings(CharacterSettings, LLMSettings):
    """The character that leads the conversation; it cannot change while a session runs.

    Parameters:
        preset_id: One of Runway's preset characters, such as ``"cooking-teacher"``.
        avatar_id: A character of your own, by its UUID.
    """


@dataclass
class RunwayUpdateSettingsFrame(ServiceUpdateSettingsFrame[RunwayVideoSettings]):
    """Changes the face while the pipeline runs.

    Speech before the frame is the old character's; what comes behind it is the new one's as soon
    as that is there. Until then the old one goes on, so nothing is lost and nobody waits. Example::

        RunwayUpdateSettingsFrame(delta=RunwayVideoService.Settings(preset_id="tennis-coach"))
    """


def which_character(what: str) -> ConfigError:
    """Return the error for an ambiguous choice of character, or none."""
    return ConfigError(
        f"give exactly one of preset_id and avatar_id, {what}",
        advice='For example settings=Settings(preset_id="cooking-teacher"), of the service.',
    )
