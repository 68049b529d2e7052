"""What `connect` prints and what the passfile holds, read by those who will read them: libpq itself, two shells, Python.

What goes in comes out exactly, or is refused. libpq's own parsing is the one inside psycopg's extension; no server is needed.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine
from tests.core.test_connect import MODES, target
from tests.hostile import examples, names, texts

from howdah.connect import SslMode, Target, _libpq, snippet
from howdah.core.instance import check_database, check_hostname, check_password, check_role
from howdah.errors import Refusal
from howdah.host import passfile
from howdah.secret import Secret

SHELLS = [each for each in ("dash", "bash", "sh") if shutil.which(each)]
# Bytes that no path has, and blanks at the ends, which some formats cannot carry and then refuse.
paths = names.map(lambda name: Path("/srv") / name.replace("\0", "").replace("/", "-"))


@st.composite
def targets(draw: st.DrawFn) -> Target:
    """A target with whatever names somebody may have thought of; its hop is on this machine."""
    made = target(draw(st.sampled_from(MODES)), draw(st.sampled_from(get_args(SslMode))), draw(st.booleans()))
    endpoint = replace(made.endpoint, host=draw(st.sampled_from(["127.0.0.1", "::1"])), port=1)
    passed = draw(st.none() | paths)
    return replace(made, endpoint=endpoint, database=draw(names), user=draw(names), ca_file=draw(paths), passfile=passed)


def written(client: str, wanted: Target) -> str | None:
    """Return the text of a snippet; None where it is refused."""
    try:
        return snippet(client, wanted).text
    except Refusal:
        return None


@contextmanager
def scratch(text: str | bytes, name: str = "file") -> Iterator[Path]:
    """Hold a file for a moment."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, name)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(0o600)
        yield path


def options(conninfo: str) -> dict[str, str]:
    """Return what libpq makes of a connection string before it connects, passwords and services looked up; nobody is reached."""
    connection = pq.PGconn.connect_start(conninfo.encode())
    found = {each.keyword.decode(): each.val.decode() for each in connection.info if each.val is not None}
    asked = (connection.password or b"").decode()
    connection.finish()
    return found | ({"password": asked} if asked else {})


# --- strings, files and shells --------------------------------------------------------------------------------------------------------


@examples(200)
@given(targets())
def test_a_uri_is_read_back_by_libpq(wanted: Target) -> None:
    text = written("uri", wanted)
    if text is not None:
        assert text.count("\n") == 1
        without = {key: value for key, value in _libpq.keywords(wanted).items() if key != "channel_binding"}
        assert conninfo_to_dict(text.rstrip("\n")) == without


@examples(60)
@given(targets(), st.sampled_from(SHELLS))
def test_psql_s_line_gives_libpq_the_same_words_in_every_shell(wanted: Target, shell: str) -> None:
    text = written("psql", wanted)
    if text is None:
        return
    with scratch(f"psql() {{ printf '%s\\0' \"$@\"; }}\n{text}") as script:
        said = subprocess.run([shell, script], capture_output=True, check=True).stdout
    [word] = said.decode().split("\0")[:-1]
    assert conninfo_to_dict(word) == _libpq.keywords(wanted)


@examples(60)
@given(targets(), st.sampled_from(SHELLS))
def test_the_environment_that_a_shell_makes_is_what_libpq_is_to_read(wanted: Target, shell: str) -> None:
    text = written("env", wanted)
    if text is None:
        return
    with scratch(text) as file:
        leftovers = {"PGSERVICE": "old", "PGHOSTADDR": "192.0.2.1", "PATH": os.environ["PATH"]}
        said = subprocess.run([shell, "-c", '. "$0"; env -0', file], capture_output=True, check=True, env=leftovers).stdout
    seen = dict(line.split("=", 1) for line in said.decode().split("\0") if line.startswith("PG"))
    assert seen == {_libpq.VARIABLES[key]: value for key, value in _libpq.keywords(wanted).items()}


@examples(150)
@given(targets())
def test_a_service_is_read_back_by_libpq(wanted: Target) -> None:
    text = written("service", wanted)
    if text is None:
        return
    with scratch(text) as file, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGSERVICEFILE", str(file))
        seen = options(f"service={wanted.label} gssencmode=disable")
    assert {key: seen.get(key) for key in _libpq.keywords(wanted)} == _libpq.keywords(wanted)


