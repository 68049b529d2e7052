"""The users of this machine under whom servers run: found by name, and the pooler's own made where it is missing.

Nothing here starts a server, and no user is ever changed or removed.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from howdah.errors import Failed, Unsupported
from howdah.phrase import say

CLEAN_ENVIRONMENT: Mapping[str, str] = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Account:
    """A user of this machine under whom a server runs."""

    name: str
    uid: int
    gid: int


def current_account() -> Account:
    """Return the account that this process acts under; a uid without a name is named by its number."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Account(name, uid, os.getegid())


def account(name: str) -> Account | None:
    """Return the account of that name, None when the machine has none."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(name, entry.pw_uid, entry.pw_gid)


def ensure_account(name: str = "howdah-pool", *, seconds: float = 10) -> Account:
    """Return the system account of that name, made first where it is missing: no home, no shell, no password. Needs root for that."""
    deadline = time.monotonic() + seconds
    while (found := account(name)) is None:
        if os.geteuid() != 0:
            raise Unsupported("account_needs_root", say("cannot make the system user {name}: only root may", name=name))
        reason = _make_account(name)
        # Another howdah may make it at the same moment (exit 9), or hold the lock of /etc/passwd (exit 1 or 10): look again.
        if reason is not None and time.monotonic() > deadline:
            raise Failed(
                "account_not_made",
                say("cannot make the system user {name}: {reason}", name=name, reason=reason),
                say("make it by hand: useradd --system --user-group --no-create-home --shell /usr/sbin/nologin {name}", name=name),
            )
        if reason is not None:
            time.sleep(0.05)
    return found


def _make_account(name: str) -> str | None:
    commands = (
        ["groupadd", "--system", "--force", name],
        ["useradd", "--system", "--gid", name, "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", name],
    )
    for command in commands:
        try:
            done = subprocess.run(command, env=CLEAN_ENVIRONMENT, cwd="/", capture_output=True, text=True, timeout=30)
        except FileNotFoundError:
            return f"{command[0]} is not installed"
        if done.returncode != 0:
            return done.stderr.strip() or f"{command[0]} exited with {done.returncode}"
    return None
