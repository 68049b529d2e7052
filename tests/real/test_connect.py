"""Every snippet executed, as printed, in a clean environment: against PostgreSQL and against PgBouncer in each pool mode, with ordinary
and with hostile names, under a good CA, a foreign one and a wrong host name, and against servers that speak in clear.

What was measured stands in tests/real/clients.json, from which docs/reference/clients.md is made: HOWDAH_MEASURED=write writes it anew.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.real import measured, recipes
from tests.real.hops import (
    HOPS,
    ORDINARY,
    OTHER_NAME,
    PASSWORD,
    PASSWORDS,
    Servers,
    in_clear,
    running_servers,
    target,
)
from tests.real.recipes import Ran, as_python, as_service, execute, good, run

from howdah.connect import Target, _libpq, clients, snippet
from howdah.errors import Unsupported
from howdah.secret import Secret

# Those whose programs find the password, the CA and everything else by libpq
ON_LIBPQ = ("conninfo", "django", "env", "pgbench", "psql", "psycopg2", "python", "service", "sqlalchemy", "uri")
# What a format or a driver cannot do, which is refused when the snippet is asked for
NO_HOSTILE_NAMES = ("asyncpg", "odbc", "pdo", "prisma")
NO_STATEMENT_MODE = ("asyncpg",)


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with running_servers() as made:
        yield made


@dataclass(frozen=True)
class Cell:
    """One connection that is tried: what is there on the other side, whom it reaches, and what must come of it."""

    hop: str
    situation: str
    wanted: Target
    expected: str

    @property
    def key(self) -> str:
        return f"{self.hop}, {self.wanted.sslmode}, {self.situation}"


def cells(servers: Servers) -> Iterator[Cell]:
    """Return the matrix: verify-full on each hop in each situation, and what require and disable are."""
    for mode in HOPS:
        hop, wanted = mode or "direct", target(servers, mode, "verify-full", ORDINARY)
        yield Cell(hop, "good CA", wanted, "encrypted")
        yield Cell(hop, "foreign CA", replace(wanted, ca_file=servers.foreign), "refused")
        yield Cell(hop, "wrong host name", target(servers, mode, "verify-full", ORDINARY, OTHER_NAME), "refused")
        yield Cell(hop, "server in clear", in_clear(servers, wanted), "refused")
    for mode in HOPS:
        hop, wanted = mode or "direct", target(servers, mode, "require", ORDINARY)
        yield Cell(hop, "good CA", wanted, "encrypted")
        yield Cell(hop, "wrong host name", target(servers, mode, "require", ORDINARY, OTHER_NAME), "encrypted")
        yield Cell(hop, "server in clear", in_clear(servers, wanted), "refused")
    # The server in clear would have served: what refused was the client
    yield Cell("direct", "server in clear", in_clear(servers, target(servers, None, "disable", ORDINARY)), "in clear")


def outcome(cell: Cell, done: Ran) -> str:
    """Return in a word what came of a connection; everything unclear is told whole."""
    if not good(done):
        return "encrypted"
    if cell.wanted.sslmode == "disable" and not good(done, "no"):
        return "in clear"
    if done.returncode != 0 and done.stderr.strip() and "answer" not in done.stdout:
        return "refused"
    return f"unclear: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"


def fresh(root: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=root))


@pytest.fixture
def client(request: pytest.FixtureRequest) -> str:
    """The name of a client whose driver is there."""
    name: str = request.param
    if reason := recipes.reason_to_skip(name):
        pytest.skip(reason)
    return name


def seen_by_the_poolers(servers: Servers) -> Counter[tuple[str, str]]:
    """Return how many logins each pooler saw, by its mode and how it saw them encrypted; those of the poolers in clear apart."""
    seen = [(mode, how.split("/")[0]) for mode in HOPS if mode for how in servers.logins(mode)]
    return Counter(seen + [("clear", how) for mode in HOPS if mode for how in servers.logins(mode, clear=True)])


def held_against_the_poolers(servers: Servers, before: Counter[tuple[str, str]]) -> None:
    """What the programs said is what the poolers saw: each login encrypted, and no word of one at a pooler that speaks in clear."""
    said = Counter(str(cell.wanted.pool_mode) for cell in cells(servers) if cell.wanted.pooled and cell.expected == "encrypted")
    seen = seen_by_the_poolers(servers) - before
    assert all(how.startswith("TLSv1.") for _, how in seen), seen
    for mode, count in said.items():
        assert sum(seen[each] for each in seen if each[0] == mode) >= count, seen


@pytest.mark.parametrize("client", clients(), indirect=True)
def test_good_connections_are_encrypted_and_bad_ones_refused(servers: Servers, tmp_path: Path, client: str) -> None:
    def tried(cell: Cell) -> tuple[str, str]:
        return cell.key, outcome(cell, execute(client, cell.wanted, fresh(tmp_path)))

    before = seen_by_the_poolers(servers)
    with ThreadPoolExecutor(2) as pool:
        found = dict(pool.map(tried, cells(servers)))
    assert found == {cell.key: cell.expected for cell in cells(servers)}
    held_against_the_poolers(servers, before)
    measured.check(client, "connections", found, recipes.RECIPES[client].version())


@pytest.mark.parametrize("client", clients(), indirect=True)
def test_hostile_names_and_each_pool_mode(servers: Servers, tmp_path: Path, client: str) -> None:
    wishes: dict[str | None, Target] = {mode: target(servers, mode, "verify-full") for mode in (None, "transaction")}
    if client in NO_HOSTILE_NAMES:
        with pytest.raises(Unsupported, match="cannot write"):
            snippet(client, wishes.pop(None))
        wishes.clear()
    for sslmode in ("require", "verify-full"):
        wishes[f"statement, {sslmode}"] = target(servers, "statement", sslmode, ORDINARY)
        if client in NO_STATEMENT_MODE and not servers.carries:
            with pytest.raises(Unsupported, match="statement"):
                snippet(client, wishes.pop(f"statement, {sslmode}"))
    for wanted in wishes.values():
        assert not good(execute(client, wanted, fresh(tmp_path))), wanted


@pytest.mark.parametrize("client", clients(), indirect=True)
def test_a_wrong_password_is_a_failure_and_one_of_the_environment_is_found(servers: Servers, tmp_path: Path, client: str) -> None:
    wanted = target(servers, None, "require", ORDINARY)
    wrong = tmp_path / "wrong"
    wrong.touch(0o600)
    wrong.write_text(_libpq.passfile_line(wanted, Secret("guess")).reveal() + "\n")
    done = execute(client, replace(wanted, passfile=wrong), fresh(tmp_path))
    assert done.returncode != 0 and re.search("password authentication failed|Authentication failed", done.stderr), done.stderr
    away = replace(target(servers, "session", "verify-full", ORDINARY), passfile=None)
    assert not good(execute(client, away, fresh(tmp_path), PGPASSWORD=PASSWORDS[away.user]))


@pytest.mark.parametrize("client", ON_LIBPQ, indirect=True)
def test_without_a_passfile_libpq_finds_the_password(servers: Servers, tmp_path: Path, client: str) -> None:
    wanted = replace(target(servers, "session", "verify-full"), passfile=None)
    assert not good(execute(client, wanted, tmp_path, PGPASSWORD=PASSWORD))
    own = tmp_path / ".pgpass"
    own.touch(0o600)
    own.write_text(_libpq.passfile_line(wanted, Secret(PASSWORD)).reveal() + "\n")
    assert not good(execute(client, wanted, tmp_path))


@pytest.mark.parametrize("client", ("psql", "psycopg2", "asyncpg", "php", "ruby", "odbc"), indirect=True)
def test_require_is_verify_ca_where_a_root_certificate_lies_at_home(servers: Servers, tmp_path: Path, client: str) -> None:
    """The fact behind the note on require: libpq reads ~/.postgresql/root.crt although nothing names it; asyncpg follows it."""
    place = tmp_path / ".postgresql" / "root.crt"
    place.parent.mkdir()
    shutil.copy(servers.foreign, place)
    done = execute(client, target(servers, "session", "require", ORDINARY), tmp_path)
    assert done.returncode != 0 and "certificate verify failed" in done.stderr, done.stderr
    shutil.copy(servers.ca, place)
    assert not good(execute(client, target(servers, "session", "require", ORDINARY), tmp_path))


def test_what_is_measured_is_of_today() -> None:
    """Each client that there is was measured, or says why not; what executed it is what is locked."""
    assert set(measured.read()) == set(clients()) == set(recipes.RECIPES)


@pytest.mark.parametrize("client", ["odbc"], indirect=True)
@pytest.mark.parametrize("mode", [None, "transaction"], ids=str)
def test_the_dsn_says_what_the_connection_string_says(servers: Servers, tmp_path: Path, client: str, mode: str | None) -> None:
    for host, works in (("127.0.0.1", True), (OTHER_NAME, False)):
        wanted = target(servers, mode, "verify-full", ORDINARY, host)
        (tmp_path / "odbc.ini").write_text(snippet(client, wanted).files["odbc.ini"])
        program = f"import pyodbc; print(pyodbc.connect('DSN={wanted.label}').execute('SELECT 6 * CAST(? AS int)', 7).fetchone()[0])"
        done = run([sys.executable, "-c", program], tmp_path, {"ODBCINI": str(tmp_path / "odbc.ini")})
        assert done.stdout.strip() == ("42" if works else ""), done.stderr
        assert works or "does not match host name" in done.stderr


def test_the_environment_overcomes_what_was_left_in_it(servers: Servers, tmp_path: Path) -> None:
    left = {"PGSERVICE": "another", "PGHOSTADDR": "127.0.0.9", "PGSSLROOTCERT": str(servers.foreign), "PGCHANNELBINDING": "require"}
    assert not good(execute("env", target(servers, "session", "require"), tmp_path, **left))


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
        done = as_service(replace(made, files={**made.files, "pg_service.conf": section}), wanted, tmp_path, {})
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
        return as_python(replace(made, text=made.text + TWICE[client]), wanted, tmp_path, {})

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
    done = as_python(replace(made, text=made.text + ITERATE), wanted, tmp_path, {})
    assert done.returncode == 0, done.stderr
    assert f"cursors left on the server: {cursors}" in done.stdout
