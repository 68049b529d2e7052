"""Who may work on an instance now: a lock that dies with its holder, and that says who holds it.

`flock` on a file of its own: the kernel lets go of it when the process ends, however it ends, so there is no time-to-live and nothing to
clean up. Children do not inherit it. It refuses nothing but waiting for ever.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from howdah.errors import Conflict, Unavailable
from howdah.phrase import say

POLL_SECONDS = 0.003
_LONGEST = 300
_OWNER = say("run as the user that owns the directory")
_AWAY = say("move away what lies there, then give the same command again")
_CURES = {errno.EROFS: say("mount its file system for writing"), errno.ELOOP: _AWAY, errno.EISDIR: _AWAY, errno.ENOTDIR: _AWAY}


def lock_path(home: Path, name: str) -> Path:
    """Return the lock file of an instance, or of one thing that the whole home does one at a time, such as `create`."""
    return home / "locks" / f"{name}.lock"


@contextmanager
def lease(home: Path, name: str, holder: str, wait_seconds: float, on_wait: Callable[[str], None] = lambda who: None) -> Iterator[None]:
    """Hold the lease of `name` (an instance's id) as `holder` (words for people, no secrets); `on_wait` is told once whom it waits for.

    Conflict `busy` when it is not ours after `wait_seconds`. A process that holds it and asks again waits for itself.
    """
    path = lock_path(home, name)
    descriptor = _take(path, wait_seconds, on_wait)
    try:
        _write_holder(descriptor, holder)
        yield
    finally:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # explicitly: a child between fork and exec may still have a copy of the descriptor
        os.close(descriptor)


def remove_lock(home: Path, name: str) -> None:
    """Remove the lock file of an instance that is gone; call it while holding its lease. Who waits starts over with a new one."""
    lock_path(home, name).unlink(missing_ok=True)


def holder_of(home: Path, name: str) -> str | None:
    """Return who holds the lease at this moment, or None when nobody does; nothing is made or changed."""
    try:
        descriptor = os.open(lock_path(home, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _locked(descriptor, fcntl.LOCK_SH) else _read_holder(descriptor)
    finally:
        os.close(descriptor)


def _take(path: Path, wait_seconds: float, on_wait: Callable[[str], None]) -> int:
    deadline = time.monotonic() + wait_seconds
    told = False
    while True:
        descriptor = _open(path)
        try:
            # flock cannot wait with a deadline, and a signal to end it would not reach the right thread: ask, every 3 ms.
            while not _locked(descriptor, fcntl.LOCK_EX):
                who = _read_holder(descriptor)
                if time.monotonic() >= deadline:
                    raise _busy(who, wait_seconds)
                if not told:
                    told = True
                    on_wait(who)
                time.sleep(POLL_SECONDS)
            if _still_there(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.parent.chmod(0o700)
        with suppress(FileNotFoundError):  # one look: whoever removes it meanwhile has not put something else there
            if not stat.S_ISREG(path.stat().st_mode):
                raise OSError(errno.EISDIR, "it is not a file")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.fchmod(descriptor, 0o600)
    except OSError as error:
        message = say("cannot lock {path}: {reason}", path=path, reason=error.strerror)
        raise Unavailable("lock_unavailable", message, _CURES.get(error.errno or 0, _OWNER)) from error
    return descriptor


def _locked(descriptor: int, how: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        return True
    return False


def _still_there(descriptor: int, path: Path) -> bool:
    """Whether the locked file is the one that others will open: its name may have been removed while we waited."""
    ours = os.fstat(descriptor)
    try:
        theirs = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino)


def _write_holder(descriptor: int, holder: str) -> None:
    words = "".join(c if c.isprintable() else " " for c in holder)[:_LONGEST]
    with contextlib.suppress(OSError):  # a full disk: the words are for people, the lock is held without them
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{words}, pid {os.getpid()}".encode(), 0)


def _read_holder(descriptor: int) -> str:
    return os.pread(descriptor, 4 * _LONGEST + 64, 0).decode(errors="replace") or "another howdah"


def _busy(who: str, wait_seconds: float) -> Conflict:
    message = say("cannot begin: {holder} is still at work after {seconds} s", holder=who, seconds=f"{wait_seconds:g}")
    return Conflict("busy", message, say("try again later, or wait longer with --wait SECONDS"))
