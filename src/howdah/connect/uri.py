"""A connection URI, as libpq reads it; many drivers read it too, each with parameters of its own."""

from __future__ import annotations

import shlex

from howdah.connect import Snippet, Target, _libpq, _trial
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the URI, without channel_binding: drivers that are not libpq (Go's pq and pgx before 5.8) send it on as a server parameter."""
    pairs = {key: value for key, value in _libpq.keywords(target).items() if key != "channel_binding"}
    other = say("other drivers take the same URI, but sslrootcert and passfile are libpq's, and sslmode may mean something else to them")
    uri = _libpq.uri(pairs)
    files = {f"{target.label}.uri": uri + "\n", _trial.name(target): _trial.program(target, f"psql {shlex.quote(uri)}")}
    notes = (*_libpq.notes(target, binds=False), other, _trial.note(target))
    return Snippet("uri", say("connection URI"), "text", uri + "\n", f"{target.label}.uri", _trial.NEEDS, notes, files)
