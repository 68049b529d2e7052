"""OpenSSL as the doctor sees it: which one each server would load, whether anybody still mends it, and what is published of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from howdah.catalog import openssl
from howdah.core.finding import DAY, Finding, day
from howdah.core.programs import Program, Weak, lacking, weaknesses
from howdah.phrase import say


def judge(servers: Iterable[Program], pooler: Program | None, now: float) -> Iterator[Finding]:
    """Return what is to be known of the OpenSSL of each program: versions, support, weaknesses."""
    programs = [("PostgreSQL", each) for each in servers]
    programs += [("PgBouncer", pooler)] if pooler is not None else []
    title = say("OpenSSL")
    if not programs:
        yield Finding("openssl", title, "skip", say("there is no server to ask"))
        return
    listed = ", ".join(f"{name} {each.version}: {_library(each.openssl)}" for name, each in programs)
    old = [f"{name} {each.version}" for name, each in programs if each.openssl is not None and lacking("openssl", each.openssl)]
    if old:
        evidence = say("no TLS 1.3 with {programs} ({all})", programs=", ".join(old), all=listed)
        yield Finding("openssl", title, "warn", evidence, say("use an operating system that still mends its OpenSSL"))
    else:
        yield Finding("openssl", title, "pass", say("{versions}", versions=listed))
    libraries = {each.openssl.path: each.openssl for _, each in programs if each.openssl is not None and each.openssl.version}
    yield from _support(tuple(libraries.values()), now)
    yield from _weaknesses(tuple(libraries.values()))


def _library(library: Program | None) -> str:
    if library is None or not library.version:
        return "?"
    return f"{library.version} ({library.package} {library.package_version})" if library.package else f"{library.version} ({library.path})"


def _support(libraries: Sequence[Program], now: float) -> Iterator[Finding]:
    """Warn of a library without a distribution behind it whose makers have stopped mending it."""
    ends = {openssl.branch(each.version): each for each in libraries if not each.package}
    for branch, each in ends.items():
        last = openssl.LAST_DAYS.get(branch)
        if last is not None and now >= day(last) + DAY:
            evidence = say("its makers mend version {version} no more since {date}: {path}", version=branch, date=last, path=each.path)
            fix = say("use server programs of the operating system")
            yield Finding(f"openssl-{branch}-support", say("OpenSSL {version}: support", version=branch), "warn", evidence, fix)


def _weaknesses(libraries: Sequence[Program]) -> Iterator[Finding]:
    told: dict[str, tuple[Weak, list[str]]] = {}
    for library in libraries:
        for weak in weaknesses("openssl", library):
            told.setdefault(weak.id, (weak, []))[1].append(library.version)
    for weak, versions in sorted(told.values(), key=lambda pair: pair[0].prevented is not None):
        title = say("OpenSSL {version}: {cve}", version=", ".join(dict.fromkeys(versions)), cve=weak.id)
        if weak.prevented is None:
            fix = say("install OpenSSL {fixed} or later, then howdah restart NAME", fixed=weak.fixed)
            yield Finding(weak.id, title, "warn", say("{consequence}", consequence=weak.consequence), fix)
        else:
            evidence = say("not here, for {why} ({consequence})", why=weak.prevented, consequence=weak.consequence)
            yield Finding(weak.id, title, "pass", evidence)
    if libraries and not told:
        evidence = say("none that the table of {date} knows of", date=openssl.DATE)
        yield Finding("openssl-advisories", say("OpenSSL: published weaknesses"), "pass", evidence)
