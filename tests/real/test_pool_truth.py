"""What holds in transaction mode and what does not, with each driver: two clients take turns on the server connections of one pool.

What of a session may be relied on is the pooler's matter; what a driver does unasked is its own. Each is done by the driver's own words,
with the settings of its snippet, on a pooler that carries prepared statements and on one that does not. The results stand in
tests/real/clients.json, and from there in docs/reference/clients.md.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.real import measured, recipes
from tests.real.hops import ORDINARY, PGBOUNCER, Servers, pgbouncer_version, running_servers, target
from tests.real.probes import PROBES, PYTHON, Probe, behind, probe
from tests.real.servers import poolers

from howdah.catalog.messages import BY_PLACE
from howdah.catalog.messages.matching import explain

ROWS = 200_000
TURNS = 8  # more than any driver waits before it prepares by itself


def pooler(carries: bool) -> str | None:
    """Return a PgBouncer that carries prepared statements (from 1.22 on), or one that does not."""
    found = [PGBOUNCER, *(str(each.path) for each in poolers())]
    return next((each for each in found if (pgbouncer_version(each) >= (1, 22)) == carries), None)


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.long)], ids=["without", "with"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    found = pooler(request.param)
    if found is None:
        pytest.skip(f"no PgBouncer {'of 1.22 or newer' if request.param else 'older than 1.22'} is here")
    with running_servers(found, size=2) as made:
        yield made


def shared(ask: str) -> Callable[[Probe], str]:
    """Return how two clients do the same in turns, and then the one while the other holds the server connection that both had."""

    def tried(one: Probe) -> str:
        said = [one.say(f"{ask} {name} x") for _ in range(TURNS) for name in ("A", "B")]
        one.say("do B BEGIN")
        said += [one.say(f"{ask} A x") for _ in range(TURNS)]
        one.say("do B COMMIT")
        return "none" if "none" in said else "works" if set(said) == {"42"} else f"breaks: {next(each for each in said if each != '42')}"

    return tried


def alone(ask: str, count: int) -> Callable[[Probe], str]:
    """Return how one client reads or writes some rows."""

    def tried(one: Probe) -> str:
        said = one.say(f"{ask} A {count}")
        return said if said == "none" else "works" if said == str(count) else f"breaks: {said}"

    return tried


def left(first: str, then: str, signs: tuple[str, ...], word: str) -> Callable[[Probe], str]:
    """Return how one client leaves something of its session to the next."""

    def tried(one: Probe) -> str:
        began, said = one.say(f"do A {first}"), one.say(f"do B {then}")
        return word if said.lower() in signs else f"unclear: {began}; {said}"

    return tried


def listening(one: Probe) -> str:
    one.say("do A LISTEN news")
    one.say("do B NOTIFY news")
    said = one.say("heard A x")
    return {"no": "deaf", "yes": "works"}.get(said, said)


def cancelling(one: Probe) -> str:
    said = one.say("cancel A x")
    return said if said == "none" else "works" if "cancel" in said.lower() and said.startswith("error") else f"breaks: {said}"


def clean(one: Probe) -> None:
    """Leave both server connections as they were: PgBouncer lends the one that came back last, and while that is lent, the other."""
    for line in ("open C x", "open D x", "do C BEGIN", "do D DISCARD ALL", "do C COMMIT", "do C DISCARD ALL"):
        assert not one.say(line).startswith("error"), line


FEATURES: Mapping[str, Callable[[Probe], str]] = {
    "query with a parameter": shared("ask"),
    "statement prepared by name": shared("named"),
    "cursor in a transaction": alone("cursor", 1000),
    "cursor WITH HOLD": left(
        "DECLARE held CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors WHERE is_holdable", ("1",), "left to others"
    ),
    "SET": left("SET search_path TO pg_temp", "SHOW search_path", ("pg_temp",), "left to others"),
    "LISTEN": listening,
    "advisory lock": left("SELECT pg_advisory_lock(7)", "SELECT pg_try_advisory_lock(7)", ("true", "t", "1"), "not exclusive"),
    "temporary table": left("CREATE TEMP TABLE mine (n int)", "SELECT count(*) + 1 FROM mine", ("1",), "left to others"),
    "COPY": alone("copy", 1000),
    "large result": alone("big", ROWS),
    "cancel": cancelling,
}


# PgBouncer 1.18 crashes now and then when who asked for a cancellation by TLS is still connected as it is done ("bouncer config error").
UNSTEADY = {("rust", "cancel", False)}


def seen_by_the_pooler(servers: Servers) -> None:
    """Two connections, kept open by the driver, and encrypted for the pooler itself."""
    seen = [client["tls"] for client in servers.clients("transaction")]
    assert len(seen) == 2 and all(each.startswith("TLSv1.") for each in seen), seen


@pytest.mark.long
def test_a_cancellation_by_tls_can_end_an_old_pgbouncer(tmp_path: Path) -> None:
    """What UNSTEADY is for (pgbouncer#846, until 1.19.1), and what the log says then. It is a race: the client has to be gone first."""
    found = pooler(False)
    if found is None or pgbouncer_version(found) >= (1, 19):
        pytest.skip("no PgBouncer 1.18 is here")
    if reason := recipes.reason_to_skip("rust"):
        pytest.skip(reason)
    [message] = [each for each in BY_PLACE["log"] if each.id == "log-cancel-crash"]
    with running_servers(found, size=2) as made:
        for _ in range(40):
            with probe("rust", target(made, "transaction", "verify-full", ORDINARY), Path(tempfile.mkdtemp(dir=tmp_path))) as one:
                one.say("open A x")
                one.say("cancel A x")
            log = (made.root / "transaction" / "out").read_text()
            if "FATAL" in log:
                break
        [fatal] = [line for line in log.splitlines() if "FATAL" in line]
        assert message.is_in(fatal), fatal
        assert [match.message.id for match in explain(fatal)] == [message.id]


NAMED_BY_ODBC = behind(PYTHON, "odbc.py.in", 'string = ";"', ('"UseServerSidePrepare": "0"', '"UseServerSidePrepare": "1"'))


def test_psqlodbc_breaks_by_the_names_of_its_own_statements(servers: Servers, tmp_path: Path) -> None:
    """Where the pooler carries named statements, of all places: why its snippet has UseServerSidePrepare=0 in transaction mode."""
    if reason := recipes.reason_to_skip("odbc"):
        pytest.skip(reason)
    wanted = target(servers, "transaction", "verify-full", ORDINARY)
    with probe("odbc", wanted, tmp_path, NAMED_BY_ODBC) as one:
        assert [one.say(f"open {name} x") for name in ("A", "B")] == ["-", "-"]
        said = shared("ask")(one)
    assert ("prepared statement name is already in use" in said) if servers.carries else (said == "works"), said


@pytest.mark.parametrize("client", PROBES)
def test_what_transaction_mode_takes_and_leaves(servers: Servers, tmp_path: Path, client: str) -> None:
    if reason := recipes.reason_to_skip(client):
        pytest.skip(reason)
    wanted = target(servers, "transaction", "verify-full", ORDINARY)
    found, words = {}, []
    for feature, tried in FEATURES.items():
        if (client, feature, servers.carries) in UNSTEADY:
            found[feature] = "may end PgBouncer"
            continue
        with probe(client, wanted, Path(tempfile.mkdtemp(dir=tmp_path))) as one:
            opened = [one.say(f"open {name} x") for name in ("A", "B")]
            assert opened == ["-", "-"], opened
            seen_by_the_pooler(servers)
            said = tried(one)
            clean(one)
        words.append(f"{feature}: {said}")
        found[feature] = said.split(":")[0]
    print("\n".join(words))
    assert "unclear" not in found.values(), words
    measured.check(client, "transaction, carried" if servers.carries else "transaction", found, recipes.RECIPES[client].version())
