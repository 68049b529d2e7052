"""What may be done to an instance while clients are connected, as commands: the rows of the disruption table, and of the test beside it.

A restart of PostgreSQL ends the sessions on its own port; everything else leaves everybody connected. A `Bed` is one instance with copies
of the programs that it runs on, so that an upgrade can put others in their place.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.load import Wish
from bench.stopwatch import free_port, howdah

from howdah.catalog.extensions import extension
from howdah.core.lanes import PEERS_SINCE

if TYPE_CHECKING:
    from howdah.core.instance import Instance
    from howdah.host.local import LocalHost

NAME, USER, DATABASE = "shop", "app", "app_db"
Kind = Literal["reload", "restart", "takeover", "statements", "fault"]
# The settings of the pooler that a reload changes, each with a value that is not its default; a round adds its number to it
RELOADED = {
    "max_client_conn": 900,
    "default_pool_size": 12,
    "min_pool_size": 1,
    "reserve_pool_size": 2,
    "reserve_pool_timeout": 6,
    "max_db_connections": 20,
    "max_user_connections": 40,
    "max_prepared_statements": 150,
    "server_idle_timeout": 500,
    "server_lifetime": 3000,
    "server_connect_timeout": 20,
    "server_login_retry": 2,
    "client_login_timeout": 20,
    "client_idle_timeout": 3600,
    "idle_transaction_timeout": 60,
    "query_timeout": 60,
    "query_wait_timeout": 70,
    "tcp_keepidle": 50,
    "tcp_keepintvl": 11,
    "tcp_keepcnt": 7,
    "application_name_add_host": 1,
    "log_connections": 1,
    "log_disconnections": 1,
}
_SWITCHES = ("application_name_add_host", "log_connections", "log_disconnections")


@dataclass
class Bed:
    """An instance of a home of its own, on programs of its own."""

    home: Path
    pgbouncer: Path
    postgres: Path  # its directory of programs
    source: Path  # of which pgbouncer is a copy
    password: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """What its commands are to know."""
        return {"HOWDAH_PGBOUNCER": str(self.pgbouncer), "HOWDAH_POSTGRES_BINDIRS": str(self.postgres)}

    def run(self, *words: str) -> float:
        """Run a command to its end; return its milliseconds."""
        return howdah(self.home, *words, **self.environment).milliseconds

    def told(self, *words: str) -> Any:
        """Return a command's answer."""
        return json.loads(howdah(self.home, *words, "--json", **self.environment).said)

    def create(self) -> None:
        """Create the instance, with a pooler in transaction mode, a database and its user."""
        pooler = f"pooler:listen_port={free_port()},pool_mode=transaction"
        wish = ("--port", str(free_port()), "--extension", pooler, "--database", DATABASE, "--user", USER)
        self.password = self.told("create", NAME, *wish)["password"]["password"]

    def wish(self, **options: Any) -> Wish:
        """Return the load that is to be on it: TLS where it is spoken, for that changes meanwhile, and clients stay."""
        ports = {each["kind"]: each["port"] for each in self.told("show", NAME)["endpoints"]}
        rest = f"dbname={DATABASE} user={USER} password={self.password} sslmode=prefer gssencmode=disable connect_timeout=30"
        where = {hop: f"host=127.0.0.1 port={ports[hop]} passfile=/nonexistent {rest}" for hop in ("pooled", "direct")}
        return Wish(where["pooled"], where["direct"], prepared=self.carries_prepared, **options)

    @property
    def version(self) -> tuple[int, ...]:
        """The version of the PgBouncer."""
        return version(self.pgbouncer)

    @property
    def carries_prepared(self) -> bool:
        """Whether this PgBouncer carries prepared statements from one server connection to the next."""
        return self.version >= (1, 22)


