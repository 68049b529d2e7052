"""Where everything of an instance lies: pure paths below HOWDAH_HOME, named by the instance's id and never by its name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from howdah.core.instance import Hop
from howdah.errors import Unsupported
from howdah.phrase import say

# sockaddr_un holds 107 bytes and a NUL; PgBouncer truncates a longer path silently (1.18 to 1.26)
LONGEST_SOCKET = 107


@dataclass(frozen=True)
class Layout:
    """The paths of one instance."""

    home: Path
    id: str

    @cached_property
    def root(self) -> Path:
        """The instance's own directory."""
        return self.home / "instances" / self.id

    @cached_property
    def pg(self) -> Path:
        """What belongs to PostgreSQL's user; a spare is exactly such a directory."""
        return self.root / "pg"

    @cached_property
    def data(self) -> Path:
        """PGDATA."""
        return self.pg / "data"

    @cached_property
    def socket_dir(self) -> Path:
        """PostgreSQL's unix socket; only its own user and the pooler's group may enter."""
        return self.pg / "sock"

    @cached_property
    def log(self) -> Path:
        """PostgreSQL's logs."""
        return self.pg / "log"

    @cached_property
    def pool(self) -> Path:
        """What belongs to the pooler's user."""
        return self.root / "pool"

    @cached_property
    def trial(self) -> Path:
        """Where a new PgBouncer file is tried."""
        return self.pool / "try"

    def tls(self, hop: Hop) -> Path:
        """The directory of certificates and keys of one hop."""
        return (self.pg if hop == "direct" else self.pool) / "tls"

    def generation(self, number: int) -> Path:
        """The directory of one generation of the pooler, and of its first process."""
        return self.pool / f"g{number}"

    def lane(self, number: int, lane: int) -> Path:
        """The directory of one process of a generation; they count from 1."""
        return self.generation(number) if lane == 1 else self.pool / f"g{number}.{lane}"

    @cached_property
    def passfile(self) -> Path:
        """Passwords that Howdah made, for libpq (0600)."""
        return self.home / "passfiles" / self.id

    @cached_property
    def ca_file(self) -> Path:
        """The CA certificate that clients verify with."""
        return self.home / "ca" / "ca.crt"

    def check(self) -> None:
        """Refuse a home so deep that a socket path would not fit into the kernel's 107 bytes."""
        longest = max((self.socket_dir, self.lane(99, 9)), key=lambda path: len(bytes(path)))
        length = len(bytes(longest / ".s.PGSQL.65535"))
        if length > LONGEST_SOCKET:
            message = say("cannot use {home}: a socket path in it would have {length} bytes", home=self.home, length=length)
            limit = LONGEST_SOCKET - length + len(bytes(self.home))
            raise Unsupported("path_too_long", message, say("set HOWDAH_HOME to a path of at most {limit} bytes", limit=limit))
