"""Each reason for which a server does not start is given by the real server, in the catalogue's words; a failed start names the cure."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

import pytest
from tests.real.servers import HBA, free_port, new_home, new_seat, poolers, running, server_account, version_of, write

from howdah.catalog.messages import BY_PLACE, MESSAGES, Message, cure
from howdah.errors import Failed
from howdah.host import files, keeper, pki, postgres, process
from howdah.host.installed import Binary, interpreter
from howdah.host.postgres import Seat
from howdah.host.process import Process

STARTS = BY_PLACE["start"]
ROOT = os.geteuid() == 0
Damage = Callable[[Seat], AbstractContextManager[object]]


def of(origin: str) -> list[Message]:
    return [message for message in STARTS if message.origin == origin]


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


# --- PostgreSQL ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> Seat:
    home = new_home()
    seat = new_seat(home)
    postgres.initialise(seat)
    write(seat)
    return seat


@pytest.fixture
def seat(made: Seat) -> Iterator[Seat]:
    write(made)
    yield made
    postgres.stop(made, 10)


def logged(seat: Seat) -> str:
    """Return what stands in all the server's logs."""
    return "\n".join(path.read_text(errors="replace") for path in sorted(seat.layout.log.glob("*.log")))


def started(seat: Seat, extra: str = "", *, hba: str = HBA, damage: Damage = lambda seat: nullcontext()) -> str:
    """Start a server that cannot, and return all that it said; the error that it raises knows the cure."""
    for path in seat.layout.log.glob("*.log"):
        path.unlink()
    write(seat, extra=extra, hba=hba)
    with damage(seat):
        try:
            postgres.start(seat, 20)
        except Failed as failed:
            assert failed.hint is not None, failed
            assert failed.hint == cure(str(failed), "PostgreSQL")
        finally:
            postgres.stop(seat, 10)
    return logged(seat)


def by_hand(seat: Seat, *, root: bool = False, most_files: int = 0) -> str:
    """Start a server as somebody would without Howdah, and return what it says."""
    argv: list[str | Path] = [seat.bindir / "postgres", "-D", seat.layout.data]
    account = None if root else seat.account
    done = subprocess.run(
        argv,
        cwd="/",
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=20,
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        preexec_fn=(lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))) if most_files else None,
    )
    return done.stderr


def beside_a_running_one(seat: Seat, damage: Damage = lambda seat: nullcontext()) -> str:
    write(seat)
    with running(seat), damage(seat):
        return by_hand(seat)


def reloaded(seat: Seat, extra: str = "", *, hba: str = HBA, ident: str = "", words: str) -> str:
    """Make a running server load bad files, and return its log when it has complained."""
    write(seat)
    with running(seat) as server:
        write(seat, extra=extra, hba=hba)
        if ident:
            files.put(seat.layout.data / "pg_ident.conf", ident, 0o600, seat.account)
        process.send(server, signal.SIGHUP)
        assert process.wait_until(lambda: words in logged(seat), 10), logged(seat)
    return logged(seat)


def gone(name: str) -> Damage:
    """Let a file or directory of the data directory be elsewhere for a while."""

    @contextmanager
    def damage(seat: Seat) -> Iterator[None]:
        path = seat.layout.data / name
        aside = path.with_name("aside")
        path.rename(aside)
        try:
            yield
        finally:
            files.remove(path)
            aside.rename(path)

    return damage


def emptied(name: str) -> Damage:
    @contextmanager
    def damage(seat: Seat) -> Iterator[None]:
        with gone(name)(seat):
            files.make_directory(seat.layout.data / name, 0o700, seat.account)
            yield

    return damage


def rewritten(name: str, change: Callable[[bytes], bytes]) -> Damage:
    @contextmanager
    def damage(seat: Seat) -> Iterator[None]:
        path = seat.layout.data / name
        before = path.read_bytes()
        path.write_bytes(change(before))
        try:
            yield
        finally:
            path.write_bytes(before)

    return damage


def with_mode(find: Callable[[Seat], Path], mode: int) -> Damage:
    @contextmanager
    def damage(seat: Seat) -> Iterator[None]:
        path = find(seat)
        before = path.stat().st_mode & 0o777
        path.chmod(mode)
        try:
            yield
        finally:
            path.chmod(before)

    return damage


@contextmanager
def of_another(seat: Seat) -> Iterator[None]:
    """Let the data directory belong to somebody else, who lets the server's user in."""
    if not ROOT:
        pytest.skip("only root can give a directory away")
    path = seat.layout.data
    before = path.stat()
    os.chown(path, 0, 0)
    path.chmod(0o755)
    try:
        yield
    finally:
        os.chown(path, before.st_uid, before.st_gid)
        path.chmod(0o700)