def version(program: Path) -> tuple[int, ...]:
    """Return the version of a PgBouncer, two numbers."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(part) for part in said.split()[1].split(".")[:2])


Act = Callable[[Bed], None]


@dataclass(frozen=True)
class Change:
    """One thing that is done while clients are connected."""

    key: str
    title: str
    words: tuple[tuple[str, ...], ...]  # the commands, one after the other
    kind: Kind
    leaves_port: bool = False  # new logins have to come to another port from then on
    act: Act | None = None  # done before the commands, within the measurement

    @property
    def ends_direct(self) -> bool:
        """Whether sessions on PostgreSQL's own port are ended."""
        return self.kind == "restart"

    def make(self, bed: Bed) -> float:
        """Make it; return the milliseconds of its commands."""
        if self.act is not None:
            self.act(bed)
        return sum(bed.run(*words) for words in self.words)


def changes(bed: Bed, other_pgbouncer: Path, round_: int = 0) -> tuple[Change, ...]:
    """Return the changes of a round, in an order in which each finds what it needs; every one of them changes something."""
    return (*_reloads(bed, round_), *_authority(), *_restarts(bed, round_), *_takeovers(bed, other_pgbouncer, round_), *_statements())


def _params(setting: str, *more: str) -> tuple[tuple[str, ...], ...]:
    return (("params", "set", NAME, setting, *more, "--yes"),)


def _pooler(setting: str) -> tuple[str, ...]:
    return ("extensions", "set", NAME, "pooler", setting, "--yes")


def _reloads(bed: Bed, round_: int) -> Iterator[Change]:
    yield Change("reload", "`params set work_mem=…`", _params(f"work_mem={9 + round_}MB"), "reload")
    yield Change("ssl-off", "`params set ssl=off`", _params("ssl=off"), "reload")
    yield Change("ssl-on", "`params set ssl=on --keep-plaintext`", _params("ssl=on", "--keep-plaintext"), "reload")
    known = {name: value for name, value in RELOADED.items() if bed.version >= extension("pooler").settings[name].since}
    each = [_pooler(f"{name}={_value(name, value, round_)}") for name, value in known.items()]
    yield Change("pooler-settings", f"`extensions set pooler …`: each of {len(each)} settings, one after another", tuple(each), "reload")


def _value(name: str, value: int, round_: int) -> str:
    """Return what a setting gets in a round; one that decides how long clients wait for a server that is back stays small."""
    if name in _SWITCHES:
        return str((value + round_) % 2)
    return f"0.{value + round_}" if name == "server_login_retry" else str(value + round_)


def _authority() -> Iterator[Change]:
    yield Change("certificates", "`certificates renew`", (("certificates", "renew", NAME),), "reload")
    turns = (("ca", "rotate"), ("ca", "switch", "--yes"), ("ca", "finish", "--yes"))
    yield Change("authority", "`ca rotate`, `ca switch`, `ca finish`", turns, "reload")


def _restarts(bed: Bed, round_: int) -> Iterator[Change]:
    yield Change("restart", "`restart`", (("restart", NAME, "--yes"),), "restart")
    yield Change("max-connections", "`params set max_connections=…`", _params(f"max_connections={120 + round_}"), "restart")
    yield Change("shared-buffers", "`params set shared_buffers=…`", _params(f"shared_buffers={160 + 8 * round_}MB"), "restart")
    for verb in ("add", "remove"):
        words = ("extensions", verb, NAME, "pg_stat_statements", "--yes")
        yield Change(f"preload-{verb}", f"`extensions {verb} pg_stat_statements`", (words,), "restart")
    upgrade = "PostgreSQL's programs replaced by an upgrade, then `restart`"
    yield Change("postgres-upgrade", upgrade, (("restart", NAME, "--yes"),), "restart", act=lambda on: _install(on.postgres, on.postgres))


