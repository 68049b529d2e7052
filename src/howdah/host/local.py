"""This machine: the Host and Machine protocols over real processes, files and sockets.

Each method gathers what its neighbours need (`postgres`, `roles`, `pooler`, `pki`, `files`) and returns when the effect can be seen. As
root, PostgreSQL runs as `postgres` and PgBouncer as a user of its own; otherwise both run as the caller. No decision is made here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from howdah.certificate import LONGEST_DAYS
from howdah.core.endpoint import LOCAL_NAMES, certificate_names
from howdah.core.host import Leaving, Refused, WantedFile
from howdah.core.instance import Database, Hop, Instance, User
from howdah.core.layout import Layout
from howdah.core.observed import Looks, Observed, Server
from howdah.core.pace import Asked, Measured
from howdah.core.remember import Trashed
from howdah.core.rotation import Bundle, Turn
from howdah.core.samples import Sample
from howdah.errors import Conflict, Failed, Refusal, Unavailable, Unsupported
from howdah.host import (
    addresses,
    admin,
    databases,
    disk,
    files,
    generations,
    installed,
    lookup,
    outside,
    passfile,
    pgbouncer,
    pki,
    pooler,
    postgres,
    process,
    pulse,
    rehearsal,
    retirement,
    roles,
    sessions,
    sight,
    spares,
    sql,
    succession,
    sweeping,
    trash,
)
from howdah.host import reload as loading
from howdah.host import restart as restarting
from howdah.host.beside import Beside
from howdah.host.pooler import PoolSeat
from howdah.host.postgres import Seat
from howdah.host.watch import SERVER_USER, LocalWatch
from howdah.phrase import Phrase, say
from howdah.secret import Secret

_LEAF_DAYS, _RENEWED_LEAF_DAYS = LONGEST_DAYS - 1.0, 60.0
_PASSWORD_LETTERS = string.ascii_letters + string.digits


@dataclass(frozen=True)
class LocalHost(LocalWatch):
    """This machine, with its state below `home`."""

    spawn_howdah: Callable[[Sequence[str]], None] = field(repr=False)
    _pulses: dict[str, pulse.Pulse] = field(default_factory=dict, repr=False)  # of the instances that are worked on now

    # ------------------------------------------------------------------------------------------ who and what is here

    def majors(self) -> tuple[int, ...]:
        """Return the majors of the installed servers."""
        return tuple(postgres.majors())

    def check_home(self, layout: Layout) -> None:
        """Refuse a home in which the servers' users could not live."""
        layout.check()
        if not self._root:
            return
        files.make_parents(self.home)
        for step in (self.home, *self.home.parents):
            if not step.stat().st_mode & stat.S_IXOTH:
                hint = say("set HOWDAH_HOME to a directory that others may pass through, or: chmod o+x {step}", step=step)
                message = say("cannot use {home}: user {user} may not pass through {step}", home=self.home, user=SERVER_USER, step=step)
                raise Unsupported("home_closed", message, hint)

    def seat(self, want: Instance) -> Seat:
        """Return where the instance's PostgreSQL sits."""
        bindir = postgres.bindir_of(want.version)
        if bindir is None:
            hint = say("install it again: sudo apt-get install postgresql-{version}", version=want.version)
            raise Unavailable("no_postgresql", say("cannot find PostgreSQL {version} on this machine", version=want.version), hint)
        return Seat(self.layout(want.id), bindir, want.port, self._server_account, self._pooler_gid)

    def _pool_seat(self, want: Instance) -> PoolSeat:
        port = want.hop_port("pooled") or 0
        return PoolSeat(self.layout(want.id), self._pooler_account, self._facts.pooler_user, port, self._facts.nofile)

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """Keep what steps share until the work is done: a session."""
        return sql.keeping()

    @contextlib.contextmanager
    def feel(self, want: Instance) -> Iterator[pulse.Pulse]:
        """Feel how a new client fares."""
        with pulse.felt(want, serves=postgres.state(self._quick_seat(want)).state == "ready") as found:
            self._pulses[want.id] = found
            try:
                yield found
            finally:
                del self._pulses[want.id]

    # ------------------------------------------------------------------------------------------ looking

    def observe(self, want: Instance) -> Observed:
        """Look at an instance, part by part."""
        layout = self.layout(want.id)
        direct = Beside(lambda: outside.seen(want, "direct"))  # whoever looks at a server goes on to what it tells strangers
        looks = Looks(
            disk=lambda: disk.look(layout),
            server=lambda: self._server(want, direct.begin),
            inside=lambda: sight.inside(self.seat(want)),
            pooler=lambda: generations.row(layout),
            wire=lambda hop: direct.result() if hop == "direct" else outside.seen(want, hop),
            people=lambda server: self._people(want, server),
        )
        return Observed(self.facts(), layout, looks)

    def _server(self, want: Instance, beside: Callable[[], object] = lambda: None) -> Server:
        quick = postgres.state(self._quick_seat(want))
        if quick.state != "ready":
            return quick
        beside()
        swept = sweeping.swept(self.layout(want.id), process.identify(quick.pid))
        return replace(sight.look(self.seat(want), want), listens=addresses.listened(quick.pid), swept=swept)

    def _people(self, want: Instance, server: Server) -> Server:
        if server.state == "ready":
            with contextlib.suppress(Refusal):
                return sight.people(self.seat(want), want, server)
        return self._server(want)

    def sample(self, want: Instance, *, whole: bool) -> Sample:
        """Measure a running instance."""
        from howdah.host import sampling

        pid = postgres.state(self._quick_seat(want)).pid
        return sampling.sample(self._quick_seat(want), pgbouncer.directories(self.layout(want.id).pool), pid, whole=whole)

    def port_holder(self, listen: Sequence[str], port: int) -> str | None:
        """Return who holds a port, None where it is free."""
        return addresses.port_holder(listen, port)

    def address_fault(self, address: str) -> str | None:
        """Return why nothing can listen on an address."""
        return addresses.fault(address)

    # ------------------------------------------------------------------------------------------ PostgreSQL

    def take_data(self, want: Instance) -> None:
        """Claim a spare, or initialise a data directory."""
        seat = self.seat(want)
        files.make_parents(seat.layout.root.parent)
        if not spares.claim(self.home, want.version, seat):
            files.make_parents(seat.layout.root)
            postgres.initialise(seat)
        elif want.pooler is None:
            files.remove(seat.layout.pool)

    def turn_authority(self, want: Instance, asked: Turn | None) -> None:
        """Make a turn of the authority's change, or clear up after one that was killed; it is the whole home's, whoever asks."""
        with contextlib.suppress(Conflict):  # another instance's pass was quicker
            succession.turn(self.home, asked) if asked is not None else succession.clear_up(self.home)

    def bench(self, want: Instance, asked: Asked, tell: Callable[[Phrase], None]) -> Measured:
        """Measure how fast an instance is."""
        from howdah.host import bench  # no other command needs it

        return bench.measure(self.seat(want), want, asked, tell)

    def change_authority(self, asked: Turn) -> Bundle:
        """Make a turn of the authority's change."""
        return succession.turn(self.home, asked)

    def issue(self, want: Instance, hop: Hop) -> None:
        """Issue a certificate for a hop."""
        layout, facts = self.layout(want.id), self.facts()
        if hop == "pooled":
            files.make_directory(layout.pool, 0o700, self._pooler_account)
        account = self._server_account if hop == "direct" else self._pooler_account
        pki.issue(self.home, layout.tls(hop), hop, sorted(certificate_names(want, hop, facts)), self._leaf_days(), account)

    def write_server_files(self, want: Instance, wanted: Sequence[WantedFile]) -> None:
        """Let PostgreSQL judge its files, then put them in place; postgresql.conf, which carries the digest, last."""
        seat = self.seat(want)
        has_run = postgres.has_run(seat)
        if has_run:  # else the start that comes next judges them just as well: nothing serves yet that could suffer
            rehearsal.check(seat, {file.name: file.text for file in wanted if file.name != "postgresql.auto.conf"})
        for file in sorted(wanted, key=lambda file: file.name == "postgresql.conf"):
            files.put(seat.layout.data / file.name, file.text, file.mode, self._server_account, durable=has_run)

    def start_server(self, want: Instance) -> None:
        """Start PostgreSQL; an address that it cannot have is named, and refuses the wish that asks for it."""
        seat = self.seat(want)
        postgres.fit(seat.layout.pg, seat.account, seat.pooler_gid)  # the directory of its socket may be gone, or open to others
        try:
            started = postgres.start(seat, beside=lambda server: sweeping.launch(seat, server))
        except Refused:
            raise
        except Failed as failed:
            if (holder := self.port_holder(want.direct.listen, want.port)) is None:
                raise
            raise _port_taken(want, holder) from failed
        heard = addresses.listened(started.pid)
        for address in want.direct.listen:
            # PostgreSQL starts when it can listen on any one of its addresses, and only warns of the others
            if (address, want.port) not in heard:
                raise _port_taken(want, self.port_holder([address], want.port) or address)

    def stop_server(self, want: Instance) -> int:
        """Stop PostgreSQL."""
        ended = sessions.count(self.seat(want)) if postgres.state(self._quick_seat(want)).state == "ready" else 0
        postgres.stop(self._quick_seat(want))
        sweeping.end(self.layout(want.id))
        return ended

    def sweep_logs(self, want: Instance) -> None:
        """Start the sweeper beside a running PostgreSQL, and tell the keepers beside PgBouncer."""
        if want.pooler is not None:
            pooler.bound_logs(self._pool_seat(want))
        seat = self.seat(want)
        if (server := postgres.postmaster(seat)) is not None:
            sweeping.begin(seat, server)

    def restart_server(self, want: Instance) -> int:
        """Checkpoint, hold the pooler's clients back, stop, start, prove, let them go on."""
        felt = self._pulses.get(want.id)
        still = felt.stilled() if felt is not None else contextlib.nullcontext()
        return restarting.restart(self.seat(want), want, self._answering(want), lambda: self.start_server(want), still)

    def _answering(self, want: Instance) -> list[Path]:
        """Return the generations of the pooler that answer."""
        layout = self.layout(want.id)
        return [directory for directory in pgbouncer.directories(layout.pool) if pgbouncer.look(directory).reachable]

    def reload_server(self, want: Instance, digest: str) -> None:
        """Make PostgreSQL load its files."""
        loading.reload(self.seat(want), digest)

    def set_service_roles(self, want: Instance) -> None:
        """Make Howdah's own roles what they must be."""
        roles.set_service_roles(self.seat(want), want)

    def set_user(self, want: Instance, user: User) -> None:
        """Make a user, or give it its password."""
        roles.set_user(self.seat(want), user)

    def drop_user(self, want: Instance, name: str) -> int:
        """Drop a user."""
        return roles.drop_user(self.seat(want), name)

    def create_database(self, want: Instance, database: Database) -> None:
        """Create a database."""
        databases.create_database(self.seat(want), want, database)

    def drop_database(self, want: Instance, name: str) -> int:
        """Drop a database."""
        return databases.drop_database(self.seat(want), name)

    def set_access(self, want: Instance, database: str) -> None:
        """Set who has every right in a database."""
        databases.set_access(self.seat(want), want, database)

    def install_lookup(self, want: Instance, databases: Sequence[str]) -> None:
        """Put the lookup function into databases."""
        lookup.install(self.seat(want), databases)

    def remove_lookup(self, want: Instance, databases: Sequence[str]) -> None:
        """Take the lookup function away."""
        lookup.remove(self.seat(want), databases)

    def enter_database(self, want: Instance, database: str) -> None:
        """Look into a database."""
        sight.enter(self.seat(want), database)

    def create_extension(self, want: Instance, database: str, name: str) -> None:
        """Create a SQL extension."""
        databases.create_extension(self.seat(want), database, name)

    def drop_extension(self, want: Instance, database: str, name: str) -> None:
        """Drop a SQL extension."""
        databases.drop_extension(self.seat(want), database, name)

    # ------------------------------------------------------------------------------------------ the pooler

    def begin_pooler(self, want: Instance, wanted: Sequence[WantedFile]) -> None:
        """Begin the first generation; what keeps it from starting is told by `start_pooler`, which comes later."""
        with contextlib.suppress(Failed):
            pooler.begin_first(self._pool_seat(want), want, 1, wanted)

    def start_pooler(self, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
        """Try the files, start a generation; the first, beside which none serves that could suffer, is its own trial."""
        seat = self._pool_seat(want)
        if generations.numbers_before(seat.layout, number):
            pooler.attempt(seat, wanted, self._probe(want))
            pooler.start(seat, want, number, wanted)
        else:
            pooler.start_first(seat, want, number, wanted, self._login(want))

    def steer_pooler(self, want: Instance, number: int) -> None:
        """Send new logins to a generation again."""
        generations.steer(self.layout(want.id), number)

    def change_pooler(self, want: Instance, number: int, wanted: Sequence[WantedFile]) -> None:
        """Try the files, put them in place, reload, prove."""
        seat = self._pool_seat(want)
        pooler.attempt(seat, wanted, self._probe(want))
        pooler.change(seat, want, number, wanted)

    def _probe(self, want: Instance) -> Callable[[str, int], Phrase | None]:
        """Return how a trial is judged from a client's seat: a real login over TLS, plaintext refused."""
        login = self._login(want)
        return lambda address, port: pooler.wire_differs(want, address, port) or login(address, port)

    def _login(self, want: Instance) -> Callable[[str, int], Phrase | None]:
        """Return how a login is tried."""

        def login(address: str, port: int) -> Phrase | None:
            with roles.probe(self.seat(want)) as (role, password):
                return sessions.try_login(address, port, role, password, tls=want.tls)

        return login

    def reload_pooler(self, want: Instance, number: int) -> None:
        """Make a generation read its file."""
        pooler.reload(self._pool_seat(want), want, number)

    def retire_pooler(self, want: Instance, number: int, *, leaving: Leaving) -> int:
        """End a generation."""
        return retirement.retire(self.layout(want.id), number, leaving)

    def remove_pooler(self, want: Instance) -> None:
        """Take the pooler's keys and files away."""
        files.remove(self.layout(want.id).pool)

    def resume_pooler(self, want: Instance, number: int) -> None:
        """Let a generation serve again."""
        for directory in pgbouncer.lanes(self.layout(want.id).pool, number):
            admin.resume(directory)

    def end_plaintext(self, want: Instance, hop: Hop) -> int:
        """End sessions without TLS."""
        if hop == "pooled":
            return retirement.end_plaintext(self.layout(want.id))
        return sessions.end_plaintext(self.seat(want))

    # ------------------------------------------------------------------------------------------ passwords

    def make_password(self) -> Secret:
        """Return 24 random letters and digits: 142 bits, and nothing that any format would have to quote."""
        return Secret("".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(24)))

    def has_library(self, major: int, name: str) -> bool:
        """Look for a library."""
        bindir = postgres.bindir_of(major)
        return bindir is not None and installed.library(bindir, name) is not None

    def value_fault(self, major: int, name: str, text: str) -> str:
        """Let PostgreSQL's program judge a value."""
        bindir = postgres.bindir_of(major)
        return rehearsal.fault(bindir, self._server_account, name, text) if bindir is not None else ""

    def verifier(self, user: str, password: Secret) -> Secret:
        """Return the SCRAM verifier."""
        return roles.verifier(user, password)

    def keep_password(self, want: Instance, user: str, password: Secret) -> None:
        """Keep a made password in the passfile."""
        passfile.keep(self.layout(want.id).passfile, user, password)

    def forget_password(self, want: Instance, user: str) -> None:
        """Take a password out of the passfile."""
        passfile.keep(self.layout(want.id).passfile, user, None)

    # ------------------------------------------------------------------------------------------ detached work and the trash

    def carry_on(self, want: Instance) -> None:
        """Leave the work to a detached pass."""
        self.spawn_howdah(("repair", want.name, "--detached"))

    def refill_spares(self, major: int) -> None:
        """Let a detached process make a spare."""
        if spares.wanting(self.home, major):
            self.spawn_howdah(("spare", str(major)))

    def make_spare(self, major: int) -> None:
        """Make a spare data directory, where one is wanted."""
        bindir = postgres.bindir_of(major)
        if bindir is not None:
            os.nice(10)  # it is for later: whoever works now comes first
            while spares.make_spare(self.home, major, bindir, self._server_account, self._pooler_gid, self._certify):
                pass  # until the stock is full

    def _certify(self, root: Path) -> None:
        """Put the certificates into a spare that the default addresses need: to issue them later takes 100 ms."""
        names, days = sorted(LOCAL_NAMES), self._leaf_days()
        files.make_directory(root / "pool", 0o700, self._pooler_account)
        pki.issue(self.home, root / "pg" / "tls", "direct", names, days, self._server_account)
        pki.issue(self.home, root / "pool" / "tls", "pooled", names, days, self._pooler_account)

    def _leaf_days(self) -> float:
        return _RENEWED_LEAF_DAYS if self.facts().renews else _LEAF_DAYS

    def empty_trash(self) -> None:
        """Let a detached process empty the trash."""
        self.spawn_howdah(("empty-trash",))

    def move_to_trash(self, want: Instance) -> None:
        """Destroy keys and passwords, move the data directory into the trash."""
        trash.throw(self.layout(want.id))

    def take_from_trash(self, want: Instance) -> None:
        """Put the data directory back."""
        trash.take_back(self.layout(want.id))
        postgres.fit(self.layout(want.id).pg, self._server_account, self._pooler_gid)

    def in_trash(self, instance_id: str) -> bool:
        """Tell whether an instance's data lies in the trash."""
        return trash.place(self.home, instance_id) is not None

    def purge_trash(self, entry: Trashed) -> None:
        """Remove a trashed data directory for good."""
        trash.purge(self.home, entry.instance.id)


def _port_taken(want: Instance, holder: str) -> Refused:
    message = say("cannot have PostgreSQL listen on port {port}: {holder} has it", port=want.port, holder=holder)
    return Refused("port_lost", message, say("choose other addresses or another port, or end that process"))
