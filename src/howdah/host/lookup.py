"""The one function through which the pooler may see a verifier: put it where it is needed, know when it is not as shipped, take it away.

It runs with the control role's rights, so its search_path is pinned and only the lookup role may call it. It hides superusers,
replication roles and Howdah's own (but the probe), and gives no verifier for a role whose password has expired: PgBouncer then lets
a client fail exactly as with a wrong password.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from howdah.core.instance import CONTROL_ROLE, LOOKUP_ROLE
from howdah.host import sql
from howdah.host.postgres import Seat
from howdah.host.session import Session
from howdah.phrase import say

BODY: Final = """
SELECT rolname::pg_catalog.text,
       CASE WHEN rolvaliduntil OPERATOR(pg_catalog.<) pg_catalog.now() THEN NULL ELSE rolpassword END
FROM pg_catalog.pg_authid
WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin AND NOT rolsuper AND NOT rolreplication
  AND (pg_catalog.left(rolname, 7) OPERATOR(pg_catalog.<>) 'howdah_' OR rolname OPERATOR(pg_catalog.=) 'howdah_probe')
"""

# Each a whole statement, without an empty line in it: single-user mode takes them as they are (spares.py). The schema is taken from
# whoever else made one of that name by renaming his, with all that is in it: in his own database he may create any.
STATEMENTS: Final = (
    """
DO $$ DECLARE owner pg_catalog.oid; BEGIN
  SELECT nspowner INTO owner FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'howdah';
  IF owner OPERATOR(pg_catalog.<>) 10::pg_catalog.oid THEN
    EXECUTE pg_catalog.format('ALTER SCHEMA howdah RENAME TO %I',
      'not_howdah_' OPERATOR(pg_catalog.||) pg_catalog.left(pg_catalog.md5(pg_catalog.random()::pg_catalog.text), 8));
  END IF;
END $$""",
    "CREATE SCHEMA IF NOT EXISTS howdah",
    "REVOKE ALL ON SCHEMA howdah FROM PUBLIC",
    "GRANT USAGE ON SCHEMA howdah TO howdah_lookup",
    "DROP FUNCTION IF EXISTS howdah.user_lookup(pg_catalog.text)",
    f"""
CREATE FUNCTION howdah.user_lookup(pg_catalog.text) RETURNS TABLE (uname pg_catalog.text, phash pg_catalog.text)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $body${BODY}$body$""",
    "REVOKE ALL ON FUNCTION howdah.user_lookup(pg_catalog.text) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION howdah.user_lookup(pg_catalog.text) TO howdah_lookup",
    # What ALTER DEFAULT PRIVILEGES of the control role may have added to either
    """
DO $$ DECLARE act pg_catalog.text; BEGIN
  FOR act IN SELECT pg_catalog.format('REVOKE ALL ON %s FROM %s', x.what, a.grantee::pg_catalog.regrole) FROM
    (SELECT 'SCHEMA howdah' AS what, nspacl AS acl FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'howdah'
     UNION ALL SELECT 'FUNCTION howdah.user_lookup(pg_catalog.text)', proacl FROM pg_catalog.pg_proc
     WHERE oid OPERATOR(pg_catalog.=) 'howdah.user_lookup(pg_catalog.text)'::pg_catalog.regprocedure) x,
    pg_catalog.aclexplode(x.acl) a JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee
    WHERE r.oid OPERATOR(pg_catalog.<>) 10::pg_catalog.oid AND r.rolname OPERATOR(pg_catalog.<>) 'howdah_lookup' LOOP
    EXECUTE act;
  END LOOP;
END $$""",
    "COMMENT ON FUNCTION howdah.user_lookup(pg_catalog.text) IS 'Howdah: the pooler looks users up here; do not change it'",
)

# What the server itself holds of it, as one row per function of that name; compared with what STATEMENTS make. The owner is the
# bootstrap superuser (oid 10), whatever he is called by now.
SEEN: Final = """
SELECT coalesce(json_agg(json_build_array(
    p.prosrc, p.proconfig, p.prosecdef, p.provolatile, p.proisstrict, l.lanname, pg_get_function_arguments(p.oid),
    pg_get_function_result(p.oid), p.proowner = 10, n.nspowner = 10,
    (SELECT json_agg(r.rolname || ':' || a.privilege_type ORDER BY r.rolname)
     FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee),
    (SELECT json_agg(r.rolname || ':' || a.privilege_type ORDER BY r.rolname, a.privilege_type)
     FROM aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) a LEFT JOIN pg_roles r ON r.oid = a.grantee))), '[]')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname = 'howdah' AND p.proname = 'user_lookup'
"""


def right(seen: Sequence[Any]) -> bool:
    """Tell whether what SEEN returns is the function as shipped, and the only one of its name."""
    return list(seen) == [_AS_SHIPPED]


_AS_SHIPPED: Final = [
    BODY,
    ["search_path=pg_catalog, pg_temp"],
    True,
    "s",
    False,
    "sql",
    "text",
    "TABLE(uname text, phash text)",
    True,
    True,
    [f"{LOOKUP_ROLE}:EXECUTE", f"{CONTROL_ROLE}:EXECUTE"],
    [f"{LOOKUP_ROLE}:USAGE", f"{CONTROL_ROLE}:CREATE", f"{CONTROL_ROLE}:USAGE"],
]


def install(seat: Seat, databases: Iterable[str]) -> None:
    """Put the function into these databases, each in one transaction, and let the lookup role connect to them."""
    for database in databases:
        with (
            sql.control(seat, say("put the lookup function into {database}", database=database), database) as session,
            session.transaction(),
        ):
            for statement in STATEMENTS:
                session.execute(statement)
            admit(session, database)


def admit(session: Session, database: str) -> None:
    """Let the lookup role connect to a database, also where PUBLIC may not."""
    sql.run(session, "GRANT CONNECT ON DATABASE {} TO howdah_lookup", database)


def remove(seat: Seat, databases: Iterable[str]) -> None:
    """Take the function and its schema away, and the lookup role's right to connect."""
    for database in databases:
        with sql.control(seat, say("take the lookup function out of {database}", database=database), database) as session:
            take_away(session, database)


def take_away(session: Session, database: str) -> None:
    """Remove what Howdah put into the database of this session; a schema with anything else in it stays, without rights to it."""
    with session.transaction():
        session.execute("DROP FUNCTION IF EXISTS howdah.user_lookup(pg_catalog.text)")
        # "howdah" is ours by name, and nobody's work is destroyed: RESTRICT is the default
        session.execute("DROP SCHEMA IF EXISTS howdah")
        if session.execute("SELECT FROM pg_roles WHERE rolname = 'howdah_lookup'").fetchone() is not None:
            sql.run(session, "REVOKE ALL ON DATABASE {} FROM howdah_lookup", database)
