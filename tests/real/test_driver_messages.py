"""Each message of a driver is given by the driver itself, for its cause, and explained; libpq's in its user's language, too.

A driver that is not on this machine is skipped, and says so. Node.js, Java, Go, Rust and asyncpg are run once for all of their messages.
Npgsql is not: Debian has no .NET SDK, so that its own words are not in the table.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from tests.real import probes, recipes
from tests.real.instances import DATABASE, PASSWORD, USER, Place, place

from howdah.catalog.messages import BY_PLACE, Message
from howdah.catalog.messages.matching import explain
from howdah.catalog.messages.russian import WORDS
from howdah.verify.stranger import FOREIGN_AUTHORITY

ROOT = Path(__file__).parents[2]
MODULES = ROOT / ".drivers" / "node" / "node_modules"
JAR = Path("/usr/share/java/postgresql.jar")
OF = {each.origin: [message for message in BY_PLACE["driver"] if message.origin == each.origin] for each in BY_PLACE["driver"]}
SECONDS = 120
Words = dict[str, str]


@dataclass(frozen=True)
class Bed:
    """An instance, and ports at which something else answers: the instance by another address, nobody, a web server, who hangs up."""

    here: Place
    relay: int
    mute: int
    web: int
    closer: int
    plain: int

    @property
    def good(self) -> Words:
        """What connects."""
        port = str(self.here.want().hop_port("direct"))
        ca = str(self.here.layout().ca_file)
        who = {"user": USER, "password": PASSWORD, "dbname": DATABASE}
        return {"host": "127.0.0.1", "port": port, **who, "sslmode": "verify-full", "sslrootcert": ca}


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with place() as made, ExitStack() as stack:
        made.create("shop")
        direct = made.want().hop_port("direct") or 0
        yield Bed(
            made,
            stack.enter_context(answering(lambda client: passed_on(client, direct), "127.0.0.2")),
            stack.enter_context(answering(None)),
            stack.enter_context(answering(lambda client: said_once(client, b"HTTP/1.0 400 Bad Request\r\n\r\n"))),
            stack.enter_context(answering(lambda client: said_once(client, b""))),
            stack.enter_context(answering(lambda client: said_once(client, b"N"))),
        )


@contextmanager
def answering(answer: Callable[[socket.socket], None] | None, host: str = "127.0.0.1") -> Iterator[int]:
    """Listen, and let each client have that answer; None: nobody ever accepts it."""
    with socket.create_server((host, 0)) as listener:
        if answer is not None:
            Thread(target=_serve, args=(listener, answer), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, answer: Callable[[socket.socket], None]) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        client.settimeout(20)
        Thread(target=answer, args=(client,), daemon=True).start()


def said_once(client: socket.socket, words: bytes) -> None:
    """Wait for the client to begin, say that, and hang up."""
    with client:
        client.recv(100)
        client.sendall(words)


def passed_on(client: socket.socket, port: int) -> None:
    """Pass everything on to another port."""
    with client, socket.create_connection(("127.0.0.1", port)) as server:
        back = Thread(target=_copied, args=(server, client), daemon=True)
        back.start()
        _copied(client, server)
        back.join(20)


def _copied(one: socket.socket, other: socket.socket) -> None:
    try:
        while found := one.recv(65536):
            other.sendall(found)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        return


def foreign(bed: Bed) -> str:
    file = bed.here.home / "foreign.crt"
    file.write_text(FOREIGN_AUTHORITY)
    return str(file)


# What differs from a good connection, by the part of a message's id behind its driver.
FAULTS: Mapping[str, Callable[[Bed], Words]] = {
    "authority": lambda bed: {"sslrootcert": foreign(bed)},
    "name": lambda bed: {"host": "127.0.0.2", "port": str(bed.relay)},
    "no-tls": lambda bed: {"port": str(bed.plain)},
    "stranger": lambda bed: {"port": str(bed.web)},
    "refused": lambda bed: {"port": "1"},
    "no-host": lambda bed: {"host": "nothing.invalid"},
    "silence": lambda bed: {"port": str(bed.mute)},
    "broken": lambda bed: {"port": str(bed.closer)},
    "no-root": lambda bed: {"sslrootcert": "/nonexistent/ca.crt"},
    "bad-root": lambda bed: {"sslrootcert": "/etc/hostname"},
    "no-password": lambda bed: {"password": ""},
    "mode": lambda bed: {"sslmode": "strict"},
    "pool": lambda bed: {"pool": "1"},
    "option": lambda bed: {},
}


def fault(message: Message, bed: Bed) -> Words:
    return FAULTS[message.id.partition("-")[2]](bed)


def check(message: Message, said: str) -> None:
    assert message.is_in(said), said
    assert explain(said)[0].message.words == message.words or message.words in {match.message.words for match in explain(said)}


# --- libpq --------------------------------------------------------------------------------------------------------------------------

OTHERWISE: Mapping[str, Callable[[Bed], Words]] = {
    "libpq-socket": lambda bed: {"host": "/nonexistent"},
    "libpq-service": lambda bed: {"service": "nothing"},
    "libpq-option": lambda bed: {"sslmod": "require"},
    "libpq-port": lambda bed: {"port": "w@h"},
}


def psql(bed: Bed, message: Message, **environment: str) -> str:
    words = bed.good | (OTHERWISE[message.id](bed) if message.id in OTHERWISE else fault(message, bed)) | {"connect_timeout": "2"}
    if not words["password"]:
        del words["password"]
    return run_psql(" ".join(f"{key}='{value}'" for key, value in words.items()), **environment)


def run_psql(conninfo: str, **environment: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    wanted = {**kept, "HOME": "/nonexistent", "PGCONNECT_TIMEOUT": "2", **environment}
    done = subprocess.run(["psql", "-w", conninfo, "-c", "SELECT 1"], capture_output=True, text=True, env=wanted, timeout=60, check=False)
    return done.stderr


def open_passfile(bed: Bed, **environment: str) -> str:
    file = bed.here.home / "open"
    file.write_text("*:*:*:*:x\n")
    file.chmod(0o644)
    words = {key: value for key, value in bed.good.items() if key != "password"} | {"passfile": str(file)}
    return run_psql(" ".join(f"{key}='{value}'" for key, value in words.items()), **environment)


def by_libpq(bed: Bed, message: Message, **environment: str) -> str:
    return open_passfile(bed, **environment) if message.id == "libpq-passfile-open" else psql(bed, message, **environment)


@pytest.mark.parametrize("message", OF["libpq"], ids=lambda message: message.id)
def test_libpq_says_it_for_its_cause(bed: Bed, message: Message) -> None:
    check(message, by_libpq(bed, message, LC_ALL="C"))


def test_libpq_is_explained_in_russian(bed: Bed) -> None:
    """LANGUAGE chooses libpq's translation in any locale but C (gettext); where it has none, it speaks English, and this is skipped."""
    chosen = {"LANGUAGE": "ru", "LC_ALL": "C.UTF-8"}
    refused = next(message for message in OF["libpq"] if message.id == "libpq-refused")
    if "не удалось" not in by_libpq(bed, refused, **chosen):
        pytest.skip("this libpq has no Russian translation")
    for message in OF["libpq"]:
        if message.id in WORDS and message.id != "libpq-silence":
            said = by_libpq(bed, message, **chosen)
            assert not message.is_in(said)
            assert message.words in {match.message.words for match in explain(said)}, said


