"""Each message that clients are told or that logs hold is given by the servers at hand, for its cause; or it is one of other versions."""

from __future__ import annotations

import select
import signal
import socket
import ssl
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from tests.real.instances import DATABASE, USER, Place, asks, in_child, kill, known, place
from tests.real.servers import server_account

from howdah.catalog.messages import BY_PLACE, Message
from howdah.catalog.messages.matching import explain
from howdah.core.instance import Hop
from howdah.errors import Refusal
from howdah.host import admin, pgbouncer, process
from howdah.verify.stranger import FOREIGN_AUTHORITY

SETTINGS = {
    "pool_mode": "transaction",
    "max_client_conn": "20",
    "default_pool_size": "1",
    "query_wait_timeout": "2",
    "log_disconnections": "on",
}


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        made.create("shop")
        made.pool(SETTINGS)
        made.set({"max_connections": "30"})
        yield made


def refusal(here: Place, hop: Hop = "pooled", **options: Any) -> str:
    return here.refused(hop, **options)


def failure(here: Place, query: str, hop: Hop = "pooled", **options: Any) -> str:
    with here.login(hop, **options) as session, pytest.raises(psycopg.Error) as told:
        session.execute(query.encode())
    return str(told.value)


@contextmanager
def sql(here: Place, do: str, undo: str) -> Iterator[None]:
    here.control(do)
    try:
        yield
    finally:
        here.control(undo)


def begun(here: Place, hop: Hop, address: str = "127.0.0.1", *, until: str = "", **parameters: str) -> str:
    """Begin a login over TLS, from any address of this machine and with any startup parameters; return the answer with that word in it."""
    words = {"user": USER, "database": DATABASE, **parameters}
    body = struct.pack("!I", 196608) + b"".join(each.encode() + b"\0" for pair in words.items() for each in pair) + b"\0"
    with socket.create_connection(("127.0.0.1", here.want().hop_port(hop) or 0), 5, (address, 0)) as plain:
        plain.sendall(struct.pack("!II", 8, 80877103))
        assert plain.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as inside:
            inside.sendall(struct.pack("!I", len(body) + 4) + body)
            said = inside.recv(4096)
            while until.encode() not in said and (more := inside.recv(4096)):
                said += more
            # fields of the protocol's ErrorResponse: a letter for its kind, its text, a zero
            return "\n".join(field[1:] for field in said.decode(errors="replace").split("\0"))


def no_login(here: Place, hop: Hop) -> str:
    with sql(here, "ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN"):
        return refusal(here, hop)


