"""Each witness of "loaded" lies alone in some way: here it does, on a real server, and another one tells. Then the next pass puts it right.

What lies is asserted to say that all is well, so that a case that no longer deceives anybody fails, too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.real.instances import DATABASE, USER, Place, end_instances, kill, known, place, prove

from howdah import compose, wire
from howdah.core.instance import HOPS
from howdah.core.observed import Observed
from howdah.core.plan import next_steps
from howdah.engines import pooling, single
from howdah.errors import Failed
from howdah.host import postgres, process
from howdah.host.process import wait_until

Tale = Callable[[Place], object]
Witness = Callable[[Place, Observed, Observed], bool]  # before and after the tale
SECONDS = 10


def reasons(here: Place, seen: Observed | None = None) -> list[str]:
    """Return why the next steps are due, as a pass would say it."""
    want = here.want()
    concerns = here.service.reconciler.engines[want.engine].concerns[want.state]
    return [str(step.why) for step in next_steps(concerns, want, seen or here.seen())]


# --- witnesses ----------------------------------------------------------------------------------------------------------------------


def digest(here: Place, before: Observed, now: Observed) -> bool:
    return now.server.digest == before.server.digest


def files_lie_there(here: Place, before: Observed, now: Observed) -> bool:
    return {n: f.digest for n, f in now.disk.files.items()} == {n: f.digest for n, f in before.disk.files.items()}


def load_time(here: Place, before: Observed, now: Observed) -> bool:
    """Say that everything was loaded after it was written."""
    return max(found.ctime for found in now.disk.files.values()) <= now.server.loaded_at


def no_errors(here: Place, before: Observed, now: Observed) -> bool:
    return now.server.errors == ()


def values(here: Place, before: Observed, now: Observed) -> bool:
    return single.unloaded(here.want(), now) == {}


def nothing_pending(here: Place, before: Observed, now: Observed) -> bool:
    return now.server.pending == frozenset()


def served(here: Place, before: Observed, now: Observed) -> bool:
    return now.wire == before.wire


def pooler_digest(here: Place, before: Observed, now: Observed) -> bool:
    return now.pooler[-1].loaded == before.pooler[-1].loaded


def pooler_values(here: Place, before: Observed, now: Observed) -> bool:
    return now.pooler[-1].config == before.pooler[-1].config


def pooler_files(here: Place, before: Observed, now: Observed) -> bool:
    return {n: f.digest for n, f in now.pooler[-1].files.items()} == {n: f.digest for n, f in before.pooler[-1].files.items()}


# --- tales --------------------------------------------------------------------------------------------------------------------------


def overwrite(path: Path, text: str) -> None:
    """Write as an editor does: a new file in place of the old, with its owner."""
    old, beside = path.stat(), path.with_name(f"edited.{path.name}")
    beside.write_text(text)
    beside.chmod(old.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(beside, old.st_uid, old.st_gid)
    beside.rename(path)


def loads(here: Place) -> None:
    """Have PostgreSQL reload, and wait until it has tried."""
    before = here.control("SELECT pg_conf_load_time()")
    here.control("SELECT pg_reload_conf()")
    assert wait_until(lambda: here.control("SELECT pg_conf_load_time()") != before, SECONDS)


def loaded_and_put_back(name: str, change: Callable[[str], str]) -> Tale:
    """Change a file of the server, have it loaded, and put the good one back without a word."""

    def tale(here: Place) -> None:
        path = here.layout().data / name
        good = path.read_text()
        overwrite(path, change(good))
        loads(here)
        overwrite(path, good)

    return tale


def left(name: str, change: Callable[[str], str]) -> Tale:
    """Change a file of the server and have it loaded."""

    def tale(here: Place) -> None:
        path = here.layout().data / name
        overwrite(path, change(path.read_text()))
        loads(here)

    return tale


def included(here: Place) -> None:
    """A value comes from another file, by a line before the digest."""
    beside = here.layout().data / "beside.conf"
    beside.write_text("work_mem = '9MB'\n")
    if os.geteuid() == 0:
        shutil.chown(beside, (here.layout().data / "postgresql.conf").stat().st_uid)
    left("postgresql.conf", lambda text: text.replace("howdah.digest", "include 'beside.conf'\nhowdah.digest"))(here)


def served_file(here: Place, kind: str) -> Path:
    """Return the file of the pair that is served on the direct hop; older ones lie beside it."""
    return here.layout().tls("direct") / f"direct.{here.seen().wire['direct'].serial}.{kind}"


def another_pair_under_the_same_name(here: Place) -> None:
    """PostgreSQL loads other bytes from the very path that its configuration names, and the right ones return to it."""
    stem = served_file(here, "crt")
    pooled = next(here.layout().tls("pooled").glob("pooled.*.crt"))
    good = {end: stem.with_suffix(end).read_text() for end in (".crt", ".key")}
    for end in good:
        overwrite(stem.with_suffix(end), pooled.with_suffix(end).read_text())
    loads(here)
    for end, text in good.items():
        overwrite(stem.with_suffix(end), text)


def a_key_that_does_not_fit(here: Place) -> None:
    """The server keeps the pair that it had, and says so in its log alone; its next start would fail."""
    key = served_file(here, "key")
    overwrite(key, next(here.layout().tls("pooled").glob("pooled.*.key")).read_text())
    loads(here)


def by_the_command_line(*options: str) -> Tale:
    """Somebody starts the server by hand, with options that outvote every file."""

    def tale(here: Place) -> None:
        found = known(here.postmaster())
        process.stop(found, signal.SIGINT, 20)
        seat = here.host.seat(here.want())
        started = process.spawn(
            [seat.bindir / "postgres", "-D", seat.layout.data, *options],
            account=seat.account,
            cwd=seat.layout.data,
            stderr=seat.layout.log / "by.hand",
        )
        assert wait_until(lambda: postgres.state(seat).state == "ready", 20)
        assert started.pid == here.postmaster()

    return tale


def masked(*statements: str) -> Tale:
    """Another value is loaded and its file put back, while a mask over the control role's sessions shows the wanted one."""

    def tale(here: Place) -> None:
        for statement in statements:
            here.control(statement)
        loaded_and_put_back("postgresql.conf", lambda text: text.replace("work_mem = '4MB'", "work_mem = '9MB'"))(here)

    return tale


