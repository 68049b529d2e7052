"""Generations of a pooler on this machine, with a real PostgreSQL behind them: trial, start, takeover, look, commands, end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psycopg
import pytest

from howdah.errors import Conflict, Failed, Unavailable, Unsupported
from howdah.host import accounts, admin, files, installed, pause, pgbouncer, process, steering, trial, vacancy
from howdah.host.accounts import Account
from howdah.host.console import console
from howdah.host.installed import Binary
from howdah.host.keeper import Plan
from howdah.phrase import Phrase, say

BINDIR = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None, key=lambda path: int(path.parent.name))

INI = """[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
auth_type = any
admin_users = pgbouncer
pool_mode = transaction
pidfile = pid
logfile = log
server_login_retry = 0.2
ignore_startup_parameters = extra_float_digits,options,howdah.{digest}
"""

# Everything that could be wrong stands in it; the order is the order that makes a failed RELOAD harmless.
FULL_INI = """[databases]
* = host=/nowhere port=5432
[pgbouncer]
client_tls_sslmode = require
client_tls_key_file = {root}/good.key
client_tls_cert_file = {root}/good.crt
client_tls_ciphers = secure
client_tls_ecdhcurve = prime256v1
auth_type = scram-sha-256
auth_user = howdah_lookup
auth_query = SELECT uname, phash FROM howdah.user_lookup($1)
auth_file = users.txt
auth_hba_file = hba
pool_mode = session
max_client_conn = 50
listen_addr = 127.0.0.1
listen_port = 6432
unix_socket_dir = /nowhere
admin_users = pgbouncer
pidfile = pid
logfile = log
ignore_startup_parameters = extra_float_digits,options,howdah.abc123
"""
FULL_WANTED = {
    "client_tls_sslmode": "require",
    "auth_type": "scram-sha-256",
    "auth_user": "howdah_lookup",
    "auth_query": "SELECT uname, phash FROM howdah.user_lookup($1)",
    "pool_mode": "session",
    "max_client_conn": "50",
    "ignore_startup_parameters": "extra_float_digits,options,howdah.abc123",
}
HBA = "local pgbouncer pgbouncer peer\nhostssl all all all scram-sha-256\n"

# What is replaced by what, and how the verdict speaks of it.
BAD = {
    "unknown setting": ("pool_mode", "no_such = 1\npool_mode", "no_such"),
    "bad word": ("= session", "= sometimes", "pool_mode"),
    "bad TLS mode": ("= require", "= required", "client_tls_sslmode"),
    "not a number": ("= 50", "= 10k", "max_client_conn"),
    "garbage": ("pool_mode", "garbage\npool_mode", ""),
    "missing include": ("pool_mode", "%include /nowhere/more.ini\npool_mode", "more.ini"),
    "comment behind a value": ("= require", "= require ; yes", "client_tls_sslmode"),
    "missing certificate": ("good.crt", "none.crt", "TLS"),
    "foreign key": ("good.key", "other.key", "TLS"),
    "empty key": ("good.key", "empty.key", "TLS"),
    "bad ciphers": ("= secure", "= NOTHING", "ciphers: NOTHING"),
    "bad curve": ("prime256v1", "prime999", "curve: prime999"),
    "negative": ("= 50", "= -1", "max_client_conn as -1"),
    "overflow": ("= 50", "= 99999999999", "max_client_conn"),
    "TLS off further down": ("pool_mode", "client_tls_sslmode = disable\npool_mode", "client_tls_sslmode as disable, not require"),
    "injected trust": ("pool_mode", "auth_type = trust\npool_mode", "auth_type as trust"),
    "other lookup role": ("= howdah_lookup", "= postgres", "auth_user as postgres"),
    "other lookup": ("phash FROM", "'' FROM", "auth_query"),
    "digest not reached": ("howdah.abc123", "howdah.old", "ignore_startup_parameters"),
    "bad database key": ("* =", "shop = hots=/nowhere\n* =", "hots"),
    "missing auth_file": ("users.txt", "none.txt", "none.txt"),
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seat(name: str) -> Account:
    """Return the user whom a server runs as: root starts each under another one, anybody else under himself."""
    found = accounts.account(name) if os.geteuid() == 0 else accounts.current_account()
    assert found is not None
    return found


def short_directory(owner: Account, mode: int) -> Path:
    made = Path(tempfile.mkdtemp())
    files.make_directory(made, mode, owner)
    return made


@pytest.fixture(scope="module")
def program() -> Binary:
    found = installed.find_binary()
    assert found is not None, "PgBouncer is not installed"
    return installed.binary(found)


@dataclass(frozen=True)
class Server:
    host: Path
    port: int


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run a PostgreSQL that trusts whoever reaches its unix socket."""
    assert BINDIR is not None, "PostgreSQL is not installed"
    account = seat("postgres")
    root = short_directory(account, 0o755)
    port = free_port()
    said = root / "said"
    made = process.spawn(
        [BINDIR / "initdb", "-N", "-A", "trust", "-U", "postgres", "-D", root / "data"], account=account, cwd=root, stdout=said, stderr=said
    )
    assert process.wait_gone(made, 60), said.read_text()
    options = {"listen_addresses": "", "unix_socket_directories": str(root), "fsync": "off", "port": str(port), "autovacuum": "off"}
    command: list[str | Path] = [BINDIR / "postgres", "-D", root / "data", *(f"--{name}={value}" for name, value in options.items())]
    running = process.spawn(command, account=account, cwd=root, stdout=said, stderr=said)
    assert process.wait_until(lambda: answers(root, port) or not process.alive(running), 30)
    assert process.alive(running), said.read_text()
    yield Server(root, port)
    process.stop(running, signal.SIGQUIT, 10)
    process.wait_gone(running, 10)


def answers(host: Path, port: int) -> bool:
    try:
        psycopg.connect(host=str(host), port=port, user="postgres", dbname="postgres").close()
    except psycopg.OperationalError:
        return False
    return True


@dataclass
class Pool:
    """A pooler's directory, its port and its generations."""

    root: Path
    account: Account
    plan: Plan
    server: Server
    failures: list[str] = field(default_factory=list)
    logins: int = 0

    def write(self, name: str, text: str | None = None, digest: str = "d1") -> Path:
        directory = self.root / name
        files.make_directory(directory, 0o700, self.account)
        ini = INI.format(host=self.server.host, port=self.server.port, digest=digest)
        files.put(directory / "pgbouncer.ini", ini if text is None else text, account=self.account)
        return directory

    def start(self, name: str) -> Path:
        directory = self.write(name)
        seen = pgbouncer.start_generation(directory, self.plan, account=self.account)
        assert seen.reachable
        return directory

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        port = self.plan.addresses[0][1]
        return psycopg.connect(
            host="127.0.0.1",
            port=port,
            user="postgres",
            dbname="postgres",
            sslmode="disable",
            connect_timeout=10,
            autocommit=True,
            prepare_threshold=None,
        )

    def log_in_until(self, done: threading.Event) -> None:
        while not done.wait(0.005):
            try:
                with self.connect() as session:
                    session.execute("select 1")
                self.logins += 1
            except psycopg.Error as error:
                self.failures.append(str(error))

    def under_load(self, act: Callable[[], None]) -> None:
        """Do something while two clients log in over and over."""
        done = threading.Event()
        threads = [threading.Thread(target=self.log_in_until, args=(done,)) for _ in range(2)]
        for each in threads:
            each.start()
        try:
            act()
        finally:
            done.set()
            for each in threads:
                each.join()


@pytest.fixture
def pool(program: Binary, server: Server) -> Iterator[Pool]:
    account = seat("nobody")
    root = short_directory(account, 0o700)
    port = free_port()
    plan = pgbouncer.make_plan(program, (("127.0.0.1", port),), unix_port=port, open_files=1024)
    yield Pool(root, account, plan, server)
    for directory in root.iterdir():
        pgbouncer.stop_generation(directory)
    process.reap()


@pytest.fixture(scope="module")
def tls() -> Iterator[Path]:
    """Make a directory with a pair, a key of another pair and an empty one."""
    account = seat("nobody")
    root = short_directory(account, 0o700)
    for name in ("good", "other"):
        key, crt = root / f"{name}.key", root / f"{name}.crt"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=localhost",
        ]
        subprocess.run([*command, "-keyout", key, "-out", crt], check=True, capture_output=True)
    (root / "empty.key").touch()
    for each in root.iterdir():
        os.chown(each, account.uid, account.gid)
        each.chmod(0o600)
    yield root
    shutil.rmtree(root)


