"""A restart waits for open transactions while everybody is served, names who holds it up, ends nobody unasked, and tells what it cost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Timer
from typing import Any

import psycopg
import pytest
from tests.real.instances import PASSWORD, Connection, Place, Voice, asks, place, prove, scalar

from howdah.core.instance import Hold
from howdah.errors import Refusal
from howdah.host import pause, pgbouncer, postgres
from howdah.secret import Secret
from howdah.service.caller import Done

SHORT = 0.6  # seconds that transactions are given where the test wants them not to end in time


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        made.create("shop")
        made.pool({"pool_mode": "transaction"})
        yield made


def restart(here: Place, hold: Hold) -> Done:
    return here.service.restart("shop", Voice().caller("restart", hold=hold))


@pytest.fixture
def holder(here: Place) -> Iterator[Connection]:
    """A pooled client in the middle of a transaction."""
    with here.login(application_name="nightly") as session:
        session.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        session.execute("BEGIN")
        session.execute("INSERT INTO kept VALUES (1)")
        time.sleep(0.3)  # from then on it is an old one
        yield session


def test_who_holds_a_restart_up_is_named_and_nobody_is_ended(here: Place, holder: Connection) -> None:
    before, port = here.postmaster(), _own_port(holder)
    with pytest.raises(Refusal) as caught:
        restart(here, Hold(SHORT))
    words = str(caught.value.message)
    assert caught.value.code == "held_up"
    for part in ("app@app_db", "nightly", f"127.0.0.1:{port}", "INSERT INTO kept", "idle in transaction", "0.6 s"):
        assert part in words, words
    assert "--transactions-wait" in str(caught.value.hint)
    assert here.postmaster() == before
    assert not pgbouncer.look(here.directory()).paused
    assert here.ask("SELECT 'served'") == "served"
    holder.execute("COMMIT")
    last = here.service.operations("shop")[0]
    assert (last.verb, last.outcome) == ("restart", "withdrawn")
    assert here.repair() == (), "nobody restarts it later, when it is not expected any more"
    assert here.postmaster() == before


def _own_port(session: Connection) -> int:
    import socket

    with socket.socket(fileno=session.pgconn.socket) as ours:
        port: int = ours.getsockname()[1]
        ours.detach()
    return port


def test_a_parameter_that_could_not_be_applied_is_withdrawn(here: Place, holder: Connection) -> None:
    with pytest.raises(Refusal) as caught:
        here.service.set_parameters("shop", {"max_connections": "77"}, [], Voice().caller("params set", hold=Hold(SHORT)))
    assert caught.value.code == "held_up"
    assert "max_connections" not in here.want().parameters
    holder.execute("COMMIT")
    assert here.repair() == ()
    prove(here)


def test_a_transaction_that_ends_in_time_is_waited_for(here: Place, holder: Connection) -> None:
    before, rows = here.postmaster(), here.ask("SELECT count(*) FROM kept")
    commits = Timer(0.7, holder.execute, ["COMMIT"])
    commits.start()
    restart(here, Hold(20))
    commits.join()
    assert here.postmaster() != before
    assert here.ask("SELECT count(*) FROM kept") == rows + 1
    assert scalar(holder, "SELECT 1") == 1, "it is the same session still"


def test_it_is_ended_where_that_was_asked_for(here: Place, holder: Connection) -> None:
    before, rows = here.postmaster(), here.ask("SELECT count(*) FROM kept")
    done = restart(here, Hold(SHORT, end=True))
    assert here.postmaster() != before
    assert done.operation is not None
    assert done.operation.ended == 1
    with pytest.raises(psycopg.Error):
        holder.execute("COMMIT")
    assert here.ask("SELECT count(*) FROM kept") == rows
    prove(here)


def test_one_that_begins_late_is_ended_too_and_nobody_else_is(here: Place) -> None:
    """It is young when everybody is asked to wait, and lasts: then it is who holds the restart up."""
    with here.login() as late, here.login() as other:
        begins = Timer(0.1, late.execute, ["BEGIN; SELECT pg_sleep(60)"])
        pauses = pause.held

        def begun(*args: Any, **kwargs: Any) -> Any:
            begins.start()
            time.sleep(0.2)  # the statement runs, and is no old one yet
            return pauses(*args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(pause, "held", begun)
            patch.setattr(begins, "function", _refused_with(late))
            done = restart(here, Hold(SHORT, end=True))
        begins.join()
        assert done.operation is not None
        assert done.operation.ended == 1
        assert scalar(other, "SELECT 'served'") == "served", "it is the same session still"
    prove(here)


def _refused_with(session: Connection) -> Any:
    def act(statement: str) -> None:
        with pytest.raises(psycopg.OperationalError):
            session.execute(statement.encode())

    return act


def test_a_password_in_a_query_is_not_told(here: Place) -> None:
    with here.login() as session:
        session.execute("BEGIN")
        session.execute("SELECT 'PASSWORD', 'very secret'")
        time.sleep(0.3)
        with pytest.raises(Refusal) as caught:
            restart(here, Hold(SHORT))
    assert "secret" not in str(caught.value.message)
    assert "(not shown)" in str(caught.value.message)


# --- what an operation cost -----------------------------------------------------------------------------------------------------------


def test_a_restart_tells_its_stall_and_the_sessions_that_it_ended(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = postgres.stop

    def slowly(*args: Any, **kwargs: Any) -> bool:
        stopped = stop(*args, **kwargs)
        time.sleep(0.8)
        return stopped

    monkeypatch.setattr(postgres, "stop", slowly)
    with here.login("direct"), here.login("direct"), here.login("pooled"):
        done = here.service.restart("shop", asks("restart"))
    assert done.operation is not None
    assert (done.operation.applied, done.operation.ended) == ("restart", 2)
    assert done.operation.stall is not None
    assert done.operation.stall > 700, "clients waited at least as long as the server was away"
    kept = here.service.operations("shop")[0]
    assert (kept.stall, kept.ended) == (done.operation.stall, 2)


def test_a_reload_ends_nobody(here: Place) -> None:
    with here.login("direct"), here.login("pooled"):
        done = here.set({"work_mem": "9MB"})
    assert done.operation is not None
    assert (done.operation.applied, done.operation.ended) == ("reload", 0)
    assert done.operation.stall is not None


def test_sessions_of_a_user_and_of_a_database_that_go_are_counted(here: Place) -> None:
    here.service.add_database("shop", "short", None, None, asks())
    here.service.grant("shop", "app", ["short"], asks())
    with here.login("direct", dbname="short"):
        done = here.service.delete_database("shop", "short", asks())
    assert done.operation is not None
    assert done.operation.ended == 1
    with here.login("pooled"):
        here.service.add_user("shop", "brief", ["app_db"], Secret(PASSWORD), asks())
        with here.login("direct", user="brief"):
            done = here.service.delete_user("shop", "brief", asks())
    assert done.operation is not None
    assert (done.operation.applied, done.operation.ended) == ("sql", 1)


def test_nothing_is_felt_where_nobody_was_served() -> None:
    with place() as fresh:
        done = fresh.create("new")
        assert done.operation is not None
        assert done.operation.stall is None
        fresh.service.stop("new", asks())
        started = fresh.service.start("new", asks())
        assert started.operation is not None
        assert started.operation.stall is None
