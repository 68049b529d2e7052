"""One open SQLite file: made 0600 without a race, migrated, and speaking in refusals of ours.

A write-ahead log lets people look while somebody writes, and makes a commit one fsync; `synchronous = FULL` means that what was once
answered for survives a power cut. It knows no table but through the migrations that it is handed: their count is the file's schema. A
file of an older schema is copied aside before it is changed, one of a newer schema is neither read nor written. On a read-only file
system it can be looked at, and no more.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from howdah.errors import Unavailable, Unsupported
from howdah.phrase import say

MEMORY = ":memory:"
_SNAPSHOTS = 3
_MOUNT = say("mount its file system for writing, then give the same command again; running servers are not touched by that")
_OWNER = say("run as the user that owns it, or set HOWDAH_HOME to a directory of your own")
_CURES = {errno.EROFS: _MOUNT, errno.EISDIR: say("put the file itself there: running servers are not touched by that")}


def copy_path(path: str, schema: int) -> Path:
    """Return where a store of an older schema is copied to before it is changed."""
    return Path(f"{path}.schema-{schema}")


def prepare(path: Path) -> None:
    """Make an empty database file, 0600, where none is; refuse one that this user may not read and write."""
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise OSError(errno.EISDIR, "it is not a file")
        if not path.exists():
            _make(path)
        if not os.access(path, os.R_OK | os.W_OK):
            number = errno.EROFS if os.statvfs(path).f_flag & os.ST_RDONLY else errno.EACCES
            raise OSError(number, os.strerror(number))
    except OSError as error:
        message = say("cannot open the store {path}: {reason}", path=path, reason=error.strerror)
        raise Unavailable("store_unavailable", message, _CURES.get(error.errno or 0, _OWNER)) from error


def only_readable(path: Path) -> bool:
    """Tell whether a file that is there can be read, and lies on a file system that is mounted read-only."""
    return os.access(path, os.R_OK) and bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def _looking(path: str, busy_seconds: float) -> sqlite3.Connection:
    """Open a file on a read-only file system to look at.

    With a log beside it, SQLite reads it there as it is, and heeds a writer that may live behind another mount. Without one nobody writes
    now; but SQLite would have to make the log, so it must be told that the file is immutable (wal.html, "Read-Only Databases"). That it
    would believe for as long as it is open: so all is read into memory at once, and counts if nobody began to write meanwhile.
    """
    address, log = f"file:{urllib.parse.quote(path)}?mode=ro", Path(f"{path}-wal")
    for _ in range(_SNAPSHOTS):
        if log.exists():
            break
        before = Path(path).stat()
        found = sqlite3.connect(MEMORY, isolation_level=None)
        with closing(sqlite3.connect(f"{address}&immutable=1", uri=True)) as source:
            source.backup(found)
        after = Path(path).stat()
        if not log.exists() and (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns):
            found.execute("PRAGMA query_only = ON")
            return found
        found.close()
    return sqlite3.connect(address, uri=True, timeout=busy_seconds, isolation_level=None)


def _make(path: Path) -> None:
    # Only a missing file is opened here: closing any descriptor of a database drops SQLite's POSIX locks of this whole process.
    if not path.parent.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o711)  # the servers' users pass through; each directory below guards itself
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        return  # another howdah made it a moment ago, in the same way
    os.fchmod(descriptor, 0o600)
    os.close(descriptor)


class File:
    """One connection to a SQLite file, for the thread that opened it; it waits `busy_seconds` for another writer.

    `looking`: the file lies on a read-only file system, and nothing is written.
    """

    def __init__(self, path: str, migrations: Sequence[str], busy_seconds: float, *, looking: bool = False) -> None:
        self.path = path
        self._newest = len(migrations)
        self._looking = looking
        with self._speaking():
            self._sql = _looking(path, busy_seconds) if looking else sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
            try:
                self._migrate(migrations)
            except BaseException:
                self._sql.close()
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._sql.close()

    def run(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        with self._speaking():
            return self._sql.execute(sql, values).fetchall()

    @contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[None]:
        """Make what is within one transaction; an exception undoes all of it.

        What is not `durable` survives every crash of ours, but a loss of power only once anything durable was written after it.
        """
        with self._speaking():
            self._sql.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._sql.execute("BEGIN IMMEDIATE")
            try:
                self._refuse_newer()  # another Howdah may have changed the schema since this one opened the file
                yield
                self._sql.execute("COMMIT")
            finally:
                if self._sql.in_transaction:
                    self._sql.execute("ROLLBACK")

    def broken(self, reason: str) -> Unavailable:
        """Return the refusal for a file whose content cannot be read."""
        hint = say("put a copy of the file back, or move it and the files beside it away: running servers are not touched by that")
        message = say("cannot read the store {path}: {reason}", path=self.path, reason=reason)
        return Unavailable("store_broken", message, hint)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._unavailable(error) from error
        except sqlite3.DatabaseError as error:
            if type(error) is not sqlite3.DatabaseError:  # a subclass is a mistake of the caller, not the file's
                raise
            raise self.broken(str(error)) from error

    def _unavailable(self, error: sqlite3.OperationalError) -> Unavailable:
        if "locked" in str(error):
            message = say("cannot use the store {path}: another process keeps it locked", path=self.path)
            return Unavailable("store_busy", message, say("try again in a moment"))
        message = say("cannot use the store {path}: {reason}", path=self.path, reason=error)
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            return Unavailable("store_unavailable", message, say("make room there, then give the same command again"))
        return Unavailable("store_unavailable", message, say("look at the free space and at the rights of its directory"))

    def _migrate(self, migrations: Sequence[str]) -> None:
        self._refuse_newer()
        schema = self._schema()
        if schema == self._newest:
            return
        if self._looking:
            message = say("cannot read the store {path}: it was made by an older Howdah (schema {schema})", path=self.path, schema=schema)
            raise Unavailable("store_not_migrated", message, _MOUNT)
        if schema == 0 and self.path != MEMORY:
            self._sql.execute("PRAGMA journal_mode = WAL")  # kept in the file
        with self.writing():
            schema = self._schema()  # asked again: another may have done it while we waited
            if schema == 0:
                self._apply(migrations)
            elif schema < self._newest:
                self._bring_up(schema, migrations)

    def _bring_up(self, schema: int, migrations: Sequence[str]) -> None:
        """Copy the file aside, then change it; what fails leaves it as it was."""
        try:
            self._copy_aside(schema)
            self._apply(migrations[schema:], schema)
        except (sqlite3.Error, OSError) as error:
            message = say(
                "cannot bring the store {path} from schema {old} to {new}: {reason}",
                path=self.path,
                old=schema,
                new=self._newest,
                reason=error,
            )
            hint = say("it was left as it was: the Howdah that made it reads it, and running servers are not touched")
            raise Unavailable("store_not_migrated", message, hint) from error

    def _copy_aside(self, schema: int) -> None:
        if self.path == MEMORY:
            return
        copy = copy_path(self.path, schema)
        new = copy.with_name(f"{copy.name}.new")
        new.unlink(missing_ok=True)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600))
        # Through a second connection, which sees what is committed: the first one is within the transaction that is to change it.
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(new)) as target:
            source.backup(target)
        descriptor = os.open(new, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        new.rename(copy)

    def _apply(self, migrations: Sequence[str], schema: int = 0) -> None:
        for number, migration in enumerate(migrations, schema + 1):
            for statement in migration.split(";\n"):
                self._sql.execute(statement)
            self._sql.execute(f"PRAGMA user_version = {number}")

    def _refuse_newer(self) -> None:
        schema = self._schema()
        if schema > self._newest:
            message = say("cannot use the store {path}: it was made by a newer Howdah (schema {schema})", path=self.path, schema=schema)
            raise Unsupported("store_newer", message, say("use that Howdah, or set HOWDAH_HOME to another directory"))

    def _schema(self) -> int:
        return int(self._sql.execute("PRAGMA user_version").fetchone()[0])
