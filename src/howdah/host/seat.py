"""What the checks ask of this machine: facts that cannot be seen from a client's seat. No method judges."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from howdah.core.instance import HOPS, PROBE_ROLE, Instance
from howdah.core.observed import Observed
from howdah.core.seat import Backend, Kept, KeptKind, Membership, Pool, PoolSession, Rule, Stranger, Target
from howdah.errors import Refusal, Unavailable
from howdah.host import addresses, admin, disk, pgbouncer, roles, sql
from howdah.host.local import LocalHost
from howdah.phrase import say
from howdah.secret import Secret

_BACKENDS: Final = """
SELECT a.pid, host(a.client_addr), coalesce(s.version, ''), coalesce(s.cipher, '')
FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid) WHERE a.usename = $1 AND a.backend_type = 'client backend'
"""
_END_PROBE: Final = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1"
_RULES: Final = """
SELECT line_number, type, coalesce(array_to_string(database, ','), ''), coalesce(array_to_string(user_name, ','), ''),
    concat_ws('/', address, netmask), auth_method FROM pg_hba_file_rules WHERE error IS NULL ORDER BY line_number
"""
_WEAK: Final = "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolpassword NOT LIKE 'SCRAM-SHA-256$%' ORDER BY 1"
_STRANGERS: Final = """
SELECT name, setting, coalesce(sourcefile, source) FROM pg_settings
WHERE source IN ('environment variable', 'command line', 'global')
    OR source = 'configuration file' AND sourcefile <> current_setting('config_file')
UNION ALL
SELECT split_part(x, '=', 1), substr(x, strpos(x, '=') + 1), concat_ws(' ', coalesce(r.rolname, 'everybody'), 'in ' || d.datname)
FROM pg_db_role_setting s CROSS JOIN unnest(s.setconfig) x
    LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
ORDER BY 1, 3
"""
_MEMBERSHIPS: Final = """
SELECT m.rolname, r.rolname FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE (r.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
    OR r.rolname ~ '^howdah_' OR r.oid = 10) AND m.oid <> 10
