"""The page that tells what happens to clients, made from what `python -m bench.disruption` measured last; no figure is written by hand."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).resolve().parent.parent.parent / "bench" / "disruption.json"
TITLE = "What happens to my clients when…"
HEAD = """Each row was made under load, again and again, with numbered writes: what was acknowledged is there once, whatever was done
meanwhile. *Wait* is the longest time that any client waited for a commit, the middle one of the rounds; in brackets what the same
clients waited in a control of the same length, in which nothing happened. A session through the pooler (in transaction mode) is
*pooled*, one on PostgreSQL's own port *direct*. What a change cost on your machine, `howdah operations NAME` tells."""
# What becomes of sessions, by the kind of a change
POOLED = {
    "reload": "go on",
    "restart": "wait, and go on",
    "takeover": "go on with the older PgBouncer until they leave; new ones come to the new one",
    "statements": "go on",
}
DIRECT = {
    "reload": "go on",
    "restart": "are counted and named, and ended when you agree",
    "takeover": "go on",
    "statements": "go on; those of a user or database that is deleted are ended",
}
FAULTS = {
    "kill-backend": "the client whose session it was gets an error and connects again; if it was idle, nobody notices",
    "kill-pgbouncer": "its clients are cut and connect again: its keeper starts it anew",
    "kill-postgres": "all sessions at the server end; clients wait or get errors until something repairs it",
}
BEFORE = """## Before you do it

- A restart asks first when direct sessions would be ended, and names them. Pooled ones are held back only when no transaction is open that
  is older than a quarter of a second; whoever keeps one open is named after 5 s, and nothing was restarted
  ([change a parameter](../how-to/change-a-parameter.md)).
- In session mode a client keeps its server connection, so a restart ends pooled sessions, too. It asks first.
- `ssl=on` ends sessions that are open in plaintext, after it has named them; with `--keep-plaintext` they stay until they leave.
- What a running PgBouncer cannot change (`listen_port`, `listen_backlog`, `pool_mode` for who is connected, its own program) is done by
  [another generation](pooler-generations.md). `howdah show` says who is left in an older one.
- A `listen_port` that is given up stays open until nobody is in there; until then who comes to it is served. Tell your applications the
  new port, or `howdah pooler drain NAME --for SECONDS --end` ends those that are left."""


def page(table: Any) -> Iterator[Sequence[str] | str]:
    """Return the parts of the page; `table` makes a Markdown table."""
    yield HEAD
    for found in json.loads(MEASURED.read_text("utf-8")):
        yield f"## With PgBouncer {found['pgbouncer']}"
        rows = [each for each in found["rows"] if each["kind"] != "fault"]
        yield table(("when…", "pooled sessions", "direct sessions", "failed transactions", "failed logins", "wait"), map(_row, rows))
        yield f"Lost writes: {found['lost']}. Writes that are there twice: {found['doubled']}. Rounds: {found['rounds']}."
        faults = [each for each in found["rows"] if each["kind"] == "fault"]
        yield "What may befall it unasked:"
        yield table(("when…", "then", "failed transactions", "wait"), map(_fault, faults))
        yield "\n".join(f"{line}  " for line in found["surroundings"].splitlines())
    yield BEFORE


def _row(row: Mapping[str, Any]) -> Iterable[str]:
    logins = "the old port is given up" if row["leaves_port"] else str(row["failed_logins"])
    failed = f"{row['failed']} of {row['transactions']}"
    return (row["title"], POOLED[row["kind"]], DIRECT[row["kind"]], failed, logins, _wait(row))


def _fault(row: Mapping[str, Any]) -> Iterable[str]:
    return (row["title"], FAULTS[row["key"]], f"{row['failed']} of {row['transactions'] + row['failed']}", _wait(row))


def _wait(row: Mapping[str, Any]) -> str:
    return f"{statistics.median(row['stalls']):.0f} ms ({statistics.median(row['controls']):.0f})"
