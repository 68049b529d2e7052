"""Roles: Howdah's own two, and the users that people want. A role that Howdah did not make is never taken over and never dropped.

What it made is noted by oid in schema `howdah_made` of database postgres, in the same transaction, with a mark of the verifier that it
set: so neither a crash nor a role made by plain SQL under the same name is mistaken, and a password changed since is left alone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from howdah.core.instance import LOOKUP_ROLE, PROBE_ROLE, Instance, User
from howdah.errors import Conflict, Failed
from howdah.host import lookup, process, scram, sight, sql
from howdah.host.postgres import Seat
from howdah.host.session import Session
from howdah.phrase import say
from howdah.secret import Secret

# Whole statements, each without an empty line: single-user mode takes them, too (spares.py)
NOTES: Final = (
    "CREATE SCHEMA IF NOT EXISTS howdah_made",
    "CREATE TABLE IF NOT EXISTS howdah_made.role (oid pg_catalog.oid PRIMARY KEY, mark pg_catalog.text NOT NULL)",
    "CREATE TABLE IF NOT EXISTS howdah_made.database (oid pg_catalog.oid PRIMARY KEY)",
    "REVOKE ALL ON SCHEMA howdah_made FROM PUBLIC",
)
_NOTHING: Final = (
    "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT CONNECTION LIMIT -1 PASSWORD NULL VALID UNTIL 'infinity'"
)
LOOKUP_SHAPE: Final = f"ROLE {LOOKUP_ROLE} LOGIN {_NOTHING}"
PROBE_SHAPE: Final = f"ROLE {PROBE_ROLE} NOLOGIN {_NOTHING}"
PROBE_MINUTES: Final = 3
_MADE: Final = "SELECT r.oid, r.rolname FROM pg_roles r JOIN howdah_made.role m ON m.oid = r.oid"


def verifier(user: str, password: Secret) -> Secret:
    """Return the SCRAM-SHA-256 verifier of a password, as libpq makes it (SASLprep included); no server is needed."""
    if scram.simple(password):
        return scram.verifier(password)
    from psycopg import pq  # 150 ms

    # With the algorithm named, libpq asks no server; an object that could not connect will do.
    unconnected = pq.PGconn.connect_start(b"host=/nonexistent user=nobody passfile=/nonexistent")
    made = unconnected.encrypt_password(password.reveal().encode(), user.encode(), b"scram-sha-256")
    unconnected.finish()
    return Secret(made.decode())


def mark(user: User) -> str:
    """Return the mark of a user's wanted verifier."""
    return hashlib.sha256(user.verifier.reveal().encode()).hexdigest()[:12]


def take_notes(session: Session) -> None:
    """Make the notes of what Howdah made, where they are missing; `session` is in database postgres."""
    if session.execute("SELECT to_regclass('howdah_made.role'), to_regclass('howdah_made.database')").fetchone() == (None, None):
        for statement in NOTES:
            session.execute(statement)


def made(session: Session) -> dict[int, str]:
    """Return the roles that Howdah made, name by oid; `session` is in database postgres, where the notes are."""
    return {int(row[0]): str(row[1]) for row in session.execute(_MADE)}


# --- Howdah's own ---------------------------------------------------------------------------------------------------------------------


def set_service_roles(seat: Seat, want: Instance) -> None:
    """Make the probe role, and with a pooler the lookup role, what they must be; without one, take the lookup role away everywhere."""
    wanted = [(PROBE_ROLE, PROBE_SHAPE), *([(LOOKUP_ROLE, LOOKUP_SHAPE)] if want.pooler is not None else [])]
    with sql.control(seat, say("set Howdah's own roles")) as session:
        take_notes(session)
        for name, shape in wanted:
            _shape(session, name, shape)
        if want.pooler is None and _oid(session, LOOKUP_ROLE) is not None:
            _drop_lookup(seat, session)


# Everything that one role may have gathered besides its attributes, as statements that take it away. From 16 a membership is revoked
# by its grantor only, unless he is named.
_GATHERED: Final = """
SELECT format('ALTER ROLE %I IN DATABASE %I RESET ALL', r.rolname, d.datname)
FROM pg_roles r JOIN pg_db_role_setting s ON s.setrole = r.oid JOIN pg_database d ON d.oid = s.setdatabase WHERE r.rolname = $1
UNION ALL SELECT format('ALTER ROLE %I RESET ALL', $1)
UNION ALL SELECT format('REVOKE %I FROM %I %s CASCADE', g.rolname, u.rolname,
    CASE WHEN current_setting('server_version_num')::int >= 160000 THEN format('GRANTED BY %I', pg_get_userbyid(m.grantor)) END)
FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles u ON u.oid = m.member WHERE $1 IN (g.rolname, u.rolname)
"""


def _shape(session: Session, name: str, shape: str) -> None:
    with session.transaction():
        verb = "CREATE" if _oid(session, name) is None else "ALTER"
        session.execute(f"{verb} {shape}")
        for row in session.execute(_GATHERED, [name]).fetchall():
            session.execute(row[0])


