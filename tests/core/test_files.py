"""The texts that servers read: golden where a person would read them, and properties where somebody hostile would."""

from __future__ import annotations

import configparser
import ipaddress
import string
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.miniature import FACTS, HOME, conf_values

from howdah.catalog.extensions import extension
from howdah.core import files, lanes, wishes
from howdah.core.instance import Instance, Reach, check_network
from howdah.core.lanes import Lane
from howdah.core.layout import Layout
from howdah.core.observed import Facts, Pair
from howdah.errors import Invalid, Unsupported

POOLER = {"pool_mode": "transaction", "max_client_conn": "1000", "listen_port": "6432"}
REACH = Reach(("127.0.0.1", "::1"), ("db.example.org",), ("10.1.0.0/16", "2001:db8::/32"))
WANT = Instance("abcd1234", "shop", 15, 5432, extensions={"pooler": POOLER}, direct=REACH, pooled=REACH)
BARE = replace(WANT, extensions={}, direct=Reach(), pooled=Reach())
LAYOUT = Layout(HOME, WANT.id)
PAIR = Pair("7f", frozenset({"localhost"}), 0.0, 1.0, trusted=True)


def off(want: Instance) -> Instance:
    return replace(want, parameters={**want.parameters, "ssl": "off"})


def texts(want: Instance, layout: Layout = LAYOUT) -> dict[str, str]:
    return {each.name: each.text for each in files.server_files(want, layout, PAIR, FACTS)}


def ini(want: Instance, facts: Facts = FACTS, layout: Layout = LAYOUT) -> str:
    return next(each.text for each in files.pooler_files(want, layout, PAIR, facts) if each.name == "pgbouncer.ini")


def test_between_no_tls_and_tls_both_are_taken() -> None:
    lying, coming = ini(off(WANT)), ini(WANT)
    between = files.either_way(lying, coming)
    assert between is not None
    # the old file's names and digest, so that whoever comes here next sees that it is not yet what is wanted
    assert between.splitlines()[-1] == lying.splitlines()[-1]
    assert "client_tls_sslmode = allow\n" in between
    assert sorted({*between.splitlines()} - {*lying.splitlines()} - {*coming.splitlines()}) == ["client_tls_sslmode = allow"]
    assert [files.either_way(*pair) for pair in ((coming, lying), (coming, coming), (lying, lying), (between, coming))] == [None] * 4


# ── golden texts ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pg_hba_requires_tls_and_refuses_what_is_not_named() -> None:
    assert (
        files.server_hba(WANT)
        == """\
# written by howdah
local all postgres peer map=howdah
local template1 all reject
local all howdah_lookup peer map=howdah
local all all scram-sha-256
hostssl all howdah_lookup all reject
hostssl all postgres all reject
hostssl template1 all all reject
hostssl all all 127.0.0.1/32 scram-sha-256
hostssl all all ::1/128 scram-sha-256
hostssl all all 10.1.0.0/16 scram-sha-256
hostssl all all 2001:db8::/32 scram-sha-256
hostnossl all all all reject
"""
    )


