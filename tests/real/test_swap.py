"""A swap of the pooler loses nobody: neither a login that arrives in a storm of them, nor a transaction of who stays connected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from bench.load import Wish, load
from bench.logins import storm, verifier
from tests.real.instances import DATABASE, Place, place
from tests.real.servers import poolers, version_of

from howdah.core import lanes

ROLE, PASSWORD = "storm", "cheap for the client"


FIRST, *OTHERS = poolers()


@pytest.fixture(scope="module", params=[FIRST, *(pytest.param(each, marks=pytest.mark.long) for each in OTHERS)], ids=version_of)
def here(request: pytest.FixtureRequest) -> Iterator[Place]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOWDAH_PGBOUNCER", str(request.param.path))
        with place() as made:
            made.create("shop")
            made.pool({"pool_mode": "transaction", "max_client_conn": "500"})
            made.control(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{verifier(PASSWORD)}'")
            made.control(f"GRANT ALL ON DATABASE {DATABASE} TO {ROLE}")
            made.control(f"GRANT ALL ON SCHEMA public TO {ROLE}", DATABASE)
            yield made


def where(here: Place, hop: Any = "pooled") -> str:
    want = here.want()
    words: dict[str, Any] = {"host": "127.0.0.1", "port": want.hop_port(hop), "user": ROLE, "dbname": DATABASE, "password": PASSWORD}
    tls = {"sslmode": "verify-full", "sslrootcert": str(here.layout().ca_file), "gssencmode": "disable", "connect_timeout": "30"}
    return psycopg.conninfo.make_conninfo("", **(words | tls))


def swap(here: Place, times: int) -> None:
    """Make changes that a running PgBouncer cannot make, one after the other, and see each take the logins over."""
    for number in range(times):
        before = here.newest().number
        here.pool({"listen_backlog": str(1000 + (number + before) % 2000)})
        assert here.newest().number == before + 1


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.long)])
def test_no_login_and_no_transaction_is_lost(here: Place, pytestconfig: pytest.Config, processes: int) -> None:
    """As many logins as this machine holds in the same minute, and sessions that write all the while."""
    if processes > 1 and here.host.facts().pooler_version < lanes.PEERS_SINCE:
        pytest.skip("this PgBouncer runs in one process: it knows no peers")
    if processes > 1:
        here.pool({"processes": str(processes)})
    assert len(here.newest().configs) == processes
    times = 10 if pytestconfig.getoption("--all") else 2
    with storm(where(here)) as logins, load(Wish(where(here), where(here, "direct"), clients=2, direct_clients=0, pause=0.05)) as writers:
        control = logins.control(3)
        with logins.window(f"{times} swaps") as swaps, writers.window("swaps") as written:
            swap(here, times)
        balance = writers.stop()
    print(control, swaps, written, sep="\n")
    assert control.logins.failed == 0, control
    assert control.logins.done > 30, "a storm it has to be"
    assert swaps.logins.failed == 0, swaps
    assert swaps.logins.done > times * 10
    assert (written.pooled.failed, written.logins.failed) == (0, 0), written
    assert (balance.lost, balance.doubled) == (0, 0)
    here.repair()
