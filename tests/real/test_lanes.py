"""Several PgBouncers on one port: logins by turns, each limit divided among them, a cancel finds its session wherever it lands, one that is
killed costs its own clients alone, and a change goes through them one after the other.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import psycopg
import pytest
from tests.real.instances import Connection, Place, asks, clients_of, kill, place, prove, scalar, strays
from tests.real.servers import poolers, version_of
from tests.real.test_crash import dies_inside

from howdah.core import lanes
from howdah.errors import Invalid, Refusal
from howdah.host import admin, pgbouncer, pooler, process, steering
from howdah.host.seat import LocalSeat
from howdah.service.verbs import Service
from howdah.verify import verify

ABLE = [each for each in poolers() if each.version >= lanes.PEERS_SINCE]
SHORT, LONG = ABLE[-1:], [pytest.param(each, marks=pytest.mark.long) for each in ABLE[:-1]]


@pytest.fixture(scope="module", params=[*SHORT, *LONG], ids=version_of)
def here(request: pytest.FixtureRequest) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWDAH_PGBOUNCER", str(request.param.path))
        with place() as made:
            made.create("shop")
            made.pool({"processes": "2", "max_client_conn": "101", "pool_mode": "transaction"})
            yield made


def test_two_share_the_port_and_every_limit(here: Place) -> None:
    newest = here.newest()
    assert len(newest.configs) == 2
    assert [each["max_client_conn"] for each in newest.configs] == ["51", "50"]
    assert newest.total("max_client_conn") == 101
    sessions = [here.login() for _ in range(24)]
    assert min(clients_of(here).values()) > 0, "none of them has all: 1 in 8 million by chance"
    assert len(here.newest().clients) == 24
    assert here.host.sample(here.want(), whole=False)["clients"] == 24, "what is measured is summed up"
    for each in sessions:
        each.close()
    prove(here)


def test_a_killed_one_is_replaced_and_costs_its_own_clients_alone(here: Place) -> None:
    sessions = [here.login() for _ in range(16)]
    one = pgbouncer.quick_look(here.directory()).member
    assert one is not None
    before = clients_of(here)
    kill(one)
    assert process.wait_until(lambda: pgbouncer.look(here.directory()).reachable, 1)
    alive = sum(_answers(each) for each in sessions)
    assert alive == before[here.directory().name + ".2"]
    for each in sessions:
        each.close()
    assert here.repair() == (), "its keeper has seen to it"
    prove(here)


def _answers(session: Connection) -> bool:
    try:
        return bool(scalar(session, "SELECT true"))
    except psycopg.Error:
        return False


def test_every_cancel_finds_its_session(here: Place) -> None:
    """200 of 200: of sessions of both processes, and of an older generation's, while requests arrive at the newest."""
    old = [here.login() for _ in range(10)]
    here.pool({"listen_backlog": "700"})
    sessions = [*old, *(here.login() for _ in range(10))]
    cancelled = Counter[str]()

    def sleep_on(session: Connection) -> None:
        for _ in range(10):
            try:
                session.execute("SELECT pg_sleep(20)")
                cancelled["missed"] += 1
            except psycopg.errors.QueryCanceled:
                cancelled["hit"] += 1

    threads = [threading.Thread(target=sleep_on, args=(each,)) for each in sessions]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 100
    while any(each.is_alive() for each in threads) and time.monotonic() < deadline:
        for session, thread in zip(sessions, threads, strict=True):
            if thread.is_alive() and session.info.transaction_status == psycopg.pq.TransactionStatus.ACTIVE:
                session.cancel()
        time.sleep(0.1)
    for thread in threads:
        thread.join(30)
    assert cancelled == {"hit": 200}
    for each in sessions:
        each.close()
    assert process.wait_until(lambda: not any(each.clients for each in here.seen().pooler[:-1]), 5)
    here.repair()


