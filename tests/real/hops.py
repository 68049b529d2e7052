"""The servers that clients are tried on: PostgreSQL and a PgBouncer in each pool mode, all with a certificate for 127.0.0.1 and not for
OTHER_NAME, where they listen, too; and the same again in clear alone."""

from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from psycopg import sql
from tests.real.servers import free_port

from howdah.connect import SslMode, Target, _libpq
from howdah.core.endpoint import Endpoint
from howdah.core.instance import check_database, check_role
from howdah.secret import Secret

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/usr/bin"))
PGBOUNCER = (
    os.environ.get("HOWDAH_PGBOUNCER") or shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or "pgbouncer"
)
OWNER = "postgres" if os.geteuid() == 0 else None
MODES = ("session", "transaction", "statement")
HOPS = (None, "session", "transaction")
SECONDS = 60.0
CLEAN = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

# The names as Howdah itself would take them; the endpoint's certificate is for 127.0.0.1 and not for OTHER_NAME, where all listen too.
ORDINARY = ("shop", "app")
HOSTILE = (check_database("postgresql://h/a=b 'q\" \\%41{0}$(id)`id` ü"), check_role('-o\'Br "en":@\\#%s{x} *;&?é'))
UNENCRYPTED = ("clear", "app")
# Of the ordinary user as Howdah makes one, of the other as a person may; not every driver's reader of passfiles can take that.
PASSWORD = "p:a\\s 's\"%§*#ü"
PASSWORDS = {ORDINARY[1]: "n0tARealPassw0rdButMadeUp", HOSTILE[1]: PASSWORD}
OTHER_NAME = "127.0.0.2"

LOOKUP = "SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1"
HBA = """\
local     all     postgres               trust
local     all     all                    scram-sha-256
hostnossl "clear" all      127.0.0.0/8   scram-sha-256
hostssl   all     all      127.0.0.0/8   scram-sha-256
"""


@dataclass(frozen=True)
class Servers:
    """Ports by pool mode (None: PostgreSQL itself), the CA that signed them, another CA, and a passfile for everything."""

    ports: dict[str | None, int]
    clear: dict[str | None, int]  # the same, without TLS
    ca: Path
    foreign: Path
    passfile: Path
    carries: bool  # this PgBouncer carries prepared statements, as far as psycopg needs it (1.22)
    size: int  # server connections of the pool in transaction mode
    root: Path  # where they live

    def logins(self, mode: str, clear: bool = False) -> list[str]:
        """Return how the pooler of a mode saw each login encrypted, oldest first, `no` for one in clear: its own log (client.c)."""
        said = (self.root / (f"{mode}-clear" if clear else mode) / "out").read_text()
        return re.findall(r"login attempt: db=\S+ user=\S+ tls=(\S+)", said)

    def clients(self, mode: str) -> list[dict[str, str]]:
        """Return the clients of a pooler as it sees them now, by its console, which is open to its own system user."""
        home = self.root / mode
        command = [
            "psql",
            "-h",
            str(home),
            "-p",
            str(self.ports[mode]),
            "-U",
            "pgbouncer",
            "-d",
            "pgbouncer",
            "--csv",
            "-c",
            "SHOW CLIENTS",
        ]
        done = subprocess.run(command, cwd=home, env=CLEAN, check=True, capture_output=True, text=True, user=OWNER, timeout=SECONDS)
        return [row for row in csv.DictReader(done.stdout.splitlines()) if row["database"] != "pgbouncer"]


@contextmanager
def running_servers(pooler: str = PGBOUNCER, size: int = 1) -> Iterator[Servers]:
    """Run them all, the poolers by `pooler`, that of transaction mode with so many server connections; end each by its pid."""
    root = Path(tempfile.mkdtemp(prefix="c-"))
    root.chmod(0o755)
    carries = pgbouncer_version(pooler) >= (1, 22)
    ports: dict[str | None, int] = {mode: free_port() for mode in (None, *MODES)}
    clear: dict[str | None, int] = {mode: free_port() for mode in HOPS}
    made = Servers(ports, clear, root / "ca.crt", root / "foreign.crt", root / "pass", carries, size, root)
    certificates(root)
    with ExitStack() as stack:
        stack.enter_context(postgres(root, made))
        for mode in MODES:
            stack.enter_context(pgbouncer(pooler, root, mode, made, ports[mode], tls=True))
        for mode in HOPS[1:]:
            stack.enter_context(pgbouncer(pooler, root, str(mode), made, clear[mode], tls=False))
        passwords(made)
        yield made
    shutil.rmtree(root)


