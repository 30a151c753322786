"""The report: what was kept of the last run of each command, as tables and as plots."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.compare.onsets import PIECES

RESULTS = Path(__file__).parent.parent / "results"
PAGE = Path(__file__).parent.parent.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- made by python -m benchmarks … --write-docs -->", "<!-- end -->"
NAMES = {
    "floor": "bare `livekit.rtc`",
    "ours": "`RunwayVideoService`",
    "ours, no transport": "`RunwayVideoService`, without an output transport",
    "livekit": "LiveKit's `DataStreamAudioOutput`",
    "heygen": "`HeyGenVideoService`",
    "pipecat": "bare `livekit.rtc` in a processor of Pipecat's",
    "ours, SmallWebRTC": "`RunwayVideoService`, after SmallWebRTC",
    "ours, LiveKit": "`RunwayVideoService`, after a LiveKit transport",
}
PAGES = ("compare", "instant", "curve", "lips", "lossy", "delivered", "slow-consumer", "colours")

Result = dict[str, Any]


def keep(command: str, result: Result) -> None:
    """Keep what a command has found, instead of what it found before."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{command}.json").write_text(json.dumps(result, indent=1) + "\n")


def write(*, docs: bool) -> None:
    """Write the report over all that is kept, and if wanted the page of the documentation."""
    RESULTS.mkdir(exist_ok=True)
    kept = {name: json.loads(path.read_text()) for name in PAGES if (path := _kept(name)).exists()}
    lines = "\n".join(_lines(kept)) + "\n"
    (RESULTS / "report.md").write_text(lines)
    _plot(kept, RESULTS)
    if docs:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text(f"{before}{BEGIN}\n\n{lines}\n{END}{after}")
        _plot(kept, PAGE.parent)


def _kept(name: str) -> Path:
    return RESULTS / f"{name}.json"


def _lines(kept: dict[str, Result]) -> Iterator[str]:
    if compared := kept.get("compare"):
        figures = compared["figures"]
        yield from _machine(compared)
        if "onsets" in figures:
            yield from _onsets(figures["onsets"], figures["detour"])
        if "own-delay" in figures:
            yield from _own_delay(figures["own-delay"])
        if "barge-in" in figures:
            yield from _barge_in(figures["barge-in"])
        if "load" in figures:
            yield from _load(figures["load"])
    for name, told in (
        ("instant", _instant),
        ("curve", _curve),
        ("lips", _lips),
        ("lossy", _lips),
        ("delivered", _lips),
        ("slow-consumer", _slow_consumer),
        ("colours", _colours),
    ):
        if result := kept.get(name):
            yield from told(result)


def _machine(result: Result) -> Iterator[str]:
    told = result["machine"]
    yield "Taken on " + ", ".join(f"{name} {value}" for name, value in told.items()) + "."
    yield ""


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def _ms(found: Result, *parts: str) -> str:
    return " / ".join(f"{found[part]:.0f}" for part in parts) if found.get("count") else "–"


def _instant(result: Result) -> Iterator[str]:
    yield "### From speech to lips and sound, of an avatar that renders in no time"
    yield ""
    yield from _machine(result)
    yield from _onset_table(result["figures"])


def _onset_table(found: Result) -> Iterator[str]:
    yield "ms from the first TTS sample, median / p95, and the median as a multiple of the floor's."
    yield ""
    rows = []
    for party, paces in found.items():
        for pace, what in paces.items():
            floor = found.get("floor", {}).get(pace)
            row = [NAMES[party], pace, str(what["lips"]["count"])]
            for kind in ("lips", "sound"):
                times = "–"
                if floor and what[kind].get("count") and floor[kind].get("count"):
                    times = f"{what[kind]['p50'] / floor[kind]['p50']:.2f} ×"
                row += [_ms(what[kind], "p50", "p95"), times]
            rows.append(row)
    yield from _table(["", "TTS", "count", "first lips", "", "first sound", ""], rows)