# --- Python -------------------------------------------------------------------------------------------------------------------------

ASYNCPG = """
import asyncio, asyncpg, json, sys, urllib.parse
async def said(words):
    try:
        query = urllib.parse.urlencode({key: words[key] for key in ("sslmode", "sslrootcert")})
        where = f"{words['user']}:{words['password']}@{words['host']}:{words['port']}/{words['dbname']}"
        await (await asyncpg.connect(f"postgresql://{where}?{query}", timeout=5)).close()
    except Exception as error:
        return repr(error) + str(error)
async def main():
    print(json.dumps({name: await said(words) for name, words in json.load(sys.stdin).items()}))
asyncio.run(main())
"""


def answers(command: list[str], cases: Mapping[str, Words | str]) -> Words:
    """Give a driver all its cases at once, and return what it said of each."""
    done = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    found: Words = json.loads(done.stdout)
    return found


def test_asyncpg_says_it_for_its_cause(bed: Bed) -> None:
    if importlib.util.find_spec("asyncpg") is None:
        pytest.skip("asyncpg is not installed")
    messages = [message for message in BY_PLACE["driver"] if message.origin in ("Python", "asyncpg")]
    said = answers([sys.executable, "-c", ASYNCPG], {message.id: bed.good | fault(message, bed) for message in messages})
    for message in messages:
        check(message, said[message.id])