def judge(pool: Pool, program: Binary, ini: str, hba: str = HBA, probe: trial.Probe | None = None) -> trial.Verdict:
    texts = {"pgbouncer.ini": ini, "hba": hba, "users.txt": ""}
    directory = pool.root / "try"
    verdict = trial.try_files(
        program, directory, texts, unix_port=pool.plan.addresses[0][1], wanted=FULL_WANTED, account=pool.account, probe=probe
    )
    assert not directory.exists()
    assert not list(process.in_directory(directory))
    return verdict


def first_byte(port: int, packet: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        stream.sendall(packet)
        return stream.recv(1)


def test_good_files_pass_beside_the_living_and_are_probed_on_their_own_port(pool: Pool, program: Binary, tls: Path) -> None:
    living = pgbouncer.look(pool.start("g1"))
    ssl_request = b"\0\0\0\x08\x04\xd2\x16\x2f"
    plain_login = b"\0\0\0\x22\0\3\0\0user\0postgres\0database\0x\0\0"

    def probe(address: str, port: int) -> Phrase | None:
        assert (address, port) not in pool.plan.addresses
        if first_byte(port, ssl_request) != b"S":
            return say("no TLS")
        return None if first_byte(port, plain_login) == b"E" else say("plaintext")

    verdict = judge(pool, program, FULL_INI.format(root=tls), probe=probe)
    assert verdict.reason is None, "\n".join(verdict.log)
    assert verdict.ok
    assert pgbouncer.look(living.directory).member == living.member


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_and_named(pool: Pool, program: Binary, tls: Path, name: str) -> None:
    old, new, words = BAD[name]
    good = FULL_INI.format(root=tls)
    assert old in good
    verdict = judge(pool, program, good.replace(old, new))
    assert not verdict.ok
    assert words in str(verdict.reason)
    assert verdict.log


def test_a_bad_hba_line_is_refused(pool: Pool, program: Binary, tls: Path) -> None:
    ini = FULL_INI.format(root=tls).replace("auth_type = scram-sha-256", "auth_type = hba")
    wanted = HBA + "hostssl all all all scram\n"
    texts = {"pgbouncer.ini": ini, "hba": wanted, "users.txt": '"pgbouncer" ""\n'}
    verdict = trial.try_files(program, pool.root / "try", texts, unix_port=6432, wanted={"auth_type": "hba"}, account=pool.account)
    assert "hba" in str(verdict.reason).lower() or "auth" in str(verdict.reason).lower()


def test_the_probe_has_the_last_word(pool: Pool, program: Binary, tls: Path) -> None:
    verdict = judge(pool, program, FULL_INI.format(root=tls), probe=lambda address, port: say("no login"))
    assert str(verdict.reason) == "no login"
    with pytest.raises(ZeroDivisionError):
        judge(pool, program, FULL_INI.format(root=tls), probe=lambda address, port: say(str(1 // 0)))
    assert not (pool.root / "try").exists()


def test_a_generation_is_alive_reachable_and_says_what_it_loaded(pool: Pool, program: Binary) -> None:
    directory = pool.start("g1")
    seen = pgbouncer.look(directory)
    assert seen.plan == pool.plan
    assert seen.keeper is not None
    assert seen.member is not None
    assert seen.reachable
    assert seen.version == program.version
    assert seen.digest == "d1"
    assert seen.config["pool_mode"] == ("transaction", True)
    assert seen.config["listen_backlog"][1] is False
    assert seen.paused in (None, False)
    assert seen.halted == ()
    assert seen.open_files == 1024
    assert pgbouncer.quick_look(directory) == pgbouncer.Running(seen.keeper, seen.member)
    assert (directory / f".s.PGSQL.{pool.plan.addresses[0][1]}").stat().st_mode & 0o777 == 0o600


def test_starting_again_changes_nothing_and_another_plan_is_refused(pool: Pool) -> None:
    directory = pool.start("g1")
    before = pgbouncer.quick_look(directory)
    assert pgbouncer.look(pool.start("g1")).member == before.member
    with pytest.raises(Conflict):
        pgbouncer.start_generation(directory, replace_plan(pool.plan, backlog=99), account=pool.account)
    assert pgbouncer.quick_look(directory) == before


def replace_plan(plan: Plan, backlog: int) -> Plan:
    return plan._replace(backlog=backlog)


def test_a_start_that_fails_says_why_and_leaves_nothing(pool: Pool) -> None:
    directory = pool.write("g1", "[databases]\n[pgbouncer]\nlogfile = log\npool_mode = sometimes\n")
    with pytest.raises(Failed, match="pool_mode"):
        pgbouncer.start_generation(directory, pool.plan, account=pool.account)
    assert pgbouncer.quick_look(directory) == pgbouncer.Running(None, None)
    assert not list(process.in_directory(directory))


def test_a_start_on_a_port_of_another_names_it(pool: Pool) -> None:
    address, port = pool.plan.addresses[0]
    with socket.socket() as other:
        other.bind((address, port))
        other.listen()
        with pytest.raises(Failed, match=f"cannot listen on {address} port {port}"):
            pgbouncer.start_generation(pool.write("g1"), pool.plan, account=pool.account)


def test_no_login_is_lost_in_five_changes_of_generation(pool: Pool) -> None:
    directory = pool.start("g0")

    def change_five_times() -> None:
        nonlocal directory
        for number in range(1, 6):
            newer = pool.start(f"g{number}")
            assert steering.steer([newer])
            assert admin.drain(directory, seconds=5) == 0
            assert pgbouncer.stop_generation(directory)
            directory = newer

    pool.under_load(change_five_times)
    assert pool.failures == []
    assert pool.logins > 0


def test_a_client_that_gave_up_while_nothing_was_read_of_it_is_not_in(pool: Pool) -> None:
    directory = pool.start("g1")
    with pgbouncer.enter(directory) as asked:
        asked.ask("PAUSE")
    port = pool.plan.addresses[0][1]
    body = b"\0\3\0\0user\0postgres\0database\0postgres\0\0"
    with socket.create_connection(("127.0.0.1", port), 5) as waiting:  # for a server, which the pause withholds
        waiting.sendall(struct.pack("!I", len(body) + 4) + body)
        assert process.wait_until(lambda: len(admin.clients(directory)) == 1, 5)
        assert not vacancy.end_empty(directory), "it waits, and is in"
        waiting.sendall(b"X\0\0\0\4")
    assert process.wait_until(partial(vacancy.end_empty, directory), 5)


def test_any_number_of_generations_serve_and_the_newest_gets_the_logins_whoever_goes(pool: Pool) -> None:
    directories, sessions = [], []
    for name in ("g1", "g2", "g3", "g4"):
        directories.append(pool.start(name))
        assert steering.steer(directories[-1:])
        sessions.append(pool.connect())
        assert serves(sessions[-1], directories) == directories[-1]
    newest = directories[-1]
    assert steering.holds(newest)

    def end_in_turn() -> None:
        for place in (1, 0, 0):  # a middle one, then the first: each time the last takes over the place that was left
            sessions.pop(place).close()
            left = directories.pop(place)
            assert admin.drain(left, seconds=5) == 0
            assert process.wait_until(partial(vacancy.end_empty, left), 5)
            pgbouncer.stop_generation(left)
            assert process.wait_until(lambda: not steering.holds(newest), 5), "its socket listens for a moment yet"
            assert steering.steer([newest])
            assert steering.holds(newest)
            for each in sessions:
                each.execute("select 1")
            with pool.connect() as arrived:
                assert serves(arrived, directories) == newest

    pool.under_load(end_in_turn)
    assert pool.failures == []
    for each in sessions:
        each.close()


def serves(session: psycopg.Connection[tuple[object, ...]], directories: list[Path]) -> Path:
    """Return the directory of the PgBouncer that serves a session, by the port from which it came."""
    with socket.socket(fileno=os.dup(session.pgconn.socket)) as end:
        port = end.getsockname()[1]
    return next(each for each in directories if port in {client.port for client in admin.clients(each)})


def test_two_that_went_at_once_leave_no_doubt(pool: Pool) -> None:
    directories = [pool.start(name) for name in ("g1", "g2", "g3", "g4")]
    assert steering.steer(directories[-1:])
    for each in directories[:2]:
        pgbouncer.stop_generation(each)
    fifth = pool.start("g5")
    assert steering.steer([fifth])
    with pool.connect() as arrived:
        assert serves(arrived, [*directories[2:], fifth]) == fifth
    (fifth / "steered").write_text("[1")  # half written
    assert not steering.holds(fifth)
    assert steering.steer([fifth])


def test_several_get_the_logins_by_turns(pool: Pool) -> None:
    pool.start("old")
    lanes = [pool.start(name) for name in ("g1", "g1.2", "g1.3")]
    assert steering.steer(lanes)
    sessions = [pool.connect() for _ in range(60)]
    assert {serves(each, [pool.root / "old", *lanes]) for each in sessions} == set(lanes)  # by chance alone: 1 in 10^10 lacks one
    for each in sessions:
        each.close()


def test_a_pooler_without_keeper_serves_on_until_a_generation_replaces_it(pool: Pool) -> None:
    old = pool.start("g1")
    keeper = pgbouncer.look(old).keeper
    assert keeper is not None

    def lose_keeper_and_replace() -> None:
        process.stop(keeper, signal.SIGKILL, 5)
        seen = pgbouncer.look(old)
        assert (seen.keeper, seen.reachable) == (None, True)
        with pytest.raises(Conflict, match="lives there without one"):
            pgbouncer.start_generation(old, pool.plan, account=pool.account)
        with pytest.raises(Failed, match="no keeper is alive"):
            steering.steer([old])
        assert steering.steer([pool.start("g2")])
        assert admin.drain(old, seconds=5) == 0
        assert pgbouncer.stop_generation(old)

    pool.under_load(lose_keeper_and_replace)
    assert pool.failures == []
    assert pool.logins > 0


def test_a_killed_pgbouncer_is_back_within_its_keepers_care(pool: Pool) -> None:
    directory = pool.start("g1")
    first = pgbouncer.look(directory).member
    assert first is not None
    process.stop(first, signal.SIGKILL, 5)
    with pool.connect() as session:
        assert session.execute("select 1").fetchone() == (1,)
    assert pgbouncer.look(directory).member not in (None, first)


def test_a_stopped_process_is_alive_and_unreachable_and_still_ends(pool: Pool) -> None:
    directory = pool.start("g1")
    member = pgbouncer.look(directory).member
    assert member is not None
    process.send(member, signal.SIGSTOP)
    seen = pgbouncer.look(directory, seconds=0.2)
    assert seen.member == member
    assert not seen.reachable
    # the kernel may take a moment to stop it: until then it is merely silent
    assert any(words in str(seen.silence) for words in ("halted (SIGSTOP)", "does not answer"))
    with pytest.raises(Unavailable):
        admin.reload(directory, seconds=0.2)
    pgbouncer.stop_generation(directory)
    assert not process.alive(member)


def test_a_visitor_who_gave_up_is_no_complaint_of_its_own(pool: Pool) -> None:
    """On a slow machine we leave the queue of its console before it has started; that it finds nobody there is our doing."""
    directory = pool.start("g1")
    member = pgbouncer.look(directory).member
    assert member is not None
    path = directory / pool.plan.unix_socket
    process.send(member, signal.SIGSTOP)
    assert process.wait_until(lambda: process.halted(member.pid), 5)
    with pytest.raises(Unavailable), console(path, uid=pool.account.uid, seconds=0.1):
        pass
    process.send(member, signal.SIGCONT)
    assert process.wait_until(lambda: "failed to send welcome" in (directory / "log").read_text(), 5)
    assert trial.complaint(process.tail(directory / "log", 50)) is None


def test_without_its_socket_it_is_alive_and_unreachable(pool: Pool) -> None:
    directory = pool.start("g1")
    (directory / pool.plan.unix_socket).unlink()
    seen = pgbouncer.look(directory)
    assert seen.member is not None
    assert not seen.reachable
    process.stop(seen.member, signal.SIGKILL, 5)  # the remedy: its keeper starts it on a new one
    assert process.wait_until(lambda: pgbouncer.look(directory).reachable, 5)


@pytest.mark.parametrize("lost", [[], ["pid"], ["lock"], ["pid", "lock", "keeper.json"]])
def test_nothing_escapes_an_end(pool: Pool, lost: list[str]) -> None:
    directory = pool.start("g1")
    seen = pgbouncer.look(directory)
    for name in lost:
        (directory / name).unlink()
    pgbouncer.stop_generation(directory)
    assert not process.alive(seen.keeper)
    assert not process.alive(seen.member)
    assert not list(process.in_directory(directory))
    assert not list(directory.glob(".s.PGSQL.*"))
    # A SYN may still find the socket of a process that was just seen to have ended (1 run in 20, Linux 6.18): it is closed a moment later
    assert process.wait_until(lambda: _refused(pool.plan.addresses[0]), 2)
    assert pgbouncer.stop_generation(directory)  # again: nothing to do


def _refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except ConnectionRefusedError:
        return True
    return False


def test_reload_shows_the_new_digest_and_bad_values_show_too(pool: Pool) -> None:
    directory = pool.start("g1")
    text = (directory / "pgbouncer.ini").read_text()
    pool.write("g1", text.replace("howdah.d1", "howdah.d2").replace("= transaction", "= session"))
    admin.reload(directory)
    seen = pgbouncer.look(directory)
    assert seen.digest == "d2"
    assert pgbouncer.differences(seen.config, {"pool_mode": "session", "server_login_retry": "0.2"}) == {}
    pool.write("g1", text.replace("pool_mode", "no_such = 1\npool_mode"))
    if seen.version >= (1, 25):
        with pytest.raises(Failed, match="cannot run RELOAD"):
            admin.reload(directory)
    else:
        admin.reload(directory)
    assert pgbouncer.look(directory).digest == ""


def test_pause_is_seen_and_undone(pool: Pool) -> None:
    directory = pool.start("g1")
    with pool.connect() as session:
        session.execute("select 1")
        with pause.held([directory], seconds=5):
            with pgbouncer.enter(directory) as asked, admin.unless("already"):
                asked.ask("PAUSE")  # again: it is so already
            seen = pgbouncer.look(directory)
            assert seen.paused or "postgres" in seen.halted
        admin.resume(directory)
        seen = pgbouncer.look(directory)
        assert not seen.paused
        assert seen.halted == ()
        session.execute("select 1")


def test_an_open_transaction_ends_a_pause_and_not_the_other_way_round(pool: Pool) -> None:
    directory = pool.start("g1")
    with pool.connect() as session:
        session.execute("begin")
        with pytest.raises(Failed, match="cannot pause"), pause.held([directory], seconds=0.2):
            raise AssertionError("held although a transaction is open")
        seen = pgbouncer.look(directory)
        assert not seen.paused
        assert seen.halted == ()
        session.execute("commit")


def test_a_database_can_be_disabled_and_is_resumed_with_the_rest(pool: Pool) -> None:
    directory = pool.start("g1")
    pool.connect().close()
    admin.disable(directory, "postgres")
    assert pgbouncer.look(directory).halted == ("postgres",)
    with pytest.raises(psycopg.OperationalError):
        pool.connect()
    admin.enable(directory, "postgres")
    pool.connect().close()
    admin.disable(directory, "postgres")
    admin.resume(directory)
    assert pgbouncer.look(directory).halted == ()
    admin.reconnect(directory)
    pool.connect().close()


def test_clients_are_listed_ended_and_drained(pool: Pool) -> None:
    directory = pool.start("g1")
    assert admin.clients(directory) == ()
    session = pool.connect()
    session.execute("set application_name = 'shop'")
    (client,) = admin.clients(directory)
    assert (client.address, client.user, client.database, client.application_name) == ("127.0.0.1", "postgres", "postgres", "shop")
    assert client.tls == ""
    assert admin.drain(directory, seconds=0.1) == 1
    if pgbouncer.look(directory).version >= admin.KILL_CLIENT_SINCE:
        admin.kill_client(directory, client.id)
        assert process.wait_until(lambda: admin.clients(directory) == (), 5)
        admin.kill_client(directory, client.id)  # again: it has left
    else:
        with pytest.raises(Unsupported, match=r"since 1\.24"):
            admin.kill_client(directory, "1")
    session.close()
    assert admin.drain(directory, seconds=5) == 0


def test_a_login_under_way_is_waited_for(pool: Pool) -> None:
    directory = pool.start("g1")
    with socket.create_connection(pool.plan.addresses[0], timeout=5) as half:
        half.sendall(b"\0\0")  # PgBouncer accepts it, and waits for the rest
        began = time.monotonic()
        threading.Timer(0.2, half.close).start()
        assert admin.drain(directory, seconds=5) == 0
        assert time.monotonic() - began >= 0.2


def test_what_no_generation_is_is_not_running(pool: Pool) -> None:
    for directory in (pool.root / "none", pool.write("empty")):
        seen = pgbouncer.look(directory)
        assert (seen.keeper, seen.member, seen.reachable) == (None, None, False)
        assert pgbouncer.stop_generation(directory)
    with pytest.raises(Unavailable, match="no generation"):
        admin.reload(pool.root / "none")


def test_a_long_socket_path_is_refused_beforehand(pool: Pool) -> None:
    with pytest.raises(Unsupported, match="107 bytes"):
        pgbouncer.start_generation(pool.root / ("x" * 100), pool.plan, account=pool.account)


def test_a_pgbouncer_is_found_named_and_must_take_sockets(program: Binary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed.version(program.path) == program.version
    with pytest.raises(Unsupported, match="without systemd"):
        pgbouncer.make_plan(replace(program, systemd=False), (), unix_port=1, open_files=1)
    monkeypatch.setenv("HOWDAH_PGBOUNCER", str(tmp_path / "none"))
    assert installed.find_binary() == tmp_path / "none"
    with pytest.raises(Unavailable, match="cannot run"):
        installed.binary(tmp_path / "none")
    with pytest.raises(Unavailable, match="cannot read the version"):
        installed.binary(Path("/bin/echo"))


@pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as an ordinary user already")
def test_all_of_it_holds_for_an_ordinary_user() -> None:
    nobody = seat("nobody")
    readable = can_read(nobody, [Path(__file__), Path(sys.executable), Path(pgbouncer.__file__)])
    if not readable:
        pytest.skip("an ordinary user cannot read this clone")
    root = short_directory(nobody, 0o700)
    command = ["setpriv", f"--reuid={nobody.uid}", f"--regid={nobody.gid}", "--clear-groups", sys.executable, "-B", "-m", "pytest", "-q"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(root), "TMPDIR": str(root)}
    if named := os.environ.get("HOWDAH_PGBOUNCER"):
        environment["HOWDAH_PGBOUNCER"] = named
    tests = [f"{Path(__file__).with_name(name)}" for name in ("test_process.py", "test_keeper.py", "test_pgbouncer_host.py")]
    done = subprocess.run(
        [*command, "-p", "no:cacheprovider", *tests],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr


def can_read(account: Account, paths: list[Path]) -> bool:
    test = ["setpriv", f"--reuid={account.uid}", f"--regid={account.gid}", "--clear-groups", "cat", *map(str, paths)]
    return subprocess.run(test, capture_output=True, cwd="/").returncode == 0