def _onsets(found: Result, detour: Result) -> Iterator[str]:
    yield "### From speech to lips and sound"
    yield ""
    yield from _onset_table(found)
    yield "![From the first TTS sample to the first lips and sound](benchmark-onsets.svg)"
    yield ""
    if detour.get("count"):
        yield (
            "HeyGen's figures contain the stand-in's detour, which takes a piece of speech from "
            f"the websocket into LiveKit: {detour['p50']:.1f} ms in the median."
        )
        yield ""
    yield "### The end of an utterance"
    yield ""
    yield (
        "ms, least / median / p95. `TTSStoppedFrame` after the last audible sound left the "
        "service (without Pipecat: `lk.playback_finished` after it came); "
        "`BotStoppedSpeakingFrame` after the transport had played it. Below 0: before it."
    )
    yield ""
    rows = [
        [NAMES[party], pace]
        + [_ms(what[kind], "min", "p50", "p95") for kind in ("stopped", "bot stopped")]
        for party, paces in found.items()
        for pace, what in paces.items()
    ]
    yield from _table(["", "TTS", "`TTSStoppedFrame`", "`BotStoppedSpeakingFrame`"], rows)


def _own_delay(found: Result) -> Iterator[str]:
    yield "### What this package adds"
    yield ""
    rows = [
        [f"TTS frame in → handed to LiveKit, {pace}", *_fine(what)]
        for pace, what in found["out"].items()
    ]
    rows += [
        [f"… of {PIECES / 10:g} s of speech, all of it, {pace}", *_fine(what)]
        for pace, what in found["whole"].items()
    ]
    rows.append(["LiveKit's stream yields a sound → frame pushed", *_fine(found["sound"])])
    rows.append(["… a picture → frame pushed", *_fine(found["picture"])])
    rows.append(["… less what pictures are held", *_fine(found["picture, beyond its hold"])])
    rows.append(["pictures are held for their sound", *_fine(found["hold"])])
    yield from _table(["ms", "count", "p50", "p99"], rows)
    yield f"The resampler holds back {found['resampler holds back, ms']} ms of 24 kHz speech."
    yield ""


def _fine(found: Result) -> list[str]:
    if not found.get("count"):
        return ["0", "–", "–"]
    return [str(found["count"]), f"{found['p50']:.2f}", f"{found['p99']:.2f}"]


def _barge_in(found: Result) -> Iterator[str]:
    yield "### Barge-in"
    yield ""
    yield "ms after the interruption; the last column against an utterance nothing came before."
    yield ""
    rows = [
        [
            NAMES[party],
            str(what["last old sound"].get("count", 0)),
            _ms(what["avatar told"], "p50", "p95"),
            _ms(what["last old sound"], "p50", "p99"),
            _ms(what["next delayed by"], "p50", "p95"),
        ]
        for party, what in found.items()
    ]
    head = ["", "count", "avatar told, p50 / p95", "last old sound, p50 / p99"]
    yield from _table([*head, "next onset later by, p50 / p95"], rows)


def _load(found: Result) -> Iterator[str]:
    yield "### What one session costs"
    yield ""
    floors = [found[name]["cpu"] for name in ("floor", "pipecat") if name in found]
    rows = [
        [
            NAMES[party],
            f"{what['cpu']:.3f}",
            " / ".join(f"{what['cpu'] / floor:.2f}" for floor in floors) or "–",
            " / ".join(f"{what['lag'][p]:.1f}" for p in ("p50", "p99", "p99.9")),
            f"{what['memory']:.0f}",
            f"{what['of the session']:.0f}",
            f"{what['pictures a second']:.1f}",
        ]
        for party, what in found.items()
    ]
    head = ["", "CPU, cores", "× the floor's / × Pipecat's floor's"]
    head += ["event-loop lag, ms, p50 / p99 / p99.9", "resident, MB"]
    yield from _table([*head, "of it the session's, MB", "pictures a second"], rows)


def _curve(result: Result) -> Iterator[str]:
    width, height = result["figures"]["size"]
    yield f"### Many sessions in one process, {width}×{height}"
    yield ""
    yield from _machine(result)
    rows = []
    for party, points in result["figures"]["sessions"].items():
        for point in points:
            row = [NAMES[party], str(point["sessions"])]
            if "error" in point:
                rows.append([*row, point["error"], "", "", "", ""])
                continue
            rows.append(
                [
                    *row,
                    f"{point['cpu']:.2f}",
                    f"{point['machine']:.0%}",
                    f"{point['pictures a second']:.1f}",
                    f"{point['lag']['p99']:.1f}",
                    f"{point['memory']:.0f}",
                ]
            )
    head = ["", "sessions", "CPU, cores", "machine in use", "pictures a second, worst session"]
    yield from _table([*head, "lag p99, ms", "memory, MB"], rows)
    yield "![CPU of a process by its sessions](benchmark-curve.svg)"
    yield ""