def test_sqlalchemy_says_that_its_pool_is_empty(bed: Bed) -> None:
    from sqlalchemy import URL, create_engine
    from sqlalchemy.exc import TimeoutError as Empty

    good = bed.good
    query = {key: good[key] for key in ("sslmode", "sslrootcert")}
    url = URL.create("postgresql+psycopg", good["user"], good["password"], good["host"], int(good["port"]), good["dbname"], query)
    engine = create_engine(url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    with engine.connect(), pytest.raises(Empty) as told:
        engine.connect()
    engine.dispose()
    [message] = OF["SQLAlchemy"]
    check(message, str(told.value))


# --- what stands on libpq, before it asks libpq -------------------------------------------------------------------------------------


def test_odbc_says_it_for_its_cause(tmp_path: Path) -> None:
    """Without a DSN of that name, and where no driver is registered."""
    if reason := recipes.reason_to_skip("odbc"):
        pytest.skip(reason)
    (tmp_path / "odbcinst.ini").write_text("[PostgreSQL Unicode]\nDriver=/nonexistent/psqlodbcw.so\n")
    cases = {"odbc-dsn": "DSN=nothing", "odbc-driver": "Driver={PostgreSQL Unicode};Server=127.0.0.1"}
    for message in OF["ODBC"]:
        program = f"import pyodbc; pyodbc.connect({cases[message.id]!r})"
        environment = {**os.environ, "ODBCSYSINI": str(tmp_path), "ODBCINI": str(tmp_path / "odbc.ini")}
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=False)
        assert done.returncode != 0
        check(message, done.stderr)


