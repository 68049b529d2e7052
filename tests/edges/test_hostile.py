"""Hostile input at the real command line: each class of it, with the tests that stand for it. What is refused is refused in one line, with
its exit code, without a traceback, and changes nothing that is remembered. No server is started here.

| class | where it is tried |
|---|---|
| names of instances, databases, users | `NAMES` here; carried exactly: `tests/real/test_parsers_server.py`, `test_parsers_client.py` |
| lines smuggled into pgbouncer.ini | `POOLER` here; `tests/real/test_parsers_pooler.py` |
| lines smuggled into postgresql.conf | `CONFIGURATION` here; `tests/real/test_parsers_server.py` |
| rules smuggled into pg_hba.conf and pg_ident.conf | `NETWORKS` here; `tests/real/test_parsers_server.py`, `test_parsers_pooler.py` |
| parameters: unknown, wrong unit, out of range, renamed, twice, too long | `PARAMETERS` here; `tests/core/test_parameters.py` |
| parameters that are not for people | `MANAGED` here; `tests/core/test_parameters.py` |
| combinations that cannot hold | `COMBINATIONS` here; `tests/core/test_budget.py` |
| numbers that PgBouncer wraps | `NUMBERS` here; `tests/real/test_parsers_pooler.py` |
| passwords | `PASSWORDS` here; logging in: `tests/real/test_parsers_server.py`; never shown: `tests/real/test_cli_walk.py` |
| ports | `PORTS` here |
| paths in settings | `SETTINGS` here |
| extensions | `EXTENSIONS` here |
| the command line itself | `USAGE` here; closed streams, terminals and signals: `tests/edges/test_cli.py` |
| text that a terminal would obey | `test_nothing_that_is_shown_commands_the_terminal` |
| SQL through names and passwords | `tests/real/test_parsers_server.py`, `tests/real/test_people.py` |
"""

from __future__ import annotations

import functools
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from io import BytesIO, TextIOWrapper
from pathlib import Path
from tempfile import mkdtemp

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.hostile import examples, texts

from howdah import settings
from howdah.cli import door
from howdah.cli import tree as cli_tree
from howdah.cli.screen import plain
from howdah.cli.tree import tree
from howdah.cli.verb import REGISTER
from howdah.core.instance import Database, Instance, User
from howdah.secret import Secret
from howdah.store.sqlite import open_store

Case = tuple[Sequence[str], str, int]
LINES = ("a\nb", "a\rb", "a\0b", "a\vb", "a\x1b[2Jb", "a\u2028b", "a\u2029b", "a\u202eb", "\ufeffa", "a\x85b")
LOOKALIKES = ("ѕhop", "shοp", "ｓhop", "sh\u00adop", "sh\u200bop", "shop\u00a0", "shop😀")
RESERVED = ("postgres", "Postgres", "POSTGRES", "pgbouncer", "pg_monitor", "pg_x", "howdah", "howdah_lookup", "Howdah_probe")


def over(command: str, words: Sequence[str], code: str, exit_code: int = 2) -> list[Case]:
    """Return the case of each word, put in place of `@` in a command."""
    return [([each if part == "@" else part.replace("@", each) for part in command.split()], code, exit_code) for each in words]


