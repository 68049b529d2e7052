"""Every snippet executed, as printed, in a clean environment: against PostgreSQL and against PgBouncer in each pool mode, with ordinary
and with hostile names, under a good CA, a foreign one and a wrong host name."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
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

from howdah.connect import Snippet, SslMode, Target, _libpq, clients, snippet
from howdah.core.endpoint import Endpoint
from howdah.core.instance import check_database, check_role
from howdah.secret import Secret

BIN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), Path("/usr/bin"))
PGBOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or "pgbouncer"
OWNER = "postgres" if os.geteuid() == 0 else None
MODES = ("session", "transaction", "statement")
SECONDS = 30.0
CLEAN = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

# The names as Howdah itself would take them; the endpoint's certificate is for 127.0.0.1 and not for OTHER_NAME, where all listen too.
ORDINARY = ("shop", "app")
HOSTILE = (check_database("postgresql://h/a=b 'q\" \\%41{0}$(id)`id` ü"), check_role('-o\'Br "en":@\\#%s{x} *;&?é'))
UNENCRYPTED = ("clear", "app")
PASSWORD = "p:a\\s 's\"%§*#ü"
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
    ca: Path
    foreign: Path
    passfile: Path
    carries: bool  # this PgBouncer carries prepared statements, as far as psycopg needs it (1.22)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    root = Path(tempfile.mkdtemp(prefix="c-"))
    root.chmod(0o755)
    carries = pgbouncer_version() >= (1, 22)
    made = Servers(dict(zip((None, *MODES), free_ports(4), strict=True)), root / "ca.crt", root / "foreign.crt", root / "pass", carries)
    certificates(root)
    with ExitStack() as stack:
        stack.enter_context(postgres(root, made.ports[None]))
        for mode in MODES:
            stack.enter_context(pgbouncer(root, mode, made))
        roles_and_databases(root, made.ports[None])
        passwords(made)
        yield made
    shutil.rmtree(root)


def pgbouncer_version() -> tuple[int, ...]:
    text = subprocess.run([PGBOUNCER, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


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
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((OTHER_NAME, port)) == 0:
                return
        time.sleep(0.005)
    pytest.fail(f"no answer on port {port}:\n{log.read_text()}")


def own_directory(path: Path) -> Path:
    path.mkdir(mode=0o700)
    if OWNER:
        shutil.chown(path, OWNER)
    return path


@contextmanager
def postgres(root: Path, port: int) -> Iterator[None]:
    home = own_directory(root / "pg")
    data = home / "data"
    initdb = [str(BIN / "initdb"), "-N", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"]
    subprocess.run(initdb, cwd=home, env=CLEAN, check=True, capture_output=True, user=OWNER, timeout=SECONDS * 4)
    (data / "pg_hba.conf").write_text(HBA)
    settings = {
        "listen_addresses": f"127.0.0.1,{OTHER_NAME}",
        "port": port,
        "unix_socket_directories": home,
        "fsync": "off",
        "ssl": "on",
        "ssl_cert_file": root / "server.crt",
        "ssl_key_file": root / "server.key",
    }
    with running([str(BIN / "postgres"), "-D", str(data), *(f"--{key}={value}" for key, value in settings.items())], home, port):
        yield


@contextmanager
def pgbouncer(root: Path, mode: str, made: Servers) -> Iterator[None]:
    home = own_directory(root / mode)
    lines = [
        "[databases]",
        f"* = host={root / 'pg'} port={made.ports[None]}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1,{OTHER_NAME}",
        f"listen_port = {made.ports[mode]}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        "auth_user = postgres",
        f"auth_query = {LOOKUP}",
        "client_tls_sslmode = require",
        f"client_tls_cert_file = {root / 'server.crt'}",
        f"client_tls_key_file = {root / 'server.key'}",
        f"pool_mode = {mode}",
        # one server connection for all clients of a pool, so that what one leaves there the other finds
        f"default_pool_size = {1 if mode == 'transaction' else 4}",
        *(["max_prepared_statements = 100"] if made.carries else []),
    ]
    (home / "b.ini").write_text("\n".join(lines) + "\n")
    with running([PGBOUNCER, str(home / "b.ini")], home, made.ports[mode]):
        yield


def roles_and_databases(root: Path, port: int) -> None:
    with psycopg.connect(host=str(root / "pg"), port=port, user="postgres", dbname="postgres", autocommit=True) as control:
        for database, user in (ORDINARY, HOSTILE):
            control.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(user), sql.Literal(PASSWORD)))
            control.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        control.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(UNENCRYPTED[0])))


def passwords(made: Servers) -> None:
    targets = [
        target(made, mode, "require", names, host)
        for mode in made.ports
        for names in (ORDINARY, HOSTILE, UNENCRYPTED)
        for host in ("127.0.0.1", OTHER_NAME)
    ]
    made.passfile.write_text("".join(_libpq.passfile_line(each, Secret(PASSWORD)).reveal() + "\n" for each in targets))
    made.passfile.chmod(0o600)


def target(made: Servers, mode: str | None, sslmode: SslMode, names: tuple[str, str] = HOSTILE, host: str = "127.0.0.1") -> Target:
    endpoint = Endpoint("direct" if mode is None else "pooled", host, made.ports[mode], sslmode != "disable", (host,))
    return Target(endpoint, names[0], names[1], sslmode, made.ca, made.passfile, mode, "demo", made.carries and mode is not None)


Ran = subprocess.CompletedProcess[str]
Recipe = Callable[[Snippet, Target, Path, dict[str, str]], Ran]


def run(command: list[str], home: Path, environment: dict[str, str], text: str = "") -> Ran:
    clean = CLEAN | {"HOME": str(home)} | environment
    return subprocess.run(command, cwd=home, env=clean, input=text, capture_output=True, text=True, timeout=SECONDS * 2)


# What a person would type at psql's prompt; \conninfo is libpq's own view, pg_stat_ssl the server's.
QUESTIONS = "\\pset tuples_only on\n\\pset format unaligned\nSELECT 'answer: ' || 6 * 7;\n\\conninfo\n"
SEEN = "SELECT 'encrypted: ' || CASE WHEN ssl THEN 'yes' ELSE 'no' END FROM pg_stat_ssl WHERE pid = pg_backend_pid();\n"


def ask(command: list[str], wanted: Target, home: Path, environment: dict[str, str]) -> Ran:
    done = run(command, home, environment, QUESTIONS if wanted.pooled else QUESTIONS + SEEN)
    secure = re.search(r"SSL connection \(protocol: TLS|SSL Connection\|true", done.stdout)
    said = f"encrypted: {'yes' if secure else 'no'}\n"
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout + said if wanted.pooled else done.stdout, done.stderr)


def as_command(made: Snippet, wanted: Target, home: Path, environment: dict[str, str]) -> Ran:
    return ask(["sh", "-c", made.text], wanted, home, environment)


def as_uri(made: Snippet, wanted: Target, home: Path, environment: dict[str, str]) -> Ran:
    return ask(["psql", made.text.strip()], wanted, home, environment)


def as_environment(made: Snippet, wanted: Target, home: Path, environment: dict[str, str]) -> Ran:
    (home / made.filename).write_text(made.text)
    return ask(["sh", "-c", f". ./{made.filename} && exec psql"], wanted, home, environment)


def as_service(made: Snippet, wanted: Target, home: Path, environment: dict[str, str]) -> Ran:
    (home / ".pg_service.conf").write_text("[another]\nhost=nowhere.invalid\n\n" + made.files["pg_service.conf"] + "[last]\nport=1\n")
    return ask(["psql", f"service={wanted.label}"], wanted, home, environment)


def as_program(made: Snippet, wanted: Target, home: Path, environment: dict[str, str]) -> Ran:
    (home / made.filename).write_text(made.text)
    return run([sys.executable, "-W", "error", made.filename], home, environment)


RECIPES: dict[str, Recipe] = {"psql": as_command, "uri": as_uri, "env": as_environment, "service": as_service}


def execute(client: str, wanted: Target, home: Path, **environment: str) -> Ran:
    made = snippet(client, wanted)
    recipe = as_program if made.language == "python" else RECIPES[client]
    return recipe(made, wanted, home, environment)


def assert_good(done: Ran, encrypted: str = "yes") -> None:
    assert done.returncode == 0, done.stderr
    assert "answer: 42" in done.stdout.splitlines()
    assert [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("encrypted")] == [encrypted]


@pytest.mark.parametrize("client", clients())
@pytest.mark.parametrize("mode", [None, *MODES], ids=str)
@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_it_works_as_printed_with_hostile_names(servers: Servers, tmp_path: Path, client: str, mode: str | None, sslmode: SslMode) -> None:
    assert_good(execute(client, target(servers, mode, sslmode), tmp_path))


@pytest.mark.parametrize("client", clients())
@pytest.mark.parametrize("mode", [None, "transaction"], ids=str)
@pytest.mark.parametrize("sslmode", ["require", "verify-full"])
def test_it_works_as_printed(servers: Servers, tmp_path: Path, client: str, mode: str | None, sslmode: SslMode) -> None:
    assert_good(execute(client, target(servers, mode, sslmode, ORDINARY), tmp_path))


@pytest.mark.parametrize("client", clients())
@pytest.mark.parametrize("mode", [None, "transaction"], ids=str)
def test_verify_full_refuses_a_foreign_ca(servers: Servers, tmp_path: Path, client: str, mode: str | None) -> None:
    done = execute(client, replace(target(servers, mode, "verify-full", ORDINARY), ca_file=servers.foreign), tmp_path)
    assert done.returncode != 0 and "certificate verify failed" in done.stderr
    assert "answer" not in done.stdout


@pytest.mark.parametrize("client", clients())
@pytest.mark.parametrize("mode", [None, "transaction"], ids=str)
def test_verify_full_refuses_a_wrong_host_name_and_require_does_not(
    servers: Servers, tmp_path: Path, client: str, mode: str | None
) -> None:
    done = execute(client, target(servers, mode, "verify-full", ORDINARY, OTHER_NAME), tmp_path)
    assert done.returncode != 0 and "does not match host name" in done.stderr
    assert "answer" not in done.stdout
    assert_good(execute(client, target(servers, mode, "require", ORDINARY, OTHER_NAME), tmp_path))


@pytest.mark.parametrize("client", clients())
def test_a_wrong_password_is_a_failure(servers: Servers, tmp_path: Path, client: str) -> None:
    wanted = target(servers, None, "require", ORDINARY)
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(_libpq.passfile_line(wanted, Secret("guess")).reveal() + "\n")
    done = execute(client, replace(wanted, passfile=wrong), tmp_path)
    assert done.returncode != 0 and "password authentication failed" in done.stderr


@pytest.mark.parametrize("client", clients())
def test_without_a_passfile_libpq_finds_the_password(servers: Servers, tmp_path: Path, client: str) -> None:
    wanted = replace(target(servers, "session", "verify-full"), passfile=None)
    assert_good(execute(client, wanted, tmp_path, PGPASSWORD=PASSWORD))
    own = tmp_path / ".pgpass"
    own.touch(0o600)
    own.write_text(_libpq.passfile_line(wanted, Secret(PASSWORD)).reveal() + "\n")
    assert_good(execute(client, wanted, tmp_path))


@pytest.mark.parametrize("client", clients())
def test_disable_says_that_nothing_is_encrypted(servers: Servers, tmp_path: Path, client: str) -> None:
    assert_good(execute(client, target(servers, None, "disable", UNENCRYPTED), tmp_path), encrypted="no")


@pytest.mark.parametrize("client", clients())
def test_require_is_verify_ca_where_a_root_certificate_lies_at_home(servers: Servers, tmp_path: Path, client: str) -> None:
    """The fact behind the note on require: libpq reads ~/.postgresql/root.crt although nothing names it."""
    place = tmp_path / ".postgresql" / "root.crt"
    place.parent.mkdir()
    shutil.copy(servers.foreign, place)
    done = execute(client, target(servers, "session", "require"), tmp_path)
    assert done.returncode != 0 and "certificate verify failed" in done.stderr
    shutil.copy(servers.ca, place)
    assert_good(execute(client, target(servers, "session", "require"), tmp_path))


def test_the_environment_overcomes_what_was_left_in_it(servers: Servers, tmp_path: Path) -> None:
    left = {"PGSERVICE": "another", "PGHOSTADDR": "127.0.0.9", "PGSSLROOTCERT": str(servers.foreign), "PGCHANNELBINDING": "require"}
    assert_good(execute("env", target(servers, "session", "require"), tmp_path, **left))


def test_the_pooler_has_no_channel_binding_and_postgresql_has(servers: Servers, tmp_path: Path) -> None:
    for mode, works in ((None, True), ("session", False)):
        text = _libpq.conninfo(_libpq.keywords(target(servers, mode, "require")) | {"channel_binding": "require"})
        done = run(["psql", text, "-c", "SELECT 1"], tmp_path, {})
        assert (done.returncode == 0) == works, done.stderr
        assert works or "channel binding" in done.stderr


def test_a_service_line_holds_as_many_bytes_as_we_say(servers: Servers, tmp_path: Path) -> None:
    wanted = target(servers, None, "require", ORDINARY)
    for extra, refused in ((0, False), (1, True)):
        name = "x" * (1021 - len("application_name=") + extra)
        made = snippet("service", wanted)
        section = made.text + f"application_name={name}\n"
        done = as_service(replace(made, files={"pg_service.conf": section}), wanted, tmp_path, {})
        assert ("too long in service file" in done.stderr) == refused, done.stderr
        assert (done.returncode == 0) != refused


TWICE = {
    "python": """
