"""``pipecat-runway demo``: a whole bot, filmed and measured."""

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

import typer
from rich.console import Console
from rich.table import Table
from runwayml import AsyncRunwayML, RunwayMLError

from pipecat_runway import wire
from pipecat_runway.cli.bot import Bot, BotError, Script
from pipecat_runway.cli.interrupt import INTERRUPTED, run
from pipecat_runway.cli.measure import Film, Sync, read_film, share_heard, sync
from pipecat_runway.cli.speech import EspeakError
from pipecat_runway.cli.stages import Stages
from pipecat_runway.errors import RunwayError
from pipecat_runway.simulator import RunwaySimulator
from pipecat_runway.simulator.face import mouth_openness
from pipecat_runway.simulator.livekit_binary import LiveKitServerError

SETTINGS = (
    wire.ENV_API_SECRET,
    wire.ENV_LIVEKIT_URL,
    wire.ENV_LIVEKIT_API_KEY,
    wire.ENV_LIVEKIT_API_SECRET,
)
LIVE_DURATION = 120  # s, the longest that --live can be billed for
# runwayml/runway-characters-meet, README: 600 credits are about 30 minutes; OpenAPI: 0.01 USD each.
PRICE = "about 20 credits (0.20 USD) a minute as last seen, billed from the session's creation"
END_TIMEOUT = 15.0
WHOLE = 0.95  # of a sentence: its last syllable may lie in a piece that is mostly silence


@dataclass(frozen=True)
class Ending:
    """How the session ended.

    Attributes:
        session_id: Its id.
        status: What Runway says of it.
        billed: Seconds it is billed for, where that is known.
    """

    session_id: str
    status: str
    billed: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self.status in wire.ENDED_STATUSES

    def __str__(self) -> str:
        return f"{'yes' if self.is_final else 'NO'}, {self.status}"


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
    missing = [name for name in SETTINGS if not os.environ.get(name)]
    if live and missing:
        console.print(f"--live needs {', '.join(missing)} in the environment.", style="red")
        return 2
    if live:
        console.print(f"This uses Runway itself: {PRICE}; it ends after {LIVE_DURATION} s at most.")
        if ask and not typer.confirm("Film it?"):
            return 0
    elif not missing:
        console.print(f"Your settings are left alone; --live uses Runway itself: {PRICE}.")
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
                endings.append(await _ending(session_id, env, runway))
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


async def _ending(
    session_id: str, env: Mapping[str, str], runway: RunwaySimulator | None
) -> Ending:
    """Ask Runway, with its own client, how the session ended."""
    simulated = runway.find(session_id) if runway else None
    status, duration = "UNKNOWN", None
    try:
        async with (
            asyncio.timeout(END_TIMEOUT),
            AsyncRunwayML(
                api_key=env[wire.ENV_API_SECRET], base_url=env.get(wire.ENV_BASE_URL)
            ) as client,
        ):
            while status not in wire.ENDED_STATUSES:
                await asyncio.sleep(0.2 if simulated else 1.0)
                session = await client.realtime_sessions.retrieve(session_id)
                status, duration = session.status, getattr(session, "duration", None)
    except (TimeoutError, RunwayMLError):
        pass  # the status says how far it got
    return Ending(session_id, status, simulated.billed_seconds if simulated else duration)


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
