"""libpq's keyword/value string, for whatever hands one to libpq: PQconnectdb, `psql STRING`, most wrappers of it."""

from __future__ import annotations

import shlex

from howdah.connect import Snippet, Target, _libpq, _trial
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the string, quoted for libpq alone."""
    text = _libpq.conninfo(_libpq.keywords(target))
    place, title = f"{target.label}.conninfo", say("keyword/value string of libpq")
    files = {place: text + "\n", _trial.name(target): _trial.program(target, f"psql {shlex.quote(text)}")}
    notes = (*_libpq.notes(target), _trial.note(target))
    return Snippet("conninfo", title, "text", text + "\n", place, _trial.NEEDS, notes, files)
