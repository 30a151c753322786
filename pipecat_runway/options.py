"""Checks that both services make of what they are given, before anything is asked of Runway."""

from typing import Any

from pipecat.utils.errors import ErrorCategory

from pipecat_runway import wire
from pipecat_runway.errors import ConfigError, RunwayError


def check_positive(**values: float | None) -> None:
    """Check numbers that make sense above 0 only.

    Raises:
        ConfigError: If one of them is not; None is left alone.
    """
    for name, value in values.items():
        if value is not None and not value > 0:
            raise ConfigError(f"{name} must be above 0, got {value!r}")


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Check a value that is one of a few.

    Raises:
        ConfigError: If it is another.
    """
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def check_duration(value: int | None) -> None:
    """Check a session's `max_duration`.

    Raises:
        ConfigError: If it is none that Runway takes.
    """
    if value is not None and not (
        isinstance(value, int) and wire.MIN_DURATION <= value <= wire.MAX_DURATION
    ):
        raise ConfigError(
            f"max_duration must be a whole number of seconds from {wire.MIN_DURATION} to "
            f"{wire.MAX_DURATION}, got {value!r}"
        )


def category_of(error: RunwayError) -> ErrorCategory | None:
    """Return Pipecat's category; None lets Pipecat read it off the HTTP status."""
    category = ErrorCategory(error.category)
    return category if category is not ErrorCategory.UNKNOWN or not error.status_code else None
