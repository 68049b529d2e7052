"""psql: one command line for a shell."""

from __future__ import annotations

import shlex

from howdah.connect import Snippet, Target, _libpq, _trial
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the command; quoted for libpq, then for the shell."""
    text = f"psql {shlex.quote(_libpq.conninfo(_libpq.keywords(target)))}\n"
    notes = (*_libpq.notes(target, asks=True), _trial.note(target))
    files = {f"{target.label}.sh": text, _trial.name(target): _trial.program(target, text.rstrip())}
    return Snippet("psql", say("psql, the command line client"), "sh", text, f"{target.label}.sh", _trial.NEEDS, notes, files)
