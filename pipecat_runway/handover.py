"""Who says what when one face follows another: changes of the ledger, and nothing else.

A face is whatever :attr:`Utterance.speaker` holds.
"""

from typing import Any

from pipecat_runway.playback import Ledger, Stage, Utterance
from pipecat_runway.wire import SPEECH_RATE

AHEAD = SPEECH_RATE * 3 // 10  # samples, of where a word is divided between two faces


def reassign(ledger: Ledger, face: Any) -> None:
    """Take from a face all but what it says, or says next."""
    for utterance in ledger:
        if utterance.speaker is face and utterance is not ledger.head:
            utterance.speaker, utterance.sent = None, 0


def owes(ledger: Ledger, face: Any) -> bool:
    """Whether a face still has something to say."""
    return any(utterance.speaker is face for utterance in ledger)


def divide(ledger: Ledger, head: Utterance) -> None:
    """Leave the rest of an utterance that is being said to the next face."""
    ledger.split(head, min(head.heard + AHEAD, head.samples))


def inherit(ledger: Ledger, gone: Any, heard: int) -> list[Any]:
    """Leave all that a face owed to the next one, from where it was heard to.

    Args:
        ledger: The ledger.
        gone: The face that owed it.
        heard: How much of the utterance that it was saying has been heard, in samples.

    Returns:
        Held items that wait for nothing any more.
    """
    released: list[Any] = []
    for utterance in [each for each in ledger if each.speaker is gone]:
        if utterance.stage is Stage.SOUNDING:
            ledger.split(utterance, heard)
            released += ledger.finish(utterance)
        else:
            utterance.speaker, utterance.sent = None, 0
    return released