with psycopg.connect(**CONNECT) as one, psycopg.connect(**CONNECT) as two:
    for number in range(8):
        for each in (one, two):
            each.execute("SELECT %s::int", (number,))
            each.commit()
""",
    "sqlalchemy": """
with engine.connect() as one, engine.connect() as two:
    for number in range(8):
        for each in (one, two):
            each.execute(text("SELECT CAST(:number AS int)"), {"number": number})
            each.commit()
engine.dispose()
""",
}


@pytest.mark.parametrize("client", TWICE)
def test_prepared_statements_hold_in_transaction_mode(servers: Servers, tmp_path: Path, client: str) -> None:
    """Two clients take turns on one server connection, often enough for psycopg to prepare."""

    def outcome(wanted: Target) -> Ran:
        made = snippet(client, wanted)
        return as_program(replace(made, text=made.text + TWICE[client]), wanted, tmp_path, {})

    wanted = target(servers, "transaction", "require")
    done = outcome(wanted)
    assert done.returncode == 0, done.stderr
    if not servers.carries:  # the same program, told that the pooler carries them, shows what the setting is for
        done = outcome(replace(wanted, prepared=True))
        assert done.returncode != 0 and re.search(r"prepared statement .* already exists", done.stderr), done.stderr


ITERATE = """
from django.db import models

class Setting(models.Model):
    name = models.TextField(primary_key=True)

    class Meta:
        managed = False
        app_label = "demo"
        db_table = "pg_settings"

rows = Setting.objects.iterator(chunk_size=2)
next(rows)
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM pg_catalog.pg_cursors WHERE is_holdable")
    print("cursors left on the server:", cursor.fetchone()[0])
rows.close()
connection.close()
"""


@pytest.mark.parametrize(("mode", "cursors"), [(None, 1), ("session", 1), ("transaction", 0)])
def test_django_leaves_no_cursor_on_a_shared_connection(servers: Servers, tmp_path: Path, mode: str | None, cursors: int) -> None:
    made = snippet("django", wanted := target(servers, mode, "require"))
    done = as_program(replace(made, text=made.text + ITERATE), wanted, tmp_path, {})
    assert done.returncode == 0, done.stderr
    assert f"cursors left on the server: {cursors}" in done.stdout


def test_every_client_has_a_way_to_be_executed() -> None:
    every = {
        client: snippet(client, Target(Endpoint("direct", "h", 1, True, ()), "d", "u", "require", Path("c"), None, None, "i", False))
        for client in clients()
    }
    assert {client for client, made in every.items() if made.language != "python"} == set(RECIPES)
