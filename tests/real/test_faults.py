"""What a machine may lack, lose or garble, done to real servers through the command line: each time one clear line and the right exit code,
the old state serves on, nothing is half-made, and the next `repair` after the fault is gone converges.
"""

from __future__ import annotations

import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.real.instances import DATABASE, PASSWORD, USER, Place, asks, end, kill, known, place, prove, scalar, served_by, stock
from tests.real.said import Said
from tests.real.servers import free_port, new_home

from howdah import compose
from howdah.core.instance import HOPS, Hop
from howdah.errors import Unavailable
from howdah.host import accounts
from howdah.host.process import wait_until

ROOT = os.geteuid() == 0
FAILED, CONFLICT, UNSUPPORTED, UNAVAILABLE = 1, 4, 5, 6


def howdah(here: Place, *words: str, before: Callable[[], None] | None = None, stdin: str = "", **environment: str) -> Said:
    """Run a command line on this home."""
    kept = {**os.environ, "HOWDAH_HOME": str(here.home), "HOWDAH_LANG": "en", "LC_ALL": "C.UTF-8", **environment}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "howdah", *words],
        env=kept,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=180,
        preexec_fn=before,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def full(said: Said, home: Path) -> bool:
    """Whether it was told that there is no room, and what to do about it; no half of a file lies anywhere."""
    assert not list(home.rglob(".*.new")), said
    assert "its owner has to" not in said.err
    return any(word in said.line for word in ("No space left", "full", "free disk space", "wrote only"))


def ports(here: Place) -> dict[Hop, int]:
    """Return where each hop is reached now; a wish may stand that moves it."""
    return {hop: port for hop in HOPS if (port := here.want().hop_port(hop)) is not None}


def serves(here: Place, there: dict[Hop, int] | None = None) -> None:
    """Assert that each hop lets its client in and answers."""
    for hop, port in (there or ports(here)).items():
        assert here.ask("SELECT current_user::text", hop, port=port) == USER


def mends(here: Place) -> None:
    """Assert that one repair of everything converges, and that it holds."""
    said = howdah(here, "repair", "--all")
    assert said.code == 0, said
    prove(here)


@pytest.fixture
def here(bed: Place) -> Place:
    if not bed.service.store.everything():
        stock(bed.home)
        bed.create("shop")
    return bed


@pytest.fixture(scope="module")
def bed() -> Iterator[Place]:
    with place() as made:
        yield made


# --- a full disk --------------------------------------------------------------------------------------------------------------------


@contextmanager
def disk(where: Path, megabytes: float, *, mode: int = 0o711) -> Iterator[None]:
    """Mount a small file system of its own."""
    options = f"size={int(megabytes * 1024)}k,mode={mode:o}"
    if not ROOT:
        pytest.skip("only root may mount a small file system")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "howdah-test", where], capture_output=True, text=True)
    if done.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", where], check=True)


@pytest.fixture(scope="module")
def small() -> Iterator[Place]:
    """A home on a file system of its own, with `shop` in it."""
    home = new_home()
    with disk(home, 320):
        stock(home)
        service = compose.service(home)
        service = served_by(service, replace(service.host, spawn_howdah=lambda words: None))  # type: ignore[type-var]
        here = Place(home, service, [])
        try:
            here.create("shop")
            yield here
        finally:
            with suppress(OSError):
                (home / "filler").unlink()
            end(here)


@contextmanager
def left(home: Path, room: int) -> Iterator[None]:
    """Fill the disk so that only so many bytes are left."""
    filler = home / "filler"

    def fill() -> bool:  # the servers write meanwhile
        found = os.statvfs(home)
        with filler.open("wb") as file, suppress(OSError):
            os.posix_fallocate(file.fileno(), 0, max(1, found.f_bavail * found.f_frsize - room))
            return True
        return False

    try:
        assert wait_until(fill, 5)
        yield
    finally:
        filler.unlink()


# so much is left: each next writer comes to its turn
ROOMS = [0, 4 << 10, 12 << 10, 24 << 10, 48 << 10, 80 << 10, 128 << 10, 192 << 10, 320 << 10, 1 << 20, 6 << 20, 80 << 20]


