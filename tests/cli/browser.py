"""A real browser in front of the demo's page."""

import base64
import io
import shutil
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

from pipecat_runway.cli.speech import DEFAULT_SPEED, DEFAULT_VOICE, Espeak
from pipecat_runway.simulator.face import mouth_box, mouth_openness

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
]
SIZE = 480, 270  # of the pictures that are looked at
LOUD = 0.01  # root mean square; 1.0 is full scale

# Looks at the mouth and listens to the voice of the element named, ten times a second.
WATCH = """
async ([width, height, [left, top, right, bottom], voice]) => {
    const face = document.querySelector("video");
    const canvas = Object.assign(document.createElement("canvas"), {width, height});
    const drawing = canvas.getContext("2d", {willReadFrequently: true});
    const context = new AudioContext();
    await context.resume();
    const analyser = context.createAnalyser();
    const sound = document.querySelector(voice).srcObject;
    context.createMediaStreamSource(sound).connect(analyser);
    const wave = new Float32Array(analyser.fftSize);
    window.seen = [];
    setInterval(() => {
        analyser.getFloatTimeDomainData(wave);
        const level = Math.sqrt(wave.reduce((sum, x) => sum + x * x, 0) / wave.length);
        drawing.drawImage(face, 0, 0, width, height);
        const {data} = drawing.getImageData(left, top, right - left, bottom - top);
        window.seen.push({level, mouth: btoa(String.fromCharCode(...data))});
    }, 100);
    window.look = () => {
        drawing.drawImage(face, 0, 0, width, height);
        return canvas.toDataURL();
    };
}
"""
A_FACE = 'document.querySelector("video").videoWidth > 0'


@dataclass(frozen=True)
class Glance:
    """What a visitor saw and heard at one moment.

    Attributes:
        level: Root mean square of the voice.
        mouth: How far open the mouth was, from 0.
    """

    level: float
    mouth: float

    @property
    def is_loud(self) -> bool:
        """Whether the bot was heard."""
        return self.level > LOUD


class Visitor:
    """Somebody in front of the page; made by `visiting`.

    Attributes:
        page: The page.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self.page = browser.new_page(viewport={"width": 1280, "height": 800})

    def another(self) -> "Visitor":
        """Somebody else, in front of a page of their own."""
        return Visitor(self._browser)

    def connect(self, url: str) -> None:
        """Open the page, press Connect, and wait for the face."""
        self.page.goto(url)
        self.page.get_by_role("button", name="Connect", exact=True).click()
        self.page.wait_for_function(A_FACE, timeout=30_000)
        self.page.evaluate(WATCH, [*SIZE, mouth_box(*SIZE), "video"])

    def type(self, text: str) -> None:
        """Type to the bot, and press Enter."""
        field = self.page.get_by_label("What to say")
        field.fill(text)
        field.press("Enter")

    def wait_for_line(self, line: str, count: int = 1, timeout: float = 30.0) -> None:
        """Wait until a line has been written so often in the conversation."""
        self.page.wait_for_function(
            """([line, count]) => [...document.querySelectorAll("#log p")].filter(
                p => p.textContent.startsWith(line)).length >= count""",
            arg=[line, count],
            timeout=timeout * 1000,
        )

    def wait_for_voice(self, timeout: float = 30.0) -> None:
        """Wait until the bot is heard."""
        self._wait_for(
            f"seen.slice(-20).filter(glance => glance.level > {LOUD}).length > 3", timeout
        )

    def wait_for_silence(self, timeout: float = 30.0) -> None:
        """Wait until the bot has not been heard for 1.5 s."""
        self._wait_for(f"seen.slice(-15).every(glance => glance.level < {LOUD})", timeout)

    def _wait_for(self, condition: str, timeout: float) -> None:
        self.page.wait_for_function(f"seen.length >= 15 && {condition}", timeout=timeout * 1000)

    def glances(self) -> list[Glance]:
        """What was seen and heard since the last call."""
        return [
            Glance(seen["level"], openness(base64.b64decode(seen["mouth"])))
            for seen in self.page.evaluate("seen.splice(0)")
        ]

    def look(self) -> NDArray[np.uint8]:
        """The face, as it is now: rows, columns, red-green-blue."""
        png = base64.b64decode(self.page.evaluate("look()").partition(",")[2])
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def openness(mouth: bytes) -> float:
    """How far open a mouth is, given the pixels of its box."""
    width, height = SIZE
    left, top, right, bottom = mouth_box(width, height)
    picture = np.zeros((height, width, 3), np.uint8)
    pixels = np.frombuffer(mouth, np.uint8).reshape(bottom - top, right - left, 4)
    picture[top:bottom, left:right] = pixels[:, :, :3]
    return mouth_openness(picture)


def record_microphone(path: Path, *, silence: float, words: str) -> None:
    """Write what a microphone hears: a silence, then words if there are any."""
    pcm = bytearray()
    espeak = Espeak.shared()

    def take(piece: bytes) -> bool:
        pcm.extend(piece)
        return True

    if words:
        espeak.speak(words, DEFAULT_VOICE, DEFAULT_SPEED, take)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(espeak.sample_rate)
        file.writeframes(bytes(round(silence * espeak.sample_rate) * 2) + bytes(pcm))


@contextmanager
def visiting(microphone: Path) -> Iterator[Visitor]:
    """Sit in front of a browser whose microphone hears a file, over and over.

    Args:
        microphone: The file.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[*ARGUMENTS, f"--use-file-for-fake-audio-capture={microphone}"],
        )
        try:
            yield Visitor(browser)
        finally:
            browser.close()
