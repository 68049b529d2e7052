"""psql: one command line for a shell."""

from __future__ import annotations

import shlex

from howdah.connect import Snippet, Target, _libpq
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the command; quoted for libpq, then for the shell."""
    text = f"psql {shlex.quote(_libpq.conninfo(_libpq.keywords(target)))}\n"
    notes = _libpq.notes(target, asks=True)
    return Snippet("psql", say("psql, the command line client"), "sh", text, f"{target.label}.sh", ("postgresql-client",), notes)
