"""What the commands about the account share: its client, errors in words, tidy lines."""

import datetime
from collections.abc import Awaitable, Callable
from functools import partial

import typer
from rich.console import Console

from pipecat_runway.characters import RunwayCharacters
from pipecat_runway.cli.interrupt import run
from pipecat_runway.errors import ConfigError, RunwayError

Job = Callable[[RunwayCharacters], Awaitable[object]]


class Account:
    """The account of the environment's key, and where a command writes to."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    @property
    def console(self) -> Console:
        """For more than lines."""
        return self._console

    def say(self, line: str) -> None:
        """Write a line. Whatever came from elsewhere cannot move the cursor."""
        self._console.print("\n".join(map(plain, line.splitlines())), markup=False)

    def do(self, job: Job) -> int:
        """Do something with the account.

        Returns:
            The exit status: 2 for what cannot work, 1 for what did not.
        """
        still = lambda: self.say("Still waiting for Runway's answer.")  # noqa: E731
        return self.told(partial(run, self._do(job), still))

    def told(self, work: Callable[[], int]) -> int:
        """Do some work, and tell an error in words."""
        try:
            return work()
        except RunwayError as e:
            self._console.print(plain(str(e)), style="red", markup=False)
            return 2 if isinstance(e, ConfigError) else 1

    def delete(self, look: Job, question: str, job: Job, *, ask: bool) -> int:
        """Delete something for good.

        Args:
            look: Says what it is.
            question: What is asked.
            job: Deletes it.
            ask: Whether to say what it is, and ask.
        """
        if ask:
            status = self.do(look)
            if status or not typer.confirm(question):
                return status
        return self.do(job)

    async def _do(self, job: Job) -> int:
        async with RunwayCharacters() as characters:
            await job(characters)
        return 0


def plain(text: str) -> str:
    """Return a text without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def row(what: str, value: object) -> str:
    """Return a line of a description."""
    return f"  {what:<12}{value}"


def moment(when: datetime.datetime | None) -> str:
    """Return a time as it is written for people."""
    return f"{when.astimezone(datetime.UTC):%Y-%m-%d %H:%M:%S} UTC" if when else "not yet"
