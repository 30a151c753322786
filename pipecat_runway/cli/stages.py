"""Says what is happening: a spinner on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape


class Stages:
    """The stages of a command, one after another."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._show: Callable[[str], None] = lambda note: None

    @contextmanager
    def stage(self, title: str) -> Iterator[None]:
        """Show a stage while it lasts, and how long it took or that it was left.

        Args:
            title: What is happening.
        """
        began = time.monotonic()
        with self._console.status(f"{title} …") as status:
            if self._console.is_terminal:
                self._show = lambda note: status.update(f"{title} … [dim]{escape(note)}[/dim]")
            else:
                self._show = lambda note: self._console.print(f"  {escape(note)}")
                self._console.print(f"… {title}")
            try:
                yield
            except BaseException:
                self._console.print(f"[red]✗[/red] {title}")
                raise
        self._console.print(f"[green]✓[/green] {title} [dim]{time.monotonic() - began:.1f} s[/dim]")

    def note(self, line: str) -> None:
        """Show a detail of the stage under way.

        Args:
            line: The detail.
        """
        self._show(line)
