"""After an interruption nothing old is heard, and everything new is."""

import asyncio

import pytest

from pipecat_runway.simulator import ClearAnswer, RunwaySimulator
from tests.kit.content import damage
from tests.scenarios.barge_in import barge_ins

from .conftest import MakeService, TurnKnobs

DISOBEDIENT = (ClearAnswer.IGNORE, ClearAnswer.UNSUPPORTED)
OBEDIENT = (
    (ClearAnswer.CONFIRM, ClearAnswer.NO_FINISHED, ClearAnswer.TWICE),
    (ClearAnswer.LATE, ClearAnswer.NO_ANSWER, ClearAnswer.KEEP),
)


@pytest.mark.parametrize(
    "answers", [OBEDIENT[0], pytest.param(OBEDIENT[1], marks=pytest.mark.long)]
)
async def test_old_speech_stops_at_once_and_new_speech_is_whole(
    make_service: MakeService,
    runway: RunwaySimulator,
    faults: TurnKnobs,
    answers: tuple[ClearAnswer, ...],
) -> None:
    """Whatever the worker does about lk.clear_buffer (100 of each: see benchmarks)."""
    bots = []
    for seed, answer in enumerate(answers):
        faults(clear=answer)
        sessions = len(runway.sessions)
        bots.append(asyncio.create_task(barge_ins(make_service(), runway, 4, seed=seed, calm=0)))
        async with asyncio.timeout(10):
            while len(runway.sessions) == sessions:  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.01)  # until the bot has this worker
    for answer, report in zip(answers, await asyncio.gather(*bots), strict=True):
        assert [] == report.old, answer
        assert {} == damage(report.verdicts), answer
        assert [] == report.errors, answer


@pytest.mark.parametrize(
    "answer", [DISOBEDIENT[0], pytest.param(DISOBEDIENT[1], marks=pytest.mark.long)]
)
async def test_a_worker_that_does_not_obey_is_named_and_not_heard(
    make_service: MakeService, runway: RunwaySimulator, faults: TurnKnobs, answer: ClearAnswer
) -> None:
    """Its old speech is kept from the user, and the error says what it does."""
    faults(clear=answer)
    report = await barge_ins(make_service(), runway, 2, seed=3, old_pieces=45, calm=0)
    assert [] == report.old
    assert {} == damage(report.verdicts)
    assert report.errors
    assert all("lk.clear_buffer" in error for error in report.errors)


async def test_old_speech_let_through_is_noticed(
    make_service: MakeService, runway: RunwaySimulator
) -> None:
    """The count can fail: a service that forgets to cut its speech is found out."""
    service = make_service()
    service._interrupt = lambda: None  # type: ignore[method-assign]  # the deliberate break
    report = await barge_ins(service, runway, 2, seed=1, followed_up=0.0, calm=0)
    assert report.old
