"""Programs that use each feature of a session, on real sessions, watched: each is advised of by its name, and nothing is changed by it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest
from tests.real.instances import DATABASE, USER, Place, asks, place

from howdah import compose
from howdah.core.advice import Advice, Judged, Watched
from howdah.core.habits import FEATURES
from howdah.core.instance import Hop

Connection = psycopg.Connection[tuple[object, ...]]
# What each program does before it goes idle, and the feature that it is advised of; None: it may move as it is.
PROGRAMS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "sets": (("SET work_mem = '8MB'",), "set"),
    "searches": (("SET search_path TO pg_catalog, public",), "search_path"),
    "listens": (("LISTEN jobs",), "listen"),
    "locks": (("SELECT pg_advisory_lock(42)", "SELECT 1"), "advisory_lock"),
    "temporary": (("CREATE TEMP TABLE mine (a int)", "BEGIN", "SELECT 1"), "temporary"),
    "prepares": (("PREPARE p AS SELECT 1", "EXECUTE p"), "prepare"),
    "holds": (("DECLARE c CURSOR WITH HOLD FOR SELECT 1",), "hold"),
    "becomes": (("SET ROLE app",), "role"),
    "loads": (("LOAD 'auto_explain'",), "load"),  # refused, and tried all the same
    "numbers": (("CREATE SEQUENCE IF NOT EXISTS s", "SELECT nextval('s')", "SELECT lastval()"), "last_value"),
    "local": (("BEGIN; SET LOCAL work_mem = '8MB'; SELECT pg_advisory_xact_lock(1); CREATE TEMP TABLE t () ON COMMIT DROP; COMMIT",), None),
    "cursor": (("BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH c; COMMIT",), None),
    "carried": (("SET timezone = 'UTC'",), None),
}


@pytest.fixture(scope="module")
def here() -> Iterator[Place]:
    with place() as made:
        made.create("shop")
        made.pool({"pool_mode": "session"})
        made.service.add_extension("shop", "pg_stat_statements", {}, asks())
        yield made


def advise(here: Place, seconds: float = 0.3) -> tuple[Watched, Advice]:
    return compose.advise(here.home, here.want(), seconds)


def of(advice: Advice, application: str) -> Judged:
    [found] = [each for each in advice.judged if each.who.application == application]
    return found


def features(judged: Judged) -> set[str]:
    return {use.id for use in judged.uses}


@contextmanager
def running(here: Place, name: str, *statements: str, **options: str) -> Iterator[Connection]:
    hop: Hop = "pooled" if name.startswith("pooled") else "direct"
    with here.login(hop, application_name=name, **options) as session:
        for statement in statements:
            with suppress(psycopg.Error):
                session.execute(statement.encode())
        yield session


def test_each_feature_is_told_of_the_program_that_uses_it(here: Place) -> None:
    with ExitStack() as stack:
        for name, (statements, _) in PROGRAMS.items():
            stack.enter_context(running(here, name, *statements))
        stack.enter_context(running(here, "pooled-sets", "SET search_path TO public"))
        watched, advice = advise(here)
    for name, (_, feature) in PROGRAMS.items():
        judged = of(advice, name)
        assert (judged.who.user, judged.who.database, judged.who.hop) == (USER, DATABASE, "direct")
        assert features(judged) == ({feature} if feature is not None else set()), name
        expected = "may" if feature is None else "direct" if FEATURES[feature].stays else "change"
        assert judged.verdict == expected, name
    pooled = of(advice, "pooled-sets")
    assert pooled.who.hop == "pooled" and "search_path" in features(pooled)
    assert watched.pool_mode == "session" and watched.looks >= 1
    told = {feature for _, feature in PROGRAMS.values() if feature is not None}
    assert told == set(FEATURES) - {"protocol_prepare"}, "a feature without a program"


def test_what_was_done_and_over_before_is_known_from_statistics(here: Place) -> None:
    """A program that masks what it did by its next statement, and is the only one."""
    with running(here, "masks", "SET lock_timeout = '1s'", "SELECT 1"):
        watched, advice = advise(here, 0.0)
    assert watched.statements
    assert "set" in features(of(advice, "masks"))
    assert "statements" in {source for use in of(advice, "masks").uses for source in use.sources}


def test_what_comes_and_goes_between_two_looks_is_known_from_the_log(here: Place) -> None:
    here.set({"log_statement": "all"})
    want = here.want()
    try:
        with running(here, "quick") as session, running(here, "slow"), ThreadPoolExecutor(1) as other:
            watching = other.submit(compose.advise, here.home, want, 2.0)
            time.sleep(0.5)  # it has begun to read the log
            session.execute("SET statement_timeout = '1min'; SELECT 1")
            session.execute("SELECT 1", prepare=True)
            session.execute("SELECT 2")
            watched, advice = watching.result()
        assert watched.logged
        assert {"set", "protocol_prepare"} <= features(of(advice, "quick"))
        assert not {"log"} & {source for use in of(advice, "slow").uses for source in use.sources}
    finally:
        here.set({}, ["log_statement"])


def test_settings_sent_with_the_login_are_said_to_be_unseen(here: Place) -> None:
    with running(here, "options", options="-c search_path=nowhere"):
        _, advice = advise(here, 0.1)
    assert not {use.id for use in of(advice, "options").uses if set(use.sources) - {"statements"}}
    assert any("options=-c" in str(each) for each in advice.unseen)


def test_watching_changes_nothing_and_sees_nobody_of_howdah(here: Place) -> None:
    before = here.control("SELECT name, setting FROM pg_settings ORDER BY 1")
    watched, advice = advise(here, 0.2)
    assert here.control("SELECT name, setting FROM pg_settings ORDER BY 1") == before
    assert here.repair() == ()
    assert not watched.present and not advice.judged


def test_the_command_tells_it_and_ctrl_c_ends_it(here: Place) -> None:
    command = [sys.executable, "-P", "-m", "howdah", "advise", "shop", "--for", "60"]
    environment = {**os.environ, "HOWDAH_HOME": str(here.home), "HOWDAH_LANG": "en"}
    with running(here, "listens", "LISTEN jobs"):
        # whoever runs the tests in the background has it ignored, and so would all that they start
        heeding = ["env", "--default-signal=INT", *command]
        process = subprocess.Popen(heeding, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("watching shop")
        time.sleep(2)  # it has begun to look
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert f"listens  {USER}@{DATABASE}  direct  a part of it stays on the direct endpoint" in out
    assert "LISTEN: LISTEN jobs (" in out and "what was not seen:" in out
    told = subprocess.run([*command[:-2], "--for", "0", "--json"], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout)["applications"] == []
