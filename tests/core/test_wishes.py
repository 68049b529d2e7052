"""From a request to the next record: what is taken, what is the same again, what is refused and under which code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.miniature import FACTS

from howdah.core import wishes
from howdah.core.instance import Database, Instance, Reach, User, check_name, check_password, from_record, shown, to_record
from howdah.core.observed import Facts
from howdah.core.wishes import Change, Creation
from howdah.errors import Conflict, Invalid, NotFound, Refusal, Unavailable
from howdah.secret import Secret

VERIFIER = Secret("SCRAM-SHA-256$4096:x")
POOLER = {"pool_mode": "transaction", "max_client_conn": "1000", "listen_port": "6432"}
WANT = Instance("abcd1234", "shop", 15, 5432, settled=True)
PEOPLED = replace(WANT, databases=(Database("orders", "app"), Database("wiki")), users=(User("app", VERIFIER, ("orders",)),))


def refused(call: Callable[[], object], kind: type[Refusal], code: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    assert (type(caught.value), caught.value.code) == (kind, code)
    return caught.value


def facts(*version: int) -> Facts:
    return replace(FACTS, pooler_version=version)


# ── creation ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def born(request: Creation, told: Facts = FACTS) -> Instance:
    return wishes.born(request.checked(), told, "abcd1234", 15, 5432, 6432)


def test_a_request_is_brought_into_its_canonical_form() -> None:
    request = Creation(
        "shop",
        listen=("0:0::1", "::1"),
        hostnames=("DB.Example.org", "db.example.org"),
        allow=("10.0.0.0/255.0.0.0",),
        extensions={"pooler": {"pool_mode": "SESSION", "log_connections": "on"}},
    ).checked()
    assert (request.listen, request.hostnames, request.allow) == (("::1",), ("db.example.org",), ("10.0.0.0/8",))
    assert request.extensions == {"pooler": {"pool_mode": "session", "log_connections": "1"}}


@pytest.mark.parametrize(
    ("given_parts", "kind", "code"),
    [
        ({"name": ""}, Invalid, "invalid_name"),
        ({"name": "-rf"}, Invalid, "invalid_name"),
        ({"name": "a/b"}, Invalid, "invalid_name"),
        ({"name": "a" * 64}, Invalid, "invalid_name"),
        ({"user": "app"}, Invalid, "incomplete"),
        ({"size": "huge"}, Invalid, "unknown_size"),
        ({"port": 80}, Invalid, "invalid_port"),
        ({"port": 65_536}, Invalid, "invalid_port"),
        ({"listen": ("localhost",)}, Invalid, "invalid_address"),
        ({"listen": ("224.0.0.1",)}, Invalid, "invalid_address"),
        ({"listen": ("fe80::1%eth0",)}, Invalid, "invalid_address"),
        ({"hostnames": ("*.example.org",)}, Invalid, "invalid_hostname"),
        ({"allow": ("10.0.0.1/8",)}, Invalid, "invalid_network"),
        ({"allow": ("everybody",)}, Invalid, "invalid_network"),
        ({"extensions": {"postgis": {}}}, NotFound, "unknown_extension"),
        ({"extensions": {"pooler": {"auth_type": "any"}}}, Invalid, "unknown_setting"),
        ({"extensions": {"pooler": {"query_timeout": "-1"}}}, Invalid, "invalid_value"),
        ({"database": "postgres"}, Invalid, "reserved_name"),
        ({"database": "PgBouncer"}, Invalid, "reserved_name"),
        ({"database": "d", "user": "Postgres"}, Invalid, "reserved_name"),
        ({"database": "d", "user": "pg_monitor"}, Invalid, "reserved_name"),
        ({"database": "d", "user": "howdah_probe"}, Invalid, "reserved_name"),
    ],
)
def test_a_request_that_can_never_be_right_is_refused(given_parts: dict[str, Any], kind: type[Refusal], code: str) -> None:
    refused(Creation(**{"name": "shop", **given_parts}).checked, kind, code)


def test_an_instance_is_born_with_what_was_asked_and_sound_defaults() -> None:
    request = Creation("shop", size="tiny", parameters={"Work_Mem": "9MB"}, extensions={"pooler": {}}, database="orders", user="app")
    want = born(request)
    assert (want.generation, want.size, want.port, want.tls, want.settled) == (1, "tiny", 5432, True, False)
    assert want.direct == want.pooled == Reach(("127.0.0.1", "::1"))
    assert want.parameters == {"work_mem": "9MB"} and want.databases == (Database("orders", "app"),)
    assert want.pooler == POOLER
    assert born(request, replace(FACTS, loopback_v6=False)).direct == Reach(("127.0.0.1",))


def test_a_creation_that_does_not_fit_is_refused_before_anything_is_made() -> None:
    clients = Creation("shop", extensions={"pooler": {"max_client_conn": "900000"}})
    refused(lambda: born(clients), Invalid, "does_not_fit")
    refused(lambda: born(Creation("shop", parameters={"max_connections": "0"})), Invalid, "invalid_value")
    refused(lambda: born(Creation("shop", extensions={"pooler": {}}), facts()), Unavailable, "no_pgbouncer")


def test_the_pooler_s_clients_are_chosen_beside_the_connections_that_were_asked_for() -> None:
    scarce = replace(FACTS, nofile=1024)
    want = born(Creation("shop", parameters={"max_connections": "200"}, extensions={"pooler": {}}), scarce)
    assert want.pooler == {**POOLER, "max_client_conn": "770"}  # 1024 - 64 of its own - 190 to PostgreSQL


def test_a_creation_cannot_set_as_a_parameter_what_its_extension_brings() -> None:
    request = Creation("shop", parameters={"pg_stat_statements.max": "900"}, extensions={"pg_stat_statements": {}})
    refused(lambda: born(request), Invalid, "managed_parameter")


SAID = Creation(
    "shop",
    version=15,
    size="small",
    port=5432,
    listen=("127.0.0.1",),
    hostnames=("db.example.org",),
    allow=("10.0.0.0/8",),
    parameters={"work_mem": "8MB"},
    extensions={"pooler": {"query_timeout": "9"}},
    database="orders",
    user="app",
)


def test_the_same_wish_again_does_not_differ() -> None:
    want = replace(born(SAID), users=(User("app", VERIFIER, ("orders",)),))
    assert wishes.differs(SAID.checked(), want) is None
    assert wishes.differs(Creation("shop"), want) is None  # what is not said is not asked
    assert wishes.differs(replace(SAID, parameters={"WORK_MEM": "8192kB", "ssl": "yes"}), want) is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 16}, "--version"),
        ({"size": "tiny"}, "--size"),
        ({"port": 5433}, "--port"),
        ({"listen": ("::1",)}, "--listen"),
        ({"hostnames": ("db2.example.org",)}, "--hostname"),
        ({"allow": ("10.0.0.0/16",)}, "--allow"),
        ({"database": "other"}, "--database"),
        ({"user": "ann"}, "--user"),
        ({"parameters": {"work_mem": "9MB"}}, "--param work_mem"),
        ({"parameters": {"ssl": "off"}}, "--param ssl"),
        ({"parameters": {"jit": "off"}}, "--param jit"),
        ({"extensions": {"pg_stat_statements": {}}}, "--extension pg_stat_statements"),
        ({"extensions": {"pooler": {"query_timeout": "8"}}}, "--extension pooler"),
    ],
)
def test_another_wish_of_the_same_name_says_in_what_it_differs(change: dict[str, Any], named: str) -> None:
    want = replace(born(SAID), users=(User("app", VERIFIER, ("orders",)),))
    assert wishes.differs(replace(SAID, **change).checked(), want) == named


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def params(want: Instance, given_values: dict[str, str], *unset: str, restart: bool = True) -> tuple[Instance, tuple[Change, ...]]:
    return wishes.with_parameters(want, given_values, unset, FACTS, restart=restart)


def test_a_parameter_is_set_and_unset() -> None:
    after, changes = params(WANT, {"Work_Mem": "9MB"})
    assert (after.generation, after.parameters, after.deferred) == (2, {"work_mem": "9MB"}, ())
    assert changes == (Change("work_mem", "4MB", "9MB", "reload"),)
    back, changes = params(after, {}, "WORK_MEM")
    assert back.parameters == {} and [c.old for c in changes] == ["9MB"]
    assert back == replace(WANT, generation=3)


@pytest.mark.parametrize("same", ["9MB", "9216kB", "9216", " 9MB "])
def test_the_same_value_in_another_unit_changes_nothing(same: str) -> None:
    want = replace(WANT, parameters={"work_mem": "9MB"})
    assert params(want, {"work_mem": same}) == (want, ())
    assert params(want, {"work_mem": same})[0] is want  # the very record: no generation, no operation


def test_unsetting_what_nobody_set_changes_nothing() -> None:
    assert params(WANT, {}, "work_mem")[0] is WANT


def test_a_restart_may_wait_and_is_released_later() -> None:
    waiting, [change] = params(WANT, {"max_connections": "90"}, restart=False)
    assert change.how == "restart" and wishes.restart_names((change,)) == ("max_connections",)
    assert waiting.deferred == ("max_connections",)
    more, _ = params(waiting, {"shared_buffers": "64MB"}, restart=False)
    assert more.deferred == ("max_connections", "shared_buffers")
    assert params(more, {"work_mem": "9MB"})[0].deferred == more.deferred  # a reload does not release what waits
    again, changes = params(more, {"max_connections": "90"})
    assert again.deferred == () and changes == () and again.generation == more.generation + 1
    assert params(more, {"max_connections": "80"})[0].deferred == ()


@pytest.mark.parametrize(
    ("given_values", "unset", "code"),
    [
        ({"work_mem": "9MB"}, ("work_mem",), "contradiction"),
        ({"workmem": "9MB"}, (), "unknown_parameter"),
        ({}, ("workmem",), "unknown_parameter"),
        ({"work_mem": "lots"}, (), "invalid_value"),
        ({"listen_addresses": "*"}, (), "managed_parameter"),
        ({"ssl_ciphers": "ALL"}, (), "managed_parameter"),
        ({"archive_command": "rm -rf /"}, (), "refused_parameter"),
    ],
)
def test_parameters_that_cannot_be_set(given_values: dict[str, str], unset: tuple[str, ...], code: str) -> None:
    refused(lambda: params(WANT, given_values, *unset), Invalid, code)


def test_a_parameter_that_an_extension_brings_is_set_there() -> None:
    counted = replace(WANT, extensions={"pg_stat_statements": {}})
    said = refused(lambda: params(counted, {"pg_stat_statements.max": "900"}), Invalid, "managed_parameter")
    assert "howdah extensions set shop pg_stat_statements pg_stat_statements.max=VALUE" in str(said.hint)


def test_parameters_answer_to_the_budget() -> None:
    pooled = replace(WANT, extensions={"pooler": {**POOLER, "default_pool_size": "60"}})
    refused(lambda: params(pooled, {"max_connections": "50"}), Invalid, "does_not_fit")


# ── extensions ───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def added(want: Instance, name: str, told: Facts = FACTS, **given_values: str) -> Instance:
    return wishes.with_extension(want, name, given_values, told, 6432)


@pytest.mark.parametrize(
    ("version", "mode"), [((1, 18), "session"), ((1, 20), "session"), ((1, 21), "transaction"), ((1, 26), "transaction")]
)
def test_the_pooler_s_defaults_are_chosen_by_version_and_then_stay(version: tuple[int, ...], mode: str) -> None:
    want = added(WANT, "pooler", facts(*version))
    assert want.generation == 2 and want.pooler == {**POOLER, "pool_mode": mode}
    assert mode in str(wishes.explain_mode(facts(*version)))
    assert wishes.with_extension_settings(want, "pooler", {"query_timeout": "9"}, facts(1, 26))[0].extensions["pooler"]["pool_mode"] == mode


def test_what_is_asked_outweighs_what_would_be_chosen() -> None:
    want = added(WANT, "pooler", pool_mode="statement", max_client_conn="50", listen_port="7000")
    assert want.pooler == {"pool_mode": "statement", "max_client_conn": "50", "listen_port": "7000"}


def test_an_extension_added_again_is_the_same_or_a_conflict() -> None:
    want = added(WANT, "pooler", query_timeout="9")
    assert added(want, "pooler") is want
    assert added(want, "pooler", query_timeout="9") is want
    said = refused(lambda: added(want, "pooler", query_timeout="8"), Conflict, "already_added")
    assert str(said.hint) == "howdah extensions set shop pooler query_timeout=VALUE"


def test_a_setting_that_this_pgbouncer_does_not_know_is_refused() -> None:
    old = facts(1, 18)
    refused(lambda: added(WANT, "pooler", old, max_prepared_statements="9"), Invalid, "unsupported_setting")
    want = added(WANT, "pooler", old)
    asked = {"max_prepared_statements": "9"}
    refused(lambda: wishes.with_extension_settings(want, "pooler", asked, facts(1, 20)), Invalid, "unsupported_setting")
    assert wishes.with_extension_settings(want, "pooler", asked, facts(1, 21))[0].extensions["pooler"]["max_prepared_statements"] == "9"


def test_settings_of_an_extension_change_each_in_their_way() -> None:
    want = replace(WANT, extensions={"pooler": POOLER, "pg_stat_statements": {}})
    after, changes = wishes.with_extension_settings(want, "pooler", {"listen_port": "6433", "query_timeout": "9"}, FACTS)
    assert changes == (Change("listen_port", "6432", "6433", "takeover"), Change("query_timeout", "0", "9", "reload"))
    assert after.hop_port("pooled") == 6433 and after.generation == 2
    given_values = {"pg_stat_statements.max": "900", "pg_stat_statements.track": "all"}
    _, changes = wishes.with_extension_settings(want, "pg_stat_statements", given_values, FACTS)
    assert [(c.name, c.how) for c in changes] == [("pg_stat_statements.max", "restart"), ("pg_stat_statements.track", "reload")]
    assert wishes.with_extension_settings(want, "pooler", {"pool_mode": "Transaction"}, FACTS) == (want, ())
    refused(lambda: wishes.with_extension_settings(WANT, "pooler", {}, FACTS), NotFound, "not_added")


def test_an_extension_goes_with_its_settings() -> None:
    want = added(WANT, "pooler")
    assert wishes.without_extension(want, "pooler") == replace(WANT, generation=3)
    assert wishes.without_extension(WANT, "pooler") is WANT
    refused(lambda: wishes.without_extension(WANT, "postgis"), NotFound, "unknown_extension")


# ── reach ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_reach_changes_what_is_said_on_the_hops_that_are_named() -> None:
    after, changes = wishes.with_reach(WANT, ("pooled",), ("0.0.0.0",), (), ("10.0.0.0/8",))
    assert after.pooled == Reach(("0.0.0.0",), (), ("10.0.0.0/8",)) and after.direct == WANT.direct
    assert [(c.name, c.how) for c in changes] == [("pooled.listen", "takeover"), ("pooled.allow", "reload")]
    again, nothing = wishes.with_reach(after, ("pooled",), ("0.0.0.0", "0.0.0.0"), (), ())
    assert again is after and nothing == ()
    _, [change] = wishes.with_reach(WANT, ("direct",), ("::1",), (), ())
    assert change == Change("direct.listen", "127.0.0.1", "::1", "restart")


# ── databases, users, grants ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_databases_come_and_go() -> None:
    after = wishes.with_database(PEOPLED, "more", "app", "de-DE")
    assert after.databases[-1] == Database("more", "app", "de-DE") and after.generation == 2
    assert wishes.with_database(after, "more", None, None) is after
    assert wishes.with_database(after, "more", "app", "de-DE") is after
    refused(lambda: wishes.with_database(after, "more", "ann", None), Conflict, "already_there")
    refused(lambda: wishes.with_database(after, "more", None, "fr-FR"), Conflict, "already_there")
    refused(lambda: wishes.with_database(WANT, "more", "nobody", None), NotFound, "no_such_user")
    gone = wishes.without_database(PEOPLED, "orders")
    assert gone.databases == (Database("wiki"),) and gone.users[0].databases == ()
    refused(lambda: wishes.without_database(WANT, "orders"), NotFound, "no_such_database")


def test_users_come_and_go() -> None:
    after = wishes.with_user(PEOPLED, "ann", VERIFIER, ("wiki", "wiki"), shown_once=False)
    assert after.users[-1] == User("ann", VERIFIER, ("wiki",), shown=False)
    assert wishes.mark_shown(after, "ann").users[-1].shown and wishes.mark_shown(after, "ann").generation == after.generation
    refused(lambda: wishes.with_user(WANT, "ann", VERIFIER, ("nowhere",), shown_once=True), NotFound, "no_such_database")
    changed = wishes.with_password(after, "ann", Secret("other"), shown_once=True)
    assert changed.users[-1] == User("ann", Secret("other"), ("wiki",), shown=True)
    refused(lambda: wishes.with_password(WANT, "ann", VERIFIER, shown_once=True), NotFound, "no_such_user")
    assert wishes.without_user(after, "ann").users == PEOPLED.users
    refused(lambda: wishes.without_user(WANT, "ann"), NotFound, "no_such_user")


def test_who_owns_a_database_is_neither_deleted_nor_shut_out() -> None:
    said = refused(lambda: wishes.without_user(PEOPLED, "app"), Conflict, "owns_database")
    assert str(said.hint).endswith("howdah databases delete shop orders")
    refused(lambda: wishes.with_grants(PEOPLED, "app", ("orders",), grant=False), Conflict, "owns_database")
    assert wishes.without_user(wishes.without_database(PEOPLED, "orders"), "app").users == ()


def test_rights_are_given_and_taken() -> None:
    after = wishes.with_grants(PEOPLED, "app", ("wiki", "orders"), grant=True)
    assert after.users[0].databases == ("orders", "wiki") and after.generation == 2
    assert wishes.with_grants(after, "app", ("wiki",), grant=True) is after
    assert wishes.with_grants(after, "app", ("wiki",), grant=False).users == PEOPLED.users
    assert wishes.with_grants(PEOPLED, "app", ("wiki",), grant=False) is PEOPLED
    refused(lambda: wishes.with_grants(PEOPLED, "app", ("nowhere",), grant=True), NotFound, "no_such_database")
    refused(lambda: wishes.with_grants(PEOPLED, "nobody", ("wiki",), grant=True), NotFound, "no_such_user")


# ── hostile names ────────────────────────────────────────────────────────────────────────────────────────────────────────────────────

names = st.text(max_size=70) | st.text(st.sampled_from("aé '\"\\;$\n\t\0\u202e\u0301../"), max_size=30)


@settings(deadline=None)
@given(names)
def test_a_name_of_a_user_or_database_is_carried_exactly_or_refused(name: str) -> None:
    attempts: tuple[Callable[[], Instance], ...] = (
        lambda: wishes.with_user(WANT, name, VERIFIER, (), shown_once=True),
        lambda: wishes.with_database(WANT, name, None, None),
    )
    for wish in attempts:
        try:
            after = wish()
        except Invalid as refusal:
            assert refusal.code in ("invalid_name", "reserved_name")
            assert str(refusal.message).isprintable() and len(str(refusal.message)) < 600
            continue
        assert name in {*(u.name for u in after.users), *(d.name for d in after.databases)}
        assert 1 <= len(name.encode()) <= 63 and name.isprintable() and name == name.strip()
        assert from_record(to_record(after)) == after


@pytest.mark.parametrize(
    "name", ["Robert'); DROP TABLE s;--", 'a"b', "a b", "$user", "-x", "#", "ünï", "a" * 63, "é" * 31, "a\\b", "\u65e5"]
)
def test_odd_names_that_are_legal_are_carried(name: str) -> None:
    assert wishes.with_database(WANT, name, None, None).databases == (Database(name),)


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\0b", "a" * 64, "é" * 32, "e\u0301", "a\u202eb", "a\ud800", "a\u2028b"])
def test_names_that_something_would_carry_otherwise_are_refused(name: str) -> None:
    refused(lambda: wishes.with_database(WANT, name, None, None), Invalid, "invalid_name")
    refused(lambda: wishes.with_user(WANT, name, VERIFIER, (), shown_once=True), Invalid, "invalid_name")


@given(names)
def test_an_instance_s_name_is_plain_or_refused(name: str) -> None:
    try:
        assert check_name(name) == name
    except Invalid as refusal:
        assert str(refusal.message).isprintable()
    else:
        assert name.isascii() and not set(name) & set("/\\ '\"\n") and name[0].isalnum()


@given(st.text(max_size=200))
def test_hostile_text_in_a_message_is_printable_and_short(text: str) -> None:
    assert shown(text).isprintable() and len(shown(text)) < 900


@pytest.mark.parametrize("text", ["", "a\nb", "a\0", "x" * 1025, "\ud800", "SCRAM-SHA-256$4096:abc", "md5" + "0" * 32])
def test_what_cannot_be_a_password_is_refused_and_not_repeated(text: str) -> None:
    said = refused(lambda: check_password(text), Invalid, "invalid_password")
    assert not text or text not in str(said.message)


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=100))
def test_a_password_is_carried_exactly_and_never_shown(text: str) -> None:
    if text.startswith(("SCRAM-SHA-256$", "md5")):
        return
    secret = check_password(text)
    assert secret.reveal() == text and f"{secret!r}{secret}" == "******"
