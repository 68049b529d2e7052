"""A tenant, or a DBA, may break one database: it is named, within a bounded time, and everything else is looked at and put right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
from tests.real.instances import DATABASE, USER, Place, asks, end_instances, place, prove, scalar

from howdah.errors import Failed, Refusal

OTHER = "other_db"


@pytest.fixture(scope="module")
def bed() -> Iterator[Place]:
    with place() as made:
        yield made


@pytest.fixture
def here(bed: Place) -> Iterator[Place]:
    """An instance with a second database, which is the one that is broken."""
    end_instances(bed)
    bed.create("shop")
    bed.service.add_database("shop", OTHER, USER, None, asks("databases add"))
    yield bed
    end_instances(bed)


# what an owner may do to his own database, as himself
SETTINGS = {
    "search_path": "nowhere",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "1ms",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "local_preload_libraries": "nothing_of_this_name",
    "client_encoding": "SQL_ASCII",
    "standard_conforming_strings": "off",
    "client_min_messages": "error",
    "default_table_access_method": "heap",
    "bytea_output": "escape",
    "quote_all_identifiers": "on",
    "DateStyle": "SQL, DMY",
    "row_security": "off",
    "idle_session_timeout": "1ms",
    "transaction_timeout": "1ms",
}

SINCE = {"idle_session_timeout": 14, "transaction_timeout": 17}


def test_no_setting_of_an_owner_reaches_our_sessions(here: Place) -> None:
    version = here.want().version
    for name, value in SETTINGS.items():
        if version < SINCE.get(name, 0):
            continue
        here.control(f"ALTER DATABASE {OTHER} RESET ALL")
        with here.login("direct", dbname=OTHER) as owner:
            owner.execute(f"ALTER DATABASE {OTHER} SET {name} = '{value}'".encode())
        here.control(f"GRANT CONNECT ON DATABASE {OTHER} TO PUBLIC")
        assert here.repair() == ("SetAccess",), name
        assert here.repair() == (), name
    # the worst of them together, with work in that database
    here.control(f"ALTER DATABASE {OTHER} SET statement_timeout = '1ms'")
    here.control(f"ALTER DATABASE {OTHER} SET local_preload_libraries = 'nothing_of_this_name'")
    here.service.add_extension("shop", "pg_stat_statements", {}, asks("extensions add"))
    here.service.add_user("shop", "two", [OTHER], None, asks("users add"))
    here.service.delete_user("shop", "two", asks("users delete"))
    here.service.delete_database("shop", OTHER, asks("databases delete"))
    prove(here)


def test_a_database_that_its_owner_closed_is_opened_again(here: Place) -> None:
    with here.login("direct") as elsewhere:
        elsewhere.execute(f"ALTER DATABASE {OTHER} ALLOW_CONNECTIONS false".encode())
    assert "not currently accepting" in here.refused("direct", dbname=OTHER)
    here.service.add_user("shop", "two", [OTHER], None, asks("users add"))
    here.login("direct", dbname=OTHER).close()
    prove(here)


TRIGGERS = {
    "an event trigger that refuses": ("ddl_command_start", "RAISE EXCEPTION 'not here'"),
    "an event trigger that hangs": ("ddl_command_start", "PERFORM pg_catalog.pg_sleep(600)"),
    "a login trigger that refuses": ("login", "RAISE EXCEPTION 'nobody'"),
    "a login trigger that hangs": ("login", "PERFORM pg_catalog.pg_sleep(600)"),
}


def trigger(here: Place, kind: str, *, always: bool = False) -> None:
    event, body = TRIGGERS[kind]
    if event == "login" and here.want().version < 17:
        pytest.skip(f"PostgreSQL {here.want().version} has no login triggers")
    here.control(f"CREATE FUNCTION public.trap() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$", OTHER)
    here.control(f"CREATE EVENT TRIGGER trap ON {event} EXECUTE FUNCTION public.trap()", OTHER)
    if always:
        here.control("ALTER EVENT TRIGGER trap ENABLE ALWAYS", OTHER)


@pytest.mark.parametrize("kind", TRIGGERS)
def test_no_event_trigger_stands_in_our_way(here: Place, kind: str) -> None:
    trigger(here, kind)
    here.control(f"GRANT CONNECT ON DATABASE {OTHER} TO PUBLIC")
    here.service.add_user("shop", "two", [OTHER], None, asks("users add"))
    here.repair()
    prove(here)


def test_one_that_nobody_can_pass_leaves_only_its_database_out(here: Place) -> None:
    """Made ALWAYS by a superuser: what has to be done there is named; all else is done, also what comes after it."""
    trigger(here, "an event trigger that refuses", always=True)
    here.control("CREATE DATABASE later TEMPLATE template0")
    with pytest.raises(Failed) as caught:
        here.service.add_extension("shop", "pg_stat_statements", {}, asks("extensions add"))
    assert caught.value.code == "database_left_out"
    assert OTHER in str(caught.value.message)
    assert "not here" in str(caught.value.message)
    for database in (DATABASE, "later"):
        assert here.control("SELECT count(*) FROM pg_extension WHERE extname = 'pg_stat_statements'", database) == [(1,)]
    with here.login() as session:
        assert scalar(session, "SELECT 1") == 1
    here.control("DROP EVENT TRIGGER trap", OTHER)
    here.repair()
    prove(here)


def test_a_lock_in_one_database_is_not_waited_for_long(here: Place) -> None:
    """A transaction left open over a table that a grant has to touch: named after lock_timeout, the other database is done."""
    with here.login("direct", dbname=OTHER) as owner:
        owner.execute("CREATE TABLE held (a int)")
        owner.execute("BEGIN")
        owner.execute("ALTER TABLE held ADD COLUMN b int")
        with suppress(Refusal):
            here.service.add_user("shop", "two", [OTHER, DATABASE], None, asks("users add"))
        assert here.control(f"SELECT has_database_privilege('two', '{DATABASE}', 'CONNECT')") == [(True,)]
        owner.execute("ROLLBACK")
    here.repair()
    prove(here)
    assert here.control("SELECT has_table_privilege('two', 'held', 'SELECT')", OTHER) == [(True,)]
