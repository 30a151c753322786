"""Arrows point only downwards."""

import ast
from pathlib import Path

import pytest

import pipecat_runway

PACKAGE = Path(pipecat_runway.__file__).parent

# From the bottom up. A module may import from its own storey's left neighbours and from below.
STOREYS = [
    [  # pure
        *("wire", "errors", "retries", "refusals", "lifecycle", "renewal", "addresses"),
        *("sizes", "measures", "lipsync", "playback", "handover", "ownership"),
        *("tools", "transcripts", "responses", "profiles", "catalogue", "visitors"),
    ],
    ["matching", "pauses", "words", "hearing", "speaking", "resampling"],  # pure but for numpy
    [  # adapters
        *("client", "api", "elevenlabs", "portrait", "characters", "registry", "guard"),
        *("roomfacts", "joining", "reception", "tracks", "room", "managedroom", "media"),
    ],
    [  # owners
        *("ending", "billed", "session", "sessions", "audience", "face", "faces", "avatar"),
        *("backend", "managed", "conversation", "visits"),
    ],
    [  # Pipecat faces
        *("settings", "options", "pictures", "texts", "telemetry", "video"),
        *("functions", "backend_tools", "frames", "narration", "llm"),
    ],
    ["flows"],  # Pipecat Flows' view of a face
    ["server"],  # a web app's
    ["__init__"],
]
ORDER = [name for storey in STOREYS for name in storey]
BESIDE = ["pytest_plugin"]  # like simulator/ and cli/
PURE = set(STOREYS[0])
SDKS = {  # each third-party SDK has its one door
    # The three last: the type of their `client`.
    "runwayml": {"client", "api", "characters", "video", "llm", "backend_tools"},
    # The picture and sound types they hand on.
    "livekit": {
        *("room", "roomfacts", "joining", "reception", "tracks", "managedroom"),
        *("pictures", "video", "audience", "avatar", "conversation", "llm"),
    },
    "pipecat": {
        *("settings", "options", "pictures", "texts", "telemetry", "video", "flows"),
        *("functions", "backend_tools", "frames", "narration", "llm"),
    },
    "opentelemetry": {"telemetry"},
    "httpx": {"client", "api", "characters", "elevenlabs"},
    "aiohttp": {"room"},
    "fastapi": {"server"},
    "starlette": {"server"},
    "PIL": {"media", "portrait"},
}
PURE_FORBIDDEN = {"asyncio", "time", "os", "threading", "numpy", "socket"}


def imports(path: Path) -> set[str]:
    """The modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    """The modules of this package among them, by their short names."""
    return {
        part
        for name in names
        if name.startswith("pipecat_runway.") and (part := name.split(".")[1]) in ORDER
    }


@pytest.mark.parametrize("name", ORDER)
def test_no_arrow_points_up(name: str) -> None:
    """A module imports only what stands below it."""
    above = own(imports(PACKAGE / f"{name}.py")) - set(ORDER[: ORDER.index(name)])
    assert not above, f"{name} imports {sorted(above)} from above"


def test_every_module_has_its_storey() -> None:
    """A new module has to be given its place."""
    assert sorted(ORDER + BESIDE) == sorted(path.stem for path in PACKAGE.glob("*.py"))


@pytest.mark.parametrize("name", sorted(PURE))
def test_the_ground_floor_is_pure(name: str) -> None:
    """Wire, errors, lifecycle and ledger know no loop, no clock and no environment."""
    tops = {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py")}
    assert not tops & (PURE_FORBIDDEN | set(SDKS))


@pytest.mark.parametrize("name", [name for name in ORDER if name not in PURE])
def test_each_sdk_has_its_own_door(name: str) -> None:
    """Third-party SDKs are imported only where the table says."""
    tops = {module.split(".")[0] for module in imports(PACKAGE / f"{name}.py")}
    assert not {sdk for sdk, doors in SDKS.items() if sdk in tops and name not in doors}


def test_the_simulator_stands_beside_the_house() -> None:
    """It imports nothing of the product but its errors, and the product nothing of it."""
    for path in (PACKAGE / "simulator").rglob("*.py"):
        assert own(imports(path)) <= {"errors"}, path
    for name in ORDER:
        names = imports(PACKAGE / f"{name}.py")
        assert not [
            n
            for n in names
            for beside in ("simulator", "cli", "doctor", *BESIDE)
            if f"{n}.".startswith(f"pipecat_runway.{beside}.")
        ]


def test_an_arrow_up_would_be_noticed(tmp_path: Path) -> None:
    """The test can fail: an import of the avatar in the ledger is seen."""
    bad = tmp_path / "playback.py"
    bad.write_text("from pipecat_runway import wire\nfrom pipecat_runway.avatar import Avatar\n")
    assert {"avatar", "wire"} == own(imports(bad))