UNION ALL SELECT rolname, 'BYPASSRLS' FROM pg_roles WHERE rolbypassrls AND NOT rolsuper
ORDER BY 1, 2
"""


@dataclass(frozen=True)
class LocalSeat:
    """One instance on this machine, as the checks need it."""

    host: LocalHost
    want: Instance

    def observe(self) -> Observed:
        """Look anew."""
        return self.host.observe(self.want)

    def open_probe(self) -> tuple[str, Secret]:
        """Let the probe role log in for some minutes."""
        return roles.open_probe(self.host.seat(self.want))

    def expire_probe(self) -> None:
        """Put its VALID UNTIL into the past."""
        with sql.control(self.host.seat(self.want), say("let the probe role expire")) as session:
            session.execute(f"ALTER ROLE {PROBE_ROLE} VALID UNTIL '2000-01-01'")

    def close_probe(self) -> None:
        """Take login, password and sessions from it, also those that the pooler keeps: the next proof shall not meet an old one."""
        seat = self.host.seat(self.want)
        roles.close_probe(seat)
        with sql.control(seat, say("end the probe's sessions")) as session:
            session.execute(_END_PROBE, [PROBE_ROLE])

    def backends(self) -> Sequence[Backend]:
        """Return its sessions as PostgreSQL sees them."""
        with sql.control(self.host.seat(self.want), say("look at sessions")) as session:
            return [Backend(*row) for row in session.execute(_BACKENDS, [PROBE_ROLE])]

    def pool_sessions(self) -> Sequence[PoolSession]:
        """Return its sessions as the pooler sees them."""
        found = [self._of_process(each) for each in pgbouncer.directories(self.host.layout(self.want.id).pool)]
        return [session for sessions in found for session in sessions]

    def _of_process(self, directory: Path) -> list[PoolSession]:
        try:
            with pgbouncer.enter(directory) as asked:
                servers = [row for row in asked.ask("SHOW SERVERS") if row.get("user") == PROBE_ROLE]
            clients = [each for each in admin.clients(directory) if each.user == PROBE_ROLE]
        except Refusal:
            return []
        ours = [PoolSession("client", each.address, each.tls) for each in clients]
        theirs = [PoolSession("server", row.get("addr") or "", row.get("tls") or "", int(row.get("remote_pid") or 0)) for row in servers]
        return [*ours, *theirs]

    def rules(self) -> Sequence[Rule]:
        """Return the lines of pg_hba.conf."""
        with sql.control(self.host.seat(self.want), say("read the rules of admission")) as session:
            return [Rule(*row) for row in session.execute(_RULES)]

    def weak_secrets(self) -> Sequence[str]:
        """Return the roles whose password is no SCRAM verifier."""
        with sql.control(self.host.seat(self.want), say("look at stored passwords")) as session:
            return [row[0] for row in session.execute(_WEAK)]

    def strangers(self) -> Sequence[Stranger]:
        """Return the settings that do not come from Howdah's own file."""
        with sql.control(self.host.seat(self.want), say("look for settings of others")) as session:
            return [Stranger(*row) for row in session.execute(_STRANGERS)]

    def memberships(self) -> Sequence[Membership]:
        """Return who is a member of a role that reaches beyond the database."""
        with sql.control(self.host.seat(self.want), say("look at memberships")) as session:
            return [Membership(*row) for row in session.execute(_MEMBERSHIPS)]

    def pool(self) -> Pool:
        """Return what the newest generation tells."""
        layout = self.host.layout(self.want.id)
        targets: dict[str, Target] = {}
        listened: list[frozenset[tuple[str, int]]] = []
        for directory in pgbouncer.lanes(layout.pool, max(pgbouncer.numbers(layout.pool), default=0)):
            targets |= _targets(directory)
            member = pgbouncer.quick_look(directory).member
            if member is None:
                raise Unavailable("no_pooler", say("PgBouncer is not running"))
            listened.append(addresses.listened(member.pid))
        return Pool(targets, frozenset().union(*listened), _size(layout.pool / "users.txt"))

    def kept(self) -> Sequence[Kept]:
        """Return what is to be kept from others."""
        return list(self._kept())

    def _kept(self) -> Iterator[Kept]:
        layout, facts = self.host.layout(self.want.id), self.host.facts()
        server, pool, own = (frozenset({user}) for user in (facts.server_user, facts.pooler_user, facts.own_user))
        look: Callable[[KeptKind, Path, int, frozenset[str]], Iterator[Kept]] = _look
        for name in ("ca.key", "next.key"):
            yield from look("ca-key", self.host.home / "ca" / name, 0o600, own)
        for name in ("store.sqlite3", "people.sqlite3"):
            yield from look("secret", self.host.home / name, 0o600, own)
        yield from look("data", layout.data, 0o700, server)
        yield from look("socket", layout.socket_dir, 0o710, server)
        for path, owner in ((self.host.home, own), (layout.ca_file.parent, own), (layout.root, own), (layout.pg, server)):
            yield from look("place", path, 0o755, owner)
        for path in (layout.log, *layout.log.glob("*.log")):
            yield from look("log", path, 0o700 if path == layout.log else 0o600, server)
        for name in ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf"):
            yield from look("configuration", layout.data / name, 0o600, server)
        yield from look("secret", layout.passfile, 0o600, own)
        for hop, user in zip(HOPS, (server, pool), strict=True):
            yield from look("place", layout.tls(hop), 0o755, user)
            for key in layout.tls(hop).glob("*.key"):
                yield from look("key", key, 0o600, user)
        if layout.pool.exists():
            yield from look("socket", layout.pool, 0o700, pool)
            for path in (*layout.pool.glob("hba.*"), *layout.pool.glob("g*/pgbouncer.ini"), layout.pool / "users.txt"):
                yield from look("configuration", path, 0o600, pool)


def _targets(directory: Path) -> dict[str, Target]:
    """Return where a PgBouncer sends each database; one that leads elsewhere has the last word."""
    with pgbouncer.enter(directory) as asked:
        rows = [row for row in asked.ask("SHOW DATABASES") if row.get("name") != admin.CONSOLE_DATABASE]
    return {row["name"] or "": Target(row["host"] or "", int(row["port"] or 0), row["force_user"] or "") for row in rows}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _look(kind: KeptKind, path: Path, widest: int, owners: frozenset[str]) -> Iterator[Kept]:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    yield Kept(kind, str(path), stat.S_IMODE(found.st_mode), disk.owner_name(found.st_uid), widest, owners)
