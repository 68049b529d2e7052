"""Connections and file descriptors add up, or are refused with the largest legal value. Arithmetic only."""

from __future__ import annotations

from howdah.catalog import sizes
from howdah.core import lanes
from howdah.core.instance import Instance
from howdah.core.observed import Facts
from howdah.errors import Invalid
from howdah.phrase import Phrase, say

# connections that the pooler must leave: superuser_reserved_connections (3), Howdah's own looks and proofs, a person with psql
RESERVED = 10
# PgBouncer's own descriptors: log, pid file, listeners, epoll, console, one lookup connection for each database
_OWN_DESCRIPTORS = 64
_LONGEST_DEFAULT = 1000
# below this a pooler cannot hold one server connection for each of two databases and look users up
_LEAST_POOL = 5


def max_connections(want: Instance) -> int:
    """Return how many connections PostgreSQL will admit."""
    return int(want.parameters.get("max_connections", sizes.defaults(want.size, want.version)["max_connections"]))


def server_share(want: Instance) -> int:
    """Return how many server connections the pooler may hold in all."""
    return max(max_connections(want) - RESERVED, 1)


def pool_databases(want: Instance) -> int:
    """Return among how many databases that share is divided; one more than is wanted, for those made by plain SQL."""
    return len(want.databases) + 1


def pooler_limits(want: Instance, facts: Facts) -> dict[str, str]:
    """Return what follows from PostgreSQL's and the machine's limits, and from the pool mode, where nothing was chosen."""
    del facts
    named = "1" if (want.pooler or {}).get("pool_mode") == "session" else "0"  # a SET at each change of hands costs more than it tells
    return {"max_db_connections": str(max(server_share(want) // pool_databases(want), 1)), "application_name_add_host": named}


def largest_clients(want: Instance, facts: Facts) -> int:
    """Return the largest legal max_client_conn: descriptors left when every server connection is open."""
    count = processes(want, facts)
    return max((facts.nofile - _OWN_DESCRIPTORS - -(-server_share(want) // count)) * count, 0)


def default_clients(want: Instance, facts: Facts) -> int:
    """Return max_client_conn where none was chosen: 1000, or the largest legal number below it."""
    return max(1, min(_LONGEST_DEFAULT, largest_clients(want, facts)))


def check(want: Instance, facts: Facts) -> None:
    """Refuse a wish whose connections or descriptors cannot hold."""
    if want.pooler is None:
        return
    _divisible(want, facts)
    clients = int(want.pooler["max_client_conn"])
    beside = (facts.nofile - _OWN_DESCRIPTORS) * processes(want, facts) - clients + RESERVED
    if "max_connections" in want.parameters and beside >= RESERVED + _LEAST_POOL:
        # named first: it may be what leaves no room for the clients; where no value of it would do, the clients are too many
        limit = say("file descriptors of one PgBouncer ({limit}) beside {clients} clients", limit=facts.nofile, clients=clients)
        _within("max_connections", max_connections(want), beside, limit)
    _within(
        "max_client_conn",
        clients,
        largest_clients(want, facts),
        say("file descriptors of one process ({limit})", limit=facts.nofile),
    )
    _within("listen_backlog", int(want.pooler.get("listen_backlog", "0")), facts.backlog, say("the kernel's limit, net.core.somaxconn"))
    share = server_share(want)
    if max_connections(want) < RESERVED + _LEAST_POOL:
        message = say("cannot set max_connections={most}: too few for a pooler and direct use", most=max_connections(want))
        raise Invalid("does_not_fit", message, say("the smallest legal value is {least}", least=RESERVED + _LEAST_POOL))
    why = say("max_connections={most} less {reserved} kept for direct use", most=max_connections(want), reserved=RESERVED)
    for name in ("default_pool_size", "min_pool_size", "max_db_connections"):
        _within(name, int(want.pooler.get(name, "0")), share, why)
    # the reserve comes on top of the pool, where a pool was chosen
    pool = int(want.pooler.get("default_pool_size", "0"))
    _within("reserve_pool_size", int(want.pooler.get("reserve_pool_size", "0")), share - pool, why)


def processes(want: Instance, facts: Facts) -> int:
    """Return how many PgBouncers share the port: as many as were asked for, else what suits the machine and every limit.

    It is one where they could not hand a cancel request on to each other.
    """
    if facts.pooler_version < lanes.PEERS_SINCE:
        return 1
    asked = (want.pooler or {}).get("processes")
    return int(asked) if asked else min(lanes.fitting(facts.cores), *(total for total in _needed(want, facts).values() if total))


def _needed(want: Instance, facts: Facts) -> dict[str, int]:
    """Return the limits of which each process needs a part; 0 is no limit."""
    settings = {"default_pool_size": "20", **pooler_limits(want, facts), **(want.pooler or {})}
    return {name: int(settings.get(name, "0")) for name in lanes.NEEDED}


def _divisible(want: Instance, facts: Facts) -> None:
    """Refuse more processes than this PgBouncer can run together, or a limit can be divided among."""
    asked = int((want.pooler or {}).get("processes", "1"))
    if asked > processes(want, facts):
        have = ".".join(map(str, facts.pooler_version))
        message = say("cannot run {count} processes: PgBouncer {have} has no peers, 1.19 has", count=asked, have=have)
        raise Invalid("unsupported_setting", message, say("a request to cancel a query would get lost between them"))
    for name, total in _needed(want, facts).items():
        if 0 < total < asked:
            message = say("cannot divide {name}={total} among {count} processes", name=name, total=total, count=asked)
            raise Invalid("does_not_fit", message, say("set processes to {total} or less, or a larger {name}", total=total, name=name))


def _within(name: str, asked: int, largest: int, why: Phrase) -> None:
    if asked > largest:
        message = say("cannot set {name}={asked}: more than {why} can hold", name=name, asked=asked, why=why)
        raise Invalid("does_not_fit", message, say("the largest legal value is {largest}", largest=max(largest, 0)))
