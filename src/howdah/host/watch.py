"""This machine for whoever only looks: the Watch protocol over processes, sockets and files, in a few milliseconds and without a login.

It is apart from `local` so that a command which reads starts without all that changes things. As root, PostgreSQL runs as `postgres` and
PgBouncer as a user of its own; otherwise both run as the caller.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from howdah.core.instance import HOPS, Hop, Instance
from howdah.core.layout import Layout
from howdah.core.machine import LogSource, Quick
from howdah.core.observed import Facts, Pair
from howdah.core.rotation import Bundle
from howdah.errors import Unavailable
from howdah.host import accounts, installed, outside, passfile, pgbouncer, pki, postgres, process
from howdah.host.accounts import Account
from howdah.host.postgres import Seat
from howdah.phrase import say

SERVER_USER = "postgres"
POOLER_USER = "howdah-pool"
_ROOT_FILES = 65_536
_POOLER_LOGS = ("keeper.log.1", "keeper.log", "log.1", "log")
_HOWDAH_LOGS = ("howdah.log.1", "howdah.log", "detached.log.1", "detached.log")


@dataclass(frozen=True)
class LocalWatch:
    """This machine, with its state below `home`."""

    home: Path

    @cached_property
    def _root(self) -> bool:
        return os.geteuid() == 0

    @cached_property
    def _server_account(self) -> Account | None:
        if not self._root:
            return None
        found = accounts.account(SERVER_USER)
        if found is None:
            hint = say("install PostgreSQL, which makes it: sudo apt-get install postgresql")
            raise Unavailable("no_server_user", say("cannot find the system user {name}", name=SERVER_USER), hint)
        return found

    @cached_property
    def _pooler_account(self) -> Account | None:
        return accounts.ensure_account(POOLER_USER) if self._root else None

    @cached_property
    def _pooler_gid(self) -> int | None:
        return self._pooler_account.gid if self._pooler_account is not None else None

    @cached_property
    def _facts(self) -> Facts:
        from howdah.host import addresses, systemd  # most looks need none of it

        own, program, place = accounts.current_account().name, installed.find_binary(), systemd.here()
        return Facts(
            server_user=SERVER_USER if self._root else own,
            pooler_user=POOLER_USER if self._root else own,
            own_user=own,
            pooler_version=installed.binary(program).version if program is not None else (),
            cores=os.cpu_count() or 1,
            memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
            nofile=_nofile(root=self._root),
            backlog=_backlog(),
            loopback_v6=addresses.has_loopback_v6(),
            addresses=addresses.of_this_machine(),
            hostname=addresses.hostname(),
            renews=systemd.renews(place, systemd.boot(self.home, place)),
            logout_harms=systemd.logging_out_harms(place),
        )

    def facts(self) -> Facts:
        """Return what this machine is and has."""
        return replace(self._facts, now=time.time())

    def layout(self, instance_id: str) -> Layout:
        """Return where an instance lies."""
        return Layout(self.home, instance_id)

    def _quick_seat(self, want: Instance) -> Seat:
        """A seat for looking and stopping only: the server's programs may be gone."""
        return Seat(self.layout(want.id), Path("/nonexistent"), want.port, None, None)

    def quick(self, want: Instance) -> Quick:
        """Look without logging in."""
        server = postgres.state(self._quick_seat(want))
        layout = self.layout(want.id)
        numbers = pgbouncer.numbers(layout.pool)
        running = [pgbouncer.quick_look(each) for each in pgbouncer.lanes(layout.pool, numbers[-1])] if numbers else []
        alive = server.state != "absent"
        pooled = bool(running) and all(each.member is not None for each in running)
        days = {hop: outside.days_left(want, hop) if (alive if hop == "direct" else pooled) else None for hop in HOPS if want.hop_port(hop)}
        return Quick(alive, server.state == "ready", pooled, days, max(len(numbers) - 1, 0))

    def passfile(self, want: Instance, user: str) -> Path | None:
        """Return the passfile when it has this user's password."""
        path = self.layout(want.id).passfile
        return path if passfile.holds(path, user) else None

    def logs(self, want: Instance, source: LogSource) -> Sequence[Path]:
        """Return log files, oldest first."""
        layout = self.layout(want.id)
        places = {
            "postgres": [layout.log / "startup.log", *sorted(layout.log.glob("postgresql-*.log"))],
            "pooler": [each / name for each in pgbouncer.directories(layout.pool) for name in _POOLER_LOGS],
            "howdah": [self.home / "log" / name for name in _HOWDAH_LOGS],
        }
        return [path for path in places[source] if path.is_file() and not path.is_symlink()]

    def certificates(self, want: Instance) -> Sequence[tuple[Hop, Pair, bool]]:
        """Return each pair on disk, and whether it is served."""
        layout = self.layout(want.id)
        served = {hop: outside.served_serial(want, hop) for hop in HOPS if want.hop_port(hop) is not None}
        return [(hop, pair, pair.serial == served[hop]) for hop in served for pair in pki.pairs(layout.tls(hop), hop, layout.ca_file)]

    def authority(self) -> Bundle:
        """Return the CA."""
        return pki.authority(self.home)


def _nofile(*, root: bool) -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if not root:
        return hard if hard != resource.RLIM_INFINITY else _ROOT_FILES
    return process.allow_files(_ROOT_FILES)


def _backlog() -> int:
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text())
    except (OSError, ValueError):
        return Facts.backlog
