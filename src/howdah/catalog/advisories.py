"""Published weaknesses of PgBouncer and PostgreSQL: which versions have them, what follows, and what Howdah's own setup already prevents.

A distribution mends old versions under old numbers, so a package's version and its changelog count beside the program's own number.
Nothing here asks the network: the table has a date, and a reader is told it. PostgreSQL's part was read from the release notes of 15;
what only other majors had is in it as far as it was announced.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import Final, Literal

from howdah.phrase import Phrase, say

Version = tuple[int, ...]
Kind = Literal["stranger", "code", "rights", "memory", "crash", "client"]
"""What a weakness gives away: a server to strangers, code or other rights to users, memory, the server's life, or a client's machine."""


@dataclass(frozen=True)
class Weakness:
    """A weakness of PgBouncer, by its CVE, or by its number at PgBouncer's own repository where it has none.

    It affects versions from `since` until `fixed`; `prevented` says why it does no harm behind Howdah.
    """

    id: str
    since: Version
    fixed: Version
    consequence: Phrase
    prevented: Phrase | None = None
    source: str = "https://www.pgbouncer.org/changelog.html"
    packages: tuple[str, ...] = ()  # of distributions, mended under an older number


_BACK: Final = say("the keeper starts it again within a second, clients reconnect")
_OUR_SERVER: Final = say("the pooler speaks to this instance's own PostgreSQL alone, over a unix socket")
POOLER: Final = (
    Weakness(
        "CVE-2015-6817",
        (1, 6),
        (1, 6, 1),
        say("an unknown user is logged in as auth_user"),
    ),
    Weakness(
        "CVE-2021-3935",
        (0,),
        (1, 16, 1),
        say("bytes sent before the TLS handshake are taken as if they came after it"),
        say("it harms where a client certificate alone logs in; here SCRAM is always asked for"),
    ),
    Weakness(
        "pgbouncer#846",
        (1, 18),
        (1, 19, 1),
        say(
            "a user who cancels a query and is gone at once, as some drivers are after a cancel over TLS, can crash the pooler; {cure}",
            cure=_BACK,
        ),
        source="https://github.com/pgbouncer/pgbouncer/pull/846",
    ),
    Weakness(
        "pgbouncer#928",
        (1, 18),
        (1, 21),
        say("a user whose driver says goodbye after asking for a cancellation, as Go's pq does, crashes the pooler; {cure}", cure=_BACK),
        source="https://github.com/pgbouncer/pgbouncer/pull/928",
    ),
    Weakness(
        "CVE-2025-2291",
        (0,),
        (1, 24, 1),
        say("the usual auth_query lets expired passwords in"),
        say("the lookup function honours VALID UNTIL"),
        packages=("1.18.0-1+deb12u1",),
    ),
    Weakness(
        "CVE-2025-12819",
        (1, 20),
        (1, 25, 1),
        say("a stranger can run SQL during a login when search_path is a tracked parameter"),
        say("search_path is never tracked, and the lookup function pins its own"),
        packages=("1.18.0-1+deb12u1",),
    ),
    Weakness(
        "CVE-2026-6664",
        (0,),
        (1, 25, 2),
        say("a stranger can crash the pooler with a malformed SCRAM packet; the keeper starts it again within a second, clients reconnect"),
    ),
    Weakness("CVE-2026-6665", (0,), (1, 25, 2), say("a hostile server can overflow the pooler's stack during a login"), _OUR_SERVER),
    Weakness("CVE-2026-6666", (0,), (1, 25, 2), say("a hostile server can crash the pooler with an incomplete error"), _OUR_SERVER),
    Weakness(
        "CVE-2026-6667",
        (1, 24),
        (1, 25, 2),
        say("whoever may only read statistics on the console can end clients"),
        say("the console admits nobody but the pooler's own system user"),
    ),
    Weakness(
        "CVE-2026-6668",
        (0,),
        (1, 26),
        say("a stranger who sends enough can make the pooler spin for ever, so that nobody is served until it is restarted"),
        source="https://www.postgresql.org/about/news/pgbouncer-1260-released-fixes-three-cves-3385/",
    ),
    Weakness(
        "CVE-2026-6669",
        (0,),
        (1, 26),
        say("a hostile server can make the pooler compute without end during a login"),
        _OUR_SERVER,
        source="https://www.postgresql.org/about/news/pgbouncer-1260-released-fixes-three-cves-3385/",
    ),
    Weakness(
        "CVE-2026-19888",
        (0,),
        (1, 26),
        say("a stranger can crash the pooler with an incomplete SCRAM message; the keeper starts it again within a second"),
        source="https://www.postgresql.org/about/news/pgbouncer-1260-released-fixes-three-cves-3385/",
    ),
    Weakness(
        "CVE-2026-107348",
        (1, 21),
        (1, 26, 1),
        say("a packet that claims to be huge makes the pooler spin for ever when max_packet_size is raised"),
        say("max_packet_size is at its default"),
    ),
    Weakness(
        "CVE-2026-107349",
        (1, 20),
        (1, 26, 1),
        say("a stranger can make the pooler spin for ever when ignore_startup_parameters lacks options"),
        say("options is always in that list"),
    ),
    Weakness(
        "CVE-2026-107350",
        (1, 17),
        (1, 26, 1),
        say("whoever knows one password of auth_file can log in as any other user"),
        say("auth_file is empty"),
    ),
)


def of_pooler(version: Version, package: str = "", mended: Collection[str] = ()) -> tuple[Weakness, ...]:
    """Return what concerns a PgBouncer; `mended` are the weaknesses that its package's changelog names.

    >>> [each.id for each in of_pooler((1, 26))]
    ['CVE-2026-107348', 'CVE-2026-107349', 'CVE-2026-107350']
    >>> "CVE-2025-2291" in {each.id for each in of_pooler((1, 18, 0), "1.18.0-1+deb12u1")}
    False
    """
    found = (each for each in POOLER if _from(each.since, version) and not _from(each.fixed, version))
    return tuple(each for each in found if each.id not in mended and not any(is_mended(package, fixed) for fixed in each.packages))


def _from(first: Version, version: Version) -> bool:
    pairs = zip_longest(first, version, fillvalue=0)
    return next((ours > theirs for theirs, ours in pairs if ours != theirs), True)


def is_mended(package: str, fixed: str) -> bool:
    """Tell whether a Debian package is the mended one or a later revision of it.

    >>> is_mended("1.18.0-1+deb12u1", "1.18.0-1+deb12u1"), is_mended("1.18.0-1+deb12u2", "1.18.0-1+deb12u1")
    (True, True)
    >>> is_mended("1.18.0-1", "1.18.0-1+deb12u1"), is_mended("1.24.1-1+deb13u2", "1.18.0-1+deb12u1")
    (False, False)
    """
    stem, _, number = fixed.rpartition("u")
    its_stem, _, its_number = package.rpartition("u")
    return stem == its_stem and its_number.isdigit() and int(its_number) >= int(number)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mended:
    """One weakness of PostgreSQL; `consequence` is English, as PostgreSQL's own descriptions are."""

    id: str
    kind: Kind
    consequence: str


