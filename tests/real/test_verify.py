"""Every check on a real instance: proven as Howdah makes it, and refuted when the thing that it watches is broken for real.

Each damage names all the checks that must notice it, so that a check which fails without a cause is found out, too.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.real import middlebox
from tests.real.bed import BOTH, CALLER, DAY, Bed, Where, another_certificate, at, evidence, found, made, pooler_file, reload, server_files
from tests.real.servers import free_port, new_home

from howdah.core.instance import Hop
from howdah.host import files, pgbouncer, pki, postgres, process, sql
from howdah.phrase import say
from howdah.verify import stranger, verify
from howdah.verify.checks import checks


@pytest.fixture(scope="module")
def home() -> Path:
    return new_home()


@pytest.fixture(scope="module")
def bed(home: Path) -> Iterator[Bed]:
    with made(home, "shop", {"pooler": {"listen_port": str(free_port()), "pool_mode": "transaction"}}) as bed:
        yield bed


BROKEN: set[str] = set()  # every check that a test below has seen to fail or to warn


def breaks(*noticed: set[Where]) -> pytest.MarkDecorator:
    """Hand a test the checks that must notice what it breaks, and remember them: it has to compare."""
    every = set().union(*noticed)
    BROKEN.update(check for check, _ in every)
    return pytest.mark.parametrize("noticed", [every], ids=[""])


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
        assert found(report, "fail") == at("pooled", "pooler-loaded pooler-files")  # it is not the wanted mode
        assert mode in evidence(report, "really-pooled", "pooled")


def test_without_a_pooler_one_line_says_so(home: Path) -> None:
    with made(home, "plain", {}) as bed:
        report = bed.report()
    assert (report.verdict, found(report, "fail", "warn")) == ("proven", set())
    assert [line.check.id for line in report.checks if line.hop == "pooled"] == ["pooler"]


@breaks(at("direct", "plaintext-refused"), at("pooled", "plaintext-refused"))
def test_without_tls_it_is_refuted_and_says_how_to_turn_it_on(home: Path, noticed: set[Where]) -> None:
    with made(home, "open", {"pooler": {"listen_port": str(free_port())}}, {"ssl": "off"}) as bed:
        report = bed.report()
    assert found(report, "fail") == noticed
    assert {str(line.finding.fix) for line in report.checks if line.finding.result == "fail"} == {"run `howdah params set open ssl=on`"}
    assert {("tls-spoken", hop) for hop in BOTH} <= found(report, "skip")
    assert {("wrong-password-refused", hop) for hop in BOTH} <= found(report, "pass")


# --- PostgreSQL broken --------------------------------------------------------------------------------------------------------------------


LOADED = ("configuration-loaded", "instance")
OURS = ("settings-ours", "instance")
FILES = ("pooler-files", "pooled")
RULES = ("rules-strict", "instance")
# what a port that speaks no TLS cannot keep, and a client that demands it cannot see
WITHOUT_TLS = (
    "plaintext-refused tls-spoken tls-versions tls-ciphers chain-verified name-verified foreign-authority-refused certificate-dates "
    "certificate-newest certificate-fit tls-groups injection-dropped scram-only "
    "login-works session-encrypted control-role-refused lookup-role-refused template-closed"
)
# rules put before ours, settings put after ours, who notices
SERVER_DAMAGES: dict[str, tuple[str, str, set[Where]]] = {
    "trust": (
        "host all all 127.0.0.1/32 trust",
        "",
        at("direct", "plaintext-refused scram-only wrong-password-refused no-password-refused expired-role-refused refusals-alike")
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
    "another group": ("", "ssl_ecdh_curve = secp521r1", at("direct", "tls-groups")),
    "another network": ("hostssl all howdah_nobody 192.0.2.0/24 scram-sha-256", "", at("instance", "networks-narrow")),
    "every network": ("hostssl all howdah_nobody all scram-sha-256", "", at("instance", "networks-narrow")),
    "words that tell of roles": ("hostssl all howdah_nobody 127.0.0.1/32 reject", "", at("direct", "refusals-alike")),
    "writes not durable": ("", "fsync = off", at("instance", "writes-durable")),
    "passwords stored as MD5": ("", "password_encryption = md5", at("instance", "passwords-scram")),
}


BROKEN.update(check for *_, noticed in SERVER_DAMAGES.values() for check, _ in {*noticed, LOADED, OURS})


@pytest.mark.parametrize("damage", SERVER_DAMAGES)
def test_a_broken_postgresql_is_refuted(bed: Bed, damage: str) -> None:
    hba, settings, noticed = SERVER_DAMAGES[damage]
    with server_files(bed, hba, settings):
        report = bed.report()
    expected = {LOADED, OURS} if settings else {LOADED}
    # whoever takes plaintext takes it after a request for GSS encryption too, unless he was built with GSS and takes that up
    either = at("direct", "gss-no-way-round") if ("plaintext-refused", "direct") in noticed else set()
    assert (report.verdict, found(report, "fail") - either) == ("refuted", expected | noticed)


@breaks(at("instance", "restart-pending"))
def test_a_setting_that_waits_for_a_restart_is_a_warning(bed: Bed, noticed: set[Where]) -> None:
    with server_files(bed, settings="max_connections = 90"):
        report = bed.report()
    assert found(report, "warn") == noticed
    assert "max_connections" in evidence(report, "restart-pending", "instance")


@breaks(at("direct", "chain-verified name-verified certificate-newest key-matches login-works session-encrypted"), {LOADED, OURS})
def test_a_foreign_certificate_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    with another_certificate(bed, new_home(), 10):
        report = bed.report()
    assert found(report, "fail") == noticed
    assert ("wrong-password-refused", "direct") in found(report, "skip")  # a login that cannot work proves nothing


@breaks(*(at(hop, "foreign-authority-refused") for hop in BOTH))
def test_an_authority_that_clients_of_others_trust_is_noticed(
    bed: Bed, home: Path, monkeypatch: pytest.MonkeyPatch, noticed: set[Where]
) -> None:
    monkeypatch.setattr(stranger, "FOREIGN_AUTHORITY", (home / "ca" / "ca.crt").read_text())
    report = bed.report()
    assert found(report, "fail") == noticed


@breaks(at("instance", "authority-change"))
def test_an_authority_that_changes_is_told_of(bed: Bed, noticed: set[Where]) -> None:
    """What fails, and who is refused, is seen in test_rotation.py."""
    bed.host.change_authority("announce")
    try:
        report = bed.report()
    finally:
        bed.host.change_authority("recall")
    assert (report.verdict, found(report, "warn", "fail")) == ("proven", noticed)


@breaks(*(at(hop, "certificate-dates") for hop in BOTH), at("instance", "authority-dates"))
def test_dates_as_served_are_judged(bed: Bed, noticed: set[Where]) -> None:
    leaves, authority = {each for each in noticed if each[1] != "instance"}, ("authority-dates", "instance")
    late = verify(bed.want, bed.seat, time.time() + 300 * DAY)
    assert (late.verdict, found(late, "fail", "warn")) == ("proven", leaves)
    last = verify(bed.want, bed.seat, time.time() + 3500 * DAY)
    assert (found(last, "fail"), found(last, "warn")) == (leaves, {authority})
    for now, words, failing in (
        (time.time() + 400 * DAY, "expired", leaves),
        (time.time() + 4000 * DAY, "expired", noticed),
        (time.time() - 400 * DAY, "not valid yet", noticed),
    ):
        report = verify(bed.want, bed.seat, now)
        assert found(report, "fail") == failing
        assert words in evidence(report, "certificate-dates", "direct")


@breaks(at("direct", "name-verified"))
def test_a_name_that_the_certificate_lacks_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    report = bed.report(direct=replace(bed.want.direct, hostnames=("db.example.org",)))
    assert found(report, "fail") == noticed
    assert "db.example.org" in evidence(report, "name-verified", "direct")


@breaks(at("instance", "passwords-scram roles-narrow"))
def test_weak_secrets_and_powerful_roles_are_named(bed: Bed, noticed: set[Where]) -> None:
    bed.run(f"CREATE ROLE weak LOGIN PASSWORD 'md5{'0' * 32}'; CREATE ROLE strong SUPERUSER")
    try:
        report = bed.report()
    finally:
        bed.run("DROP ROLE weak; DROP ROLE strong")
    assert (found(report, "fail") | found(report, "warn")) == noticed
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
    "a log": (lambda bed: bed.host.layout(bed.want.id).log / "startup.log", 0o644, "logs-private"),
    "the instance's directory": (lambda bed: bed.host.layout(bed.want.id).root, 0o777, "places-closed"),
    "the directory of keys": (lambda bed: bed.host.layout(bed.want.id).tls("direct"), 0o770, "places-closed"),
    "the authority's key": (lambda bed: bed.host.home / "ca" / "ca.key", 0o640, "authority-apart"),
}


BROKEN.update(check for *_, check in WIDE.values())


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
    assert found(report, "fail") - {LOADED, *at("direct", "certificate-newest key-matches")} == {(check, "instance")}
    assert str(path) in evidence(report, check, "instance")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
@breaks(at("instance", "authority-apart"))
def test_an_authority_that_the_server_owns_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    key, account = bed.host.home / "ca" / "ca.key", bed.host.seat(bed.want).account
    assert account is not None
    os.chown(key, account.uid, account.gid)
    try:
        report = bed.report()
    finally:
        os.chown(key, 0, 0)
    assert found(report, "fail") == noticed


# --- PgBouncer broken ---------------------------------------------------------------------------------------------------------------------


POOLER_DAMAGES: dict[str, tuple[Callable[[str], str], Callable[[str], str], set[Where]]] = {
    "plaintext allowed": (
        lambda ini: ini.replace("client_tls_sslmode = require", "client_tls_sslmode = allow"),
        lambda hba: hba.replace("hostssl", "host"),
        at("pooled", "plaintext-refused gss-no-way-round pooler-loaded"),
    ),
    "TLS off by a bad line": (
        lambda ini: ini.replace("client_tls_sslmode", "nonsense = 1\nclient_tls_sslmode"),
        str,
        at("pooled", WITHOUT_TLS) - at("pooled", "injection-dropped")
        | at(
            "pooled",
            "console-closed really-pooled second-hop-local pooler-loaded connections-fit gss-no-way-round key-matches console-narrow",
        ),
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
    "a console for others": (
        lambda ini: ini.replace("admin_users", "stats_users = app\nadmin_users"),
        str,
        at("pooled", "console-narrow"),
    ),
    "a database that leads elsewhere": (
        lambda ini: ini.replace("[databases]", "[databases]\nelsewhere = host=127.0.0.1 port=1 user=postgres"),
        str,
        at("pooled", "pool-targets"),
    ),
    "more connections than PostgreSQL has": (
        lambda ini: ini.replace("max_db_connections = ", "max_db_connections = 9"),
        str,
        at("pooled", "connections-fit pooler-loaded"),
    ),
}


BROKEN.update(check for *_, noticed in POOLER_DAMAGES.values() for check, _ in {*noticed, FILES})


@pytest.mark.parametrize("damage", POOLER_DAMAGES)
def test_a_broken_pgbouncer_is_refuted(bed: Bed, damage: str) -> None:
    ini, hba, noticed = POOLER_DAMAGES[damage]
    with pooler_file(bed, ini, hba):
        report = bed.report()
    assert (report.verdict, found(report, "fail")) == ("refuted", noticed | {FILES})


@breaks(at("pooled", "lookup-as-shipped login-works"))
def test_an_altered_lookup_function_is_noticed_by_its_text_and_by_what_it_does(bed: Bed, noticed: set[Where]) -> None:
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
        assert noticed <= found(report, "fail")
    finally:
        bed.service.repair(bed.want.name, CALLER)
    assert bed.report().verdict == "proven"


@breaks(at("pooled", "nothing-paused"))
def test_a_database_left_paused_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    address = f"host=127.0.0.1 port={bed.want.hop_port('pooled')} user=app dbname=shop"
    with psycopg.connect(address, password=bed.password.reveal()), pgbouncer.enter(bed.generation) as console:
        console.ask("DISABLE shop")  # a database that nobody uses would be forgotten soon
        try:
            report = bed.report()
        finally:
            console.ask("ENABLE shop")
    assert found(report, "fail") == noticed


@breaks(*(at(hop, "no-plaintext-session") for hop in BOTH))
def test_sessions_that_began_in_plaintext_are_named(bed: Bed, noticed: set[Where]) -> None:
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
    assert found(report, "fail") == noticed
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


@breaks(at("pooled", "pooler-kept"))
def test_a_pooler_that_nobody_would_start_again_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    keeper = pgbouncer.quick_look(bed.generation).keeper
    assert keeper is not None
    process.stop(keeper, signal.SIGKILL, 5)
    report = bed.report()
    assert found(report, "fail") == noticed
    bed.service.repair(bed.want.name, CALLER)
    assert bed.report().verdict == "proven"


# --- what people do beside Howdah ---------------------------------------------------------------------------------------------------------


@breaks(at("direct", "certificate-fit certificate-newest key-matches"), {LOADED, OURS})
def test_a_certificate_that_strict_clients_refuse_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    with another_certificate(bed, bed.host.home, 397):
        report = bed.report()
    assert found(report, "fail") == noticed
    assert "397 days" in evidence(report, "certificate-fit", "direct")


KEYS: Mapping[Hop, set[Where]] = {
    "direct": {LOADED, *at("direct", "key-matches certificate-newest")},
    "pooled": at("pooled", "key-matches certificate-newest pooler-loaded pooler-files"),
}
BROKEN.update(check for noticed in KEYS.values() for check, _ in noticed)


@pytest.mark.parametrize("hop", BOTH)
def test_a_key_of_another_certificate_is_noticed_before_the_next_start(bed: Bed, hop: Hop) -> None:
    key = Path(f"{bed.pair(hop)}.key")
    before, who = key.read_text(), key.stat()
    elsewhere = new_home()
    other = pki.issue(elsewhere, elsewhere / "tls", hop, ["localhost"], 10)
    key.write_text((elsewhere / "tls" / f"{hop}.{other.serial}.key").read_text())
    try:
        report = bed.report()
    finally:
        key.write_text(before)
    assert (key.stat().st_uid, key.stat().st_mode) == (who.st_uid, who.st_mode)
    assert found(report, "fail") == KEYS[hop]
    assert ("tls-spoken", hop) in found(report, "pass")


@contextmanager
def said(bed: Bed, statement: str, back: str, database: str = "postgres") -> Iterator[None]:
    bed.run(statement, database)
    try:
        yield
    finally:
        bed.run(back, database)


STATEMENTS: dict[str, tuple[str, str, str, set[Where]]] = {  # database, what, how it is taken back, who notices
    "a setting of a database": (
        "postgres",
        "ALTER DATABASE shop SET password_encryption = 'md5'",
        "ALTER DATABASE shop RESET ALL",
        {OURS},
    ),
    "a role that runs programs": (
        "postgres",
        "GRANT pg_execute_server_program TO app",
        "REVOKE pg_execute_server_program FROM app",
        at("instance", "memberships-narrow"),
    ),
    "a role above row security": (
        "postgres",
        "ALTER ROLE app BYPASSRLS",
        "ALTER ROLE app NOBYPASSRLS",
        at("instance", "memberships-narrow"),
    ),
    "an extension that reaches files": (
        "shop",
        "CREATE EXTENSION file_fdw",
        "DROP EXTENSION file_fdw",
        at("instance", "extensions-trusted"),
    ),
    "a role with the password that nobody should have": (
        "postgres",
        "CREATE ROLE howdah_nobody LOGIN PASSWORD 'wrong on purpose'",
        "DROP ROLE howdah_nobody",
        at("direct", "unknown-role-refused refusals-alike"),
    ),
}
BROKEN.update(check for *_, noticed in STATEMENTS.values() for check, _ in noticed)


@pytest.mark.parametrize("what", STATEMENTS)
def test_what_a_statement_changes_is_noticed(bed: Bed, what: str) -> None:
    database, statement, back, noticed = STATEMENTS[what]
    with said(bed, statement, back, database):
        report = bed.report()
    assert found(report, "fail", "warn") == noticed


@breaks(at("instance", "log-tells-who"))
def test_a_log_that_does_not_say_who_is_a_warning(bed: Bed, noticed: set[Where]) -> None:
    with server_files(bed, settings="log_line_prefix = '%m '"):
        report = bed.report()
    assert found(report, "warn") == noticed
    assert "process, user, database" in evidence(report, "log-tells-who", "instance")


@breaks(*(at(hop, "locked-have-left") for hop in BOTH))
def test_sessions_of_a_locked_role_are_named(bed: Bed, noticed: set[Where]) -> None:
    with ExitStack() as held:
        for hop in BOTH:
            address = f"host=127.0.0.1 port={bed.want.hop_port(hop)} user=app dbname=shop sslmode=require"
            session = held.enter_context(psycopg.connect(address, password=bed.password.reveal(), autocommit=True))
            session.execute("SELECT 1")
        with said(bed, "ALTER ROLE app NOLOGIN", "ALTER ROLE app LOGIN"):
            report = bed.report()
    assert found(report, "fail") == noticed
    assert "app@shop" in evidence(report, "locked-have-left", "pooled")


def test_whoever_has_not_logged_in_yet_has_no_session(bed: Bed) -> None:
    with socket.create_connection(("127.0.0.1", bed.want.port), 5) as door:
        door.sendall(struct.pack("!II", 8, 80877103))  # it asks for TLS, and then it is silent
        assert door.recv(1) == b"S"
        report = bed.report()
    assert report.verdict == "proven"
    assert evidence(report, "no-plaintext-session", "direct").startswith("0 sessions")


def by_hand(bed: Bed, act: Callable[[], None]) -> None:
    """Do something while PostgreSQL is down, as a DBA might, past Howdah."""
    seat = bed.host.seat(bed.want)
    postgres.stop(seat, 20)
    try:
        act()
    finally:
        postgres.start(seat, 20)


@breaks(at("direct", "listens-as-wanted"), at("instance", "checksums-on"), {LOADED, OURS})
def test_what_only_a_restart_changes_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    seat = bed.host.seat(bed.want)
    if not (seat.bindir / "pg_checksums").exists():
        pytest.skip(f"{seat.bindir} has no pg_checksums")
    conf, addresses = seat.layout.data / "postgresql.auto.conf", "listen_addresses = '127.0.0.1, ::1, 127.0.0.2'\n"
    before = conf.read_text()

    def checksums(how: str) -> None:
        command = [seat.bindir / "pg_checksums", f"--{how}", "--no-sync", "-D", seat.layout.data]
        account = {"user": seat.account.uid, "group": seat.account.gid, "extra_groups": []} if seat.account else {}
        subprocess.run(command, cwd="/", check=True, stdout=subprocess.DEVNULL, **account)  # type: ignore[call-overload]

    def change() -> None:
        files.put(conf, before + addresses, 0o600, seat.account)
        checksums("disable")

    def undo() -> None:
        files.put(conf, before, 0o600, seat.account)
        checksums("enable")

    by_hand(bed, change)
    try:
        report = bed.report()
    finally:
        by_hand(bed, undo)
    assert found(report, "fail") == noticed
    assert "127.0.0.2" in evidence(report, "listens-as-wanted", "direct")
    assert bed.report().verdict == "proven"


@contextmanager
def written(path: Path, text: str) -> Iterator[None]:
    """Change a file without telling the server that reads it."""
    before = path.read_text()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_text(before)


@breaks({FILES})
def test_a_file_that_waits_for_the_next_start_of_the_pooler_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    ini = bed.generation / "pgbouncer.ini"
    with written(ini, ini.read_text().replace("client_tls_sslmode = require", "client_tls_sslmode = disable")):
        report = bed.report()
    assert found(report, "fail") == noticed


@breaks(at("pooled", "pooler-secrets"))
def test_a_secret_of_the_pooler_is_noticed(bed: Bed, noticed: set[Where]) -> None:
    with written(bed.generation.parent / "users.txt", '"app" "secret"\n'):
        report = bed.report()
    assert found(report, "fail") == noticed


@breaks(at("pooled", "locked-role-refused expired-role-refused wrong-password-refused no-password-refused pool-targets pooler-secrets"))
def test_a_pooler_that_lets_in_whoever_comes_is_noticed(home: Path, noticed: set[Where]) -> None:
    # an instance of its own: PgBouncer remembers such users after its files are right again
    with (
        made(home, "loose", {"pooler": {"listen_port": str(free_port()), "pool_mode": "transaction"}}) as bed,
        written(bed.generation.parent / "users.txt", '"howdah_probe" ""\n'),
        pooler_file(
            bed,
            lambda ini: ini.replace("\n* = ", "\n* = user=howdah_lookup "),
            lambda hba: f"hostssl all howdah_probe 127.0.0.1/32 trust\n{hba}",
        ),
    ):
        report = bed.report()
    assert found(report, "fail") >= noticed
    assert "let in after NOLOGIN" in evidence(report, "locked-role-refused", "pooled")


# --- a box before the pooler --------------------------------------------------------------------------------------------------------------

FAULTS = {
    "injection": "injection-dropped",
    "direct": "direct-tls",
    "gss": "gss-no-way-round",
    "cancel": "cancel-works",
}
BROKEN.update(FAULTS.values())


@pytest.mark.parametrize("fault", ["", *FAULTS])
def test_a_box_that_ends_tls_before_the_pooler_is_found_out_by_its_fault(bed: Bed, fault: str) -> None:
    port = bed.want.hop_port("pooled")
    assert port is not None
    with middlebox.before(port, bed.pair("pooled"), bed.pair("direct"), fault) as box:
        report = bed.report(extensions={"pooler": {**(bed.want.pooler or {}), "listen_port": str(box.port)}})
    # the port is not the one that PgBouncer has; beside that only the fault is to be seen
    elsewhere = at("pooled", "pooler-loaded pooler-files listens-as-wanted")
    assert found(report, "fail") == elsewhere | (at("pooled", FAULTS[fault]) if fault else set())


def test_every_check_is_seen_to_fail_by_a_test_above() -> None:
    assert {check.id for check in checks()} - BROKEN == set()
    assert {check.id for check in checks()} >= BROKEN
