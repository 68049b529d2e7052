"""An instance to measure: made by Howdah itself, in a home of its own, with a role whose logins cost the client little; gone at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.logins import verifier
from bench.stopwatch import end, free_port, new_home

ROLE, PASSWORD, DATABASE = "bench", "cheap for the client", "bench"


@dataclass(frozen=True)
class Measured:
    """One instance with a pooler, and the verbs over it."""

    home: Path
    service: Any

    @property
    def want(self) -> Any:
        """What is wanted."""
        return self.service.store.find("shop")

    @property
    def host(self) -> Any:
        """The machine."""
        return self.service.host

    def port(self, hop: str) -> int:
        """Return the port of a hop."""
        return int(self.want.hop_port(hop))

    def where(self, hop: str, **words: str) -> str:
        """Return a connection string for libpq, verify-full unless told otherwise."""
        return conninfo(self.port(hop), **{"sslmode": "verify-full", "sslrootcert": str(self.home / "ca" / "ca.crt"), **words})

    def pooler_pids(self) -> list[int]:
        """Return the processes of PgBouncer."""
        return pids_below(self.host.layout(self.want.id).pool, "pgbouncer")

    def configuration(self) -> str:
        """Return the file of the pooler that serves."""
        found = self.host.layout(self.want.id).pool.rglob("pgbouncer.ini")
        return str(max(found, key=lambda path: path.stat().st_mtime).read_text())

    def server_pid(self) -> int:
        """Return the postmaster."""
        return int(self.host.observe(self.want).server.pid)


def conninfo(port: int, **words: str) -> str:
    """Return a connection string for libpq at a port of this machine."""
    told = {"host": "127.0.0.1", "port": str(port), "user": ROLE, "dbname": DATABASE, "password": f"'{PASSWORD}'"}
    rest = {"gssencmode": "disable", "connect_timeout": "60", "passfile": "/nonexistent", "channel_binding": "disable"}
    return " ".join(f"{name}={value}" for name, value in (told | rest | words).items())


def pids_below(place: Path, program: str) -> list[int]:
    """Return the processes of a program that work in a directory or below it."""
    root = os.path.realpath(place)
    found = [entry for entry in Path("/proc").glob("[0-9]*") if _told(entry, "comm") == program and _told(entry, "cwd").startswith(root)]
    return sorted(int(entry.name) for entry in found)


def _told(entry: Path, what: str) -> str:
    try:
        return str((entry / what).readlink()) if what == "cwd" else (entry / what).read_text().strip()
    except OSError:
        return ""


@contextmanager
def instance(parameters: Mapping[str, str] | None = None, **pooler: object) -> Iterator[Measured]:
    """Hold an instance with these parameters, and a pooler in transaction mode with these settings."""
    from howdah import compose
    from howdah.core.wishes import Creation
    from howdah.host import sql
    from howdah.phrase import say
    from howdah.service.caller import Caller

    home = new_home()
    try:
        service = compose.service(home)
        caller = Caller("bench", "bench", lambda _: None, lambda _: None)
        settings = {"listen_port": str(free_port()), "pool_mode": "transaction", **{name: str(value) for name, value in pooler.items()}}
        chosen = {"extensions": {"pooler": settings}, "parameters": parameters or {}, "size": "medium"}
        wish = Creation("shop", port=free_port(), database=DATABASE, user="owner", **chosen)  # type: ignore[arg-type]
        service.create(wish, caller)
        measured = Measured(home, service)
        with sql.control(measured.host.seat(measured.want), say("measure"), DATABASE) as session:
            session.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{verifier(PASSWORD)}'")
            session.execute(f"GRANT ALL ON DATABASE {DATABASE} TO {ROLE}")
            session.execute(f"GRANT ALL ON SCHEMA public TO {ROLE}")
        yield measured
    finally:
        end(home)
