"""The life of an instance on real servers: made, looked at, started and stopped, changed, moved, thrown away and taken back."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from tests.conftest import processes_below
from tests.real.instances import (
    DATABASE,
    PASSWORD,
    USER,
    NotAgreed,
    Place,
    Voice,
    asks,
    end_instances,
    kill,
    known,
    place,
    prove,
    scalar,
    steps,
    stock,
)
from tests.real.servers import free_port

from howdah import compose
from howdah.core.wishes import Creation
from howdah.errors import Conflict, Invalid, NotFound, Refusal, Unsupported
from howdah.host import process
from howdah.secret import Secret


def pooler_hba(here: Place) -> str:
    return Path(here.newest().config["auth_hba_file"]).read_text()


@pytest.fixture
def empty() -> Iterator[Place]:
    with place() as made:
        yield made


# --- made ---------------------------------------------------------------------------------------------------------------------------


def test_create_proves_both_hops_and_claims_the_spare(empty: Place) -> None:
    done = empty.create("shop")
    assert done.operation is not None
    assert done.operation.outcome == "done"
    assert steps(done.operation)[0] == "TakeData"
    assert not [path for path in (empty.home / "spares").glob("*/*") if not path.name.startswith(".")], "the spare was claimed"
    assert ("spare", "15") in empty.detached or any(words[0] == "spare" for words in empty.detached), "and is made again"
    prove(empty)
    assert empty.service.show("SHOP").status == "running", "names are compared without case"


def test_the_same_wish_again_goes_on_and_another_is_a_conflict(here: Place) -> None:
    want = here.want()
    assert want.pooler is not None
    same: dict[str, Any] = {"port": want.port, "extensions": {"pooler": {"listen_port": want.pooler["listen_port"]}}}
    again = here.create("shop", **same)
    assert again.operation is None or steps(again.operation) == ()
    others: list[dict[str, Any]] = [
        {"size": "medium"},
        {"parameters": {"work_mem": "77MB"}},
        {"hostnames": ("db.example.org",)},
        {"port": want.port + 1},
    ]
    for other in others:
        with pytest.raises(Conflict) as caught:
            here.create("Shop", **{**same, **other})
        assert caught.value.code == "name_taken"
    assert here.want() == want


REFUSED: dict[str, dict[str, Any]] = {
    "a value that PostgreSQL does not take": {"parameters": {"shared_buffers": "900GB"}},
    "a value that the catalog does not take": {"parameters": {"work_mem": "lots"}},
    "a managed parameter": {"parameters": {"port": "1"}},
    "two values that do not fit": {"parameters": {"max_wal_senders": "9", "wal_level": "minimal"}},
    "an unknown extension": {"extensions": {"nope": {}}},
    "a pool that does not fit": {"extensions": {"pooler": {"default_pool_size": "5000"}}},
    "an unknown version": {"version": 9},
    "an address of another machine": {"listen": ("192.0.2.1",)},
    "a user without a database": {"database": None},
}


@pytest.mark.parametrize("wishes", REFUSED.values(), ids=REFUSED)
def test_a_refused_create_leaves_nothing(here: Place, wishes: dict[str, Any]) -> None:
    stock(here.home)
    before, running = here.service.store.everything(), set(processes_below(here.home))
    with pytest.raises(Refusal):
        here.create("other", **wishes)
    assert here.service.store.everything() == before
    assert [path.name for path in (here.home / "instances").iterdir()] == [here.want().id]
    assert not list((here.home / "passfiles").glob("*")), "the password was brought, not made"
    prove(here)
    assert set(processes_below(here.layout().pool)) <= running


def test_a_home_too_deep_for_a_socket_is_refused_beforehand(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    with pytest.raises(Unsupported) as caught:
        compose.service(deep).create(Creation("shop"), asks())
    assert caught.value.code == "path_too_long"
    assert not (deep / "instances").exists()


def test_a_port_that_another_program_has_is_refused_by_its_name(here: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Conflict) as caught:
            here.create("other", port=port, extensions={})
        assert caught.value.code == "port_taken"
        assert f"(pid {os.getpid()})" in str(caught.value)
        with pytest.raises(Conflict, match="has it"):
            here.pool({"listen_port": str(port)})
    with pytest.raises(Conflict, match="shop has it"):
        here.create("other", port=here.want().port, extensions={})


# --- looked at, stopped, started ----------------------------------------------------------------------------------------------------


def test_what_is_down_is_said_to_be_down_and_can_be_started(here: Place) -> None:
    assert [(seen.instance.name, seen.status) for seen in here.service.all()] == [("shop", "running")]
    kill(known(here.postmaster()))
    seen = here.service.show("shop")
    assert (seen.status, seen.quick.alive, seen.quick.pooler_alive) == ("down", False, True)
    done = here.service.start("shop", asks("start"))
    assert done.operation is not None
    assert steps(done.operation) == ("StartServer",)
    prove(here)


def test_stop_and_start(here: Place) -> None:
    before = here.postmaster()
    done = here.service.stop("shop", asks("stop"))
    assert done.operation is not None
    assert steps(done.operation) == ("RetirePooler", "StopServer"), "the pooler first"
    assert here.service.show("shop").status == "stopped"
    assert processes_below(here.layout().root) == {}
    assert here.repair() == ()
    assert here.service.stop("shop", asks("stop")).operation is None, "it is so already"
    with pytest.raises(Conflict, match="it is stopped"):
        here.service.restart("shop", asks("restart"))
    here.set({"work_mem": "6MB"})
    here.service.start("shop", asks("start"))
    assert here.postmaster() != before
    assert here.ask("SHOW work_mem", "direct") == "6MB"
    prove(here)


def test_a_stop_asks_where_somebody_is_connected(here: Place) -> None:
    with here.login("direct", application_name="mine"), here.login("pooled"):
        no = Voice(agrees=False)
        with pytest.raises(NotAgreed):
            here.service.stop("shop", no.caller("stop"))
        assert sorted(session.hop for session in no.questions[0].sessions) == ["direct", "pooled"]
        assert any("mine" in str(session) for session in no.questions[0].sessions)
    assert here.service.show("shop").status == "running"


def test_a_restart_keeps_pooled_sessions_where_the_mode_lets_it(here: Place) -> None:
    here.pool({"pool_mode": "transaction"})
    before = here.postmaster()
    with here.login() as kept, here.login("direct") as cut:
        assert scalar(kept, "SELECT 1") == 1
        voice = Voice()
        here.service.restart("shop", voice.caller("restart"))
        assert [session.hop for session in voice.questions[0].sessions] == ["direct"], "pooled ones are not cut"
        assert here.postmaster() != before
        assert scalar(kept, "SELECT 2") == 2
        with pytest.raises(psycopg.OperationalError):
            cut.execute("SELECT 3")
    here.pool({"pool_mode": "session"})
    with here.login() as linked:
        assert scalar(linked, "SELECT 1") == 1
        voice = Voice()
        here.service.restart("shop", voice.caller("restart"))
        assert [session.hop for session in voice.questions[0].sessions] == ["pooled"], "in session mode it keeps its server connection"
    prove(here)


# --- parameters ---------------------------------------------------------------------------------------------------------------------


def test_a_parameter_is_reloaded_where_that_does_and_restarts_where_not(here: Place) -> None:
    before = here.postmaster()
    done = here.set({"work_mem": "16384kB", "log_min_duration_statement": "250"})
    assert [(change.name, change.new, change.how) for change in done.changes] == [
        ("log_min_duration_statement", "250", "reload"),
        ("work_mem", "16384kB", "reload"),
    ]
    assert here.postmaster() == before
    assert here.ask("SHOW work_mem", "direct") == "16MB"
    assert here.set({"work_mem": "16MB"}).operation is None, "the same in other units"
    done = here.set({"max_connections": "60"})
    assert [change.how for change in done.changes] == ["restart"]
    assert here.postmaster() != before
    assert here.ask("SHOW max_connections", "direct") == "60"
    here.set({}, ["max_connections", "log_min_duration_statement", "work_mem"])
    assert here.ask("SHOW max_connections", "direct") != "60"
    assert here.want().parameters == {}
    prove(here)


def test_a_restart_can_wait(here: Place) -> None:
    before = here.postmaster()
    here.set({"max_prepared_transactions": "7"}, restart=False)
    assert here.service.show("shop").pending_restart == ("max_prepared_transactions",)
    assert here.postmaster() == before
    assert here.repair() == ()
    here.set({"work_mem": "5MB"})
    assert here.postmaster() == before, "another change leaves it waiting"
    assert here.ask("SHOW max_prepared_transactions", "direct") == "0"
    here.service.restart("shop", asks("restart"))
    assert here.ask("SHOW max_prepared_transactions", "direct") == "7"
    assert here.service.show("shop").pending_restart == ()
    here.set({}, ["max_prepared_transactions", "work_mem"])
    assert here.ask("SHOW max_prepared_transactions", "direct") == "0"


def test_a_restart_asks_for_direct_sessions_and_a_no_changes_nothing(here: Place) -> None:
    want = here.want()
    with here.login("direct") as session:
        no = Voice(agrees=False)
        with pytest.raises(NotAgreed):
            here.service.set_parameters("shop", {"max_connections": "61"}, [], no.caller("params set"))
        assert scalar(session, "SELECT 1") == 1
    assert here.want() == want


@pytest.mark.parametrize(
    "given",
    [{"shared_buffers": "900GB"}, {"wal_level": "minimal", "max_wal_senders": "5"}, {"log_timezone": "Nowhere/Never"}],
    ids=["too large for the machine", "two that do not go together", "a name that only a server knows"],
)
def test_what_postgres_refuses_is_withdrawn_and_the_old_value_serves_on(here: Place, given: dict[str, str]) -> None:
    here.set({"work_mem": "8MB"})
    before, parameters = here.postmaster(), here.want().parameters
    for _ in range(2):  # two bad ones in a row: the first must not become what the second goes back to
        with pytest.raises(Refusal) as caught:
            here.set(given)
        assert caught.value.code == "refused_by_postgres"
        last = here.service.operations("shop")[0]
        assert last.outcome == "withdrawn"
        assert last.error["message"] == str(caught.value.message)
    assert here.want().parameters == parameters
    assert here.postmaster() == before
    assert here.ask("SHOW work_mem", "direct") == "8MB"
    prove(here)
    here.set({}, ["work_mem"])


def test_a_bad_value_beside_a_good_one_withdraws_both(here: Place) -> None:
    with pytest.raises(Refusal):
        here.set({"work_mem": "9MB", "log_timezone": "Nowhere/Never"})
    assert here.want().parameters == {}
    assert here.ask("SHOW work_mem", "direct") == "4MB"
    assert here.repair() == ()


# --- an extension, the reach --------------------------------------------------------------------------------------------------------


def test_statement_statistics_come_and_go(here: Place) -> None:
    here.service.add_extension("shop", "pg_stat_statements", {"pg_stat_statements.max": "2000"}, asks("extensions add"))
    assert here.ask("SELECT count(*) > 0 FROM pg_stat_statements", "direct") is True
    assert here.ask("SHOW pg_stat_statements.max", "direct") == "2000"
    prove(here)
    here.control("CREATE DATABASE later")
    assert here.repair() != ()
    assert here.control("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'", "later") == [(1,)]
    here.service.set_extension("shop", "pg_stat_statements", {"pg_stat_statements.track": "all"}, asks("extensions set"))
    assert here.ask("SHOW pg_stat_statements.track", "direct") == "all"
    here.service.remove_extension("shop", "pg_stat_statements", asks("extensions remove"))
    assert here.control("SHOW shared_preload_libraries") == [("",)]
    for database in ("postgres", DATABASE, "later"):
        assert here.control("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'", database) == [(0,)]
    here.control("DROP DATABASE later")
    prove(here)


def test_a_new_address_is_served_with_a_certificate_that_names_it(here: Place) -> None:
    voice = Voice()
    here.service.set_reach("shop", ["direct", "pooled"], ["127.0.0.2"], ["db.example.org"], ["10.9.0.0/16"], voice.caller("endpoints set"))
    assert voice.questions == []
    prove(here)  # with verify-full, at the new address
    for hop in ("direct", "pooled"):
        with here.login(hop, host="db.example.org", hostaddr="127.0.0.2") as session:
            assert scalar(session, "SELECT 1") == 1
    assert "127.0.0.2" in {address for each in here.newest().addresses for address in each if isinstance(address, str)}
    assert [row[0] for row in here.control("SELECT address FROM pg_hba_file_rules WHERE address = '10.9.0.0'")] == ["10.9.0.0"]
    assert "10.9.0.0/16" in pooler_hba(here)
    with pytest.raises(psycopg.OperationalError):
        here.login("direct", host="127.0.0.1", sslmode="require").close()


def test_everybody_may_come_only_when_somebody_agreed(here: Place) -> None:
    want, no = here.want(), Voice(agrees=False)
    for network in ("0.0.0.0/0", "::/0"):
        with pytest.raises(NotAgreed):
            here.service.set_reach("shop", ["direct"], [], [], [network], no.caller("endpoints set"))
    assert here.want() == want
    with pytest.raises(NotAgreed):
        here.service.create(Creation("other", allow=("0.0.0.0/0",)), no.caller("create"))
    here.service.set_reach("shop", ["pooled"], [], [], ["0.0.0.0/0"], asks("endpoints set"))
    assert "0.0.0.0/0 scram" in pooler_hba(here)
    prove(here)


def test_an_address_that_is_not_here_is_withdrawn(here: Place) -> None:
    want = here.want()
    with pytest.raises(Refusal):
        here.service.set_reach("shop", ["direct", "pooled"], ["192.0.2.1"], [], [], asks("endpoints set"))
    assert here.want().direct.listen == want.direct.listen
    prove(here)


# --- thrown away and taken back -----------------------------------------------------------------------------------------------------


def test_delete_leaves_data_in_the_trash_and_nothing_else(empty: Place) -> None:
    empty.create("shop")
    with empty.login("direct") as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    want, layout = empty.want(), empty.layout()
    no = Voice(agrees=False)
    with pytest.raises(NotAgreed):
        empty.service.delete("shop", no.caller("delete"))
    empty.service.delete("shop", asks("delete"))
    assert not layout.root.exists()
    assert not layout.passfile.exists()
    assert not list((empty.home / "trash").rglob("*.key"))
    assert processes_below(empty.home) == {}
    for hop in ("direct", "pooled"):
        port = want.hop_port(hop)
        assert port is not None
        socket.create_server(("127.0.0.1", port)).close()
    assert [entry.instance.name for entry in empty.service.trash()] == ["shop"]
    with pytest.raises(NotFound):
        empty.service.delete("shop", asks("delete"))
    assert empty.service.operations("shop")[0].verb == "delete", "its story is still told"

    empty.service.undelete("shop", asks("undelete"))
    assert empty.ask("SELECT answer FROM kept") == 42
    assert empty.service.trash() == ()
    prove(empty)

    empty.delete()
    assert empty.service.trash() == ()
    assert not (empty.home / "trash").exists() or not list((empty.home / "trash").iterdir())
    with pytest.raises(NotFound):
        empty.service.undelete("shop", asks("undelete"))


def test_undelete_needs_the_name_and_the_ports(empty: Place) -> None:
    empty.create("shop")
    want = empty.want()
    empty.service.delete("shop", asks("delete"))
    with socket.create_server(("127.0.0.1", want.port)), pytest.raises(Conflict, match="has it"):
        empty.service.undelete("shop", asks("undelete"))
    stock(empty.home)
    empty.create("shop")
    with pytest.raises(Conflict):
        empty.service.undelete(want.id, asks("undelete"))
    prove(empty)
    assert [entry.instance.id for entry in empty.service.trash()] == [want.id], "and it still lies in the trash"


def test_the_trash_is_emptied_by_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOWDAH_TRASH", "0.1")
    with place(detached=True, trash_seconds=0.1) as here:
        here.create("shop", extensions={}, database=None, user=None)
        here.service.delete("shop", asks("delete"))
        deadline = time.monotonic() + 30
        while list((here.home / "trash").iterdir()):
            assert time.monotonic() < deadline, "the trash is not emptied"
            time.sleep(0.02)
        end_instances(here)


# --- beside others ------------------------------------------------------------------------------------------------------------------


def test_two_homes_do_not_know_each_other(here: Place) -> None:
    with place() as other:
        other.create("shop")
        prove(other)
        prove(here)
        other.delete()
        prove(here)


def test_a_port_that_another_program_had_for_a_while_is_taken_back() -> None:
    """PostgreSQL starts on the one address that is left, and only warns (postmaster.c): no reload brings the other one back."""
    with place() as here:
        here.create("shop")
        port = here.want().port
        process.stop(known(here.postmaster()), signal.SIGINT, 20)
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # beside connections that are just ending
            other.bind(("127.0.0.1", port))
            other.listen()
            with pytest.raises(Refusal) as caught:
                here.repair()
            assert caught.value.code == "port_lost"
        here.repair()
        prove(here)


def test_a_pooler_never_joins_the_port_of_another_home(here: Place) -> None:
    """Both run under one user, so the kernel would let them share it (SO_REUSEPORT), and clients would land at either."""
    port = here.want().hop_port("pooled")
    here.service.stop("shop", asks("stop"))
    with place() as other:
        other.create("shop", extensions={"pooler": {"listen_port": str(port)}})
        with pytest.raises(Refusal) as caught:
            here.service.start("shop", asks("start"))
        assert caught.value.code == "port_lost"
        prove(other)
        other.delete()
    here.service.start("shop", asks("start"))
    prove(here)


def test_the_second_verb_waits_and_names_whom_it_waits_for(here: Place) -> None:
    with compose.service(here.home).lease(here.want().id, "a long one", 5.0, lambda who: None):
        impatient = Voice()
        with pytest.raises(Conflict) as caught:
            here.service.repair("shop", impatient.caller("second", patience=0.05))
        assert caught.value.code == "busy"
        assert "a long one" in str(caught.value)
        assert any("a long one" in told for told in impatient.told)


def test_two_verbs_at_once_both_hold(here: Place) -> None:
    began = Event()
    failures: list[BaseException] = []

    def second() -> None:
        service = compose.service(here.home)  # a store belongs to the thread that opened it
        began.wait(10)
        try:
            service.set_parameters("shop", {"work_mem": "12MB"}, [], asks("second"))
        except Refusal as refusal:
            failures.append(refusal)
        finally:
            service.store.close()

    thread = Thread(target=second)
    thread.start()
    voice = Voice()
    caller = replace(voice.caller("first"), tell=lambda phrase: began.set())
    here.service.set_parameters("shop", {"maintenance_work_mem": "70MB"}, [], caller)
    thread.join(60)
    assert failures == []
    assert here.want().parameters == {"maintenance_work_mem": "70MB", "work_mem": "12MB"}
    prove(here)


def test_a_password_is_shown_once_and_made_again_only_until_then(empty: Place) -> None:
    request = Creation("shop", port=free_port(), database=DATABASE, user=USER)
    first = empty.service.create(request, asks("create"))
    assert first.password is not None
    again = empty.service.create(request, asks("create"))
    assert again.password is not None, "it was not shown yet"
    empty.service.password_shown(again)
    assert empty.service.create(request, asks("create")).password is None
    assert "password authentication failed" in empty.refused("direct", password=first.password[1].reveal())
    with empty.login("direct", password=again.password[1].reveal()) as session:
        assert scalar(session, "SELECT 1") == 1
    assert empty.layout().passfile.stat().st_mode & 0o777 == 0o600


def test_a_wrong_name_is_refused_before_anything_is_made(here: Place) -> None:
    for name in ("", "a b", "-a", "../x", "a" * 64, "a\n", "ä"):
        with pytest.raises(Invalid):
            here.service.create(Creation(name), asks("create"), Secret(PASSWORD))