@examples(150)
@given(names, names, names, st.sampled_from(["127.0.0.1", "::1", "db.example.org"]))
def test_a_passfile_line_gives_its_password_to_its_target_alone(database: str, user: str, password: str, host: str) -> None:
    try:
        check_database(database), check_role(user)
        secret = check_password(password)
    except Refusal:
        return
    wanted = replace(target(host=host), database=database, user=user)
    line = _libpq.passfile_line(wanted, secret).reveal()
    where = {"host": host, "hostaddr": "::1" if ":" in host else "127.0.0.1", "port": "6432", "dbname": database, "user": user}
    with scratch(f"{line}\n") as file:
        rest = {"passfile": str(file), "sslmode": "disable", "gssencmode": "disable"}
        assert options(_libpq.conninfo(where | rest))["password"] == password
        for key, other in (("user", user + "x"), ("dbname", database + "x"), ("port", "6433")):
            assert "password" not in options(_libpq.conninfo(where | rest | {key: other})), f"another {key} gets it too"


@examples(100)
@given(st.dictionaries(names, st.text("abcdefXYZ0123456789", min_size=1, max_size=24), min_size=1, max_size=4))
@example({"*": "abc"})
@example({"a:b": "abc", "a\\": "def", "a": "ghi", "#": "jkl"})
def test_the_kept_passwords_are_each_for_their_user_alone(users: Mapping[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "passfiles", "abcd1234")
        kept = {}
        for user, password in users.items():
            try:
                check_role(user)
            except Refusal:
                continue
            passfile.keep(path, user, Secret(password))
            kept[user] = password
        where = {"host": "127.0.0.1", "port": "1", "dbname": "d", "passfile": str(path), "sslmode": "disable", "gssencmode": "disable"}
        for user, password in kept.items():
            assert passfile.holds(path, user)
            assert options(_libpq.conninfo(where | {"user": user}))["password"] == password
        stranger = "nobody-of-these"
        assert "password" not in options(_libpq.conninfo(where | {"user": stranger}))
        for user in kept:
            passfile.keep(path, user, None)
        assert not path.exists()


# --- programs -------------------------------------------------------------------------------------------------------------------------


def run_until(text: str, name: str) -> Any:
    """Execute a program as far as the statement that binds `name`, and return what it is bound to."""
    done = []
    for statement in ast.parse(text).body:
        done.append(statement)
        if isinstance(statement, ast.Assign) and [ast.unparse(each) for each in statement.targets] == [name]:
            break
    room: dict[str, Any] = {}
    exec(compile(ast.Module(done, []), "snippet", "exec"), room)
    return room[name]


@examples(100)
@given(targets())
def test_the_programs_hand_over_exactly_the_words(wanted: Target) -> None:
    texts_of = {client: written(client, wanted) for client in ("python", "django", "sqlalchemy")}
    if None in texts_of.values():
        assert set(texts_of.values()) == {None}, "all or none"
        return
    pairs = _libpq.keywords(wanted)
    words = {key: value for key, value in pairs.items() if key != "port"}
    plain = run_until(str(texts_of["python"]), "CONNECT")
    assert {key: plain[key] for key in words} == words and plain["port"] == wanted.endpoint.port
    setting = run_until(str(texts_of["django"]), "DATABASES")["default"]
    told = {"host": setting["HOST"], "dbname": setting["NAME"], "user": setting["USER"], **setting["OPTIONS"]}
    assert {key: told[key] for key in words} == words and setting["PORT"] == wanted.endpoint.port
    engine: Engine = run_until(str(texts_of["sqlalchemy"]), "engine")
    _, handed = engine.dialect.create_connect_args(engine.url)
    asked = ast.unparse(ast.parse(str(texts_of["sqlalchemy"])))
    assert {key: handed[key] for key in ("host", "dbname", "user")} == {key: words[key] for key in ("host", "dbname", "user")}
    assert handed["port"] == wanted.endpoint.port
    assert all(repr(value) in asked for key, value in words.items() if key not in ("host", "dbname", "user"))
    engine.dispose()


# --- host names -----------------------------------------------------------------------------------------------------------------------


@examples(300)
@given(texts | st.text("abcXYZ019-._ ", max_size=70))
def test_a_host_name_is_one_that_dns_and_certificates_take(text: str) -> None:
    try:
        name = check_hostname(text)
    except Refusal:
        return
    assert name == text.lower() and re.fullmatch(r"[a-z0-9.-]+", name) and len(name) <= 253
    assert all(0 < len(label) <= 63 and label[0] != "-" != label[-1] for label in name.split("."))
