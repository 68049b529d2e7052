"""Where a person keeps receipts: put there whole or not at all, for the owner's eyes alone, and never in place of anything else."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import stat
from pathlib import Path

from howdah import __version__
from howdah.errors import Conflict, Failed, NotFound, Refusal, Unavailable
from howdah.host import accounts, files
from howdah.phrase import say

_MARK = "howdah-receipt/"


def who_and_where() -> tuple[str, str]:
    """Return the user and the host that look."""
    return accounts.current_account().name, platform.node()


def programs() -> dict[str, str]:
    """Return the programs that look, with their versions."""
    import ssl

    import psycopg

    number = psycopg.pq.version()
    return {
        "howdah": __version__,
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "libpq": f"{number // 10000}.{number % 10000}",
        "kernel": f"{platform.system()} {platform.release()}",
    }


def check(path: Path) -> None:
    """Refuse, before anything is looked at, a place where no receipt could be put."""
    parent = path.parent
    with contextlib.suppress(PermissionError):  # said below
        if not _is_directory(parent):
            raise NotFound("no_directory", say("cannot write {file}: there is no directory {parent}", file=path, parent=parent))
    if not os.access(parent, os.W_OK | os.X_OK):
        raise Unavailable(
            "receipt_unwritable", say("cannot write {file}: no right to write into {parent}", file=path, parent=parent), _ELSEWHERE
        )
    with contextlib.suppress(FileNotFoundError):
        if not (stat.S_ISREG(path.lstat().st_mode) and _is_receipt(path)):
            raise Conflict("not_a_receipt", say("cannot write {file}: something else is there, and no receipt", file=path), _ELSEWHERE)


_ELSEWHERE = say("name another file")


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_receipt(path: Path) -> bool:
    try:
        found = json.loads(files.read_bytes(path))
        return isinstance(found, dict) and str(found.get("format", "")).startswith(_MARK)
    except (OSError, ValueError):
        return False


def write(path: Path, text: str) -> None:
    """Put a receipt in place (0600) by one rename; the receipt that was there stays when that fails."""
    whole = path.parent.resolve() / path.name  # a link on the way is the person's own
    try:
        files.put(whole, text, 0o600)
    except (Refusal, OSError) as error:
        with contextlib.suppress(OSError, Refusal):
            files.unlink(whole.with_name(f".{path.name}.new"))
        cause = error if isinstance(error, OSError) else error.__cause__
        reason = (isinstance(cause, OSError) and cause.strerror) or str(error)
        hint = say("the proof itself was made: with --json it is on standard output")
        raise Failed("receipt_not_written", say("cannot write {file}: {reason}", file=path, reason=reason), hint) from error