def _drop_lookup(seat: Seat, session: Session) -> None:
    for database in sight.connectable(session):
        with sql.control(seat, say("take the lookup role away from {database}", database=database), database) as there:
            lookup.take_away(there, database)
            there.execute("DROP OWNED BY howdah_lookup")
    session.execute("DROP ROLE howdah_lookup")


def open_probe(seat: Seat) -> tuple[str, Secret]:
    """Let the probe role log in for three minutes, with a password made for this once; return its name and password."""
    with sql.control(seat, say("open the probe role")) as session:
        return PROBE_ROLE, _open(session)


def _open(session: Session) -> Secret:
    password = Secret(secrets.token_hex(16))
    session.execute("SET synchronous_commit = off")  # what a loss of power undoes is what we undo anyway, in a minute
    until = session.execute("SELECT (now() + make_interval(mins => $1))::text", [PROBE_MINUTES]).fetchone()
    assert until is not None
    sql.run(
        session, "ALTER ROLE {} LOGIN", PROBE_ROLE, clauses={"PASSWORD": verifier(PROBE_ROLE, password).reveal(), "VALID UNTIL": until[0]}
    )
    return password


@contextmanager
def probe(seat: Seat) -> Iterator[tuple[str, Secret]]:
    """Let the probe role log in for as long as this lasts; what closes it is the session that opened it, so that no other is needed."""
    with sql.control(seat, say("open the probe role")) as session:
        password = _open(session)
        try:
            yield PROBE_ROLE, password
        finally:
            _close(session)


def close_probe(seat: Seat) -> None:
    """Take login and password from the probe role."""
    with sql.control(seat, say("close the probe role")) as session:
        _close(session)


def _close(session: Session) -> None:
    session.execute(f"ALTER {PROBE_SHAPE}")


# --- users ----------------------------------------------------------------------------------------------------------------------------


def set_user(seat: Seat, user: User) -> None:
    """Make a user's role, or give the one that Howdah made its wanted password; Conflict for a role that others made."""
    with sql.control(seat, say("set user {name}", name=user.name)) as session, session.transaction():
        take_notes(session)
        oid = _oid(session, user.name)
        if oid is not None and not _made(session, oid):
            hint = say("choose another name, or drop that role first")
            raise Conflict("role_exists", say("cannot make user {name}: a role of that name was made by others", name=user.name), hint)
        sql.run(
            session, f"{'ALTER' if oid is not None else 'CREATE'} ROLE {{}} LOGIN", user.name, clauses={"PASSWORD": user.verifier.reveal()}
        )
        session.execute(
            "INSERT INTO howdah_made.role SELECT oid, $2 FROM pg_roles WHERE rolname = $1"
            " ON CONFLICT (oid) DO UPDATE SET mark = excluded.mark",
            [user.name, mark(user)],
        )


def drop_user(seat: Seat, name: str, seconds: float = 10) -> int:
    """Drop a role that Howdah made: its sessions are ended, and what it owns goes to each database's owner; return how many that were."""
    ended = 0
    with sql.control(seat, say("drop user {name}", name=name)) as session:
        take_notes(session)
        oid = _oid(session, name)
        if oid is not None:
            _check_made(session, oid, name)
            sql.run(session, "ALTER ROLE {} NOLOGIN", name)
            ended = _end_sessions(session, oid, name, seconds)
            # REASSIGN OWNED would hand a whole database of his to the owner of the first one visited: shared objects go with each call
            for row in session.execute("SELECT datname FROM pg_database WHERE datdba = $1", [oid]).fetchall():
                sql.run(session, "ALTER DATABASE {} OWNER TO postgres", row[0])
            for database in sight.connectable(session):
                _leave_database(seat, database, name)
            sql.run(session, "DROP ROLE {}", name)
        session.execute("DELETE FROM howdah_made.role WHERE oid NOT IN (SELECT oid FROM pg_roles)")
    return ended


def _check_made(session: Session, oid: int, name: str) -> None:
    if not _made(session, oid):
        raise Conflict("role_not_ours", say("cannot drop user {name}: the role was made by others", name=name))


def _end_sessions(session: Session, oid: int, name: str, seconds: float) -> int:
    pids: set[int] = set()

    def ended() -> bool:
        found = session.execute("SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE usesysid = $1", [oid]).fetchall()
        pids.update(int(pid) for pid, _ in found)
        return not found

    if not process.wait_until(ended, seconds):
        raise Failed(
            "sessions_remain", say("cannot drop user {name}: its sessions do not end within {seconds} s", name=name, seconds=seconds)
        )
    return len(pids)


def _leave_database(seat: Seat, database: str, name: str) -> None:
    with sql.control(seat, say("drop user {name}", name=name), database) as session, session.transaction():
        row = session.execute("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()").fetchone()
        assert row is not None
        sql.run(session, "REASSIGN OWNED BY {} TO {}", name, row[0])
        sql.run(session, "DROP OWNED BY {}", name)


# --- statements -----------------------------------------------------------------------------------------------------------------------


def _oid(session: Session, name: str) -> int | None:
    row = session.execute("SELECT oid FROM pg_roles WHERE rolname = $1", [name]).fetchone()
    return int(row[0]) if row is not None else None


def _made(session: Session, oid: int) -> bool:
    return session.execute("SELECT FROM howdah_made.role WHERE oid = $1", [oid]).fetchone() is not None
