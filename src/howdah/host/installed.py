"""What is installed here that a pooler needs: a PgBouncer that can take over sockets, and a Python that its user may execute."""

from __future__ import annotations

import functools
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from howdah.errors import Unavailable, Unsupported
from howdah.host.accounts import CLEAN_ENVIRONMENT, Account
from howdah.phrase import say

PLACES = ("/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin")
OLDEST_PYTHON = (3, 9)


@dataclass(frozen=True)
class Binary:
    """An installed PgBouncer; without `systemd` it cannot take over listening sockets (LISTEN_FDS)."""

    path: Path
    version: tuple[int, ...]
    systemd: bool


def find_binary() -> Path | None:
    """Return the PgBouncer of HOWDAH_PGBOUNCER, else the first on PATH and in the places of system daemons, which PATH often lacks."""
    if named := os.environ.get("HOWDAH_PGBOUNCER"):
        return Path(named)
    found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), *PLACES]))
    return Path(found) if found else None


def library(bindir: Path, name: str) -> Path | None:
    """Return a library that PostgreSQL can load, where packages and builds of one's own put them; None where there is none.

    `pg_config --pkglibdir` would know, but comes with a package of its own on Debian.
    """
    places = (bindir.resolve().parent / below / f"{name}.so" for below in ("lib", "lib/postgresql", "lib64"))
    return next((place for place in places if place.is_file()), None)


def binary(path: Path) -> Binary:
    """Ask a PgBouncer for its version and whether it was built to take over sockets; `Unavailable` when it does not run."""
    try:
        found = path.stat()
    except OSError:
        return _asked(path, 0, 0)
    return _asked(path, found.st_ino, found.st_mtime_ns)  # an update is another file: who runs for long learns of it


@functools.lru_cache(maxsize=16)
def _asked(path: Path, _inode: int, _changed: int) -> Binary:
    try:
        asked = subprocess.run([path, "--version"], env=CLEAN_ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable("pgbouncer_not_run", say("cannot run {path}: {reason}", path=path, reason=error)) from error
    number = version_in(asked.stdout)
    if not number:
        raise Unavailable("pgbouncer_not_run", say("cannot read the version of {path}", path=path), say("is it really PgBouncer?"))
    return Binary(path, number, "systemd: yes" in asked.stdout)


def version(path: Path) -> tuple[int, ...]:
    """Return the version of a PgBouncer program."""
    return binary(path).version


def version_in(text: str) -> tuple[int, ...]:
    """Return the version that PgBouncer names itself by; empty when there is none.

    >>> version_in("PgBouncer 1.18.0")
    (1, 18, 0)
    """
    found = re.search(r"PgBouncer (?:version )?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


@functools.cache
def interpreter(account: Account | None) -> Path:
    """Return a Python, 3.9 or later, that the account may execute: never one inside a clone or a home that it cannot enter."""
    own = Path(sys.executable).resolve()
    candidates = [Path("/usr/bin/python3"), Path("/usr/local/bin/python3"), own]
    for candidate in dict.fromkeys(each.resolve() for each in candidates):
        if _may_execute(candidate, account) and (candidate == own or _is_recent(candidate)):
            return candidate
    raise Unsupported(
        "no_python",
        say("cannot keep a pooler: no Python 3.9 or later that {account} may execute", account=account.name if account else "this user"),
        say("install the system's own: apt-get install python3-minimal"),
    )


def _may_execute(path: Path, account: Account | None) -> bool:
    uid, gid = (account.uid, account.gid) if account else (os.geteuid(), os.getegid())
    try:
        seen = [each.stat() for each in (path, *path.parents)]
    except OSError:
        return False

    def open_to(entry: os.stat_result) -> bool:
        bit = stat.S_IXUSR if entry.st_uid == uid else stat.S_IXGRP if entry.st_gid == gid else stat.S_IXOTH
        return bool(entry.st_mode & bit)

    return all(open_to(entry) for entry in seen)


def _is_recent(python: Path) -> bool:
    if named := re.fullmatch(r"python3\.(\d+)", python.name):
        return (3, int(named[1])) >= OLDEST_PYTHON  # its name says it, and asking costs 20 ms
    question = f"import sys; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    asked = subprocess.run([python, "-I", "-S", "-c", question], env=CLEAN_ENVIRONMENT, cwd="/", capture_output=True, timeout=10)
    return asked.returncode == 0
