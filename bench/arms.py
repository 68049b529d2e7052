"""The four ways in that are held side by side: PostgreSQL direct, Howdah's pooler, a PgBouncer tuned by hand, and pgpool-II.

All of them lead to the same PostgreSQL, with TLS towards the client and SCRAM on both hops. The hand-tuned PgBouncer is the same program as
Howdah's, with as many processes, a file of verifiers in place of lookups, and nothing that it need not have: whatever Howdah costs beside
it is Howdah's. Each brings its configuration, to be printed.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench.pooled import DATABASE, PASSWORD, ROLE, Measured, conninfo, pids_below
from bench.stopwatch import free_port

POOL = 20
_START_SECONDS = 30
_DIRECTORY = 0o711


@dataclass(frozen=True)
class Arm:
    """One way in: its port, the processes in front of PostgreSQL, and its configuration, where it has one."""

    name: str
    port: int
    front: Sequence[int] = ()
    configuration: str = ""
    prepared: bool = True  # whether it carries prepared statements
    version: str = ""
    own_backend: bool = False  # each client has a server process of its own

    @property
    def environment(self) -> Mapping[str, str]:
        """How pgbench is told of it."""
        who = {"PGHOST": "127.0.0.1", "PGPORT": str(self.port), "PGUSER": ROLE, "PGDATABASE": DATABASE, "PGPASSWORD": PASSWORD}
        return {**os.environ, **who, "PGSSLMODE": "require", "PGGSSENCMODE": "disable", "PGPASSFILE": "/nonexistent"}

    @property
    def where(self) -> str:
        """A connection string for libpq."""
        return conninfo(self.port, sslmode="require")


def direct(bed: Measured) -> Arm:
    """Return PostgreSQL's own port."""
    return Arm("direct", bed.port("direct"), own_backend=True)


def pooled(bed: Measured) -> Arm:
    """Return Howdah's pooler."""
    version = bed.host.facts().pooler_version
    return Arm(
        "howdah", bed.port("pooled"), bed.pooler_pids(), prepared=version >= (1, 21), version=f"PgBouncer {'.'.join(map(str, version))}"
    )


@contextmanager
def tuned(bed: Measured, clients: int) -> Iterator[Arm]:
    """Run a PgBouncer as somebody who knows it well would set it up by hand."""
    from howdah.host import installed

    program = installed.find_binary()
    assert program is not None
    place, port, version = bed.home / "tuned", free_port(), bed.host.facts().pooler_version
    account = bed.host.facts().pooler_user
    _directory(place, account)
    _pair(bed, place, account)
    _put(place / "users.txt", f'"{ROLE}" "{_verifier(bed)}"\n', account)
    text = _tuned_text(bed, place, port, clients, version)
    processes = []
    try:
        for number in range(max(len(bed.pooler_pids()), 1)):
            _directory(place / str(number), account)
            _put(place / str(number) / "pgbouncer.ini", text, account)
            processes.append(_run([program, "pgbouncer.ini"], place / str(number), account))
        _await(port, processes)
        yield Arm("tuned", port, [each.pid for each in processes], text, version >= (1, 21), f"PgBouncer {'.'.join(map(str, version))}")
    finally:
        _end(processes, signal.SIGTERM)


def _tuned_text(bed: Measured, place: Path, port: int, clients: int, version: tuple[int, ...]) -> str:
    carries = "max_prepared_statements = 200\n" if version >= (1, 21) else ""
    return f"""[databases]
{DATABASE} = host={bed.host.layout(bed.want.id).socket_dir} port={bed.port("direct")} dbname={DATABASE}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
so_reuseport = 1
listen_backlog = 4096
auth_type = scram-sha-256
auth_file = {place}/users.txt
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = {clients}
{carries}client_tls_sslmode = require
client_tls_protocols = secure
client_tls_key_file = {place}/key
client_tls_cert_file = {place}/crt
client_tls_ecdhcurve = prime256v1
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
ignore_startup_parameters = extra_float_digits
logfile = log
pidfile = pid
"""


def pgpool_program() -> Path | None:
    """Return pgpool-II, of PGPOOL or of PATH; None where it is not there."""
    found = os.environ.get("PGPOOL") or shutil.which("pgpool", path=f"{os.environ['PATH']}:/usr/sbin")
    return Path(found) if found else None


