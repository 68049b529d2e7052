"""Something else in the place of a file that Howdah writes: a directory, a fifo, a link to nowhere or to a file elsewhere.

Each time the file is put right, or one line names it and what to do; the old state serves on, what lies outside is neither followed nor
written over, a directory is never emptied, and nobody waits for a fifo.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.real.instances import DATABASE, Place, asks, place, prove, stock
from tests.real.said import Said

from howdah.cli import door
from howdah.core.instance import HOPS
from howdah.core.layout import Layout
from howdah.host import files, trash

SECONDS = 20.0
LOOKS = (("show", "shop"), ("logs", "shop"))


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        made.create("shop")
        made.service.add_user("shop", "other", [DATABASE], None, asks())  # so that there is a passfile
        stock(made.home)
        yield made


Run = Callable[..., Said]


@pytest.fixture
def run(here: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run command lines in this process; one that waits for ever is interrupted."""
    for name, value in {"HOWDAH_HOME": str(here.home), "HOWDAH_LANG": "en"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "nice", lambda _: 0)  # this process goes on with other tests

    def late(*_: object) -> None:
        raise AssertionError("it waits for ever")

    def command(*words: str) -> Said:
        before = signal.signal(signal.SIGALRM, late)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        capsys.readouterr()
        try:
            code = door.main(words)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        return Said(code, *capsys.readouterr())

    return command


# --- what is laid there ---------------------------------------------------------------------------------------------------------------


def directory(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "kept").write_text("kept\n")


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


@contextmanager
def instead(path: Path, lay: Callable[[Path, Path], None], outside: Path) -> Iterator[None]:
    """Lay something in a file's place; at the end see that nothing outside was touched, and put the file back where it was only named."""
    aside = path.with_name(f"aside.{path.name}")
    there = os.path.lexists(path)
    if there:
        path.rename(aside)
    (outside / "file").write_text("outside\n")
    lay(path, outside)
    laid = path.lstat().st_ino
    try:
        yield
        assert sorted(each.name for each in outside.iterdir()) == ["file"]
        assert (outside / "file").read_text() == "outside\n"
        if lay is directory and "pool" not in path.parts:  # a generation is ours as a whole, and goes with all that is in it
            assert (path / "kept").read_text() == "kept\n", "what we did not make is not ours to remove"
    finally:
        still = os.path.lexists(path) and path.lstat().st_ino == laid
        if still:
            files.remove(path)
        if there and still:
            aside.rename(path)
        elif there:
            aside.unlink(missing_ok=True)


# --- where ----------------------------------------------------------------------------------------------------------------------------


def pair(hop: Any, kind: str) -> Callable[[Place], Path]:
    return lambda here: here.layout().tls(hop) / f"{hop}.{here.seen().wire[hop].serial}.{kind}"


def data(name: str) -> Callable[[Place], Path]:
    return lambda here: here.layout().data / name


def generation(name: str) -> Callable[[Place], Path]:
    return lambda here: here.directory() / name


def in_log(name: str) -> Callable[[Place], Path]:
    return lambda here: here.layout().log / name


def in_home(*parts: str) -> Callable[[Place], Path]:
    return lambda here: here.home.joinpath(*parts)


REPAIR = ("repair", "shop")
SET = ("params", "set", "shop", "work_mem={turn}MB")
POOL = ("extensions", "set", "shop", "pooler", "query_timeout={turn}")
NAMED = ("endpoints", "set", "shop", "--hostname", "h{turn}.example.org", "--yes")

