"""What a party's process writes down of one session: what came out of it, and when.

Needs numpy only: it is also used where nothing of ours is installed.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np

AUDIBLE = 300  # peak, in steps of 16 bit
Box = tuple[int, int, int, int]  # left, top, right, bottom


class Record:
    """What came out of one session.

    Attributes:
        keep: Whether sound and mouths are kept; otherwise they are only counted, which is cheap.
        pictures: How many came.
        last_picture: When the last one came.
        longest_gap: The longest time between two, in s.
        last_audible: When sound above silence last came.
    """

    def __init__(self, mouth: Box) -> None:
        self.keep = False
        self.pictures = 0
        self.last_picture = 0.0
        self.longest_gap = 0.0
        self.last_audible = 0.0
        self._mouth = mouth
        self._seen: list[tuple[float, np.ndarray[Any, Any]]] = []
        self._heard: list[tuple[float, int, bytes]] = []
        self._notes: list[tuple[float, str]] = []

    def clear(self) -> None:
        """Begin anew."""
        self._seen, self._heard, self._notes = [], [], []
        self.pictures, self.longest_gap, self.last_picture = 0, 0.0, time.monotonic()

    def note(self, what: str, at: float | None = None) -> None:
        """Something happened."""
        self._notes.append((time.monotonic() if at is None else at, what))

    def picture(self, rgb: Any, width: int, height: int) -> None:
        """A picture came out, as tight RGB24."""
        now = time.monotonic()
        self.pictures += 1
        self.longest_gap = max(self.longest_gap, now - self.last_picture)
        self.last_picture = now
        if self.keep:
            left, top, right, bottom = self._mouth
            pixels = np.frombuffer(rgb, np.uint8).reshape(height, width, 3)
            self._seen.append((now, pixels[top:bottom, left:right].copy()))

    def sound(self, pcm: bytes, rate: int) -> None:
        """A piece of sound came out, mono s16le."""
        if not self.keep:
            return
        now = time.monotonic()
        self._heard.append((now, rate, pcm))
        if len(pcm) and int(np.abs(np.frombuffer(pcm, "<i2").astype(np.int32)).max()) > AUDIBLE:
            self.last_audible = now

    def save(self, path: Path) -> None:
        """Write it all to a file."""
        np.savez(
            path,
            seen_at=np.array([at for at, _ in self._seen]),
            mouths=np.array([mouth for _, mouth in self._seen]),
            heard_at=np.array([at for at, _, _ in self._heard]),
            rates=np.array([rate for _, rate, _ in self._heard], np.int64),
            sizes=np.array([len(pcm) // 2 for _, _, pcm in self._heard], np.int64),
            sound=np.frombuffer(b"".join(pcm for _, _, pcm in self._heard), "<i2"),
            noted_at=np.array([at for at, _ in self._notes]),
            notes=np.array([what for _, what in self._notes], dtype=np.str_),
        )
