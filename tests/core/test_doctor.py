"""The doctor's judgement, fact by fact."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from howdah.core.aging import Older
from howdah.core.doctor import Condition, Doctored, Kernel, Space, judge
from howdah.core.finding import Finding
from howdah.core.machine import Quick
from howdah.core.programs import Program
from howdah.phrase import say

GIB = 2**30
NOW = 1_795_600_000.0  # 2026-11-25
LIBRARY = Program("/usr/lib/x86_64-linux-gnu/libcrypto.so.3", "3.5.10", "libssl3t64", "3.5.10-1~deb13u1")
ANCIENT = Program("/opt/lib/libcrypto.so.1.0", "1.0.2k")
POOLER = Program("/usr/sbin/pgbouncer", "1.26.1", "pgbouncer", "1.26.1-1", openssl=LIBRARY)
SERVER = Program("/usr/lib/postgresql/17/bin", "17.12", "postgresql-17", "17.12-1", openssl=LIBRARY)
FIT = Condition(
    now=NOW,
    home="/var/lib/howdah",
    socket_bytes=60,
    root=True,
    sudo=True,
    server_user=True,
    python="3.11.2",
    keeper_python="/usr/bin/python3",
    servers={17: SERVER},
    pooler=POOLER,
    open_files=65_536,
    clients=65_000,
    backlog=4096,
    half_open=2048,
    memory_mib=16_000,
    available_mib=8_000,
    space=Space(50 * GIB, 100 * GIB, 900, 1000),
    kernel=Kernel("6.1", pidfd=True, steering=True),
    loopback_v6=True,
    ports={5432: None, 6432: None},
    renews=True,
)
QUICK = Quick(True, True, True, {"direct": 397.0, "pooled": 396.5})


def found(**changes: Any) -> dict[str, Finding]:
    """Return the findings by id; every id is there once."""
    findings = judge(replace(FIT, **changes))
    assert len({each.id for each in findings}) == len(findings)
    return {each.id: each for each in findings}


def test_a_fit_machine_has_no_complaint() -> None:
    assert {each.result for each in found(instances=(Doctored("shop", QUICK),)).values()} == {"pass"}


def test_short_queues_of_new_connections_are_told_with_the_largest_legal_value() -> None:
    assert "listen_backlog up to 4096" in str(found()["queues"].evidence)
    for short in ({"backlog": 128}, {"half_open": 128}):
        told = found(**short)["queues"]
        assert told.result == "warn" and "sysctl -w" in str(told.fix)
    assert found(half_open=0)["queues"].result == "pass", "who cannot read it does not complain"


def test_every_complaint_says_what_to_do() -> None:
    worst = found(
        root=False,
        sudo=False,
        keeper_python=say("no Python"),
        servers={13: Program("/opt/13", "13.2", openssl=ANCIENT)},
        pooler=Program("/opt/pgbouncer", "1.15.0", openssl=ANCIENT, systemd=False),
        open_files=256,
        available_mib=10,
        space=Space(GIB, 100 * GIB, 0, 0),
        kernel=Kernel("4.0", pidfd=False, steering=False),
        socket_bytes=140,
        now=0.0,
        lingering=False,
        logout_harms=True,
        renews=False,
        instances=(Doctored("shop", replace(QUICK, days_left={"direct": 3.0})),),
    )
    complaints = [each for each in worst.values() if each.result in ("warn", "fail")]
    assert len(complaints) > 12
    for each in worst.values():
        assert (each.fix is not None) == (each.result in ("warn", "fail")), each
        assert str(each.title)
        assert str(each.evidence)


@pytest.mark.parametrize(
    ("name", "changes", "result"),
    [
        ("postgresql", {"servers": {}}, "fail"),
        ("postgresql", {"servers": {12: replace(SERVER, version="12.22")}}, "fail"),
        ("postgresql-14-support", {"servers": {14: replace(SERVER, version="14.25")}}, "warn"),
        ("postgresql-17-advisories", {"servers": {17: replace(SERVER, version="17.11")}}, "warn"),
        ("postgresql-17-advisories", {"servers": {17: replace(SERVER, version="17")}}, "skip"),
        ("pgbouncer", {"pooler": None}, "warn"),
        ("pgbouncer", {"pooler": replace(POOLER, version="")}, "fail"),
        ("pgbouncer", {"pooler": replace(POOLER, systemd=False)}, "fail"),
        ("CVE-2026-6664", {"pooler": replace(POOLER, version="1.25.1")}, "warn"),
        ("CVE-2026-107350", {"pooler": replace(POOLER, version="1.25.1")}, "pass"),
        ("openssl", {"pooler": replace(POOLER, openssl=ANCIENT)}, "warn"),
        ("openssl-advisories", {}, "pass"),
        ("CVE-2026-35189", {"pooler": replace(POOLER, openssl=replace(LIBRARY, version="3.0.19", package_version=""))}, "pass"),
        ("CVE-2021-3449", {"pooler": replace(POOLER, openssl=Program("/opt/libcrypto.so.1.1", "1.1.1"))}, "warn"),
        ("openssl-1.1-support", {"pooler": replace(POOLER, openssl=Program("/opt/libcrypto.so.1.1", "1.1.1w"))}, "warn"),
        ("rights", {"server_user": False}, "fail"),
        ("rights", {"root": False, "server_user": False, "sudo": False}, "pass"),
        ("python", {"keeper_python": say("cannot keep a pooler")}, "fail"),
        ("kernel", {"kernel": Kernel("4.9", pidfd=False, steering=True)}, "fail"),
        ("kernel", {"kernel": Kernel("6.1", pidfd=True, steering=False)}, "warn"),
        ("open-files", {"open_files": 1023}, "fail"),
        ("open-files", {"open_files": 1024}, "warn"),
        ("memory", {"available_mib": 255}, "warn"),
        ("disk", {"space": Space(15 * GIB, 100 * GIB, 15, 100)}, "pass"),
        ("disk", {"space": Space(15 * GIB - 1, 100 * GIB, 15, 100)}, "warn"),
        ("disk", {"space": Space(50 * GIB, 100 * GIB, 14, 100)}, "warn"),
        ("disk", {"space": Space(GIB, 100 * GIB, 0, 0)}, "fail"),
        ("disk", {"space": Space(50 * GIB, 100 * GIB, 0, 0)}, "pass"),
        ("disk", {"space": Space(50 * GIB, 100 * GIB, 0, 0, read_only=True)}, "fail"),
        ("socket-path", {"socket_bytes": 107}, "pass"),
        ("socket-path", {"socket_bytes": 108}, "fail"),
        ("loopback-v6", {"loopback_v6": False}, "pass"),
        ("port-5432", {"ports": {5432: "postgres (pid 7)"}}, "pass"),
        ("clock", {"now": 1_700_000_000.0}, "fail"),
        ("unattended", {"renews": False}, "warn"),
        ("unattended", {"renews": False, "boots": True}, "warn"),
        ("logout", {"lingering": False, "logout_harms": True}, "warn"),
        ("logout", {"lingering": False}, "pass"),
        ("logout", {"lingering": True}, "pass"),
    ],
)
def test_each_fact_is_judged(name: str, changes: dict[str, Any], result: str) -> None:
    assert found(**changes)[name].result == result


def test_features_that_a_version_lacks_are_one_line() -> None:
    old = found(pooler=replace(POOLER, version="1.18.0"), servers={14: replace(SERVER, version="14.25")})
    assert "KILL_CLIENT" in str(old["pgbouncer-features"].evidence)
    assert "prepared statements" in str(old["pgbouncer-features"].evidence)
    assert "ICU" in str(old["postgresql-14-features"].evidence)
    recent = found(pooler=replace(POOLER, version="1.24.0"))
    assert "KILL_CLIENT" not in str(recent["pgbouncer-features"].evidence)
    assert "pgbouncer-features" not in found()


def test_the_gravest_weaknesses_are_named() -> None:
    evidence = str(found(servers={15: replace(SERVER, version="15.18")})["postgresql-15-advisories"].evidence)
    assert "15.19: 24, 15.20: 42" in evidence
    assert "CVE-2026-6460" in evidence
    assert "CVE-2026-14672" not in evidence, "15 never had it"


@pytest.mark.parametrize(("days", "result"), [(6.9, "fail"), (29.0, "warn"), (30.0, "pass"), (None, "skip")])
def test_certificates_are_judged_as_served(days: float | None, result: str) -> None:
    finding = found(instances=(Doctored("shop", replace(QUICK, days_left={"direct": 300.0 if days else None, "pooled": days})),))
    assert finding["shop-certificates"].result == result


def test_a_server_older_than_its_program_is_told_once() -> None:
    server = Older("postgresql", "15.18", "15.20", ("postgres", "libssl.so.3"))
    finding = found(instances=(Doctored("shop", QUICK, (server,)),))["shop-postgresql-older"]
    assert (finding.result, str(finding.fix)) == ("warn", "howdah restart shop")
    assert str(finding.evidence) == "PostgreSQL 15.18 runs, 15.20 is installed"
    pooler = Older("pgbouncer", "1.18.0", "1.18.0", ("libssl.so.3",))
    finding = found(instances=(Doctored("shop", QUICK, (pooler,)),))["shop-pgbouncer-older"]
    assert str(finding.fix) == "howdah repair shop"
    assert str(finding.evidence) == "an update has replaced what PgBouncer still uses: libssl.so.3"


@pytest.mark.parametrize(("free", "result"), [(150, "pass"), (149, "warn"), (20, "warn"), (19, "fail")])
def test_little_room_is_told_of_the_home_and_of_data_on_another_disk(free: int, result: str) -> None:
    space = Space(free, 1000, 900, 1000)
    assert found(space=space)["disk"].result == result
    assert found(instances=(Doctored("shop", QUICK, space=space),))["shop-disk"].result == result
