"""How long a picture is held back for its sound."""

from collections import deque
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway.lipsync import (
    FRAMING,
    LONGEST,
    OPUS_PIECE,
    OPUS_RATE,
    PICTURES_WAITING,
    RELEASE,
    STEP,
    JitterBuffer,
    PictureHold,
    PictureLine,
    left_decoded,
)

ROUNDING = 1e-9  # s


def looks(hold: PictureHold, sound: list[float], picture: float) -> list[float]:
    """Look again and again while the sound's buffer has these mean delays, in s."""
    total, seen = JitterBuffer(), JitterBuffer()
    seconds = []
    for delay in sound:
        total = JitterBuffer(total.delay + 24_000 * delay, total.emitted + 24_000)
        seen = JitterBuffer(seen.delay + 12 * picture, seen.emitted + 12)
        hold.look(total, seen)
        seconds.append(hold.seconds)
    return seconds


def test_a_picture_waits_as_long_as_its_sound_is_buffered_longer() -> None:
    """The difference of the two buffers, and what a packet of sound takes to fill."""
    (seconds,) = looks(PictureHold(), [0.08], 0.015)
    assert seconds == pytest.approx(0.065 + FRAMING)


def test_a_picture_is_not_held_for_sound_that_is_early() -> None:
    """Sound is never waited with: a hold is never negative."""
    assert [0.0] == looks(PictureHold(), [0.02], 0.1)


def test_buffers_that_emitted_nothing_change_nothing() -> None:
    """A muted or frozen track tells nothing."""
    hold = PictureHold()
    hold.look(JitterBuffer(5.0, 100), JitterBuffer(0.0, 0))
    assert 0.0 == hold.seconds


def test_a_picture_waits_for_sound_that_waits_for_what_was_decoded_before() -> None:
    """By as much as is left of that."""
    hold = PictureHold()
    hold.look(JitterBuffer(24_000 * 0.08, 24_000, 0.004), JitterBuffer(12 * 0.015, 12))
    assert hold.seconds == pytest.approx(0.065 + 0.004 + FRAMING)


@given(st.lists(st.integers(-200, 200), min_size=1, max_size=50))
def test_what_will_be_left_at_the_next_decoding_is_known_after_every_piece(
    stretched: list[int],
) -> None:
    """However packets are stretched or shortened."""
    decoded = taken = 0
    for samples in stretched:
        decoded += 2 * OPUS_PIECE + samples
        told = []
        while decoded - taken >= OPUS_PIECE:
            taken += OPUS_PIECE
            told.append(left_decoded(decoded, taken))
        assert told == [pytest.approx((decoded - taken) / OPUS_RATE)] * len(told)


def test_pictures_wait_for_nothing_decoded() -> None:
    """Nothing is taken of them as of sound."""
    assert left_decoded(12, 0) == 0.0


@given(st.lists(st.floats(0, 2), min_size=1, max_size=40), st.floats(0, 0.5))
def test_the_hold_is_bounded_and_changes_by_half_at_most(
    sound: list[float], picture: float
) -> None:
    """However the network behaves."""
    seconds = looks(PictureHold(), sound, picture)
    assert all(0 <= s <= LONGEST for s in seconds)
    for (a, b), delay in zip(pairwise(seconds), sound[1:], strict=True):
        wanted = min(LONGEST, max(0.0, delay - picture + FRAMING))
        assert abs(b - a) <= max(STEP, abs(wanted - a) / 2) + 1e-6


def test_lips_that_a_network_has_put_out_of_time_are_back_within_a_second_and_a_half() -> None:
    """Sound is buffered 0.1 s longer from one look to the next; they are 0.5 s apart."""
    before, *after = looks(PictureHold(), [0.05, 0.15, 0.15, 0.15], 0.015)
    assert [0.05, 0.025, 0.005] == pytest.approx([before + 0.1 - seconds for seconds in after])


def test_hardly_anything_is_held_where_nobody_speaks() -> None:
    """The first lips are seen as soon as they are there; on a bad network nearly so."""
    for delay, held in ((0.06, 0.0), (0.08 + RELEASE, 0.08)):
        hold = PictureHold()
        looks(hold, [delay + 0.015 - FRAMING], 0.015)
        assert held == pytest.approx(hold.advance(100.0, speaking=False))


def test_a_picture_is_in_step_with_its_sound_soon_after_that_has_begun() -> None:
    """80 ms are made up for in a quarter of a second, by pictures a third slower."""
    hold = PictureHold()
    looks(hold, [0.08 + 0.015 - FRAMING], 0.015)
    hold.advance(0.0, speaking=False)
    held = [hold.advance(0.042 * n, speaking=True) for n in range(1, 7)]
    assert held == pytest.approx([min(0.08, 0.014 * n) for n in range(1, 7)])


@given(
    st.lists(
        st.tuples(st.floats(0, 0.2), st.booleans(), st.none() | st.floats(0, 2)),
        min_size=2,
        max_size=60,
    ),
)
def test_no_picture_is_due_before_the_one_before_it(
    pictures: list[tuple[float, bool, float | None]],
) -> None:
    """Whoever speaks meanwhile, and however the buffers change."""
    hold, now, due = PictureHold(), 0.0, [0.0]
    for apart, speaking, delay in pictures:
        if delay is not None:
            looks(hold, [delay], 0.015)
        now += apart
        due.append(now + hold.advance(now, speaking=speaking))
        assert -ROUNDING <= due[-1] - now <= LONGEST + ROUNDING
    assert all(a <= b + ROUNDING for a, b in pairwise(due))


@given(
    st.lists(st.tuples(st.floats(0.001, 0.1), st.floats(0, LONGEST)), min_size=1, max_size=40),
    st.sets(st.integers(0, 200), max_size=40),
)
def test_whoever_is_slow_finds_the_latest_pictures_and_two_of_them_at_most(
    pictures: list[tuple[float, float]], taken: set[int]
) -> None:
    """At no time are more due than that; those that are taken are in order, the newest is there."""
    line, came, due = PictureLine[float](), 0.0, 0.0
    moments: list[tuple[float, float | None]] = []  # when, and when the one is due that comes then
    for rest, hold in pictures:
        came += rest
        due = max(due, came + hold)  # a hold changes by less than time passes
        moments += [(came, due), (due, None)]
    here, seen, left_out, newest = deque[float](), list[float](), 0, 0.0
    for step, (now, comes) in enumerate(sorted(moments, key=lambda moment: moment[0])):
        if comes is not None:
            line.put(comes, comes)
            here.append(comes)
            newest = comes
        for _ in range(line.leave_out(now)):
            here.popleft()
            left_out += 1
        assert len(here) == len(line)
        assert line.due == (here[0] if here else None)
        assert sum(due <= now for due in here) <= PICTURES_WAITING
        if step in taken and here and here[0] <= now:
            seen.append(line.take())
            here.popleft()
        assert newest in here or newest in seen, "the newest was left out"
    assert seen == sorted(seen)
    assert len(seen) + left_out + len(line) == len(pictures)
