"""The store in a real file: what was wished stays wished, through other processes, kill -9, damage and newer versions."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from howdah.core.instance import Database, Hold, Instance, Reach, User
from howdah.core.operation import Line
from howdah.core.remember import Store, refusal_record
from howdah.errors import Conflict, Failed, NotFound, Unavailable, Unsupported
from howdah.phrase import from_record, say
from howdah.secret import Secret
from howdah.store.file import copy_path
from howdah.store.schema import MIGRATIONS, RECORD
from howdah.store.sqlite import KEPT_WISHES, SqliteStore, open_store, store_path


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with open_store(tmp_path / "home") as opened:
        yield opened


def made(store: Store, name: str = "shop", port: int = 5432, **changes: object) -> Instance:
    want = replace(Instance(store.new_id(), name, 15, port), **changes)  # type: ignore[arg-type]
    store.accept(want, "create", "me", {"name": name})
    return want


def wished(store: Store, want: Instance, **changes: object) -> Instance:
    after = want.next(**changes)
    store.accept(after, "set", "me", {})
    return after


def run(code: str, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=check)


def test_a_wish_comes_back_as_it_was(store: SqliteStore) -> None:
    user = User("app", Secret("SCRAM-SHA-256$x"), ("d",), shown=False)
    want = made(store, users=(user,), extensions={"pooler": {"listen_port": "6432"}}, deferred=("max_connections",))
    assert store.find("SHOP") == store.find_id(want.id) == want
    assert store.instances() == store.everything() == (want,)
    assert store.instances("other") == ()
    assert store.ports() == {5432: "shop", 6432: "shop"}


def test_names_and_ports_are_taken_once(store: SqliteStore) -> None:
    first = made(store)
    for clash, code in ((Instance("aaaaaaaa", "Shop", 15, 5433), "name_taken"), (Instance("aaaaaaaa", "b", 15, 5432), "port_taken")):
        with pytest.raises(Conflict) as refused:
            store.accept(clash, "create", "me", {})
        assert refused.value.code == code
    pooled = Instance("aaaaaaaa", "b", 15, 5433, extensions={"pooler": {"listen_port": "5432"}})
    with pytest.raises(Conflict, match="port 5432: instance shop has it"):
        store.accept(pooled, "create", "me", {})
    made(store, "Shop", 5433, project="other")
    assert store.instances() == (first,)
    assert len(store.everything()) == 2


def test_what_is_not_there_names_what_is_near(store: SqliteStore) -> None:
    with pytest.raises(NotFound) as empty:
        store.find("shop")
    assert "howdah create" in str(empty.value.hint)
    made(store, "Shop-1")
    with pytest.raises(NotFound) as near:
        store.find("shp-1")
    assert near.value.code == "no_such_instance"
    assert "Shop-1" in str(near.value.hint)


def test_a_wish_upon_an_old_one_is_refused(store: SqliteStore) -> None:
    first = made(store)
    wished(store, first, parameters={"work_mem": "8MB"})
    for stale in (first.next(), first, replace(first, generation=7)):
        with pytest.raises(Conflict) as refused:
            store.accept(stale, "set", "me", {})
        assert refused.value.code == "changed_meanwhile"
    with pytest.raises(Conflict):
        store.update(first)
    with pytest.raises(Conflict):
        store.withdraw(first)
    assert len(store.operations(first.id)) == 2


def test_a_refused_wish_gives_way_to_the_one_before(store: SqliteStore) -> None:
    first = made(store, parameters={"work_mem": "4MB"})
    second = wished(store, first, parameters={"work_mem": "1kB"})
    back = store.withdraw(second)
    assert back == replace(first, generation=3) == store.find("shop")


def test_wishes_built_on_a_refused_one_do_not_alternate(store: SqliteStore) -> None:
    good = made(store)
    bad = wished(store, good, parameters={"shared_buffers": "4TB"})  # its command was killed before it was tried
    worse = wished(store, bad, parameters={"shared_buffers": "4TB", "work_mem": "8MB"})
    again = store.withdraw(worse)
    assert again is not None
    assert again.parameters == bad.parameters
    last = store.withdraw(again)
    assert last == replace(good, generation=5)


def test_a_refused_create_leaves_nothing_but_its_story(store: SqliteStore) -> None:
    want = made(store)
    assert store.withdraw(want) is None
    with pytest.raises(NotFound):
        store.find_id(want.id)
    assert [operation.verb for operation in store.operations_named("SHOP")] == ["create"]
    made(store)


def test_a_correction_in_place_is_no_new_wish(store: SqliteStore) -> None:
    want = made(store, restart_of="1 2")
    store.update(replace(want, restart_of=""))
    assert store.find("shop") == replace(want, restart_of="")


def test_what_was_done_for_years_fills_no_disk(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("howdah.store.sqlite.KEPT_OPERATIONS", 5)
    want, other = made(store), made(store, "other", 5433)
    for _ in range(20):
        store.finish(store.begin(store.note(want, "repair", "me", {})), "done")
    assert len(store.operations(want.id, 100)) == 6, "and the first, which is not over yet"
    assert len(store.operations(other.id, 100)) == 1


def test_only_the_last_wishes_are_kept(store: SqliteStore, tmp_path: Path) -> None:
    want = made(store)
    for number in range(KEPT_WISHES + 5):
        want = wished(store, want, parameters={"work_mem": f"{number + 64}kB"})
    with sqlite3.connect(store_path(tmp_path / "home")) as reader:
        assert reader.execute("SELECT count(*), max(generation) FROM wish").fetchone() == (KEPT_WISHES, want.generation)
    reader.close()


def test_trash_frees_name_and_ports_and_gives_them_back(store: SqliteStore) -> None:
    want = made(store)
    store.trash(want, 1000.0)
    store.trash(want, 2000.0)
    assert store.instances() == () and store.ports() == {}
    assert [(trashed.instance, trashed.at) for trashed in store.trashed()] == [(want, 1000.0)]
    assert store.find_id(want.id) == want
    other = made(store)
    with pytest.raises(Conflict, match="the name is taken"):
        store.untrash(want)
    store.forget(other.id)
    store.untrash(want)
    assert store.find("shop") == want and store.trashed() == ()


def test_an_operation_tells_its_story(store: SqliteStore) -> None:
    want = made(store)
    operation = store.last(want.id)
    assert operation is not None and operation.outcome == "waiting" and operation.asked == {"name": "shop"}
    operation = store.tell(store.begin(operation), Line("StartServer", say("start PostgreSQL"), say("it is wanted running"), 30.5))
    assert store.last(want.id) == operation and operation.outcome == "running"
    refusal = Failed("no_start", say("cannot start {name}", name="shop"), say("look at the log"))
    finished = store.finish(operation, "failed", refusal_record(refusal))
    assert store.last(want.id) == finished
    said = finished.error.pop("said")  # type: ignore[attr-defined]
    assert finished.error == {"code": "no_start", "message": "cannot start shop", "hint": "look at the log"}
    assert from_record(said["message"]) == refusal.message
    finished.error["said"] = said  # type: ignore[index]
    assert finished.finished >= finished.started > 0
    store.forget(want.id)
    assert store.operations(want.id) == (finished,)
    assert store.new_id() != want.id


def test_what_a_killed_command_left_open_is_adopted(store: SqliteStore) -> None:
    want = made(store)
    left = store.last(want.id)
    assert left is not None
    store.begin(left)
    repair = store.begin(store.note(want, "repair", "me", {}))
    store.converged(want)
    store.adopt(want, repair)
    closed = store.operations(want.id)[1]
    assert closed.outcome == "done" and closed.error["code"] == "adopted" and f"operation {repair.id}" in closed.error["message"]
    assert store.last(want.id) == repair
    assert store.converged_generation(want.id) == 1
    store.adopt(want)
    assert [operation.outcome for operation in store.operations(want.id)] == ["done", "done"]


def test_secrets_lie_in_the_wish_and_nowhere_else(store: SqliteStore, tmp_path: Path) -> None:
    want = made(store, users=(User("app", Secret("SCRAM-canary")),))
    assert "canary" not in repr(store.find("shop"))
    operations = sqlite3.connect(store_path(tmp_path / "home"))
    everything = json.dumps(operations.execute("SELECT * FROM operation").fetchall())
    operations.close()
    assert "canary" not in everything
    assert store.find_id(want.id).users[0].verifier.reveal() == "SCRAM-canary"


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_file_is_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with open_store(tmp_path) as store:
            made(store)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("store.*")}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("store.sqlite3", "store.sqlite3-wal", "store.sqlite3-shm"), 0o600)


def test_a_look_leaves_no_trace(tmp_path: Path) -> None:
    with open_store(tmp_path / "home", make=False) as store:
        assert store.instances() == ()
    assert list(tmp_path.iterdir()) == []


_WRITER = """
import sys
from pathlib import Path
from howdah.core.instance import Instance
from howdah.store.sqlite import open_store
home, name, port = sys.argv[1:4]
with open_store(Path(home)) as store:
    want = Instance(store.new_id(), name, 15, int(port))
    store.accept(want, "create", "me", {})
    for number in range(int(sys.argv[4])):
        want = want.next(parameters={"work_mem": f"{number + 64}kB"})
        store.accept(want, "set", "me", {})
        print(want.generation, flush=True)
