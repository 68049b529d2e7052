"""psql in the place of this process, with an environment of its own; a password never stands in either, for libpq reads the passfile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from howdah.errors import Unavailable
from howdah.host import postgres
from howdah.phrase import say


def psql(major: int) -> Path:
    """Return the psql that came with a server's version, which knows all of it; else the one on PATH."""
    bindir = postgres.bindir_of(major)
    own = bindir / "psql" if bindir is not None else None
    found = str(own) if own is not None and os.access(own, os.X_OK) else shutil.which("psql")
    if found is None:
        hint = say("install it: sudo apt-get install {package}", package=f"postgresql-client-{major}")
        raise Unavailable("no_psql", say("cannot find psql on this machine"), hint)
    return Path(found)


def environment(wanted: Mapping[str, str], unset: Iterable[str]) -> dict[str, str]:
    """Return this process's environment with these variables, and without those."""
    gone = set(unset)
    return {**{name: value for name, value in os.environ.items() if name not in gone}, **wanted}


def become(program: Path, words: Sequence[str], environ: Mapping[str, str]) -> NoReturn:
    """Go on as another program; what this process had to write must be written by now."""
    try:
        os.execve(program, [program.name, *words], environ)
    except OSError as error:
        raise Unavailable("no_psql", say("cannot run {path}: {reason}", path=program, reason=error.strerror)) from error