def _takeovers(bed: Bed, other_pgbouncer: Path, round_: int) -> Iterator[Change]:
    yield Change("backlog", "`extensions set pooler listen_backlog=…`", (_pooler(f"listen_backlog={512 + round_}"),), "takeover")
    for count in ("2", "1") if bed.version >= PEERS_SINCE else ():
        yield Change(f"processes-{count}", f"`extensions set pooler processes={count}`", (_pooler(f"processes={count}"),), "takeover")
    for mode in ("session", "transaction"):
        yield Change(f"pool-mode-{mode}", f"`extensions set pooler pool_mode={mode}`", (_pooler(f"pool_mode={mode}"),), "takeover")
    for key, program in (("pgbouncer-other", other_pgbouncer), ("pgbouncer-back", bed.source)):
        title = f"PgBouncer replaced by {'.'.join(map(str, version(program)))}, then `repair`"
        yield Change(key, title, (("repair", NAME),), "takeover", act=partial(_put_pgbouncer, program))
    yield Change(
        "listen-port", "`extensions set pooler listen_port=…`", (_pooler(f"listen_port={free_port()}"),), "takeover", leaves_port=True
    )


def _statements() -> Iterator[Change]:
    yield Change("user-add", "`users add`", (("users", "add", NAME, "anna", "--database", DATABASE),), "statements")
    yield Change("user-delete", "`users delete`", (("users", "delete", NAME, "anna", "--yes"),), "statements")
    yield Change("database-add", "`databases add`", (("databases", "add", NAME, "second"),), "statements")
    yield Change("database-delete", "`databases delete`", (("databases", "delete", NAME, "second", "--yes"),), "statements")


def faults() -> tuple[Change, ...]:
    """Return what may befall an instance unasked: some clients are cut, and the question is who and for how long."""
    repair = (("repair", NAME),)
    return (
        Change("kill-backend", "one pooled server session ended (`pg_terminate_backend`)", (), "fault", act=_end_backend),
        Change("kill-pgbouncer", "`kill -9` of PgBouncer", (), "fault", act=_kill_pgbouncer),
        Change("kill-postgres", "`kill -9` of PostgreSQL, then `repair`", repair, "fault", act=_kill_postgres),
    )


def _seen(bed: Bed) -> tuple[LocalHost, Instance]:
    from howdah import compose

    [seen] = compose.service(bed.home).all()
    return compose.local_host(bed.home), seen.instance


def _end_backend(bed: Bed) -> None:
    from howdah.host import sql
    from howdah.phrase import say

    host, want = _seen(bed)
    with sql.control(host.seat(want), say("end a session")) as session:
        session.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{USER}' AND client_addr IS NULL LIMIT 1")


def _kill_pgbouncer(bed: Bed) -> None:
    from howdah.host import pgbouncer, process

    host, want = _seen(bed)
    pool = host.layout(want.id).pool
    for number in pgbouncer.numbers(pool)[-1:]:
        [member] = pgbouncer.members(host.layout(want.id).generation(number))
        process.send(member, signal.SIGKILL)


def _kill_postgres(bed: Bed) -> None:
    from howdah.host import postgres, process

    host, want = _seen(bed)
    server = postgres.postmaster(host.seat(want))
    assert server is not None
    process.send(server, signal.SIGKILL)


def copied(home: Path, pgbouncer: Path) -> Bed:
    """Return a bed whose programs are copies: of this PgBouncer, and of the newest PostgreSQL here, laid out as Debian does."""
    from howdah.host import postgres

    bindir = list(postgres.majors().values())[-1]
    root, major = home / "programs", bindir.parent.name
    for part in ("lib", "share"):
        shutil.copytree(Path("/usr", part, "postgresql", major), root / "usr" / part / "postgresql" / major, symlinks=True)
    bed = Bed(home, root / "pgbouncer", root / "usr" / "lib" / "postgresql" / major / "bin", pgbouncer)
    _put(pgbouncer, bed.pgbouncer)
    for place, _, _ in os.walk(root):
        Path(place).chmod(0o755)
    return bed


def _put_pgbouncer(program: Path, bed: Bed) -> None:
    _put(program, bed.pgbouncer)


def _install(programs: Path, into: Path) -> None:
    for program in programs.iterdir():
        if program.is_file() and not program.is_symlink():
            _put(program, into / program.name)


def _put(program: Path, path: Path) -> None:
    """Put a program where another may be running: a new file takes its name, as a package's upgrade does it."""
    new = path.with_name(f".{path.name}.new")
    shutil.copy2(program, new)
    new.rename(path)