"""


def test_processes_that_make_and_write_it_together_do_not_lose_a_wish(tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    commands = [[sys.executable, "-c", _WRITER, home, f"n{number}", str(6000 + number), "20"] for number in range(4)]
    writers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    with open_store(tmp_path / "home") as store:
        assert [(want.name, want.generation) for want in store.instances()] == [(f"n{number}", 21) for number in range(4)]


def test_a_look_works_while_another_process_writes(store: SqliteStore, tmp_path: Path) -> None:
    want = made(store)
    writer = sqlite3.connect(store_path(tmp_path / "home"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE wish SET record = '{}'")
    assert store.find("shop") == want
    impatient = SqliteStore(str(store_path(tmp_path / "home")), busy_seconds=0.05)
    with pytest.raises(Unavailable) as busy:
        impatient.converged(want)
    assert busy.value.code == "store_busy"
    impatient.close()
    writer.execute("ROLLBACK")
    writer.close()


def test_kill_9_in_the_middle_of_writing_loses_nothing_answered(tmp_path: Path) -> None:
    for round_ in range(3):
        home = tmp_path / str(round_)
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(home), "shop", "6000", "100000"], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        for _ in range(30 + 7 * round_):
            answered = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        writer.wait(10)
        writer.stdout.close()
        with open_store(home) as store:
            want = store.find("shop")
            assert want.generation >= answered
            operation = store.last(want.id)
            assert operation is not None and operation.generation == want.generation


# What the next Howdah may bring: a column, and a row rewritten.
_NEXT = "ALTER TABLE instance ADD COLUMN host TEXT NOT NULL DEFAULT 'here';\nUPDATE wish SET record = json_set(record, '$.size', 'large')"


def older(home: Path) -> Instance:
    """Make a store by the DDL of this Howdah, which a later one will call the older, with a wish and its story in it."""
    with open_store(home) as store:
        return made(store, parameters={"work_mem": "8MB"})


def newer(home: Path, migration: str = _NEXT) -> SqliteStore:
    return SqliteStore(str(store_path(home)), migrations=(*MIGRATIONS, migration))


def copied(home: Path) -> Path:
    return copy_path(str(store_path(home)), len(MIGRATIONS))


def schema(path: Path) -> int:
    with closing(sqlite3.connect(path)) as reader:
        return int(reader.execute("PRAGMA user_version").fetchone()[0])


def test_a_newer_howdah_copies_the_store_aside_and_migrates_it(tmp_path: Path) -> None:
    want = older(tmp_path)
    with newer(tmp_path) as store:
        assert store.find("shop") == replace(want, size="large")
        assert [each.verb for each in store.operations(want.id)] == ["create"]
    assert schema(store_path(tmp_path)) == len(MIGRATIONS) + 1
    assert schema(copied(tmp_path)) == len(MIGRATIONS)
    assert stat.S_IMODE(copied(tmp_path).stat().st_mode) == 0o600
    # the way back: the copy in the store's place
    for path in tmp_path.glob("store.sqlite3*"):
        if path != copied(tmp_path):
            path.unlink()
    copied(tmp_path).rename(store_path(tmp_path))
    with open_store(tmp_path) as store:
        assert store.find("shop") == want


def test_an_older_howdah_refuses_a_newer_store_and_leaves_it_alone(tmp_path: Path) -> None:
    older(tmp_path)
    newer(tmp_path).close()
    before = store_path(tmp_path).read_bytes()
    for words in (["list"], ["show", "shop"], ["create", "other"], ["params", "set", "shop", "work_mem=4MB"]):
        command = [sys.executable, "-m", "howdah", *words]
        said = subprocess.run(
            command, env={**os.environ, "HOWDAH_HOME": str(tmp_path), "HOWDAH_LANG": "en"}, capture_output=True, text=True, check=False
        )
        assert said.returncode == 5 and f"made by a newer Howdah (schema {len(MIGRATIONS) + 1})" in said.stderr, words
    assert store_path(tmp_path).read_bytes() == before


def test_a_howdah_at_work_stops_writing_when_another_migrates_the_store(tmp_path: Path) -> None:
    want = older(tmp_path)
    with open_store(tmp_path) as at_work:
        newer(tmp_path).close()
        with pytest.raises(Unsupported) as refused:
            at_work.converged(want)
    assert refused.value.code == "store_newer"


def test_two_that_migrate_at_once_do_it_once(tmp_path: Path) -> None:
    older(tmp_path)
    code = """
        import sys
        from howdah.store.schema import MIGRATIONS
        from howdah.store.sqlite import SqliteStore
        SqliteStore(sys.argv[1], migrations=(*MIGRATIONS, sys.argv[2])).close()
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(store_path(tmp_path)), _NEXT]
    both = [subprocess.Popen(command) for _ in range(4)]
    assert [each.wait(60) for each in both] == [0, 0, 0, 0]
    assert (schema(store_path(tmp_path)), schema(copied(tmp_path))) == (len(MIGRATIONS) + 1, len(MIGRATIONS))