def may_not_connect(here: Place, hop: Hop) -> str:
    with sql(here, "CREATE DATABASE closed", "DROP DATABASE closed WITH (FORCE)"):
        here.control("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        return refusal(here, hop, dbname="closed")


def too_many(here: Place) -> str:
    with ExitStack() as held:
        for _ in range(40):
            try:
                held.enter_context(here.login("direct"))
            except psycopg.OperationalError as error:
                return str(error)
    return ""


def too_many_clients(here: Place) -> str:
    with ExitStack() as held:
        for _ in range(30):
            try:
                held.enter_context(here.login("pooled"))
            except psycopg.OperationalError as error:
                return str(error)
    return ""


def ended(here: Place, hop: Hop) -> str:
    with here.login(hop) as session:
        session.execute("BEGIN")
        here.control("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        with pytest.raises(psycopg.Error) as told:
            session.execute("SELECT 1")
    return str(told.value)


def crashed(here: Place) -> str:
    with here.login("pooled") as session:
        session.execute("BEGIN")
        row = session.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        kill(known(row[0]))
        with pytest.raises(psycopg.Error) as told:
            session.execute("SELECT 1")
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(psycopg.Error), here.login("direct"):
            break
    return str(told.value)


def waited(here: Place) -> str:
    with here.login("pooled") as first, here.login("pooled") as second:
        first.execute("BEGIN")
        first.execute("SELECT 1")
        with pytest.raises(psycopg.Error) as told:
            second.execute("SELECT 1")
    return str(told.value)


def disabled(here: Place) -> str:
    with here.login("pooled"), pgbouncer.enter(here.directory()) as console:
        console.ask(f"DISABLE {DATABASE}")
        try:
            return refusal(here)
        finally:
            console.ask(f"ENABLE {DATABASE}")


def forced_out(here: Place) -> str:
    with here.login("pooled") as session:
        for client in admin.clients(here.directory()):
            admin.kill_client(here.directory(), client.id)
        with pytest.raises(psycopg.Error) as told:
            session.execute("SELECT 1")
    return str(told.value)


def cancelled(here: Place, hop: Hop) -> str:
    with here.login(hop) as session, ThreadPoolExecutor(1) as other:
        running = other.submit(session.execute, "SELECT pg_sleep(5)")
        while not running.done():
            session.cancel_safe(timeout=5)
            time.sleep(0.05)
        return str(running.exception())


def prepared(here: Place) -> str:
    """Use a statement of the protocol on another server connection than the one that knows it."""
    with here.login("pooled") as session:
        session.execute("SELECT 1", prepare=True)
        here.control("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        assert process.wait_until(lambda: not _servers(here), 5)
        with pytest.raises(psycopg.Error) as told:
            session.execute("SELECT 1", prepare=True)
    return str(told.value)


def _servers(here: Place) -> list[dict[str, str | None]]:
    return [row for row in here.console("SHOW SERVERS") if row["user"] == USER]


def schema_public(here: Place) -> str:
    with sql(here, "CREATE DATABASE others", "DROP DATABASE others WITH (FORCE)"):
        return failure(here, "CREATE TABLE public.mine ()", "direct", dbname="others")


def by_a_name(here: Place) -> str:
    return refusal(here, "direct", host="db.example.org", hostaddr="127.0.0.1")


def shutting_down(here: Place) -> str:
    """Let it wait for the sessions to end, as nobody would with Howdah, and then not."""
    server = known(here.postmaster())
    with here.login("direct"):
        process.send(server, signal.SIGTERM)
        assert process.wait_until(lambda: "system is" in refused_or_not(here), 5)
        said = refusal(here, "direct")
    process.stop(server, signal.SIGINT, 20)
    mend(here)
    return said


def refused_or_not(here: Place, hop: Hop = "direct") -> str:
    try:
        here.login(hop).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def mend(here: Place) -> None:
    """Repair, and wait until the pooler has forgotten that PostgreSQL was away (server_login_retry)."""
    here.repair()
    assert process.wait_until(lambda: not refused_or_not(here, "pooled"), 10)


def beside_a_crash(here: Place) -> str:
    told: list[str] = []
    with here.login("direct") as session, here.login("direct") as other:
        session.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        row = other.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        kill(known(row[0]))
        with pytest.raises(psycopg.Error) as error:
            session.execute("SELECT pg_sleep(5)")
    assert process.wait_until(lambda: "system is" not in refused_or_not(here), 10)
    return f"{told} {error.value}"


def no_room_to_begin(here: Place) -> str:
    """Let no process of the server write a file of a page or more, which is how a full disk looks to it."""
    data = here.layout().data
    postmaster, account = (data / "postmaster.pid").read_text().split()[0], server_account()

    def limit(most: str) -> None:  # by its own user, who needs no capability for it
        user: dict[str, Any] = {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}
        subprocess.run(["prlimit", f"--pid={postmaster}", f"--fsize={most}:"], check=True, **user)

    for each in data.glob("**/pg_internal.init"):
        each.unlink()
    limit("4096")
    try:
        return refusal(here, "direct")
    finally:
        limit("unlimited")


def without_postmaster(here: Place) -> str:
    with here.login("direct") as session:
        kill(known(here.postmaster()))
        select.select([session.fileno()], [], [], 5)  # one that runs a statement ends without a word (WL_EXIT_ON_PM_DEATH)
        with pytest.raises(psycopg.Error) as told:
            session.execute("SELECT 1")
    mend(here)
    return str(told.value)


@contextmanager
def pooled_as(here: Place, name: str, value: str, before: str) -> Iterator[None]:
    here.pool({name: value})
    try:
        yield
    finally:
        here.pool({name: before})


def too_slow(here: Place) -> str:
    """Begin a login, and do not go on with it."""
    with pooled_as(here, "client_login_timeout", "1", "15"):
        return begun(here, "pooled", until="timeout")


def login_keeps_failing(here: Place) -> str:
    """Ask for a login while PostgreSQL is down: the first waits, the next is told at once."""
    process.stop(known(here.postmaster()), signal.SIGINT, 20)
    try:
        refusal(here)
        return refusal(here)
    finally:
        mend(here)


def in_statement_mode(here: Place) -> str:
    with pooled_as(here, "pool_mode", "statement", "transaction"):
        return failure(here, "BEGIN")


def lookup_broken(here: Place) -> str:
    for name in ("postgres", DATABASE):
        here.control("DROP FUNCTION IF EXISTS howdah.user_lookup(text)", name)
    try:
        return refusal(here, user="nobody_yet")
    finally:
        here.repair()


def too_many_at_all(here: Place) -> str:
    """Take what is left for users, then what is kept for superusers."""
    want = here.want()
    local: dict[str, Any] = {"host": str(here.layout().socket_dir), "port": want.port, "user": "postgres", "dbname": "postgres"}
    with ExitStack() as held:
        for _ in range(80):
            try:
                held.enter_context(here.login("direct"))
            except psycopg.OperationalError:
                try:
                    held.enter_context(psycopg.connect(**local))
                except psycopg.OperationalError as error:
                    return str(error)
    return ""


def limited(here: Place, what: str) -> str:
    with sql(here, f"ALTER {what} CONNECTION LIMIT 0", f"ALTER {what} CONNECTION LIMIT -1"):
        return refusal(here, "direct")


def after_idling(here: Place, *statements: str) -> str:
    with here.login("direct") as session:
        for statement in statements:
            session.execute(statement.encode())
        select.select([session.fileno()], [], [], 5)  # it is told so when its time is over
        with pytest.raises(psycopg.Error) as told:
            session.execute("SELECT 1")
    return str(told.value)


def behind_a_lock(here: Place) -> str:
    with here.login("direct") as holder:
        holder.execute("SELECT pg_advisory_lock(1)")
        return failure(here, "SET lock_timeout = 10; SELECT pg_advisory_lock(1)", "direct")


def after_an_error(here: Place) -> str:
    with here.login("direct") as session:
        session.execute("BEGIN")
        for _ in range(2):
            with pytest.raises(psycopg.Error) as told:
                session.execute("SELECT 1/0")
    return str(told.value)


def prepared_twice(here: Place) -> str:
    """Two clients prepare by the same name, on the one server connection that they share."""
    with here.login("pooled") as first, here.login("pooled") as second:
        first.execute("PREPARE mine AS SELECT 1")
        with pytest.raises(psycopg.Error) as told:
            second.execute("PREPARE mine AS SELECT 1")
    here.control("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
    return str(told.value)


def unlocked_elsewhere(here: Place) -> str:
    told: list[str] = []
    with here.login("direct") as session:
        session.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
        session.execute("SELECT pg_advisory_unlock(1)")
    return told[0]


WAYS: dict[str, Callable[[Place], str]] = {
    "plaintext": lambda here: refusal(here, "direct", sslmode="disable"),
    "closed-to-the-network": lambda here: refusal(here, "direct", user="postgres"),
    "network": lambda here: begun(here, "direct", "127.0.0.3"),
    "wrong-password": lambda here: refusal(here, "direct", password="wrong"),
    "no-login": lambda here: no_login(here, "direct"),
    "no-database": lambda here: refusal(here, "direct", dbname="nothing"),
    "may-not-connect": lambda here: may_not_connect(here, "direct"),
    "database-closed": lambda here: refusal(here, "direct", dbname="template0"),
    "schema-public": schema_public,
    "too-many": too_many,
    "too-many-at-all": too_many_at_all,
    "too-many-of-role": lambda here: limited(here, "ROLE app"),
    "too-many-of-database": lambda here: limited(here, f"DATABASE {DATABASE}"),
    "idle-in-transaction": lambda here: after_idling(here, "SET idle_in_transaction_session_timeout = 10", "BEGIN"),
    "idle-session": lambda here: after_idling(here, "SET idle_session_timeout = 10"),
    "lock-timeout": behind_a_lock,
    "aborted": after_an_error,
    "prepared-twice": prepared_twice,
    "no-cursor": lambda here: failure(here, "FETCH nothing", "direct"),
    "no-transaction": lambda here: failure(here, "DECLARE mine CURSOR FOR SELECT 1", "direct"),
    "not-the-owner": unlocked_elsewhere,
    "ended": lambda here: ended(here, "pooled"),
    "cancelled": lambda here: cancelled(here, "pooled"),
    "statement-timeout": lambda here: failure(here, "SET statement_timeout = 10; SELECT pg_sleep(1)", "direct"),
    "invalid-value": lambda here: failure(here, "SET work_mem = 'lots'"),
    "needs-restart": lambda here: failure(here, "SET max_connections = 5"),
    "shutting-down": shutting_down,
    "crash-of-another": beside_a_crash,
    "no-room-to-begin": no_room_to_begin,
    "postmaster-gone": without_postmaster,
    "plaintext-pooled": lambda here: refusal(here, sslmode="disable"),
    "wrong-password-pooled": lambda here: refusal(here, password="wrong"),
    "unknown-role-pooled": lambda here: refusal(here, user="nobody_here"),
    "no-login-pooled-old": lambda here: no_login(here, "pooled"),
    "no-login-pooled": lambda here: no_login(here, "pooled"),
    "network-pooled-old": lambda here: begun(here, "pooled", "127.0.0.3"),
    "network-pooled": lambda here: begun(here, "pooled", "127.0.0.3"),
    "closed-pooled": lambda here: refusal(here, dbname="template1"),
    "no-database-pooled-old": lambda here: refusal(here, dbname="nothing"),
    "too-many-pooled": too_many_clients,
    "waited": waited,
    "crashed": crashed,
    "disabled": disabled,
    "killed": forced_out,
    "startup-parameter": lambda here: begun(here, "pooled", lock_timeout="1s"),
    "prepared": prepared,
    "login-too-slow": too_slow,
    "login-keeps-failing": login_keeps_failing,
    "statement-mode": in_statement_mode,
    "console-closed": lambda here: refusal(here, dbname="pgbouncer"),
    "lookup-broken": lookup_broken,
    "unknown-authority": lambda here: refusal(here, sslrootcert=foreign(here)),
    "wrong-name": by_a_name,
    "channel-binding": lambda here: refusal(here, channel_binding="require"),
}


def foreign(here: Place) -> str:
    file = here.home / "foreign.crt"
    file.write_text(FOREIGN_AUTHORITY)
    return str(file)


def at_hand(here: Place, origin: str) -> str:
    """Return the version of a program as the catalogue writes it: a major version of PostgreSQL, a minor one of PgBouncer."""
    return str(here.want().version) if origin == "PostgreSQL" else ".".join(map(str, here.newest().version[:2]))


def skip_unless_said(here: Place, message: Message) -> None:
    if message.versions and (here_now := at_hand(here, message.origin)) not in message.versions:
        pytest.skip(f"{message.origin} {here_now} says it otherwise: these are the words of {', '.join(message.versions)}")


@pytest.mark.parametrize("message", BY_PLACE["client"], ids=lambda message: message.id)
def test_a_client_is_told_it_for_its_cause(here: Place, message: Message) -> None:
    skip_unless_said(here, message)
    said = WAYS[message.id](here)
    assert message.is_in(said), said
    assert message.words in {match.message.words for match in explain(said)}


# --- what stands in the logs --------------------------------------------------------------------------------------------------------


def nothing(here: Place) -> None:
    """It stands there since the instance began."""


def browse(here: Place, hop: Hop) -> None:
    """Speak to a port as a browser would, and go away when it has answered or hung up."""
    with socket.create_connection(("127.0.0.1", here.want().hop_port(hop) or 0), 5) as stream, suppress(OSError):
        stream.sendall(b"GET / HTTP/1.0\r\n\r\n")
        stream.recv(100)


def reset(here: Place) -> None:
    """Break a connection while the server waits for the client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", here.want().port), 5) as plain:
        plain.sendall(struct.pack("!II", 8, 80877103))
        assert plain.recv(1) == b"S"
        inside = context.wrap_socket(plain)
        inside.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        inside.close()


def gone_while_told(here: Place) -> None:
    """Go away while the server sends what was asked for."""

    def ask() -> None:
        session = here.login("direct")
        session.pgconn.send_query(b"SELECT repeat('x', 100000) FROM generate_series(1, 2000)")
        session.pgconn.flush()

    in_child(ask)


def full(here: Place) -> None:
    with suppress(psycopg.Error):
        here.control("COPY (SELECT repeat('x', 100000)) TO '/dev/full'")


def pid_file_gone(here: Place) -> None:
    (here.layout().data / "postmaster.pid").unlink()
    mend(here)


def told_while_idle(here: Place) -> None:
    with here.login() as session:
        session.execute("SELECT 1")
        here.control("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'")
        assert process.wait_until(lambda: not _servers(here), 5)


def console(here: Place, *commands: str) -> None:
    for command in commands:
        with suppress(Refusal):
            here.console(command)


def vanish(here: Place) -> None:
    in_child(lambda: here.login().execute("SELECT 1").close())


def injected(here: Place, hop: Hop) -> None:
    """Send bytes in the clear together with the request for TLS, as somebody between would."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", here.want().hop_port(hop) or 0), 5) as plain, suppress(OSError):
        plain.sendall(struct.pack("!II", 8, 80877103) + b"injected")
        if plain.recv(1) == b"S":
            context.wrap_socket(plain).close()


LOGGED: dict[str, Callable[[Place], object]] = {
    "log-recovery": without_postmaster,
    "log-end-of-wal": without_postmaster,
    "log-backend-killed": crashed,
    "log-reinitializing": crashed,
    "log-client-reset": reset,
    "log-client-gone": gone_while_told,
    "log-tls": lambda here: refusal(here, "direct", sslrootcert=foreign(here)),
    "log-no-startup": lambda here: browse(here, "direct"),
    "log-injection": lambda here: injected(here, "direct"),
    "log-injection-old": lambda here: injected(here, "direct"),
    "log-pid-file": pid_file_gone,
    "log-no-room": full,
    "log-own-probe": nothing,
    "log-worker-ended": lambda here: here.service.restart("shop", asks("restart")),
    "log-sockets-passed": nothing,
    "log-is-it-paused": nothing,
    "log-not-linked": told_while_idle,
    "log-pooler-tls": lambda here: refusal(here, sslrootcert=foreign(here)),
    "log-own-probe-pooled": nothing,
    "log-wrong-password": lambda here: refusal(here, password="wrong"),
    "log-partial": lambda here: browse(here, "pooled"),
    "log-injection-pooled": lambda here: injected(here, "pooled"),
    "log-no-socket": login_keeps_failing,
    "log-server-login": lambda here: may_not_connect(here, "pooled"),
    "log-lookup": lookup_broken,
    "log-paused-already": lambda here: console(here, "PAUSE", "PAUSE", "RESUME"),
    "log-not-paused": lambda here: console(here, "RESUME"),
    "log-closed-by-client": lambda here: here.login().close(),
    "log-client-vanished": vanish,
    "log-closing": nothing,
}


def log_of(here: Place, origin: str) -> str:
    paths = here.layout().log.glob("*.log") if origin == "PostgreSQL" else [here.directory() / "log"]
    return "\n".join(path.read_text(errors="replace") for path in sorted(paths))


# It ends the pooler, and takes a driver that cancels by TLS: test_pool_truth.py makes it be said.
BY_RUST = "log-cancel-crash"
HEARD = [message for message in BY_PLACE["log"] if message.origin != "keeper" and message.id != BY_RUST]


@pytest.mark.parametrize("message", HEARD, ids=lambda message: message.id)
def test_a_log_holds_it_for_its_cause(here: Place, message: Message) -> None:
    skip_unless_said(here, message)
    if not message.is_in(log_of(here, message.origin)):  # else a client's trouble has caused it already
        LOGGED[message.id](here)
    assert process.wait_until(lambda: message.is_in(log_of(here, message.origin)), 10), log_of(here, message.origin)[-3000:]


def test_every_message_has_its_way_and_no_other_has_one() -> None:
    assert [message.id for message in BY_PLACE["client"]] == [*WAYS]
    assert [message.id for message in HEARD] == [*LOGGED]