@contextmanager
def no_room(seat: Seat) -> Iterator[None]:
    """Let one file that each start writes lie where there is never any room."""
    path = seat.layout.data / "postmaster.opts"
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/full")
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def port_taken(seat: Seat) -> Iterator[None]:
    with socket.create_server(("127.0.0.1", seat.port)):
        yield


def tls(seat: Seat, certificate: str | None = None, key: str | None = None, change: Callable[[Path], object] = lambda key: None) -> str:
    """Start with a pair of certificate and key of which one is another, and with a key to which something was done."""
    pair = pki.issue(seat.layout.home, seat.layout.tls("direct"), "direct", ["localhost"], 10, seat.account)
    stem = seat.layout.tls("direct") / f"direct.{pair.serial}"
    change(Path(f"{stem}.key"))
    return started(seat, f"ssl = on\nssl_cert_file = '{certificate or f'{stem}.crt'}'\nssl_key_file = '{key or f'{stem}.key'}'")


def another_key(key: Path) -> None:
    other = next(path for path in sorted(key.parent.glob("direct.*.key")) if path != key)
    text, owner = other.read_bytes(), key.stat()
    key.write_bytes(text)
    os.chown(key, owner.st_uid, owner.st_gid)


def key_of_another(key: Path) -> None:
    if not ROOT:
        pytest.skip("only root can give a file away")
    os.chown(key, 1, 1)


def as_root(seat: Seat) -> str:
    if not ROOT:
        pytest.skip("only root can start it as root")
    return by_hand(seat, root=True)


IN_POSTGRES: dict[str, Callable[[Seat], str]] = {
    "start-no-room": lambda seat: started(seat, damage=no_room),
    "start-port-taken": lambda seat: started(seat, damage=port_taken),
    "start-address-gone": lambda seat: started(seat, "listen_addresses = '192.0.2.1'"),
    "start-no-sockets": lambda seat: started(seat, damage=port_taken),
    "start-memory": lambda seat: started(seat, "shared_buffers = 4000GB"),
    "start-descriptors": lambda seat: by_hand(seat, most_files=20),
    "start-as-root": as_root,
    "start-running-already": beside_a_running_one,
    "start-left-behind": lambda seat: beside_a_running_one(seat, gone("postmaster.pid")),
    "start-other-version": lambda seat: started(seat, damage=rewritten("PG_VERSION", lambda old: b"12\n")),
    "start-data-invalid": lambda seat: started(seat, damage=gone("PG_VERSION")),
    "start-control-missing": lambda seat: started(seat, damage=gone("global/pg_control")),
    "start-control-damaged": lambda seat: started(seat, damage=rewritten("global/pg_control", lambda old: old[:40] + b"!" + old[41:])),
    "start-wal-missing": lambda seat: started(seat, damage=gone("pg_wal")),
    "start-no-checkpoint": lambda seat: started(seat, damage=emptied("pg_wal")),
    "start-data-open": lambda seat: started(seat, damage=with_mode(lambda seat: seat.layout.data, 0o777)),
    "start-data-owner": lambda seat: started(seat, damage=of_another),
    "start-socket-directory": lambda seat: started(seat, damage=with_mode(lambda seat: seat.layout.socket_dir, 0o500)),
    "start-log-directory": lambda seat: started(seat, f"log_directory = '{seat.layout.root / 'nowhere' / 'log'}'"),
    "start-certificate": lambda seat: tls(seat, certificate="nowhere.crt"),
    "start-key-missing": lambda seat: tls(seat, key="nowhere.key"),
    "start-key-open": lambda seat: tls(seat, change=lambda key: key.chmod(0o644)),
    "start-key-owner": lambda seat: tls(seat, change=key_of_another),
    "start-key-wrong": lambda seat: tls(seat, change=another_key),
    "start-library": lambda seat: started(seat, "shared_preload_libraries = 'no_such_library'"),
    "start-invalid-value": lambda seat: started(seat, "work_mem = lots"),
    "start-out-of-range": lambda seat: started(seat, "work_mem = 1kB"),
    "start-not-boolean": lambda seat: started(seat, "fsync = perhaps"),
    "start-unknown-parameter": lambda seat: started(seat, "no_such_parameter = 1"),
    "start-connections": lambda seat: started(seat, "max_connections = 3\nsuperuser_reserved_connections = 3"),
    "start-wal-senders": lambda seat: started(seat, "wal_level = minimal"),
    "start-archive": lambda seat: started(seat, "wal_level = minimal\nmax_wal_senders = 0\narchive_mode = on"),
    "start-syntax": lambda seat: started(seat, "work_mem = 'a"),
    "reload-partly": lambda seat: reloaded(seat, "work_mem = lots", words="contains errors; unaffected"),
    "start-errors": lambda seat: started(seat, "work_mem = lots"),
    "start-no-configuration": lambda seat: started(seat, damage=gone("postgresql.conf")),
    "start-hba-method": lambda seat: started(seat, hba=f"{HBA}local all all peeer\n"),
    "start-hba-type": lambda seat: started(seat, hba="lokal all all peer\n"),
    "start-hba-empty": lambda seat: started(seat, hba="# nothing\n"),
    "start-closed-file": lambda seat: started(seat, damage=with_mode(lambda seat: seat.layout.data / "postgresql.conf", 0)),
    "start-missing-file": lambda seat: started(seat, damage=gone("pg_hba.conf")),
    "start-hba": lambda seat: started(seat, hba="lokal all all peer\n"),
    "start-no-tls": lambda seat: started(seat, hba=f"{HBA}hostssl all all 127.0.0.1/32 scram-sha-256\n"),
    "reload-hba": lambda seat: reloaded(seat, hba="lokal all all peer\n", words="pg_hba.conf was not"),
    "reload-ident": lambda seat: reloaded(seat, ident="howdah\n", words="pg_ident.conf was not"),
    "reload-tls": lambda seat: reloaded(seat, "ssl = on\nssl_cert_file = 'nowhere.crt'", words="SSL configuration was not"),
}


