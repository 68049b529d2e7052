"""The logs of an instance stay within their limit, whoever writes them and however fast: they are really written here, past a low one."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from tests.real.instances import Place, asks, control, kill, known, place, steps

from howdah import settings
from howdah.core.instance import Instance
from howdah.core.logs import shares
from howdah.host import process, sweeper

LIMIT = 50_000_000
FLOOD = "DO $$ BEGIN FOR i IN 1..%d LOOP RAISE LOG 'line % %', i, pg_catalog.repeat('x', 100000); END LOOP; END $$"


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWDAH_LOG_MB", str(LIMIT // 1_000_000))
        with place() as made:
            made.create()
            made.create("plain", extensions={}, database=None, user=None)
            yield made


def written(here: Place, want: Instance) -> int:
    """Return how many bytes all logs of an instance have, howdah's own among them."""
    sizes = []
    for source in ("postgres", "pooler", "howdah"):
        for path in here.host.logs(want, source):
            with contextlib.suppress(FileNotFoundError):
                sizes.append(path.stat().st_size)
    return sum(sizes)


@contextlib.contextmanager
def watched(here: Place, name: str) -> Iterator[list[int]]:
    """Look at the size of all logs again and again meanwhile."""
    over, sizes, want = Event(), [0], here.want(name)

    def look() -> None:
        while not over.wait(0.01):
            sizes.append(written(here, want))

    with ThreadPoolExecutor(1) as beside:
        looking = beside.submit(look)
        try:
            yield sizes
        finally:
            over.set()
            looking.result()


def flood(here: Place, name: str, megabytes: int) -> None:
    with control(here, name=name) as session:
        session.execute((FLOOD.replace("%d", str(megabytes * 10))).encode())


