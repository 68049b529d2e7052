"""Spares: made whole or not at all, taken once, thrown away when they are of another shape."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.real.servers import new_home, new_seat, running, wish, write

from howdah.core.layout import Layout
from howdah.host import files, postgres, sight, spares
from howdah.host.postgres import Seat

MAJOR = list(postgres.majors())[-1]


def make(seat: Seat) -> bool:
    return spares.make_spare(seat.layout.home, MAJOR, seat.bindir, seat.account, seat.pooler_gid, lambda root: None)


def at(seat: Seat, name: str) -> Seat:
    there = replace(seat, layout=Layout(seat.layout.home, name))
    files.make_parents(there.layout.root.parent)
    return there


@pytest.fixture(scope="module")
def home() -> Path:
    return new_home()


def test_a_spare_becomes_a_server_with_everything_in_it(home: Path) -> None:
    seat = at(new_seat(home), "whole")
    assert spares.wanting(home, MAJOR)
    assert make(seat)
    assert not spares.wanting(home, MAJOR)
    assert not make(seat), "one is enough"
    assert spares.claim(home, MAJOR, seat)
    assert spares.wanting(home, MAJOR)
    assert sorted(path.name for path in seat.layout.pg.iterdir()) == ["data", "log", "sock", "tls"]
    write(seat)
    with running(seat):
        seen, inside = sight.look(seat, wish(seat)), sight.inside(seat)
    assert {name for name in seen.roles if name.startswith("howdah_")} == {"howdah_lookup", "howdah_probe"}
    assert (seen.roles["howdah_lookup"].login, seen.roles["howdah_probe"].login) == (True, False)
    assert set(seen.databases) == set(inside) == {"postgres", "template1"}, "the prepared database is nobody's business"
    assert all(each.lookup_right and each.lookup_connect for each in inside.values())
    assert "database system was shut down" in _logged(seat), "a spare needs no recovery"


def _logged(seat: Seat) -> str:
    return "".join(path.read_text() for path in seat.layout.log.iterdir())


def test_two_takers_never_get_the_same(home: Path) -> None:
    seats = [at(new_seat(home), f"taker{number}") for number in range(4)]
    make(seats[0])
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda seat: spares.claim(home, MAJOR, seat), seats))
    assert sorted(got) == [False, False, False, True]
    assert [postgres.data_ready(seat.layout.data) for seat in seats] == got


def test_what_a_killed_initdb_left_is_in_nobodys_way(home: Path) -> None:
    seat = at(new_seat(home), "killed")
    make(seat)
    (seat.layout.root / "pg.new" / "data").mkdir(parents=True)
    assert spares.claim(home, MAJOR, seat)
    assert not (seat.layout.root / "pg.new").exists()


def test_each_spare_is_a_cluster_of_its_own(home: Path) -> None:
    found = set()
    for name in ("one", "two"):
        seat = at(new_seat(home), name)
        make(seat)
        spares.claim(home, MAJOR, seat)
        found.add((seat.layout.data / "global" / "pg_control").read_bytes()[:8])  # the system identifier comes first
    assert len(found) == 2


def test_one_of_another_shape_or_half_gone_is_thrown_away(home: Path) -> None:
    seat = at(new_seat(home), "shape")
    where = spares.place(home, MAJOR)
    files.make_parents(where)
    for name, stamp in (("00000000", "old"), ("11111111", spares.stamp())):
        (where / name).mkdir()
        (where / name / "stamp").write_text(stamp)
    assert not spares.claim(home, MAJOR, seat)
    assert {path.name[:5] for path in where.iterdir() if path.name != ".lock"} == {".old-"}, "put aside: a taker removes nothing"
    assert make(seat)
    assert not list(where.glob(".old-*")), "the next maker does"


def test_other_options_of_initdb_are_another_shape(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(new_seat(home))
    assert not spares.wanting(home, MAJOR)
    with monkeypatch.context() as patched:
        patched.setattr(postgres, "INITDB", (*postgres.INITDB, "--wal-segsize=1"))
        assert spares.wanting(home, MAJOR)


def test_as_many_are_kept_as_are_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(new_seat(home))
    monkeypatch.setenv("HOWDAH_SPARES", "2")
    assert spares.wanting(home, MAJOR)
    assert (make(new_seat(home)), make(new_seat(home))) == (True, False)
    controls = [(path / "pg" / "data" / "global" / "pg_control").read_bytes()[:8] for path in spares.place(home, MAJOR).glob("[!.]*")]
    assert len(set(controls)) == len(controls) == 2, "each with its own system identifier"
    monkeypatch.setenv("HOWDAH_SPARES", "0")
    assert not spares.wanting(home, MAJOR)


def test_what_a_killed_maker_left_goes_after_an_hour(home: Path) -> None:
    seat = at(new_seat(home), "left")
    where = spares.place(home, MAJOR)
    files.make_parents(where)
    for name, age in ((".new-old", 2 * 3600), (".new-young", 60)):
        (where / name / "data").mkdir(parents=True)
        os.utime(where / name, (time.time() - age,) * 2)
    make(seat)
    names = {path.name for path in where.iterdir()}
    assert ".new-old" not in names
    assert ".new-young" in names


def test_one_maker_at_a_time(home: Path) -> None:
    files.make_parents(spares.place(home, MAJOR))
    with spares._alone(spares.place(home, MAJOR)) as first, spares._alone(spares.place(home, MAJOR)) as second:
        assert (first, second) == (True, False)


def test_no_spare_is_made_where_the_disk_is_nearly_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spares, "_LEAST_FREE", 1.1)
    assert not spares.wanting(home / "never" / "made", MAJOR)
