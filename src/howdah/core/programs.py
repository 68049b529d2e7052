"""The programs that serve: what version each is, which published weaknesses it has, and which features it lacks. Facts in, lists out.

The doctor judges what is installed, `show` tells what an instance runs on; both ask here, so that they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from howdah.catalog import advisories, openssl
from howdah.phrase import Phrase, say

Name = Literal["postgresql", "pgbouncer", "openssl"]
TITLES: Final[dict[Name, str]] = {"postgresql": "PostgreSQL", "pgbouncer": "PgBouncer", "openssl": "OpenSSL"}
_GRAVEST_FIRST: Final = ("stranger", "code", "rights", "memory", "crash", "client")


@dataclass(frozen=True)
class Program:
    """An installed or running PostgreSQL or PgBouncer, or the OpenSSL that it has loaded."""

    path: str
    version: str  # 15.18; empty when it does not say
    package: str = ""
    package_version: str = ""
    mended: frozenset[str] = frozenset()  # CVEs that the package's changelog names
    openssl: Program | None = None
    systemd: bool = True  # PgBouncer only: can take over listening sockets

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers; parts such as beta1 count as 0."""
        return tuple(int(part) if part.isdigit() else 0 for part in self.version.split("."))


@dataclass(frozen=True)
class Used:
    """One program that an instance runs on; `running` False: it is the installed one, and would be used."""

    name: Name
    program: Program
    running: bool
    used_by: tuple[Name, ...] = ()  # of a library


@dataclass(frozen=True)
class Weak:
    """One published weakness of a program: the release that mended it, and why it does no harm here, where it does none."""

    id: str
    fixed: str
    consequence: Phrase | str
    source: str
    prevented: Phrase | None = None


def weaknesses(name: Name, program: Program) -> tuple[Weak, ...]:
    """Return what is published of a program and not mended in it, the gravest that does harm here first."""
    if not program.version:
        return ()
    return tuple({"postgresql": _of_server, "pgbouncer": _of_pooler, "openssl": _of_library}[name](program))


def _of_server(program: Program) -> Iterator[Weak]:
    if len(program.number) < 2:
        return
    lacks = advisories.of_postgres(program.number[0], program.number[1], program.mended)
    every = [(each, one) for each in reversed(lacks) for one in each.mended]
    for release, one in sorted(every, key=lambda pair: _GRAVEST_FIRST.index(pair[1].kind)):
        yield Weak(one.id, release.version, one.consequence, release.source)


def _of_pooler(program: Program) -> Iterator[Weak]:
    found = advisories.of_pooler(program.number, program.package_version, program.mended)
    for each in sorted(found, key=lambda each: (each.prevented is not None, tuple(-part for part in each.fixed))):
        yield Weak(each.id, ".".join(map(str, each.fixed)), each.consequence, each.source, each.prevented)


def _of_library(program: Program) -> Iterator[Weak]:
    found = openssl.of_openssl(program.version, program.package_version, program.mended)
    for each in sorted(found, key=lambda each: each.prevented is not None):
        yield Weak(each.id, each.fixed(program.version) or "", each.consequence, each.source, each.prevented)


# Each with what its lack costs here
_POOLER_FEATURES: Final = (
    ((1, 19), say("auth_dbname: so the lookup function stands in every database instead of one, and in the dumps of each")),
    ((1, 19), say("peers: so one process alone serves the port, and a cancel of what an older pooler still serves is lost")),
    ((1, 21), say("prepared statements in transaction mode: so pool_mode is session if not said, a server connection for each client")),
    ((1, 23), say("a gentle end on SIGTERM: it costs nothing, for Howdah waits until nobody is in")),
    ((1, 24), say("KILL_CLIENT: so those in plaintext after ssl=on are ended with all others of their PgBouncer")),
    ((1, 25), say("a RELOAD that tells its errors: so it is known only by what it shows then")),
    ((1, 25), say("direct TLS from clients: so a login takes one round trip more")),
    ((1, 25), say("transaction_timeout: so only PostgreSQL 17 and newer can bound a transaction")),
)
_SERVER_FEATURES: Final = (
    ((14,), say("idle_session_timeout")),
    ((15,), say("databases with an ICU locale, a view of the errors in pg_ident.conf")),
    ((16,), say("scram_iterations")),
    ((17,), say("direct TLS from clients, transaction_timeout")),
    ((18,), say("more than one TLS group (ssl_groups)")),
)
_LIBRARY_FEATURES: Final = (((1, 1, 1), say("TLS 1.3")),)


def lacking(name: Name, program: Program) -> tuple[Phrase, ...]:
    """Return the features that later versions have and this one lacks."""
    if not program.version:
        return ()
    number = openssl.number(program.version) if name == "openssl" else program.number
    features = {"postgresql": _SERVER_FEATURES, "pgbouncer": _POOLER_FEATURES, "openssl": _LIBRARY_FEATURES}[name]
    return tuple(what for since, what in features if number < since)


def with_libraries(found: tuple[Used, ...]) -> tuple[Used, ...]:
    """Return the programs, and after them each OpenSSL that they have loaded, once."""
    loaded = {each.program.openssl: each for each in found if each.program.openssl is not None}
    return (
        *found,
        *(
            Used("openssl", library, first.running, tuple(each.name for each in found if each.program.openssl == library))
            for library, first in loaded.items()
            if library is not None
        ),
    )
