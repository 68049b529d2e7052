"""Speak SQL with a server over its unix socket, and say what its errors mean.

We come as the control role by peer mapping, so no password exists for it. Nothing from outside decides how: settings that an owner has
put on his database do not reach our sessions, and no library reads the environment.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Final

from howdah.core.host import Refused
from howdah.core.instance import CONTROL_ROLE
from howdah.errors import Failed, Lacking, Refusal, Unavailable
from howdah.host import addresses, files
from howdah.host.postgres import Seat
from howdah.host.session import Session, SqlError, opened
from howdah.phrase import Phrase, say

_ANSWER_SECONDS: Final = 75.0  # beyond our statement_timeout: only a server that stands still takes longer

# What a session of ours is immune against: ALTER DATABASE … SET by an owner (search_path, role, read only, a library that is not there),
# event triggers, of a login too, that hang or refuse (but for those made ALWAYS), and a log that would keep a verifier. A setting of a
# library that is not loaded is a placeholder that nobody reads.
_OPTIONS = {
    "search_path": "pg_catalog,pg_temp",
    "role": "none",
    "default_transaction_read_only": "off",
    "default_tablespace": "",
    "standard_conforming_strings": "on",
    "idle_in_transaction_session_timeout": "0",
    "quote_all_identifiers": "off",
    "local_preload_libraries": "",
    "session_preload_libraries": "",
    "session_replication_role": "replica",
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "lc_messages": "C",
    "client_min_messages": "warning",
    "client_encoding": "UTF8",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "pg_stat_statements.track": "none",
    "pgaudit.log": "none",
}


# The same, of those that older versions do not know
_SINCE = {14: {"idle_session_timeout": "0"}, 17: {"transaction_timeout": "0"}}


def _immune(seat: Seat) -> dict[str, str]:
    version = files.read(seat.layout.data / "PG_VERSION", 16) or ""
    major = int(version) if version.strip().isdigit() else 0
    return {**_OPTIONS, **{name: value for since, more in _SINCE.items() if major >= since for name, value in more.items()}}


def connect(
    seat: Seat, database: str = "postgres", *, options: Mapping[str, str] | None = None, seconds: float = 15
) -> contextlib.AbstractContextManager[Session]:
    """Open a session as the control role, in autocommit; it raises SqlError."""
    chosen = _immune(seat) if options is None else options
    words = {"user": CONTROL_ROLE, "database": database, "application_name": "howdah"}
    if chosen:
        words["options"] = " ".join(f"-c {name}={_escaped(value)}" for name, value in chosen.items())
    return opened(addresses.socket_path(seat.layout.socket_dir, seat.port), words, seconds=seconds, answer_seconds=_ANSWER_SECONDS)


def _escaped(value: str) -> str:
    return re.sub(r"([\\\s])", r"\\\1", value)


@contextlib.contextmanager
def control(seat: Seat, doing: Phrase, database: str = "postgres", *, fresh: bool = False) -> Iterator[Session]:
    """Hold a session of the control role while `doing` something; PostgreSQL's errors leave as refusals that name it.

    It may be a kept one, which learns of a reload later than a `fresh` one does.
    """
    try:
        with connect(seat, database) if fresh else lent(seat, database) as session:
            yield session
    except SqlError as error:
        raise refusal(error, doing) from error


_Kept = tuple[Session, contextlib.ExitStack]
_KEPT_AT_MOST: Final = 2
# The sessions that are kept for the next step, by their server's socket and database; None where none is to be kept
_shelf: ContextVar[dict[tuple[Path, str], _Kept] | None] = ContextVar("shelf", default=None)


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Within this, a session that was lent is kept for who asks for it next: to begin one costs more than most statements do."""
    shelf: dict[tuple[Path, str], _Kept] = {}
    token = _shelf.set(shelf)
    try:
        yield
    finally:
        _shelf.reset(token)
        for _, held in shelf.values():
            held.close()


@contextlib.contextmanager
def lent(seat: Seat, database: str = "postgres") -> Iterator[Session]:
    """Hold a session of the control role, a kept one where there is one; it raises SqlError."""
    shelf, place = _shelf.get(), (seat.socket, database)
    kept = _taken(shelf, place) if shelf is not None else None
    with contextlib.ExitStack() as ending:
        session, held = kept or _opened(seat, database)
        ending.enter_context(held)
        yield session
        # One that failed is not kept; nor is one with a template, which could not be copied then
        if shelf is not None and place not in shelf and len(shelf) < _KEPT_AT_MOST and not database.startswith("template"):
            shelf[place] = (session, ending.pop_all())


def _opened(seat: Seat, database: str) -> _Kept:
    held = contextlib.ExitStack()
    return held.enter_context(connect(seat, database)), held


def _taken(shelf: dict[tuple[Path, str], _Kept], place: tuple[Path, str]) -> _Kept | None:
    """Take a kept session that is still alive, as new."""
    found = shelf.pop(place, None)
    if found is None:
        return None
    try:
        found[0].execute("DISCARD ALL")
    except SqlError:
        found[1].close()  # its server was restarted since
        return None
    return found


# Classes of SQLSTATE (appendix A of the manual) that blame what was asked for: data, syntax or access, dependencies, not supported,
# state of the object, configuration file; and an extension's missing file. All others are a matter of the moment.
_ASKED = ("0A", "22", "23", "2B", "2F", "42", "55000", "F0", "58P01")
_FULL = "53100"  # disk_full
# A session that begins keeps what it read of the catalogs in a file; in PostgreSQL 15 that failure names no reason (relcache.c).
_UNWRITTEN = "could not write init file"


def refusal(error: SqlError, doing: Phrase) -> Refusal:
    """Return what a PostgreSQL error means: Refused when it rejects what was wanted, Lacking when there is no room, else another."""
    words = "; ".join(part for part in (error.message, error.detail, error.hint) if part)
    message = say("cannot {doing}: {words}", doing=doing, words=words)
    if error.sqlstate.startswith(_ASKED):
        return Refused("refused_by_postgres", message)
    if not error.sqlstate or error.sqlstate.startswith(("08", "57P")):
        return Unavailable("postgres_unreachable", message)
    if error.sqlstate == _FULL or _UNWRITTEN in error.message:
        return Lacking("postgres_failed", message, say("the disk is full: make room there, then: howdah repair --all"))
    return Failed("postgres_failed", message)


def run(session: Session, template: str, *quoted: str, clauses: Mapping[str, str] | None = None) -> None:
    """Run a statement: each `{}` is a name and is quoted; clauses such as {"PASSWORD": "…"} are appended, each with its literal."""
    appended = [f"{keyword} {literal(value)}" for keyword, value in (clauses or {}).items()]
    session.execute(" ".join([template.format(*(names([name]) for name in quoted)), *appended]))


def names(quoted: Iterable[str]) -> str:
    """Return names, quoted, with commas between them.

    >>> names(["a", 'b"c'])
    '"a", "b""c"'
    """
    return ", ".join('"' + name.replace('"', '""') + '"' for name in quoted)


def literal(value: str) -> str:
    """Return a value as a string constant that means the same whatever standard_conforming_strings says.

    >>> print(literal("it's") + literal("a\\\\b"))
    'it''s' E'a\\\\b'
    """
    doubled = value.replace("'", "''")
    return f"'{doubled}'" if "\\" not in value else f" E'{doubled.replace(chr(92), chr(92) * 2)}'"