def test_a_migration_that_fails_changes_nothing(tmp_path: Path) -> None:
    want = older(tmp_path)
    half = "ALTER TABLE instance ADD COLUMN host TEXT;\nALTER TABLE nonsense ADD COLUMN host TEXT"
    with pytest.raises(Unavailable, match=f"from schema {len(MIGRATIONS)} to {len(MIGRATIONS) + 1}: no such table: nonsense") as failed:
        newer(tmp_path, half)
    assert failed.value.code == "store_not_migrated"
    with open_store(tmp_path) as store:
        assert store.find("shop") == want
        wished(store, want, parameters={})


def test_a_store_that_cannot_be_copied_is_not_migrated(tmp_path: Path) -> None:
    want = older(tmp_path)
    copied(tmp_path).mkdir()
    with pytest.raises(Unavailable) as failed:
        newer(tmp_path)
    assert failed.value.code == "store_not_migrated"
    with open_store(tmp_path) as store:
        assert store.find("shop") == want


def test_a_record_of_another_shape_is_another_schema() -> None:
    """Whoever adds a key to a record adds a migration, so that an older Howdah says "newer" and not "broken"; then this list."""
    shape = {each.__name__: " ".join(part.name for part in fields(each)) for each in (Instance, Reach, User, Database, Hold)}
    assert (len(MIGRATIONS), shape) == (3, RECORD)