@contextmanager
def pgpool(bed: Measured, program: Path, clients: int) -> Iterator[Arm]:
    """Run pgpool-II, as Debian has it, as a pooler of connections alone: one server, raw mode, one child for each client."""
    place, port, account = bed.home / "pgpool", free_port(), bed.host.facts().pooler_user
    _directory(place, account)
    _pair(bed, place, account)
    _put(place / "pool_passwd", f"{ROLE}:TEXT{PASSWORD}\n", account)
    _put(place / "pool_hba.conf", "hostssl all all 127.0.0.1/32 scram-sha-256\n", account)
    text = _pgpool_text(bed, place, port, clients)
    _put(place / "pgpool.conf", text, account)
    library = {"LD_LIBRARY_PATH": str(program.parents[2] / "usr/lib/x86_64-linux-gnu")} if "PGPOOL" in os.environ else {}
    command: list[str | Path] = [program, "-n", "-f", "pgpool.conf", "-a", "pool_hba.conf", "-k", "/nonexistent"]
    processes = [_run(command, place, account, **library)]
    try:
        _await(port, processes)
        version = subprocess.run([program, "--version"], capture_output=True, text=True, env={**os.environ, **library}, check=False)
        told = (version.stderr or version.stdout).strip().split(" (")[0]
        yield Arm("pgpool", port, pids_below(place, "pgpool"), text, version=told, own_backend=True)
    finally:
        _end(processes, signal.SIGINT)  # fast shutdown


def _pgpool_text(bed: Measured, place: Path, port: int, clients: int) -> str:
    return f"""backend_clustering_mode = 'raw'
listen_addresses = '127.0.0.1'
port = {port}
socket_dir = '{place}'
pcp_listen_addresses = ''
pcp_socket_dir = '{place}'
pcp_port = {free_port()}
backend_hostname0 = '{bed.host.layout(bed.want.id).socket_dir}'
backend_port0 = {bed.port("direct")}
backend_weight0 = 1
num_init_children = {clients}
max_pool = 1
connection_cache = on
child_life_time = 0
listen_backlog_multiplier = 2
enable_pool_hba = on
pool_passwd = 'pool_passwd'
allow_clear_text_frontend_auth = off
ssl = on
ssl_key = '{place}/key'
ssl_cert = '{place}/crt'
ssl_ecdh_curve = 'prime256v1'
load_balance_mode = off
sr_check_period = 0
health_check_period = 0
log_destination = 'stderr'
logging_collector = off
pid_file_name = '{place}/pid'
logdir = '{place}'
work_dir = '{place}'
"""


def _verifier(bed: Measured) -> str:
    from howdah.host import sql
    from howdah.phrase import say

    with sql.control(bed.host.seat(bed.want), say("measure")) as session:
        row = session.execute(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{ROLE}'").fetchone()
    assert row is not None
    return str(row[0])


def _pair(bed: Measured, place: Path, account: str) -> None:
    """Give it a certificate of the same authority and kind."""
    from howdah.host import pki

    pair = pki.issue(bed.home, place / "tls", "pooled", ["127.0.0.1"], 10)
    for ending in ("key", "crt"):
        _put(place / ending, (place / "tls" / f"pooled.{pair.serial}.{ending}").read_text(), account)


def _directory(path: Path, account: str) -> None:
    path.mkdir(mode=_DIRECTORY)
    path.chmod(_DIRECTORY)
    if os.geteuid() == 0:
        shutil.chown(path, account, account)


def _put(path: Path, text: str, account: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(path, account, account)


def _run(command: Sequence[str | Path], place: Path, account: str, **environment: str) -> subprocess.Popen[bytes]:
    other, told = account if os.geteuid() == 0 else None, {**os.environ, **environment}
    groups: list[str] | None = [] if other else None
    with (place / "said").open("wb") as said:
        return subprocess.Popen(
            command, cwd=place, stdout=said, stderr=said, env=told, start_new_session=True, user=other, group=other, extra_groups=groups
        )


def _await(port: int, processes: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if time.monotonic() > deadline or any(each.poll() is not None for each in processes):
            raise SystemExit(f"{processes[0].args!r} did not start; see its file `said`")
        time.sleep(0.01)


def _end(processes: Sequence[subprocess.Popen[bytes]], how: int) -> None:
    for each in processes:
        each.send_signal(how)
    for each in processes:
        try:
            each.wait(10)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)  # its own session, and its children's
            each.wait(10)