def ini(here: Place, change: Callable[[str], str], *, back: bool = True) -> None:
    path = here.directory() / "pgbouncer.ini"
    good = path.read_text()
    overwrite(path, change(good))
    with suppress(Failed):  # since 1.25 a file that could not be read is at least answered so
        here.console("RELOAD")
    if back:
        overwrite(path, good)


def a_line_that_pgbouncer_does_not_know(here: Place) -> None:
    ini(here, lambda text: text.replace("auth_user =", "nonsense = 1\nauth_user ="))


def pgbouncer_without_tls(here: Place) -> None:
    ini(here, lambda text: text.replace("client_tls_sslmode = require", "client_tls_sslmode = disable"))


def another_limit_in_pgbouncer(here: Place) -> None:
    ini(here, lambda text: text.replace("query_timeout = 0", "query_timeout = 7"))


def pgbouncer_started_with_another_backlog(here: Place) -> None:
    """Its keeper starts it again on an edited file; then the right one is loaded, as far as it can be."""
    path = here.directory() / "pgbouncer.ini"
    good = path.read_text()
    overwrite(path, re.sub("listen_backlog = [0-9]+", "listen_backlog = 99", good))
    _, member = here.members()
    kill(member)
    assert wait_until(lambda: here.newest().reachable and here.newest().config.get("listen_backlog") == "99", SECONDS)
    overwrite(path, good)
    here.console("RELOAD")


def pgbouncer_trusts(here: Place) -> None:
    """The pooler loads an hba file that asks for no password, and the right one returns under its name."""
    path = next(here.layout().pool.glob("hba.*"))
    good = path.read_text()
    overwrite(path, good.replace("scram-sha-256", "trust"))
    here.console("RELOAD")
    overwrite(path, good)


