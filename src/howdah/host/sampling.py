"""Measure an instance once: what PostgreSQL and PgBouncer count, and what the kernel knows of their processes. Nothing is kept here.

Numbers that only grow are handed on as they are (`…_total`); whoever keeps samples makes rates of them. One session at PostgreSQL and one
at the pooler's console: some milliseconds.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from howdah.core.samples import Sample
from howdah.errors import Refusal
from howdah.host import pgbouncer, process, sql
from howdah.host.postgres import Seat
from howdah.phrase import say

_ACTIVITY: Final = """
SELECT count(*) FILTER (WHERE a.client_addr IS NOT NULL), count(*) FILTER (WHERE a.state = 'active' AND a.pid <> pg_backend_pid()),
  count(*) FILTER (WHERE a.client_addr IS NOT NULL AND s.ssl), count(*) FILTER (WHERE a.client_addr IS NULL AND a.usename <> 'postgres')
FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid) WHERE a.backend_type = 'client backend'
"""
_COUNTS: Final = """
SELECT sum(xact_commit + xact_rollback), sum(blks_hit), sum(blks_read), (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint
FROM pg_stat_database
"""
_SIZE: Final = "SELECT sum(pg_database_size(oid)) FROM pg_database WHERE datallowconn"
_TICK: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def sample(seat: Seat, poolers: Sequence[Path], pid: int, *, whole: bool) -> Sample:
    """Return what is counted now; `whole` adds what takes longer, the size of the databases. Several PgBouncers are summed up."""
    found: Sample = {}
    with contextlib.suppress(Refusal), sql.control(seat, say("measure"), fresh=True) as session:
        direct, active, encrypted, pooled = (float(value or 0) for value in session.execute(_ACTIVITY).fetchall()[0])
        found |= {"direct": direct, "active": active, "encrypted": encrypted, "servers": pooled}
        names = ("transactions_total", "hits_total", "reads_total", "wal_total")
        found |= {name: float(value or 0) for name, value in zip(names, session.execute(_COUNTS).fetchall()[0], strict=True)}
        if whole:
            found["size"] = float(session.execute(_SIZE).fetchall()[0][0] or 0)
    counted: Sample = {}
    for directory in poolers:
        with contextlib.suppress(Refusal, OSError):
            counted |= {name: value + counted.get(name, 0.0) for name, value in _pooler(directory).items()}
    return found | counted | _processes(pid, poolers)


def _pooler(directory: Path) -> Sample:
    with pgbouncer.enter(directory, seconds=2.0) as asked:
        pools = [row for row in asked.ask("SHOW POOLS") if row["database"] != "pgbouncer"]
        stats = [row for row in asked.ask("SHOW STATS") if row["database"] != "pgbouncer"]
        clients = [row for row in asked.ask("SHOW CLIENTS") if row["database"] != "pgbouncer"]
    return {
        "clients": float(len(clients)),
        "clients_encrypted": float(sum(bool(row.get("tls")) for row in clients)),
        "waiting": _sum(pools, "cl_waiting"),
        "servers": sum(_sum(pools, name) for name in ("sv_active", "sv_idle", "sv_used", "sv_tested", "sv_login")),
        "queries_total": _sum(stats, "total_query_count"),
        "query_time_total": _sum(stats, "total_query_time"),
    }


def _sum(rows: list[dict[str, str | None]], name: str) -> float:
    return float(sum(int(row.get(name) or 0) for row in rows))


def _processes(pid: int, poolers: Sequence[Path]) -> Sample:
    """Return the processor time that was used, and the memory in use, of PostgreSQL's processes and PgBouncer's."""
    members = [pgbouncer.quick_look(directory).member for directory in poolers]
    every = [*_family(pid), *(member.pid for member in members if member is not None)]
    ticks = memory = 0.0
    for number, each in enumerate(every):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{each}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(map(int, fields[11:13])) + (
                sum(map(int, fields[13:15])) if number == 0 else 0
            )  # with the postmaster's dead children
            _, resident, shared = map(int, Path(f"/proc/{each}/statm").read_bytes().split()[:3])
            memory += (resident if number == 0 else resident - shared) * _PAGE
    return {"cpu_total": ticks / _TICK, "memory": memory}


def _family(pid: int) -> Iterator[int]:
    if pid and process.identify(pid) is not None:
        yield pid
        with contextlib.suppress(OSError):
            yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