FILES: dict[str, tuple[Callable[[Place], Path], tuple[str, ...]]] = {
    "postgresql.conf": (data("postgresql.conf"), SET),
    "pg_hba.conf": (data("pg_hba.conf"), REPAIR),
    "pg_ident.conf": (data("pg_ident.conf"), REPAIR),
    "postgresql.auto.conf": (data("postgresql.auto.conf"), REPAIR),
    "a new postgresql.conf": (data(".postgresql.conf.new"), SET),
    "PostgreSQL's certificate": (pair("direct", "crt"), REPAIR),
    "PostgreSQL's key": (pair("direct", "key"), REPAIR),
    "the note beside them": (pair("direct", "json"), REPAIR),
    "the pooler's certificate": (pair("pooled", "crt"), REPAIR),
    "the pooler's key": (pair("pooled", "key"), REPAIR),
    "the pooler's users": (lambda here: here.layout().pool / "users.txt", POOL),
    "the pooler's hba": (lambda here: next(here.layout().pool.glob("hba.*")), REPAIR),
    "pgbouncer.ini": (generation("pgbouncer.ini"), POOL),
    "the keeper's plan": (generation("keeper.json"), REPAIR),
    "the keeper's lock": (generation("lock"), REPAIR),
    "the keeper's log": (generation("keeper.log"), REPAIR),
    "the pid file": (generation("pid"), REPAIR),
    "the pooler's log": (generation("log"), REPAIR),
    "the next generation": (lambda here: here.layout().generation(here.newest().number + 1), ("repair", "shop")),
    "the sweeper": (in_log("sweeper.py"), REPAIR),
    "the sweeper's lock": (in_log("sweeper.lock"), REPAIR),
    "the start's log": (in_log("startup.log"), ("restart", "shop", "--yes")),
    "the passfile": (lambda here: here.layout().passfile, ("users", "password", "shop", "other")),
    "the authority's key": (in_home("ca", "ca.key"), NAMED),
    "the authority's certificate": (in_home("ca", "ca.crt"), NAMED),
    "the instance's lock": (lambda here: here.home / "locks" / f"{here.want().id}.lock", SET),
    "the lock of create": (in_home("locks", "create.lock"), ("create", "shop")),
    "the makers' lock": (lambda here: here.home / "spares" / str(here.want().version) / ".lock", ("spare", "{major}")),
}


KINDS = (directory, fifo, link, dangling)


def _cases() -> Iterator[Any]:
    """Every file with every kind; of each file a directory and one other kind on every day."""
    for number, file in enumerate(FILES):
        for lay in KINDS:
            daily = lay in (directory, KINDS[1 + number % 3])
            yield pytest.param(file, lay, id=f"{file}: {lay.__name__}", marks=() if daily else pytest.mark.long)


@pytest.mark.parametrize(("file", "lay"), [*_cases()])
def test_something_else_in_the_place_of_a_file(here: Place, run: Run, tmp_path: Path, file: str, lay: Callable[[Path, Path], None]) -> None:
    where, words = FILES[file]
    path, turn = where(here), 5 + sum(map(ord, file + lay.__name__)) % 900
    with instead(path, lay, tmp_path):
        for look in LOOKS:
            seen = run(*look)
            assert seen.code == 0 or (str(path) in seen.line and seen.cure), seen
        said = run(*(word.format(turn=turn, major=here.want().version) for word in words))
        assert said.code == 0 or (path.name in said.line and said.cure), said
        for hop in HOPS:
            assert here.ask("SELECT 1", hop, sslmode="require", sslrootcert="") == 1
    after = run("repair", "--all")
    assert after.code == 0, after
    prove(here)


@pytest.mark.parametrize("lay", KINDS, ids=lambda lay: lay.__name__)
def test_something_else_in_the_place_of_the_store(here: Place, run: Run, tmp_path: Path, lay: Callable[[Path, Path], None]) -> None:
    path = here.home / "store.sqlite3"
    with instead(path, lay, tmp_path):
        for words in (("list",), ("show", "shop"), ("params", "set", "shop", "work_mem=3MB"), ("create", "new"), ("repair", "--all")):
            said = run(*words)
            assert (said.code, str(path) in said.line) == (6, True) and said.cure
        for hop in HOPS:
            assert here.ask("SELECT 1", hop) == 1
    prove(here)


def test_half_of_a_passfile_goes_with_its_instance(tmp_path: Path) -> None:
    layout = Layout(tmp_path, "abcd1234")
    layout.passfile.parent.mkdir()
    half = files.beside(layout.passfile)
    half.write_text("*:*:*:app:secr")
    trash.throw(layout)
    assert not half.exists()
