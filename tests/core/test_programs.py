"""The programs that serve: what is published of a version, by number and by a distribution's package, and what it lacks."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import date

import pytest

from howdah.catalog import openssl
from howdah.catalog.openssl import FLAWS, of_openssl
from howdah.cli import versions
from howdah.cli.screen import Screen
from howdah.core.programs import Name, Program, Used, lacking, weaknesses, with_libraries

LIBRARY = Program("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "3.0.19", "libssl3", "3.0.19-1~deb12u2")
SERVER = Program("/usr/lib/postgresql/15/bin/postgres", "15.18", "postgresql-15", "15.18-0+deb12u1", openssl=LIBRARY)
POOLER = Program("/usr/sbin/pgbouncer", "1.18.0", "pgbouncer", "1.18.0-1+deb12u1", openssl=LIBRARY)


def ids(version: str, package: str = "", mended: tuple[str, ...] = ()) -> set[str]:
    return {each.id.removeprefix("CVE-") for each in of_openssl(version, package, mended)}


def test_every_flaw_of_openssl_is_whole() -> None:
    assert len({each.id for each in FLAWS}) == len(FLAWS)
    for each in FLAWS:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}", each.id) and each.id in each.source
        assert each.consequence and str(each.prevented or "open")
        assert all(openssl.number(since) < openssl.number(fixed) for since, fixed in each.branches)
        assert len({openssl.branch(since) for since, _ in each.branches}) == len(each.branches), "one pair a branch"
        assert all(openssl.branch(since) == openssl.branch(fixed) for since, fixed in each.branches)
    assert date.fromisoformat(openssl.DATE) <= date(2100, 1, 1)
    assert all(date.fromisoformat(day) for day in openssl.LAST_DAYS.values())


@pytest.mark.parametrize(
    ("version", "has", "has_not"),
    [
        ("1.1.1", {"2021-3449", "2022-0778"}, {"2022-3602", "2026-2673"}),
        ("1.1.1k", {"2022-0778"}, {"2021-3449"}),
        ("1.1.1za", {"2024-13176"}, {"2024-5535"}),
        ("3.0.4", {"2022-2274", "2022-3602"}, {"2022-0778"}),
        ("3.0.19", {"2026-35189", "2026-54872"}, {"2024-13176", "2026-35190"}),
        ("3.0.23", set(), {"2026-35189", "2026-54872"}),
        ("3.5.7", {"2026-35189", "2026-35190"}, {"2026-2673"}),
        ("3.6.5", set(), {"2026-35189", "2026-35190"}),
        ("9.9.9", set(), {each.id.removeprefix("CVE-") for each in FLAWS}),
    ],
)
def test_versions_of_openssl_have_what_was_published_of_them(version: str, has: set[str], has_not: set[str]) -> None:
    assert has <= ids(version)
    assert not has_not & ids(version)


def test_debians_mended_openssl_is_recognised() -> None:
    assert "2026-54872" in ids("3.0.22", "3.0.22-1~deb12u1")
    assert ids("3.0.22", "3.0.22-1~deb12u2") == ids("3.5.7", "3.5.7-1~deb13u3") - {"2026-35190"} == set()
    assert "2026-54872" not in ids("3.0.19", "3.0.19-1", ("CVE-2026-54872",)), "nor what the package's changelog names"


def test_the_one_that_does_harm_comes_first() -> None:
    for name, program in (("postgresql", SERVER), ("pgbouncer", POOLER), ("openssl", LIBRARY)):
        found = weaknesses(name, program)  # type: ignore[arg-type]
        assert [each.prevented is not None for each in found] == sorted(each.prevented is not None for each in found)
        assert all(each.fixed and each.source.startswith("https://") for each in found)
    assert weaknesses("pgbouncer", POOLER)[0].id == "CVE-2026-6668"
    assert weaknesses("postgresql", SERVER)[0].id == "CVE-2026-6460"
    assert weaknesses("postgresql", replace(SERVER, version="")) == ()
    assert lacking("pgbouncer", replace(POOLER, version="")) == ()


@pytest.mark.parametrize(
    ("name", "version", "count"),
    [
        ("postgresql", "13.2", 5),
        ("postgresql", "18.7", 0),
        ("pgbouncer", "1.18.0", 8),
        ("pgbouncer", "1.24.1", 3),
        ("openssl", "1.0.2k", 1),
    ],
)
def test_features_that_a_version_lacks(name: Name, version: str, count: int) -> None:
    assert len(lacking(name, Program("/p", version))) == count


def test_each_library_is_told_once_with_who_uses_it() -> None:
    other = replace(LIBRARY, version="3.5.7")
    server, pooler = Used("postgresql", SERVER, running=True), Used("pgbouncer", POOLER, running=True)
    *_, library = with_libraries((server, pooler))
    assert library == Used("openssl", LIBRARY, running=True, used_by=("postgresql", "pgbouncer"))
    assert len(with_libraries((server, replace(pooler, program=replace(POOLER, openssl=other))))) == 4
    assert with_libraries((Used("postgresql", replace(SERVER, openssl=None), running=False),))[1:] == ()


def test_show_tells_a_count_the_worst_and_where_the_rest_is() -> None:
    screen = Screen(io.StringIO(), io.StringIO(), False, str)
    shown = list(
        versions.lines(screen, with_libraries((Used("postgresql", SERVER, running=True), Used("pgbouncer", POOLER, running=True))))
    )
    assert len(shown) == 4 and shown[0] == "programs"
    assert (
        "15.18 (15.18-0+deb12u1)" in shown[1]
        and "66 published weaknesses concern it here, first CVE-2026-6460, mended in 15.20" in shown[1]
    )
    assert "first CVE-2026-6668, mended in 1.26" in shown[2] and "lacks 8 features" in shown[2]
    assert "3.0.19 (3.0.19-1~deb12u2)  no CVE concerns it here; 2 are prevented: howdah doctor" in shown[3]
