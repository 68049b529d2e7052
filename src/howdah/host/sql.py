"""Speak SQL with a server over its unix socket, and say what its errors mean.

We come as the control role by peer mapping, so no password exists for it. Nothing from outside decides how: libpq's environment,
password files and service files are ignored, and settings that an owner has put on his database do not reach our sessions.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from howdah.core.instance import CONTROL_ROLE
from howdah.core.steps import Refused
from howdah.errors import Failed, Refusal, Unavailable
from howdah.host.postgres import Seat
from howdah.phrase import Phrase, say

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

# What a session of ours is immune against: ALTER DATABASE … SET by an owner (search_path, role, read only), and a log that would
# keep a verifier. A setting of a library that is not loaded is a placeholder that nobody reads.
_OPTIONS = {
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "default_transaction_read_only": "off",
    "default_tablespace": "",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "lc_messages": "C",
    "client_min_messages": "warning",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "pg_stat_statements.track": "none",
    "pgaudit.log": "none",
}


def connect(seat: Seat, database: str = "postgres", *, options: Mapping[str, str] | None = None, seconds: int = 5) -> Connection:
    """Open a session as the control role, in autocommit; it raises psycopg's own errors."""
    import psycopg

    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # libpq reads PGTZ, PGREQUIREAUTH, PGSERVICE … for whatever is not said in the call
    chosen = _OPTIONS if options is None else options
    return psycopg.connect(
        host=str(seat.layout.socket_dir),
        port=seat.port,
        user=CONTROL_ROLE,
        dbname=database,
        options=" ".join(f"-c {name}={_escaped(value)}" for name, value in chosen.items()),
        application_name="howdah",
        passfile="/nonexistent",
        sslmode="disable",
        gssencmode="disable",
        connect_timeout=seconds,
        autocommit=True,
    )


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


@contextlib.contextmanager
def control(seat: Seat, doing: Phrase, database: str = "postgres") -> Iterator[Connection]:
    """Hold a session of the control role while `doing` something; psycopg's errors leave as refusals that name it."""
    import psycopg

    try:
        with connect(seat, database) as session:
            yield session
    except psycopg.Error as error:
        raise refusal(error, doing) from error


# Classes of SQLSTATE (appendix A of the manual) that blame what was asked for: data, syntax or access, dependencies, not supported,
# state of the object, configuration file; and an extension's missing file. All others are a matter of the moment.
_ASKED = ("0A", "22", "23", "2B", "2F", "42", "55000", "F0", "58P01")


def refusal(error: psycopg.Error, doing: Phrase) -> Refusal:
    """Return what a PostgreSQL error means: Refused when it rejects what was wanted, else Unavailable or Failed."""
    state = error.sqlstate or ""
    said = error.diag.message_primary or str(error).strip().replace("\n", "; ")
    words = "; ".join(part for part in (said, error.diag.message_detail, error.diag.message_hint) if part)
    message = say("cannot {doing}: {words}", doing=doing, words=words)
    if state.startswith(_ASKED):
        return Refused("refused_by_postgres", message)
    if not state or state.startswith(("08", "57P")):
        return Unavailable("postgres_unreachable", message)
    return Failed("postgres_failed", message)


def run(session: Connection, template: str, *names: str, clauses: Mapping[str, str] | None = None) -> None:
    """Run a statement: each `{}` is a name and is quoted; clauses such as {"PASSWORD": "…"} are appended, each with its literal."""
    from psycopg import sql as text

    statement = text.SQL(template).format(*(text.Identifier(name) for name in names))
    appended = [text.SQL(keyword + " {}").format(text.Literal(value)) for keyword, value in (clauses or {}).items()]
    session.execute(text.SQL(" ").join([statement, *appended]))


def names(quoted: Iterable[str]) -> str:
    """Return names, quoted, with commas between them.

    >>> names(["a", 'b"c'])
    '"a", "b""c"'
    """
    return ", ".join('"' + name.replace('"', '""') + '"' for name in quoted)
