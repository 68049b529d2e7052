# pathlib would cost the sweeper 2 MB for as long as it lives:
# ruff: noqa: PTH123
"""The sweeper: it keeps a PostgreSQL server's logs within their room, by removing the oldest; it knows nothing else.

PostgreSQL's collector begins a new file when one has reached `log_rotation_size`, but never removes one, and truncates one only where
time and not size made it turn (syslogger.c, logfile_rotate_dest). So one sweeper stands beside each server, under the same user, for as
long as that very server runs; it is started with `python3 -I -S sweeper.py DIRECTORY PID STARTED KEPT MOST`, with the standard library only
(Python 3.9 or later). No log goes through it: should it die, nothing is lost but the limit, and the next pass starts it again.

That it lives is told by a record lock on `sweeper.lock`. It sleeps for as long as the server could not fill what room is left, and never
removes the newest file, into which the collector writes.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import sys

# What a collector writes at most, in bytes a second: measured 17 MB/s on a busy core (it reads pieces of 4 kB), and taken a dozen times.
FASTEST = 200_000_000
SHORTEST_SECONDS, LONGEST_SECONDS = 0.02, 2.0
PREFIX = "postgresql-"
LOCK = "sweeper.lock"


def logs(directory: int) -> list[tuple[int, int, str]]:
    """Return modification time, size and name of each log of the collector, oldest first; names may lie, for clocks are set."""
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):
                    seen = entry.stat(follow_symlinks=False)
                    found.append((seen.st_mtime_ns, seen.st_size, entry.name))
    return sorted(found)


def sweep(directory: int, kept: int) -> int:
    """Remove the oldest logs until the rest has at most `kept` bytes or is the newest alone; return what the rest has."""
    found = logs(directory)
    total = sum(size for _, size, _ in found)
    for _, size, name in found[:-1]:
        if total <= kept:
            break
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
        total -= size
    return total


def pause(total: int, most: int) -> float:
    """Return how long (seconds) nobody need look: the time in which no server fills what is left."""
    return min(max((most - total) / FASTEST, SHORTEST_SECONDS), LONGEST_SECONDS)


def started(pid: int) -> str:
    """Return when a process was started, as field 22 of /proc/PID/stat says it; behind the last bracket, for its name may hold some."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[19].decode()


def main(path: str, pid: str, since: str, kept: str, most: str) -> None:
    """Sweep the logs in `path` while the process `pid` that was started at `since` lives."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
    with contextlib.suppress(ProcessLookupError, FileNotFoundError, BlockingIOError):
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        server = os.pidfd_open(int(pid))
        if started(int(pid)) != since:
            return
        ended = select.poll()
        ended.register(server, select.POLLIN)
        while not ended.poll(pause(sweep(directory, int(kept)), int(most)) * 1000):
            if not os.fstat(directory).st_nlink:
                return  # somebody has removed it: another sweeper stands in the new one
        sweep(directory, int(kept))


if __name__ == "__main__":
    main(*sys.argv[1:])
