"""Connections and descriptors add up: whatever is refused names the largest legal value, and that one is accepted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howdah.catalog import sizes
from howdah.core import budget
from howdah.core.instance import Database, Instance
from howdah.core.observed import Facts
from howdah.errors import Invalid

FACTS = Facts("postgres", "pgbouncer", "root", (1, 25), nofile=65_536)
POOLER = {"pool_mode": "session", "max_client_conn": "1000", "listen_port": "6432"}
SHARED = ("default_pool_size", "min_pool_size", "reserve_pool_size", "max_db_connections")


def pooled(most: int | None = None, **chosen: object) -> Instance:
    """Return a wish with a pooler; `most` is max_connections where it is chosen."""
    parameters = {} if most is None else {"max_connections": str(most)}
    return Instance(
        "abcd1234",
        "shop",
        15,
        5432,
        parameters=parameters,
        extensions={"pooler": {**POOLER, **{name: str(value) for name, value in chosen.items()}}},
    )


def refusal(want: Instance, facts: Facts = FACTS) -> tuple[str, int] | None:
    """Return what a wish is refused for, and the largest (of too few connections: the smallest) legal value that the refusal names."""
    try:
        budget.check(want, facts)
    except Invalid as refused:
        assert refused.code == "does_not_fit"
        name = re.match(r"cannot set (\w+)=", str(refused.message))
        largest = re.fullmatch(r"the (?:larg|small)est legal value is (\d+)", str(refused.hint))
        assert name is not None and largest is not None
        return name[1], int(largest[1])
    return None


def with_value(want: Instance, name: str, value: int) -> Instance:
    if name == "max_connections":
        return replace(want, parameters={**want.parameters, name: str(value)})
    settings: Mapping[str, str] = {**want.extensions["pooler"], name: str(value)}
    return replace(want, extensions={"pooler": settings})


def test_a_longer_queue_than_the_kernel_keeps_is_refused_by_its_limit() -> None:
    asked = pooled(listen_backlog=5000)
    assert refusal(asked, replace(FACTS, backlog=5000)) is None
    assert refusal(asked, replace(FACTS, backlog=4096)) == ("listen_backlog", 4096)


def test_every_size_fits_with_the_pooler_of_an_ordinary_machine() -> None:
    for size, nofile in ((size, nofile) for size in sizes.SIZES for nofile in (1024, 4096, 65_536)):
        facts = replace(FACTS, nofile=nofile)
        bare = replace(pooled(), size=size)
        clients = budget.default_clients(bare, facts)
        assert 1 <= clients <= 1000
        assert refusal(with_value(bare, "max_client_conn", clients), facts) is None


def test_without_a_pooler_there_is_nothing_to_add_up() -> None:
    budget.check(Instance("abcd1234", "shop", 15, 5432, parameters={"max_connections": "100000"}), replace(FACTS, nofile=10))


@pytest.mark.parametrize(
    ("want", "nofile", "expected"),
    [
        (pooled(100), 65_536, None),
        (pooled(100, default_pool_size=90), 65_536, None),
        (pooled(100, default_pool_size=91), 65_536, ("default_pool_size", 90)),
        (pooled(100, default_pool_size=80, reserve_pool_size=10), 65_536, None),
        (pooled(100, default_pool_size=80, reserve_pool_size=11), 65_536, ("reserve_pool_size", 10)),
        (pooled(100, default_pool_size=80, reserve_pool_size=91), 65_536, ("reserve_pool_size", 10)),
        (pooled(100, reserve_pool_size=91), 65_536, ("reserve_pool_size", 90)),
        (pooled(100, min_pool_size=91), 65_536, ("min_pool_size", 90)),
        (pooled(100, max_db_connections=91), 65_536, ("max_db_connections", 90)),
        (pooled(max_client_conn=871), 1024, ("max_client_conn", 870)),  # 1024 - 64 - (100 - 10)
        (pooled(max_client_conn=870), 1024, None),
        (pooled(101, max_client_conn=870), 1024, ("max_connections", 100)),
        (pooled(100, max_client_conn=870), 1024, None),
        (pooled(50, max_client_conn=2000), 1024, ("max_client_conn", 920)),  # no max_connections at all would do
        (pooled(14), 65_536, ("max_connections", 15)),
        (pooled(15), 65_536, None),
    ],
)
def test_a_budget_to_the_last_connection(want: Instance, nofile: int, expected: tuple[str, int] | None) -> None:
    assert refusal(want, replace(FACTS, nofile=nofile)) == expected


wishes = st.builds(
    lambda most, clients, sizes_asked: pooled(most, max_client_conn=clients, **sizes_asked),
    st.none() | st.integers(15, 3000),
    st.integers(1, 5000),
    st.dictionaries(st.sampled_from(SHARED), st.integers(1, 200)),
)
machines = st.integers(1024, 20_000).map(lambda nofile: replace(FACTS, nofile=nofile))


@settings(deadline=None)
@given(wishes, machines)
def test_the_largest_legal_value_that_is_named_is_itself_accepted(want: Instance, facts: Facts) -> None:
    refused = refusal(want, facts)
    if refused is None or refused[1] == 0:  # 0: nothing of it fits while the rest stays as it is
        return
    name, largest = refused
    after = refusal(with_value(want, name, largest), facts)
    assert after is None or after[0] != name
    assert refusal(with_value(want, name, largest + 1), facts) is not None


@settings(deadline=None)
@given(wishes, machines)
def test_what_fits_leaves_room_for_everything(want: Instance, facts: Facts) -> None:
    if refusal(want, facts) is not None or want.pooler is None:
        return
    share = budget.server_share(want)
    assert int(want.pooler["max_client_conn"]) + share < facts.nofile
    assert int(want.pooler.get("default_pool_size", "0")) + int(want.pooler.get("reserve_pool_size", "0")) <= share
    assert share + budget.RESERVED <= budget.max_connections(want)


@given(st.integers(1, 3000), st.integers(0, 50))
def test_the_share_of_all_databases_together_never_exceeds_what_postgresql_admits(most: int, count: int) -> None:
    want = replace(pooled(most), databases=tuple(Database(f"d{number}") for number in range(count)))
    each = int(budget.pooler_limits(want, FACTS)["max_db_connections"])
    assert each == 1 or each * budget.pool_databases(want) <= budget.server_share(want)