def _lips(result: Result) -> Iterator[str]:
    figures = result["figures"]
    at = "×".join(map(str, figures["size"]))
    yield f"### Sound and picture, {figures['minutes']:g} minutes each, {at}"
    yield ""
    yield from _machine(result)
    yield (
        "ms the picture is later than its sound where they come out (below 0: earlier), median; "
        "the distance, p95; the slope of the line through all, ms a minute. Packets from the "
        "LiveKit server to everybody are lost at random, or held up for as long as dice say."
    )
    yield ""
    rows = [
        [
            NAMES[party],
            network,
            str(what["offset"]["count"]),
            _ms(what["offset"], "p50"),
            _ms(what["distance"], "p95"),
            f"{what['slope']:.1f}",
            str(what["not measurable"]),
        ]
        for network, parties in figures["network"].items()
        for party, what in parties.items()
    ]
    head = ["", "network", "utterances", "offset", "distance p95", "slope", "not measurable"]
    yield from _table(head, rows)


def _slow_consumer(result: Result) -> Iterator[str]:
    found = result["figures"]
    yield f"### Five pictures a second taken, {found['minutes']:g} minutes"
    yield ""
    yield from _machine(result)
    wrong = {kind: len(which) for kind, which in found["wrong with the sound"].items()}
    waiting = ", ".join(f"{n} ({times} times)" for n, times in found["waiting"].items())
    rows = [
        ["pictures that were due and waiting when one had been taken", waiting],
        ["memory, MB, median of each minute", " ".join(f"{m:.0f}" for m in found["memory, MB"])],
        ["memory, MB, at most", f"{found['most memory, MB']:.0f}"],
        ["pieces of 100 ms", ", ".join(f"{n} {kind}" for kind, n in wrong.items())],
        ["first sound, ms, p50 / p95", _ms(found["onsets"]["sound"], "p50", "p95")],
    ]
    yield from _table(["", ""], rows)


def _colours(result: Result) -> Iterator[str]:
    yield "### Colour bars"
    yield ""
    yield "Most that any of twelve bars is off, of 255, after VP8, LiveKit and this service."
    yield ""
    rows = [
        [
            f"bars made by {matrix}",
            f"{found['right']:.1f}",
            *(f"{found['taken_as'][name]:.1f}" for name in ("BT.601", "BT.709")),
        ]
        for matrix, found in result["figures"].items()
    ]
    yield from _table(["", "from the colours meant", "read by BT.601", "read by BT.709"], rows)


def _plot(kept: dict[str, Result], to: Path) -> None:
    """Draw what there is."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "benchmarks"  # the same figures, the same file
    from matplotlib import pyplot

    def plain(party: str) -> str:
        return NAMES[party].replace("`", "")

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(to / f"benchmark-{name}.svg", metadata={"Date": None})
        pyplot.close(figure)

    if onsets := kept.get("compare", {}).get("figures", {}).get("onsets"):
        figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.6), sharey=True)
        for axis, kind in zip(axes, ("lips", "sound"), strict=True):
            for number, (party, paces) in enumerate(onsets.items()):
                shown = {pace: what[kind] for pace, what in paces.items() if what[kind]["count"]}
                middles = [what["p50"] for what in shown.values()]
                ends = [max(0, what["p95"] - what["p50"]) for what in shown.values()]
                places = [place + 0.2 * number for place in range(len(shown))]
                axis.bar(places, middles, 0.18, yerr=[[0] * len(ends), ends], label=plain(party))
                axis.set_xticks(
                    [place + 0.3 for place in range(len(shown))],
                    [pace.replace(", ", ",\n") for pace in shown],
                )
            axis.set_title(f"first {kind} after the first TTS sample, median and p95")
        axes[0].set_ylabel("ms")
        axes[0].legend(fontsize="small")
        save(figure, "onsets")
    if curve := kept.get("curve", {}).get("figures", {}).get("sessions"):
        figure, axis = pyplot.subplots(figsize=(6, 3.6))
        for party, points in curve.items():
            good = [point for point in points if "error" not in point]
            axis.plot(
                [point["sessions"] for point in good],
                [point["cpu"] for point in good],
                marker="o",
                label=plain(party),
            )
        axis.set_xlabel("sessions in one process")
        axis.set_ylabel("CPU, cores")
        axis.legend(fontsize="small")
        save(figure, "curve")
