"""One instance with a pooler, made by the verbs, to be broken for real and looked at by `verify`: what an intruder with the server's user
or the pooler's could write, loaded, and taken back.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tests.real import heard
from tests.real.instances import served_by, stock
from tests.real.servers import free_port

from howdah import compose
from howdah.core.instance import Hop, Instance
from howdah.core.wishes import Creation
from howdah.errors import Failed
from howdah.host import accounts, admin, files, pki, process, sql
from howdah.host.local import LocalHost
from howdah.host.seat import LocalSeat
from howdah.phrase import say
from howdah.secret import Secret
from howdah.service.caller import Caller, Question
from howdah.service.verbs import Service
from howdah.verify import Report, verify

Where = tuple[str, str]
DAY = 86400.0
BOTH: tuple[Hop, ...] = ("direct", "pooled")


def agree(question: Question) -> None:
    """Consent to everything."""


CALLER = Caller("tester", "a test", agree, lambda told: None)


@dataclass(frozen=True)
class Bed:
    """One instance with a pooler, made by the verbs."""

    service: Service
    host: LocalHost
    want: Instance
    password: Secret  # of user app

    @property
    def seat(self) -> LocalSeat:
        return LocalSeat(self.host, self.want)

    def report(self, **changes: object) -> Report:
        return verify(replace(self.want, **changes), self.seat, time.time())  # type: ignore[arg-type]

    def run(self, statement: str, database: str = "postgres") -> None:
        with sql.control(self.host.seat(self.want), say("damage it"), database) as session:
            session.execute(statement)

    @property
    def generation(self) -> Path:
        layout = self.host.layout(self.want.id)
        return max(layout.pool.glob("g*"))

    def pair(self, hop: Hop) -> Path:
        """The stem of the pair that a hop serves: older ones may lie beside it."""
        layout = self.host.layout(self.want.id)
        (newest, *_) = pki.pairs(layout.tls(hop), hop, layout.ca_file)
        return layout.tls(hop) / f"{hop}.{newest.serial}"


@contextmanager
def made(home: Path, name: str, extensions: Mapping[str, Mapping[str, str]], parameters: Mapping[str, str] | None = None) -> Iterator[Bed]:
    stock(home)
    service = served_by(compose.service(home, trash_seconds=0), replace(compose.local_host(home), spawn_howdah=lambda words: None))
    host = compose.local_host(home)
    try:
        wish = Creation(name, port=free_port(), extensions=extensions, parameters=parameters or {}, database="shop", user="app")
        password = service.create(wish, CALLER).password
        assert password is not None
        yield Bed(service, host, service.store.find(name), password[1])
    finally:
        heard.listen(home)
        service.delete(name, CALLER)


def found(report: Report, *results: str) -> set[Where]:
    """Return where a check came to one of these results, and print for a test that fails what was seen there."""
    for line in report.checks:
        if line.finding.result in results:
            print(line.check.id, line.hop, line.finding.evidence)
    return {(line.check.id, line.hop) for line in report.checks if line.finding.result in results}


def evidence(report: Report, check: str, hop: str) -> str:
    return next(str(line.finding.evidence) for line in report.checks if (line.check.id, line.hop) == (check, hop))


@contextmanager
def server_files(bed: Bed, hba: str = "", settings: str = "") -> Iterator[None]:
    """Put rules before ours and settings after ours, as an intruder with the server's user would, and take them back."""
    seat = bed.host.seat(bed.want)
    changed = [
        path for path, text in ((seat.layout.data / "pg_hba.conf", hba), (seat.layout.data / "postgresql.auto.conf", settings)) if text
    ]
    before = {path: path.read_text() for path in changed}
    try:
        for path, text in before.items():
            files.put(path, f"{hba}\n{text}" if path.name == "pg_hba.conf" else f"{text}{settings}\n", 0o600, seat.account)
        reload(bed)
        yield
    finally:
        for path, text in before.items():
            files.put(path, text, 0o600, seat.account)
        reload(bed)


def reload(bed: Bed) -> None:
    """Make PostgreSQL read its files, and return when new sessions know."""

    def loaded_at() -> object:
        with sql.control(bed.host.seat(bed.want), say("look")) as session:
            return session.execute("SELECT pg_conf_load_time()").fetchone()

    before = loaded_at()
    bed.run("SELECT pg_reload_conf()")
    assert process.wait_until(lambda: loaded_at() != before, 5)


@contextmanager
def pooler_file(bed: Bed, ini: Callable[[str], str] = str, hba: Callable[[str], str] = str) -> Iterator[None]:
    """Change what PgBouncer has loaded, and take it back."""
    rules = next(iter((bed.generation.parent).glob("hba.*")))
    changes = {bed.generation / "pgbouncer.ini": ini, rules: hba}
    before = {path: path.read_text() for path in changes}
    account = accounts.account(bed.host.facts().pooler_user)
    try:
        for path, change in changes.items():
            files.put(path, change(before[path]), 0o600, account)
        with suppress(Failed):  # 1.25 and later say so when they could not read all of it
            admin.reload(bed.generation)
        yield
    finally:
        for path, text in before.items():
            files.put(path, text, 0o600, account)
        admin.reload(bed.generation)
        admin.reconnect(bed.generation)


def at(hop: str, checks: str) -> set[Where]:
    return {(check, hop) for check in checks.split()}


@contextmanager
def another_certificate(bed: Bed, home: Path, days: float) -> Iterator[None]:
    """Let PostgreSQL serve a certificate by the authority of `home` that lives for so many days, and lies beside those of Howdah."""
    directory = bed.host.layout(bed.want.id).pg / "another"
    pair = pki.issue(home, directory, "direct", ["127.0.0.1", "localhost", "::1"], days, bed.host.seat(bed.want).account)
    stem = directory / f"direct.{pair.serial}"
    try:
        with server_files(bed, settings=f"ssl_cert_file = '{stem}.crt'\nssl_key_file = '{stem}.key'"):
            yield
    finally:
        shutil.rmtree(directory)
