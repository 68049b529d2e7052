"""Whatever is asked for reaches PostgreSQL exactly, or is refused: its own readings of the files and statements that Howdah writes."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from psycopg import sql
from tests.hostile import examples, fair, names, texts
from tests.real.servers import new_home, new_seat, running, wish, write

from howdah.catalog import parameters
from howdah.core import files as rendered
from howdah.core import wishes
from howdah.core.instance import Database, Instance, User, check_database, check_network, check_password, check_role
from howdah.core.layout import Layout
from howdah.core.observed import Facts, Pair
from howdah.errors import Refusal
from howdah.host import databases, files, postgres, roles, sight
from howdah.host.postgres import Seat
from howdah.phrase import say
from howdah.secret import Secret

PAIR = Pair("7f", frozenset({"localhost"}), 0.0, 1.0, trusted=True)
WORDS = say("test")
Row = tuple[Any, ...]


@pytest.fixture(scope="module")
def seat() -> Iterator[Seat]:
    """A server of this module's own: files are put where it reads them, and it tells how it reads them without taking them."""
    made = new_seat(new_home())
    files.make_parents(made.layout.root)
    postgres.initialise(made)
    write(made)
    with running(made):
        roles.set_service_roles(made, wish(made))
        yield made


@pytest.fixture(scope="module")
def session(seat: Seat) -> Iterator[psycopg.Connection[Row]]:
    """One session that asks all questions."""
    with control(seat) as asked:
        yield asked


def control(seat: Seat, database: str = "postgres") -> psycopg.Connection[Row]:
    """Return a session of the control role."""
    where: dict[str, Any] = {"host": str(seat.layout.socket_dir), "port": seat.port, "user": "postgres", "dbname": database}
    return psycopg.connect(**where, autocommit=True, options="-c search_path=pg_catalog,pg_temp")


def facts(**fields: object) -> Facts:
    plain: dict[str, Any] = {"server_user": "postgres", "pooler_user": "pgbouncer", "own_user": "root", "pooler_version": (1, 18)}
    return Facts(**(plain | {"cores": 2, "memory_mib": 4096, "nofile": 65536} | fields))


def put(seat: Seat, want: Instance, machine: Facts, layout: Layout | None = None) -> dict[str, str]:
    """Put the files of a wish where the server reads them; return their texts."""
    written = {each.name: each.text for each in rendered.server_files(want, layout or seat.layout, PAIR, machine)}
    for name, text in written.items():
        files.put(seat.layout.data / name, text, 0o600, seat.account)
    return written


def conf(session: psycopg.Connection[Row]) -> dict[str, str]:
    """Return postgresql.conf as the server reads it now, last of each name; a line that it cannot read fails."""
    query = "SELECT name, setting, sourcefile, error FROM pg_file_settings WHERE NOT sourcefile LIKE '%auto.conf' ORDER BY seqno"
    rows = session.execute(query.encode()).fetchall()
    assert not [row for row in rows if row[0] is None], rows
    assert {Path(row[2]).name for row in rows} == {"postgresql.conf"}
    return {name.lower(): setting for name, setting, _, _ in rows}


# --- postgresql.conf ------------------------------------------------------------------------------------------------------------------


def free_texts(major: int) -> list[str]:
    return sorted(name for name, each in parameters.catalog(major).items() if each.type == "string" and each.policy.kind == "open")


@examples(150)
@given(st.data())
def test_every_text_of_a_parameter_is_read_as_it_was_given(seat: Seat, session: psycopg.Connection[Row], data: st.DataObject) -> None:
    want = wish(seat)
    given_values = data.draw(st.dictionaries(st.sampled_from(free_texts(want.version)), names, min_size=1, max_size=4))
    try:
        want, _ = wishes.with_parameters(want, given_values, (), facts(), restart=True)
    except Refusal:
        return
    put(seat, want, facts())
    seen = conf(session)
    assert seen == rendered.server_parameters(want, seat.layout, PAIR) | {"howdah.digest": seen["howdah.digest"]}
    for name, value in given_values.items():
        assert want.parameters.get(name, value) == value


@examples(150)
@given(st.data())
def test_every_number_and_choice_is_read_as_it_was_given(seat: Seat, session: psycopg.Connection[Row], data: st.DataObject) -> None:
    want = wish(seat)
    open_ones = sorted(
        name for name, each in parameters.catalog(want.version).items() if each.type != "string" and each.policy.kind == "open"
    )
    numbers = (
        st.integers(-(2**70), 2**70).map(str)
        | st.floats().map(str)
        | st.sampled_from(["1e3", "0x10", "1 GB", "10 apples", "-1", "٣", "1,5"])
    )
    name = data.draw(st.sampled_from(open_ones))
    text = data.draw(numbers | names | st.sampled_from(["on", "off", *parameters.catalog(want.version)[name].choices]))
    try:
        want, _ = wishes.with_parameters(want, {name: text}, (), facts(), restart=True)
    except Refusal:
        return
    put(seat, want, facts())
    wanted = rendered.server_parameters(want, seat.layout, PAIR)
    assert conf(session).get(name) == wanted.get(name), "what is the default anyway is not written"
    if name in want.parameters:
        assert parameters.equal(want.version, name, want.parameters[name], text)


