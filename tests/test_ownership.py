"""Who made a session, and whether it may be ended."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipecat_runway.ownership import (
    SETTLED,
    Owner,
    Record,
    Standing,
    digest,
    kept_because,
    read_metadata,
    room_metadata,
    standing,
)

HERE = Owner("host", "boot", 1, "5")
RECORD = Record(
    owner=Owner("host", "boot", 7, "100"),
    room="pipecat-runway-1",
    livekit_url="wss://rooms.example.com",
    identity="runway-avatar-agent-1",
    session_id="3f2c",
    base_url="https://api.dev.runwayml.com",
    key=digest("key_secret"),
    asked_at=1000.5,
)


@pytest.mark.parametrize(
    ("owner", "started", "expected"),
    [
        (RECORD.owner, "100", Standing.ALIVE),
        (RECORD.owner, None, Standing.DEAD),
        (RECORD.owner, "101", Standing.DEAD),  # another process took the number
        (RECORD.owner, "", Standing.ALIVE),  # somebody has the number: not ended on a guess
        (replace(RECORD.owner, started=""), "101", Standing.ALIVE),
        (replace(RECORD.owner, boot="before"), None, Standing.DOUBTFUL),
        (replace(RECORD.owner, boot="before"), "100", Standing.DOUBTFUL),
        (replace(RECORD.owner, boot=""), None, Standing.DOUBTFUL),
        (replace(RECORD.owner, boot="other", host="other"), None, Standing.ELSEWHERE),
    ],
)
def test_an_owner_is_known_by_number_and_start(
    owner: Owner, started: str | None, expected: Standing
) -> None:
    """A number counts within one boot and container only, and a reused one is another process."""
    assert standing(owner, HERE, started) is expected


def test_two_systems_that_cannot_tell_their_boot_are_not_taken_for_one() -> None:
    """Nothing said is not the same said."""
    unsaid = replace(RECORD.owner, boot="")
    assert standing(unsaid, replace(HERE, boot=""), None) is Standing.DOUBTFUL


def test_only_what_is_certainly_dead_is_ended_without_looking_at_the_room() -> None:
    """Every other verdict needs an empty room, some age, and for other hosts the user's word."""
    for owner, gone, in_room, age in itertools.product(
        [*Standing, None], (False, True), (None, False, True), (0.0, SETTLED + 1)
    ):
        kept = kept_because(owner, said_gone=gone, in_room=in_room, age=age)
        settled = in_room is False and age > SETTLED
        may = {
            None: False,
            Standing.ALIVE: False,
            Standing.DEAD: True,
            Standing.DOUBTFUL: settled,
            Standing.ELSEWHERE: settled and gone,
        }
        assert (kept is None) is may[owner], (owner, gone, in_room, age, kept)


def test_a_record_survives_its_text_and_a_rooms_metadata() -> None:
    """Also one whose id was never answered."""
    for record in (RECORD, replace(RECORD, session_id=None)):
        assert record == Record.from_text(record.to_text())
        metadata = room_metadata(record.owner, [record])
        read = read_metadata(metadata, record.room, record.livekit_url)
        assert (record.owner, [record]) == read


def test_a_room_that_has_no_session_yet_names_its_owner() -> None:
    """It was reserved, and its process died."""
    assert (HERE, []) == read_metadata(room_metadata(HERE, ()), "room", "url")


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["pipecat_runway", "owner", "sessions", "host", "pid", "session_id"]),
            inner,
            max_size=4,
        )
    ),
)


@given(st.text() | JSON.map(json.dumps))
def test_what_others_wrote_is_refused_and_breaks_nothing(text: str) -> None:
    """Rooms and files may hold anything: it is a ValueError, or truly ours."""

    def read(how: Any) -> None:
        try:
            how()
        except ValueError:
            return

    read(lambda: Record.from_text(text))
    read(lambda: read_metadata(text, "room", "url"))


def test_no_name_and_no_key_can_be_read_off_a_digest() -> None:
    """It is short, and the same for the same."""
    assert digest("key_secret") == digest("key_secret") != digest("key_secreu")
    assert len(digest("key_secret")) == 12
    assert "secret" not in RECORD.to_text()
