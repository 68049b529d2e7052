"""Roles, databases, access, lookup and extensions on a real PostgreSQL: made, seen, repaired, and what others made left alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.real.servers import new_home, new_seat, running, wish, write

from howdah.core.host import Refused
from howdah.core.instance import LOOKUP_ROLE, PROBE_ROLE, Database, Instance, User
from howdah.errors import Conflict
from howdah.host import databases, files, lookup, roles, sight, spares, sql
from howdah.host.postgres import Seat
from howdah.phrase import say
from howdah.secret import Secret

WORDS = say("test")
POOLED = {"pooler": {"listen_port": "6432"}}


@pytest.fixture(scope="module")
def seat() -> Iterator[Seat]:
    """A running server made from a spare, as most are."""
    seat = new_seat(new_home())
    major = wish(seat).version
    spares.make_spare(seat.layout.home, major, seat.bindir, seat.account, None, lambda root: None)
    files.make_parents(seat.layout.root.parent)
    assert spares.claim(seat.layout.home, major, seat)
    write(seat)
    with running(seat):
        roles.set_service_roles(seat, wish(seat, extensions=POOLED))
        yield seat


def user(name: str, *granted: str, password: str = "secret") -> User:
    return User(name, roles.verifier(name, Secret(password)), granted)


def ask(seat: Seat, query: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    with sql.control(seat, WORDS, database) as session:
        return session.execute(query).fetchall()


def log_in(seat: Seat, name: str, database: str = "postgres", password: str = "secret") -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(
        host="127.0.0.1", port=seat.port, user=name, password=password, dbname=database, autocommit=True, connect_timeout=5
    )


def shared(seat: Seat, *users: User, owner: str | None = "owner", name: str = "d") -> Instance:
    """Make users and a database shared among them."""
    want = wish(seat, users=users, databases=(Database(name, owner),), extensions=POOLED)
    for each in users:
        roles.set_user(seat, each)
    databases.create_database(seat, want, want.databases[0])
    return want


@pytest.fixture(autouse=True)
def nothing_left(seat: Seat) -> Iterator[None]:
    yield
    want = wish(seat, extensions=POOLED)
    seen = sight.look(seat, want)
    for name, database in seen.databases.items():
        if name not in ("postgres", "template1"):
            ask(seat, f'DROP DATABASE "{name}" WITH (FORCE)') if not database.made else databases.drop_database(seat, name)
    for name, role in seen.roles.items():
        if role.mark:
            roles.drop_user(seat, name)


# --- users ----------------------------------------------------------------------------------------------------------------------------


def test_a_user_logs_in_with_his_password_and_a_second_time_changes_nothing(seat: Seat) -> None:
    app = user('we "ird', password="pä'ss\\w örd")
    roles.set_user(seat, app)
    with log_in(seat, app.name, password="pä'ss\\w örd") as session:
        assert session.execute("SELECT current_user").fetchone() == (app.name,)
    seen = sight.look(seat, wish(seat)).roles[app.name]
    assert (seen.login, seen.mark) == (True, roles.mark(app))
    roles.set_user(seat, app)
    assert sight.look(seat, wish(seat)).roles[app.name] == seen


def test_a_new_password_replaces_the_old_one(seat: Seat) -> None:
    roles.set_user(seat, user("app"))
    roles.set_user(seat, user("app", password="other"))
    log_in(seat, "app", password="other").close()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(seat, "app")


def test_a_password_changed_by_sql_is_left_alone(seat: Seat) -> None:
    app = user("app")
    roles.set_user(seat, app)
    ask(seat, "ALTER ROLE app PASSWORD 'changed'")
    assert sight.look(seat, wish(seat)).roles["app"].mark == roles.mark(app)


def test_a_role_that_others_made_is_neither_taken_over_nor_dropped(seat: Seat) -> None:
    ask(seat, "CREATE ROLE dba LOGIN")
    try:
        with pytest.raises(Conflict):
            roles.set_user(seat, user("dba"))
        with pytest.raises(Conflict):
            roles.drop_user(seat, "dba")
        # one of ours, dropped and made again by plain SQL, is no longer ours
        roles.set_user(seat, user("app"))
        ask(seat, "DROP ROLE app; CREATE ROLE app LOGIN")
        assert sight.look(seat, wish(seat)).roles["app"].mark == ""
        with pytest.raises(Conflict):
            roles.set_user(seat, user("app"))
    finally:
        ask(seat, "DROP ROLE dba; DROP ROLE app")


def test_the_verifier_reaches_no_log(seat: Seat) -> None:
    ask(seat, "ALTER DATABASE postgres SET log_statement = 'all'; ALTER DATABASE postgres SET log_min_duration_statement = 0")
    app = user("app")
    roles.set_user(seat, app)
    ask(seat, "ALTER DATABASE postgres RESET ALL")
    logs = "".join(path.read_text() for path in seat.layout.log.iterdir())
    assert app.verifier.reveal()[:30] not in logs


def test_a_dropped_user_leaves_his_work_to_the_owner_of_the_database(seat: Seat) -> None:
    want = shared(seat, user("owner", "d"), user("bob", "d", "e"), owner="owner")
    databases.create_database(seat, want, Database("e", "bob"))
    session = log_in(seat, "bob", "d")
    session.execute("CREATE TABLE t (a int); CREATE SCHEMA s; CREATE TABLE s.u (a int)")
    with log_in(seat, "bob", "e") as other:
        other.execute("CREATE TABLE v (a int)")
    roles.drop_user(seat, "bob")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")
    session.close()
    assert ask(seat, "SELECT tableowner FROM pg_tables WHERE tablename IN ('t', 'u')", "d") == [("owner",), ("owner",)]
    assert ask(seat, "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'e'") == [("postgres",)]
    assert "bob" not in sight.look(seat, want).roles
    roles.drop_user(seat, "bob")


# --- databases ------------------------------------------------------------------------------------------------------------------------


def test_a_database_has_its_owner_its_closed_door_and_its_note(seat: Seat) -> None:
    want = shared(seat, user("owner", "d"))
    seen = sight.look(seat, want).databases["d"]
    assert (seen.owner, seen.made, seen.connectable, seen.access, seen.public) == ("owner", True, True, frozenset({"owner"}), False)
    with log_in(seat, "owner", "d") as session:
        session.execute("CREATE TABLE t (a int)")
    roles.set_user(seat, user("stranger"))
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        log_in(seat, "stranger", "d")
    databases.create_database(seat, want, want.databases[0])
    assert sight.look(seat, want).databases["d"] == seen


def test_a_killed_creation_is_finished(seat: Seat) -> None:
    ask(seat, f"CREATE DATABASE {databases._UNNAMED}00000000")
    want = shared(seat, user("owner", "d"))
    assert sight.look(seat, want).databases["d"].made
    assert ask(seat, "SELECT datname FROM pg_database WHERE datname ~ '^howdah_'") in ([], [("howdah_spare",)])


def test_the_owner_may_change(seat: Seat) -> None:
    want = shared(seat, user("owner"), user("heir"))
    databases.create_database(seat, want, Database("d", "heir"))
    seen = sight.look(seat, want).databases["d"]
    assert (seen.owner, seen.access) == ("heir", frozenset()), "who owns and was granted nothing needs no grant"


def test_a_database_that_others_made_is_neither_taken_over_nor_dropped(seat: Seat) -> None:
    ask(seat, "CREATE DATABASE theirs")
    with pytest.raises(Conflict):
        databases.create_database(seat, wish(seat), Database("theirs"))
    with pytest.raises(Conflict):
        databases.drop_database(seat, "theirs")
    assert not sight.look(seat, wish(seat)).databases["theirs"].made


def test_an_icu_locale_is_taken_and_a_wrong_one_refused(seat: Seat) -> None:
    if wish(seat).version < 15:
        pytest.skip("PostgreSQL before 15 has no ICU databases")
    databases.create_database(seat, wish(seat), Database("de", None, "de-DE"))
    assert ask(seat, "SELECT datlocprovider FROM pg_database WHERE datname = 'de'") in ([("i",)], [(b"i",)])
    with pytest.raises(Refused, match="xqq"):
        databases.create_database(seat, wish(seat), Database("x", None, "xqq-XX"))
    assert "x" not in sight.look(seat, wish(seat)).databases


# --- access ---------------------------------------------------------------------------------------------------------------------------


def test_granted_users_share_what_is_there_and_what_comes(seat: Seat) -> None:
    ann, bob = user("ann", "d"), user("bob", "d")
    want = shared(seat, user("owner"), ann, bob)
    assert sight.look(seat, want).databases["d"].access == {"ann", "bob"}
    with log_in(seat, "ann", "d") as a, log_in(seat, "bob", "d") as b, log_in(seat, "owner", "d") as o:
        a.execute("CREATE TABLE t (n serial); CREATE SCHEMA s; CREATE TABLE s.u (a int)")
        b.execute("INSERT INTO t DEFAULT VALUES; INSERT INTO s.u VALUES (1); CREATE TABLE s.v (a int)")
        o.execute("INSERT INTO s.v VALUES (1); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE w (a int)")
        assert a.execute("SELECT f() FROM s.v, t").fetchall() == [(1,)]
        b.execute("DELETE FROM w")


def test_what_was_there_before_is_shared_and_taken_away_again(seat: Seat) -> None:
    ann, bob = user("ann", "d"), user("bob")
    want = shared(seat, user("owner"), ann, bob)
    with log_in(seat, "ann", "d") as a:
        a.execute('CREATE TABLE "we ""ird" (a int); CREATE SEQUENCE q; CREATE PROCEDURE p(a int) LANGUAGE sql AS $$SELECT 1$$')
    more = want.next(users=(want.users[0], ann, user("bob", "d")))
    databases.set_access(seat, more, "d")
    with log_in(seat, "bob", "d") as b:
        b.execute('INSERT INTO "we ""ird" VALUES (1); CALL p(1); CREATE TABLE his (a int)')
        b.execute("SELECT nextval('q')")
    with log_in(seat, "ann", "d") as a:
        a.execute("INSERT INTO his VALUES (1)")
    databases.set_access(seat, want, "d")
    assert sight.look(seat, want).databases["d"].access == {"ann"}
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        log_in(seat, "bob", "d")
    rights = """SELECT has_table_privilege('bob', 'public."we ""ird"', 'SELECT'), has_sequence_privilege('bob', 'public.q', 'USAGE')"""
    assert ask(seat, rights, "d") == [(False, False)]
    assert ask(seat, "SELECT FROM pg_default_acl WHERE defaclacl::text ~ 'bob=' AND pg_get_userbyid(defaclrole) <> 'bob'", "d") == []
    assert ask(seat, "SELECT has_table_privilege('bob', 'public.his', 'SELECT')", "d") == [(True,)], "what he made stays his"


def test_a_grant_by_hand_to_a_role_of_others_stays(seat: Seat) -> None:
    want = shared(seat, user("owner", "d"))
    ask(seat, "CREATE ROLE dba; GRANT ALL ON DATABASE d TO dba")
    try:
        assert sight.look(seat, want).databases["d"].access == {"owner"}
        databases.set_access(seat, want, "d")
        assert ask(seat, "SELECT has_database_privilege('dba', 'd', 'CREATE')") == [(True,)]
    finally:
        ask(seat, "REVOKE ALL ON DATABASE d FROM dba; DROP ROLE dba")


def test_functions_that_extensions_keep_from_users_are_not_granted(seat: Seat) -> None:
    want = shared(seat, user("owner", "d"))
    databases.create_extension(seat, "d", "dblink")
    databases.set_access(seat, want, "d")
    assert ask(seat, "SELECT has_function_privilege('owner', 'public.dblink_connect_u(text)', 'EXECUTE')", "d") == [(False,)]


def test_an_owners_settings_do_not_reach_our_sessions(seat: Seat) -> None:
    want = shared(seat, user("owner", "d"))
    with log_in(seat, "owner", "d") as session:
        session.execute("ALTER DATABASE d SET default_transaction_read_only = on; ALTER DATABASE d SET search_path = public")
        session.execute("ALTER DATABASE d SET role = owner")
    databases.set_access(seat, want, "d")
    databases.create_extension(seat, "d", "pg_trgm")
    assert "pg_trgm" in sight.inside(seat)["d"].extensions


# --- extensions -----------------------------------------------------------------------------------------------------------------------


def test_an_extension_comes_and_goes_unless_something_depends_on_it(seat: Seat) -> None:
    shared(seat, user("owner", "d"))
    databases.create_extension(seat, "d", "citext")
    databases.create_extension(seat, "d", "citext")
    assert "citext" in sight.inside(seat)["d"].extensions
    with log_in(seat, "owner", "d") as session:
        session.execute("CREATE TABLE t (a citext)")
    with pytest.raises(Refused, match="depend"):
        databases.drop_extension(seat, "d", "citext")
    with log_in(seat, "owner", "d") as session:
        session.execute("DROP TABLE t")
    databases.drop_extension(seat, "d", "citext")
    databases.drop_extension(seat, "d", "citext")
    assert "citext" not in sight.inside(seat)["d"].extensions
    with pytest.raises(Refused, match="nonesuch"):
        databases.create_extension(seat, "d", "nonesuch")


# --- Howdah's own roles and the lookup function ---------------------------------------------------------------------------------------


def look_up(seat: Seat, name: str, database: str = "postgres") -> list[tuple[Any, ...]]:
    return ask(seat, f"SELECT uname, phash FROM howdah.user_lookup('{name}')", database)


ALTERATIONS = [
    f"ALTER ROLE {LOOKUP_ROLE} NOLOGIN",
    f"ALTER ROLE {LOOKUP_ROLE} SUPERUSER",
    f"ALTER ROLE {LOOKUP_ROLE} PASSWORD 'x'",
    f"ALTER ROLE {LOOKUP_ROLE} SET role = 'postgres'",
    f"ALTER ROLE {LOOKUP_ROLE} CONNECTION LIMIT 0",
    f"GRANT {LOOKUP_ROLE} TO app WITH ADMIN OPTION",
    f"GRANT pg_read_all_data TO {LOOKUP_ROLE}",
]


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_lookup_role_is_seen_and_repaired(seat: Seat, alteration: str) -> None:
    if "read_all_data" in alteration and wish(seat).version < 14:
        pytest.skip("PostgreSQL 13 has no pg_read_all_data")
    want = wish(seat, extensions=POOLED)
    roles.set_user(seat, user("app"))
    right = sight.look(seat, want).roles[LOOKUP_ROLE]
    assert right.login
    assert not right.superuser
    ask(seat, alteration)
    assert not sight.look(seat, want).roles[LOOKUP_ROLE].login
    roles.set_service_roles(seat, want)
    assert sight.look(seat, want).roles[LOOKUP_ROLE] == right


def test_the_probe_is_open_for_a_minute_and_then_closed(seat: Seat) -> None:
    want = wish(seat, extensions=POOLED)
    role, password = roles.open_probe(seat)
    assert role == PROBE_ROLE
    assert password.reveal() not in repr(password)
    with log_in(seat, role, password=password.reveal()) as session:
        assert session.execute("SELECT current_user").fetchone() == (PROBE_ROLE,)
        assert sight.look(seat, want).sessions == (), "the probe is no client"
    assert look_up(seat, PROBE_ROLE)[0][0] == PROBE_ROLE
    assert not sight.look(seat, want).roles[PROBE_ROLE].login, "within its minute it is as it must be"
    ask(seat, f"ALTER ROLE {PROBE_ROLE} VALID UNTIL 'infinity'")
    assert sight.look(seat, want).roles[PROBE_ROLE].login
    roles.close_probe(seat)
    assert not sight.look(seat, want).roles[PROBE_ROLE].login
    assert look_up(seat, PROBE_ROLE) == []
    with pytest.raises(psycopg.OperationalError):
        log_in(seat, role, password=password.reveal())


def test_the_lookup_shows_users_and_hides_the_mighty(seat: Seat) -> None:
    app = user("app")
    roles.set_user(seat, app)
    assert look_up(seat, "app") == [("app", app.verifier.reveal())]
    ask(seat, "CREATE ROLE plain LOGIN PASSWORD 'x'; CREATE ROLE gone LOGIN PASSWORD 'x' VALID UNTIL 'yesterday'")
    ask(
        seat, "CREATE ROLE root LOGIN SUPERUSER PASSWORD 'x'; CREATE ROLE repl LOGIN REPLICATION PASSWORD 'x'; CREATE ROLE off PASSWORD 'x'"
    )
    try:
        assert look_up(seat, "plain")[0][1].startswith("SCRAM-SHA-256$")
        assert look_up(seat, "gone") == [("gone", None)]
        assert [look_up(seat, name) for name in ("postgres", "root", "repl", "off", LOOKUP_ROLE, "nobody")] == [[]] * 6
    finally:
        ask(seat, "DROP ROLE plain, gone, root, repl, off")


def test_only_the_lookup_role_may_look_up(seat: Seat) -> None:
    roles.set_user(seat, user("app"))
    with log_in(seat, "app") as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("SELECT * FROM howdah.user_lookup('app')")
    with sql.control(seat, WORDS) as session:
        session.execute("SET ROLE howdah_lookup")
        assert session.execute("SELECT uname FROM howdah.user_lookup('app')").fetchall() == [("app",)]


DAMAGE = [
    "CREATE OR REPLACE FUNCTION howdah.user_lookup(text) RETURNS TABLE (uname text, phash text) LANGUAGE sql STABLE SECURITY DEFINER"
    " SET search_path = pg_catalog, pg_temp AS 'SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1'",
    "ALTER FUNCTION howdah.user_lookup(text) RESET search_path",
    "ALTER FUNCTION howdah.user_lookup(text) SECURITY INVOKER",
    "GRANT EXECUTE ON FUNCTION howdah.user_lookup(text) TO PUBLIC",
    "GRANT EXECUTE ON FUNCTION howdah.user_lookup(text) TO app WITH GRANT OPTION",
    "REVOKE USAGE ON SCHEMA howdah FROM howdah_lookup",
    "ALTER FUNCTION howdah.user_lookup(text) OWNER TO app",
    "DROP FUNCTION howdah.user_lookup(text)",
    "DROP SCHEMA howdah CASCADE",
    "ALTER SCHEMA howdah OWNER TO app",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_altered_function_is_seen_and_repaired(seat: Seat, damage: str) -> None:
    roles.set_user(seat, user("app"))
    assert sight.inside(seat)["postgres"].lookup_right
    ask(seat, damage)
    assert not sight.inside(seat)["postgres"].lookup_right
    lookup.install(seat, ["postgres"])
    assert sight.inside(seat)["postgres"].lookup_right
    for (schema,) in ask(seat, "SELECT nspname FROM pg_namespace WHERE nspname ~ '^not_howdah_'"):
        ask(seat, f"DROP SCHEMA {schema} CASCADE")


def test_default_privileges_do_not_reach_the_function(seat: Seat) -> None:
    roles.set_user(seat, user("app"))
    ask(seat, "ALTER DEFAULT PRIVILEGES GRANT ALL ON ROUTINES TO app; ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO app")
    ask(seat, "DROP SCHEMA howdah CASCADE")
    lookup.install(seat, ["postgres"])
    assert sight.inside(seat)["postgres"].lookup_right
    ask(seat, "ALTER DEFAULT PRIVILEGES REVOKE ALL ON ROUTINES FROM app; ALTER DEFAULT PRIVILEGES REVOKE ALL ON SCHEMAS FROM app")


def test_a_schema_of_that_name_made_by_an_owner_is_moved_aside(seat: Seat) -> None:
    shared(seat, user("owner", "d"))
    lookup.remove(seat, ["d"])
    with log_in(seat, "owner", "d") as session:
        session.execute("CREATE SCHEMA howdah; CREATE TABLE howdah.precious (a int)")
    assert not sight.inside(seat)["d"].lookup
    lookup.install(seat, ["d"])
    assert sight.inside(seat)["d"].lookup_right
    assert ask(seat, "SELECT tableowner FROM pg_tables WHERE tablename = 'precious' AND schemaname ~ '^not_howdah'", "d") == [("owner",)]


def test_without_a_pooler_nothing_of_the_lookup_is_left(seat: Seat) -> None:
    want = shared(seat, user("owner", "d"))
    bare = want.next(extensions={})
    ask(seat, "CREATE DATABASE late TEMPLATE template0")
    lookup.remove(seat, ["postgres", "template1"])
    roles.set_service_roles(seat, bare)
    assert LOOKUP_ROLE not in sight.look(seat, bare).roles
    assert not any(inside.lookup for inside in sight.inside(seat).values())
    roles.set_service_roles(seat, want)
    lookup.install(seat, ["postgres", "template1", "d", "late"])
    assert all(inside.lookup_right and inside.lookup_connect for inside in sight.inside(seat).values())


def test_a_verifier_needs_no_server() -> None:
    first, second = (roles.verifier("app", Secret("x")) for _ in range(2))
    assert first.reveal().startswith("SCRAM-SHA-256$4096:")
    assert first != second, "each has a salt of its own"
