"""Instances of a test's own: a home below the session's root, the verbs over it, a caller who agrees or refuses and remembers, logins as a
client makes them, and the proof that both hops serve. What a test leaves running is ended by pid, and only below its own home.
"""

from __future__ import annotations

import functools
import itertools
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import Any, cast

import psycopg
from tests.conftest import processes_below
from tests.real import heard
from tests.real.servers import free_port, new_home

from howdah import compose
from howdah.core.instance import HOPS, Hop, Instance
from howdah.core.layout import Layout
from howdah.core.observed import Generation, Observed
from howdah.core.operation import Operation
from howdah.core.wishes import Creation
from howdah.errors import Conflict, Refusal
from howdah.host import admin, pgbouncer, process
from howdah.host.local import LocalHost
from howdah.host.process import Process
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service.caller import Caller, Done, Question
from howdah.service.verbs import Service

PASSWORD = "correct horse battery staple"
USER, DATABASE = "app", "app_db"
_PORTS = itertools.count()

Connection = psycopg.Connection[tuple[Any, ...]]


class NotAgreed(Conflict):
    """The person who was asked said no."""


@dataclass
class Voice:
    """A person at the terminal: says yes or no to each question, and remembers every word."""

    agrees: bool = True
    questions: list[Question] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    def caller(self, words: str = "a test", **options: Any) -> Caller:
        """Return the caller through whom this person asks."""
        return Caller("tester", words, self._answer, lambda phrase: self.told.append(str(phrase)), **options)

    def _answer(self, question: Question) -> None:
        self.questions.append(question)
        if not self.agrees:
            raise NotAgreed("not_agreed", say("cannot go on: nobody agreed"))


@dataclass(frozen=True)
class Place:
    """One home with the verbs over it. What would go on detached is only noted, so that nothing happens behind a test's back."""

    home: Path
    service: Service
    detached: list[tuple[str, ...]]

    @property
    def host(self) -> LocalHost:
        """The machine, with its state below this home."""
        return cast(LocalHost, self.service.host)

    def create(self, name: str = "shop", *, voice: Voice | None = None, **wishes: Any) -> Done:
        """Create an instance with a pooler, a database and its user, unless told otherwise; on ports of its own."""
        request: dict[str, Any] = {
            "port": free_port(),
            "extensions": {"pooler": {"listen_port": str(free_port())}},
            "database": DATABASE,
            "user": USER,
            **wishes,
        }
        password = Secret(PASSWORD) if request["user"] else None
        return self.service.create(Creation(name, **request), (voice or Voice()).caller(f"create {name}"), password)

    def want(self, name: str = "shop") -> Instance:
        """Return what is wanted."""
        return self.service.store.find(name)

    def layout(self, name: str = "shop") -> Layout:
        """Return where it lies."""
        return self.host.layout(self.want(name).id)

    def seen(self, name: str = "shop") -> Observed:
        """Look at it."""
        return self.host.observe(self.want(name))

    def set(self, given: Mapping[str, str], unset: Sequence[str] = (), *, name: str = "shop", restart: bool = True) -> Done:
        """Set and unset parameters."""
        return self.service.set_parameters(name, given, unset, Voice().caller("params set"), restart=restart)

    def pool(self, settings: Mapping[str, str], name: str = "shop") -> Done:
        """Change the pooler's settings."""
        return self.service.set_extension(name, "pooler", settings, Voice().caller("extensions set"))

    def repair(self, name: str = "shop") -> tuple[str, ...]:
        """Make one pass of the loop; return the names of the steps that it took."""
        done = self.service.repair(name, Voice().caller("repair"))
        assert done.operation is not None
        assert done.operation.outcome == "done"
        return steps(done.operation)

    def login(self, hop: Hop = "pooled", *, name: str = "shop", **options: Any) -> Connection:
        """Log in as a client does: with TLS, the CA's file and the address checked, unless told otherwise."""
        want = self.want(name)
        listen = want.reach(hop).listen[0]
        chosen: dict[str, Any] = {
            "host": {"0.0.0.0": "127.0.0.1"}.get(listen, listen),
            "port": want.hop_port(hop),
            "user": USER,
            "password": PASSWORD,
            "dbname": DATABASE,
            "sslmode": "verify-full" if want.tls else "disable",
            "sslrootcert": str(self.host.layout(want.id).ca_file),
            **options,
        }
        return psycopg.connect(autocommit=True, connect_timeout=5, gssencmode="disable", passfile="/nonexistent", **chosen)

    def refused(self, hop: Hop = "pooled", **options: Any) -> str:
        """Return the words with which a login is refused."""
        try:
            self.login(hop, **options).close()
        except psycopg.OperationalError as error:
            return str(error)
        raise AssertionError(f"a login was not refused: {hop} {options}")

    def ask(self, query: str, hop: Hop = "pooled", **options: Any) -> Any:
        """Return the first cell of a query's answer, on a session of its own."""
        with self.login(hop, **options) as session:
            return scalar(session, query)

    def control(self, query: str, database: str = "postgres", name: str = "shop") -> list[tuple[Any, ...]]:
        """Run a statement as the control role over the socket, as a DBA would beside Howdah."""
        with control(self, database, name) as session:
            found = session.execute(query.encode())
            return found.fetchall() if found.description else []

    def postmaster(self, name: str = "shop") -> int:
        """Return the pid of the running postmaster, 0 without one."""
        return int(self.seen(name).server.pid)

    def newest(self, name: str = "shop") -> Generation:
        """Return the newest generation of the pooler."""
        return self.seen(name).pooler[-1]

    def directory(self, name: str = "shop") -> Path:
        """Return the directory of the newest generation of the pooler."""
        layout = self.layout(name)
        return layout.generation(pgbouncer.numbers(layout.pool)[-1])

    def members(self, name: str = "shop") -> tuple[Process, Process]:
        """Return the keeper and the PgBouncer of the newest generation's first process."""
        alive = pgbouncer.quick_look(self.directory(name))
        assert alive.keeper is not None
        assert alive.member is not None
        return alive.keeper, alive.member

    def console(self, command: str, name: str = "shop") -> list[dict[str, str | None]]:
        """Run a command at the pooler's console."""
        with pgbouncer.enter(self.directory(name)) as asked:
            return asked.ask(command)

    def delete(self, name: str = "shop") -> None:
        """Delete an instance for good, after a look at what its servers complained of."""
        heard.listen(self.home)
        replace(self.service, trash_seconds=0.0).delete(name, Voice().caller(f"delete {name}"))


