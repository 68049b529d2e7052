"""What `show` and `doctor` tell for somebody's care: servers older than their programs, with the cure that works, and room on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.real.instances import Place, asks, place, scalar, steps
from tests.real.servers import new_home, poolers

from howdah import compose
from howdah.cli import door
from howdah.core.aging import Older
from howdah.core.doctor import judge
from howdah.host import installed, postgres
from howdah.host.inspect import inspect
from howdah.host.room import room


@pytest.fixture(scope="module")
def programs() -> Iterator[Path]:
    """Programs of our own, that an update may replace: copies, in a tree as PostgreSQL expects it around its programs."""
    root = new_home()
    bindir = max(postgres.majors().items())[1]
    shutil.copytree(bindir, root / "bin")
    (root / "lib").symlink_to(bindir.parent / "lib")
    (root / "share").symlink_to(f"/usr/share/postgresql/{bindir.parent.name}")
    pooler = installed.find_binary()
    assert pooler is not None
    shutil.copy2(pooler, root / "bin" / "pgbouncer")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWDAH_POSTGRES_BINDIRS", str(root / "bin"))
        patch.setenv("HOWDAH_PGBOUNCER", str(root / "bin" / "pgbouncer"))
        yield root / "bin"


@pytest.fixture(scope="module")
def here(programs: Path) -> Iterator[Place]:
    with place() as made:
        made.create()
        yield made


def update(program: Path) -> None:
    """Replace a program as a package manager does: a new file in its place, the old one goes on without a name."""
    new = program.with_name(f"{program.name}.new")
    shutil.copy2(program, new)
    new.rename(program)


def older(here: Place) -> dict[str, Older]:
    return {each.name: each for each in compose.older(here.home, here.want())}


def shown(here: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, object]]:
    monkeypatch.setenv("HOWDAH_HOME", str(here.home))
    monkeypatch.setenv("HOWDAH_LANG", "en")
    capsys.readouterr()
    assert door.main(["show", "shop"]) == 0
    text = capsys.readouterr().out
    assert door.main(["show", "shop", "--json"]) == 0
    return text, json.loads(capsys.readouterr().out)


def test_a_server_older_than_its_program_is_told_and_a_restart_cures_it(
    here: Place, programs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert older(here) == {}
    assert "brings it in" not in shown(here, capsys, monkeypatch)[0]
    update(programs / "postgres")
    version = postgres.server_version(programs)
    assert older(here) == {"postgresql": Older("postgresql", version, version, ("postgres",))}
    text, told = shown(here, capsys, monkeypatch)
    assert "  an update has replaced what PostgreSQL still uses: postgres: howdah restart shop brings it in\n" in text
    assert told["older"] == [
        {"name": "postgresql", "running": version, "installed": version, "files": ["postgres"], "fix": "howdah restart shop"}
    ]
    finding = next(each for each in judge(inspect(here.home, here.host, [here.want()])) if each.id == "shop-postgresql-older")
    assert (finding.result, str(finding.fix)) == ("warn", "howdah restart shop")
    assert here.repair() == (), "a pass restarts nothing of its own accord"
    here.service.restart("shop", asks())
    assert older(here) == {}


def test_a_pooler_older_than_its_program_is_replaced_without_dropping_a_client(here: Place, programs: Path) -> None:
    with here.login("pooled") as client:
        assert scalar(client, "SELECT 1") == 1
        update(programs / "pgbouncer")
        found = older(here)
        assert found["pgbouncer"].files == ("pgbouncer",)
        assert found["pgbouncer"].cure("shop") == "howdah repair shop"
        assert here.repair() == ("StartPooler",)
        assert older(here) == {}
        assert scalar(client, "SELECT 2") == 2, "its session goes on through the old one"
    with here.login("pooled") as client:
        assert scalar(client, "SELECT 3") == 3
    assert here.repair() in ((), ("RetirePooler",))


def test_another_version_is_told_by_its_number(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    other = next((each.path for each in poolers() if each.version != here.newest().version), None)
    if other is None:
        pytest.skip("there is no second PgBouncer here")
    before = ".".join(map(str, here.newest().version))
    monkeypatch.setenv("HOWDAH_PGBOUNCER", str(other))
    after = ".".join(map(str, installed.version(other)))
    assert older(here)["pgbouncer"] == Older("pgbouncer", before, after)
    assert str(older(here)["pgbouncer"].words) == f"PgBouncer {before} runs, {after} is installed"


def test_room_is_what_du_counts(here: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found, data = room(here.layout(), seconds=60.0), here.layout().data
    assert found.whole
    for amount, path in ((found.data + found.wal, data), (found.wal, data / "pg_wal"), (found.logs, here.layout().log)):
        said = subprocess.run(["du", "-sB1", path], capture_output=True, text=True, check=True)
        assert abs(amount - int(said.stdout.split()[0])) < 2_000_000, path
    disk = os.statvfs(data)
    assert found.total == disk.f_blocks * disk.f_frsize and abs(found.free - disk.f_bavail * disk.f_frsize) < 500_000_000
    text, told = shown(here, capsys, monkeypatch)
    assert "\nroom\n  data  " in text and "iB, at most 500 MB\n" in text
    assert told["room"]["logs_most"] == 500_000_000  # type: ignore[index]
    here.service.stop("shop", asks())
    assert abs(room(here.layout(), seconds=60.0).data - found.data) < 5_000_000, "nobody need be logged in to"
    assert steps(here.service.start("shop", asks()).operation or pytest.fail())[:2] == ("StartServer", "StartPooler")


def test_many_files_are_not_counted_to_the_end(here: Place) -> None:
    found = room(here.layout(), seconds=0.001)
    assert not found.whole
    assert found.data < room(here.layout(), seconds=60.0).data
    assert found.wal and found.logs, "the small ones are whole in any case"


def test_it_stays_a_look(here: Place) -> None:
    gone = replace(here.want(), id="abcd1234")
    assert compose.older(here.home, gone) == ()
    found = compose.room(here.home, gone)
    assert (found.data, found.wal, found.logs, found.whole) == (0, 0, 0, True) and found.total