def test_damage_is_named_with_the_path(tmp_path: Path) -> None:
    path = store_path(tmp_path)
    path.write_bytes(b"this is not a database, though it is long enough to have a header\n" * 99)
    with pytest.raises(Unavailable) as broken:
        open_store(tmp_path)
    assert broken.value.code == "store_broken" and str(path) in str(broken.value) and broken.value.hint is not None
    path.unlink()
    with open_store(tmp_path) as store:
        made(store)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))
    with pytest.raises(Unavailable), open_store(tmp_path) as store:
        store.find("shop")


def test_a_record_with_an_unknown_key_is_not_guessed_at(store: SqliteStore, tmp_path: Path) -> None:
    want = made(store)
    writer = sqlite3.connect(store_path(tmp_path / "home"), isolation_level=None)
    writer.execute("UPDATE wish SET record = json_set(record, '$.colour', 'red')")
    writer.close()
    with pytest.raises(Unavailable) as broken:
        store.find(want.name)
    assert broken.value.code == "store_broken"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable) as refused:
        open_store(tmp_path / "file")
    assert refused.value.code == "store_unavailable" and str(tmp_path / "file") in str(refused.value)


def test_it_imports_nothing_heavy() -> None:
    heavy = run(
        "import sys, howdah.store.sqlite, howdah.store.lease\n"
        "print(sorted({'psycopg', 'cryptography', 'sqlalchemy', 'ssl', 'subprocess', 'typer', 'difflib'} & set(sys.modules)))"
    )
    assert heavy.stdout.strip() == "[]"