@contextmanager
def control(place: Place, database: str = "postgres", name: str = "shop") -> Iterator[Connection]:
    """Hold a session of the control role."""
    want = place.want(name)
    where = {"host": str(place.host.layout(want.id).socket_dir), "port": want.port, "user": "postgres", "dbname": database}
    with psycopg.connect(autocommit=True, connect_timeout=5, sslmode="disable", passfile="/nonexistent", **cast(Any, where)) as session:
        yield session


def scalar(session: Connection, query: str) -> Any:
    """Return the first cell of a query's answer."""
    row = session.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def asks(words: str = "a test") -> Any:
    """Return a caller who agrees to everything."""
    return Voice().caller(words)


def steps(operation: Operation) -> tuple[str, ...]:
    """Return the names of the steps in an operation's story."""
    return tuple(line.step for line in operation.story)


def prove(place: Place, name: str = "shop") -> None:
    """Assert that each hop lets the right password in, encrypted as wanted, and nobody else; and that nothing is left to do."""
    want = place.want(name)
    for hop in HOPS:
        if want.hop_port(hop) is None:
            continue
        with place.login(hop, name=name) as session:
            assert scalar(session, "SELECT current_user || '@' || current_database()") == f"{USER}@{DATABASE}"
            assert session.pgconn.ssl_in_use == want.tls
        assert "password authentication failed" in place.refused(hop, name=name, password="wrong") or hop == "pooled"
        if want.tls:
            words = place.refused(hop, name=name, sslmode="disable")
            assert "SSL required" in words or "no encryption" in words
    assert place.repair(name) == (), "the second look finds nothing to do"
    assert place.service.show(name).status == "running"


class Waiting:
    """A client that logs in meanwhile, and may have to wait."""

    def __init__(self, place: Place, name: str = "shop") -> None:
        self._login: Future[None] = Future()
        options = {"host": "127.0.0.1", "port": place.want(name).hop_port("pooled"), "sslmode": "prefer", "connect_timeout": 30}
        who = {"user": USER, "password": PASSWORD, "dbname": DATABASE}
        self._thread = Thread(target=self._try, args=({**options, **who},))
        self._thread.start()

    def _try(self, options: dict[str, Any]) -> None:
        try:
            psycopg.connect(passfile="/nonexistent", **options).close()
            self._login.set_result(None)
        except psycopg.Error as error:
            self._login.set_exception(error)

    def close(self) -> None:
        """See that it was let in."""
        self._thread.join()
        self._login.result()


