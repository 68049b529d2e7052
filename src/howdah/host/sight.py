"""Look at a server through its own views: what it has loaded, who and what is in it, in as few round trips as that takes.

Everything comes from the server and nothing from our own files or writes. Nothing here judges, except that Howdah's own service roles
are compared with the one shape that they may have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from howdah.core.instance import LOOKUP_ROLE, PROBE_ROLE, Instance
from howdah.core.observed import DatabaseSeen, Inside, Role, Server, Session
from howdah.host import lookup, postgres, sql
from howdah.host.beside import Beside
from howdah.host.postgres import Seat
from howdah.host.session import Session as Asked
from howdah.host.session import SqlError
from howdah.phrase import say

# First the settings as any session has them; only then our own search_path and time limit, which would show among them.
_SETTINGS: Final = """
SELECT pg_catalog.json_agg(pg_catalog.json_build_array(name, setting, source, pending_restart, context)) FROM pg_catalog.pg_settings;
SET search_path = pg_catalog, pg_temp;
SET statement_timeout = '10s';
SET client_encoding = 'UTF8';
"""

# A service role has no password, no attribute, and no membership either way: whoever may SET ROLE to the lookup role reads every
# verifier. The probe role has a password for the minutes of a look.
_RIGHT: Final = """
NOT (r.rolsuper OR r.rolreplication OR r.rolcreaterole OR r.rolcreatedb OR r.rolbypassrls) AND r.rolconnlimit = -1
AND NOT EXISTS (SELECT FROM pg_auth_members m WHERE r.oid IN (m.roleid, m.member))
AND NOT EXISTS (SELECT FROM pg_db_role_setting s WHERE s.setrole = r.oid)
AND CASE r.rolname
    WHEN 'howdah_lookup' THEN r.rolcanlogin AND r.rolpassword IS NULL AND coalesce(r.rolvaliduntil, 'infinity') = 'infinity'
    WHEN 'howdah_probe' THEN NOT r.rolcanlogin AND r.rolpassword IS NULL
        OR r.rolcanlogin AND r.rolvaliduntil BETWEEN now() AND now() + interval '4 minutes'
    ELSE false END"""

_PEOPLE: Final = f"""
'made', to_regclass('howdah_made.role') IS NOT NULL,
'roles', (SELECT json_agg(json_build_array(r.oid::bigint, r.rolname, r.rolcanlogin, r.rolsuper, r.rolreplication, r.rolcreaterole,
        {_RIGHT}))
    FROM pg_authid r WHERE r.rolname !~ '^pg_'),
'databases', (SELECT json_agg(json_build_array(d.oid::bigint, d.datname, o.rolname, d.datallowconn,
        (SELECT coalesce(bool_or(a.grantee = 0 AND a.privilege_type = 'CONNECT'), false) FROM aclexplode(acl) a),
        (SELECT coalesce(json_agg(g.rolname), '[]') FROM (SELECT m.rolname FROM aclexplode(acl) a JOIN pg_roles m ON m.oid = a.grantee
            GROUP BY m.rolname HAVING count(DISTINCT a.privilege_type) = 3) g)))
    FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba, coalesce(d.datacl, acldefault('d', d.datdba)) acl
    WHERE d.datname <> 'template0' AND d.datname !~ '^howdah_')
"""

# Since 18 a login shows in pg_stat_activity before it has authenticated, without a role and without TLS: it is nobody's session yet.
_LOOK: Final = f"""
SELECT json_build_object(
'version', split_part(current_setting('server_version'), ' ', 1),
'digest', current_setting('howdah.digest', true),
'loaded_at', extract(epoch FROM pg_conf_load_time()),
'file', (SELECT coalesce(json_agg(json_build_array(name, setting, error, sourceline)), '[]') FROM pg_file_settings),
'hba', (SELECT coalesce(json_agg(json_build_array(line_number, error)), '[]') FROM pg_hba_file_rules WHERE error IS NOT NULL),
'all', (SELECT coalesce(json_agg(split_part(c, '=', 1)), '[]') FROM pg_db_role_setting, unnest(setconfig) c
    WHERE setdatabase = 0 AND setrole = 0),
{_PEOPLE},
'sessions', (SELECT coalesce(json_agg(json_build_array(a.pid, a.usename, a.datname, a.application_name, host(a.client_addr), a.client_port,
        coalesce(s.ssl, false))), '[]')
    FROM pg_stat_activity a LEFT JOIN pg_stat_ssl s USING (pid)
    WHERE a.backend_type = 'client backend' AND a.client_addr IS NOT NULL AND a.usesysid IS NOT NULL
        AND a.usename IS DISTINCT FROM 'howdah_probe'))