@pytest.mark.parametrize("message", of("PostgreSQL"), ids=ids(of("PostgreSQL")))
def test_postgres_gives_each_reason(seat: Seat, message: Message) -> None:
    said = IN_POSTGRES[message.id](seat)
    assert message.is_in(said), said


# --- PgBouncer ----------------------------------------------------------------------------------------------------------------------


INI = """[databases]
* = host=/nowhere port=5432
[pgbouncer]
client_tls_sslmode = require
client_tls_key_file = tls/good.key
client_tls_cert_file = tls/good.crt
client_tls_ciphers = secure
client_tls_ecdhcurve = prime256v1
auth_type = hba
auth_file = users.txt
auth_hba_file = hba
pool_mode = session
unix_socket_dir = .
listen_port = {port}
admin_users = pgbouncer
pidfile = pid
"""


class Bench:
    """A directory in which PgBouncers are started by hand, by the user who runs the servers here."""

    def __init__(self, program: Binary) -> None:
        self.program, self.account, self.port = program, server_account(), free_port()
        home = new_home()
        self.directory = home / "pool"
        files.make_directory(self.directory, 0o700, self.account)
        pairs = [pki.issue(home, self.directory / "tls", "pooled", ["localhost"], 10, self.account) for _ in range(2)]
        good, other = (self.directory / "tls" / f"pooled.{pair.serial}" for pair in pairs)
        for suffix in (".crt", ".key"):
            Path(f"{good}{suffix}").rename(self.directory / "tls" / f"good{suffix}")
        Path(f"{other}.key").rename(self.directory / "tls" / "other.key")

    def lay(self, old: str = "", new: str = "", *, hba: str = "local all all peer\n", users: str = "") -> None:
        """Put its files there, with one change."""
        ini = INI.format(port=self.port)
        assert old in ini
        changed = ini.replace(old, new) if old else ini
        for name, text in {"pgbouncer.ini": changed, "hba": hba, "users.txt": users}.items():
            files.put(self.directory / name, text, 0o600, self.account)

    def run(self, words: Message, *, root: bool = False, then: Callable[[Process], None] = lambda running: None) -> str:
        """Start it until it has said these words or ended; return all that it said."""
        told = self.directory / "told"
        files.remove(told)
        account = None if root else self.account
        running = process.spawn([self.program.path, "pgbouncer.ini"], account=account, cwd=self.directory, stderr=told)
        try:
            then(running)
            process.wait_until(lambda: words.is_in(told.read_text()) or not process.alive(running), 5)
        finally:
            process.stop(running, signal.SIGKILL, 5)
        return told.read_text()


@pytest.fixture(scope="module", params=poolers(), ids=version_of)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def without_configuration(bench: Bench, words: Message) -> str:
    (bench.directory / "pgbouncer.ini").unlink(missing_ok=True)
    return bench.run(words)


def reloaded_pooler(bench: Bench, words: Message) -> str:
    """Start it well, and then make it load a bad file."""
    told = bench.directory / "told"

    def load(running: Process) -> None:
        assert process.wait_until(lambda: "process up" in told.read_text(), 5), told.read_text()
        bench.lay("= session", "= sometimes")
        process.send(running, signal.SIGHUP)

    bench.lay()
    return bench.run(words, then=load)


def pid_of_the_living(bench: Bench, words: Message) -> str:
    files.put(bench.directory / "pid", f"{os.getpid()}\n", 0o600, bench.account)
    bench.lay()
    try:
        return bench.run(words)
    finally:
        (bench.directory / "pid").unlink()


