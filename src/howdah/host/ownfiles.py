"""The caller's own pg_service.conf and passfile, as libpq finds them: changed whole or not at all, by one writer at a time.

A link stays a link, and what it leads to is changed; owner and mode stay, but a passfile is 0600, or libpq ignores it. What is no file,
or has several names, is refused. What stands in the files is decided elsewhere.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from howdah.errors import Conflict, Failed, machine_failed
from howdah.phrase import say

Edit = Callable[[bytes], bytes]

LONGEST = 1 << 22  # bytes
_WAIT_SECONDS = 10.0
_POLL_SECONDS = 0.003
_ATTEMPTS = 5
_AWAY: Final = say("move away what lies there, then give the same command again")


def service_file(environ: Mapping[str, str]) -> Path:
    """Return where libpq looks for services first (libpq-pgservice)."""
    return Path(environ.get("PGSERVICEFILE") or _home(environ) / ".pg_service.conf")


def passfile(environ: Mapping[str, str], kept: Path) -> Path:
    """Return where libpq looks for passwords (libpq-pgpass); never below `kept`, where Howdah keeps those that it made."""
    named = environ.get("PGPASSFILE")
    if named and not Path(named).absolute().is_relative_to(kept):
        return Path(named)
    return _home(environ) / ".pgpass"


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ["HOME"] if environ.get("HOME") else "~").expanduser()


def seen(path: Path) -> bytes:
    """Return what a file holds; nothing where there is none, or something else lies in its place."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, Conflict):
        return _read(path.resolve())[0]
    return b""


def change(path: Path, edit: Edit, *, private: bool) -> bool:
    """Edit a file, or make it where it is missing and there is something to write; tell whether it changed.

    `private` makes it 0600.
    """
    try:
        real = path.resolve()
        with _alone(real.parent):
            for _ in range(_ATTEMPTS):
                text, before = _read(real)
                wanted = edit(text)
                tight = before is None or not private or stat.S_IMODE(before.st_mode) & 0o077 == 0
                if wanted == text and tight:
                    return False
                if _replaced(real, wanted, before, private=private):
                    return True
    except OSError as error:
        failed = machine_failed(error, say("write {path}", path=path))
        raise failed or Failed("not_written", say("cannot write {path}: {reason}", path=path, reason=error.strerror or error)) from error
    raise Failed("not_written", say("cannot write {path}: somebody else writes it again and again", path=path))


def add(directory: Path, texts: Mapping[str, str]) -> list[str]:
    """Write files that are not there yet, 0600, and return their paths; Conflict, and nothing is written, where one is."""
    paths = {directory / name: text for name, text in texts.items()}
    for path in paths:
        if path.is_symlink() or path.exists():
            hint = say("name another directory, or move it away")
            raise Conflict("file_there", say("cannot write {path}: it is there already", path=path), hint)
    try:
        for path, text in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
    except OSError as error:
        failed = machine_failed(error, say("write {path}", path=directory))
        raise failed or Failed("not_written", say("cannot write {path}: {reason}", path=directory, reason=error.strerror)) from error
    return [str(path) for path in paths]


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Keep other writers of ours out, without a lock file that would stay in somebody's home: the directory itself is locked."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + _WAIT_SECONDS
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise Failed("not_written", say("cannot write below {path}: another program has locked it", path=directory))
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _read(real: Path) -> tuple[bytes, os.stat_result | None]:
    """Return what a file holds and what it is; nothing of one that is missing."""
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return b"", None
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Conflict("not_a_file", say("cannot change {path}: it is no file", path=real), _AWAY)
        if found.st_nlink > 1:
            hint = say("make it a symbolic link, or a file of its own")
            raise Conflict("not_a_file", say("cannot change {path}: the same file has other names, too", path=real), hint)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            text = file.read(LONGEST + 1)
    finally:
        os.close(descriptor)
    if len(text) > LONGEST:
        raise Conflict("not_a_file", say("cannot change {path}: it is longer than {bytes} bytes", path=real, bytes=LONGEST), _AWAY)
    return text, found


def _replaced(real: Path, text: bytes, before: os.stat_result | None, *, private: bool) -> bool:
    """Put a text in a file's place by one rename; False where it is not the file any more that was read."""
    new = real.with_name(f".{real.name}.howdah-new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()  # of one that was killed; nobody else is here
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            if before is not None and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, 0o600 if private else stat.S_IMODE(before.st_mode) if before is not None else 0o644)
            os.fsync(descriptor)
        if not _same(real, before):
            new.unlink()
            return False
        new.rename(real)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return True


def _same(real: Path, before: os.stat_result | None) -> bool:
    try:
        now = real.lstat()
    except FileNotFoundError:
        return before is None
    return before is not None and (now.st_ino, now.st_mtime_ns, now.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