def test_php_says_that_it_has_no_driver() -> None:
    if shutil.which("php") is None:
        pytest.skip("PHP is not installed")
    command = ["php", "-n", "-d", "extension=pdo", "-r", "new PDO('pgsql:host=127.0.0.1');"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    [message] = OF["PHP"]
    check(message, done.stdout + done.stderr)


# --- Node.js ------------------------------------------------------------------------------------------------------------------------

NODE = """
const { Client, Pool } = require(process.argv[1]);
const text = (error) => require("util").inspect(error);
async function said(words) {
  try {
    const query = `sslmode=${words.sslmode}&sslrootcert=${words.sslrootcert}`;
    const who = words.password ? `${words.user}:${words.password}` : words.user;
    const connectionString = `postgresql://${who}@${words.host}:${words.port}/${words.dbname}?${query}`;
    if (words.pool) {
      const pool = new Pool({ connectionString, max: 1, connectionTimeoutMillis: 2000 });
      const held = await pool.connect();
      try { await pool.connect(); } finally { held.release(); await pool.end(); }
    } else {
      const client = new Client({ connectionString, connectionTimeoutMillis: 5000 });
      await client.connect();
      await client.end();
    }
  } catch (error) {
    return text(error);
  }
  return "";
}
(async () => {
  const found = {};
  const cases = JSON.parse(require("fs").readFileSync(0));
  for (const [name, words] of Object.entries(cases)) found[name] = await said(words);
  require("fs").writeSync(1, JSON.stringify(found));
  process.exit(0); // a client that throws within its login leaves its socket open
})();
"""


@pytest.mark.long
def test_node_says_it_for_its_cause(bed: Bed) -> None:
    if shutil.which("node") is None or not (MODULES / "pg").is_dir():
        pytest.skip(f"Node.js or its module pg is not there ({MODULES})")
    cases = {message.id: bed.good | fault(message, bed) for message in OF["Node.js"]}
    cases["node-silence"] |= {"pool": "1"}  # a client alone says less
    said = answers(["node", "-e", NODE, str(MODULES / "pg")], cases)
    for message in OF["Node.js"]:
        check(message, said[message.id])


@pytest.mark.long
def test_prisma_says_it_for_its_cause(bed: Bed, tmp_path: Path) -> None:
    """Its own words; of TLS and passwords it passes on Node.js's and the server's."""
    if reason := recipes.reason_to_skip("prisma"):
        pytest.skip(reason)
    recipes.modules("prisma", tmp_path)
    shutil.copy(probes.PLACE / "said-prisma.mjs", tmp_path)
    [message] = OF["Prisma"]
    wrong = bed.good | fault(message, bed)
    said = answers(["node", str(tmp_path / "said-prisma.mjs")], {"refused": as_url(wrong), "name": as_url(bed.good | FAULTS["name"](bed))})
    check(message, said["refused"])
    assert "node-name" in {match.message.id for match in explain(said["name"])}, said


def as_url(words: Words) -> str:
    query = "&".join(f"{key}={words[key]}" for key in ("sslmode", "sslrootcert"))
    return f"postgres://{words['user']}:{words['password']}@{words['host']}:{words['port']}/{words['dbname']}?{query}"


# --- Java ---------------------------------------------------------------------------------------------------------------------------

JAVA = """
import java.io.*;
import java.sql.*;
import java.util.*;

public class Said {
    public static void main(String[] lines) throws Exception {
        for (String line : lines) {
            String[] words = line.split("\\t", -1);
            Properties properties = new Properties();
            for (int i = 3; i < words.length; i += 2)
                if (!words[i + 1].isEmpty()) properties.setProperty(words[i], words[i + 1]);
            properties.setProperty("loginTimeout", "0");
            properties.setProperty("connectTimeout", "3");
            properties.setProperty("socketTimeout", "3");
            StringWriter said = new StringWriter();
            try {
                DriverManager.getConnection("jdbc:postgresql://" + words[1] + "/" + words[2], properties).close();
            } catch (SQLException error) {
                error.printStackTrace(new PrintWriter(said));
            }
            System.out.println("case " + words[0] + "\\n" + said);
        }
    }
}
"""


@pytest.mark.long
def test_java_says_it_for_its_cause(bed: Bed) -> None:
    if shutil.which("java") is None or not JAR.exists():
        pytest.skip(f"Java or {JAR} is not there")
    program = bed.here.home / "Said.java"
    program.write_text(JAVA)
    lines = []
    for message in OF["JDBC"]:
        words = bed.good | fault(message, bed)
        where = [message.id, f"{words['host']}:{words['port']}", words["dbname"]]
        rest = [part for key in ("user", "password", "sslmode", "sslrootcert") for part in (key, words[key])]
        lines.append("\t".join(where + rest))
    done = subprocess.run(["java", "-cp", str(JAR), str(program), *lines], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    said = dict(part.split("\n", 1) for part in ("\n" + done.stdout).split("\ncase ")[1:])
    for message in OF["JDBC"]:
        check(message, said[message.id])


HIKARI = """
import com.zaxxer.hikari.*;

public class Empty {
    public static void main(String[] words) throws Exception {
        HikariConfig config = new HikariConfig();
        config.setJdbcUrl(words[0]);
        config.setMaximumPoolSize(1);
        config.setConnectionTimeout(500);
        try (HikariDataSource pool = new HikariDataSource(config); var held = pool.getConnection()) {
            pool.getConnection();
        } catch (java.sql.SQLException error) {
            System.out.println(error);
        }
    }
}
"""


@pytest.mark.long
def test_hikari_says_that_its_pool_is_empty(bed: Bed) -> None:
    if reason := recipes.reason_to_skip("spring"):
        pytest.skip(reason)
    program = bed.here.home / "Empty.java"
    program.write_text(HIKARI)
    good = bed.good
    who = f"user={good['user']}&password={good['password']}&sslmode={good['sslmode']}&sslrootcert={good['sslrootcert']}"
    url = f"jdbc:postgresql://{good['host']}:{good['port']}/{good['dbname']}?{who}"
    command = ["java", "-cp", recipes.JARS, str(program), url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    [message] = OF["HikariCP"]
    check(message, done.stdout)


# --- Go and Rust --------------------------------------------------------------------------------------------------------------------


def conninfo(words: Words) -> str:
    return " ".join(f"{key}='{value}'" for key, value in words.items() if value)


def said_by(program: Path, lines: Mapping[str, str]) -> Words:
    """Give a program of tests/drivers/probes all its cases, one a line, and return what it said of each."""
    text = "".join(f"{name}\t{line}\n" for name, line in lines.items())
    done = subprocess.run([str(program)], input=text, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return dict(line.split("\t", 1) for line in done.stdout.splitlines())


@pytest.mark.long
def test_go_says_it_for_its_cause(bed: Bed) -> None:
    if reason := recipes.reason_to_skip("go"):
        pytest.skip(reason)
    cases = {message.id: conninfo(bed.good | fault(message, bed)) for message in OF["Go"]}
    said = said_by(probes.go_program("said.go"), {**cases, "good": conninfo(bed.good)})
    assert said["good"] == "<nil>"
    for message in OF["Go"]:
        check(message, said[message.id])


# rust-option is what comes of a string that is libpq's
WITH_CA = {"rust-option": "sslrootcert='/ca.crt'"}


@pytest.mark.long
def test_rust_says_it_for_its_cause(bed: Bed) -> None:
    if reason := recipes.reason_to_skip("rust"):
        pytest.skip(reason)

    def case(name: str, words: Words) -> str:
        told = {**words, "sslmode": words["sslmode"].replace("verify-full", "require"), "sslrootcert": ""}
        return f"{conninfo(told)} {WITH_CA.get(name, '')}\t{words['sslrootcert']}"

    cases = {message.id: case(message.id, bed.good | fault(message, bed)) for message in OF["Rust"]}
    said = said_by(probes.rust_program("said.rs"), {**cases, "good": case("good", bed.good)})
    assert said["good"] == ""
    for message in OF["Rust"]:
        check(message, said[message.id])


@pytest.mark.long
def test_sqlx_says_it_for_its_cause(bed: Bed) -> None:
    try:
        recipes.there("sqlx")
    except recipes.drivers.Missing as reason:
        pytest.skip(f"sqlx: {reason}")
    cases = {message.id: as_url(bed.good | fault(message, bed)) for message in OF["sqlx"]}
    said = said_by(probes.sqlx_program("said-sqlx.rs"), {**cases, "good": as_url(bed.good)})
    assert said["good"] == ""
    for message in OF["sqlx"]:
        check(message, said[message.id])


def test_every_driver_message_has_a_way() -> None:
    libpq = {message.id for message in OF["libpq"]}
    before = {each.id for origin in ("ODBC", "PHP") for each in OF[origin]}
    others = {"Python", "asyncpg", "SQLAlchemy", "Node.js", "Prisma", "JDBC", "HikariCP", "Go", "Rust", "sqlx"}
    assert {each.origin for each in BY_PLACE["driver"]} == {"libpq", "ODBC", "PHP"} | others
    assert {each.id.partition("-")[2] for each in BY_PLACE["driver"] if each.id not in libpq | before} <= set(FAULTS)
    assert {name.partition("-")[2] for name in libpq - set(OTHERWISE)} - set(FAULTS) == {"passfile-open"}
