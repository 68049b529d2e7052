"""Which programs an instance runs on, and with which OpenSSL: read from their own bytes and from what they have loaded.

Nothing is executed but the system's `ldd`, for a program that does not run now: a version stands in the program's text, a library in
the memory map, a package's version and the CVEs that it mended in its changelog. So one that an update has replaced still tells itself.
"""

from __future__ import annotations

import functools
import mmap
import os
import re
from pathlib import Path
from typing import Final

from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.core.programs import Program, Used, with_libraries
from howdah.host import files, installed, pgbouncer, postgres, process
from howdah.host.postgres import Seat

_SERVER: Final = rb"\(PostgreSQL\) (\d+[\w.]*)"
_POOLER: Final = rb"PgBouncer (\d+[\w.]*)"
_LIBRARY: Final = rb"OpenSSL (\d+\.\d+\.\d+[a-z]*) +\d+ [A-Z][a-z]+ \d{4}"
_LIBRARY_PACKAGES: Final = {".so.3": ("libssl3t64", "libssl3"), ".so.1.1": ("libssl1.1",)}
_GONE: Final = " (deleted)"
_LONGEST_CHANGELOG: Final = 1 << 20


def used(layout: Layout, want: Instance) -> tuple[Used, ...]:
    """Return what serves an instance, or would: PostgreSQL, PgBouncer where a pooler is wanted, and the OpenSSL of each; about 15 ms."""
    bindir = postgres.majors().get(want.version)
    alive = postgres.postmaster(Seat(layout, bindir or Path("/nonexistent"), want.port))
    found = [Used("postgresql", _look(alive.pid if alive else 0, bindir / "postgres" if bindir else None, _SERVER), alive is not None)]
    if want.pooler is not None:
        numbers = pgbouncer.numbers(layout.pool)
        member = pgbouncer.quick_look(layout.generation(numbers[-1])).member if numbers else None
        found.append(Used("pgbouncer", _look(member.pid if member else 0, installed.find_binary(), _POOLER), member is not None))
    return with_libraries(tuple(found))


def server(bindir: Path) -> Program:
    """Look at an installed PostgreSQL."""
    return _look(0, bindir / "postgres", _SERVER)


def pooler_program(program: Path) -> Program:
    """Look at an installed PgBouncer."""
    return _look(0, program, _POOLER)


def _look(pid: int, program: Path | None, mark: bytes) -> Program:
    """Look at a running program, or at the installed one where `pid` is 0."""
    running = process.exe(pid) if pid else None
    place = str(running or program or "")
    gone = place.endswith(_GONE)
    package, version, mended = ("", "", frozenset[str]()) if gone else _packaged(_package_of(Path(place)))
    text = Path(f"/proc/{pid}/exe") if running else Path(place)
    return Program(place.removesuffix(_GONE), told(text, mark), package, version, mended, _loaded(pid, text) if running else linked(text))


def told(path: Path, mark: bytes) -> str:
    """Return the version that stands in a program's or library's bytes; empty where it does not, or cannot be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as text:
            found = re.search(mark, text)
            return found[1].decode() if found else ""
    except (OSError, ValueError):  # not a file that can be mapped, or an empty one
        return ""
    finally:
        os.close(descriptor)


# --- the library --------------------------------------------------------------------------------------------------------------------


def linked(program: Path) -> Program | None:
    """Return the OpenSSL that a program would load if it were started now, None where it has none."""
    if not program.is_file():
        return None
    said = postgres.run_as(None, ["ldd", program], Path("/"), seconds=10).stdout
    found = re.search(r"libcrypto\.so\S* => (/.+) \(0x", said)
    return _library(Path(found[1])) if found else _built_in(program)


def _loaded(pid: int, program: Path) -> Program | None:
    """Return the OpenSSL that a process has in memory, also one whose file an update has replaced."""
    for line in (files.read(Path(f"/proc/{pid}/maps"), 1 << 20) or "").splitlines():
        place = line.split(maxsplit=5)[5:]
        if place and re.search(r"/libcrypto\.so", place[0]):
            if not place[0].endswith(_GONE):
                return _library(Path(place[0]))
            version = told(Path(f"/proc/{pid}/map_files/{line.split()[0]}"), _LIBRARY)  # root alone may
            return Program(place[0].removesuffix(_GONE), version)
    return _built_in(program)


def _built_in(program: Path) -> Program | None:
    version = told(program, _LIBRARY)
    return Program(str(program), version) if version else None


@functools.cache
def _library(path: Path) -> Program:
    owned = path.is_relative_to("/usr/lib") or path.is_relative_to("/lib")
    names = next((names for suffix, names in _LIBRARY_PACKAGES.items() if path.name.endswith(suffix)), ())
    package = next((each for each in names if owned and _is_installed(each)), "")
    return Program(str(path), told(path, _LIBRARY), *_packaged(package))


# --- packages -----------------------------------------------------------------------------------------------------------------------


def _package_of(program: Path) -> str:
    parts = program.parts
    name = f"postgresql-{parts[4]}" if parts[:4] == ("/", "usr", "lib", "postgresql") and len(parts) > 5 else ""
    name = "pgbouncer" if program == Path("/usr/sbin/pgbouncer") else name
    return name if name and _is_installed(name) else ""


def _is_installed(package: str) -> bool:
    return Path("/usr/share/doc", package).is_dir()  # also where documents are left out: the licence stays


def _packaged(package: str) -> tuple[str, str, frozenset[str]]:
    """Return a package's name, version and mended CVEs; distributions mend old versions under old numbers, and say so in the changelog."""
    if not package:
        return "", "", frozenset()
    import gzip

    try:
        with gzip.open(f"/usr/share/doc/{package}/changelog.Debian.gz", "rt", encoding="utf-8", errors="replace") as changelog:
            text = changelog.read(_LONGEST_CHANGELOG)
    except (OSError, EOFError):
        return package, _status_version(package), frozenset()  # containers often leave documents out
    first = re.match(r"\S+ \(([^)]+)\)", text)
    return package, first[1] if first else "", frozenset(re.findall(r"CVE-\d{4}-\d{4,}", text))


def _status_version(package: str) -> str:
    known = files.read(Path("/var/lib/dpkg/status"), 1 << 26) or ""
    found = re.search(rf"^Package: {re.escape(package)}\n(?:\S.*\n|[ \t].*\n)*?Version: (\S+)$", known, re.MULTILINE)
    return found[1] if found else ""
