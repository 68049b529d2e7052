"""The table of published weaknesses: whole, dated, and read by the rules of each project's version numbers."""

from __future__ import annotations

import re
from datetime import date

import pytest

from howdah.catalog import advisories
from howdah.catalog.advisories import LAST_DAYS, POOLER, of_pooler, of_postgres
from howdah.catalog.parameters import MAJORS


def ids(version: tuple[int, ...], package: str = "", mended: tuple[str, ...] = ()) -> set[str]:
    return {each.id.removeprefix("CVE-") for each in of_pooler(version, package, mended)}


def test_every_weakness_of_the_pooler_is_whole() -> None:
    assert len({each.id for each in POOLER}) == len(POOLER)
    for each in POOLER:
        assert re.fullmatch(r"CVE-\d{4}-\d{4,}|pgbouncer#\d+", each.id)
        assert each.since < each.fixed
        assert each.source.startswith("https://")


def test_debians_mended_pooler_is_recognised() -> None:
    assert {"2025-2291"} <= ids((1, 18, 0)), "the number alone says nothing of what Debian mended"
    assert "2025-2291" not in ids((1, 18, 0), "1.18.0-1+deb12u1")
    assert "2025-2291" not in ids((1, 18, 0), mended=("CVE-2025-2291",)), "nor what the package's changelog names"
    assert "2026-6664" in ids((1, 18, 0), "1.18.0-1+deb12u1")


@pytest.mark.parametrize(
    ("version", "has", "has_not"),
    [
        ((1, 16, 0), {"2021-3935"}, {"2026-107350"}),
        (
            (1, 18, 0),
            {"2026-6664", "2026-19888", "2026-107350"},
            {"2021-3935", "2025-12819", "2026-6667", "2026-107348", "2026-107349"},
        ),
        ((1, 18, 0), {"pgbouncer#846", "pgbouncer#928"}, set()),
        ((1, 20), {"pgbouncer#928"}, {"pgbouncer#846"}),
        ((1, 24, 1), {"2025-12819", "2026-6667", "2026-107348", "2026-107349"}, {"2025-2291"}),
        ((1, 25, 2), {"2026-6668", "2026-6669", "2026-19888"}, {"2026-6664", "2026-6667"}),
        ((1, 26, 0), {"2026-107348", "2026-107349", "2026-107350"}, {"2026-6668"}),
        ((1, 26, 1), set(), {each.id.removeprefix("CVE-") for each in POOLER}),
        ((1, 27), set(), {each.id.removeprefix("CVE-") for each in POOLER}),
    ],
)
def test_versions_have_what_was_published_of_them(version: tuple[int, ...], has: set[str], has_not: set[str]) -> None:
    found = ids(version)
    assert has <= found
    assert not has_not & found


def test_what_the_configuration_prevents_says_why() -> None:
    open_ones = {each.id for each in of_pooler((1, 18, 0), "1.18.0-1+deb12u1") if each.prevented is None}
    assert open_ones == {"CVE-2026-6664", "CVE-2026-6668", "CVE-2026-19888", "pgbouncer#846", "pgbouncer#928"}


@pytest.mark.parametrize("major", MAJORS)
def test_minor_releases_are_in_order_and_known_weaknesses_only_fall(major: int) -> None:
    releases = of_postgres(major, -1)
    assert releases
    assert [each.minor for each in releases] == sorted({each.minor for each in releases})
    assert [each.date for each in releases] == sorted(each.date for each in releases)
    assert of_postgres(major, releases[-1].minor) == ()
    assert of_postgres(major, releases[0].minor) == releases[1:]
    for each in releases:
        assert date.fromisoformat(each.date) <= date.fromisoformat(advisories.date())
        assert date.fromisoformat(each.date) <= date.fromisoformat(LAST_DAYS[major])
        assert len({one.id for one in each.mended}) == len(each.mended)
        assert all(one.consequence for one in each.mended)


def test_what_only_some_majors_had_is_not_told_of_others() -> None:
    has = {major: {one.id for each in of_postgres(major, -1) for one in each.mended} for major in MAJORS}
    assert "CVE-2026-2007" in has[18]
    assert "CVE-2026-2007" not in has[15]
    assert "CVE-2026-14673" not in has[17]
    assert "CVE-2026-6460" in has[14]
    assert "CVE-2026-6460" not in has[13], "13 was no longer looked at"


def test_weaknesses_that_a_package_mended_are_left_out() -> None:
    [last] = of_postgres(15, 19)
    assert of_postgres(15, 19, {one.id for one in last.mended}) == ()
    assert len(of_postgres(15, 19, {last.mended[0].id})[0].mended) == len(last.mended) - 1
