"""``pipecat-runway demo --record``: a whole bot, filmed and measured."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from pipecat_runway.cli.bot import Bot, BotError, Script
from pipecat_runway.cli.consent import refusal
from pipecat_runway.cli.ending import Ending, how_it_ended
from pipecat_runway.cli.interrupt import INTERRUPTED, run
from pipecat_runway.cli.measure import Film, Sync, read_film, share_heard, sync
from pipecat_runway.cli.speech import EspeakError
from pipecat_runway.cli.stages import Stages
from pipecat_runway.errors import RunwayError
from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.face import mouth_openness
from pipecat_runway.simulator.livekit_binary import LiveKitServerError

LIVE_DURATION = 120  # s, the longest that --live can be billed for
WHOLE = 0.95  # of a sentence: its last syllable may lie in a piece that is mostly silence


@dataclass(frozen=True)
class Shown:
    """What the film shows.

    Attributes:
        film: The film.
        sync: Mouth against sound; None where the mouth cannot be read.
        heard: How much of the sentences is in it, from 0 to 1.
    """

    film: Film
    sync: Sync | None
    heard: float


def main(script: Script, *, live: bool, ask: bool) -> int:
    """Run the command.

    Args:
        script: What is filmed.
        live: Whether Runway itself is used.
        ask: Whether to ask before credits are spent.

    Returns:
        The exit status.
    """
    console = Console(highlight=False)
    refused = refusal(console, live=live, ask=ask, question="Film it?", longest=LIVE_DURATION)
    if refused is not None:
        return refused
    try:
        status = run(
            _demo(script, live, console),
            lambda: console.print("Still ending the session, or it would be billed on."),
        )
    except (BotError, EspeakError, LiveKitServerError, OSError, RunwayError) as e:
        console.print(str(e), style="red", markup=False)
        return 1
    if status == INTERRUPTED:
        console.print("Stopped. The film ends where you stopped it, if it had begun.")
    return status


async def _demo(script: Script, live: bool, console: Console) -> int:
    stages = Stages(console)
    async with AsyncExitStack() as stack:
        runway: RunwaySimulator | None = None
        env: Mapping[str, str] = os.environ
        if not live:
            with stages.stage("Starting a local Runway"):
                runway = await stack.enter_async_context(RunwaySimulator(progress=stages.note))
            env = runway.env
        bot = Bot(script, env, max_duration=LIVE_DURATION if live else None)
        endings: list[Ending] = []
        try:
            await bot.perform(stages)
        finally:
            if runway is not None:
                created = [session.id for session in runway.sessions]
            else:
                created = [bot.session_id] if bot.session_id else []
            for session_id in created:
                endings.append(await how_it_ended(session_id, env, runway))
                console.print(f"Session {session_id} ended: {endings[-1]}")
    with stages.stage("Measuring the film"):
        shown = await asyncio.to_thread(_look, bot, live)
    console.print(_table(bot, shown, endings))
    for error in bot.errors:
        console.print(error, style="red", markup=False)
    if not live and shown.sync is None:
        console.print("The mouth did not move.", style="red")
        return 1
    ended = bool(endings) and all(ending.is_final for ending in endings)
    return 0 if ended and shown.heard >= WHOLE and not bot.errors else 1


def _look(bot: Bot, live: bool) -> Shown:
    """Read the film back and compare it with what was to be said."""
    # Only the simulator's painted mouth can be read off a picture.
    film = read_film(bot.script.record, (lambda _: 0.0) if live else mouth_openness)
    whole = [bot.stopwatch.spoken[0], bot.stopwatch.spoken[-1]]  # one between was interrupted
    heard = min(share_heard(film, bytes(spoken.sound), spoken.rate) for spoken in whole)
    return Shown(film, sync(film), heard)


def _table(bot: Bot, shown: Shown, endings: list[Ending]) -> Table:
    watch, film = bot.stopwatch, shown.film
    table = Table(title=str(bot.script.record), show_header=False)

    def row(name: str, value: str) -> None:
        table.add_row(name, value)

    row("film", f"{film.size[0]}x{film.size[1]}, {film.fps:g} fps, {film.duration:.1f} s")
    if bot.film.dropped_pictures:
        row("pictures left out", f"{bot.film.dropped_pictures}: this machine is busy")
    if watch.first_picture is not None:
        row("first picture", f"{watch.first_picture:.2f} s after the start")
    if watch.spoken and watch.spoken[0].began is not None:
        row("speech to first sound", f"{_ms(watch.spoken[0].began - watch.spoken[0].asked)}")
    if bot.script.barge_in and watch.interrupted is not None and watch.spoken[1].last is not None:
        row("interruption to last sound", _ms(max(0.0, watch.spoken[1].last - watch.interrupted)))
    if shown.sync is not None:
        side = "behind" if shown.sync.lag > 0 else "ahead of"
        row("mouth against sound", f"correlation {shown.sync.correlation:.2f}")
        row("picture against sound", f"{_ms(abs(shown.sync.lag))} {side} it")
    begin, end = film.speech or (0.0, 0.0)
    row("speech", f"{end - begin:.2f} s, {shown.heard:.0%} of what was to be heard")
    for ending in endings:
        row("session", ending.session_id)
        row("billed", "unknown" if ending.billed is None else f"{ending.billed} s")
        row("session ended", str(ending))
    return table


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