"""
_PASSES: Final = re.compile("is starting up|is shutting down|in recovery mode|not yet accepting")
_TAKEN_OUT: Final = re.compile(r'parameter ".*" cannot be changed without restarting the server')
_IDENT: Final = "SELECT line_number, error FROM pg_ident_file_mappings WHERE error IS NOT NULL"  # 15 and later
_MADE: Final = "SELECT oid, mark FROM howdah_made.role UNION ALL SELECT oid, 'made' FROM howdah_made.database"


def look(seat: Seat, want: Instance) -> Server:
    """Return all that the server tells of itself on a fresh connection; about 15 ms. One that does not answer is unreachable."""
    seen = postgres.state(seat)
    if seen.state != "ready":
        return seen
    try:
        # No options of ours: the settings shall be those that anyone's new session gets.
        with sql.connect(seat, options={}) as session:
            return _look(session, seen, want)
    except SqlError as error:
        again = postgres.state(seat)
        if _PASSES.search(str(error)) is not None:
            return Server("starting", again.pid, again.identity) if again.pid else again
        # A restart is a remedy for one that says nothing, or locks us out (28: its rules of admission); else it would be the wrong one
        if error.sqlstate and not error.sqlstate.startswith("28"):
            raise sql.refusal(error, say("look at PostgreSQL")) from error
        return Server("unreachable", again.pid, again.identity) if again.state == "ready" else again


def _look(session: Asked, seen: Server, want: Instance) -> Server:
    settings, found, ident = _ask(session)
    sessions = [(_session(row), row[6]) for row in found["sessions"]]
    restart_only = {row[0] for row in settings if row[4] == "postmaster"}
    errors = (
        *(
            f"postgresql.conf line {line}: {name or ''} {error}"
            for name, _, error, line in found["file"]
            if _counts(name, error, restart_only)
        ),
        *(f"pg_hba.conf line {line}: {error}" for line, error in found["hba"]),
        *(f"pg_ident.conf line {line}: {error}" for line, error in ident),
    )
    values = _values(settings, found["file"])
    server = Server(
        "ready",
        seen.pid,
        seen.identity,
        version=found["version"],
        digest=found["digest"] or "",
        settings=values,
        # What the postmaster's command line says outvotes every file until the next start
        pending=frozenset(row[0] for row in settings if row[3] or row[2] == "command line"),
        outvoted=frozenset(found["all"]),
        loaded_at=float(found["loaded_at"]),
        errors=errors,
        sessions=tuple(session for session, _ in sessions),
        plaintext=tuple(session for session, tls in sessions if not tls),
    )
    return _with_people(server, session, found, want)


def people(seat: Seat, want: Instance, server: Server) -> Server:
    """Return what was seen of a server with its roles and databases as they are now; about 4 ms."""
    with sql.control(seat, say("look at roles and databases")) as session:
        return _with_people(server, session, _one(session, f"SELECT json_build_object({_PEOPLE})"), want)


def _with_people(server: Server, session: Asked, found: Any, want: Instance) -> Server:
    marks: dict[int, str] = dict(session.execute(_MADE).fetchall()) if found["made"] else {}
    roles = {row[1]: _role(row, marks) for row in found["roles"]}
    return replace(server, roles=roles, databases={row[1]: _database(row, marks, roles, want) for row in found["databases"]})


def _ask(session: Asked) -> tuple[list[Any], Any, list[Any]]:
    """Ask everything in one message: each round trip wakes two processes, and on a busy machine each waits for its turn."""
    statements = [_SETTINGS, _LOOK, *([";", _IDENT] if session.version >= 150000 else [])]
    try:
        return _answers(session, statements)
    except SqlError as error:
        if not error.sqlstate.startswith("42"):
            raise
        # One value is not judged but raises where it is read (check_default_text_search_config), and with it the whole view.
        statements[1] = _LOOK.replace("FROM pg_file_settings", "FROM pg_file_settings WHERE false")
        settings, found, ident = _answers(session, statements)
        return settings, {**found, "file": [[None, None, error.message, 0]]}, ident


def _answers(session: Asked, statements: list[str]) -> tuple[list[Any], Any, list[Any]]:
    answers = [answer.rows for answer in session.ask("".join(statements)) if answer.returns]  # SET answers nothing
    return answers[0][0][0], answers[1][0][0], answers[2] if len(answers) > 2 else []


def _one(session: Asked, query: str) -> Any:
    row = session.execute(query).fetchone()
    assert row is not None
    return row[0]


def _values(settings: Sequence[tuple[Any, ...]], file: Sequence[Sequence[Any]]) -> Mapping[str, str]:
    # ALTER ROLE postgres SET and ALTER DATABASE postgres SET hide what everybody else gets, ALTER ROLE ALL SET what the server itself has:
    # then the file's value is the better one. That it was put back after a load is told by its ctime.
    hidden = {"database", "user", "database user", "global"}
    in_file = {name: setting for name, setting, error, _ in file if name and error is None}
    return {
        name: in_file.get(name, setting) if source in hidden else setting for name, setting, source, *_ in settings if setting is not None
    }


def _counts(name: str | None, error: str | None, restart_only: set[str]) -> bool:
    # A restart-only setting that was changed is reported as an error, too: "setting could not be applied"; one that was taken out of the
    # file without its name (tried with 15)
    if error is None or (name is None and _TAKEN_OUT.fullmatch(error)):
        return False
    return not (name in restart_only and error == "setting could not be applied")


def _role(row: Sequence[Any], marks: Mapping[int, str]) -> Role:
    oid, name, login, superuser, replication, createrole, right = row
    # For a service role `login` tells whether it is as it must be: the lookup role logs in, the probe does not, outside its minute
    if name == LOOKUP_ROLE:
        login = right
    if name == PROBE_ROLE:
        login = not right
    return Role(login, superuser, replication, createrole, marks.get(oid, ""))


def _database(row: Sequence[Any], marks: Mapping[int, str], roles: Mapping[str, Role], want: Instance) -> DatabaseSeen:
    oid, name, owner, connectable, public, holders = row
    granted = {user.name for user in want.users if name in user.databases}
    # Only wanted users and roles that Howdah made: what a DBA gave to others is his. The owner counts where he was also granted.
    access = frozenset(h for h in holders if h in granted or (h != owner and h in roles and roles[h].mark))
    return DatabaseSeen(owner, oid in marks, connectable, access, public)


def _session(row: Sequence[Any]) -> Session:
    pid, user, database, application, address, port, _ = row
    where = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return Session("direct", user or "", database or "", application or "", where, str(pid))


# --- inside every database ------------------------------------------------------------------------------------------------------------

_INSIDE: Final = f"""
SELECT json_build_object(
'extensions', (SELECT json_agg(extname) FROM pg_extension),
'schema', EXISTS (SELECT FROM pg_namespace WHERE nspname = 'howdah' AND nspowner = 10),
'lookup', ({lookup.SEEN}),
'connect', (SELECT has_database_privilege(r.oid, current_database(), 'CONNECT') FROM pg_roles r WHERE r.rolname = 'howdah_lookup'))
"""
_CONNECTABLE: Final = "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template0' ORDER BY datname"


def inside(seat: Seat) -> Mapping[str, Inside]:
    """Return what is inside each database that admits connections; about 8 ms each, some at once. Howdah's own prepared one is left out."""
    with sql.control(seat, say("look into the databases")) as session:
        seen = {"postgres": _inside(session)}
        names = [name for name in connectable(session) if name not in seen and not name.startswith("howdah_")]
    found = _enter_all(seat, names)
    return {**seen, **{name: each for name, each in found.items() if each is not None}}


