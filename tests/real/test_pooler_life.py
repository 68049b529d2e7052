"""The pooler of a living instance, on every PgBouncer that is found here: modes that behave as they are called, limits in PgBouncer's own
words, changes that no client notices, users that come by lookup alone, and a removal that leaves nothing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
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
    Waiting,
    clients,
    kill,
    place,
    prove,
    scalar,
    steps,
    strays,
)
from tests.real.servers import free_port, poolers, version_of

from howdah import wire
from howdah.core import lanes
from howdah.core.wishes import CARRIES_PREPARED
from howdah.errors import Conflict, Invalid, NotFound
from howdah.host import pgbouncer
from howdah.host.process import wait_until
from howdah.secret import Secret


def asks(words: str = "a test") -> Any:
    return Voice().caller(words)


@pytest.fixture(scope="module", params=poolers(), ids=version_of)
def here(request: pytest.FixtureRequest) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWDAH_PGBOUNCER", str(request.param.path))
        with place() as made:
            made.create("shop")
            assert made.newest().version == request.param.version
            yield made


def test_the_mode_is_chosen_by_the_version_and_said(here: Place) -> None:
    carries = here.host.facts().pooler_version >= CARRIES_PREPARED
    pool = here.want().pooler
    assert pool is not None
    assert pool["pool_mode"] == ("transaction" if carries else "session")
    prove(here)


@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
def test_each_mode_behaves_as_it_is_called(here: Place, mode: str) -> None:
    before = here.newest().config["pool_mode"]
    with here.login(application_name="who stays") as kept:
        if before != "statement":
            kept.execute("PREPARE mine AS SELECT 5") if before == "session" else kept.execute("SELECT 5", prepare=True)
        voice = Voice()
        done = here.service.set_extension("shop", "pooler", {"pool_mode": mode}, voice.caller("extensions set"))
        if mode != before:
            assert any("1 sessions keep the old pool_mode" in told and "who stays" in told for told in voice.told), "said before"
            assert "who stays" in str(done.notes[-1]), "and after"
        if before != "statement":
            answer = kept.execute("EXECUTE mine") if before == "session" else kept.execute("SELECT 5", prepare=True)
            assert answer.fetchone() == (5,), "who was connected keeps the mode, and what was prepared in it"
    assert wait_until(lambda: all(each.clients == () for each in here.seen().pooler[:-1]), 5)
    here.repair()
    with here.login() as one, here.login() as two:
        one.prepare_threshold = two.prepare_threshold = None
        if mode == "statement":
            with pytest.raises(psycopg.Error, match=r"(?i)transaction"):
                one.execute("BEGIN")
            return
        backends = {scalar(each, "SELECT pg_backend_pid()") for each in (one, two)}
        assert len(backends) == (2 if mode == "session" else 1), "one server connection serves both between transactions, or not"
        one.execute("BEGIN")
        mine = scalar(one, "SELECT pg_backend_pid()")
        assert scalar(two, "SELECT pg_backend_pid()") != mine, "never within one"
        one.execute("ROLLBACK")
    prove(here)


def test_prepared_statements_are_carried_where_it_is_said(here: Place) -> None:
    if here.host.facts().pooler_version < CARRIES_PREPARED:
        with pytest.raises(Invalid, match=r"1\.21"):
            here.pool({"max_prepared_statements": "100"})
        return
    here.pool({"pool_mode": "transaction"})
    with here.login() as one, here.login() as two:
        for session in (one, two):
            session.prepare_threshold = 0
        for number in range(6):
            for session in (one, two):
                assert session.execute("SELECT %s::int + 1", [number]).fetchone() == (number + 1,)


def test_one_client_too_many_is_refused_in_pgbouncers_words(here: Place) -> None:
    here.pool({"max_client_conn": "5", "pool_mode": "transaction"})
    held = [here.login()]
    try:
        words = ""
        while not words and len(held) < 8:
            try:
                held.append(here.login())
            except psycopg.OperationalError as error:
                words = str(error)
        assert "no more connections allowed" in words
        assert 4 <= len(held) <= 5
        assert [scalar(session, "SELECT 1") for session in held] == [1] * len(held), "nobody else notices"
    finally:
        for session in held:
            session.close()
    here.pool({"max_client_conn": "100"})
    prove(here)


def test_several_processes_need_peers(here: Place) -> None:
    if here.host.facts().pooler_version < lanes.PEERS_SINCE:
        with pytest.raises(Invalid, match=r"cannot run 2 processes: PgBouncer 1\.18\.0 has no peers, 1\.19 has"):
            here.pool({"processes": "2"})
    here.pool({"processes": "1"})
    assert len(here.newest().configs) == 1


def test_what_does_not_fit_is_refused_with_the_largest_legal_value(here: Place) -> None:
    want = here.want()
    for given in ({"max_client_conn": "999999"}, {"default_pool_size": "5000"}):
        with pytest.raises(Invalid) as caught:
            here.pool(given)
        assert caught.value.code == "does_not_fit"
        assert "the largest legal value is" in str(caught.value.hint)
        (name, largest) = next(iter(given)), str(caught.value.hint).split()[-1]
        here.pool({name: largest})
        prove(here)
    with pytest.raises(Invalid):
        here.pool({"pool_mode": "quick"})
    with pytest.raises(Invalid):
        here.pool({"server_tls_sslmode": "disable"})
    with pytest.raises(Invalid):
        here.pool({"max_client_conn": str(2**32 + 1)})
    here.pool({"max_client_conn": "100", "default_pool_size": "20"})
    assert want.pooler is not None


def test_a_new_port_takes_new_clients_and_keeps_the_old(here: Place) -> None:
    old, new = here.want().hop_port("pooled"), free_port()
    with here.login() as kept:
        assert scalar(kept, "SELECT 1") == 1
        here.pool({"listen_port": str(new)})
        assert scalar(kept, "SELECT 2") == 2
        assert wire.knock("127.0.0.1", new).answers
        with here.login() as fresh:
            assert scalar(fresh, "SELECT 3") == 3
        assert len(pgbouncer.numbers(here.layout().pool)) == 2, "the old generation serves whom it has"
        assert here.service.show("shop").quick.draining == 1
        assert here.repair() == ()
        assert scalar(kept, "SELECT 4") == 4
    assert wait_until(lambda: here.seen().pooler[0].clients == (), 5)
    assert here.repair() == ("RetirePooler",)
    assert old is not None
    assert not wire.knock("127.0.0.1", old).answers
    assert strays(here) == {}
    prove(here)


def test_who_still_logs_in_at_the_old_port_is_let_go_on_or_turned_away(here: Place) -> None:
    """It closes at a moment when nobody is in: who was let in is answered to the end, who comes later is refused at the door."""
    old = here.want().hop_port("pooled") or 0
    where = psycopg.conninfo.make_conninfo("", host="127.0.0.1", port=old, user=USER, password=PASSWORD, dbname=DATABASE, connect_timeout=5)
    let_in, cut = Counter[int](), list[str]()

    def come_and_go(client: int) -> None:
        while True:
            try:
                session = psycopg.connect(where, autocommit=True, passfile="/nonexistent")
            except psycopg.OperationalError:
                return
            let_in[client] += 1
            try:
                with session:
                    session.execute("SELECT pg_sleep(0.02)")
            except psycopg.Error as error:
                cut.append(str(error))
            time.sleep(0.1)

    threads = [threading.Thread(target=come_and_go, args=(client,)) for client in range(2)]
    for thread in threads:
        thread.start()
    assert wait_until(lambda: len(let_in) == 2, 10)
    here.pool({"listen_port": str(free_port())})
    deadline = time.monotonic() + 60
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        here.service.repair("shop", asks("repair"))
    for thread in threads:
        thread.join(5)
    assert cut == []
    assert not wire.knock("127.0.0.1", old).answers
    prove(here)


def test_a_swap_on_the_same_port_loses_no_login(here: Place) -> None:
    with here.login() as kept:
        here.pool({"listen_backlog": "512"})
        assert scalar(kept, "SELECT 1") == 1
        for _ in range(20):
            assert here.ask("SELECT 2") == 2
        assert here.newest().clients == (), "the one who stayed is in the older generation"
    wait_until(lambda: here.seen().pooler[0].clients == (), 5)
    here.repair()
    prove(here)


def test_a_second_swap_while_one_still_drains(here: Place) -> None:
    """However many changes come while sessions last, none is ended, and new ones come to the newest: also when an older one has gone."""
    kept = [here.login()]
    for backlog in ("600", "700", "800"):
        here.pool({"listen_backlog": backlog})
        kept.append(here.login())
        assert len(here.newest().clients) == 1, "who arrives comes to the newest"
    assert [scalar(each, "SELECT 3") for each in kept] == [3] * 4
    first, second, _, last = kept
    second.close()
    assert wait_until(lambda: here.seen().pooler[1].clients == (), 5)
    assert here.repair() == ("RetirePooler",)
    assert len(here.seen().pooler) == 3
    assert here.newest().steered
    with here.login():
        assert len(here.newest().clients) == 2
        dead = pgbouncer.quick_look(here.layout().generation(here.seen().pooler[1].number))
        kill(*filter(None, (dead.keeper, dead.member)))  # the kernel moves the newest into its place, and nobody saw it
        assert not here.newest().steered
        assert here.repair() == ("SteerPooler", "RetirePooler")
        assert [scalar(each, "SELECT 4") for each in (first, last)] == [4, 4]
        with here.login():
            assert len(here.newest().clients) == 3
    for each in kept:
        each.close()
    wait_until(lambda: all(each.clients == () for each in here.seen().pooler[:-1]), 5)
    here.repair()
    prove(here)
    assert strays(here) == {}


def test_who_stays_with_an_older_pooler_is_named_and_ended_only_when_asked(here: Place) -> None:
    with here.login(application_name="who stays") as kept:
        here.pool({"listen_backlog": "900"})
        with here.login() as fresh:
            done, left = here.service.drain_pooler("shop", asks("pooler drain"), seconds=0.3)
            assert done.operation is None
            assert [(each.user, each.database, each.application) for each in left] == [(USER, DATABASE, "who stays")]
            assert 0 <= time.time() - left[0].since < 60
            no = Voice(agrees=False)
            with pytest.raises(NotAgreed):
                here.service.drain_pooler("shop", no.caller("pooler drain"), end=True)
            assert no.questions[0].sessions == left
            assert scalar(kept, "SELECT 1") == 1
            done, ended = here.service.drain_pooler("shop", asks("pooler drain"), end=True)
            assert done.operation is not None
            assert (steps(done.operation), ended) == (("RetirePooler",), left)
            with pytest.raises(psycopg.OperationalError):
                kept.execute("SELECT 1")
            assert scalar(fresh, "SELECT 1") == 1, "nobody else is"
    assert here.service.drain_pooler("shop", asks("pooler drain"), end=True)[1] == ()
    prove(here)


def test_a_port_that_is_taken_is_refused_and_the_old_one_serves(here: Place) -> None:
    want = here.want()
    with pytest.raises(Conflict):
        here.pool({"listen_port": str(want.port)})
    assert here.want() == want
    prove(here)


def test_a_role_made_by_plain_sql_logs_in_at_once(here: Place) -> None:
    here.control(f"CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'")
    here.control(f"GRANT CONNECT ON DATABASE {DATABASE} TO plain")
    with here.login(user="plain") as session:
        assert scalar(session, "SELECT current_user") == "plain"
    here.control("ALTER ROLE plain PASSWORD 'changed'")
    with here.login(user="plain", password="changed") as session:
        assert scalar(session, "SELECT 1") == 1
    for change in ("VALID UNTIL '2001-01-01'", "VALID UNTIL 'infinity' NOLOGIN", "LOGIN SUPERUSER", "NOSUPERUSER REPLICATION"):
        here.control(f"ALTER ROLE plain {change}")
        here.console(f"KILL {DATABASE}")
        here.console("RESUME " + DATABASE)
        assert here.refused(user="plain", password="changed", dbname=DATABASE), change
    here.control(f"REVOKE CONNECT ON DATABASE {DATABASE} FROM plain")
    here.control("DROP ROLE plain")
    prove(here)


def test_nobody_enters_what_is_not_for_the_network(here: Place) -> None:
    for database in ("template1", "pgbouncer"):
        assert here.refused("pooled", dbname=database)
    assert here.refused("direct", dbname="template1")
    for hop in ("direct", "pooled"):
        for role in ("postgres", "howdah_lookup", "howdah_probe", "pgbouncer"):
            assert here.refused(hop, user=role, password="x")
    prove(here)


def test_no_password_and_no_user_lies_on_disk(here: Place) -> None:
    for path in here.layout().pool.rglob("*"):
        if path.is_file():
            text = path.read_text(errors="replace")
            assert "SCRAM-SHA-256$" not in text, path
            assert PASSWORD not in text, path
    assert (here.layout().pool / "users.txt").read_text() == ""


def test_both_hops_are_encrypted_or_local(here: Place) -> None:
    with here.login() as session:
        assert scalar(session, "SELECT inet_client_addr()") is None, "the second hop is a unix socket"
        assert [each.tls != "" for each in clients(here) if each.user == USER] == [True]


def test_a_removal_leaves_nothing_and_an_add_brings_it_back(here: Place) -> None:
    want, layout = here.want(), here.layout()
    port = want.hop_port("pooled")
    assert port is not None
    with here.login() as session:
        scalar(session, "SELECT 1")
        no = Voice(agrees=False)
        with pytest.raises(NotAgreed):
            here.service.remove_extension("shop", "pooler", no.caller("extensions remove"))
        assert [each.hop for each in no.questions[0].sessions] == ["pooled"]
    here.service.remove_extension("shop", "pooler", asks("extensions remove"))
    assert not layout.pool.exists()
    assert processes_below(layout.pool) == {}
    assert not wire.knock("127.0.0.1", port).answers
    assert here.control("SELECT count(*) FROM pg_roles WHERE rolname = 'howdah_lookup'") == [(0,)]
    for database in ("postgres", "template1", DATABASE):
        assert here.control("SELECT count(*) FROM pg_namespace WHERE nspname = 'howdah'", database) == [(0,)]
    assert "local all howdah_lookup" not in (layout.data / "pg_hba.conf").read_text()
    assert here.repair() == ()
    assert [endpoint.kind for endpoint in here.service.endpoints("shop")] == ["direct"]
    with pytest.raises(NotFound):
        here.pool({"pool_mode": "session"})
    assert here.service.remove_extension("shop", "pooler", asks("extensions remove")).operation is None

    done = here.service.add_extension("shop", "pooler", {"listen_port": str(port)}, asks("extensions add"))
    assert any("pool_mode" in str(note) for note in done.notes)
    prove(here)
    assert here.service.add_extension("shop", "pooler", {}, asks("extensions add")).operation is None
    with pytest.raises(Conflict):
        here.service.add_extension("shop", "pooler", {"max_client_conn": "7"}, asks("extensions add"))


def test_a_password_changed_ends_what_the_pooler_knew(here: Place) -> None:
    here.ask("SELECT 1")
    here.service.set_password("shop", USER, Secret("another one"), asks("users password"))
    with here.login(password="another one") as session:
        assert scalar(session, "SELECT 1") == 1
    with pytest.raises(psycopg.OperationalError):
        here.login(password=PASSWORD).close()
    here.service.set_password("shop", USER, Secret(PASSWORD), asks("users password"))
    prove(here)


def test_a_login_in_progress_is_no_session_yet(here: Place) -> None:
    """While a verifier is looked up, PgBouncer may list the client, without a user."""
    here.console("PAUSE")
    try:
        knocking = Waiting(here)
        wait_until(lambda: any(row["user"] == "(nouser)" for row in here.console("SHOW CLIENTS")), 1)
        assert "(nouser)" not in {session.user for session in here.newest().clients}
    finally:
        here.console("RESUME")
    knocking.close()


def test_every_address_may_take_the_place_of_one(here: Place) -> None:
    """Who listens on just 127.0.0.1, as the older generation does, is reached before the newer on 0.0.0.0; that one is proven elsewhere."""
    listen = list(here.want().pooled.listen)
    with here.login() as kept:
        assert scalar(kept, "SELECT 1") == 1
        here.service.set_reach("shop", ["pooled"], ["0.0.0.0"], [], [], asks("endpoints set"))
        assert scalar(kept, "SELECT 2") == 2
        assert here.ask("SELECT 3", host="127.0.0.3", sslmode="require") == 3
    assert here.repair() in ((), ("RetirePooler",))
    prove(here)
    here.service.set_reach("shop", ["pooled"], listen, [], [], asks("endpoints set"))
    assert here.repair() in ((), ("RetirePooler",))
    prove(here)