@pytest.mark.parametrize("name", ["shop", "plain"])
def test_postgresql_writes_twice_its_limit_and_stays_within(here: Place, name: str) -> None:
    with watched(here, name) as sizes:
        flood(here, name, 2 * LIMIT // 1_000_000)
    room = shares(LIMIT)
    assert process.wait_until(lambda: "line 1000 x" in newest(here, name).read_text(), 5), "the newest words are kept"
    assert process.wait_until(lambda: written(here, here.want(name)) <= max(room.server_kept, newest(here, name).stat().st_size) + 10**6, 5)
    assert max(sizes) > room.server_kept // 2, "the flood was seen"
    assert max(sizes) < LIMIT, f"{max(sizes)} bytes of logs at once"


def newest(here: Place, name: str) -> Path:
    return max(here.host.logs(here.want(name), "postgres")[1:], key=lambda path: path.stat().st_mtime)


def knock(port: int, times: int) -> None:
    """Ask for a login in plaintext and be refused: two lines in PgBouncer's log each time."""
    told = b"user\0app\0database\0app_db\0\0"
    packet = struct.pack("!ii", 8 + len(told), 196608) + told
    for _ in range(times):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as client:
            client.sendall(packet)
            client.recv(100)


def test_pgbouncer_writes_past_its_share_and_stays_within(here: Place) -> None:
    room, directory = shares(LIMIT), here.directory()
    port = here.want().hop_port("pooled")
    assert port is not None
    before = directory / "log.1"
    assert not before.exists()
    for _ in range(60):
        with ThreadPoolExecutor(4) as clients:
            list(clients.map(lambda _: knock(port, 250), range(4)))
        if before.exists():
            break
    assert process.wait_until(before.exists, 5), (directory / "log").stat().st_size
    assert before.stat().st_size < room.pooler + 100_000
    log = directory / "log"
    assert log.stat().st_size < room.pooler
    knock(port, 1)
    assert process.wait_until(lambda: "SSL required" in log.read_text(), 5), "it goes on where the log was cut"
    assert b"\0" not in log.read_bytes(), "and not at its old place"
    assert "SSL required" in before.read_text()
    assert here.repair() == ()


def test_a_sweeper_that_is_killed_is_started_by_the_next_pass(here: Place) -> None:
    lock = here.layout().log / sweeper.LOCK
    first = process.lock_holder(lock)
    assert first is not None
    kill(first)
    assert here.repair() == ("SweepLogs",)
    second = process.lock_holder(lock)
    assert second is not None and second != first
    flood(here, "shop", LIMIT // 1_000_000)
    assert process.wait_until(lambda: written(here, here.want()) < LIMIT, 5)
    kill(second)
    here.host.start_server(here.want())
    assert process.wait_until(lambda: process.lock_holder(lock), 5), "a start of what runs already sees to it, too"
    assert here.repair() == ()


def test_it_comes_and_goes_with_its_server(here: Place) -> None:
    lock = here.layout("plain").log / sweeper.LOCK
    first = process.lock_holder(lock)
    assert first is not None
    here.service.restart("plain", asks())
    second = process.lock_holder(lock)
    assert second is not None and second != first and not process.alive(first)
    kill(known(here.postmaster("plain")))
    assert process.wait_end(second, 5), "nobody has to end it"
    here.repair("plain")
    here.service.stop("plain", asks())
    assert process.lock_holder(lock) is None
    # On a busy machine it is not awake yet at the second look, and is waited for in a step of its own
    assert steps(here.service.start("plain", asks()).operation or pytest.fail()) in (("StartServer",), ("StartServer", "SweepLogs"))


def test_another_limit_takes_hold_with_the_next_pass(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_LOG_MB", "60")
    assert here.repair() == ("SweepLogs",)
    found = process.lock_holder(here.layout().log / sweeper.LOCK)
    assert found is not None
    assert process.cmdline(found.pid)[-2:] == (str(shares(60_000_000).server_kept), str(shares(60_000_000).server_most))
    assert_pooler_bounded(here, 60_000_000)
    monkeypatch.undo()
    os.environ["HOWDAH_LOG_MB"] = "50"
    assert here.repair() == ("SweepLogs",)
    assert_pooler_bounded(here, LIMIT)


def assert_pooler_bounded(here: Place, limit: int) -> None:
    """Assert that the pooler that runs keeps its logs within its share of a limit; it was neither restarted nor replaced for that."""
    member, most = here.members()[1], shares(limit).pooler
    log = here.directory() / "log"
    with log.open("ab") as file:
        file.write(b"x" * (most - log.stat().st_size + 1_000_000))
    before = log.with_name("log.1")
    before.unlink(missing_ok=True)
    assert process.wait_until(lambda: log.stat().st_size < most and before.exists(), 10)
    assert before.stat().st_size <= most
    assert here.members()[1] == member


def test_the_newest_is_never_removed_and_strangers_are_left_alone(tmp_path: Path) -> None:
    for number in range(5):
        path = tmp_path / f"postgresql-2026010{number}_000000.log"
        path.write_bytes(b"x" * 1000)
        os.utime(path, (5_000 - number, 5_000 - number))  # the clock was set back: names lie
    (tmp_path / "notes").write_bytes(b"x" * 5000)
    (tmp_path / "postgresql-link.log").symlink_to(tmp_path / "notes")
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        assert sweeper.sweep(directory, 2500) == 2000
        assert sweeper.sweep(directory, 10) == 1000
    finally:
        os.close(directory)
    assert {path.name for path in tmp_path.iterdir()} == {"postgresql-20260100_000000.log", "notes", "postgresql-link.log"}


def test_howdahs_own_logs_are_two_files_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from howdah.cli import door
    from howdah.host.outside import detached

    monkeypatch.setenv("HOWDAH_HOME", str(tmp_path))
    log, most = tmp_path / "log", shares(settings.log_bytes()).howdah
    log.mkdir()
    for name in ("howdah.log", "detached.log"):
        (log / name).write_bytes(b"x" * (most + 1))
    assert door._log(ValueError("a mishap")) == log / "howdah.log"
    detached(tmp_path)(["list"])
    assert {path.name for path in log.iterdir()} == {"howdah.log", "howdah.log.1", "detached.log", "detached.log.1"}
    assert "a mishap" in (log / "howdah.log").read_text() and (log / "detached.log").stat().st_size < 1000
    process.reap()


@pytest.mark.parametrize("wrong", ["49", "-1", "lots", "500.5", "99999999", "0"])
def test_a_limit_that_cannot_be_right_is_refused_before_anything_begins(wrong: str, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "howdah", "create", "shop"]
    environment = {**os.environ, "HOWDAH_HOME": str(tmp_path / "h"), "HOWDAH_LANG": "en", "HOWDAH_LOG_MB": wrong}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (said.returncode, "expected a whole number of megabytes, 50 or more" in said.stderr) == (2, True)
    assert not (tmp_path / "h").exists()