def test_pg_hba_without_tls_and_without_a_pooler() -> None:
    assert (
        files.server_hba(off(BARE))
        == """\
# written by howdah
local all postgres peer map=howdah
local template1 all reject
local all all scram-sha-256
host all howdah_lookup all reject
host all postgres all reject
host template1 all all reject
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""
    )


def test_pg_ident_lets_in_its_own_users_and_the_lookup() -> None:
    assert (
        files.server_ident(FACTS)
        == """\
# written by howdah
howdah "root" postgres
howdah "postgres" postgres
howdah "pgbouncer" howdah_lookup
"""
    )
    alone = replace(FACTS, own_user="ann", server_user="ann", pooler_user="ann")
    assert files.server_ident(alone).splitlines()[1:] == ['howdah "ann" postgres', 'howdah "ann" howdah_lookup']


@pytest.mark.parametrize("user", ["/.*", 'a"b', "a\nb", "a\tb"])
def test_a_system_user_that_pg_ident_would_read_otherwise_is_refused(user: str) -> None:
    with pytest.raises(Unsupported) as refused:
        files.server_ident(replace(FACTS, own_user=user))
    assert refused.value.code == "bad_system_user"


HBA_CLOSED = """\
{kind} pgbouncer all 0.0.0.0/0 reject
{kind} pgbouncer all ::/0 reject
{kind} template1 all 0.0.0.0/0 reject
{kind} template1 all ::/0 reject
{kind} all all 127.0.0.1/32 scram-sha-256
{kind} all all ::1/128 scram-sha-256
"""


def test_the_pooler_s_hba_keeps_its_console_from_the_network() -> None:
    allowed = "hostssl all all 10.1.0.0/16 scram-sha-256\nhostssl all all 2001:db8::/32 scram-sha-256\n"
    assert files.pooler_hba(WANT) == HBA_CLOSED.format(kind="hostssl") + allowed
    assert files.pooler_hba(off(BARE)) == HBA_CLOSED.format(kind="host")


PGBOUNCER_INI = """\
; written by howdah; change it with `howdah extensions set`
[databases]
template1 = host='/srv/howdah/instances/abcd1234/pg/sock' port=5432 dbname=postgres
* = host='/srv/howdah/instances/abcd1234/pg/sock' port=5432
{peers}[pgbouncer]
{tls}auth_type = hba
auth_hba_file = /srv/howdah/instances/abcd1234/pool/hba.{hba}
auth_user = howdah_lookup
auth_query = SELECT uname, phash FROM howdah.user_lookup($1)
{dbname}auth_file = /srv/howdah/instances/abcd1234/pool/users.txt
admin_users = pgbouncer
so_reuseport = 1
pidfile = pid
logfile = log
listen_addr = 127.0.0.1,::1
server_tls_sslmode = disable
server_fast_close = 1
{id}application_name_add_host = 0
client_idle_timeout = 0
client_login_timeout = 15
default_pool_size = 20
idle_transaction_timeout = 0
listen_backlog = 4096
listen_port = 6432
log_connections = 0
log_disconnections = 0
max_client_conn = 1000
max_db_connections = 90
{prepared}max_user_connections = 0
min_pool_size = 0
pool_mode = transaction
query_timeout = 0
query_wait_timeout = 60
reserve_pool_size = 0
reserve_pool_timeout = 5
server_connect_timeout = 15
server_idle_timeout = 600
server_lifetime = 3600
server_login_retry = 0.1
tcp_keepcnt = 6
tcp_keepidle = 60
tcp_keepintvl = 10
"""

REQUIRE = f"""\
client_tls_sslmode = require
client_tls_protocols = secure
client_tls_ciphers = {files.CIPHERS}
client_tls_ecdhcurve = prime256v1
client_tls_key_file = /srv/howdah/instances/abcd1234/pool/tls/pooled.7f.key
client_tls_cert_file = /srv/howdah/instances/abcd1234/pool/tls/pooled.7f.crt
client_tls_ca_file = /srv/howdah/instances/abcd1234/pool/tls/pooled.7f.crt
"""
LAST = "ignore_startup_parameters = extra_float_digits,options,howdah."


@pytest.mark.parametrize("number", [(1, 18), (1, 19), (1, 21), (1, 25)])
@pytest.mark.parametrize("want", [WANT, off(WANT)], ids=["ssl on", "ssl off"])
def test_pgbouncer_ini(want: Instance, number: tuple[int, ...]) -> None:
    expected = PGBOUNCER_INI.format(
        tls=REQUIRE if want.tls else "client_tls_sslmode = disable\n",
        hba=files.digest(files.pooler_hba(want)),
        dbname="auth_dbname = postgres\n" if number >= (1, 19) else "",
        peers="[peers]\n9 = host='/srv/howdah/instances/abcd1234/pool/g1' port=6432\n" if number >= (1, 19) else "",
        id="peer_id = 9\n" if number >= (1, 19) else "",
        prepared="max_prepared_statements = 200\n" if number >= (1, 21) else "",
    )
    assert ini(want, replace(FACTS, pooler_version=number)) == f"{expected}{LAST}{files.digest(expected)}\n"


# ── what must hold of every text ─────────────────────────────────────────────────────────────────────────────────────────────────────

hostile = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=60)
lines = st.text(st.sampled_from("'\"\\#=;[] $%${}\t") | st.sampled_from(string.ascii_letters), max_size=40)
values = hostile | lines
roots = st.text(st.sampled_from("aB9 '\";#%=[]\\é"), min_size=1, max_size=20).map(lambda text: Path("/srv") / text.strip("/ ."))


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["log_line_prefix", "search_path", "default_text_search_config", "application_name"]), values), roots
)
def test_postgresql_conf_reads_back_to_exactly_what_is_wanted(given_values: dict[str, str], root: Path) -> None:
    want, layout = replace(WANT, parameters=given_values), Layout(root, WANT.id)
    found = conf_values(texts(want, layout)["postgresql.conf"])
    carried = found.pop(files.DIGEST_SETTING)
    assert found == files.server_parameters(want, layout, PAIR)
    assert carried == files.carried_digest(files.server_files(want, layout, PAIR, FACTS))


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_pgbouncer_ini_reads_back_to_exactly_what_is_wanted(data: st.DataObject) -> None:
    entry = extension("pooler")
    chosen = dict(POOLER)
    for name in data.draw(st.sets(st.sampled_from(sorted(entry.settings)), max_size=6)):
        one = entry.settings[name]
        words = st.sampled_from(one.choices or ("on", "off"))
        text = data.draw(st.integers(one.minimum, one.maximum).map(str) if one.kind in ("integer", "seconds") else words)
        chosen |= entry.parse({name: text})
    want = replace(WANT, extensions={"pooler": {**chosen, "processes": "1"}})
    text = ini(want)
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";",), strict=True)
    parser.read_string(text)
    assert parser.sections() == ["databases", "peers", "pgbouncer"]
    read = dict(parser["pgbouncer"])
    assert {name: read[name] for name in chosen if entry.settings[name].told} == {n: v for n, v in chosen.items() if entry.settings[n].told}
    assert read == dict(files.wanted_config(files.pooler_files(want, LAYOUT, PAIR, FACTS)))
    assert text.splitlines()[1] == "[databases]" and text.splitlines()[-1].startswith(LAST)


@given(st.integers(1, 3000), st.integers(1, lanes.MOST), st.lists(st.integers(0, 10**6), min_size=6, max_size=6))
def test_processes_share_every_limit_exactly_and_find_each_other(generation: int, count: int, limits: list[int]) -> None:
    settings = {name: str(total) for name, total in zip(sorted(lanes.DIVIDED), limits, strict=True)}
    every = [Lane(generation, number, count) for number in range(1, count + 1)]
    for name, total in settings.items():
        shares = [int(lane.share(settings)[name]) for lane in every]
        assert sum(shares) == int(total) and max(shares) - min(shares) <= 1
    assert every[0].share({"query_timeout": "5"}) == {"query_timeout": "5"}
    ids = {lanes.peer_id(*each): each for lane in every for each in lane.peers()}
    assert {lane.id for lane in every} <= ids.keys()
    assert len(ids) == len(set(ids.values())) and all(0 < each <= 16_383 for each in ids)
    later = Lane(generation + 8, 1, 1)
    assert all((generation, number) in later.peers() for number in range(1, lanes.MOST + 1)), "eight changes later it is found still"


@given(roots)
def test_a_home_with_quotes_stays_one_path_in_each_format(root: Path) -> None:
    layout = Layout(root, WANT.id)
    inside = conf_values(texts(WANT, layout)["postgresql.conf"])["unix_socket_directories"]
    assert inside[0] == inside[-1] == '"' and inside[1:-1].replace('""', '"') == str(layout.socket_dir)
    where = next(line for line in ini(WANT, layout=layout).splitlines() if line.startswith("* = "))
    quoted = where.removeprefix("* = host=").removesuffix(" port=5432")
    assert quoted[0] == quoted[-1] == "'" and quoted[1:-1].replace("''", "'") == str(layout.socket_dir)


def test_a_killed_server_need_not_sync_each_file_by_itself_where_it_can_do_otherwise() -> None:
    for version, expected in ((13, None), (14, "syncfs"), (18, "syncfs")):
        found = files.server_parameters(replace(BARE, version=version), LAYOUT, PAIR)
        assert found.get("recovery_init_sync_method") == expected
    asked = replace(BARE, parameters={"recovery_init_sync_method": "fsync"})
    assert files.server_parameters(asked, LAYOUT, PAIR)["recovery_init_sync_method"] == "fsync"


@pytest.mark.parametrize(
    ("want", "facts"),
    [
        (replace(WANT, parameters={"work_mem": "9MB"}), FACTS),
        (replace(WANT, direct=replace(REACH, allow=("10.2.0.0/16",))), FACTS),
        (WANT, replace(FACTS, own_user="ann")),
    ],
    ids=["postgresql.conf", "pg_hba.conf", "pg_ident.conf"],
)
def test_one_digest_speaks_for_three_files(want: Instance, facts: Facts) -> None:
    before, after = files.server_files(WANT, LAYOUT, PAIR, FACTS), files.server_files(want, LAYOUT, PAIR, facts)
    assert files.carried_digest(before) != files.carried_digest(after)
    assert [f.name for f in after] == ["postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf"]


@given(st.binary(min_size=1, max_size=60), st.data())
def test_a_digest_changes_when_any_byte_does(content: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(content) - 1))
    other = bytes([content[at] ^ data.draw(st.integers(1, 255))])
    changed = content[:at] + other + content[at + 1 :]
    assert files.digest(content.decode("latin-1")) != files.digest(changed.decode("latin-1"))
    assert files.digest(content.decode("latin-1"), "") != files.digest(content.decode("latin-1"))  # two texts are not one


def test_a_digest_stands_on_the_last_line_and_speaks_for_everything_above_it() -> None:
    for want in (WANT, off(WANT), BARE):
        conf = texts(want)["postgresql.conf"]
        *above, last = conf.splitlines(keepends=True)
        assert last.startswith(files.DIGEST_SETTING)
        hba, ident = files.server_hba(want), files.server_ident(FACTS)
        assert conf_values(last)[files.DIGEST_SETTING] == files.digest("".join(above), hba, ident)
    *above, last = ini(WANT).splitlines(keepends=True)
    assert last == f"{LAST}{files.digest(''.join(above))}\n"
    assert files.pooler_digest(files.pooler_files(WANT, LAYOUT, PAIR, FACTS)) == files.digest("".join(above))


@settings(deadline=None, max_examples=30)
@given(st.lists(st.ip_addresses().map(lambda a: str(ipaddress.ip_network(a))), max_size=6))
def test_access_rules_are_one_line_a_network_in_both_files(networks: list[str]) -> None:
    allow = tuple(map(check_network, networks))
    want = replace(WANT, direct=replace(REACH, allow=allow), pooled=replace(REACH, allow=allow))
    once = list(dict.fromkeys((*files.LOOPBACK_NETWORKS, *allow)))
    for text in (files.server_hba(want), files.pooler_hba(want)):
        admitted = [line.split()[3] for line in text.splitlines() if line.startswith("hostssl all all ") and "scram" in line]
        assert admitted == once


# ── no line can be smuggled in ───────────────────────────────────────────────────────────────────────────────────────────────────────

newlines = st.tuples(st.text(max_size=8), st.sampled_from("\n\r\0"), st.text(max_size=8)).map("".join)


@settings(deadline=None)
@given(newlines, st.sampled_from(["log_line_prefix", "search_path", "application_name", "timezone", "work_mem"]))
def test_a_parameter_s_value_with_a_line_break_is_refused(text: str, name: str) -> None:
    with pytest.raises(Invalid):
        wishes.with_parameters(WANT, {name: text}, (), FACTS, restart=True)


@settings(deadline=None)
@given(newlines)
def test_no_other_text_of_a_request_carries_a_line_break_into_a_file(text: str) -> None:
    attempts: tuple[Callable[[], object], ...] = (
        lambda: wishes.with_parameters(WANT, {text: "1"}, (), FACTS, restart=True),
        lambda: wishes.with_extension_settings(WANT, "pooler", {text: "1"}, FACTS),
        lambda: wishes.with_extension_settings(WANT, "pooler", {"pool_mode": text}, FACTS),
        lambda: wishes.with_extension_settings(WANT, "pooler", {"query_timeout": text}, FACTS),
        lambda: wishes.with_extension_settings(WANT, "pooler", {"log_connections": text}, FACTS),
        lambda: wishes.with_reach(WANT, ("direct",), (text,), (), ()),
        lambda: wishes.with_reach(WANT, ("direct",), (), (text,), ()),
        lambda: wishes.with_reach(WANT, ("direct",), (), (), (text,)),
    )
    for asked in attempts:
        with pytest.raises(Invalid):
            asked()


@settings(deadline=None)
@given(values)
def test_whatever_value_a_free_text_takes_is_carried_exactly_or_refused(text: str) -> None:
    try:
        want, _ = wishes.with_parameters(WANT, {"log_line_prefix": text}, (), FACTS, restart=True)
    except Invalid:
        return
    assert conf_values(texts(want)["postgresql.conf"])["log_line_prefix"] == text
    assert texts(want)["postgresql.conf"].count("\n") == texts(WANT)["postgresql.conf"].count("\n")
