"""Every check on a real instance: proven as Howdah makes it, and refuted when the thing that it watches is broken for real.

Each damage names all the checks that must notice it, so that a check which fails without a cause is found out, too.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.real.bed import BOTH, CALLER, DAY, Bed, Where, another_certificate, at, evidence, found, made, pooler_file, reload, server_files
from tests.real.servers import free_port, new_home

from howdah.host import pgbouncer, process, sql
from howdah.phrase import say
from howdah.verify import stranger, verify


@pytest.fixture(scope="module")
def home() -> Path:
    return new_home()


@pytest.fixture(scope="module")
def bed(home: Path) -> Iterator[Bed]:
    with made(home, "shop", {"pooler": {"listen_port": str(free_port()), "pool_mode": "transaction"}}) as bed:
        yield bed


# --- whole --------------------------------------------------------------------------------------------------------------------------------


def test_an_instance_as_howdah_makes_it_is_proven(bed: Bed) -> None:
    report = bed.report()
    assert (report.verdict, found(report, "fail", "warn")) == ("proven", set())
    expected = set() if os.geteuid() == 0 else {("authority-apart", "instance")}  # an ordinary user's servers have no users of their own
    assert found(report, "skip") == expected
    assert len(report.checks) >= 50
    assert all(str(line.finding.evidence) for line in report.checks)


def test_nothing_of_the_probe_is_left(bed: Bed) -> None:
    bed.report()
    with sql.control(bed.host.seat(bed.want), say("look")) as session:
        left = session.execute("SELECT rolcanlogin, rolpassword FROM pg_authid WHERE rolname = 'howdah_probe'").fetchall()
    assert left == [(False, None)]


def test_the_environment_of_the_caller_has_no_say(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGSERVICE": "nowhere", "PGSSLMODE": "disable", "PGHOSTADDR": "192.0.2.1", "PGREQUIREAUTH": "none"}.items():
        monkeypatch.setenv(name, value)
    assert bed.report().verdict == "proven"


@pytest.mark.parametrize("mode", ["session", "statement"])
def test_every_pool_mode_is_proven(bed: Bed, mode: str) -> None:
    with pooler_file(bed, lambda ini: ini.replace("pool_mode = transaction", f"pool_mode = {mode}")):
        report = bed.report()
        assert found(report, "fail") == {("pooler-loaded", "pooled")}  # it is not the wanted mode
        assert mode in evidence(report, "really-pooled", "pooled")


def test_without_a_pooler_one_line_says_so(home: Path) -> None:
    with made(home, "plain", {}) as bed:
        report = bed.report()
    assert (report.verdict, found(report, "fail", "warn")) == ("proven", set())
    assert [line.check.id for line in report.checks if line.hop == "pooled"] == ["pooler"]


def test_without_tls_it_is_refuted_and_says_how_to_turn_it_on(home: Path) -> None:
    with made(home, "open", {"pooler": {"listen_port": str(free_port())}}, {"ssl": "off"}) as bed:
        report = bed.report()
    assert found(report, "fail") == {("plaintext-refused", hop) for hop in BOTH}
    assert {str(line.finding.fix) for line in report.checks if line.finding.result == "fail"} == {"run `howdah params set open ssl=on`"}
    assert {("tls-spoken", hop) for hop in BOTH} <= found(report, "skip")
    assert {("wrong-password-refused", hop) for hop in BOTH} <= found(report, "pass")


# --- PostgreSQL broken --------------------------------------------------------------------------------------------------------------------


LOADED = ("configuration-loaded", "instance")
RULES = ("rules-strict", "instance")
# what a port that speaks no TLS cannot keep, and a client that demands it cannot see
WITHOUT_TLS = (
    "plaintext-refused tls-spoken tls-versions tls-ciphers chain-verified name-verified foreign-authority-refused certificate-dates "
    "certificate-newest injection-dropped scram-only login-works session-encrypted control-role-refused lookup-role-refused template-closed"
)
# rules put before ours, settings put after ours, who notices
SERVER_DAMAGES: dict[str, tuple[str, str, set[Where]]] = {
    "trust": (
        "host all all 127.0.0.1/32 trust",
        "",
        at("direct", "plaintext-refused scram-only wrong-password-refused no-password-refused expired-role-refused")
        | at("direct", "control-role-refused lookup-role-refused template-closed")
        | {RULES},
    ),
    "password in clear": (
        "hostssl all all 127.0.0.1/32 password",
        "",
        at("direct", "scram-only control-role-refused lookup-role-refused template-closed") | {RULES},
    ),
    "plaintext with SCRAM": (
        "host all howdah_probe 127.0.0.1/32 scram-sha-256",
        "",
        at("direct", "plaintext-refused template-closed") | {RULES},
    ),
    "the control role": ("hostssl all postgres 127.0.0.1/32 scram-sha-256", "", at("direct", "control-role-refused")),
    "the lookup role": ("hostssl all howdah_lookup 127.0.0.1/32 scram-sha-256", "", at("direct", "lookup-role-refused")),
    "template1": ("hostssl template1 all 127.0.0.1/32 scram-sha-256", "", at("direct", "template-closed")),
    "a rule in error": ("hostssl all all 127.0.0.1/32 nonsense", "", set()),
    "old versions": (
        "",
        "ssl_min_protocol_version = 'TLSv1'\nssl_ciphers = 'ALL:@SECLEVEL=0'",
        at("direct", "tls-versions tls-ciphers"),
    ),
    "weak ciphers": ("", "ssl_ciphers = 'ALL'", at("direct", "tls-ciphers")),
    "TLS off": ("host all all 127.0.0.1/32 scram-sha-256", "ssl = off", at("direct", WITHOUT_TLS) | {RULES}),
    "writes not durable": ("", "fsync = off", at("instance", "writes-durable")),
    "passwords stored as MD5": ("", "password_encryption = md5", at("instance", "passwords-scram")),
}


@pytest.mark.parametrize("damage", SERVER_DAMAGES)
def test_a_broken_postgresql_is_refuted(bed: Bed, damage: str) -> None:
    hba, settings, noticed = SERVER_DAMAGES[damage]
    with server_files(bed, hba, settings):
        report = bed.report()
    assert (report.verdict, found(report, "fail")) == ("refuted", {LOADED} | noticed)


def test_a_setting_that_waits_for_a_restart_is_a_warning(bed: Bed) -> None:
    with server_files(bed, settings="max_connections = 90"):
        report = bed.report()
    assert found(report, "warn") == {("restart-pending", "instance")}
    assert "max_connections" in evidence(report, "restart-pending", "instance")


def test_a_foreign_certificate_is_noticed(bed: Bed) -> None:
    with another_certificate(bed, new_home(), 10):
        report = bed.report()
    checks = ("chain-verified", "name-verified", "certificate-newest", "login-works", "session-encrypted")
    assert found(report, "fail") == {*((check, "direct") for check in checks), LOADED}
    assert ("wrong-password-refused", "direct") in found(report, "skip")  # a login that cannot work proves nothing


def test_an_authority_that_clients_of_others_trust_is_noticed(bed: Bed, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stranger, "FOREIGN_AUTHORITY", (home / "ca" / "ca.crt").read_text())
    report = bed.report()
    assert found(report, "fail") == {("foreign-authority-refused", hop) for hop in BOTH}


def test_dates_as_served_are_judged(bed: Bed) -> None:
    late = verify(bed.want, bed.seat, time.time() + 300 * DAY)
    assert found(late, "fail", "warn") == {("certificate-dates", hop) for hop in BOTH} and late.verdict == "proven"
    for now, words in ((time.time() + 400 * DAY, "expired"), (time.time() - 400 * DAY, "not valid yet")):
        report = verify(bed.want, bed.seat, now)
        assert {("certificate-dates", hop) for hop in BOTH} == found(report, "fail")
        assert words in evidence(report, "certificate-dates", "direct")


def test_a_name_that_the_certificate_lacks_is_noticed(bed: Bed) -> None:
    report = bed.report(direct=replace(bed.want.direct, hostnames=("db.example.org",)))
    assert found(report, "fail") == {("name-verified", "direct")}
    assert "db.example.org" in evidence(report, "name-verified", "direct")


def test_weak_secrets_and_powerful_roles_are_named(bed: Bed) -> None:
    bed.run(f"CREATE ROLE weak LOGIN PASSWORD 'md5{'0' * 32}'; CREATE ROLE strong SUPERUSER")
    try:
        report = bed.report()
    finally:
        bed.run("DROP ROLE weak; DROP ROLE strong")
    assert (found(report, "fail"), found(report, "warn")) == ({("passwords-scram", "instance")}, {("roles-narrow", "instance")})
    assert "weak" in evidence(report, "passwords-scram", "instance") and "strong" in evidence(report, "roles-narrow", "instance")


# --- what lies on disk --------------------------------------------------------------------------------------------------------------------


def first_key(bed: Bed) -> Path:
    return next(bed.host.layout(bed.want.id).tls("direct").glob("*.key"))


WIDE: dict[str, tuple[Callable[[Bed], Path], int, str]] = {  # what, how wide, who notices
    "a key": (first_key, 0o640, "keys-private"),
    "the data directory": (lambda bed: bed.host.layout(bed.want.id).data, 0o750, "data-private"),
    "pg_hba.conf": (lambda bed: bed.host.layout(bed.want.id).data / "pg_hba.conf", 0o644, "configuration-private"),
    "the socket's directory": (lambda bed: bed.host.layout(bed.want.id).socket_dir, 0o755, "sockets-private"),
    "the passfile": (lambda bed: bed.host.layout(bed.want.id).passfile, 0o644, "secrets-private"),
    "the authority's key": (lambda bed: bed.host.home / "ca" / "ca.key", 0o640, "authority-apart"),
}


@pytest.mark.parametrize("what", WIDE)
def test_a_wide_mode_is_noticed(bed: Bed, what: str) -> None:
    where, mode, check = WIDE[what]
    path = where(bed)
    before = path.stat().st_mode & 0o7777
    path.chmod(mode)
    try:
        report = bed.report()
    finally:
        path.chmod(before)
        reload(bed)  # a mode that changed after the load would be noticed, too
    # a key that others can read is not one to serve with, and what changed after the load is not what was loaded
    assert found(report, "fail") - {LOADED, ("certificate-newest", "direct")} == {(check, "instance")}
    assert str(path) in evidence(report, check, "instance")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_an_authority_that_the_server_owns_is_noticed(bed: Bed) -> None:
    key, account = bed.host.home / "ca" / "ca.key", bed.host.seat(bed.want).account
    assert account is not None
    os.chown(key, account.uid, account.gid)
    try:
        report = bed.report()
    finally:
        os.chown(key, 0, 0)
    assert found(report, "fail") == {("authority-apart", "instance")}


# --- PgBouncer broken ---------------------------------------------------------------------------------------------------------------------


POOLER_DAMAGES: dict[str, tuple[Callable[[str], str], Callable[[str], str], set[Where]]] = {
    "plaintext allowed": (
        lambda ini: ini.replace("client_tls_sslmode = require", "client_tls_sslmode = allow"),
        lambda hba: hba.replace("hostssl", "host"),
        at("pooled", "plaintext-refused pooler-loaded"),
    ),
    "TLS off by a bad line": (
        lambda ini: ini.replace("client_tls_sslmode", "nonsense = 1\nclient_tls_sslmode"),
        str,
        at("pooled", WITHOUT_TLS) - at("pooled", "injection-dropped")
        | at("pooled", "console-closed really-pooled second-hop-local pooler-loaded connections-fit"),
    ),
    "the console": (str, lambda hba: f"hostssl pgbouncer all 127.0.0.1/32 trust\n{hba}", at("pooled", "console-closed")),
    "template1": (str, lambda hba: f"hostssl template1 all 127.0.0.1/32 scram-sha-256\n{hba}", at("pooled", "template-closed")),
    "old versions": (
        lambda ini: ini.replace("_protocols = secure", "_protocols = all").replace("_ciphers = ", "_ciphers = ALL:@SECLEVEL=0:"),
        str,
        at("pooled", "tls-versions tls-ciphers pooler-loaded"),
    ),
    "no server connection used twice": (
        lambda ini: ini.replace("server_lifetime = 3600", "server_lifetime = 0"),
        str,
        at("pooled", "really-pooled second-hop-local pooler-loaded"),
    ),
    "more connections than PostgreSQL has": (
        lambda ini: ini.replace("max_db_connections = ", "max_db_connections = 9"),
        str,
        at("pooled", "connections-fit pooler-loaded"),
    ),
}


@pytest.mark.parametrize("damage", POOLER_DAMAGES)
def test_a_broken_pgbouncer_is_refuted(bed: Bed, damage: str) -> None:
    ini, hba, noticed = POOLER_DAMAGES[damage]
    with pooler_file(bed, ini, hba):
        report = bed.report()
    assert (report.verdict, found(report, "fail")) == ("refuted", noticed)


def test_an_altered_lookup_function_is_noticed_by_its_text_and_by_what_it_does(bed: Bed) -> None:
    altered = """CREATE OR REPLACE FUNCTION howdah.user_lookup(text) RETURNS TABLE (uname text, phash text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        AS 'SELECT rolname::text, rolpassword FROM pg_authid WHERE rolname = $1'"""
    bed.run(altered)
    try:
        report = bed.report()
        assert ("lookup-as-shipped", "pooled") in found(report, "fail")
        assert "postgres" in evidence(report, "lookup-as-shipped", "pooled")
        bed.run("DROP SCHEMA howdah CASCADE", "postgres")
        report = bed.report()
        assert {("lookup-as-shipped", "pooled"), ("login-works", "pooled")} <= found(report, "fail")
    finally:
        bed.service.repair(bed.want.name, CALLER)
    assert bed.report().verdict == "proven"


def test_a_database_left_paused_is_noticed(bed: Bed) -> None:
    address = f"host=127.0.0.1 port={bed.want.hop_port('pooled')} user=app dbname=shop"
    with psycopg.connect(address, password=bed.password.reveal()), pgbouncer.enter(bed.generation) as console:
        console.ask("DISABLE shop")  # a database that nobody uses would be forgotten soon
        try:
            report = bed.report()
        finally:
            console.ask("ENABLE shop")
    assert found(report, "fail") == {("nothing-paused", "pooled")}


def test_sessions_that_began_in_plaintext_are_named(bed: Bed) -> None:
    with ExitStack() as stack:
        with (
            server_files(bed, "hostnossl all app 127.0.0.1/32 scram-sha-256"),
            pooler_file(
                bed,
                lambda ini: ini.replace("client_tls_sslmode = require", "client_tls_sslmode = allow"),
                lambda hba: f"hostnossl shop all 127.0.0.1/32 scram-sha-256\n{hba}",
            ),
        ):
            for port in (bed.want.port, bed.want.hop_port("pooled")):
                address = f"host=127.0.0.1 port={port} user=app dbname=shop sslmode=disable application_name=old"
                stack.enter_context(psycopg.connect(address, password=bed.password.reveal(), autocommit=True))
        report = bed.report()
    assert found(report, "fail") == {("no-plaintext-session", hop) for hop in BOTH}
    assert "app@shop (old, 127.0.0.1" in evidence(report, "no-plaintext-session", "direct")


def test_a_silent_pooler_is_refuted_within_its_time_limits(bed: Bed) -> None:
    member = pgbouncer.quick_look(bed.generation).member
    assert member is not None
    process.send(member, signal.SIGSTOP)
    try:
        report = bed.report()
    finally:
        process.send(member, signal.SIGCONT)
    assert report.verdict == "refuted"
    assert {hop for _, hop in found(report, "fail")} == {"pooled"}


def test_a_server_that_is_down_is_refuted_and_nothing_is_raised(bed: Bed) -> None:
    bed.service.stop(bed.want.name, CALLER)
    try:
        report = bed.report()
        assert report.verdict == "refuted"
        assert {("login-works", hop) for hop in BOTH} | {LOADED} <= found(report, "fail")
    finally:
        bed.service.start(bed.want.name, CALLER)
    assert bed.report().verdict == "proven"


def test_a_pooler_that_nobody_would_start_again_is_noticed(bed: Bed) -> None:
    keeper = pgbouncer.quick_look(bed.generation).keeper
    assert keeper is not None
    process.stop(keeper, signal.SIGKILL, 5)
    report = bed.report()
    assert ("pooler-kept", "pooled") in found(report, "fail")
    bed.service.repair(bed.want.name, CALLER)
    assert bed.report().verdict == "proven"
