"""Put files and directories in place: whole or not at all, with the owner and the mode that were asked for, never what umask leaves.

The directories of an instance belong to the servers' users, who may be hostile to root: so the last directory is opened without
following a link, and everything happens below that descriptor. Nothing here knows what the texts mean.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from howdah.errors import Failed, cure, machine_failed
from howdah.host.accounts import Account
from howdah.phrase import say

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ANOTHER = (errno.ELOOP, errno.EISDIR, errno.ENXIO)  # what opening or reading says of a link, a directory or fifo, a socket
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def directory(path: Path) -> Iterator[int]:
    """Hold a directory by descriptor; a link in its place is an error, wherever it leads."""
    try:
        descriptor = os.open(path, _DIRECTORY)
    except OSError as error:
        raise Failed("no_directory", say("cannot enter {path}: {reason}", path=path, reason=error.strerror), cure(error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _own(descriptor: int, mode: int, account: Account | None, gid: int | None) -> None:
    seen = os.fstat(descriptor)
    uid = account.uid if account is not None else seen.st_uid
    group = gid if gid is not None else account.gid if account is not None else seen.st_gid
    if (uid, group) != (seen.st_uid, seen.st_gid):
        os.fchown(descriptor, uid, group)
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != mode:
        os.fchmod(descriptor, mode)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say of what cannot be written for want of room or rights where it was to be."""
    try:
        yield
    except OSError as error:
        failed = machine_failed(error, say("write {path}", path=path))
        if failed is None:
            raise
        raise failed from error


def put(path: Path, text: str, mode: int = 0o600, account: Account | None = None, *, gid: int | None = None, durable: bool = True) -> None:
    """Put a file in place by one rename, on disk before it is seen; it belongs to `account`, and to the group `gid` where given.

    What is not `durable` may be empty or missing after a loss of power: for files that are written anew before anybody trusts them.
    """
    new = beside(path).name
    with directory(path.parent) as parent, _writing(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=parent)
        descriptor = os.open(new, _NEW, 0o600, dir_fd=parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
                file.flush()
                _own(descriptor, mode, account, gid)
                if durable:
                    os.fsync(descriptor)
            os.rename(new, path.name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            os.unlink(new, dir_fd=parent)
            raise
        if durable:
            os.fsync(parent)


def beside(path: Path) -> Path:
    """Return where `put` writes a file before it renames it. One fixed name, not a random one: what a crash leaves there is taken by
    the next writer. The lease admits one at a time.
    """
    return path.with_name(f".{path.name}.new")


def clear(path: Path) -> None:
    """Take away what is no file (a link, a fifo, a socket) from a file's place; a directory is not ours to empty, and is named."""
    with directory(path.parent) as parent, _writing(path), contextlib.suppress(FileNotFoundError):
        mode = os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            os.unlink(path.name, dir_fd=parent)


def sync_directory(path: Path) -> None:
    """Bring a rename in this directory to disk."""
    with directory(path) as descriptor:
        os.fsync(descriptor)


def make_directory(path: Path, mode: int, account: Account | None = None, *, gid: int | None = None) -> None:
    """Make a directory where it is missing, and give it this owner, group and mode in any case; its parent must be there."""
    with directory(path.parent) as parent, _writing(path):
        with contextlib.suppress(FileExistsError):
            os.mkdir(path.name, 0o700, dir_fd=parent)
        descriptor = os.open(path.name, _DIRECTORY, dir_fd=parent)
        try:
            _own(descriptor, mode, account, gid)
        finally:
            os.close(descriptor)


def make_parents(path: Path) -> None:
    """Make a directory and those above it that are missing, each open to be passed through (0711): servers of other users lie below."""
    missing = [step for step in (path, *path.parents) if not step.exists()]
    for step in reversed(missing):
        make_directory(step, 0o711)


def read(path: Path, limit: int = 1 << 20) -> str | None:
    """Return a file's text; None when there is none, or something else (a link, a fifo, a directory) in its place.

    At most `limit` bytes are read.
    """
    try:
        return read_bytes(path, limit).decode(errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in _ANOTHER:
            return None
        raise


def read_bytes(path: Path, limit: int = 1 << 20) -> bytes:
    """Return a small file's bytes; OSError where there is none, or something else in its place: no link is followed, no fifo waited for."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EISDIR, "Not a file", str(path))
        return file.read(limit)


def scratch(path: Path, content: bytes, account: Account | None = None) -> None:
    """Write a file (0600) that nobody needs after a crash: neither synced nor put in place by a rename. What lay there is not reused."""
    with directory(path.parent) as parent, _writing(path):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=parent)
        descriptor = os.open(path.name, _NEW, 0o600, dir_fd=parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            _own(descriptor, 0o600, account, None)


def turn(path: Path, most: int) -> None:
    """Put a log of more than `most` bytes aside as NAME.1, in place of the one that lay there; who has it open goes on writing there."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_size > most:
            path.rename(path.with_name(f"{path.name}.1"))


def remove(path: Path) -> None:
    """Remove a file or a whole directory, wherever links in it lead; nothing to do when it is not there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=False)
    else:
        path.unlink(missing_ok=True)


def unlink(path: Path) -> None:
    """Remove one file, with no link followed on the last step of the way; nothing to do when it is not there."""
    with directory(path.parent) as parent, contextlib.suppress(FileNotFoundError):
        os.unlink(path.name, dir_fd=parent)