@dataclass(frozen=True)
class Minor:
    """A minor release: what it mended for one major."""

    major: int
    minor: int
    date: str
    mended: tuple[Mended, ...]

    @property
    def version(self) -> str:
        """Its number, such as 15.20."""
        return f"{self.major}.{self.minor}"

    @property
    def source(self) -> str:
        """Its release notes."""
        return f"https://www.postgresql.org/docs/release/{self.version}/"


# The last day of each major, and the minor release of that day (https://www.postgresql.org/support/versioning/).
LAST_DAYS: Final = {13: "2025-11-13", 14: "2026-11-12", 15: "2027-11-11", 16: "2028-11-09", 17: "2029-11-08", 18: "2030-11-14"}


def of_postgres(major: int, minor: int, mended: Collection[str] = ()) -> tuple[Minor, ...]:
    """Return the minor releases that a server lacks, oldest first, each with what it mended; releases that mended nothing are left out.

    >>> [each.version for each in of_postgres(15, 18)]
    ['15.19', '15.20']
    """
    later = (each for each in _table()[1] if each.major == major and each.minor > minor)
    left = (Minor(each.major, each.minor, each.date, tuple(one for one in each.mended if one.id not in mended)) for each in later)
    return tuple(each for each in left if each.mended)


def date() -> str:
    """Return the day on which the table was made, by ISO 8601."""
    return _table()[0]


@cache
def _table() -> tuple[str, tuple[Minor, ...]]:
    read = json.loads((Path(__file__).parent / "advisories-postgresql.json").read_text("utf-8"))
    found = [
        Minor(
            int(major),
            minor,
            release["date"],
            tuple(
                Mended(one["id"], one["kind"], one["consequence"])
                for one in release["cves"]
                if int(major) in one.get("majors", (int(major),))
            ),
        )
        for release in read["releases"]
        for major, minor in release["fixed"].items()
    ]
    return read["date"], tuple(found)