def pgbouncer_sends_elsewhere(here: Place) -> None:
    """A database in use goes to another server, and the right file returns."""
    ini(here, lambda text: text.replace("\n* = ", f"\n{DATABASE} = host=/nowhere port=1\n* = "))


@dataclass(frozen=True)
class Lie:
    """A tale, the witnesses that are taken in by it, and what a pass says all the same."""

    tale: Tale
    deceived: tuple[Witness, ...]
    told: str


LIES = {
    "another value is loaded, and the file lies there as wanted": Lie(
        loaded_and_put_back("postgresql.conf", lambda text: text.replace("work_mem = '4MB'", "work_mem = '9MB'")),
        (digest, files_lie_there, no_errors, nothing_pending, served),
        "postgresql.conf changed after",
    ),
    "one bad value: the rest is taken, and the digest with it": Lie(
        left("postgresql.conf", lambda text: text.replace("work_mem = '4MB'", "work_mem = 'lots'")),
        (digest, load_time, values, nothing_pending, served),
        "postgresql.conf not as wanted",
    ),
    "a value in a file beside": Lie(included, (digest, load_time, no_errors, nothing_pending, served), "postgresql.conf not as wanted"),
    "trust is loaded, and the good rules lie there": Lie(
        loaded_and_put_back("pg_hba.conf", lambda text: f"host all all 127.0.0.1/32 trust\n{text}"),
        (digest, files_lie_there, no_errors, values),
        "pg_hba.conf changed after",
    ),
    "a bad line in pg_hba.conf: the old rules serve, and the load time moves": Lie(
        left("pg_hba.conf", lambda text: f"{text}host all all nowhere nothing\n"),
        (digest, load_time, values, served),
        "pg_hba.conf not as wanted",
    ),
    "a bad line in pg_ident.conf": Lie(
        left("pg_ident.conf", lambda text: f"{text}howdah\n"), (digest, load_time, values, served), "pg_ident.conf not as wanted"
    ),
    "ALTER SYSTEM, and its file emptied": Lie(
        loaded_and_put_back("postgresql.auto.conf", lambda text: f"{text}work_mem = '9MB'\n"),
        (digest, files_lie_there, no_errors, served),
        "postgresql.auto.conf changed",
    ),
    "ALTER SYSTEM of what waits for a start": Lie(
        left("postgresql.auto.conf", lambda text: f"{text}max_connections = 33\n"),
        (digest, load_time, no_errors, values, served),
        "postgresql.auto.conf not as wanted",
    ),
    "a value by the command line": Lie(
        by_the_command_line("-c", "work_mem=9MB"), (digest, files_lie_there, load_time, no_errors, served), "a restart applies work_mem"
    ),
    "a value by the command line that only a start can change": Lie(
        by_the_command_line("-c", "max_connections=33"),
        (digest, files_lie_there, load_time, no_errors, served),
        "a restart applies max_connections",
    ),
    "ALTER ROLE masks what is loaded": Lie(
        masked("ALTER ROLE postgres SET work_mem = '4MB'"), (digest, files_lie_there, no_errors, values), "postgresql.conf changed after"
    ),
    "ALTER DATABASE masks what is loaded": Lie(
        masked("ALTER DATABASE postgres SET work_mem = '4MB'"),
        (digest, files_lie_there, no_errors, values),
        "postgresql.conf changed after",
    ),
    "other bytes were served under the same name": Lie(
        another_pair_under_the_same_name, (digest, files_lie_there, load_time, no_errors, values), "serves another certificate"
    ),
    "a key that does not fit, and the old pair serves": Lie(
        a_key_that_does_not_fit, (digest, files_lie_there, load_time, no_errors, values, served), "direct: there is no certificate"
    ),
    "PgBouncer did not read to the end": Lie(
        a_line_that_pgbouncer_does_not_know, (pooler_files, digest), "PgBouncer has loaded another file"
    ),
    "PgBouncer without TLS, and its file lies there as wanted": Lie(
        pgbouncer_without_tls, (pooler_digest, pooler_files), "PgBouncer reports another value of client_tls_sslmode"
    ),
    "another limit in PgBouncer": Lie(
        another_limit_in_pgbouncer, (pooler_digest, pooler_files, served), "PgBouncer reports another value of query_timeout"
    ),
    "PgBouncer started with what no RELOAD changes": Lie(
        pgbouncer_started_with_another_backlog, (pooler_digest, pooler_files, served), "cannot change listen_backlog"
    ),
    "PgBouncer trusts everybody, and the good rules lie there": Lie(
        pgbouncer_trusts, (pooler_digest, pooler_files, pooler_values), "lets users in without a password"
    ),
    "PgBouncer sends a database elsewhere": Lie(
        pgbouncer_sends_elsewhere, (pooler_digest, pooler_files, pooler_values, served), "PgBouncer sends databases elsewhere"
    ),
}


