"""The passwords that Howdah made, kept for libpq in one 0600 file of an instance; nothing else ever holds one.

The format is libpq's (fe-connect.c, passwordFromFile): five fields with colons between them, `\\` and `:` escaped by a backslash.
A field that is a star alone would match anything; a backslash makes it the star itself, as it does any character.
"""

from __future__ import annotations

import re
from pathlib import Path

from howdah.errors import Failed
from howdah.host import files
from howdah.phrase import say
from howdah.secret import Secret

_AWAY = say("move away what lies there, then give the same command again")


def _escaped(text: str) -> str:
    return re.sub(r"[:\\*]", r"\\\g<0>", text)


def _line(user: str) -> str:
    return f"*:*:*:{_escaped(user)}:"


def keep(path: Path, user: str, password: Secret | None) -> None:
    """Put a user's password into the file, or take it out (None); the file goes when it is empty."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise Failed("passfile_not_a_file", say("cannot write {path}: something else lies in its place", path=path), _AWAY)
    lines = [line for line in (files.read(path) or "").splitlines() if not line.startswith(_line(user))]
    if password is not None:
        lines.append(_line(user) + _escaped(password.reveal()))
    if lines:
        files.make_parents(path.parent)
        files.make_directory(path.parent, 0o700)
        files.put(path, "\n".join(lines) + "\n", 0o600)
    else:
        files.remove(path)


def password(path: Path, user: str) -> Secret | None:
    """Return the password that the file has for a user."""
    found = next((line for line in (files.read(path) or "").splitlines() if line.startswith(_line(user))), None)
    return Secret(re.sub(r"\\(.)", r"\1", found[len(_line(user)) :])) if found is not None else None


def holds(path: Path, user: str) -> bool:
    """Tell whether the file has this user's password."""
    return any(line.startswith(_line(user)) for line in (files.read(path) or "").splitlines())
