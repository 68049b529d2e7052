"""What statements leave in a session, and the verdict on what was seen: texts and facts in, advice out, no server."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from howdah.core.advice import Sighting, Source, Watched, Who, judge
from howdah.core.habits import FEATURES, Habit, habits

SHOP, WORKER = Who("shop", "app", "d", "direct"), Who("worker", "app", "d", "direct")
OTHER = Who("shop", "other", "e", "pooled")
NOTHING = Watched(10.0, 200, frozenset({SHOP, WORKER, OTHER}), frozenset(), "session", False, False, False)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SET work_mem = '1GB'", {"SET work_mem"}),
        ("set session work_mem to 1", {"SET work_mem"}),
        ("/* x */ SET my.secret = 'hunter2'", {"SET my.secret"}),
        ("SELECT set_config('my.user', 'ann', false)", {"SET my.user"}),
        ("SELECT set_config('search_path', '', false), 1", {"SET search_path"}),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", {"SET SESSION CHARACTERISTICS"}),
        ('SET "search_path" TO a, b', {"SET search_path"}),
        ("SET ROLE boss", {"SET ROLE"}),
        ("SET SESSION AUTHORIZATION boss", {"SET ROLE"}),
        ("BEGIN; LISTEN jobs; COMMIT", {"LISTEN jobs"}),
        ('LISTEN "my jobs"', {"LISTEN my jobs"}),
        ("SELECT pg_catalog.pg_advisory_lock($1)", {"pg_advisory_lock()"}),
        ("SELECT pg_try_advisory_lock_shared(1, 2)", {"pg_try_advisory_lock_shared()"}),
        ("CREATE TEMP TABLE IF NOT EXISTS t AS SELECT 1", {"CREATE TEMPORARY t"}),
        ("CREATE OR REPLACE TEMPORARY VIEW v AS SELECT 1", {"CREATE TEMPORARY v"}),
        ("SELECT 1 AS a INTO TEMP t", {"SELECT INTO TEMPORARY t"}),
        ("PREPARE p (int) AS SELECT $1", {"PREPARE p"}),
        ("EXECUTE p(1)", {"EXECUTE p"}),
        ("DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT 1", {"DECLARE c WITH HOLD"}),
        ("LOAD 'auto_explain'", {"LOAD"}),
        ("SELECT lastval()", {"lastval()"}),
        ("SELECT currval($1)", {"currval()"}),
        # What ends with the transaction, what the pooler carries, and what only looks like it
        ("SET LOCAL search_path TO a", set()),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", set()),
        ("SET CONSTRAINTS ALL DEFERRED", set()),
        ("SET client_encoding TO 'UTF8'", set()),
        ("SET application_name = 'x'", set()),
        ("SET extra_float_digits = 3", set()),
        ("SET TIME ZONE 'UTC'", set()),
        ("SELECT set_config('my.user', 'ann', true)", set()),
        ("SELECT set_config($1, $2, $3)", set()),
        ("SELECT pg_advisory_xact_lock(1)", set()),
        ("CREATE TEMP TABLE t (a int) ON COMMIT DROP", set()),
        ("DECLARE c CURSOR FOR SELECT 1", set()),
        ("PREPARE TRANSACTION 'x'", set()),
        ("SELECT 'LISTEN x'; -- SET search_path = y", set()),
        ("UPDATE t SET search_path = 'x', role = 'y'", set()),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a AS $$ SELECT pg_advisory_lock(1) $$", set()),
        ("SELECT E'it\\'s; LISTEN x', $tag$; LISTEN y $tag$", set()),
        ("SELECT 'cut off; LISTEN x", set()),
        ("UNLISTEN *; RESET ALL; DISCARD ALL; DEALLOCATE p", set()),
        ("NOTIFY jobs", set()),
    ],
)
def test_what_a_statement_leaves_in_its_session(statement: str, expected: set[str]) -> None:
    assert {each.words for each in habits(statement)} == expected
    assert {each.feature for each in habits(statement)} <= set(FEATURES)


@given(st.text(max_size=200))
def test_any_text_is_taken_for_a_statement_without_harm(text: str) -> None:
    assert "hunter2" not in str(habits(f"SET x.y = 'hunter2'; {text}"))


def sighting(who: Who, feature: str, words: str = "…", source: Source = "sessions") -> Sighting:
    return Sighting(who, Habit(feature, words), source)


def verdicts(watched: Watched) -> dict[str, str]:
    return {f"{each.who.application}@{each.who.database}": each.verdict for each in judge(watched).judged}


def test_each_application_has_its_own_verdict() -> None:
    seen = {sighting(SHOP, "set", "SET work_mem"), sighting(WORKER, "listen", "LISTEN jobs"), sighting(WORKER, "temporary", "t", "tables")}
    assert verdicts(NOTHING) == {"shop@d": "may", "worker@d": "may", "shop@e": "may"}
    assert verdicts(replace(NOTHING, sightings=frozenset(seen))) == {"shop@d": "change", "worker@d": "direct", "shop@e": "may"}
    [worker] = [each for each in judge(replace(NOTHING, sightings=frozenset(seen))).judged if each.who == WORKER]
    assert [(use.id, use.words, use.sources) for use in worker.uses] == [
        ("listen", ("LISTEN jobs",), ("sessions",)),
        ("temporary", ("t",), ("tables",)),
    ]


def test_statistics_are_laid_at_the_door_of_who_was_seen_with_it_or_of_the_only_one() -> None:
    known = sighting(WORKER, "listen", "LISTEN jobs")
    counted = sighting(Who(None, "app", "d"), "listen", "LISTEN jobs", "statements")
    assert verdicts(replace(NOTHING, sightings=frozenset({known, counted}))) == {"shop@d": "may", "worker@d": "direct", "shop@e": "may"}
    alone = sighting(Who(None, "other", "e"), "set", "SET work_mem", "statements")
    assert verdicts(replace(NOTHING, sightings=frozenset({alone})))["shop@e"] == "change"
    advice = judge(replace(NOTHING, sightings=frozenset({counted, sighting(Who(None, None, "d"), "temporary", "t", "tables")})))
    assert {each.verdict for each in advice.judged} == {"may"}
    assert [(each.who.user, [use.id for use in each.uses]) for each in advice.elsewhere] == [(None, ["temporary"]), ("app", ["listen"])]


def test_prepared_statements_count_where_the_pooler_does_not_carry_them() -> None:
    seen = frozenset({sighting(SHOP, "protocol_prepare", source="log")})
    assert verdicts(replace(NOTHING, sightings=seen))["shop@d"] == "change"
    assert verdicts(replace(NOTHING, sightings=seen, carries=True))["shop@d"] == "may"


def test_what_nobody_could_see_is_said() -> None:
    blind = " ".join(map(str, judge(NOTHING).unseen))
    assert "options=-c" in blind and "log_statement=all" in blind and "pg_stat_statements" in blind and "1.21" in blind
    keen = " ".join(map(str, judge(replace(NOTHING, logged=True, statements=True, since="2026-11-23", lists_prepared=True)).unseen))
    assert "options=-c" in keen and "log_statement=all" not in keen and "2026-11-23" in keen and "1.21" not in keen