NAMES = [
    *over("create @", ["", ".", "..", "../x", "a/b", " shop", "shop ", "a" * 64, "%", "*", "a'b", 'a"b', "a;b"], "invalid_name"),
    *over("create @", [*LINES, *LOOKALIKES, "x" * 10_000], "invalid_name"),
    *over("users add shop @", ["", " app", "app ", "x" * 64, "é" * 32, "e\u0301", *LINES, "x" * 10_000], "invalid_name"),
    *over("users add shop @", [*RESERVED, "public", "NONE", "current_user"], "reserved_name"),
    *over("databases add shop @", ["", " d", "d ", "x" * 64, *LINES, "'" * 10_000], "invalid_name"),
    *over("databases add shop @", [*RESERVED, "template0", "TEMPLATE1"], "reserved_name"),
    *over("create other --database @", ["a\nb", "x" * 64], "invalid_name"),
    *over("create other --database d --user @", ["a\nb", "x" * 64], "invalid_name"),
    *over("show @", ["../shop", "ѕhop", "shop\n", "x" * 10_000, "'; DROP TABLE instance; --", "%", "_"], "no_such_instance", 3),
    *over("databases delete shop @ --yes", ["../d", "'; DROP DATABASE d; --", "D"], "no_such_database", 3),
    *over("users delete shop @ --yes", ["App", "аpp", "app'--"], "no_such_user", 3),
    *over("users grant shop app --database @", ["D", "d\n", "*"], "no_such_database", 3),
    *over("connect shop --user @", ["app'--", "*"], "no_such_user", 3),
    (["create", "SHOP", "--port", "15499"], "name_taken", 4),
]
POOLER = [
    *over(
        "extensions set shop pooler pool_mode=@",
        [*("session" + each[1:] for each in LINES), "session ; x", "session\n[databases]"],
        "invalid_value",
    ),
    *over(
        "extensions set shop pooler query_timeout=@",
        [*("1" + each[1:] for each in LINES), "1\nauth_type=any", "1;2", "%include x"],
        "invalid_value",
    ),
    *over(
        "extensions set shop pooler @=1",
        ["auth_type", "auth_query", "admin_users", "client_tls_sslmode", "%include", "a\nb", "[x]", "LISTEN_PORT"],
        "unknown_setting",
    ),
]
FREE = ("search_path", "log_line_prefix", "application_name", "timezone", "default_text_search_config", "DateStyle")
CONFIGURATION = [
    *(case for name in FREE for case in over(f"params set shop {name}=@", LINES, "invalid_value")),
    *over(
        "params set shop search_path=@", ["x'\nshared_preload_libraries = 'evil", "x\ninclude '/etc/passwd'", "x" * 5000], "invalid_value"
    ),
    *over(
        "params set shop @=1",
        ["include", "include_dir", "include_if_exists", "a\nb", "work_mem\nfsync", "'", "work_mem'", "#", "ｗork_mem"],
        "unknown_parameter",
    ),
]
NETWORKS = [
    *over(
        "endpoints set shop --allow @",
        [
            *("10.0.0.0/8" + each[1:] for each in LINES),
            "",
            "all",
            "samehost",
            "samenet",
            "@file",
            "+group",
            "/regex",
            "example.org",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/8 trust",
            "10.0.0.0/8,0.0.0.0/0",
            "10.0.0.0/-1",
            "١٠.0.0.0/8",
            "::1/129",
            "fe80::1%eth0",
            "1" * 10_000,
        ],
        "invalid_network",
    ),
    *over("endpoints set shop --allow @", ["0.0.0.0/0", "::/0"], "needs_yes"),
    *over(
        "endpoints set shop --listen @",
        [
            "",
            "*",
            "localhost",
            "127.1",
            "0x7f.1",
            "127.0.0.1\n",
            "127.0.0.1,0.0.0.0",
            "fe80::1%lo",
            "224.0.0.1",
            "ff02::1",
            "/x",
            "x" * 10_000,
        ],
        "invalid_address",
    ),
    *over("endpoints set shop --listen @", ["192.0.2.77"], "address_not_here", 4),
    *over(
        "endpoints set shop --hostname @",
        ["", ".", "-a", "a-", "a..b", "a b", "*.example.org", "a_b", "é.org", "ехample.org", "a\nb", "x" * 64, ".".join(["a" * 60] * 5)],
        "invalid_hostname",
    ),
]
PARAMETERS = [
    *over(
        "params set shop @",
        ["no_such=1", "work_memm=4MB", "wal_keep_segments=1", "plperl.on_init=x", "=1x", "a.b.c=1"][:4],
        "unknown_parameter",
    ),
    *over(
        "params set shop work_mem=@",
        ["", "10 apples", "4mb", "-1", "0", "NaN", "inf", "1,5MB", "4MB4MB", "0b11", "99999999999999999999", "４MB", "1e99", "9" * 5000],
        "invalid_value",
    ),
    *over(
        "params set shop @",
        ["random_page_cost=nan", "random_page_cost=1,1", "max_connections=1.5.1", "wal_level=Logica", "autovacuum=maybe"],
        "invalid_value",
    ),
    *over("params set shop @", ["work_mem", "=4MB", ""], "usage"),
    (["params", "set", "shop", "work_mem=4MB", "WORK_MEM=8MB"], "usage", 2),
    (["params", "unset", "shop", "no_such"], "unknown_parameter", 2),
    (["params", "set", "shop", "search_path=" + "x" * 100_000], "invalid_value", 2),
]
MANAGED = over(
    "params set shop @=x",
    [
        *("archive_command", "restore_command", "archive_library", "shared_preload_libraries", "session_preload_libraries"),
        *("local_preload_libraries", "dynamic_library_path", "ssl_cert_file", "ssl_key_file", "ssl_ca_file", "ssl_ciphers"),
        *("ssl_min_protocol_version", "ssl_passphrase_command", "hba_file", "ident_file", "data_directory", "config_file"),
        *("listen_addresses", "port", "unix_socket_directories", "unix_socket_permissions", "log_directory", "log_filename"),
        *("log_destination", "log_file_mode", "logging_collector", "allow_system_table_mods", "jit_provider", "krb_server_keyfile"),
        *("password_encryption", "cluster_name", "external_pid_file"),
    ],
    "managed_parameter|refused_parameter",
)
COMBINATIONS = [
    *over(
        "extensions set shop pooler @",
        ["default_pool_size=5000", "max_client_conn=1000000", "max_db_connections=100000"],
        "does_not_fit",
    ),
    *over("params set shop @", ["max_connections=262143"], "does_not_fit"),
    (["create", "x", "--port", "15432", "--extension", "pooler:listen_port=15432"], "port_taken", 4),
    (["create", "x", "--user", "app"], "incomplete", 2),
    (["endpoints", "set", "shop"], "usage", 2),
]
NUMBERS = over(
    "extensions set shop pooler max_client_conn=@",
    ["-1", "99999999999", "4294967297", "2147483648", "10k", "1.5", "", "+5", " 5", "0x10", "1e3", "1_0", "٥", "５", "five", "9" * 5000],
    "invalid_value",
)
PORTS = [
    *over("create x --port @", ["0", "-1", "80", "1023", "65536", "99999999999999999999"], "invalid_port"),
    *over("create x --port @", ["", "abc", "5432x", "1e4", "54 32", "x" * 10_000], "usage"),
    *over("extensions set shop pooler listen_port=@", ["0", "80", "65536", "5432x", "-1", "999999999999"], "invalid_value"),
    *over("create x --port @", ["15496", "１５４９６", "15496\n"], "port_taken", 4),  # a number in any script is that number
]
EXTENSIONS = [
    *over(
        "extensions add shop @",
        ["", "nothing", "Pooler", "pooler ", "plpythonu", "../pooler", "pooler;x", "a\nb", "x" * 10_000],
        "unknown_extension",
        3,
    ),
    (["create", "x", "--extension", "pooler", "--extension", "pooler:pool_mode=session"], "usage", 2),
    (["create", "x", "--extension", "pooler:pool_mode"], "usage", 2),
    (["extensions", "add", "shop", "pg_stat_statements", "pg_stat_statements.max=-5"], "invalid_value", 2),
    (["extensions", "set", "shop", "pg_stat_statements", "pg_stat_statements.max=500"], "not_added", 3),
]
USAGE = [
    *over("@", ["--bogus", "lst", "params", "\x1b[31mred", "a\nb", "x" * 10_000], "usage"),
    *over("@ show shop", ["--bogus"], "usage"),
    (["show", "shop", "shop"], "usage", 2),
    (["repair", "shop", "--all"], "usage", 2),
    (["delete", "shop"], "needs_yes", 2),
    (["create", "x", "--wait", "nan"], "usage", 2),
    (["create", "x", "--size", "huge\n"], "unknown_size", 2),
    (["create", "x", "--version", "9"], "unsupported_version", 5),
    (["connect", "shop", "--client", "../uri"], "unknown_client", 3),
    (["connect", "shop", "--sslmode", "prefer"], "usage", 2),
    (["logs", "shop", "--source", "../../etc/passwd"], "usage", 2),
]
CLASSES = {
    "names": NAMES,
    "pooler": POOLER,
    "configuration": CONFIGURATION,
    "networks": NETWORKS,
    "parameters": PARAMETERS,
    "managed": MANAGED,
    "combinations": COMBINATIONS,
    "numbers": NUMBERS,
    "ports": PORTS,
    "extensions": EXTENSIONS,
    "usage": USAGE,
}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A home that remembers a stopped instance `shop`, with a pooler, a database and a user; nothing of it runs."""
    above = Path(mkdtemp(prefix="c"))
    above.chmod(0o711)
    own = above / "h"
    with pytest.MonkeyPatch.context() as patch:
        for setting in settings.SETTINGS:
            if setting.type not in ("program", "directories"):
                patch.delenv(setting.name, raising=False)
        patch.setenv("HOWDAH_HOME", str(own))
        patch.setenv("HOWDAH_LANG", "en")
        pool = {"pool_mode": "session", "max_client_conn": "100", "listen_port": "15497"}
        wanted = Instance("abcd1234", "shop", 15, 15496, state="stopped", extensions={"pooler": pool}, databases=(Database("d", "app"),))
        store = open_store(own)
        store.accept(replace(wanted, users=(User("app", Secret("SCRAM-SHA-256$x"), ("d",)),)), "create", "test", {})
        store.close()
        yield own


def remembered(own: Path) -> list[str]:
    """Return all that the store holds, and the name of every file."""
    with closing(sqlite3.connect(own / "store.sqlite3")) as store:
        rows = [*store.iterdump()]
    beside = ("store.sqlite3", "people.sqlite3-")  # what SQLite keeps beside a file that is open
    kept = (path for path in own.rglob("*") if "locks" not in path.parts and not path.name.startswith(beside))
    return [*rows, *sorted(map(str, kept))]


def refused(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run a command line as a program does; return exit code and code of what must be a refusal in one line."""
    code = door.main([*words, "--json"])
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err, (words, err)
    assert err.rstrip("\n").isprintable() and len(err) < 1200, (words, err)
    return code, json.loads(err)["code"]


