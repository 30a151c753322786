"""Text that travels with its sound: captions, and what the LLM's context keeps.

A TTS tells the words of its speech in one of two ways. With word times each word is a frame, and
has its place in the speech. Without, a whole sentence is one frame, ahead of its speech or behind
it. Then its words leave one by one for the LLM's context, each with its sound, and the sentence
follows for captions. So an interruption finds in the context what was heard, and nothing else.
"""

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from pipecat.frames.frames import (
    AggregatedTextFrame,
    Frame,
    SystemFrame,
    TextFrame,
    TTSStartedFrame,
    TTSTextFrame,
)

from pipecat_runway.playback import Ledger, Utterance
from pipecat_runway.words import Pace, Part, Passage, Recital, Whole, WordClock

RECITALS = 16  # contexts announced whose speech has not come; of more the oldest are forgotten
FEW_WORDS = 2  # a frame with a word time and more words than these is one that has to be divided


@dataclass
class HeardTextFrame(SystemFrame, TTSTextFrame):
    """What was heard of a sentence that was interrupted, for captions.

    The LLM's context has got these words already. A system frame: what comes before the
    :class:`InterruptionFrame` must be seen before it.
    """


class Texts:
    """The texts of all contexts that are being said."""

    def __init__(self) -> None:
        self._pace = Pace()
        self._words = WordClock()
        self._bases: WeakKeyDictionary[Utterance, int] = WeakKeyDictionary()  # ns, of word times
        self._recitals: dict[str, Recital] = {}

    # -- what the TTS does ------------------------------------------------------------------------

    def begin(self, frame: TTSStartedFrame) -> None:
        """Note that a context begins."""
        if frame.context_id is None:
            return
        if not frame.interruptible:  # it is never cut: its frames stay what they are
            self.forget(frame.context_id)
            return
        recital = self._recitals.get(frame.context_id) or self._new_recital(frame.context_id)
        recital.append = frame.append_to_context

    def count(self, utterance: Utterance, now: int) -> None:
        """Begin to count an utterance's word times, if that has not begun.

        Args:
            utterance: An utterance whose first sound or word has come.
            now: The pipeline's clock, in ns.
        """
        if utterance.whole not in self._bases:
            self._bases[utterance.whole] = self._words.begin(now)

    def speech(
        self, ledger: Ledger, utterance: Utterance, pcm: bytes, destination: str | None
    ) -> None:
        """Take more of an utterance's speech.

        Args:
            ledger: Where it waits.
            utterance: Which.
            pcm: 16 kHz mono s16le.
            destination: Its transport destination.
        """
        if (recital := self._recital(utterance.context_id)) is not None:
            recital.destination = destination
            recital.hear(pcm)
            self._arrange(ledger, utterance, recital)

    def close(self, ledger: Ledger, utterance: Utterance, tail: bytes) -> None:
        """Note that the TTS has finished an utterance, with the last of its speech."""
        if (recital := self._recital(utterance.context_id)) is not None:
            recital.hear(tail)
            recital.close()
            self._arrange(ledger, utterance, recital)

    def forget(self, context_id: str | None) -> None:
        """Note that a context is over."""
        self._recitals.pop(context_id or "", None)

    def hold(self, ledger: Ledger, frame: Frame, now: int) -> bool:
        """Hold a frame in its place; return whether there is anything to wait for.

        Args:
            ledger: Where it is to wait.
            frame: Any frame but speech and its brackets.
            now: The pipeline's clock, in ns.
        """
        context_id, keep = getattr(frame, "context_id", None), not frame.interruptible
        utterance = None
        if context_id is not None:
            utterance = ledger.find(context_id) or ledger.voiced(context_id)
        position = None
        if frame.pts and utterance is not None:
            if isinstance(frame, TTSTextFrame):  # known before the first audio, it comes just ahead
                self.count(utterance, now)
            if (base := self._bases.get(utterance.whole)) is not None:
                position = self._words.place(frame.pts, base, keep=keep)
        words = isinstance(frame, TTSTextFrame) and len(frame.text.split()) <= FEW_WORDS
        if isinstance(frame, AggregatedTextFrame) and not keep and not (frame.pts and words):
            recital = self._take(frame, position, begun=utterance is not None)
            if recital is not None and utterance is not None:
                self._arrange(ledger, utterance, recital)
                return True
        return ledger.hold(frame, keep=keep, context_id=context_id, position=position)

    def _recital(self, context_id: str | None) -> Recital | None:
        return self._recitals.get(context_id or "")

    def _take(
        self, frame: AggregatedTextFrame, position: int | None, *, begun: bool
    ) -> Recital | None:
        """Take a text of many words; return with which texts its frame waits, if with any."""
        recital = self._recital(frame.context_id)
        if isinstance(frame, TTSTextFrame):
            if recital is None or not begun:
                return None
            recital.append = frame.append_to_context
            frame.append_to_context = False
            recital.report(frame.segment_id, frame, frame.raw_text or frame.text, position)
            return recital
        if frame.pts:
            return None
        if recital is not None and begun:
            recital.add(frame)
        if frame.will_be_spoken and frame.context_id is not None and (recital or not begun):
            recital = recital or self._new_recital(frame.context_id)
            plain = frame.raw_text in (None, frame.text)  # else its report says what it is
            recital.announce(frame.id, frame, frame.text.lstrip("\n") if plain else None)
        return recital

    def _new_recital(self, context_id: str) -> Recital:
        while len(self._recitals) >= RECITALS:
            del self._recitals[next(iter(self._recitals))]
        recital = self._recitals[context_id] = Recital(self._pace)
        return recital

    def _arrange(self, ledger: Ledger, utterance: Utterance, recital: Recital) -> None:
        """Give the words that were not heard their places, as far as they are known by now."""
        if recital.due:
            ledger.lay_loose(utterance, recital.place(ledger.take_loose(utterance)))

    # -- what leaves ------------------------------------------------------------------------------

    def leave(self, item: Any) -> Frame | None:
        """Return the frame that an item of the ledger leaves as, if any.

        Args:
            item: A frame, or a part of a text.
        """
        if isinstance(item, Whole):
            item.passage.told = True
            return _frame(item.item)
        if not isinstance(item, Part):
            return _frame(item)
        item.passage.left += 1
        recital = item.passage.recital
        if not recital.append:
            return None
        # A plain TextFrame goes to the LLM's context, and RTVI does not tell the client of it.
        word = TextFrame((" " if item.first else "") + item.text)
        word.includes_inter_frame_spaces = True
        word.transport_destination = recital.destination
        return word

    def interrupt(self, ledger: Ledger) -> list[HeardTextFrame]:
        """Note an interruption, before the ledger does.

        Returns:
            What was heard of the texts that it cuts.
        """
        self._words.interrupt()  # the words that were cut are not waited for
        head = ledger.head
        recital = self._recital(head.context_id) if head is not None and not head.keep else None
        passages = recital.passages if recital is not None else []
        cut = [_heard(passage) for passage in passages if passage.left and not passage.told]
        self._recitals.clear()
        return cut


def _frame(item: Any) -> Frame:
    assert isinstance(item, Frame)
    return item


def _heard(passage: Passage) -> HeardTextFrame:
    source: AggregatedTextFrame = passage.source
    frame = HeardTextFrame(passage.heard.strip(), source.text_type, source.context_id)
    frame.segment_id = source.segment_id if isinstance(source, TTSTextFrame) else source.id
    frame.will_be_spoken, frame.append_to_context = True, False
    frame.transport_destination = passage.recital.destination
    return frame
