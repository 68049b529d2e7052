"""Our own sessions with a real PostgreSQL: values, errors, transactions; and SCRAM as libpq and the server have it."""

from __future__ import annotations

import re
import shutil
import socket
import tempfile
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.real.servers import new_home, new_seat, running, write

from howdah import protocol
from howdah.host import addresses, postgres, roles, scram, session, sessions, sql
from howdah.host.postgres import Seat
from howdah.host.session import SqlError
from howdah.phrase import say
from howdah.secret import Secret

SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LETTERS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=200)


@pytest.fixture(scope="module")
def seat() -> Iterator[Seat]:
    seat = new_seat(new_home())
    postgres.initialise(seat)
    write(seat)
    with running(seat):
        yield seat


def test_a_full_queue_is_waited_for() -> None:
    """A server that is busy, whose socket has no place left for a moment, is there all the same."""
    path = Path(tempfile.mkdtemp(), "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        server.bind(str(path))
        server.listen(0)
        first.connect(str(path))
        assert postgres._accepts(path)
        with pytest.raises(TimeoutError):
            protocol.Stream(second).reach(path, time.monotonic() + 0.05)
        threading.Timer(0.1, lambda: server.accept()[0].close()).start()
        protocol.Stream(second).reach(path, time.monotonic() + 5)
    shutil.rmtree(path.parent)


VALUES = {
    "1::int8, 2::int2, 3::int4, 4::oid": (1, 2, 3, 4),
    "1.5::numeric, 2.5::float8, 3.5::float4": (1.5, 2.5, 3.5),
    "true, false, NULL::bool, NULL::int": (True, False, None, None),
    """'{"a": [1, null]}'::json, '["x"]'::jsonb""": ({"a": [1, None]}, ["x"]),
    """ARRAY['a', NULL, 'b "c", \\d', '', 'NULL', '{}']::text[], '{}'::text[]""": (["a", None, 'b "c", \\d', "", "NULL", "{}"], []),
    "'ж€😀'::text, ''::text, 'n'::name, 'pg_class'::regclass": ("ж€😀", "", "n", "pg_class"),
}


@pytest.mark.parametrize("query", VALUES)
def test_values_arrive_as_they_are(seat: Seat, query: str) -> None:
    with sql.connect(seat) as asked:
        assert asked.execute(f"SELECT {query}").fetchall() == [VALUES[query]]


@SHARED
@given(words=LETTERS, number=st.integers(-(2**63), 2**63 - 1))
def test_a_parameter_and_a_literal_are_carried_exactly(seat: Seat, words: str, number: int) -> None:
    with sql.connect(seat) as asked:
        assert asked.execute("SELECT $1::text, $2::int8, $3::text", [words, number, None]).fetchone() == (words, number, None)
        for conforming in ("on", "off"):
            asked.execute(f"SET standard_conforming_strings = {conforming}")
            assert asked.execute(f"SELECT {sql.literal(words)}").fetchone() == (words,)


@SHARED
@given(name=LETTERS.filter(lambda name: 0 < len(name.encode()) < 64))
def test_a_name_is_quoted_exactly(seat: Seat, name: str) -> None:
    with sql.connect(seat) as asked, asked.transaction():
        asked.execute(f"CREATE TEMP TABLE t ({sql.names([name])} int)")
        found = asked.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'pg_temp.t'::regclass AND attnum = 1").fetchone()
        asked.execute("DROP TABLE pg_temp.t")
        assert found == (name,)


@pytest.mark.parametrize("words", ["a\0b", "\ud800"])
def test_what_postgresql_cannot_hold_is_refused_before_it_is_sent(seat: Seat, words: str) -> None:
    with sql.connect(seat) as asked:
        with pytest.raises((SqlError, UnicodeEncodeError)):
            asked.execute(f"SELECT {sql.literal(words)}")
        assert asked.execute("SELECT 1").fetchone() == (1,)


def test_an_error_has_its_words_and_the_session_goes_on(seat: Seat) -> None:
    with sql.connect(seat) as asked:
        for statement, parameters in (("SELECT 1/0", []), ("SELECT 1/$1::int", [0])):
            with pytest.raises(SqlError, match="division by zero") as caught:
                asked.execute(statement, parameters)
            assert caught.value.sqlstate == "22012"
        assert asked.execute("SELECT 1").fetchone() == (1,)


def test_a_transaction_holds_all_or_nothing(seat: Seat) -> None:
    with sql.connect(seat) as asked:
        with asked.transaction():
            asked.execute("CREATE TABLE public.kept (a int)")
        with pytest.raises(SqlError), asked.transaction():
            asked.execute("CREATE TABLE public.lost (a int)")
            asked.execute("SELECT 1/0")
        found = asked.execute("SELECT to_regclass('public.kept'), to_regclass('public.lost')").fetchone()
    assert found == ("public.kept", None)


def test_several_statements_answer_one_by_one(seat: Seat) -> None:
    with sql.connect(seat) as asked:
        answers = asked.ask("SELECT 1; SET lc_messages = 'C'; SELECT 2 WHERE false; SELECT 3")
    assert [(answer.returns, answer.rows) for answer in answers] == [(True, [(1,)]), (False, []), (True, []), (True, [(3,)])]


def test_nobody_there_and_a_session_cut_off_are_told(seat: Seat) -> None:
    with (
        pytest.raises(SqlError, match="No such file") as nobody,
        session.opened(addresses.socket_path(seat.layout.socket_dir, 1), {"user": "postgres"}, seconds=1, answer_seconds=1),
    ):
        pass
    assert nobody.value.sqlstate == ""
    with sql.connect(seat) as asked, sql.connect(seat) as other:
        pid = asked.execute("SELECT pg_backend_pid()").fetchone()
        assert pid is not None
        other.execute("SELECT pg_terminate_backend($1)", [pid[0]])
        with pytest.raises(SqlError) as cut:
            while True:
                asked.execute("SELECT 1")
    assert cut.value.sqlstate in ("57P01", "")


def test_an_unknown_database_is_refused_with_its_words(seat: Seat) -> None:
    with pytest.raises(SqlError, match='database "nowhere" does not exist') as caught, sql.connect(seat, "nowhere"):
        pass
    assert caught.value.sqlstate == "3D000"


# ── SCRAM ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text("abcXYZ019", min_size=1, max_size=60))
@settings(max_examples=10, deadline=None)
def test_a_verifier_is_what_libpq_makes_with_the_same_salt(password: str) -> None:
    unconnected = psycopg.pq.PGconn.connect_start(b"host=/nonexistent user=nobody passfile=/nonexistent")
    theirs = unconnected.encrypt_password(password.encode(), b"app", b"scram-sha-256").decode()
    unconnected.finish()
    found = re.fullmatch(r"SCRAM-SHA-256\$4096:([^$]+)\$.*", theirs)
    assert found is not None
    assert scram.verifier(Secret(password), b64decode(found[1])).reveal() == theirs


def test_a_login_is_made_as_a_client_makes_it(seat: Seat) -> None:
    password, other = Secret("abc123"), Secret("pä ss")
    with sql.control(seat, say("test")) as asked:
        for name, secret in (("simple", password), ("prepared", other)):
            sql.run(asked, "CREATE ROLE {} LOGIN", name, clauses={"PASSWORD": roles.verifier(name, secret).reveal()})
    address = ("127.0.0.1", seat.port)
    assert sessions.try_login(*address, "simple", password, tls=False) is None
    refused = sessions.try_login(*address, "simple", Secret("abc124"), tls=False)
    assert refused is not None and "password authentication failed" in str(refused)
    nobody = sessions.try_login("127.0.0.1", 1, "simple", password, tls=False)
    assert nobody is not None and "refused" in str(nobody)
    with psycopg.connect(host="127.0.0.1", port=seat.port, user="prepared", password=other.reveal(), dbname="postgres") as theirs:
        assert theirs.execute("SELECT 1").fetchone() == (1,), "a password that needs SASLprep is libpq's affair"