def socket_taken(bench: Bench, words: Message) -> str:
    """Another process of the same user listens at the socket of its console."""
    with socket.socket(socket.AF_UNIX) as other:
        path = bench.directory / f".s.PGSQL.{bench.port}"
        files.remove(path)
        other.bind(str(path))
        other.listen()
        path.chmod(0o777)
        bench.lay()
        try:
            return bench.run(words)
        finally:
            files.remove(path)


def pooler_as_root(bench: Bench, words: Message) -> str:
    if not ROOT:
        pytest.skip("only root can start it as root")
    bench.lay()
    return bench.run(words, root=True)


def laid(old: str = "", new: str = "", **texts: str) -> Callable[[Bench, Message], str]:
    def say(bench: Bench, words: Message) -> str:
        bench.lay(old, new, **texts)
        return bench.run(words)

    return say


IN_PGBOUNCER: dict[str, Callable[[Bench, Message], str]] = {
    "pooler-unknown-setting": laid("pool_mode", "no_such = 1\npool_mode"),
    "pooler-unknown-key": laid("* =", "shop = hots=/nowhere\n* ="),
    "pooler-invalid-value": laid("= session", "= sometimes"),
    "pooler-section": laid("[pgbouncer]", "[no_such]\n[pgbouncer]"),
    "pooler-syntax": laid("pool_mode", "garbage\npool_mode"),
    "pooler-file": without_configuration,
    "pooler-no-configuration": without_configuration,
    "pooler-not-reloaded": reloaded_pooler,
    "pooler-certificate": laid("good.crt", "nowhere.crt"),
    "pooler-key": laid("good.key", "other.key"),
    "pooler-ciphers": laid("= secure", "= NOTHING"),
    "pooler-curve": laid("prime256v1", "prime999"),
    "pooler-tls": laid("good.crt", "nowhere.crt"),
    "pooler-users": laid("users.txt", "nowhere.txt"),
    "pooler-users-broken": laid(users="nonsense\n"),
    "pooler-hba": laid("auth_hba_file = hba", "auth_hba_file = nowhere"),
    "pooler-hba-line": laid(hba="local all all scramble\n"),
    "pooler-running-already": pid_of_the_living,
    "pooler-running-already-old": pid_of_the_living,
    "pooler-socket-taken": socket_taken,
    "pooler-as-root": pooler_as_root,
    "pooler-log": laid("pidfile = pid", "pidfile = pid\nlogfile = nowhere/log"),
    "pooler-pidfile": laid("pidfile = pid", "pidfile = nowhere/pid"),
}


@pytest.mark.parametrize("message", of("PgBouncer"), ids=ids(of("PgBouncer")))
def test_pgbouncer_gives_each_reason(bench: Bench, message: Message) -> None:
    version = ".".join(map(str, bench.program.version[:2]))
    if message.versions and version not in message.versions:
        pytest.skip(f"PgBouncer {version} says it otherwise: these are the words of {', '.join(message.versions)}")
    said = IN_PGBOUNCER[message.id](bench, message)
    assert message.is_in(said), said


# --- the keeper ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def kept(directory: Path, binary: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run a keeper of our own user."""
    plan = keeper.Plan(binary, "1.18", "pgbouncer.ini", (("127.0.0.1", port),), ".s.PGSQL.6432", 0o600, 16, 100)
    (directory / "keeper.json").write_text(json.dumps(plan._asdict()))
    with (directory / "keeper.log").open("ab") as log:
        running = subprocess.Popen([interpreter(None), "-I", "-S", keeper.__file__, directory / "keeper.json"], stderr=log)
    try:
        yield running
    finally:
        running.kill()
        running.wait()


def keeper_says(words: Message) -> str:
    directory, port = new_home(), free_port()
    log = directory / "keeper.log"
    binary = "/nowhere/pgbouncer" if words.id == "keeper-no-program" else "/bin/false"
    with ExitStack() as held:
        if words.id == "keeper-port-taken":
            held.enter_context(socket.create_server(("127.0.0.1", port)))
        first = held.enter_context(kept(directory, binary, port))
        if words.id in ("keeper-twice", "log-keeper-ends"):
            assert process.wait_until(lambda: (directory / "lock").exists() and "holding" in (directory / "lock").read_text(), 5)
        if words.id == "keeper-twice":
            held.enter_context(kept(directory, binary, port))
        if words.id == "log-keeper-ends":
            first.terminate()
        process.wait_until(lambda: words.is_in(log.read_text()), 5)
    return log.read_text()


@pytest.mark.parametrize("message", [each for each in MESSAGES if each.origin == "keeper"], ids=lambda message: message.id)
def test_the_keeper_gives_each_reason(message: Message) -> None:
    said = keeper_says(message)
    assert message.is_in(said), said


def test_every_reason_has_its_way_and_no_other_has_one() -> None:
    assert ids(of("PostgreSQL")) == [*IN_POSTGRES]
    assert ids(of("PgBouncer")) == [*IN_PGBOUNCER]
