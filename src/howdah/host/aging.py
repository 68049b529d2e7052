"""See whether a server is older than its program on disk, by what the kernel says of its files; nobody is asked, nothing is executed."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from howdah.core.aging import Older
from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.host import installed, pgbouncer, postgres, process
from howdah.host.postgres import Seat

_MARKS = {"postgresql": rb"\(PostgreSQL\) (\d+[\w.]*)", "pgbouncer": rb"PgBouncer (\d+[\w.]*)"}


def older(layout: Layout, want: Instance) -> tuple[Older, ...]:
    """Return the servers of an instance that are older than what is installed; a millisecond where none is."""
    bindir = postgres.majors().get(want.version)
    server = postgres.postmaster(Seat(layout, bindir or Path("/nonexistent"), want.port))
    found = [_older("postgresql", server.pid if server else 0, bindir / "postgres" if bindir else None)]
    numbers = pgbouncer.numbers(layout.pool)
    if want.pooler is not None and numbers:
        member = pgbouncer.quick_look(layout.generation(numbers[-1])).member
        found.append(_older("pgbouncer", member.pid if member else 0, installed.find_binary()))
    return tuple(each for each in found if each is not None)


def _older(name: Literal["postgresql", "pgbouncer"], pid: int, program: Path | None) -> Older | None:
    if not pid or program is None:
        return None
    running, gone = Path(f"/proc/{pid}/exe"), process.replaced(pid)
    try:
        same = running.samefile(program)
    except OSError:
        return None  # it has ended meanwhile, or the program is not installed any more
    if same and not gone:
        return None
    versions = (_version(running, name), _version(program, name))
    # Another file of the same version that nobody took away is a program installed twice.
    return Older(name, *versions, gone) if gone or versions[0] != versions[1] else None


def _version(program: Path, name: str) -> str:
    from howdah.host.programs import told

    return told(program, _MARKS[name])