def _verbs() -> dict[str, Callable[[int], tuple[str, ...]]]:
    return {
        "set": lambda turn: ("params", "set", "shop", f"work_mem={5 + turn}MB"),
        "set that restarts": lambda turn: ("params", "set", "shop", f"max_connections={50 + turn}", "--yes"),
        "the pooler's setting": lambda turn: ("extensions", "set", "shop", "pooler", f"query_timeout={5 + turn}"),
        "the pooler's port": lambda turn: ("extensions", "set", "shop", "pooler", f"listen_port={free_port()}"),
        "users password": lambda turn: ("users", "password", "shop", USER, "--password-stdin"),
        "databases add": lambda turn: ("databases", "add", "shop", f"d{turn}"),
        "endpoints": lambda turn: ("endpoints", "set", "shop", "--hostname", f"h{turn}.example.org"),
        "repair": lambda turn: ("repair", "shop"),
    }


@pytest.mark.long
@pytest.mark.parametrize("verb", _verbs())
def test_a_full_disk_is_named_and_what_was_there_serves_on(small: Place, verb: str) -> None:
    for turn, room in enumerate(ROOMS):
        there = ports(small)
        with left(small.home, room):
            said = howdah(small, *_verbs()[verb](turn), stdin=f"{PASSWORD}\n")
            if said.code != 0:
                assert said.code in (FAILED, UNAVAILABLE), said
                assert full(said, small.home), said
                serves(small, there)
        mends(small)
        if said.code == 0:
            assert turn > 0, "it was never full"
            return
    raise AssertionError(f"there was never room enough: {said}")


def test_a_full_disk_at_a_change_small(small: Place) -> None:
    """The same at two places only, for every day."""
    for room in (0, 16 << 10):
        with left(small.home, room):
            said = howdah(small, "params", "set", "shop", f"work_mem={9 + room % 7}MB")
            assert said.code in (FAILED, UNAVAILABLE), said
            assert full(said, small.home), said
            serves(small)
        mends(small)


@pytest.mark.long
def test_create_on_a_full_disk_leaves_nothing_that_a_second_try_does_not_finish(small: Place) -> None:
    before = {each.id for each in small.service.store.everything()}
    ports = [str(free_port()), str(free_port())]
    words = ("create", "other", "--port", ports[0], "--extension", f"pooler:listen_port={ports[1]}", "--database", DATABASE, "--user", USER)
    stages = set()
    for room in (0, 8 << 10, 40 << 10, 256 << 10, 2 << 20, 20 << 20, 90 << 20):
        with left(small.home, room):
            said = howdah(small, *words)
        if said.code == 0:
            break
        assert said.code in (FAILED, UNAVAILABLE), said
        assert full(said, small.home), said
        stages.add(said.line.split(":")[1])
        serves(small)
        known_ids = {each.id for each in small.service.store.everything()}
        for kind in ("instances", "passfiles"):
            lying = {path.name for path in (small.home / kind).glob("*")}
            assert lying <= known_ids, "nothing lies there that nobody wants"
    assert said.code == 0, said
    assert len(stages) > 1, "it failed at more than one place"
    mends(small)
    prove_other = small.service.show("other")
    assert prove_other.status == "running"
    assert {each.id for each in small.service.store.everything()} > before


@pytest.mark.long
def test_delete_and_spares_on_a_full_disk(small: Place) -> None:
    if small.service.known("other") is None:
        small.create("other", database=None, user=None)
    with left(small.home, 0):
        said = howdah(small, "delete", "other", "--yes")
        assert said.code in (0, FAILED, UNAVAILABLE), said  # what it removes makes room
        assert said.code == 0 or full(said, small.home)
        serves(small)
    if said.code != 0:
        assert howdah(small, "delete", "other", "--yes").code == 0
    assert [each.name for each in small.service.store.everything()] == ["shop"]
    with left(small.home, 1 << 20):
        major = str(small.want().version)
        for path in (small.home / "spares" / major).iterdir():
            if not path.name.startswith("."):
                shutil.rmtree(path)
        said = howdah(small, "spare", major)
        assert "Traceback" not in said.err
        assert not [path for path in (small.home / "spares" / major).iterdir() if path.name != ".lock"], "no half of a spare"
    mends(small)


