"""A server watched for a while: who is there, what each session asks, holds and leaves behind; nothing is changed by looking.

Views show of other sessions the last statement, locks and temporary tables; statistics and logs show more, where they are kept. Who does
what is written down as it is; whether it matters is judged elsewhere.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from howdah.core.advice import Sighting, Source, Watched, Who
from howdah.core.habits import Habit, habits
from howdah.errors import Refusal
from howdah.host import pgbouncer, sql
from howdah.host.console import Row
from howdah.host.postgres import Seat
from howdah.host.session import Session, SqlError
from howdah.phrase import say

LOOK_SECONDS: Final = 0.05
_SLOW_EVERY: Final = 10  # looks; what costs more is asked less often
_LONGEST_LOG: Final = 64 << 20  # bytes that are read of what was logged meanwhile
_PREFIX: Final = "%m [%p] %q%u@%d "
_LISTS_PREPARED: Final = (1, 21)

_OTHERS: Final = "a.backend_type = 'client backend' AND a.pid <> pg_backend_pid() AND a.usename <> 'postgres' AND a.usename !~ '^howdah_'"
_NOW: Final = "SELECT clock_timestamp()::text"
_SESSIONS: Final = f"""
SELECT a.pid, a.application_name, a.usename, a.datname, a.client_addr IS NULL, a.state = 'idle', a.query
FROM pg_stat_activity a WHERE {_OTHERS} AND greatest(a.state_change, a.backend_start) >= $1::timestamptz
"""
# An idle session is in no transaction: what it holds is the session's. A backend's number, which names its temporary schema, stands in
# each of its transactions (virtualtransaction); from 16 on it can be asked for at any time.
_LOCKS: Final = f"""
SELECT DISTINCT a.pid FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND a.state = 'idle' AND {_OTHERS}
"""
_NUMBERS_OLD: Final = "SELECT pid, split_part(virtualtransaction, '/', 1) FROM pg_locks WHERE locktype = 'virtualxid' AND pid IS NOT NULL"
_NUMBERS: Final = "SELECT pg_stat_get_backend_pid(id), id::text FROM pg_stat_get_backend_idset() id"
_TEMPORARY: Final = """
SELECT substr(n.nspname, 9), min(c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence = 't' AND n.nspname ~ '^pg_temp_[0-9]+$' GROUP BY 1
"""
_KEPT: Final = "SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'pg_stat_statements'"
_STATEMENTS: Final = """
SELECT r.rolname, d.datname, s.query FROM {}.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid
WHERE r.rolname <> 'postgres' AND r.rolname !~ '^howdah_'
    AND s.query ~* '\\m(set|listen|prepare|execute|declare|temp|temporary|load|lastval|currval)\\M|pg_(try_)?advisory_|set_config'
"""
_SINCE: Final = "SELECT stats_reset::text FROM {}.pg_stat_statements_info"
_LOGGING: Final = """
SELECT current_setting('log_line_prefix'),
    current_setting('log_statement') = 'all' OR current_setting('log_min_duration_statement') = '0'
"""
_LINE = re.compile(
    r"^\d{4}-\d\d-\d\d \S+ \S+ \[(\d+)\] (.*?)@(.*?) LOG:  (?:duration: \S+ ms +)?(?:statement|(?:execute|parse|bind) ([^:]+)): (.*)",
    re.DOTALL,
)
_TEMPORARY_FILE = re.compile(r"/t(\d+)_\d+(?:_\w+)?$")
_HOST = re.compile(r" - [0-9A-Fa-f.:]+:\d+$")  # PgBouncer's application_name_add_host
_STAMP = re.compile(rb"^(?=\d{4}-\d\d-\d\d \S+ \S+ \[\d+\])", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where to look: the server, each PgBouncer of its pooler, also of an older generation, and the server's logs."""

    seat: Seat
    poolers: Sequence[Path]
    pool_mode: str | None
    carries: bool
    pooler_version: tuple[int, ...]
    logs: Path


@dataclass
class _Notes:
    """What was seen so far."""

    by_pid: dict[int, Who] = field(default_factory=dict)
    present: set[Who] = field(default_factory=set)
    seen: set[Sighting] = field(default_factory=set)
    numbers: dict[str, int] = field(default_factory=dict)  # a backend's number to its pid
    tables: set[tuple[str, str, str]] = field(default_factory=set)  # database, number of the backend, name
    looks: int = 0
    last: str = "-infinity"

    def note(self, who: Who, statements: str, source: Source) -> None:
        self.seen.update(Sighting(who, habit, source) for habit in habits(statements))


def watch(place: Place, seconds: float) -> Watched:
    """Watch for as long; Ctrl-C ends it earlier. `Unavailable` where the server cannot be asked."""
    notes, began, cut_short = _Notes(), time.monotonic(), False
    doing = say("watch the sessions")
    with sql.control(place.seat, doing, fresh=True) as session:
        with sql.connect(place.seat, options={}) as plain:  # our own sessions log nothing
            logs = _Logs(place.logs, *_one(plain.execute(_LOGGING)))
        try:
            while True:
                _look(place, session, notes)
                if (left := began + seconds - time.monotonic()) <= 0:
                    break
                time.sleep(min(LOOK_SECONDS, left))
        except KeyboardInterrupt:
            cut_short = True
    if not notes.looks:  # interrupted within the first look, whose session is of no use then
        with sql.control(place.seat, doing, fresh=True) as session:
            _look(place, session, notes)
    lasted = time.monotonic() - began
    databases = sorted({who.database for who in notes.present})
    _note_tables(notes)
    since = _ask_statistics(place, databases, notes)
    for who, statement, prepared in logs.read(notes.by_pid):
        notes.note(who, statement, "log")
        if prepared:
            notes.seen.add(Sighting(who, Habit("protocol_prepare", "…"), "log"))
    return Watched(
        seconds=lasted,
        looks=notes.looks,
        present=frozenset(notes.present),
        sightings=frozenset(notes.seen),
        pool_mode=place.pool_mode,
        carries=place.carries,
        lists_prepared=bool(place.poolers) and place.pooler_version >= _LISTS_PREPARED,
        statements=since is not None,
        since=since or None,
        logged=logs.whole,
        cut_short=cut_short,
    )


def _look(place: Place, session: Session, notes: _Notes) -> None:
    now = str(_one(session.execute(_NOW))[0])
    for pid, application, user, database, local, idle, query in session.execute(_SESSIONS, [notes.last]):
        pooled = local and bool(place.poolers)
        name = _HOST.sub("", application or "") if pooled else application or ""
        who = notes.by_pid[pid] = Who(name, user, database, "pooled" if pooled else "direct")
        left = habits(query or "")
        notes.seen.update(Sighting(who, habit, "sessions") for habit in left)
        if left or not (pooled and idle):  # a server connection that waits in the pool is nobody's
            notes.present.add(who)
    notes.last = now
    newer = session.version >= 160000
    notes.numbers.update((number, pid) for pid, number in session.execute(_NUMBERS if newer else _NUMBERS_OLD))
    if notes.looks % _SLOW_EVERY == 0:
        for (pid,) in session.execute(_LOCKS):
            if pid in notes.by_pid:
                notes.seen.add(Sighting(notes.by_pid[pid], Habit("advisory_lock", "…"), "locks"))
        _look_at_pooler(place, notes)
        for database in sorted({who.database for who in notes.present}):
            _look_at_tables(place, database, notes)
    notes.looks += 1


def _look_at_tables(place: Place, database: str, notes: _Notes) -> None:
    with contextlib.suppress(SqlError), sql.lent(place.seat, database) as session:
        notes.tables.update((database, number, name) for number, name in session.execute(_TEMPORARY))
    if notes.tables:
        notes.numbers.update((number, pid) for pid in notes.by_pid for number in _open_temporary(pid))


def _open_temporary(pid: int) -> Iterator[str]:
    """Return the numbers in the names of temporary files of tables (base/DATABASE/tNUMBER_FILE) that a backend has open."""
    with contextlib.suppress(OSError):  # it has ended, or is another user's
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if found := _TEMPORARY_FILE.search(str(entry.readlink())):
                    yield found[1]


def _note_tables(notes: _Notes) -> None:
    """Note whose the temporary tables are: of the session with that number, else it is not known."""
    for database, number, name in notes.tables:
        who = notes.by_pid.get(notes.numbers.get(number, 0))
        owner = who if who is not None and who.database == database else Who(None, None, database)
        notes.seen.add(Sighting(owner, Habit("temporary", name), "tables"))


def _look_at_pooler(place: Place, notes: _Notes) -> None:
    """Ask the pooler who its clients are, and, from 1.21 on, whether they have prepared statements."""
    for directory in place.poolers:
        for row in _clients(directory):
            database, user = row.get("database") or "", row.get("user") or ""
            if database == "pgbouncer" or user == "postgres" or user.startswith("howdah_"):
                continue
            who = Who(_HOST.sub("", row.get("application_name") or ""), user, database, "pooled")
            notes.present.add(who)
            if (row.get("prepared_statements") or "0") != "0":
                notes.seen.add(Sighting(who, Habit("protocol_prepare", "…"), "pooler"))


def _clients(directory: Path) -> list[Row]:
    with contextlib.suppress(Refusal), pgbouncer.enter(directory) as console:
        return console.ask("SHOW CLIENTS")
    return []


def _ask_statistics(place: Place, databases: Sequence[str], notes: _Notes) -> str | None:
    """Note what pg_stat_statements has counted; return since when (empty where it does not say), None where it is in no database."""
    for database in databases:
        with contextlib.suppress(SqlError), sql.lent(place.seat, database) as session:
            if (found := session.execute(_KEPT).fetchone()) is None:
                continue
            schema = sql.names([found[0]])
            for user, used, query in session.execute(_STATEMENTS.format(schema)):
                notes.note(Who(None, user, used), query or "", "statements")
            return str(_one(session.execute(_SINCE.format(schema)))[0]) if session.version >= 140000 else ""
    return None


@dataclass
class _Logs:
    """The server's logs from now on; `whole` where each statement is in them, in lines as Howdah has them written."""

    directory: Path
    prefix: str
    all: bool
    marks: dict[Path, int] = field(init=False)

    def __post_init__(self) -> None:
        self.marks = {path: path.stat().st_size for path in self._files()}

    @property
    def whole(self) -> bool:
        return self.all and self.prefix == _PREFIX

    def _files(self) -> list[Path]:
        return [path for path in sorted(self.directory.glob("postgresql-*.log")) if path.is_file() and not path.is_symlink()]

    def read(self, by_pid: dict[int, Who]) -> Iterator[tuple[Who, str, bool]]:
        """Return each logged statement, whose it is, and whether it was a named prepared one."""
        for path in self._files() if self.whole else ():
            with path.open("rb") as file:
                file.seek(self.marks.get(path, 0))
                for line in _STAMP.split(file.read(_LONGEST_LOG)):
                    if found := _LINE.match(line.decode(errors="replace")):
                        pid, user, database, name, statement = found.groups()
                        who = by_pid.get(int(pid)) or Who(None, user, database)
                        if user != "postgres" and not user.startswith("howdah_"):
                            yield who, statement, name is not None and name != "<unnamed>"


def _one(answer: Any) -> tuple[Any, ...]:
    row = answer.fetchone()
    assert row is not None  # each of these statements returns one
    return tuple(row)