def clients_of(place: Place, name: str = "shop") -> dict[str, int]:
    """Return how many clients each process of the newest generation of the pooler has, by its directory's name."""
    layout = place.layout(name)
    return {each.name: len(admin.clients(each)) for each in pgbouncer.lanes(layout.pool, pgbouncer.numbers(layout.pool)[-1])}


def strays(place: Place, name: str = "shop") -> dict[int, str]:
    """Return the processes of an instance that are neither its postmaster's family nor a keeper with its one PgBouncer."""
    layout, family = place.layout(name), {place.postmaster(name)}
    found = {pid: line for pid, line in processes_below(layout.root).items() if _parent(pid)}  # a backend may just have ended
    family |= {pid for pid in found if _parent(pid) in {0, *family}}
    family |= {each.pid for each in [process.lock_holder(layout.log / "sweeper.lock")] if each is not None}
    return {pid: line for pid, line in found.items() if pid not in family | {each.pid for each in place.members(name)}}


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


# --- homes --------------------------------------------------------------------------------------------------------------------------


@contextmanager
def place(*, detached: bool = False, trash_seconds: float = 600.0) -> Iterator[Place]:
    """Hold a home of its own with a spare in it; at the end everything in it is deleted, and what still runs is ended by pid."""
    home = new_home()
    stock(home)
    made = compose.service(home, trash_seconds=trash_seconds)
    noted: list[tuple[str, ...]] = []
    if not detached:
        made = served_by(made, replace(cast(LocalHost, made.host), spawn_howdah=lambda words: noted.append(tuple(words))))
    here = Place(home, made, noted)
    try:
        yield here
    finally:
        end(here)


def served_by(service: Service, host: Any) -> Service:
    """Return the same verbs over another host."""
    return replace(service, host=host, reconciler=replace(service.reconciler, host=host))


def end(here: Place) -> None:
    """Delete every instance of a home, end by pid whatever of it still runs, and take the home away."""
    end_instances(here)
    here.service.store.close()
    shutil.rmtree(here.home, ignore_errors=True)


def end_instances(here: Place) -> None:
    """Delete every instance of a home, however broken, then end by pid whatever of it still runs."""
    for want in here.service.store.everything():
        with suppress(Refusal, psycopg.Error, OSError):
            here.delete(want.name)
    for pid in processes_below(here.home):
        found = process.identify(pid)
        if found is not None:
            process.stop(found, signal.SIGKILL, 5)
    for want in here.service.store.everything():
        shutil.rmtree(here.host.layout(want.id).root, ignore_errors=True)
        here.service.store.forget(want.id)


def stock(home: Path) -> None:
    """See that a home has a spare data directory: a copy of one that is made once in a session."""
    spare = _spare()
    into = home / "spares" / spare.parent.name
    if list(into.glob("[!.]*")):
        return
    for missing in (into.parent, into):
        missing.mkdir(exist_ok=True)
        missing.chmod(0o711)
    subprocess.run(["cp", "-a", spare, into / secrets.token_hex(4)], check=True)


@functools.cache
def _spare() -> Path:
    home = new_home()
    host = compose.local_host(home)
    major = max(host.majors())
    in_child(lambda: host.make_spare(major))  # it steps back behind whoever works, for good
    return next(path for path in (home / "spares" / str(major)).iterdir() if not path.name.startswith("."))


# --- what is done to them -----------------------------------------------------------------------------------------------------------


def kill(*victims: Process) -> None:
    """End processes as nobody would wish it, by pid, and see that they have ended."""
    for each in victims:
        process.send(each, signal.SIGKILL)
    for each in victims:
        assert process.wait_end(each, 5)


def known(pid: int) -> Process:
    """Return the process that has this pid now."""
    found = process.identify(pid)
    assert found is not None
    return found


def in_child(act: Callable[[], None], *, die: int = 9) -> bool:
    """Do something in a forked child; tell whether it died with exit code `die` on its way. Any other end but a good one fails."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            act()
            code = 0
        except BaseException:  # noqa: BLE001 the outermost door of the child
            import traceback

            traceback.print_exc()
        finally:
            os._exit(code)
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert ended in (0, die), f"the child ended with {ended}"
    return ended == die


def clients(here: Place, name: str = "shop") -> list[admin.Client]:
    """Return who is connected to the pooler's newest generation."""
    return list(admin.clients(here.directory(name)))
