"""Keep a stock of data directories ready, so that making an instance costs a rename and a start, not an initdb.

A spare is a whole instance directory below HOME/spares/MAJOR: a data directory initialised by its own initdb (so each has its own
system identifier), with Howdah's roles, notes, lookup function and one empty database in it, cleanly shut down and on disk; and a
certificate for each hop. It is taken by a rename, so no two takers get the same. Its stamp says in which shape and with which options of
initdb it was made; one of another shape is put aside by a rename and removed by the next maker, who is in no hurry; it is never repaired.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from howdah import settings
from howdah.errors import Failed
from howdah.host import files, lookup, postgres, roles
from howdah.host.accounts import Account
from howdah.host.databases import PREPARED
from howdah.host.postgres import Seat
from howdah.phrase import say

_STAMP: Final = "stamp"
_NEW: Final = ".new-"
_ASIDE: Final = ".old-"
_EMPTY: Final = re.compile(r"\n\s*\n")
_LEFTOVER_SECONDS: Final = 3600
_LEAST_FREE: Final = 0.10
_IN_TEMPLATE1: Final = lookup.STATEMENTS
_IN_POSTGRES: Final = (
    f"CREATE {roles.PROBE_SHAPE}",
    f"CREATE {roles.LOOKUP_SHAPE}",
    *roles.NOTES,
    *lookup.STATEMENTS,
    *(f"GRANT CONNECT ON DATABASE {name} TO howdah_lookup" for name in ("postgres", "template1")),
)
_LAST: Final = (f"CREATE DATABASE {PREPARED}", f"REVOKE ALL ON DATABASE {PREPARED} FROM PUBLIC")


def stamp() -> str:
    """Return the name of the shape in which this Howdah makes spares: what is in them, and initdb's options."""
    return hashlib.sha256("\0".join(("2", *postgres.INITDB, *_IN_POSTGRES, *_IN_TEMPLATE1, *_LAST)).encode()).hexdigest()[:12]


def place(home: Path, major: int) -> Path:
    """Return the directory of one version's spares."""
    return home / "spares" / str(major)


def _ready(home: Path, major: int) -> list[Path]:
    where = place(home, major)
    return sorted(path for path in where.iterdir() if not path.name.startswith(".")) if where.is_dir() else []


def wanting(home: Path, major: int) -> bool:
    """Tell whether a spare of this version should be made: the stock is not full, and a tenth of the disk stays free."""
    if sum(_shape(path) == stamp() for path in _ready(home, major)) >= settings.spares():
        return False
    at = next(path for path in (home, *home.parents) if path.exists())
    disk = shutil.disk_usage(at)
    return disk.free >= _LEAST_FREE * disk.total


def _shape(spare: Path) -> str:
    return files.read(spare / _STAMP, 64) or ""


def claim(home: Path, major: int, seat: Seat) -> bool:
    """Make a spare the instance's directory, whose parent must be there; False when there is none. Those of another shape go."""
    target = seat.layout.root
    postgres.refuse_remains(seat.layout.pg)
    files.remove(target / "pg.new")  # of an initdb that was killed, when there was no spare yet
    for spare in _ready(home, major):
        if _shape(spare) != stamp() or not postgres.data_ready(spare / "pg" / "data"):
            _put_aside(spare)
            continue
        try:
            # The pooler's user may have been made since
            postgres.fit(spare / "pg", seat.account, seat.pooler_gid)
            spare.rename(target)  # also onto an empty directory
        except (FileNotFoundError, Failed):
            if spare.exists():
                raise
            continue  # another was quicker, be it between the two
        files.unlink(target / _STAMP)
        files.sync_directory(target.parent)
        return True
    return False


def _put_aside(spare: Path) -> None:
    """Put a spare out of everybody's sight, so that no one takes half of it; somebody waits for the instance, nobody for this."""
    with suppress(FileNotFoundError):
        spare.rename(spare.with_name(_ASIDE + secrets.token_hex(4)))


def make_spare(
    home: Path, major: int, bindir: Path, account: Account | None, pooler_gid: int | None, certify: Callable[[Path], None]
) -> bool:
    """Make one spare and return True; False when another maker is at it, or none is wanted. `certify` puts certificates into it."""
    files.make_parents(place(home, major))
    with _alone(place(home, major)) as alone:
        if not alone:
            return False
        for spare in _ready(home, major):
            if _shape(spare) != stamp():
                _put_aside(spare)
        _clear_leftovers(place(home, major))
        if not wanting(home, major):
            return False
        _make(place(home, major), bindir, account, pooler_gid, certify)
    return True


@contextmanager
def _alone(where: Path) -> Iterator[bool]:
    """Hold the makers' lock; it dies with its holder."""
    descriptor = os.open(where / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _clear_leftovers(where: Path) -> None:
    for path in where.glob(f"{_ASIDE}*"):
        files.remove(path)
    # Not at once: the initdb of a killed maker may still be writing there
    for path in where.glob(f"{_NEW}*"):
        if time.time() - path.stat().st_mtime > _LEFTOVER_SECONDS:
            files.remove(path)


def _make(where: Path, bindir: Path, account: Account | None, pooler_gid: int | None, certify: Callable[[Path], None]) -> None:
    new = where / (_NEW + secrets.token_hex(4))
    try:
        files.make_directory(new, 0o711)
        postgres.build(new / "pg", bindir, account, pooler_gid)
        _furnish(new / "pg", bindir, account)
        certify(new)
        files.put(new / _STAMP, stamp(), 0o600)
        postgres.sync(new)
        new.rename(where / secrets.token_hex(4))
    finally:
        if new.exists():
            files.remove(new)
    files.sync_directory(where)


def _furnish(pg: Path, bindir: Path, account: Account | None) -> None:
    """Put Howdah's roles and functions in, by a server in single-user mode: no socket, no port, and it shuts down cleanly at the end."""
    for database, statements in (("postgres", _IN_POSTGRES), ("template1", _IN_TEMPLATE1), ("postgres", _LAST)):
        # -j: a statement ends at a semicolon and an empty line, so that it may have many lines (tcop/postgres.c)
        text = "".join(_EMPTY.sub("\n", statement.strip()) + ";\n\n" for statement in statements)
        argv = (bindir / "postgres", "--single", "-j", "-D", pg / "data", "-c", "log_min_messages=warning", "-c", "lc_messages=C", database)
        done = postgres.run_as(account, argv, pg, text=text)
        wrong = re.search(r"(?:ERROR|FATAL|PANIC):  .*", done.stderr)
        if done.returncode != 0 or wrong is not None:
            words = wrong[0] if wrong is not None else done.stderr.strip()[-200:]
            raise Failed("spare_failed", say("cannot prepare a spare data directory: {words}", words=words))
