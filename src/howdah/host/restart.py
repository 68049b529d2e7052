"""Restart PostgreSQL behind a pooler whose clients wait meanwhile, and lose nothing: one act, from the checkpoint to the proven login.

An open transaction keeps a PAUSE from coming about, and whoever waits for that PAUSE waits with it. So a moment without old transactions
is awaited first, while everybody is served; only then is the pooler paused, for a short time at most. Where no such moment comes,
everybody goes on, and who holds it up is named. Nobody's transaction is ended unless that was asked for.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from howdah.core.host import Refused
from howdah.core.instance import CONTROL_ROLE, LOOKUP_ROLE, Instance
from howdah.errors import Failed, Refusal
from howdah.host import admin, pause, postgres, sessions, sql
from howdah.host.postgres import Seat
from howdah.host.session import Session
from howdah.phrase import say

# A transaction younger than this is not waited for before the PAUSE, only behind it
_OLD_SECONDS: Final = 0.25
# What a PAUSE may take of the time that transactions are given: as long as that, other clients would wait in vain
_PAUSE_SECONDS: Final = 2.0
_BETWEEN_LOOKS: Final = 0.02
_NAMED: Final = 3
_SHOWN_QUERY: Final = 60
# Only the pooler comes by the socket, and we ourselves
_OPEN: Final = """
SELECT pid, usename, datname, application_name, extract(epoch FROM clock_timestamp() - xact_start)::text, state, query
FROM pg_stat_activity WHERE backend_type = 'client backend' AND client_addr IS NULL AND usename <> ALL ($1::name[])
AND clock_timestamp() - xact_start > make_interval(secs => $2::float8) ORDER BY xact_start
"""
_END: Final = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid"


@dataclass(frozen=True)
class Holder:
    """A pooled session whose transaction is open: who, from where, for how long (seconds), and its query."""

    pid: int
    user: str
    database: str
    application: str
    address: str
    age: float
    state: str
    query: str

    def __str__(self) -> str:
        who = f"{self.user}@{self.database} ({self.application or '-'}, {self.address or '-'}, pid {self.pid})"
        return f"{who}, {self.age:.0f} s, {self.state}: {_brief(self.query)}"


def _brief(query: str) -> str:
    """Return a query in one short line; one that speaks of a password is not told.

    >>> print(_brief("UPDATE t\\n  SET a = 1"), _brief("ALTER ROLE a PASSWORD 'b'"))
    UPDATE t SET a = 1 (not shown)
    """
    if "password" in query.casefold():
        return "(not shown)"
    line = " ".join("".join(c if c.isprintable() else " " for c in query).split())
    return line if len(line) <= _SHOWN_QUERY else line[: _SHOWN_QUERY - 1] + "…"


def restart(
    seat: Seat, want: Instance, poolers: Sequence[Path], start: Callable[[], None], still: contextlib.AbstractContextManager[None]
) -> int:
    """Restart the server with the clients of these PgBouncers waiting, and return how many sessions that ended: those on the TCP port.

    Refused `held_up` where an open transaction does not end in time. Within `still` nobody of ours is among the waiting.
    """
    postgres.check_log(seat)
    if postgres.state(seat).state != "ready":
        postgres.stop(seat)
        start()
        return 0
    _checkpoint(seat)
    keeps = pause.keeps(poolers)
    with _held(seat, want, poolers, still) if poolers else contextlib.nullcontext(0) as ended:
        ended += sessions.count(seat, pooled=keeps)
        postgres.stop(seat)
        start()
        with sql.control(seat, say("prove a login")) as session:
            session.execute("SELECT 1")
    return ended


def _checkpoint(seat: Seat) -> None:
    """Write a checkpoint while clients are served; only to be quicker, and one whose hba file locks us out is restarted all the same."""
    with contextlib.suppress(Refusal), sql.control(seat, say("write a checkpoint")) as session:
        session.execute("CHECKPOINT")


@contextlib.contextmanager
def _held(seat: Seat, want: Instance, poolers: Sequence[Path], still: contextlib.AbstractContextManager[None]) -> Iterator[int]:
    """Hold the clients back, from the first moment without an old transaction on, or as the wish says; tell how many it ended."""
    last = min(_PAUSE_SECONDS, want.hold.seconds / 2)
    ended: list[int] = []
    _await_quiet(seat, want.hold.seconds - last)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(still)
            late = (lambda: ended.append(_end_open(seat))) if want.hold.end else None
            stack.enter_context(pause.held(poolers, seconds=last, late=late))
        except Failed as failed:
            found = _holders(seat, poolers)
            if failed.code != "pause_failed" or not found:
                raise
            raise _held_up(want, found) from failed
        yield sum(ended)


def _await_quiet(seat: Seat, seconds: float) -> None:
    """Return when no pooled transaction is old, or the time is over, or one cannot ask: a server that locks us out is restarted as well."""
    deadline = time.monotonic() + seconds
    with contextlib.suppress(Refusal), sql.control(seat, say("look for open transactions")) as session:
        while _open(session, _OLD_SECONDS) and time.monotonic() < deadline:
            time.sleep(_BETWEEN_LOOKS)


def _end_open(seat: Seat) -> int:
    """End every pooled transaction that is open, and return how many: behind a PAUSE, none of them can have become somebody else's."""
    with sql.control(seat, say("end open transactions")) as session:
        pids = [str(each.pid) for each in _open(session, 0.0)]
        session.execute(_END, ["{" + ",".join(pids) + "}"])
    return len(pids)


def _open(session: Session, seconds: float) -> list[Holder]:
    """Return the pooled sessions whose transaction has been open for longer."""
    own = "{" + ",".join((CONTROL_ROLE, LOOKUP_ROLE)) + "}"
    rows = session.execute(_OPEN, [own, seconds])
    return [
        Holder(int(pid), user, database, application, "", float(age), state, query)
        for pid, user, database, application, age, state, query in rows
    ]


def _holders(seat: Seat, poolers: Sequence[Path]) -> list[Holder]:
    """Return the pooled sessions whose transaction is old, the oldest first, with the client's address; none where one cannot ask."""
    found: list[Holder] = []
    with contextlib.suppress(Refusal), sql.control(seat, say("look for open transactions")) as session:
        found = _open(session, _OLD_SECONDS)
    addresses = {pid: address for each in poolers for pid, address in admin.lent(each).items()} if found else {}
    return [replace(each, address=addresses.get(each.pid, "")) for each in found]


def _held_up(want: Instance, found: Sequence[Holder]) -> Refused:
    more = say(" and {count} more", count=len(found) - _NAMED) if len(found) > _NAMED else ""
    message = say(
        "cannot restart {name} within {seconds} s: open transactions hold it up, and all clients were let go on: {holders}{more}",
        name=want.name,
        seconds=f"{want.hold.seconds:g}",
        holders="; ".join(str(each) for each in found[:_NAMED]),
        more=more,
    )
    return Refused("held_up", message, say("again with --transactions-wait SECONDS waits longer; --end-transactions ends them then"))