def pgbouncer_version(pooler: str = PGBOUNCER) -> tuple[int, ...]:
    text = subprocess.run([pooler, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def certificates(root: Path) -> None:
    """Write two CAs, and a pair for 127.0.0.1 by the first."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    for key, place in zip(keys, ("ca.crt", "foreign.crt"), strict=False):
        authority = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, place)])
        (root / place).write_bytes(certificate(authority, key, authority, key, None))
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca.crt")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    (root / "server.crt").write_bytes(certificate(x509.Name([]), keys[2], issuer, keys[0], names))
    pem = keys[2].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (root / "server.key").write_bytes(pem)
    (root / "server.key").chmod(0o600)
    if OWNER:
        shutil.chown(root / "server.key", OWNER)


def certificate(
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signer: ec.EllipticCurvePrivateKey,
    names: x509.SubjectAlternativeName | None,
) -> bytes:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(hours=1))
    builder = builder.not_valid_after(now + timedelta(days=1)).add_extension(x509.BasicConstraints(names is None, None), critical=True)
    if names is not None:
        builder = builder.add_extension(names, critical=True)
    return builder.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@contextmanager
def running(command: list[str], directory: Path, port: int) -> Iterator[None]:
    """Run a server until it answers on its port, and end it by its own pid (SIGINT is PostgreSQL's fast stop)."""
    with (directory / "out").open("wb") as out:
        process = subprocess.Popen(command, cwd=directory, env=CLEAN, stdin=subprocess.DEVNULL, stdout=out, stderr=out, user=OWNER)
    try:
        wait_for(port, process, directory / "out")
        yield
    finally:
        process.send_signal(signal.SIGINT if command[0].endswith("postgres") else signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server listens, and PostgreSQL has written that it is ready (the last line of postmaster.pid)."""
    deadline = time.monotonic() + SECONDS
    status = log.parent / "data" / "postmaster.pid"
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            listens = probe.connect_ex((OTHER_NAME, port)) == 0
        if listens and (not status.exists() or status.read_text().rstrip().endswith("ready")):
            return
        time.sleep(0.005)
    pytest.fail(f"no answer on port {port}:\n{log.read_text()}")


def own_directory(path: Path) -> Path:
    path.mkdir(mode=0o700)
    if OWNER:
        shutil.chown(path, OWNER)
    return path


@contextmanager
def postgres(root: Path, made: Servers) -> Iterator[None]:
    """Run the server with TLS, and a copy of its files without."""
    home, clear = own_directory(root / "pg"), own_directory(root / "pg-clear")
    initdb = [str(BIN / "initdb"), "-N", "-D", str(home / "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run(initdb, cwd=home, env=CLEAN, check=True, capture_output=True, user=OWNER, timeout=SECONDS * 4)
    (home / "data" / "pg_hba.conf").write_text(HBA)
    with running(server(root, home, made.ports[None]), home, made.ports[None]):
        roles_and_databases(home, made.ports[None])
        with psycopg.connect(host=str(home), port=made.ports[None], user="postgres", dbname="postgres", autocommit=True) as control:
            control.execute("CHECKPOINT")
    subprocess.run(["cp", "-a", str(home / "data"), str(clear)], check=True)
    (clear / "data" / "pg_hba.conf").write_text(HBA.replace("hostssl ", "host "))
    with (
        running(server(root, home, made.ports[None]), home, made.ports[None]),
        running([*server(root, clear, made.clear[None]), "--ssl=off"], clear, made.clear[None]),
    ):
        yield


def server(root: Path, home: Path, port: int) -> list[str]:
    settings = {
        "listen_addresses": f"127.0.0.1,{OTHER_NAME}",
        "port": port,
        "unix_socket_directories": home,
        "fsync": "off",
        "shared_buffers": "16MB",
        "ssl": "on",
        "ssl_cert_file": root / "server.crt",
        "ssl_key_file": root / "server.key",
    }
    return [str(BIN / "postgres"), "-D", str(home / "data"), *(f"--{key}={value}" for key, value in settings.items())]


@contextmanager
def pgbouncer(pooler: str, root: Path, mode: str, made: Servers, port: int, tls: bool) -> Iterator[None]:
    home = own_directory(root / (mode if tls else f"{mode}-clear"))
    lines = [
        "[databases]",
        f"* = host={root / 'pg'} port={made.ports[None]}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1,{OTHER_NAME}",
        f"listen_port = {port}",
        f"unix_socket_dir = {home}",
        "auth_type = scram-sha-256",
        "auth_user = postgres",
        f"auth_query = {LOOKUP}",
        f"client_tls_sslmode = {'require' if tls else 'disable'}",
        f"client_tls_cert_file = {root / 'server.crt'}",
        f"client_tls_key_file = {root / 'server.key'}",
        f"pool_mode = {mode}",
        # few server connections for all clients of a pool, so that what one leaves there the other finds
        f"default_pool_size = {made.size if mode == 'transaction' else 4}",
        "ignore_startup_parameters = extra_float_digits,options",  # as Howdah writes it
        "query_wait_timeout = 20",
        *(["max_prepared_statements = 100"] if made.carries else []),
    ]
    (home / "b.ini").write_text("\n".join(lines) + "\n")
    with running([pooler, str(home / "b.ini")], home, port):
        yield


def roles_and_databases(home: Path, port: int) -> None:
    with psycopg.connect(host=str(home), port=port, user="postgres", dbname="postgres", autocommit=True) as control:
        for database, user in (ORDINARY, HOSTILE):
            control.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal(PASSWORDS[user])))
            control.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        control.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(UNENCRYPTED[0])))


def passwords(made: Servers) -> None:
    targets = [
        replace_port(target(made, mode, "require", names, host), port)
        for ports in (made.ports, made.clear)
        for mode, port in ports.items()
        for names in (ORDINARY, HOSTILE, UNENCRYPTED)
        for host in ("127.0.0.1", OTHER_NAME)
    ]
    made.passfile.write_text("".join(_libpq.passfile_line(each, Secret(PASSWORDS[each.user])).reveal() + "\n" for each in targets))
    made.passfile.chmod(0o600)


def target(made: Servers, mode: str | None, sslmode: SslMode, names: tuple[str, str] = HOSTILE, host: str = "127.0.0.1") -> Target:
    tls = sslmode != "disable"
    endpoint = Endpoint("direct" if mode is None else "pooled", host, made.ports[mode], tls, (host,))
    direct = None if mode is None else Endpoint("direct", host, made.ports[None], tls, (host,))
    return Target(endpoint, names[0], names[1], sslmode, made.ca, made.passfile, mode, "demo", made.carries and mode is not None, direct)


def in_clear(made: Servers, wanted: Target) -> Target:
    """Return the same target, at the server that speaks no TLS."""
    return replace_port(wanted, made.clear[wanted.pool_mode])


def replace_port(wanted: Target, port: int) -> Target:
    return replace(wanted, endpoint=replace(wanted.endpoint, port=port))