def refused_to_people(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> int:
    """Run a command line as a person does; return the exit code of what must be a refusal, the last line saying which."""
    code = door.main([*words])
    out, err = capsys.readouterr()
    last = err.splitlines()[-1] if err else ""
    assert out == "" and "Traceback" not in err, (words, err)
    assert re.match(r"error: cannot .*", last) and last.isprintable() and len(last) < 600, (words, last)
    return code


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_of_hostile_input_is_refused_and_changes_nothing(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = remembered(place)
    wrong = []
    for number, (words, code, exit_code) in enumerate(CLASSES[name]):
        seen = refused(words, capsys)
        assert number % 4 or refused_to_people(words, capsys) == seen[0]
        if seen[0] != exit_code or seen[1] not in code.split("|"):
            wrong.append(f"{[word[:60] for word in words]}: {seen}, expected {(exit_code, code)}")
    assert not wrong, "\n".join(wrong)
    assert remembered(place) == before


@pytest.mark.parametrize("name", CLASSES)
def test_the_real_program_refuses_them_alike(name: str, place: Path) -> None:
    words, code, exit_code = next(case for case in CLASSES[name] if "\0" not in "".join(case[0]) and len("".join(case[0])) < 1000)
    done = subprocess.run([sys.executable, "-P", "-m", "howdah", *words, "--json"], capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (exit_code, b"", 1)
    assert json.loads(done.stderr)["code"] in code.split("|")


PASSWORDS = (
    b"",
    b"\n",
    b"a\0b\n",
    b"a\rb\n",
    b"a\x1b[2Jb\n",
    b"a\tb\n",
    b"\xff\xfe\n",
    b"\xed\xa0\x80\n",
    b"md5" + b"0" * 32 + b"\n",
    b"SCRAM-SHA-256$4096:x$y:z\n",
    b"x" * 1025 + b"\n",
    b"x" * 100_000,
)


@pytest.mark.parametrize("given_bytes", PASSWORDS, ids=lambda each: ascii(each[:12]))
def test_what_is_no_password_is_refused_and_never_shown(
    given_bytes: bytes, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = remembered(place)
    for words in (("users", "add", "shop", "new"), ("users", "password", "shop", "app")):
        monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(given_bytes)))
        assert door.main([*words, "--password-stdin", "--json"]) == 2
        out, err = capsys.readouterr()
        assert out == "" and json.loads(err)["code"] == "invalid_password"
        assert given_bytes.strip(b"\n")[:8].decode(errors="replace") not in err or len(given_bytes) < 4
    assert remembered(place) == before


SETTINGS = (
    *(
        ("HOWDAH_HOME", each)
        for each in ("relative", "/srv/../x", "/srv/it's", '/srv/"x"', "/srv/a\nb", "/srv/a\tb", "/srv/back\\slash", "/srv/a\x1bb")
    ),
    *(("HOWDAH_TRASH", each) for each in ("soon", "-1", "nan", "inf", "1e99", "٥x")),
)


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_a_setting_that_cannot_be_right_is_refused(name: str, value: str, place: Path) -> None:
    environment = {**os.environ, name: value}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "howdah", "list", "--trash", "--json"], capture_output=True, env=environment, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"") and json.loads(done.stderr)["code"] == "invalid_setting"


