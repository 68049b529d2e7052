"""Each message of the catalogue is given by the servers at hand, for the cause that stands beside it; or it is one of other versions."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import psycopg
import pytest
from tests.real.instances import DATABASE, USER, Place, kill, known, place

from howdah.catalog.messages import MESSAGES, Message
from howdah.core.instance import Hop
from howdah.host import pgbouncer, process
from howdah.verify.stranger import FOREIGN_AUTHORITY

SETTINGS = {"pool_mode": "transaction", "max_client_conn": "20", "default_pool_size": "1", "query_wait_timeout": "3"}


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


def begun(here: Place, hop: Hop, address: str = "127.0.0.1", **parameters: str) -> str:
    """Begin a login over TLS, from any address of this machine and with any startup parameters; return the error."""
    words = {"user": USER, "database": DATABASE, **parameters}
    body = struct.pack("!I", 196608) + b"".join(each.encode() + b"\0" for pair in words.items() for each in pair) + b"\0"
    with socket.create_connection(("127.0.0.1", here.want().hop_port(hop) or 0), 5, (address, 0)) as plain:
        plain.sendall(struct.pack("!II", 8, 80877103))
        assert plain.recv(1) == b"S"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(plain) as inside:
            inside.sendall(struct.pack("!I", len(body) + 4) + body)
            return inside.recv(4096).decode(errors="replace")


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


WAYS: dict[str, Callable[[Place], str]] = {
    "plaintext": lambda here: refusal(here, "direct", sslmode="disable"),
    "closed-to-the-network": lambda here: refusal(here, "direct", user="postgres"),
    "network": lambda here: begun(here, "direct", "127.0.0.3"),
    "wrong-password": lambda here: refusal(here, "direct", password="wrong"),
    "no-login": lambda here: no_login(here, "direct"),
    "no-database": lambda here: refusal(here, "direct", dbname="nothing"),
    "may-not-connect": lambda here: may_not_connect(here, "direct"),
    "schema-public": schema_public,
    "too-many": too_many,
    "ended": lambda here: ended(here, "pooled"),
    "cancelled": lambda here: cancelled(here, "pooled"),
    "statement-timeout": lambda here: failure(here, "SET statement_timeout = 10; SELECT pg_sleep(1)", "direct"),
    "invalid-value": lambda here: failure(here, "SET work_mem = 'lots'"),
    "needs-restart": lambda here: failure(here, "SET max_connections = 5"),
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
    "startup-parameter": lambda here: begun(here, "pooled", lock_timeout="1s"),
    "prepared": prepared,
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


@pytest.mark.parametrize("message", MESSAGES, ids=[message.id for message in MESSAGES])
def test_a_message_is_given_for_its_cause(here: Place, message: Message) -> None:
    if message.versions and (here_now := at_hand(here, message.origin)) not in message.versions:
        pytest.skip(f"{message.origin} {here_now} says it otherwise: these are the words of {', '.join(message.versions)}")
    said = WAYS[message.id](here)
    assert message.is_in(said), said


def test_every_message_has_its_way_and_no_other_has_one() -> None:
    assert [message.id for message in MESSAGES] == [*WAYS]