def test_a_file_that_the_server_cannot_even_read_out_is_an_error_of_the_file(seat: Seat, session: psycopg.Connection[Row]) -> None:
    # Until 15 the check of this one value raises instead of reporting, and the whole view pg_file_settings with it.
    put(seat, wish(seat), facts())
    path = seat.layout.data / "postgresql.conf"
    files.put(path, path.read_text() + "default_text_search_config = ''\n", 0o600, seat.account)
    if session.info.server_version < 160000:
        with pytest.raises(psycopg.Error):
            conf(session)
    seen = sight.look(seat, wish(seat))
    assert seen.state == "ready"
    assert any("invalid name syntax" in error or "default_text_search_config" in error for error in seen.errors)
    with pytest.raises(Refusal):
        wishes.with_parameters(wish(seat), {"default_text_search_config": ""}, (), facts(), restart=True)


@examples(80)
@given(fair)
def test_a_home_is_read_as_the_path_that_it_is(seat: Seat, session: psycopg.Connection[Row], name: str) -> None:
    layout = Layout(Path("/srv") / name.replace("/", "-"), seat.layout.id)
    put(seat, wish(seat), facts(), layout)
    seen = conf(session)
    assert seen["log_directory"] == str(layout.log)
    assert seen["ssl_key_file"] == str(layout.tls("direct") / "direct.7f.key")
    assert seen["unix_socket_directories"] == rendered.socket_directories(layout.socket_dir)


# --- pg_hba.conf, pg_ident.conf --------------------------------------------------------------------------------------------------------


def admitted(session: psycopg.Connection[Row]) -> list[str]:
    """Return the networks that every user is admitted from with a password, as the server reads its rules; a bad line fails."""
    query = "SELECT type, database, user_name, address, netmask, auth_method, error FROM pg_hba_file_rules ORDER BY line_number"
    rows = session.execute(query.encode()).fetchall()
    assert not [row for row in rows if row[6] is not None], rows
    assert {row[5] for row in rows} <= {"peer", "reject", "scram-sha-256"}, "nobody comes in by another way"
    open_ones = [row for row in rows if row[0].startswith("host") and row[5] == "scram-sha-256"]
    assert all((kind, database, user) == ("host", ["all"], ["all"]) for kind, database, user, *_ in open_ones)
    return [str(ipaddress.ip_network(f"{row[3]}/{_bits(row[4])}")) for row in open_ones]


def _bits(netmask: str) -> int:
    return bin(int(ipaddress.ip_address(netmask))).count("1")


networks = st.one_of(
    st.ip_addresses().map(str),
    st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
        lambda pair: str(ipaddress.ip_network(f"{pair[0]}/{min(pair[1], pair[0].max_prefixlen)}", False))
    ),
    texts,
    st.sampled_from(
        ["all", "samenet", "@file", "0.0.0.0/0 trust #", "10.0.0.0/8\thost", "example.org", ".example.org", "10.1/16", "1.2.3.4/0"]
    ),
)


@examples(150)
@given(st.lists(networks, min_size=1, max_size=4))
def test_networks_are_admitted_exactly_or_refused(seat: Seat, session: psycopg.Connection[Row], asked: list[str]) -> None:
    try:
        # this server has no certificate, and without one calls every hostssl line an error
        want, _ = wishes.with_reach(wish(seat, parameters={"ssl": "off"}), ("direct",), (), (), asked)
    except Refusal:
        return
    put(seat, want, facts())
    assert admitted(session) == list(dict.fromkeys((*rendered.LOOPBACK_NETWORKS, *map(check_network, asked))))


@examples(150)
@given(names, names)
def test_system_users_are_mapped_exactly_or_refused(seat: Seat, session: psycopg.Connection[Row], own: str, pool: str) -> None:
    if session.info.server_version < 150000:
        pytest.skip("only PostgreSQL 15 and newer tell how they read pg_ident.conf")
    machine = facts(own_user=own, pooler_user=pool)
    try:
        put(seat, wish(seat), machine)
    except Refusal:
        return
    rows = session.execute("SELECT map_name, sys_name, pg_username, error FROM pg_ident_file_mappings ORDER BY line_number").fetchall()
    expected = [(user, "postgres") for user in dict.fromkeys((own, "postgres"))] + [(pool, "howdah_lookup")]
    assert rows == [("howdah", user, role, None) for user, role in expected]


