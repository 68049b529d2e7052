"""libpq's keyword/value string, for whatever hands one to libpq: PQconnectdb, `psql STRING`, most wrappers of it."""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq
from howdah.phrase import say


def snippet(target: Target) -> Snippet:
    """Return the string, quoted for libpq alone."""
    text = _libpq.conninfo(_libpq.keywords(target)) + "\n"
    return Snippet("conninfo", say("keyword/value string of libpq"), "text", text, f"{target.label}.conninfo", notes=_libpq.notes(target))
