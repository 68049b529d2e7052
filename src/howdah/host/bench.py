"""Measure how fast an instance is, with pgbench, as a client on this machine: a role and a database of its own, gone at the end.

Nobody's data is touched, and few clients work at a time. Whoever is killed in the middle leaves a role whose password ends within a
day and a database, and the next bench removes both. PostgreSQL's own settings are not changed, and nothing is judged.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from howdah import wire
from howdah.core.instance import HOPS, Hop, Instance
from howdah.core.pace import KINDS, Asked, Kind, Measured, Pace
from howdah.errors import Failed, Unavailable
from howdah.host import roles, sql
from howdah.host.accounts import CLEAN_ENVIRONMENT
from howdah.host.postgres import Seat
from howdah.host.session import Session
from howdah.phrase import Phrase, say
from howdah.secret import Secret

_PREFIX: Final = "bench_of_howdah_"
_SLACK_SECONDS = 60.0
_DAY = 86_400.0
_OPTIONS: Final[dict[Kind, tuple[str, ...]]] = {"logins": ("-C", "-f", "login.sql"), "reads": ("-S",), "writes": ("-N",)}
_LEFT: Final = f"""SELECT d.datname FROM pg_catalog.pg_database d WHERE d.datname ~ '^{_PREFIX}[0-9a-f]{{8}}$'
AND NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a WHERE a.usename = d.datname AND a.application_name <> '')"""
_ROLES_LEFT: Final = f"""SELECT rolname FROM pg_catalog.pg_roles WHERE rolname ~ '^{_PREFIX}[0-9a-f]{{8}}$'
AND rolname NOT IN (SELECT datname FROM pg_catalog.pg_database)"""


@dataclass(frozen=True)
class _Client:
    """pgbench, as one client of one instance."""

    program: Path
    want: Instance
    ca_file: Path
    name: str  # of its role and of its database
    password: Secret
    place: Path

    def environment(self, hop: Hop) -> dict[str, str]:
        host = wire.dial(self.want.reach(hop).listen[0])
        tls = {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(self.ca_file)} if self.want.tls else {"PGSSLMODE": "disable"}
        where = {"PGHOST": host, "PGPORT": str(self.want.hop_port(hop)), "PGDATABASE": self.name, "PGUSER": self.name}
        quiet = {"PGGSSENCMODE": "disable", "PGPASSFILE": "/nonexistent", "PGCONNECT_TIMEOUT": "10", "HOME": str(self.place)}
        return {**CLEAN_ENVIRONMENT, **where, **tls, **quiet, "PGPASSWORD": self.password.reveal()}

    def run(self, hop: Hop, *options: str, seconds: float) -> subprocess.CompletedProcess[str]:
        """Run pgbench to its end."""
        command: list[str | Path] = [self.program, "-n", *options]
        try:
            return subprocess.run(
                command,
                cwd=self.place,
                env=self.environment(hop),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=seconds + _SLACK_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            message = say("cannot measure {name}: pgbench took more than {seconds} s", name=self.want.name, seconds=error.timeout)
            raise Failed("bench_too_long", message) from error


def measure(seat: Seat, want: Instance, asked: Asked, tell: Callable[[Phrase], None]) -> Measured:
    """Measure logins, reads and writes on each hop, in turn, so that whatever else the machine does falls on all alike."""
    program, began = _program(seat), time.monotonic()
    hops = [hop for hop in HOPS if want.hop_port(hop) is not None]
    paces = [Pace(hop, kind) for kind in KINDS for hop in hops]
    with tempfile.TemporaryDirectory(prefix="howdah-bench-") as place, _furnished(seat, want) as (name, password):
        client = _Client(program, want, seat.layout.ca_file, name, password, Path(place))
        (client.place / "login.sql").write_text("SELECT 1;\n")
        _fill(client)
        for number in range(asked.rounds):
            for pace in paces:
                tell(say("round {number} of {rounds}: {hop}, {kind}", number=number + 1, rounds=asked.rounds, hop=pace.hop, kind=pace.kind))
                _take(client, pace, asked)
    return Measured(asked, paces, _settings(seat, want), time.monotonic() - began)


def _program(seat: Seat) -> Path:
    program = seat.bindir / "pgbench"
    if not os.access(program, os.X_OK):
        hint = say("install it: sudo apt-get install postgresql-contrib, or name its directory in HOWDAH_POSTGRES_BINDIRS")
        raise Unavailable("no_pgbench", say("cannot find pgbench in {directory}", directory=seat.bindir), hint)
    return program


def _fill(client: _Client) -> None:
    done = client.run("direct", "-i", "-q", seconds=0)
    if done.returncode != 0:
        words = (done.stderr.strip().splitlines() or ["?"])[-1]
        raise Failed("bench_failed", say("cannot prepare the tables of the bench: {words}", words=words))


def _take(client: _Client, pace: Pace, asked: Asked) -> None:
    if pace.words:
        return
    options = ("-T", str(asked.seconds), "-c", str(asked.clients), "-j", str(min(asked.clients, 2)), *_OPTIONS[pace.kind])
    done = client.run(pace.hop, *options, seconds=asked.seconds)
    rate, latency = (re.search(pattern, done.stdout) for pattern in (r"tps = ([\d.]+)", r"latency average = ([\d.]+)"))
    if done.returncode != 0 or rate is None or latency is None:
        wrong = re.search(r"(?:error|fatal|FATAL|ERROR): .*", done.stderr)
        pace.words = wrong[0] if wrong else done.stderr.strip()[-200:] or "?"
        return
    pace.rates.append(float(rate[1]))
    pace.latencies.append(float(latency[1]))


@contextmanager
def _furnished(seat: Seat, want: Instance) -> Iterator[tuple[str, Secret]]:
    """Lend a role with a database of its own, both of one name."""
    name, password = _PREFIX + secrets.token_hex(4), Secret(secrets.token_urlsafe(18))
    doing = say("prepare the bench of {name}", name=want.name)
    with sql.control(seat, doing) as session:
        _clear(session)
        verifier = roles.verifier(name, password).reveal()
        until = time.strftime("%Y-%m-%d %H:%M:%S+00", time.gmtime(time.time() + _DAY))
        sql.run(session, "CREATE ROLE {} LOGIN", name, clauses={"PASSWORD": verifier, "VALID UNTIL": until})
    try:
        with sql.control(seat, doing) as session:
            sql.run(session, "CREATE DATABASE {} OWNER {}", name, name)
        yield name, password
    finally:
        with sql.control(seat, say("clear up after the bench of {name}", name=want.name)) as session:
            _drop(session, name)


def _clear(session: Session) -> None:
    """Take away what a bench that was killed has left."""
    for (name,) in session.execute(_LEFT).fetchall():
        _drop(session, str(name))
    for (name,) in session.execute(_ROLES_LEFT).fetchall():
        sql.run(session, "DROP ROLE IF EXISTS {}", str(name))


def _drop(session: Session, name: str) -> None:
    sql.run(session, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
    sql.run(session, "DROP ROLE IF EXISTS {}", name)


def _settings(seat: Seat, want: Instance) -> dict[str, str]:
    with sql.control(seat, say("look")) as session:
        names = ("server_version", "shared_buffers", "max_connections", "synchronous_commit", "fsync")
        found = {name: str((session.execute(f"SHOW {name}").fetchone() or ("",))[0]) for name in names}
    pooler = want.pooler or {}
    told = {f"pooler.{name}": pooler[name] for name in ("pool_mode", "default_pool_size", "max_client_conn") if name in pooler}
    return {"ssl": "on" if want.tls else "off", "cores": str(os.cpu_count() or 1), **found, **told}