# --- SQL ------------------------------------------------------------------------------------------------------------------------------


@examples(30)
@given(names, names)
def test_roles_and_databases_bear_exactly_their_names(seat: Seat, session: psycopg.Connection[Row], user: str, database: str) -> None:
    try:
        wanted = User(check_role(user), roles.verifier(user, Secret("secret")), (check_database(database),))
    except Refusal:
        return
    want = replace(wish(seat), users=(wanted,), databases=(Database(database, user),))
    before = _everything(session)
    try:
        roles.set_user(seat, wanted)
        databases.create_database(seat, want, want.databases[0])
        databases.set_access(seat, want, database)
        found = session.execute("SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]).fetchall()
        assert found == [(database, user)]
        secret = session.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s AND rolcanlogin", [user]).fetchall()
        assert secret == [(wanted.verifier.reveal(),)]
        assert session.execute("SELECT has_database_privilege(%s, %s, 'CREATE')", [user, database]).fetchall() == [(True,)]
    finally:
        databases.drop_database(seat, database)
        roles.drop_user(seat, user)
    assert _everything(session) == before, "nothing else was made or taken"


@examples(8)
@given(st.lists(names, min_size=1, max_size=3, unique=True))
def test_rights_reach_objects_whatever_an_owner_called_them(seat: Seat, called: list[str]) -> None:
    """An owner may name his schemas, tables and functions as he likes, also with a line break: rights on them are given by statement."""
    objects = [each for each in called if each and "\0" not in each and len(each.encode()) <= 60 and not each.startswith("pg_")]
    users = tuple(User(name, roles.verifier(name, Secret("secret")), ("rights",)) for name in ("o'wner", 'gu"est'))
    want = replace(wish(seat), users=users, databases=(Database("rights", "o'wner"),))
    for each in users:
        roles.set_user(seat, each)
    databases.create_database(seat, want, want.databases[0])
    try:
        with control(seat, "rights") as there:
            run(there, "SET ROLE {}", "o'wner")
            for name in objects:
                run(there, "CREATE SCHEMA {}", name)
                run(there, "CREATE TABLE {}.{} (n int)", name, name)
                run(there, "CREATE FUNCTION {}.{}() RETURNS int LANGUAGE sql AS 'SELECT 1'", name, name)
        databases.set_access(seat, want, "rights")
        with control(seat, "rights") as there:
            run(there, "SET ROLE {}", 'gu"est')
            for name in objects:
                run(there, "INSERT INTO {}.{} VALUES (1)", name, name)
                run(there, "SELECT {}.{}()", name, name)
    finally:
        databases.drop_database(seat, "rights")
        for each in users:
            roles.drop_user(seat, each.name)


def run(session: psycopg.Connection[Row], template: str, *quoted: str) -> None:
    session.execute(sql.SQL(template).format(*(sql.Identifier(name) for name in quoted)))


def _everything(session: psycopg.Connection[Row]) -> list[Row]:
    query = (
        "SELECT 'role', rolname, rolsuper FROM pg_authid UNION ALL SELECT 'database', datname, datallowconn FROM pg_database ORDER BY 1, 2"
    )
    return session.execute(query.encode()).fetchall()


@examples(30)
@given(names)
def test_a_password_is_the_one_that_logs_in(seat: Seat, text: str) -> None:
    try:
        password = check_password(text)
    except Refusal:
        return
    roles.set_user(seat, User("app", roles.verifier("app", password)))
    where: dict[str, Any] = {"host": "127.0.0.1", "port": seat.port, "user": "app", "dbname": "postgres", "connect_timeout": 5}
    with psycopg.connect(password=text, passfile="/nonexistent", sslmode="disable", **where) as entered:
        assert entered.execute("SELECT current_user").fetchone() == ("app",)


@examples(15)
@given(names)
def test_a_wish_for_a_hostile_locale_is_refused_and_leaves_nothing(seat: Seat, session: psycopg.Connection[Row], locale: str) -> None:
    assume(not locale.lower().startswith(("en", "ru", "de", "und", "root")))
    before = _everything(session)
    want = replace(wish(seat), databases=(Database("d", None, locale),))
    try:
        databases.create_database(seat, want, want.databases[0])
    except Refusal:
        left = [row for row in _everything(session) if row not in before and not str(row[1]).startswith("howdah_new_")]
        assert left == []
        return
    except (ValueError, psycopg.Error) as error:
        raise AssertionError(f"not a refusal: {locale!r}: {error!r}") from error
    databases.drop_database(seat, "d")