@pytest.mark.parametrize("part", ["passfiles", "locks", "log", "trash", "spares", "ca"])
def test_one_full_directory_stops_what_needs_it_and_nothing_else(here: Place, part: str) -> None:
    where = here.home / part
    if not where.exists():
        where.mkdir(mode=0o711)
    aside = Path(tempfile.mkdtemp(prefix="aside"))
    shutil.copytree(where, aside / part, symlinks=True)
    with disk(where, 8, mode=where.stat().st_mode & 0o777):
        for each in (aside / part).rglob("*"):
            if each.is_file() and each.stat().st_size < 8192:
                (where / each.relative_to(aside / part)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(each, where / each.relative_to(aside / part))
        with left(where, 0):
            changes = [
                howdah(here, "params", "set", "shop", "work_mem=6MB"),
                howdah(here, "users", "password", "shop", USER, "--password-stdin", stdin=f"{PASSWORD}\n"),
            ]
            looks = [howdah(here, "show", "shop"), howdah(here, "list")]
            assert [each.code for each in looks] == [0, 0], "looking needs no room"
            assert all("No space left" in each.line for each in changes if each.code != 0), changes
            serves(here)
    mends(here)
    shutil.rmtree(aside)


# --- what is garbled, gone or not ours ------------------------------------------------------------------------------------------------


@contextmanager
def garbled(path: Path, content: bytes | None) -> Iterator[None]:
    """Put other bytes in place of a file's, or take it away (None), then put the right ones back, with owner and mode."""
    seen, good = path.stat(), path.read_bytes()
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        path.chmod(seen.st_mode & 0o7777)
        if ROOT:
            os.chown(path, seen.st_uid, seen.st_gid)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(good)
        path.chmod(seen.st_mode & 0o7777)
        if ROOT:
            os.chown(path, seen.st_uid, seen.st_gid)


GARBAGE = {
    "truncated": b"SQLite format 3\0" + b"\0" * 40,
    "garbage": b"\xff\xfenonsense" * 400,
    "zeros": b"\0" * 8192,
    "empty": b"",
    "gone": None,
}


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_broken_store_is_named_and_left_alone(here: Place, content: bytes | None) -> None:
    there, path = ports(here), here.home / "store.sqlite3"
    control_file = here.layout().ca_file
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.close()
    here.service.store.close()
    try:
        for each in here.home.glob("store.sqlite3-*"):
            each.unlink()
        with garbled(path, content):
            for words in (("list",), ("show", "shop"), ("params", "set", "shop", "work_mem=7MB"), ("create", "new"), ("repair", "--all")):
                said = howdah(here, *words)
                assert said.code == UNAVAILABLE, said
                assert str(path) in said.line
                assert (path.read_bytes() if path.exists() else None) == content, "nothing is written over what may yet be saved"
            for port in there.values():
                login = {"user": USER, "password": PASSWORD, "dbname": DATABASE, "sslmode": "verify-full", "sslrootcert": str(control_file)}
                psycopg.connect(host="127.0.0.1", port=port, connect_timeout=5, **login).close()  # type: ignore[arg-type]
        for each in here.home.glob("store.sqlite3-*"):
            each.unlink()
    finally:
        here.service.store._file = compose.service(here.home).store._file  # type: ignore[attr-defined]
    mends(here)


def test_a_locked_store_is_named_and_looking_goes_on(here: Place) -> None:
    other = sqlite3.connect(here.home / "store.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        assert howdah(here, "list").code == 0
        said = howdah(here, "params", "set", "shop", "work_mem=8MB")
        assert (said.code, "another process keeps it locked" in said.line) == (UNAVAILABLE, True)
        serves(here)
    finally:
        other.execute("ROLLBACK")
        other.close()
    mends(here)


def ca_key(here: Place) -> Path:
    return here.home / "ca" / "ca.key"


def pair(hop: Hop, kind: str) -> Callable[[Place], Path]:
    return lambda here: here.layout().tls(hop) / f"{hop}.{here.seen().wire[hop].serial}.{kind}"


@pytest.mark.parametrize("content", [b"", b"-----BEGIN nonsense-----\n", None], ids=["empty", "garbage", "gone"])
@pytest.mark.parametrize("file", [ca_key, lambda here: here.layout().ca_file], ids=["key", "certificate"])
def test_a_broken_authority_is_named_when_it_is_needed_and_never_replaced(
    here: Place, file: Callable[[Place], Path], content: bytes | None
) -> None:
    authority = here.layout().ca_file.read_bytes()
    with garbled(file(here), content):
        said = howdah(here, "endpoints", "set", "shop", "--hostname", f"h{os.urandom(2).hex()}.example.org", "--yes")
        assert said.code in (FAILED, UNAVAILABLE, 3), said
        assert str(here.home / "ca") in said.line
        for hop in HOPS:
            here.ask("SELECT 1", hop, sslmode="require", sslrootcert="")
        assert howdah(here, "repair", "shop").code != 0
    assert here.layout().ca_file.read_bytes() == authority
    mends(here)


@pytest.mark.parametrize("content", [b"", b"nonsense"], ids=["empty", "garbage"])
@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("kind", ["crt", "key"])
def test_a_broken_pair_is_replaced(here: Place, hop: Hop, kind: str, content: bytes) -> None:
    path = pair(hop, kind)(here)
    seen = path.stat()
    path.write_bytes(content)
    assert path.stat().st_uid == seen.st_uid
    serves(here)
    mends(here)


def test_a_lost_program_is_named_and_what_runs_serves_on(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in (("repair", "shop"), ("extensions", "set", "shop", "pooler", "query_timeout=9")):
        said = howdah(here, *words, HOWDAH_PGBOUNCER="/nonexistent/pgbouncer")
        assert (said.code, "/nonexistent/pgbouncer" in said.line) == (UNAVAILABLE, True), said
        serves(here)
    mends(here)
    monkeypatch.setattr("howdah.host.postgres._whole", lambda _: False)
    with pytest.raises(Unavailable, match="cannot find PostgreSQL") as caught:
        here.service.set_parameters("shop", {"work_mem": "12MB"}, [], asks())
    assert caught.value.code == "no_postgresql"
    serves(here)
    monkeypatch.undo()
    mends(here)


def test_a_port_taken_while_it_was_down_is_named_by_its_holder(here: Place) -> None:
    for hop, port in ports(here).items():
        assert howdah(here, "stop", "shop", "--yes").code == 0
        with socket.create_server(("127.0.0.1", port)):
            said = howdah(here, "start", "shop")
            assert said.code in (FAILED, CONFLICT), said
            assert f"(pid {os.getpid()})" in said.line, hop
        assert howdah(here, "start", "shop").code == 0
        mends(here)


def test_a_pooler_that_died_and_whose_port_was_taken_is_told_by_the_holder(here: Place) -> None:
    """Its console is silent, too; but that is no cause, and no cure."""
    kill(*here.members())
    taken: list[socket.socket] = []

    def take() -> bool:  # the kernel closes the sockets of who has ended a moment later
        with suppress(OSError):
            taken.append(socket.create_server(("127.0.0.1", ports(here)["pooled"])))
        return bool(taken)

    assert wait_until(take, 5)
    with taken[0]:
        said = howdah(here, "repair", "shop")
        assert said.code == FAILED and f"(pid {os.getpid()})" in said.err, said
    mends(here)


@pytest.mark.skipif(not ROOT, reason="only root may give a file away")
@pytest.mark.parametrize("part", ["data", "pool", "configuration", "key"])
def test_a_wrong_owner_is_put_right(here: Place, part: str) -> None:
    layout = here.layout()
    path = {"data": layout.data, "pool": layout.pool, "configuration": layout.data / "postgresql.conf"}.get(part) or pair("direct", "key")(
        here
    )
    seen = path.stat()
    if part == "data":
        assert howdah(here, "stop", "shop", "--yes").code == 0
    os.chown(path, 0, 0)
    if part == "data":
        assert howdah(here, "start", "shop").code == 0
    else:
        serves(here)
    mends(here)
    assert (path.stat().st_uid == seen.st_uid) if path.exists() else (part == "key")


@pytest.mark.skipif(not ROOT, reason="only root may become somebody else")
def test_another_user_is_told_whose_it_is(here: Place) -> None:
    account = accounts.account("nobody")
    assert account is not None
    code = f"import sys, os; os.setgroups([]); os.setgid({account.gid}); os.setuid({account.uid}); "
    code += "from howdah.cli.door import main; sys.exit(main(sys.argv[1:]))"
    loaded = "import howdah.compose, howdah.cli.tree, howdah.cli.look, typer; " + code
    for words in (["list"], ["params", "set", "shop", "work_mem=7MB"], ["repair", "--all"]):
        environment = {**os.environ, "HOWDAH_HOME": str(here.home), "HOWDAH_LANG": "en"}
        done = subprocess.run([sys.executable, "-c", loaded, *words], env=environment, capture_output=True, text=True, timeout=60)
        said = Said(done.returncode, done.stdout, done.stderr)
        assert (said.code, "store" in said.line) == (UNAVAILABLE, True), said
    serves(here)
    assert here.repair() == ()


@contextmanager
def read_only(here: Place) -> Iterator[None]:
    """Let everybody see the home as a read-only file system; what runs already has its files open, and its own way to them."""

    def mount(*words: str) -> None:
        done = subprocess.run(["mount", *words], capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"cannot be mounted here: {done.stderr.strip()}")

    mount("--bind", str(here.home), str(here.home))
    try:
        mount("-o", "remount,bind,ro", str(here.home))
        yield
    finally:
        subprocess.run(["umount", "-l", here.home], check=True)


READING = (
    ("list",),
    ("show", "shop"),
    ("params", "list", "shop"),
    ("databases", "list", "shop"),
    ("users", "list", "shop"),
    ("extensions", "list", "shop"),
    ("endpoints", "list", "shop"),
    ("operations", "shop"),
    ("connect", "shop"),
    ("logs", "shop"),
    ("ca", "show"),
    ("doctor",),
)
CHANGING = (
    ("params", "set", "shop", "work_mem=13MB"),
    ("repair", "shop"),
    ("create", "new"),
    ("delete", "shop", "--yes"),
    ("verify", "shop"),
)


@pytest.mark.parametrize("written", ["now", "nothing since", "by one who was killed"])
def test_a_home_on_a_read_only_file_system_is_read_and_not_changed(here: Place, written: str) -> None:
    """Whether or not a writer's log lies beside the store, which decides how it can be read there."""
    store = here.home / "store.sqlite3"
    expected = {words: howdah(here, *words).out for words in READING if words not in (("logs", "shop"), ("doctor",), ("show", "shop"))}
    if written != "now":
        here.service.store.close()
    if written == "by one who was killed":
        code = "import os, sqlite3, sys; s = sqlite3.connect(sys.argv[1], isolation_level=None); "
        code += "s.execute('UPDATE instance SET converged = converged'); os.kill(os.getpid(), 9)"
        subprocess.run([sys.executable, "-c", code, store], check=False)
    assert Path(f"{store}-wal").exists() == (written != "nothing since")
    try:
        with read_only(here):
            if written != "now":
                here.service.store._file = compose.reading(here.home).store._file  # type: ignore[attr-defined]
            for words in READING if written == "nothing since" else READING[:3]:
                said = howdah(here, *words)
                if words == ("doctor",):
                    assert (said.code, "mounted read-only" in said.out) == (UNAVAILABLE, True), said
                    continue
                assert (said.code, "error" in said.err) == (0, False), said
                assert said.out == expected.get(words, said.out)
            for change in CHANGING:
                said = howdah(here, *change)
                assert said.code == UNAVAILABLE, said
                assert "ead-only file system" in said.line, said
                assert "mount its file system for writing" in said.line, said
            serves(here)
    finally:
        here.service.store.close()
        here.service.store._file = compose.service(here.home).store._file  # type: ignore[attr-defined]
    mends(here)


# --- what the machine lacks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [10, 14, 18, 24, 32])
def test_without_file_descriptors_it_says_so(here: Place, limit: int) -> None:
    for words in (("list",), ("params", "set", "shop", f"work_mem={limit}MB"), ("repair", "shop")):
        said = howdah(here, *words, before=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)))
        if said.code != 0:
            assert said.line, said
        serves(here)
    mends(here)


def test_without_memory_it_says_so(here: Place) -> None:
    codes = []
    for megabytes in (24, 32, 40, 48, 56):
        for words in (("list",), ("repair", "shop")):
            limit = megabytes << 20
            said = howdah(here, *words, before=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))  # type: ignore[misc]
            codes.append(said.code)
            if said.code > 0 and said.err and "error: " in said.err:
                assert said.line
            serves(here)
    assert any(codes)
    mends(here)