def test_a_change_goes_one_after_the_other_and_back_where_the_second_fails(here: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [each.number for each in here.seen().pooler]
    here.pool({"max_client_conn": "90"})
    assert [each["max_client_conn"] for each in here.newest().configs] == ["45", "45"]
    here.pool({"default_pool_size": "7"})
    assert [each["default_pool_size"] for each in here.newest().configs] == ["4", "3"]
    assert [each.number for each in here.seen().pooler] == numbers, "by reload"
    want, reloads = here.want(), Counter[str]()

    def reload(directory: Path, **options: float) -> None:
        reloads[directory.name] += 1
        if len(reloads) == 1 or reloads[directory.name] > 1:
            admin_reload(directory, **options)

    admin_reload = admin.reload
    with monkeypatch.context() as patched, pytest.raises(Refusal):
        patched.setattr(admin, "reload", reload)  # the second one does not hear of it
        patched.setattr(pooler, "_ANSWER_SECONDS", 0.5)
        here.pool({"default_pool_size": "9"})
    assert here.want().pooler == want.pooler, "withdrawn"
    assert [each["default_pool_size"] for each in here.newest().configs] == ["4", "3"], "and the first one went back"
    prove(here)


def test_more_or_fewer_take_over_without_loss(here: Place) -> None:
    with here.login() as kept:
        here.pool({"processes": "3"})
        assert len(here.newest().configs) == 3
        here.pool({"processes": "2"})
        assert len(here.newest().configs) == 2
        assert scalar(kept, "SELECT 1") == 1
    assert process.wait_until(lambda: not any(each.clients for each in here.seen().pooler[:-1]), 5)
    here.repair()
    prove(here)


@pytest.mark.long
def test_a_crash_on_the_way_is_put_right(here: Place) -> None:
    """Howdah dies inside a takeover from two processes to three or back, and inside a reload of both."""
    changes = itertools.cycle([{"processes": "3"}, {"query_timeout": "55"}, {"processes": "2"}, {"query_timeout": "66"}])
    for effects, change in zip((15, 25, 35, 45, 60, 75, 90, 120), changes, strict=False):
        dies_inside(here, partial(_set, change), effects)
        here.repair()
        here.pool(change)
        prove(here)
        assert strays_of_lanes(here) == {}


def _set(change: Mapping[str, str], service: Service) -> object:
    return service.set_extension("shop", "pooler", change, asks("set"))


def strays_of_lanes(here: Place) -> dict[int, str]:
    """Return the processes that belong to none of the newest generation's lanes, while no older one has a client."""
    lanes_of = pgbouncer.lanes(here.layout().pool, here.newest().number)
    ours = {each.pid for lane in lanes_of for alive in [pgbouncer.quick_look(lane)] for each in (alive.keeper, alive.member) if each}
    return {pid: line for pid, line in strays(here).items() if pid not in ours}


def test_all_that_is_proven_of_one_is_proven_of_two(here: Place) -> None:
    here.pool({"processes": "2"})
    report = verify(here.want(), LocalSeat(here.host, here.want()), time.time())
    assert [(each.check.id, str(each.finding.evidence)) for each in report.checks if each.finding.result == "fail"] == []
    second = pgbouncer.lanes(here.layout().pool, here.newest().number)[1]
    text = (second / "pgbouncer.ini").read_text()
    (second / "pgbouncer.ini").write_text(text.replace("query_timeout = ", "query_timeout = 1"))
    admin.reload(second)
    report = verify(here.want(), LocalSeat(here.host, here.want()), time.time())
    assert {each.check.id for each in report.checks if each.finding.result == "fail"} >= {"pooler-loaded", "pooler-files"}
    here.repair()
    prove(here)


def test_what_cannot_be_divided_is_refused(here: Place) -> None:
    with pytest.raises(Invalid, match="cannot divide default_pool_size=1 among 2 processes"):
        here.pool({"default_pool_size": "1"})
    with pytest.raises(Refusal):
        here.pool({"processes": "9"})


@pytest.mark.parametrize("damage", ["a keeper", "both of one", "a directory", "a file"])
def test_what_befalls_one_of_them_is_put_right(here: Place, damage: str) -> None:
    second = pgbouncer.lanes(here.layout().pool, here.newest().number)[1]
    found = pgbouncer.quick_look(second)
    assert found.keeper is not None and found.member is not None
    plan = pgbouncer.read_plan(second)
    assert plan is not None
    if damage == "a keeper":
        kill(found.keeper)
    elif damage == "both of one":
        kill(found.keeper, found.member)
    elif damage == "a directory":
        kill(found.keeper, found.member)
        for each in second.iterdir():
            each.unlink()
        second.rmdir()
    else:
        (second / "pgbouncer.ini").write_text("nonsense")
    if damage in ("both of one", "a directory"):  # a socket of who was killed may listen for a moment yet, and whoever comes to it is cut
        assert process.wait_until(lambda: all(len(steering.members(each)) == 1 for each in plan.addresses), 5)
    with here.login() as kept:
        here.repair()
        assert len(here.newest().configs) == 2
        assert scalar(kept, "SELECT 1") == 1
    assert process.wait_until(lambda: not any(each.clients for each in here.seen().pooler[:-1]), 5)
    here.repair()
    prove(here)
