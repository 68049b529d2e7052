"""What a day brings to a living instance: each damage is put right by the next pass, both hops are proven, and the pass after that plans
nothing. The damages are done from outside, as a person, a kernel or another program would do them.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from tests.real.instances import DATABASE, USER, Place, Waiting, control, end_instances, kill, known, place, prove, strays

from howdah.core.instance import LOOKUP_ROLE
from howdah.errors import Refusal
from howdah.host import files, process
from howdah.host.process import Process

Damage = Callable[[Place], object]  # what it returns is closed after the repair

# --- processes ----------------------------------------------------------------------------------------------------------------------


def postmaster_killed(here: Place) -> None:
    kill(known(here.postmaster()))


def pgbouncer_killed(here: Place) -> None:
    kill(here.members()[1])


def keeper_killed(here: Place) -> None:
    kill(here.members()[0])


def keeper_and_pgbouncer_killed(here: Place) -> None:
    kill(*here.members())


def everything_killed(here: Place) -> None:
    kill(known(here.postmaster()), *here.members())


def postmaster_halted(here: Place) -> None:
    process.send(known(here.postmaster()), signal.SIGSTOP)


def pgbouncer_halted(here: Place) -> None:
    process.send(here.members()[1], signal.SIGSTOP)


def keeper_halted(here: Place) -> None:
    process.send(here.members()[0], signal.SIGSTOP)


def _sweeper(here: Place) -> Process:
    found = process.lock_holder(here.layout().log / "sweeper.lock")
    assert found is not None
    return found


def sweeper_killed(here: Place) -> None:
    kill(_sweeper(here))


def sweeper_halted(here: Place) -> None:
    process.send(_sweeper(here), signal.SIGSTOP)


def postgres_stopped_politely(here: Place) -> None:
    found = known(here.postmaster())
    process.stop(found, signal.SIGINT, 20)


# --- files --------------------------------------------------------------------------------------------------------------------------


def everything_of_a_boot_gone(here: Place) -> None:
    """Stand for a reboot: every process killed, every socket, lock and pid file gone."""
    sockets, directory = here.layout().socket_dir, here.directory()
    everything_killed(here)
    for path in (*sockets.iterdir(), *directory.glob(".s.PGSQL.*"), directory / "pid", directory / "lock"):
        path.unlink(missing_ok=True)


def _gone(find: Callable[[Place], Path]) -> Damage:
    def damage(here: Place) -> None:
        path = find(here)
        assert path.exists() or path.is_symlink(), path
        files.remove(path)

    return damage


def _socket(here: Place) -> Path:
    return here.layout().socket_dir / f".s.PGSQL.{here.want().port}"


def _console(here: Place) -> Path:
    return next(here.directory().glob(".s.PGSQL.*"))


def _glob(hop: str, pattern: str) -> Callable[[Place], Path]:
    return lambda here: next((here.layout().pg if hop == "direct" else here.layout().pool).glob(pattern))


GONE = {
    "the socket": _socket,
    "the socket's lock": lambda here: Path(f"{_socket(here)}.lock"),
    "the pooler's socket": _console,
    "the pooler's pid file": lambda here: here.directory() / "pid",
    "the keeper's lock": lambda here: here.directory() / "lock",
    "the keeper's plan": lambda here: here.directory() / "keeper.json",
    "the keeper's program": lambda here: here.directory() / "keeper.py",
    "the pooler's log": lambda here: here.directory() / "log",
    "pgbouncer.ini": lambda here: here.directory() / "pgbouncer.ini",
    "the pooler's hba file": _glob("pooled", "hba.*"),
    "the pooler's empty users file": lambda here: here.layout().pool / "users.txt",
    "the whole generation": lambda here: here.directory(),
    "the whole pooler": lambda here: here.layout().pool,
    "postgresql.conf": lambda here: here.layout().data / "postgresql.conf",
    "postgresql.auto.conf": lambda here: here.layout().data / "postgresql.auto.conf",
    "pg_hba.conf": lambda here: here.layout().data / "pg_hba.conf",
    "pg_ident.conf": lambda here: here.layout().data / "pg_ident.conf",
    "postmaster.pid": lambda here: here.layout().data / "postmaster.pid",
    "the server's certificate": _glob("direct", "tls/direct.*.crt"),
    "the server's key": _glob("direct", "tls/direct.*.key"),
    "the pooler's certificate": _glob("pooled", "tls/pooled.*.crt"),
    "the pooler's key": _glob("pooled", "tls/pooled.*.key"),
    "the server's certificates": lambda here: here.layout().tls("direct"),
    "the server's log": lambda here: here.layout().log,
    "the sweeper's lock": lambda here: here.layout().log / "sweeper.lock",
    "the sweeper's program": lambda here: here.layout().log / "sweeper.py",
    "the socket's directory": lambda here: here.layout().socket_dir,
}


def old_configuration_put_back(here: Place) -> None:
    """After a change was loaded, the file from before it comes back from some backup, with or without a reload."""
    path = here.layout().data / "postgresql.conf"
    old = path.read_text()
    here.set({"work_mem": "7MB"})
    _overwrite(path, old)


def old_configuration_put_back_and_loaded(here: Place) -> None:
    old_configuration_put_back(here)
    here.control("SELECT pg_reload_conf()")


def old_pooler_file_put_back(here: Place) -> None:
    path = here.directory() / "pgbouncer.ini"
    old = path.read_text()
    here.pool({"query_timeout": "60" if "query_timeout = 0" in old else "0"})
    _overwrite(path, old)


def old_pooler_file_put_back_and_loaded(here: Place) -> None:
    old_pooler_file_put_back(here)
    here.console("RELOAD")


def pooler_file_without_tls_loaded(here: Place) -> None:
    path = here.directory() / "pgbouncer.ini"
    _overwrite(path, path.read_text().replace("client_tls_sslmode = require", "client_tls_sslmode = disable"))
    here.console("RELOAD")


def garbage_in_the_pooler_file(here: Place) -> None:
    path = here.directory() / "pgbouncer.ini"
    _overwrite(path, path.read_text().replace("auth_type = hba", "auth_type = nonsense"))
    here.console("RELOAD")


def trust_loaded_and_put_back(here: Place) -> None:
    path = here.layout().data / "pg_hba.conf"
    good = path.read_text()
    _overwrite(path, f"host all all 127.0.0.1/32 trust\n{good}")
    here.control("SELECT pg_reload_conf()")
    process.wait_until(lambda: "no password" not in _passwordless(here), 5)
    _overwrite(path, good)


def _passwordless(here: Place) -> str:
    try:
        here.login("direct", password="", sslmode="disable").close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def garbage_in_hba(here: Place) -> None:
    _append(here.layout().data / "pg_hba.conf", "host all all nowhere nothing\n")
    here.control("SELECT pg_reload_conf()")


def locked_out_by_hba(here: Place) -> None:
    path = here.layout().data / "pg_hba.conf"
    _overwrite(path, "host all all 127.0.0.1/32 trust\n")
    here.control("SELECT pg_reload_conf()")


def garbage_in_the_configuration(here: Place) -> None:
    _append(here.layout().data / "postgresql.conf", "work_mem = lots\n")
    here.control("SELECT pg_reload_conf()")


def garbage_in_ident(here: Place) -> None:
    _append(here.layout().data / "pg_ident.conf", "howdah\n")
    here.control("SELECT pg_reload_conf()")


def another_certificate_served(here: Place) -> None:
    conf = here.layout().data / "postgresql.conf"
    tls = here.layout().tls("direct")
    for kind in ("crt", "key"):
        good = next(tls.glob(f"direct.*.{kind}"))
        shutil.copy2(good, tls / f"old.{kind}")
        shutil.chown(tls / f"old.{kind}", good.stat().st_uid, good.stat().st_gid)
        here.set({"work_mem": "4MB"})
        text = conf.read_text().replace(str(good), str(tls / f"old.{kind}"))
        _overwrite(conf, text)
    here.control("SELECT pg_reload_conf()")


def files_open_to_all(here: Place) -> None:
    data = here.layout().data
    for path in (data / "postgresql.conf", data / "pg_hba.conf", here.directory() / "pgbouncer.ini"):
        path.chmod(0o666)


def key_open_to_all(here: Place) -> None:
    next(here.layout().tls("direct").glob("direct.*.key")).chmod(0o644)


def pooler_key_open_to_all(here: Place) -> None:
    next(here.layout().tls("pooled").glob("pooled.*.key")).chmod(0o644)


def _overwrite(path: Path, text: str) -> None:
    """Write as an editor does: a new file in place of the old, with its owner."""
    old = path.stat()
    beside = path.with_suffix(".edited")
    beside.write_text(text)
    beside.chmod(old.st_mode & 0o777)
    if os.geteuid() == 0:
        os.chown(beside, old.st_uid, old.st_gid)
    beside.rename(path)


def _append(path: Path, text: str) -> None:
    _overwrite(path, path.read_text() + text)


# --- what the servers were told -----------------------------------------------------------------------------------------------------


def _sql(*statements: str, database: str = "postgres") -> Damage:
    def damage(here: Place) -> None:
        with control(here, database) as session:
            for statement in statements:
                session.execute(statement.encode())

    return damage


def _console_command(command: str) -> Damage:
    def damage(here: Place) -> object:
        session = here.login()  # a database without clients leaves SHOW DATABASES, and its PAUSE with it
        here.console(command)
        return session

    return damage


def database_killed(here: Place) -> object:
    here.login().close()
    here.console(f"KILL {DATABASE}")
    return Waiting(here)


def database_made_by_plain_sql(here: Place) -> None:
    """Made from template0, it has no lookup function, which 1.18 needs in each."""
    here.control(f'CREATE DATABASE "plain {here.want().generation} sql" TEMPLATE template0')


def told_to_shut_down(here: Place) -> None:
    with suppress(Refusal):  # it may close the connection before it answers
        here.console("SHUTDOWN")


ALTERED = "CREATE OR REPLACE FUNCTION howdah.user_lookup(text) RETURNS TABLE (uname text, phash text) LANGUAGE sql SECURITY DEFINER AS "

DAMAGES: dict[str, Damage] = {
    "the postmaster killed": postmaster_killed,
    "PgBouncer killed": pgbouncer_killed,
    "the keeper killed": keeper_killed,
    "keeper and PgBouncer killed": keeper_and_pgbouncer_killed,
    "everything killed": everything_killed,
    "a reboot": everything_of_a_boot_gone,
    "the postmaster halted": postmaster_halted,
    "PgBouncer halted": pgbouncer_halted,
    "the keeper halted": keeper_halted,
    "the sweeper killed": sweeper_killed,
    "the sweeper halted": sweeper_halted,
    "PostgreSQL stopped politely": postgres_stopped_politely,
    **{f"{name} gone": _gone(find) for name, find in GONE.items()},
    "an old postgresql.conf": old_configuration_put_back,
    "an old postgresql.conf, loaded": old_configuration_put_back_and_loaded,
    "an old pgbouncer.ini": old_pooler_file_put_back,
    "an old pgbouncer.ini, loaded": old_pooler_file_put_back_and_loaded,
    "a pgbouncer.ini without TLS, loaded": pooler_file_without_tls_loaded,
    "garbage in pgbouncer.ini": garbage_in_the_pooler_file,
    "trust loaded and the good file put back": trust_loaded_and_put_back,
    "garbage in pg_hba.conf": garbage_in_hba,
    "a pg_hba.conf that locks us out": locked_out_by_hba,
    "garbage in pg_ident.conf": garbage_in_ident,
    "garbage in postgresql.conf": garbage_in_the_configuration,
    "another certificate": another_certificate_served,
    "files open to all": files_open_to_all,
    "the server's key open to all": key_open_to_all,
    "the pooler's key open to all": pooler_key_open_to_all,
    "PAUSE": _console_command("PAUSE"),
    "PAUSE of one database": _console_command(f"PAUSE {DATABASE}"),
    "DISABLE": _console_command(f"DISABLE {DATABASE}"),
    "KILL": database_killed,
    "SET at the console": _console_command("SET query_timeout = 77"),
    "SHUTDOWN": told_to_shut_down,
    "ALTER SYSTEM": _sql("ALTER SYSTEM SET work_mem = '9MB'", "SELECT pg_reload_conf()"),
    "ALTER SYSTEM that waits for a restart": _sql("ALTER SYSTEM SET max_connections = 33", "SELECT pg_reload_conf()"),
    "ALTER ROLE postgres SET": _sql("ALTER ROLE postgres SET work_mem = '9MB'"),
    "the lookup role may not log in": _sql(f"ALTER ROLE {LOOKUP_ROLE} NOLOGIN"),
    "the lookup role a superuser": _sql(f"ALTER ROLE {LOOKUP_ROLE} SUPERUSER"),
    "the lookup role with a password": _sql(f"ALTER ROLE {LOOKUP_ROLE} PASSWORD 'guess'"),
    "the lookup role a member": _sql(f"GRANT pg_read_all_data TO {LOOKUP_ROLE}"),
    "the lookup role granted": _sql(f"GRANT {LOOKUP_ROLE} TO {USER}"),
    "the lookup role locked out": _sql(f"REVOKE CONNECT ON DATABASE {DATABASE} FROM {LOOKUP_ROLE}"),
    "the lookup role expired": _sql(f"ALTER ROLE {LOOKUP_ROLE} VALID UNTIL '2001-01-01'"),
    "the probe role open": _sql("ALTER ROLE howdah_probe LOGIN PASSWORD 'guess' VALID UNTIL 'infinity'"),
    "the probe role gone": _sql("DROP ROLE howdah_probe"),
    "the function altered": _sql(f"{ALTERED}$$ SELECT rolname::text, rolpassword FROM pg_authid $$", database="postgres"),
    "the function altered in one database": _sql(f"{ALTERED}$$ SELECT 'a', 'b' $$", database=DATABASE),
    "the function open to all": _sql("GRANT EXECUTE ON FUNCTION howdah.user_lookup(text) TO PUBLIC"),
    "the function gone": _sql("DROP FUNCTION howdah.user_lookup(text)"),
    "the schema gone": _sql("DROP SCHEMA howdah CASCADE", database="template1"),
    "the notes gone": _sql("DELETE FROM howdah_made.role WHERE false"),
    "a database made by plain SQL": database_made_by_plain_sql,
    "a database open to all": _sql(f"GRANT CONNECT ON DATABASE {DATABASE} TO PUBLIC"),
    "a right taken": _sql(f"REVOKE ALL ON DATABASE {DATABASE} FROM {USER}"),
}


@dataclass
class Bed:
    """A home, and whether the instance in it outlived the last damage: the next one shall not suffer for it."""

    here: Place
    sound: bool = False


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with place() as made:
        yield Bed(made)


@pytest.fixture
def here(bed: Bed) -> Place:
    if not bed.sound:
        end_instances(bed.here)
        bed.here.create("shop")
    bed.sound = False
    return bed.here


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_the_next_pass_puts_it_right(bed: Bed, here: Place, damage: Damage) -> None:
    held = damage(here)
    here.repair()
    if isinstance(held, psycopg.Connection | Waiting):
        held.close()
    prove(here)
    assert strays(here) == {}
    bed.sound = True