@pytest.mark.parametrize(
    "named", ["/nonexistent", "/etc/passwd", "/dev/zero", "/dev/null", "/bin/true", "relative", "/", "a\nb", "/proc/self/mem"]
)
@pytest.mark.parametrize("name", ["HOWDAH_PGBOUNCER", "HOWDAH_POSTGRES_BINDIRS"])
def test_a_program_that_is_none_is_told_in_one_line(name: str, named: str, place: Path) -> None:
    environment = {**os.environ, name: named}
    command = [sys.executable, "-P", "-m", "howdah", "extensions", "set", "shop", "pooler", "pool_mode=nonsense", "--json"]
    done = subprocess.run(command, capture_output=True, env=environment, timeout=60, check=False)
    assert done.returncode in (2, 6) and done.stdout == b"" and done.stderr.count(b"\n") == 1
    assert json.loads(done.stderr)["code"] in ("invalid_value", "pgbouncer_not_run")


# --- whatever anybody may type ----------------------------------------------------------------------------------------------------------

tree(None)  # fills the register
grown = functools.cache(tree)  # the same for the same first word; to grow it costs ten times what most commands do
# what makes, starts or ends something when the words happen to be right, or looks at the whole machine
NOT_RUN = {"create", "quickstart", "doctor", "verify", "repair", "start", "stop", "restart", "delete", "service", "serve"}
LOOKING = [words for words, entry in sorted(REGISTER.items()) if words[0] not in NOT_RUN and not entry.hidden]