class Clock:
    """Our own process's clock, and nobody else's: the kernel's and the servers' go right. Only one that is ahead can be told so:
    what the kernel writes down under one that was ahead is for the tests of the decisions.
    """

    def __init__(self, patch: pytest.MonkeyPatch, days: float) -> None:
        import time

        real, real_ns, ahead = time.time, time.time_ns, days * 86_400
        patch.setattr(time, "time", lambda: real() + ahead)
        patch.setattr(time, "time_ns", lambda: real_ns() + int(ahead * 10**9))


@pytest.mark.parametrize("days", [1.0, 300.0])
def test_a_clock_that_was_wrong_for_a_while_leaves_no_trace(here: Place, days: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Clock(patch, days)
        here.repair()
        here.repair()
        assert here.repair() == ()
    here.repair()
    prove(here)
    for hop in HOPS:
        left_days = here.service.show("shop").quick.days_left[hop]
        assert left_days is not None
        assert 100 < left_days < 400


# --- more than one --------------------------------------------------------------------------------------------------------------------


def test_two_homes_live_beside_each_other(here: Place) -> None:
    with place() as other:
        other.create("shop")
        said = howdah(other, "create", "third", "--port", str(here.want().port))
        assert (said.code, "has it" in said.line) == (CONFLICT, True)
        assert howdah(other, "extensions", "set", "shop", "pooler", f"listen_port={ports(here)['pooled']}").code == CONFLICT
        assert howdah(other, "params", "set", "shop", "work_mem=21MB").code == 0
        assert here.ask("SHOW work_mem") != "21MB"
        kill(known(other.postmaster()))
        serves(here)
        mends(other)
        other.delete()
        serves(here)
    prove(here)


def test_two_commands_at_once_both_come_true(here: Place) -> None:
    kept = {**os.environ, "HOWDAH_HOME": str(here.home), "HOWDAH_LANG": "en"}
    asked = [("params", "set", "shop", "work_mem=17MB"), ("params", "set", "shop", "temp_buffers=9MB"), ("repair", "--all")]
    running = [
        subprocess.Popen([sys.executable, "-P", "-m", "howdah", *words], env=kept, stdout=-3, stderr=subprocess.PIPE) for words in asked
    ]
    told = [each.communicate(timeout=120)[1] for each in running]
    assert [each.returncode for each in running] == [0, 0, 0], told
    assert (here.ask("SHOW work_mem"), here.ask("SHOW temp_buffers")) == ("17MB", "9MB")
    with here.service.lease(here.want().id, "somebody else", 1.0, lambda who: None):
        said = howdah(here, "params", "set", "shop", "work_mem=18MB", "--wait", "0")
        assert (said.code, "somebody else" in said.line) == (CONFLICT, True)
    here.set({}, ["work_mem", "temp_buffers"])
    prove(here)


# --- who may no longer come -----------------------------------------------------------------------------------------------------------

REVOKED = {
    "the password was changed": f"ALTER ROLE {USER} PASSWORD 'another one'",
    "the role expired": f"ALTER ROLE {USER} VALID UNTIL '2001-01-01'",
    "the role may not log in": f"ALTER ROLE {USER} NOLOGIN",
}


@pytest.mark.parametrize("mode", ["transaction", "session"])
@pytest.mark.parametrize("statement", REVOKED.values(), ids=REVOKED)
def test_who_was_let_in_by_his_verifier_is_refused_once_it_is_void(here: Place, statement: str, mode: str) -> None:
    """The pooler has only what each login proved to it: when that is void, it gets no further connection with it."""
    # In transaction mode PgBouncer 1.18 holds a client whose role expired for so long before it gives up
    here.pool({"pool_mode": mode, "query_wait_timeout": "5"})
    before = here.control(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")[0][0]
    with here.login("pooled") as pooled, here.login("direct") as direct:
        assert scalar(pooled, "SELECT 1") == scalar(direct, "SELECT 1") == 1
        here.control(statement)
        here.control(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}'")
        for session in (pooled, direct):
            with pytest.raises(psycopg.Error):
                session.execute("SELECT 2")
                session.execute("SELECT 2")  # a pooled one may first be told that its server connection ended
    for hop in HOPS:
        assert here.refused(hop)
    here.control(f"ALTER ROLE {USER} LOGIN PASSWORD '{before}' VALID UNTIL 'infinity'")
    here.repair()
    # PgBouncer remembers for server_login_retry that its logins failed
    assert wait_until(lambda: may_ask(here), 30)
    prove(here)


def may_ask(here: Place) -> bool:
    with suppress(psycopg.Error):
        return bool(here.ask("SELECT true"))
    return False
