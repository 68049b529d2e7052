"""How much room an instance takes, counted by its files: nobody is logged in to, so it is told of a stopped or broken one too.

Counting takes 3 µs a file, and PostgreSQL keeps a table of any size in pieces of 1 GB: so bytes cost nothing here, only very many
tables do. After a tenth of a second it stops, and says that there is more.
"""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from howdah import settings
from howdah.core.layout import Layout
from howdah.core.room import Room

SECONDS = 0.1
_STRIDE = 256  # files between two looks at the clock
_BLOCK = 512  # the unit of st_blocks, whatever the file system's own


def room(layout: Layout, *, seconds: float = SECONDS) -> Room:
    """Return the room on disk that an instance takes, and what is left where its data lies."""
    # Tablespaces lie behind links, which are not followed.
    small = time.monotonic() + SECONDS
    wal, _ = _weigh(layout.data / "pg_wal", small)
    logs = sum(_weigh(place, small, only=only)[0] for place, only in _logs(layout))
    data, whole = _weigh(layout.data, time.monotonic() + seconds, without="pg_wal")
    at = next(each for each in (layout.data, *layout.data.parents) if each.exists())
    disk = os.statvfs(at)
    return Room(data, wal, logs, settings.log_bytes(), disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize, whole)


def _logs(layout: Layout) -> list[tuple[Path, tuple[str, ...]]]:
    names = ("log", "log.1", "keeper.log", "keeper.log.1")
    return [(layout.log, ()), *((place, names) for place in sorted(layout.pool.glob("g*")))]


def _weigh(place: Path, deadline: float, *, without: str = "", only: tuple[str, ...] = ()) -> tuple[int, bool]:
    """Return the bytes on disk of all files below a directory, and whether that was all before the deadline."""
    total, left = 0, [str(place)]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                for number, entry in enumerate(entries):
                    if number % _STRIDE == 0 and time.monotonic() > deadline:
                        return total, False
                    if entry.name != without and (not only or entry.name in only):
                        total += _size(entry, left)
        except OSError:
            continue  # gone meanwhile, or not there at all
    return total, True


def _size(entry: os.DirEntry[str], left: list[str]) -> int:
    try:
        seen = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return 0
    if stat.S_ISDIR(seen.st_mode):
        left.append(entry.path)
    return seen.st_blocks * _BLOCK