def _enter_all(seat: Seat, names: Sequence[str]) -> Mapping[str, Inside | None]:
    """Look into databases, two at a time: a server full of clients has three places left for us (superuser_reserved_connections)."""
    if not names:
        return {}
    beside = Beside(lambda: {name: _enter(seat, name) for name in names[1::2]}).begin()
    try:
        mine = {name: _enter(seat, name) for name in names[::2]}
    finally:
        others = beside.result()
    return {**others, **mine}


def connectable(session: Asked) -> list[str]:
    """Return the databases that admit connections."""
    return [row[0] for row in session.execute(_CONNECTABLE)]


def _enter(seat: Seat, database: str) -> Inside | None:
    """Look into one database; None when it was dropped or closed in the meantime. One that lets us not in shall not hide the others."""
    try:
        with sql.lent(seat, database) as session:
            return _inside(session)
    except SqlError:
        return Inside(closed=True) if _reachable(seat, database) else None


def enter(seat: Seat, database: str) -> None:
    """Look into a database; raise why that cannot be."""
    with sql.control(seat, say("look into database {name}", name=database), database) as session:
        _inside(session)


def _reachable(seat: Seat, database: str) -> bool:
    with sql.control(seat, say("look into the databases")) as session:
        return database in connectable(session)


def _inside(session: Asked) -> Inside:
    found = _one(session, _INSIDE)
    return Inside(frozenset(found["extensions"] or ()), found["schema"], lookup.right(found["lookup"]), bool(found["connect"]))
