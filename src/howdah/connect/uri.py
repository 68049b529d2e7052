"""A connection URI, as libpq reads it; many drivers read it too, each with parameters of its own."""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the URI, without channel_binding: drivers that are not libpq (Go's pq and pgx before 5.8) send it on as a server parameter."""
    pairs = {key: value for key, value in _libpq.keywords(target).items() if key != "channel_binding"}
    other = say("other drivers take the same URI, but sslrootcert and passfile are libpq's, and sslmode may mean something else to them")
    text = _libpq.uri(pairs) + "\n"
    return Snippet("uri", say("connection URI"), "text", text, f"{target.label}.uri", notes=(*_libpq.notes(target, binds=False), other))
