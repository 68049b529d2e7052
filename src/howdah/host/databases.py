"""Databases: make them, share them with the users who are granted them, put extensions into them, drop them.

A database gets its name, its owner, its closed door and the note that Howdah made it in one transaction, after it was created under a
name of ours: CREATE DATABASE itself cannot be part of one. A database that others made is never taken over and never dropped.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from typing import Final

from howdah.core.host import Refused
from howdah.core.instance import CONTROL_ROLE, Database, Instance
from howdah.errors import Conflict, Failed, Unsupported
from howdah.host import lookup, roles, sql
from howdah.host.postgres import Seat
from howdah.host.session import Session, SqlError
from howdah.phrase import say

PREPARED: Final = "howdah_spare"
"""A database that a spare brings along, closed and empty: to rename it takes 5 ms, CREATE DATABASE 40."""
_LEAST_ROOM: Final = 48 << 20  # a database of 8 MiB, its copy in the log, and the next segment of that
_UNNAMED: Final = "howdah_new_"


def create_database(seat: Seat, want: Instance, database: Database) -> None:
    """Create a database with its owner and access, or give the one that Howdah made its wanted owner; Conflict for one made by others."""
    owner = database.owner or CONTROL_ROLE
    _check_room(seat, database.name)
    with sql.control(seat, say("create database {name}", name=database.name)) as session:
        roles.take_notes(session)
        made = _made(session, database.name)
        if made is False:
            hint = say("choose another name, or drop or rename that database first")
            message = say("cannot create database {name}: one of that name was made by others", name=database.name)
            raise Conflict("database_exists", message, hint)
        if made:
            sql.run(session, "ALTER DATABASE {} OWNER TO {}", database.name, owner)
            sql.run(session, "ALTER DATABASE {} ALLOW_CONNECTIONS true", database.name)  # its owner may have closed it
        else:
            _name(session, _unnamed(session, database), database.name, owner)
        known = roles.made(session)
    _share(seat, want, database.name, known)


def _check_room(seat: Seat, name: str) -> None:
    """Refuse what could fill the disk: a PostgreSQL that cannot write its log ahead ends every session and does not come back (xlog.c)."""
    free = shutil.disk_usage(seat.layout.data).free
    if free < _LEAST_ROOM:
        message = say(
            "cannot create database {name}: no more than {free} MiB are free, and a full disk is an outage", name=name, free=free >> 20
        )
        raise Failed("disk_full", message, say("make room in {path}, then: howdah repair --all", path=seat.layout.data))


def _made(session: Session, name: str) -> bool | None:
    """Tell whether Howdah made the database; None when there is none of that name."""
    found = session.execute(
        "SELECT EXISTS (SELECT FROM howdah_made.database m WHERE m.oid = d.oid) FROM pg_database d WHERE d.datname = $1", [name]
    ).fetchone()
    return bool(found[0]) if found is not None else None


def _unnamed(session: Session, database: Database) -> str:
    """Return the name of a fresh database that nobody knows yet."""
    for (left,) in session.execute("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", [_UNNAMED]).fetchall():
        sql.run(session, "DROP DATABASE IF EXISTS {} WITH (FORCE)", left)
    if database.icu_locale is None and session.execute("SELECT FROM pg_database WHERE datname = $1", [PREPARED]).fetchone() is not None:
        return PREPARED
    name = _UNNAMED + secrets.token_hex(4)
    if database.icu_locale is None:
        sql.run(session, "CREATE DATABASE {}", name)
    else:
        _create_icu(session, name, database.icu_locale)
    return name


def _create_icu(session: Session, name: str, locale: str) -> None:
    if session.version < 150000:
        hint = say("leave --icu-locale out, or create the instance with --version 15 or later")
        raise Unsupported(
            "icu_locale", say("cannot create a database with ICU locale {locale}: that needs PostgreSQL 15", locale=locale), hint
        )
    if session.version >= 160000:
        session.execute("SET icu_validation_level = error")  # 16 made it a warning at most
    else:
        _check_icu(session, locale)
    try:
        sql.run(session, "CREATE DATABASE {} TEMPLATE template0 LOCALE_PROVIDER icu", name, clauses={"ICU_LOCALE": locale})
    except SqlError as error:
        if error.sqlstate != "XX000":  # what ICU says has no SQLSTATE of its own in 16
            raise
        raise Refused(
            "unknown_locale", say("cannot create a database with ICU locale {locale}: {words}", locale=locale, words=error.message)
        ) from error


def _check_icu(session: Session, locale: str) -> None:
    # 15 takes any text for a locale, and sorts by the root collation then
    language = locale.replace("_", "-").partition("-")[0].lower()
    known = session.execute(
        "SELECT FROM pg_collation WHERE collprovider = 'i' AND split_part(collname, '-', 1) = $1 LIMIT 1", [language]
    ).fetchone()
    if known is None:
        raise Refused(
            "unknown_locale", say("cannot create a database with ICU locale {locale}: ICU does not know the language", locale=locale)
        )


def _name(session: Session, unnamed: str, name: str, owner: str) -> None:
    with session.transaction():
        old, new, by = (sql.names([each]) for each in (unnamed, name, owner))
        session.ask(f"ALTER DATABASE {old} RENAME TO {new}; ALTER DATABASE {new} OWNER TO {by}; REVOKE ALL ON DATABASE {new} FROM PUBLIC")
        session.execute("INSERT INTO howdah_made.database SELECT oid FROM pg_database WHERE datname = $1", [name])


def drop_database(seat: Seat, name: str) -> int:
    """Drop a database that Howdah made, and end the sessions in it; return how many that were."""
    with sql.control(seat, say("drop database {name}", name=name)) as session:
        roles.take_notes(session)
        made, sessions = _made(session, name), None
        if made is False:
            raise Conflict("database_not_ours", say("cannot drop database {name}: it was made by others", name=name))
        if made:
            sessions = session.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = $1", [name]).fetchone()
            sql.run(session, "DROP DATABASE {} WITH (FORCE)", name)
        session.execute("DELETE FROM howdah_made.database WHERE oid NOT IN (SELECT oid FROM pg_database)")
    return int(sessions[0]) if sessions else 0


# --- access ---------------------------------------------------------------------------------------------------------------------------

# Members of extensions keep what their scripts gave them: some of their functions are for superusers only. So do functions that run
# with a superuser's rights.
_OBJECTS: Final = """
WITH space AS (SELECT oid, nspname, nspowner FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND NOT (nspname IN ('howdah', 'howdah_made') AND nspowner = 10)),
member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e')
SELECT 'SCHEMA', quote_ident(nspname), nspowner FROM space
UNION ALL SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, format('%I.%I', s.nspname, c.relname), c.relowner
FROM pg_class c JOIN space s ON s.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND ('pg_class'::regclass, c.oid) NOT IN (SELECT classid, objid FROM member)
UNION ALL SELECT 'ROUTINE', p.oid::regprocedure::text, p.proowner
FROM pg_proc p JOIN space s ON s.oid = p.pronamespace JOIN pg_roles o ON o.oid = p.proowner
WHERE NOT (p.prosecdef AND o.rolsuper) AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member)
"""
_OWNER: Final = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
_NAMED: Final = """
SELECT FROM pg_shdepend d JOIN pg_database b ON b.datname = current_database()
WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = $1
AND (d.dbid = b.oid OR d.classid = 'pg_database'::regclass AND d.objid = b.oid)
OR EXISTS (SELECT FROM pg_default_acl WHERE defaclrole = $1) LIMIT 1
"""
_KINDS: Final = ("SCHEMAS", "TABLES", "SEQUENCES", "ROUTINES")


def set_access(seat: Seat, want: Instance, database: str) -> None:
    """Give the granted users every right in a database, also on what they and its owner make later; take it from the others.

    Others are roles that Howdah made, and PUBLIC; what a DBA gave to roles of his own stays.
    """
    with sql.control(seat, say("set access to database {name}", name=database)) as session:
        roles.take_notes(session)
        made = roles.made(session)
    _share(seat, want, database, made)


def _share(seat: Seat, want: Instance, database: str, made: Mapping[int, str]) -> None:
    wanted = {user.name for user in want.users if database in user.databases}
    granted = sorted(wanted & set(made.values()))
    doing = say("set access to database {name}", name=database)
    with sql.control(seat, doing, database) as session, session.transaction():
        owner = str((session.execute(_OWNER).fetchone() or ("",))[0])
        objects = [(kind, name, int(by)) for kind, name, by in session.execute(_OBJECTS)]
        for oid, name in made.items():
            if name not in granted and name != owner and session.execute(_NAMED, [oid]).fetchone() is not None:
                _take(session, oid, name, objects, sorted({*granted, owner, *made.values()} - {CONTROL_ROLE}))
        _give(session, granted, owner, objects)
        # Last, for this is what is looked at: all or nothing, in one transaction with the rest
        _doors(session, database, granted, [n for n in made.values() if n not in granted and n != owner], pooled=want.pooler is not None)


def _listed(objects: list[tuple[str, str, int]], but: int = 0) -> dict[str, str]:
    """Return the names of each kind, with commas; without what the role `but` owns."""
    kinds = dict.fromkeys(kind for kind, _, by in objects if by != but)
    return {kind: ", ".join(name for k, name, by in objects if k == kind and by != but) for kind in kinds}


def _take(session: Session, oid: int, name: str, objects: list[tuple[str, str, int]], makers: list[str]) -> None:
    role = sql.names([name])
    for kind, listed in _listed(objects, but=oid).items():
        session.execute(f"REVOKE ALL ON {kind} {listed} FROM {role} CASCADE")
    others = sql.names(maker for maker in makers if maker != name)
    for kind in _KINDS:
        if others:
            session.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {others} REVOKE ALL ON {kind} FROM {role}")
            session.execute(f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} REVOKE ALL ON {kind} FROM {others}")


def _give(session: Session, granted: list[str], owner: str, objects: list[tuple[str, str, int]]) -> None:
    # The control role's own later objects are not shared: among them are Howdah's
    sharing = sql.names(sorted({*granted, owner} - {CONTROL_ROLE}))
    if not sharing:
        return
    now = [f"GRANT ALL ON {kind} {listed} TO {sharing}" for kind, listed in _listed(objects).items()]
    later = [f"ALTER DEFAULT PRIVILEGES FOR ROLE {sharing} GRANT ALL ON {kind} TO {sharing}" for kind in _KINDS]
    session.ask("; ".join([*now, *later]))


def _doors(session: Session, database: str, granted: list[str], others: list[str], *, pooled: bool) -> None:
    name = sql.names([database])
    session.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC{''.join(', ' + sql.names([other]) for other in others)}")
    if granted:
        session.execute(f"GRANT ALL ON DATABASE {name} TO {sql.names(granted)}")
    if pooled:
        lookup.admit(session, database)


# --- extensions -----------------------------------------------------------------------------------------------------------------------


def create_extension(seat: Seat, database: str, name: str) -> None:
    """Create an extension in a database, in schema public."""
    with sql.control(seat, say("create extension {name} in {database}", name=name, database=database), database) as session:
        session.execute("CREATE SCHEMA IF NOT EXISTS public")
        sql.run(session, "CREATE EXTENSION IF NOT EXISTS {} SCHEMA public", name)


def drop_extension(seat: Seat, database: str, name: str) -> None:
    """Drop an extension from a database; Refused when anything depends on it."""
    with sql.control(seat, say("drop extension {name} from {database}", name=name, database=database), database) as session:
        sql.run(session, "DROP EXTENSION IF EXISTS {}", name)
