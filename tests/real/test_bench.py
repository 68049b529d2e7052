"""`howdah bench` measures both hops with a role and a database of its own, says so, and leaves nothing, whatever happens to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.real.instances import DATABASE, Place, Voice, prove

from howdah.cli.measure import shape
from howdah.core.pace import KINDS, Asked
from howdah.errors import Refusal, Unavailable
from howdah.host import bench

SHORT = Asked(seconds=1, clients=2, rounds=2)
LEFT = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'bench%' UNION SELECT datname FROM pg_database WHERE datname LIKE 'bench%'"


def test_both_hops_are_measured_and_nothing_is_left(here: Place) -> None:
    voice = Voice()
    with here.login():
        found = here.service.bench("shop", SHORT, voice.caller("bench"))
    assert "slower" in str(voice.questions[0].text)
    assert [str(each.user) for each in voice.questions[0].sessions] == ["app"]
    assert {(pace.hop, pace.kind) for pace in found.paces} == {(hop, kind) for hop in ("direct", "pooled") for kind in KINDS}
    for pace in found.paces:
        assert (pace.words, len(pace.rates), len(pace.latencies)) == ("", SHORT.rounds, SHORT.rounds), pace
        assert min(pace.rates) > 0 and min(pace.latencies) > 0
    assert found.settings["ssl"] == "on" and "pooler.pool_mode" in found.settings
    assert all(each["error"] is None for each in shape(found, "shop")["results"])
    assert here.control(LEFT) == []
    prove(here)


def test_what_a_killed_bench_left_goes_with_the_next(here: Place) -> None:
    left = "bench_of_howdah_0badcafe"
    here.control(f"CREATE ROLE {left} LOGIN")
    here.control(f"CREATE DATABASE {left} OWNER {left}")
    here.control("CREATE ROLE bench_of_howdah_00000000")
    here.control("CREATE ROLE bench_of_somebody_else")
    here.service.bench("shop", Asked(seconds=1, clients=1, rounds=1), Voice().caller("bench"))
    assert here.control(LEFT) == [("bench_of_somebody_else",)]
    here.control("DROP ROLE bench_of_somebody_else")


def test_one_that_fails_clears_up_and_says_why(here: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fails = tmp_path / "pgbench"
    fails.write_text("#!/bin/sh\necho 'pgbench: fatal: no such luck' >&2\nexit 1\n")
    fails.chmod(0o755)
    monkeypatch.setattr(bench, "_program", lambda seat: fails)
    with pytest.raises(Refusal) as failed:
        here.service.bench("shop", SHORT, Voice().caller("bench"))
    assert (failed.value.code, "no such luck" in str(failed.value.message)) == ("bench_failed", True)
    assert here.control(LEFT) == []


def test_without_pgbench_it_says_what_to_install(here: Place, tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as missing:
        bench.measure(replace(here.host.seat(here.want()), bindir=tmp_path), here.want(), SHORT, lambda _: None)
    assert (missing.value.code, str(tmp_path) in str(missing.value.message)) == ("no_pgbench", True)


def test_the_database_of_its_users_is_not_touched(here: Place) -> None:
    with here.login(dbname=DATABASE) as session:
        assert session.execute("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pgbench%'").fetchone() == (0,)
