"""What the checks ask of the machine that an instance lives on: the seam by which they work here and, later, over SSH.

The checks speak the network themselves; only what cannot be seen from a client's seat is asked here, and answered with facts.
No method judges. Each one answers within its own time limit, and raises a Refusal when it cannot be answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from howdah.core.observed import Observed
from howdah.secret import Secret

KeptKind = Literal["key", "ca-key", "data", "configuration", "socket", "secret", "log", "place"]


@dataclass(frozen=True)
class Kept:
    """A file or directory that is to be kept from others: who owns it, and what is the widest that it may be."""

    kind: KeptKind
    path: str
    mode: int
    owner: str
    widest: int  # permission bits that it may have at most
    owners: frozenset[str]  # users, one of whom must own it


@dataclass(frozen=True)
class Rule:
    """One line of pg_hba.conf as the server reads it (pg_hba_file_rules); lists are joined with commas."""

    line: int
    kind: str
    database: str
    user: str
    address: str
    method: str


@dataclass(frozen=True)
class Backend:
    """One session of the probe role in the server's own view (pg_stat_activity with pg_stat_ssl); `address` None is a unix socket."""

    pid: int
    address: str | None
    tls: str = ""  # version, empty for plaintext
    cipher: str = ""


@dataclass(frozen=True)
class PoolSession:
    """One session of the probe role in the pooler's own view (SHOW CLIENTS, SHOW SERVERS) of any generation."""

    side: Literal["client", "server"]
    address: str  # of the other end; `unix` for a unix socket
    tls: str = ""
    backend: int = 0  # of a server session: pid of the PostgreSQL process (remote_pid)


@dataclass(frozen=True)
class Pool:
    """What the pooler that takes new logins tells of itself, beside its settings: where each database leads, and where it listens."""

    targets: Mapping[str, Target] = field(default_factory=dict)
    listens: frozenset[tuple[str, int]] = frozenset()
    secrets: int = 0  # bytes in its auth_file


@dataclass(frozen=True)
class Target:
    """Where a database of the pooler leads (SHOW DATABASES): a socket's directory or a host, a port, and the user it is forced to be."""

    host: str
    port: int
    user: str = ""


@dataclass(frozen=True)
class Stranger:
    """A setting that does not come from Howdah's own file: `where` is the other file or source, or whose sessions have it."""

    name: str
    value: str
    where: str


@dataclass(frozen=True)
class Membership:
    """Who may act as a role that reaches beyond the database."""

    member: str
    role: str


class Seat(Protocol):
    """A machine as the checks need it, for one instance."""

    def observe(self) -> Observed:
        """Look anew."""
        ...

    def open_probe(self) -> tuple[str, Secret]:
        """Let the probe role log in for some minutes with a new random password, and with no rights; return its name and password."""
        ...

    def expire_probe(self) -> None:
        """Put the probe role's VALID UNTIL into the past, and leave everything else as it is; the password stays right."""
        ...

    def close_probe(self) -> None:
        """Take login and password from the probe role and end its sessions, also those kept in a pool; no error when done already."""
        ...

    def backends(self) -> Sequence[Backend]:
        """Return the probe role's sessions as PostgreSQL sees them now."""
        ...

    def pool_sessions(self) -> Sequence[PoolSession]:
        """Return the probe role's sessions as the pooler sees them now; none without a pooler."""
        ...

    def rules(self) -> Sequence[Rule]:
        """Return the lines of pg_hba.conf, without those in error, which `observe` tells."""
        ...

    def weak_secrets(self) -> Sequence[str]:
        """Return the roles whose stored password is not a SCRAM-SHA-256 verifier; roles without a password are not among them."""
        ...

    def strangers(self) -> Sequence[Stranger]:
        """Return the settings in force that do not come from Howdah's own file, and those of single roles and databases."""
        ...

    def memberships(self) -> Sequence[Membership]:
        """Return who is a member of a role that runs programs, reaches files, or is Howdah's own; and who bypasses row security."""
        ...

    def pool(self) -> Pool:
        """Return what the newest generation of the pooler tells; a refusal where none answers."""
        ...

    def kept(self) -> Sequence[Kept]:
        """Return every file and directory of the instance that holds a key, data, configuration, a log or a secret, and the CA's key."""
        ...
