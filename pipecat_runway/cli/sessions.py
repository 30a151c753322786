"""``pipecat-runway sessions``: what is left of sessions whose process is gone, and its end."""

import os
from collections.abc import Sequence

from rich.console import Console

from pipecat_runway.cli.interrupt import run
from pipecat_runway.cli.leftovers import Leftover, Leftovers


def show() -> int:
    """List every session and room there is, and touch none.

    Returns:
        The exit status.
    """
    return run(_show(Console(highlight=False, soft_wrap=True)), lambda: None)


def reap(*, dry_run: bool, gone: Sequence[str]) -> int:
    """End what has no owner any more.

    Args:
        dry_run: Only say what would be ended.
        gone: Hosts that are no more.

    Returns:
        The exit status: 1 if something could not be ended.
    """
    console = Console(highlight=False, soft_wrap=True)
    still = lambda: console.print("Still ending a session.")  # noqa: E731
    return run(_reap(console, dry_run, gone), still)


async def _show(console: Console) -> int:
    async with Leftovers(os.environ) as leftovers:
        found = await leftovers.find()
        for one in found:
            would = f"leave it: {one.kept}" if one.kept else "end it"
            console.print(f"{one.room}: {_owner(one)}; {_age(one.age)} old; reap would {would}")
            for record in one.records.values():
                status = await leftovers.status(record)
                console.print(f"  session {record.session_id or '?'}: {status}")
        if not found:
            console.print("No session is left, as far as was looked.")
        _note(console, leftovers)
    return 0


async def _reap(console: Console, dry_run: bool, gone: Sequence[str]) -> int:
    failed = False
    async with Leftovers(os.environ, gone) as leftovers:
        for one in await leftovers.find():
            if one.kept:
                console.print(f"{one.room}: left alone, {one.kept}")
            elif dry_run:
                ids = ", ".join(record.session_id or "?" for record in one.records.values())
                console.print(f"{one.room}: would be ended; sessions: {ids or 'none'}")
            else:
                async for outcome in leftovers.end(one):
                    console.print(f"{outcome.what}: {outcome.text}")
                    failed |= outcome.failed
        _note(console, leftovers)
    return int(failed)


def _note(console: Console, leftovers: Leftovers) -> None:
    for note in leftovers.notes:
        console.print(note)


def _owner(one: Leftover) -> str:
    if one.owner is None or one.standing is None:
        return "owner not named"
    return f"owner {one.standing.value}, process {one.owner.pid} on {one.owner.host}"


def _age(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