@examples(120)
@given(st.sampled_from(LOOKING), st.lists(texts.map(lambda text: text[:2000]), min_size=1, max_size=3), st.booleans())
@example(("users", "grant"), ["\x9b31m", "\u202e"], False)
@example(("users", "grant"), ["\x7f"], False)
@example(("params", "set"), ["log_line_prefix=\u00a0😀"], True)
def test_any_words_at_any_command_end_in_an_answer_or_one_line(place: Path, words: tuple[str, ...], typed: list[str], named: bool) -> None:
    out, err = TextIOWrapper(BytesIO(), "utf-8"), TextIOWrapper(BytesIO(), "utf-8")
    before = remembered(place)
    typed = [word for word in typed if word.strip() not in ("--help", "-h")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        patch.setattr(cli_tree, "tree", grown)
        code = door.main(["--json", *words, *(["shop"] if named else []), *typed])
        out.flush()
        err.flush()
    said = err.buffer.getvalue().decode()
    assert code in (0, 2, 3, 4, 5), (words, typed, said)
    assert "Traceback" not in said and '"internal"' not in said and (code == 0 or said.count("\n") == 1)
    assert (said + out.buffer.getvalue().decode()).replace("\n", "").isprintable()
    if code:
        assert remembered(place) == before


@examples(300)
@given(texts)
def test_nothing_that_is_shown_commands_the_terminal(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown), ascii(shown)
