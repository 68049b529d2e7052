"""Databases, users and what they may: owner and access, isolation, passwords that work on both hops and are kept nowhere in clear."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.conftest import processes_below
from tests.real.instances import DATABASE, PASSWORD, USER, NotAgreed, Place, Voice, asks, prove, scalar

from howdah.core.instance import HOPS, Hop, check_password
from howdah.errors import Conflict, Failed, Invalid, NotFound
from howdah.secret import Secret

CANARY = "canary-in-a-coal-mine-93417"
NAMES = ["Ünï ☃ quo\"ted o'brien", "back\\slash %s{}$1 semi;--", "select", "a" * 63]


def add(here: Place, user: str, *databases: str, password: str = PASSWORD) -> None:
    here.service.add_user("shop", user, databases, Secret(password), asks("users add"))


def test_the_owner_owns_and_strangers_stay_outside(here: Place) -> None:
    add(here, "stranger")
    assert here.control(f"SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = '{DATABASE}'") == [(USER,)]
    with here.login("direct") as session:
        session.execute("CREATE SCHEMA own CREATE TABLE own.things (id serial PRIMARY KEY)")
    for hop in HOPS:
        assert "permission denied" in here.refused(hop, user="stranger")
        assert here.refused(hop, user="stranger", dbname="template1")
    here.service.delete_user("shop", "stranger", asks("users delete"))
    for hop in HOPS:
        assert here.refused(hop, user="stranger")
    prove(here)


@pytest.mark.parametrize("hop", HOPS)
def test_a_grant_gives_all_and_a_revoke_takes_all(here: Place, hop: Hop) -> None:
    add(here, "guest")
    with here.login("direct") as session:
        session.execute("CREATE TABLE IF NOT EXISTS shared (id int)")
    here.service.grant("shop", "guest", [DATABASE], asks("users grant"))
    with here.login(hop, user="guest") as session:
        session.execute("INSERT INTO shared VALUES (1)")
        session.execute("CREATE TABLE of_guest (id int)")
    with here.login(hop) as session:
        session.execute("SELECT * FROM of_guest")
        session.execute("CREATE TABLE later (id int)")
    with here.login(hop, user="guest") as session:
        session.execute("SELECT * FROM later")
    prove(here)
    assert here.service.grant("shop", "guest", [DATABASE], asks("users grant")).operation is None
    here.service.grant("shop", "guest", [DATABASE], asks("users revoke"), grant=False)
    assert "permission denied" in here.refused("direct", user="guest")
    here.service.delete_user("shop", "guest", asks("users delete"))
    assert here.control("SELECT tableowner FROM pg_tables WHERE tablename = 'of_guest'", DATABASE) == [(USER,)], "his things stay"
    with here.login("direct") as session:
        session.execute("DROP TABLE of_guest, later")
    prove(here)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_carried_exactly(here: Place, name: str) -> None:
    add(here, name, DATABASE)
    here.service.add_database("shop", name, name, None, asks("databases add"))
    for hop in HOPS:
        with here.login(hop, user=name, dbname=name) as session:
            assert scalar(session, "SELECT current_user || '/' || current_database()") == f"{name}/{name}"
    assert here.repair() == ()
    with pytest.raises(Conflict, match="owns database"):
        here.service.delete_user("shop", name, asks("users delete"))
    no = Voice(agrees=False)
    with pytest.raises(NotAgreed):
        here.service.delete_database("shop", name, no.caller("databases delete"))
    here.service.delete_database("shop", name, asks("databases delete"))
    here.service.delete_user("shop", name, asks("users delete"))
    for hop in HOPS:
        assert here.refused(hop, user=name)
    assert here.repair() == ()


@pytest.mark.parametrize("name", ["", "a\0b", "a\nb", " a", "a ", "b" * 64, "pg_x", "howdah_x", "postgres", "public", "\ud800", "e\u0301"])
def test_other_names_are_refused(here: Place, name: str) -> None:
    want = here.want()
    with pytest.raises(Invalid):
        add(here, name)
    with pytest.raises(Invalid):
        here.service.add_database("shop", name if name != "public" else "template1", None, None, asks("databases add"))
    assert here.want() == want


@pytest.mark.parametrize("password", ["pässwörd ☃", "Ⅸ ﬁne", "a b", "'\"\\;--$%", "x" * 512, "ＦＵＬＬ\u00a0width"])
def test_a_password_works_on_both_hops(here: Place, password: str) -> None:
    add(here, "someone", DATABASE, password=password)
    for hop in HOPS:
        with here.login(hop, user="someone", password=password) as session:
            assert scalar(session, "SELECT 1") == 1
    here.service.set_password("shop", "someone", Secret(password + "2"), asks("users password"))
    for hop in HOPS:
        with here.login(hop, user="someone", password=password + "2") as session:
            assert scalar(session, "SELECT 1") == 1
        assert here.refused(hop, user="someone", password=password), "the old one no longer does"
    here.service.delete_user("shop", "someone", asks("users delete"))


@pytest.mark.parametrize("password", ["", "a\nb", "a\0b", "x" * 2000, "md5" + "a" * 32, "SCRAM-SHA-256$4096:a$b:c"])
def test_what_cannot_be_a_password_is_refused(password: str) -> None:
    with pytest.raises(Invalid):
        check_password(password)


def test_a_made_password_is_kept_in_the_passfile_alone(here: Place) -> None:
    done = here.service.add_user("shop", "made", [DATABASE], None, asks("users add"))
    assert done.password is not None
    first = done.password[1].reveal()
    assert here.host.passfile(here.want(), "made") is not None
    again = here.service.add_user("shop", "made", [DATABASE], None, asks("users add"))
    assert again.password is not None, "nobody has seen it yet"
    here.service.password_shown(again)
    assert here.service.add_user("shop", "made", [DATABASE], None, asks("users add")).password is None
    assert here.refused("direct", user="made", password=first)
    with here.login(user="made", password=again.password[1].reveal()) as session:
        assert scalar(session, "SELECT 1") == 1
    here.service.delete_user("shop", "made", asks("users delete"))
    assert here.host.passfile(here.want(), "made") is None


def test_a_password_lies_nowhere(here: Place) -> None:
    here.control("ALTER ROLE postgres SET log_statement = 'all'")
    here.set({"log_statement": "all", "log_min_duration_statement": "0", "log_connections": "on"})
    add(here, "bird", DATABASE, password=CANARY)
    for hop in HOPS:
        here.login(hop, user="bird", password=CANARY).close()
        here.refused(hop, user="bird", password=CANARY + "!")
    here.service.set_password("shop", "bird", Secret(CANARY + "3"), asks("users password"))
    assert [path for path in here.home.rglob("*") if path.is_file() and _holds(path, CANARY.encode())] == []
    assert not any(CANARY in line for line in processes_below(here.home).values())
    log = "".join(path.read_text(errors="replace") for path in here.layout().log.iterdir())
    assert "SCRAM-SHA-256$" not in log, "nor does a verifier"
    here.service.delete_user("shop", "bird", asks("users delete"))
    here.set({}, ["log_statement", "log_min_duration_statement", "log_connections"])
    here.control("ALTER ROLE postgres RESET log_statement")


def _holds(path: Path, needle: bytes) -> bool:
    try:
        return needle in path.read_bytes()
    except FileNotFoundError:
        return False


def test_what_others_made_is_left_alone(here: Place) -> None:
    here.control("CREATE ROLE dba LOGIN PASSWORD 'dba'")
    here.control("CREATE DATABASE theirs")
    with pytest.raises(Conflict, match="made by others"):
        add(here, "dba")
    with pytest.raises(Conflict, match="made by others"):
        here.service.add_database("shop", "theirs", None, None, asks("databases add"))
    assert here.control("SELECT count(*) FROM pg_roles WHERE rolname = 'dba'") == [(1,)]
    assert here.control("SELECT count(*) FROM pg_database WHERE datname = 'theirs'") == [(1,)]
    prove(here)


def test_unknown_ones_are_not_found(here: Place) -> None:
    with pytest.raises(NotFound):
        here.service.delete_user("shop", "nobody", asks("users delete"))
    with pytest.raises(NotFound):
        here.service.delete_database("shop", "nothing", asks("databases delete"))
    with pytest.raises(NotFound):
        here.service.grant("shop", USER, ["nothing"], asks("users grant"))
    with pytest.raises(NotFound):
        here.service.set_password("shop", "nobody", Secret("x"), asks("users password"))


def test_a_locale_sorts_as_it_says(here: Place) -> None:
    here.service.add_database("shop", "german", USER, "de-DE", asks("databases add"))
    with here.login("direct", dbname="german") as session:
        rows = session.execute("SELECT w FROM (VALUES ('z'), ('ä'), ('a')) v(w) ORDER BY w").fetchall()
    assert [row[0] for row in rows] == ["a", "ä", "z"]
    with pytest.raises(Failed, match="locale"):
        here.service.add_database("shop", "nowhere", None, "qq-QQ", asks("databases add"))
    assert here.repair() == ()
