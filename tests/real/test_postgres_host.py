"""The life of a real PostgreSQL under `host.postgres`, and what it says of files before and while they are loaded."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.servers import HBA, new_home, new_seat, running, texts, wish, write

from howdah.core.host import Refused
from howdah.errors import Failed
from howdah.host import files, postgres, process, rehearsal, serverlog, sight, sql
from howdah.host.postgres import Seat
from howdah.host.reload import reload
from howdah.phrase import Phrase, say


@pytest.fixture(scope="module")
def made() -> Iterator[Seat]:
    """A seat with an initialised directory and files; a test that breaks something puts it right."""
    seat = new_seat(new_home())
    old = os.umask(0o000)
    try:
        postgres.initialise(seat)
    finally:
        os.umask(old)
    write(seat)
    yield seat
    postgres.stop(seat, 20)


@pytest.fixture
def seat(made: Seat) -> Iterator[Seat]:
    write(made)
    yield made
    postgres.stop(made, 20)


def test_the_programs_are_found() -> None:
    found = postgres.majors()
    assert found
    for major, bindir in found.items():
        assert postgres.server_version(bindir).startswith(f"{major}.")


def test_a_named_directory_of_programs_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    major, bindir = next(iter(postgres.majors().items()))
    (tmp_path / "bin").symlink_to(bindir)
    monkeypatch.setenv("HOWDAH_POSTGRES_BINDIRS", f"/nowhere:{tmp_path / 'bin'}")
    assert postgres.majors()[major] == tmp_path / "bin"


def test_modes_do_not_depend_on_umask(made: Seat) -> None:
    expected = {"pg": 0o711, "pg/data": 0o700, "pg/sock": 0o700, "pg/log": 0o700, "pg/tls": 0o700}
    uid = made.account.uid if made.account else os.geteuid()
    for name, mode in expected.items():
        seen = (made.layout.root / name).stat()
        assert (name, oct(stat.S_IMODE(seen.st_mode)), seen.st_uid) == (name, oct(mode), uid)


def test_the_poolers_group_alone_may_enter_the_socket(made: Seat) -> None:
    gid = os.getegid()
    postgres.fit(made.layout.pg, made.account, gid)
    seen = made.layout.socket_dir.stat()
    postgres.fit(made.layout.pg, made.account, None)
    assert (stat.S_IMODE(seen.st_mode), seen.st_gid) == (0o710, gid)


def test_a_killed_initialisation_is_begun_anew_and_a_lost_directory_is_not() -> None:
    seat = new_seat(new_home())
    half = seat.layout.root / "pg.new" / "data"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("15\n")
    seat.layout.root.chmod(0o711)
    assert not postgres.data_ready(seat.layout.data)
    postgres.initialise(seat)
    assert postgres.data_ready(seat.layout.data)
    assert not half.exists()
    files.remove(seat.layout.data)
    with pytest.raises(Failed) as caught:
        postgres.initialise(seat)
    assert caught.value.code == "data_lost"


def test_start_look_stop(seat: Seat) -> None:
    assert postgres.state(seat).state == "absent"
    started = postgres.start(seat, 30)
    seen = postgres.state(seat)
    assert (seen.state, seen.pid, seen.identity) == ("ready", started.pid, postgres.identity(started))
    assert os.getsid(started.pid) == started.pid
    assert postgres.start(seat, 30) == started, "a running server is not started twice"
    assert postgres.stop(seat, 20)
    assert postgres.state(seat).state == "absent"
    assert not process.alive(started)


def test_start_after_a_kill_and_beside_what_it_left(seat: Seat) -> None:
    first = postgres.start(seat, 30)
    process.send(first, signal.SIGKILL)
    process.wait_end(first, 5)
    second = postgres.start(seat, 30)
    assert second != first
    # a lock file with the pid of a living process, as after a reboot: ours is as good as any
    postgres.stop(seat, 20)
    files.put(seat.layout.data / "postmaster.pid", f"{os.getpid()}\n{seat.layout.data}\n", 0o600, seat.account)
    assert postgres.state(seat).state == "absent"
    postgres.start(seat, 30)


def test_alive_and_reachable_are_two_facts(seat: Seat) -> None:
    started = postgres.start(seat, 30)
    seat.socket.unlink()
    assert postgres.state(seat).state == "unreachable"
    assert sight.look(seat, wish(seat)).state == "unreachable"
    assert postgres.stop(seat, 20)
    started = postgres.start(seat, 30)
    process.send(started, signal.SIGSTOP)
    assert process.wait_until(lambda: postgres.state(seat).state == "unreachable", 5)
    assert postgres.stop(seat, 20), "a halted server is let go on, so that it can shut down"


def test_a_server_whose_pid_file_was_removed_is_ended(seat: Seat) -> None:
    started = postgres.start(seat, 30)
    (seat.layout.data / "postmaster.pid").unlink()
    assert postgres.state(seat).state == "absent"
    postgres.start(seat, 30)
    assert not process.alive(started)


def test_a_taken_port_is_no_fault_of_the_configuration(seat: Seat) -> None:
    with socket.create_server(("127.0.0.1", seat.port)), pytest.raises(Failed) as caught:
        postgres.start(seat, 30)
    assert caught.value.code == "cannot_start"
    assert not isinstance(caught.value, Refused)
    assert "Address already in use" in str(caught.value)


def test_a_bad_value_at_a_start_is_refused_with_the_servers_words(seat: Seat) -> None:
    write(seat, extra="max_connections = 3\nsuperuser_reserved_connections = 3")
    with pytest.raises(Refused, match="must be less than"):
        postgres.start(seat, 30)


BAD = {
    "work_mem = lots": 'invalid value for parameter "work_mem": "lots"',
    "work_mem = 1kB": "outside the valid range",
    "foo = 1": 'unrecognized configuration parameter "foo"',
    "work_mem = 'a": "syntax error",
    "timezone = 'Mars'": 'invalid value for parameter "TimeZone"',
    "shared_buffers = 4000GB": "could not map anonymous shared memory|outside the valid range",
    "superuser_reserved_connections = 100": "must be less than",
    "wal_level = minimal": "requires",
    "shared_preload_libraries = 'nope'": 'could not access file "nope"',
    "ssl = on\nssl_cert_file = '../tls/no.crt'": 'could not load server certificate file "../tls/no.crt"',
    "log_min_messages = panic\nwork_mem = lots": "invalid value",
}


@pytest.mark.parametrize("line", BAD)
def test_postgres_judges_its_configuration_before_it_lies_there(made: Seat, line: str) -> None:
    before = (made.layout.data / "postgresql.conf").read_bytes()
    with pytest.raises(Refused, match=BAD[line]) as caught:
        rehearsal.check(made, texts(made, "x", line))
    assert "try-" not in str(caught.value)
    assert (made.layout.data / "postgresql.conf").read_bytes() == before
    assert not list(made.layout.pg.glob("try-*"))


def test_good_files_pass_beside_the_running_server(seat: Seat) -> None:
    with running(seat) as started:
        rehearsal.check(seat, texts(seat, "x", "work_mem = '5MB'"))
        rehearsal.check(seat, texts(seat, "x", "ssl = off"))
        assert process.alive(started)
        assert postgres.state(seat).state == "ready"


def test_hba_and_ident_are_judged_too(made: Seat) -> None:
    with pytest.raises(Refused, match='invalid authentication method "peeer"'):
        rehearsal.check(made, texts(made, "x", hba=HBA + "local all all peeer\n"))
    with pytest.raises(Refused, match=r"missing entry"):
        rehearsal.check(made, {**texts(made, "x"), "pg_ident.conf": "howdah a\n"})


def test_a_reload_is_seen_on_fresh_connections(seat: Seat) -> None:
    with running(seat):
        assert sight.look(seat, wish(seat)).digest == "first"
        write(seat, "second", "work_mem = '5MB'")
        reload(seat, "second", 5)
        seen = sight.look(seat, wish(seat))
        assert (seen.digest, seen.settings["work_mem"], seen.errors) == ("second", "5120", ())
        assert seen.loaded_at > (seat.layout.data / "postgresql.conf").stat().st_ctime


def test_settings_are_those_of_any_session(seat: Seat) -> None:
    with running(seat):
        with sql.control(seat, wish_words()) as session:
            session.execute("ALTER ROLE postgres SET work_mem = '7MB'")
        write(seat, "second", "work_mem = '5MB'\nstatement_timeout = '3s'\nsearch_path = 'x'")
        reload(seat, "second", 5)
        settings = sight.look(seat, wish(seat)).settings
        with sql.control(seat, wish_words()) as session:
            session.execute("ALTER ROLE postgres RESET ALL")
    assert (settings["work_mem"], settings["statement_timeout"], settings["search_path"]) == ("5MB", "3000", "x")


def test_what_a_reload_rejects_is_refused_with_the_servers_words(seat: Seat) -> None:
    cases = [
        ("work_mem = lots", HBA, 'invalid value for parameter "work_mem"'),
        ("ssl = on\nssl_cert_file = 'no.crt'", HBA, "could not load server certificate file"),
        ("", "nonsense\n" + HBA, 'invalid connection type "nonsense"'),
    ]
    with running(seat):
        for number, (extra, hba, words) in enumerate(cases):
            write(seat, f"bad{number}", extra, hba)
            with pytest.raises(Refused, match=words):
                reload(seat, f"bad{number}", 5)
        assert sight.look(seat, wish(seat)).errors
        write(seat, "good")
        reload(seat, "good", 5)
        assert sight.look(seat, wish(seat)).errors == ()


def test_a_setting_that_waits_for_a_restart_is_pending_and_no_error(seat: Seat) -> None:
    with running(seat):
        write(seat, "more", "max_connections = 55")
        reload(seat, "more", 5)
        seen = sight.look(seat, wish(seat))
        assert (seen.pending, seen.errors, seen.settings["max_connections"]) == (frozenset({"max_connections"}), (), "100")


def test_the_environment_of_libpq_is_ignored(seat: Seat, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "/nowhere", "PGSERVICE": "none", "PGREQUIREAUTH": "none", "PGOPTIONS": "-c work_mem=1GB"}.items():
        monkeypatch.setenv(name, value)
    with running(seat):
        seen = sight.look(seat, wish(seat))
    assert (seen.state, seen.settings["work_mem"]) == ("ready", "4096")


def test_sessions_without_tls_are_named(seat: Seat) -> None:
    with running(seat):
        seen = sight.look(seat, wish(seat))
        assert (seen.sessions, seen.plaintext) == ((), ()), "our own are on the unix socket"


def test_files_are_put_whole_and_never_through_a_link(tmp_path: Path) -> None:
    files.put(tmp_path / "a", "one", 0o640)
    (tmp_path / ".a.new").write_text("left by a crash")
    files.put(tmp_path / "a", "two", 0o600)
    seen = (tmp_path / "a").stat()
    assert ((tmp_path / "a").read_text(), stat.S_IMODE(seen.st_mode)) == ("two", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Failed):
        files.put(tmp_path / "link" / "a", "three")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_last_words_are_found_in_every_log(seat: Seat) -> None:
    with running(seat):
        assert len(serverlog.log_files(seat.layout)) == 2


def wish_words() -> Phrase:
    return say("test")
