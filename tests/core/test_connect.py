"""Snippets as text: each format's own rules carry every name unchanged, and each pool mode brings the settings that it needs."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from howdah.connect import Snippet, SslMode, Target, _driver, _libpq, clients, snippet
from howdah.core.endpoint import Endpoint
from howdah.core.instance import Hop
from howdah.errors import Invalid, NotFound, Unsupported
from howdah.secret import Secret

PYTHON = ("python", "sqlalchemy", "django")
MODES: tuple[str | None, ...] = (None, "session", "transaction", "statement")
PRINTABLE = st.characters(exclude_categories=("C", "Zl", "Zp"))
NAMES = st.text(PRINTABLE, min_size=1, max_size=40).map(str.strip).filter(bool)
PATHS = NAMES.map(lambda name: Path("/srv") / name.replace("/", "-"))


def target(mode: str | None = None, sslmode: SslMode = "verify-full", prepared: bool = False, host: str = "127.0.0.1") -> Target:
    hop: Hop = "direct" if mode is None else "pooled"
    endpoint = Endpoint(hop, host, 6432, sslmode != "disable", (host,))
    direct = replace(endpoint, kind="direct", port=5432) if mode is not None else None
    return Target(endpoint, "shop", "app", sslmode, Path("/srv/ca.crt"), Path("/srv/pass"), mode, "demo", prepared, direct)


@st.composite
def targets(draw: st.DrawFn) -> Target:
    made = target(draw(st.sampled_from(MODES)), draw(st.sampled_from(get_args(SslMode))), draw(st.booleans()))
    host = draw(st.sampled_from(["127.0.0.1", "::1", "db.example.org"]))
    passfile = draw(st.none() | PATHS)
    endpoint = replace(made.endpoint, host=host)
    made = replace(made, direct=replace(made.direct, host=host) if made.direct is not None else None)
    return replace(made, endpoint=endpoint, database=draw(NAMES), user=draw(NAMES), ca_file=draw(PATHS), passfile=passfile)


def texts(found: Snippet) -> str:
    return "\n".join([found.text, *found.files.values(), *map(str, found.notes)])


def unfit(client: str, mode: str | None, prepared: bool) -> bool:
    return client == "asyncpg" and mode == "statement" and not prepared


@pytest.mark.parametrize("client", clients())
def test_every_client_speaks_of_every_target(client: str) -> None:
    for mode, sslmode, prepared in product(MODES, get_args(SslMode), (True, False)):
        if unfit(client, mode, prepared):
            with pytest.raises(Unsupported, match="asyncpg"):
                snippet(client, target(mode, sslmode, prepared))
            continue
        found = snippet(client, target(mode, sslmode, prepared))
        assert found.client == client and str(found.title) and found.filename
        assert found.text.endswith("\n") and "6432" in found.text
        assert ("/srv/ca.crt" in found.text) == (sslmode == "verify-full")
        assert "/srv/pass" in texts(found)
        assert not found.files or found.text in found.files.values() or found.files[found.filename]
        if found.language == "python":
            ast.parse(found.text)
            assert found.needs


def test_an_unknown_client_is_told_which_there_are() -> None:
    with pytest.raises(NotFound) as refused:
        snippet("_libpq", target())
    assert "psql" in str(refused.value.hint)


@pytest.mark.parametrize("client", clients())
@pytest.mark.parametrize("value", ["a\nb", "a\0b", "", "a\u2028b", "\u202eab", "a\ud800"])
def test_what_no_line_carries_is_refused(client: str, value: str) -> None:
    for bad in (replace(target(), database=value), replace(target(), user=value)):
        with pytest.raises(Invalid, match="cannot write"):
            snippet(client, bad)
    with pytest.raises(Invalid):
        snippet(client, replace(target(), instance=value))


@given(targets())
def test_psql_and_uri_are_read_back_by_libpq(wanted: Target) -> None:
    pairs = _libpq.keywords(wanted)
    program, text = shlex.split(snippet("psql", wanted).text)
    assert program == "psql" and conninfo_to_dict(text) == pairs
    assert conninfo_to_dict(snippet("uri", wanted).text.strip()) == {k: v for k, v in pairs.items() if k != "channel_binding"}


@given(targets())
def test_env_is_read_back_by_a_shell_lexer(wanted: Target) -> None:
    unset, *exports = snippet("env", wanted).text.splitlines()
    words = [shlex.split(line) for line in exports]
    assert all(first == "export" and len(rest) == 1 for first, *rest in words)
    found = dict(rest[0].split("=", 1) for _, *rest in words)
    assert found == {_libpq.VARIABLES[key]: value for key, value in _libpq.keywords(wanted).items()}
    assert not set(shlex.split(unset)) & set(found)


@given(targets())
def test_service_lines_carry_values_as_they_are(wanted: Target) -> None:
    header, *lines = snippet("service", wanted).text.removesuffix("\n").split("\n")
    assert header == f"[{wanted.label}]"
    assert dict(line.split("=", 1) for line in lines) == _libpq.keywords(wanted)


@pytest.mark.parametrize("change", [{"database": "ends in a blank "}, {"passfile": Path("/" + "x" * 1100)}])
def test_service_refuses_what_its_file_cannot_carry(change: dict[str, str | Path]) -> None:
    with pytest.raises(Unsupported, match="cannot write"):
        snippet("service", replace(target(), **change))  # type: ignore[arg-type]


@given(targets(), st.sampled_from(PYTHON))
def test_python_literals_are_the_values(wanted: Target, client: str) -> None:
    tree = ast.parse(snippet(client, wanted).text)
    constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    assert {*_libpq.keywords(wanted).values(), 6432} - {"6432"} <= constants


@given(NAMES, NAMES, NAMES)
def test_a_passfile_line_has_five_fields(database: str, user: str, password: str) -> None:
    line = _libpq.passfile_line(replace(target(host="::1"), database=database, user=user), Secret(password)).reveal()
    fields = re.findall(r"(?:\\.|[^:\\])+", line)
    assert [re.sub(r"\\(.)", r"\1", field) for field in fields] == ["::1", "6432", database, user, password]


@pytest.mark.parametrize("client", clients())
def test_a_password_stands_in_a_text_only_where_that_was_asked_for(client: str) -> None:
    wanted = replace(target("session"), password=Secret("p@ss:w/ü'"), ca_pem="-----BEGIN\n")
    if client not in ("dotenv", "kubernetes"):
        with pytest.raises(Unsupported, match="cannot write a password"):
            snippet(client, wanted)
        return
    assert "app:p%40ss%3Aw%2F%C3%BC%27@127.0.0.1" in snippet(client, wanted).text
    assert "p%40ss" not in snippet(client, replace(wanted, password=None)).text


def test_django_gets_its_setting_alone_with_the_way_past_the_pooler() -> None:
    made: dict[str, dict[str, dict[str, object]]] = {}
    exec(snippet("django", target("transaction", prepared=True)).files["databases.py"], made)
    ways = made["DATABASES"]
    assert [ways[way]["PORT"] for way in ("default", "direct")] == [6432, 5432]
    assert ways["default"]["DISABLE_SERVER_SIDE_CURSORS"] is True and "DISABLE_SERVER_SIDE_CURSORS" not in ways["direct"]


def test_without_a_passfile_the_line_to_write_is_shown() -> None:
    found = snippet("service", replace(target(host="::1"), passfile=None))
    assert set(found.files) == {"pg_service.conf", "pgpass", "demo-direct-try.sh"}
    assert found.files["pgpass"] == "\\:\\:1:6432:shop:app:PASSWORD\n"
    assert "passfile" not in found.text


# What is no program and has none beside it: files that frameworks and graphical clients read
NO_PROGRAM = ("dotenv", "fields", "kubernetes", "terraform")


@pytest.mark.parametrize("client", [each for each in clients() if each not in NO_PROGRAM])
def test_a_program_says_who_sees_what(client: str) -> None:
    pooled, direct = (snippet(client, target(mode, "verify-full")) for mode in ("session", None))
    texts = ["".join((made.text, *made.files.values())) for made in (pooled, direct)]
    assert "encrypted (to the pooler" in texts[0] and "protected (from the pooler to PostgreSQL, as PostgreSQL sees it)" in texts[0]
    assert "encrypted (as PostgreSQL sees this session)" in texts[1] and "protected" not in texts[1].replace(
        "answer|encrypted|protected", ""
    )
    assert pooled.needs


FACTS = (
    "require",
    "verif",
    r"sslrootcert|\bCA\b|Root Certificate",
    "SNI",
    "channel.?binding",
    "prepare",
    "cursor",
    "keepalive",
    "https://",
)


@pytest.mark.parametrize("client", [each for each in clients() if each not in NO_PROGRAM])
def test_the_facts_of_a_driver_stand_in_its_file_with_their_source(client: str) -> None:
    """In its own, or in that of what it stands on."""
    text = importlib.import_module(f"howdah.connect.{client}").__doc__ or ""
    stands_on = {"libpq": "_libpq", "pgx": "_go", "pgJDBC": "jdbc", "node-postgres": "node"}
    shared = ("_libpq",) if client in ("psql", "uri", "conninfo", "env", "service", "pgbench") else ()
    for module in (*shared, *(name for word, name in stands_on.items() if word in text and name != client)):
        text += importlib.import_module(f"howdah.connect.{module}").__doc__ or ""
    missing = [fact for fact in FACTS if not re.search(fact, text, re.IGNORECASE)]
    assert not missing


@pytest.mark.parametrize("client", clients())
def test_require_never_names_a_root_certificate_and_says_that_it_verifies_nothing(client: str) -> None:
    found = snippet(client, target("session", "require"))
    assert "sslrootcert=" not in found.text and '"sslrootcert"' not in found.text
    assert "~/.postgresql/root.crt" in texts(found) or "verifies nothing" in texts(found) or "does not verify" in texts(found)


# Whose words for it are in no text, or that do not know it (asyncpg), or not in Debian's version (JDBC)
UNBOUND = ("uri", "asyncpg", "prisma", "jdbc", "spring", "fields", "dotenv", "terraform")


@pytest.mark.parametrize("client", clients())
def test_channel_binding_is_for_the_direct_hop_alone(client: str) -> None:
    wants = re.compile(r"(channel_binding|PGCHANNELBINDING|Channel Binding|enableChannelBinding)\W+(require|true)", re.IGNORECASE)
    assert bool(wants.search(snippet(client, target()).text)) == (client not in UNBOUND)
    assert not wants.search(snippet(client, target(None, "disable")).text)
    pooled = [target(mode, "require", prepared=True) for mode in MODES[1:]]
    assert not any(wants.search(snippet(client, wanted).text) for wanted in pooled)


@pytest.mark.parametrize("client", clients())
def test_a_pooled_target_knows_the_way_past_the_pooler(client: str) -> None:
    wanted = target("transaction", prepared=True).unpooled
    assert (wanted == target() and wanted.unpooled == wanted == replace(target(), endpoint=wanted.endpoint)) or wanted.endpoint.port == 5432
    assert "5432" in snippet(client, wanted).text and "6432" not in snippet(client, wanted).text


def test_both_urls_of_frameworks_are_there() -> None:
    for client in ("prisma", "spring"):
        for mode in MODES[1:]:
            text = snippet(client, target(mode)).text
            assert "6432" in text and "5432" in text
        assert "6432" not in snippet(client, target("transaction").unpooled).text


# What each program says where the pooler does not carry prepared statements, and nowhere else
UNPREPARED = {
    "asyncpg": '"statement_cache_size": 0',
    "jdbc": "prepareThreshold=0",
    "spring": "prepareThreshold=0",
    "fields": "prepareThreshold=0",
    "go": "default_query_exec_mode=exec",
    "gosql": "default_query_exec_mode=exec",
    "rust": "query_typed",
    "pgbench": "--protocol=extended",
}


@pytest.mark.parametrize("client", UNPREPARED)
def test_named_statements_are_off_where_the_pooler_does_not_carry_them(client: str) -> None:
    assert UNPREPARED[client] in snippet(client, target("transaction", prepared=False)).text
    others = [target("transaction", prepared=True), target("session"), target()]
    assert not any(UNPREPARED[client] in snippet(client, wanted).text for wanted in others)


@pytest.mark.parametrize(("client", "setting"), [("odbc", '"UseServerSidePrepare": "0"'), ("pdo", "PGSQL_ATTR_DISABLE_PREPARES => true")])
def test_who_cannot_end_a_named_statement_by_protocol_names_none(client: str, setting: str) -> None:
    for prepared in (True, False):
        assert setting in snippet(client, target("transaction", prepared=prepared)).text
    assert not any(setting in snippet(client, wanted).text for wanted in (target("session"), target()))


@given(NAMES)
def test_literals_of_other_languages_are_read_back(value: str) -> None:
    assert json.loads(_driver.doubly(value)) == json.loads(_driver.ascii_only(value)) == value
    assert re.sub(r"\\(['\\])", r"\1", _driver.singly(value)[1:-1]) == value


@pytest.mark.parametrize("client", clients())
def test_an_unencrypted_endpoint_says_so(client: str) -> None:
    assert "howdah params set demo ssl=on" in texts(snippet(client, target("session", "disable")))


@pytest.mark.parametrize("client", PYTHON)
def test_prepared_statements_follow_the_pooler(client: str) -> None:
    for mode in ("transaction", "statement"):
        assert '"prepare_threshold": None,' in snippet(client, target(mode, prepared=False)).text
        assert "has_send_close_prepared()" in snippet(client, target(mode, prepared=True)).text
    for plain in (None, "session"):
        assert "prepare" not in snippet(client, target(plain, prepared=False)).text


def test_each_pool_mode_brings_its_settings() -> None:
    assert "NullPool" in snippet("sqlalchemy", target("session")).text
    assert "NullPool" not in snippet("sqlalchemy", target("transaction")).text
    for mode in MODES:
        text = snippet("django", target(mode)).text
        assert ('"DISABLE_SERVER_SIDE_CURSORS": True' in text) == (mode in ("transaction", "statement"))
        assert ('"CONN_MAX_AGE": 0' in text) == (mode is not None)
        assert ('"autocommit": True' in snippet("python", target(mode)).text) == (mode == "statement")
        assert ("AUTOCOMMIT" in snippet("sqlalchemy", target(mode)).text) == (mode == "statement")
