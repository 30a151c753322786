"""The comparison measures what it says: its arithmetic, and one short run of two parties."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import barge_in, lips, onsets, own_delay, pacing
from benchmarks.compare.reading import Taken
from benchmarks.compare.record import Record
from benchmarks.compare.stage import Stage
from pipecat_runway.cli.measure import SOUND_RATE, Film
from pipecat_runway.simulator.face import Face, mouth_box
from tests.kit.marks import marked_speech, resampled

SIZE = (480, 270)


def test_paces() -> None:
    """A burst is at once, real time is real time, stalls never catch up."""
    assert [0.0, 0.0] == [pacing.due(n, "burst") for n in (0, 50)]
    assert [0.0, 1.0] == pytest.approx([pacing.due(n, "real-time") for n in (0, 50)])
    # 1 s of speech has stalls after 0.1 and 0.6 s.
    assert [0.08, 0.25, 1.3] == pytest.approx([pacing.due(n, "stalls") for n in (4, 5, 50)])


def test_what_is_written_down_is_read_back(tmp_path: Path) -> None:
    """First lips, first and last sound of an utterance, and what was noted of it."""
    record = Record(mouth_box(*SIZE))
    record.keep = True
    face = Face("cooking-teacher", *SIZE)
    shut = lips.rgb(face.paint(0.0, 0.0, 0.0)).tobytes()
    opened = lips.rgb(face.paint(0.04, 0.3, 1900.0)).tobytes()
    loud = marked_speech(0, 1, 24_000)
    record.picture(shut, *SIZE)
    record.note("say 0 burst")
    record.note("in")
    record.sound(bytes(480), 24_000)
    record.picture(shut, *SIZE)
    record.sound(loud, 24_000)
    record.picture(opened, *SIZE)
    record.sound(bytes(480), 24_000)
    record.note("stopped")
    record.save(tmp_path / "record.npz")
    taken = Taken(tmp_path / "record.npz", SIZE)
    (spoken,) = taken.spoken()
    assert taken.seen_at[2] == spoken.lips
    assert taken.heard_at[1] == spoken.first == spoken.last
    assert taken.heard_at[2] < spoken.when("stopped")[0]


def test_old_sound_ends_with_the_first_gap() -> None:
    """What comes without a gap after an interruption is old; what comes later is not."""
    audible = np.array([0.98, 0.99, 1.01, 1.02, 1.06, 1.30])
    assert 1.06 == barge_in.last_old(audible, 1.0)
    assert 2.0 == barge_in.last_old(audible, 2.0)


def test_a_frame_is_handed_over_with_what_it_brought() -> None:
    """The resampler's own delay is not counted; a write that is late is."""
    notes = [(0.0, "tts 480"), (0.001, "wrote 320"), (0.020, "tts 480"), (0.050, "wrote 320")]
    exact = [(at, what) for at, what in notes if what.startswith("tts")]
    assert [] == own_delay.handed(exact)
    assert max(own_delay.handed(notes)) == pytest.approx(0.030, abs=0.001)


def test_what_looks_alike_is_told_apart_by_its_order() -> None:
    """Two pictures that look alike, and one that was left out between two others."""
    notes = [
        (0.00, "picture yielded 7"),
        (0.04, "picture yielded 7"),
        (0.05, "picture pushed 7"),
        (0.08, "picture yielded 8"),
        (0.09, "picture pushed 7"),
        (0.12, "picture yielded 9"),
        (0.14, "picture pushed 9"),
    ]
    found = [late for _, late in own_delay.delays(notes, "picture")]
    assert found == pytest.approx([0.05, 0.05, 0.02])


@pytest.mark.long
async def test_two_parties_side_by_side(tmp_path: Path) -> None:
    """A bare client and ours are heard and seen, and ours says when it has ended."""
    async with Stage(width=SIZE[0], height=SIZE[1]) as stage:
        found = await onsets.measure(stage, ["floor", "ours"], ["burst"], 2)
    for party in ("floor", "ours"):
        burst = found[party]["burst"]
        assert 0 == burst["not heard"]
        assert [] == burst["errors"]
        assert 2 == burst["lips"]["count"] == burst["sound"]["count"] == burst["stopped"]["count"]
    assert found["ours"]["burst"]["stopped"]["min"] >= 0


@pytest.mark.parametrize("delay", [-0.1, 0.0, 0.15])
def test_how_late_pictures_are_is_seen_in_the_mouth(tmp_path: Path, delay: float) -> None:
    """Pictures that are made early or late are measured to be, to a few ms."""
    pcm, fps, begun = lips.bursts(0, 1)[0], 24.0, 100.0
    pieces = len(pcm) // 240
    sound = Film((0, 0), fps, np.zeros(0), np.zeros(0), _at_16k(pcm))
    face, (left, top, right, bottom) = Face("cooking-teacher", *SIZE), mouth_box(*SIZE)
    times = np.arange(0.013, len(pcm) / pacing.RATE, 1 / fps)
    mouths = [
        lips.rgb(face.paint(at, level, 1900.0))[top:bottom, left:right]
        for at, level in zip(times, sound.level(times, 1 / fps), strict=True)
    ]
    np.savez(
        tmp_path / "record.npz",
        seen_at=begun + times + delay,
        mouths=np.array(mouths),
        heard_at=begun + np.arange(pieces) * 0.01,
        rates=np.full(pieces, pacing.RATE),
        sizes=np.full(pieces, 240),
        sound=pcm[: pieces * 240],
        noted_at=np.array([begun - 1, begun - 1]),
        notes=np.array(["say 0 real-time", "in"]),
    )
    taken = Taken(tmp_path / "record.npz", SIZE)
    (spoken,) = taken.spoken()
    assert lips.offset(taken, spoken, fps, lips.own_lag(pcm, fps)) == pytest.approx(delay, abs=0.01)


def _at_16k(pcm: Any) -> Any:
    wave = np.asarray(pcm / 32768, np.float32)
    return resampled(wave, pacing.RATE, SOUND_RATE).astype(float)