@pytest.fixture(scope="module")
def bed() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
def here(bed: Place) -> Place:
    if not bed.service.store.everything():
        bed.create("shop")
    assert wait_until(lambda: not bed.repair(), 10)  # an older pooler goes once nobody is in it, which may be a pass later
    return bed


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_one_is_deceived_and_another_tells(here: Place, lie: Lie) -> None:
    before = looked(here)
    assert reasons(here, before) == []
    try:
        lie.tale(here)
        now = looked(here)
        assert [witness.__name__ for witness in lie.deceived if not witness(here, before, now)] == [], "these were not deceived"
        assert lie.told in "; ".join(reasons(here, now))
        here.repair()
        here.control("ALTER ROLE postgres RESET ALL")
        here.control("ALTER DATABASE postgres RESET ALL")
        prove(here)
    except BaseException:
        end_instances(here)  # the next lie shall not suffer for it
        raise


def looked(here: Place) -> Observed:
    """Look at every part now, not when it is first asked for."""
    seen = here.seen()
    return seen if all((seen.disk, seen.server, seen.pooler, seen.wire)) else here.seen()


def test_what_outvotes_a_value_for_everybody_is_named_and_no_reason_to_reload(here: Place) -> None:
    """The server has loaded what is wanted; that every session gets another value is a DBA's choice, and said."""
    here.control("ALTER ROLE ALL SET work_mem = '9MB'")
    assert here.ask("SHOW work_mem", "direct") == "9MB"
    assert reasons(here) == []
    [found] = [line.finding for line in compose.verify(here.home, "shop").checks if line.check.id == "configuration-loaded"]
    assert (found.result, "work_mem" in str(found.evidence)) == ("warn", True)
    here.control("ALTER ROLE ALL RESET ALL")
    prove(here)


@pytest.mark.parametrize("scope", [f"ROLE {USER}", f"DATABASE {DATABASE}", f"ROLE {USER} IN DATABASE {DATABASE}"])
def test_what_is_set_for_one_role_or_database_is_its_own_affair(here: Place, scope: str) -> None:
    here.control(f"ALTER {scope} SET work_mem = '9MB'")
    assert here.ask("SHOW work_mem", "direct") == "9MB"
    assert reasons(here) == []
    here.control(f"ALTER {scope} RESET ALL")


def test_plaintext_and_trust_are_seen_on_the_wire_alone(here: Place) -> None:
    """Where every other witness was deceived, a stranger's two questions remain: is plaintext refused, is a password asked for?"""
    here.seen()
    for hop in HOPS:
        port = here.want().hop_port(hop)
        assert port is not None
        knock = wire.knock("127.0.0.1", port, user=USER, database=DATABASE)
        assert (knock.plaintext_refused, knock.lax, knock.login.code) == (True, False, "10")
    left("pg_hba.conf", lambda text: text.replace("scram-sha-256", "trust").replace("hostnossl all all all reject", ""))(here)
    direct = wire.knock("127.0.0.1", here.want().port, user=USER, database=DATABASE)
    assert direct.lax
    assert "lets users in without a password" in str(pooling.wire_differs(here.want(), here.seen(), "direct"))
    here.repair()
    prove(here)
