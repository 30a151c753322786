"""Whatever sound comes back, in whatever order of events, the ear keeps to its laws."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipecat_runway.hearing import Finished, Hearing, Sound, Started, StillSpeaking
from pipecat_runway.playback import Ledger, Stage
from tests.kit.marks import marked_speech

RATE = 16_000
PIECE = RATE // 100
LOUDEST = b"\xff\x7f\x00\x80" * (PIECE // 2)

EVENTS = st.one_of(
    st.tuples(st.just("speak"), st.integers(0, 3), st.booleans()),
    st.tuples(st.just("close"), st.none(), st.none()),
    st.tuples(st.just("echo"), st.integers(1, 60), st.integers(-200, 200)),
    st.tuples(st.just("noise"), st.integers(1, 20), st.sampled_from([1, 30, 500, 32_767])),
    st.tuples(st.just("silence"), st.integers(1, 60), st.none()),
    st.tuples(st.just("loudest"), st.integers(1, 5), st.none()),
    st.tuples(st.just("odd"), st.integers(1, 900), st.none()),
    st.tuples(st.just("interrupt"), st.none(), st.none()),
    st.tuples(st.just("cleared"), st.none(), st.none()),
    st.tuples(st.just("reported"), st.none(), st.none()),
    st.tuples(st.just("give up"), st.none(), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(EVENTS, max_size=25))
def test_the_ear_keeps_to_its_laws(events: list[tuple[str, Any, Any]]) -> None:
    """It names only the head of the line, begins it once, ends it once, and never runs ahead."""
    ledger, noise, now, mark = Ledger(), np.random.default_rng(1), 0.0, 0
    ear = Hearing(ledger, RATE)

    def hear(pcm: bytes) -> None:
        nonlocal now
        now += len(pcm) / 2 / RATE
        for effect in ear.feed(pcm, now):
            head = ledger.head
            match effect:
                case Started(utterance):
                    assert utterance is head
                    assert Stage.WAITING is utterance.stage
                    ledger.start(utterance)
                case Sound(utterance, sound, heard):
                    assert utterance is head
                    assert Stage.SOUNDING is utterance.stage
                    assert 0 <= heard <= utterance.sent
                    assert 0 == len(sound) % 2
                    ledger.advance(utterance, heard)
                case Finished(utterance, lost):
                    assert utterance is head
                    assert utterance.closed
                    assert 0 <= lost <= utterance.samples
                    ledger.finish(utterance)
                case StillSpeaking():
                    pass

    for kind, number, more in events:
        head = ledger.head
        match kind:
            case "speak":
                utterance = ledger.open(f"u{mark}", keep=False, now=now)
                speech = marked_speech(mark, number, RATE)
                ledger.feed(utterance, speech, now=now, item=mark)
                utterance.sent = utterance.samples
                mark += number + 1
                if more:
                    ledger.close(utterance)
            case "close":
                for utterance in ledger:
                    if not utterance.closed:
                        ledger.close(utterance)
            case "echo" if head is not None:
                start = max(0, head.heard + number + more)
                for place in range(start, start + number * PIECE, PIECE):
                    hear(head.speech(place, place + PIECE).ljust(2 * PIECE, b"\0"))
                    if ledger.head is not head:
                        break
            case "noise":
                for _ in range(number):
                    hear(noise.integers(-more, more + 1, PIECE).astype("<i2").tobytes())
            case "silence":
                for _ in range(number):
                    hear(bytes(2 * PIECE))
            case "loudest":
                for _ in range(number):
                    hear(LOUDEST)
            case "odd":  # as a frame that is not 10 ms long
                hear(noise.integers(-900, 900, number).astype("<i2").tobytes())
            case "interrupt":
                ear.interrupted(ledger.interrupt().utterances, now)
            case "cleared":
                ear.cleared(now)
            case "reported":
                ear.end_reported()
            case "give up":
                ledger.give_up()
