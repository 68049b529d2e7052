"""What a report says, when it is proven, and what the checks conclude from looks that no sound server would offer."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from howdah.certificate import Certificate
from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.core.observed import Disk, Facts, Generation, Inside, Looks, Observed, Server
from howdah.core.seat import Backend, Kept, PoolSession, Rule, Seat
from howdah.errors import Unavailable
from howdah.phrase import say
from howdah.verify import judge
from howdah.verify.checks import checks
from howdah.verify.client import Login
from howdah.verify.look import Context, Logins, Look, Tried, Views
from howdah.verify.report import Check, Finding, Line, Report, Result, check, failed, passed
from howdah.verify.stranger import Told
from howdah.wire import Answer, Handshake

WANT = Instance("abcd1234", "shop", 15, 5432, extensions={"pooler": {"listen_port": "6432", "max_client_conn": "100"}})
SERVER = Server("ready", settings={"max_connections": "100", "password_encryption": "scram-sha-256"})
POOLER = Generation(1, True, True, True, config={"pool_mode": "transaction", "max_db_connections": "20", "max_client_conn": "100"})


class Nobody:
    """A machine that is never asked."""

    def __getattr__(self, name: str) -> object:
        return pytest.fail


def look(want: Instance = WANT, server: Server = SERVER, pooler: Generation = POOLER, **made: object) -> Look:
    """Return a look whose parts are already made: nothing is asked of any machine."""
    facts = Facts("postgres", "howdah-pool", "root", pooler_version=(1, 18), nofile=10_000)
    looks = Looks(disk=lambda: Disk("ready"), server=lambda: server, inside=lambda: {"postgres": Inside()}, pooler=lambda: (pooler,))
    found = Look(want, cast(Seat, Nobody()), 0.0)
    found._made["seen"] = Observed(facts, Layout(Path("/h"), want.id), looks)
    for name, value in made.items():
        hop = name.removeprefix("told_")
        found._made[("told", hop) if name.startswith("told_") else name] = value
    return found


def result(name: str, found: Look, hop: str = "direct") -> Finding:
    entry = next(each for each in checks() if each.id == name)
    return judge(entry, found, "pooled" if hop == "pooled" else "direct")


def line(outcome: Result) -> Line:
    made = Check(f"some-{outcome}", "direct", say("{x} holds", x="it"), "low", lambda context: Finding(outcome, say("seen")))
    return Line(made, "direct", made.run(Context(look(), "direct")))


# --- reports ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("results", "verdict"), [("pass", "proven"), ("pass warn skip", "proven"), ("pass fail skip", "refuted")])
def test_a_failed_check_alone_refutes(results: str, verdict: str) -> None:
    assert Report("shop", tuple(line(cast(Result, each)) for each in results.split())).verdict == verdict


def test_the_json_has_exactly_the_documented_shape() -> None:
    made = Check(
        "some-check", "both", say("{x} holds", x="it"), "low", lambda context: failed(say("seen {y}", y=1), say("do {z}", z="this"))
    )
    report = Report("shop", (Line(made, "pooled", made.run(Context(look(), "pooled"))), line("pass")))
    assert json.loads(json.dumps(report.to_json())) == {
        "instance": "shop",
        "verdict": "refuted",
        "checks": [
            {"id": "some-check", "hop": "pooled", "title": "it holds", "result": "fail", "evidence": "seen 1", "fix": "do this"},
            {"id": "some-pass", "hop": "direct", "title": "it holds", "result": "pass", "evidence": "seen", "fix": None},
        ],
    }


def test_every_check_is_found_once_by_a_stable_name_and_at_least_twenty_look_at_a_pooler() -> None:
    names = Counter(each.id for each in checks())
    assert set(names.values()) == {1}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for name in names)
    assert sum(hop == "pooled" for each in checks() for hop, _ in each.places(pooler=True)) >= 20
    assert not any(hop == "pooled" for each in checks() for hop, _ in each.places(pooler=False))


def test_what_cannot_be_looked_at_counts_as_failed_with_the_reason() -> None:
    @check("some-check", "direct", say("it holds"), "low")
    def refused(context: Context) -> Finding:
        raise Unavailable("gone", say("cannot reach {it}", it="it"), say("wait"))

    @check("other-check", "direct", say("it holds"), "low")
    def unreadable(context: Context) -> Finding:
        raise FileNotFoundError(2, "No such file")

    assert judge(refused, look(), "direct") == failed(say("cannot reach {it}", it="it"), say("wait"))
    found = judge(unreadable, look(), "direct")
    assert (found.result, str(found.evidence), str(found.fix)) == ("fail", "cannot look: No such file", "run `howdah repair shop`")


def test_a_mistake_of_ours_is_not_taken_for_a_finding() -> None:
    @check("some-check", "direct", say("it holds"), "low")
    def wrong(context: Context) -> Finding:
        raise KeyError("typo")

    with pytest.raises(KeyError):
        judge(wrong, look(), "direct")


def test_without_tls_a_check_of_tls_is_skipped_and_not_run() -> None:
    @check("some-check", "direct", say("it holds"), "low", tls=True)
    def never(context: Context) -> Finding:
        raise AssertionError

    found = judge(never, look(replace(WANT, parameters={"ssl": "off"})), "direct")
    assert (found.result, str(found.fix)) == ("skip", "run `howdah params set shop ssl=on`")


def test_a_look_that_was_refused_is_refused_again_without_looking() -> None:
    looks = []

    class Gone(Nobody):
        def rules(self) -> None:
            looks.append(1)
            raise Unavailable("gone", say("cannot reach it"))

    found = look()
    found.seat = cast(Seat, Gone())
    for _ in range(2):
        with pytest.raises(Unavailable):
            _ = found.rules
    assert looks == [1]


def test_nobody_answering_is_a_reason_not_a_pass() -> None:
    silent = Told(error="connection refused")
    for name in ("plaintext-refused", "tls-spoken", "injection-dropped", "foreign-authority-refused", "console-closed"):
        found = result(name, look(told_direct=silent, told_pooled=silent), "pooled")
        assert (found.result, str(found.evidence)) == ("fail", "no answer on port 6432: connection refused")


# --- what no sound server offers ----------------------------------------------------------------------------------------------------------

RIGHT = Login(True, "", 7)


def logins(tried: Tried, views: Views | None = None) -> Logins:
    return Logins("howdah_probe", {"direct": tried, "pooled": tried}, views or Views())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answer("closed"), "pass"),
        (Answer("silent"), "pass"),
        (Answer("error", "08P01", "received unencrypted data after SSL request"), "pass"),
        (Answer("error", "08P01", "no such user"), "fail"),
        (Answer("authentication", "10"), "fail"),
        (Answer("unreachable"), "fail"),
    ],
)
def test_injected_bytes_must_not_be_answered(answer: Answer, outcome: str) -> None:
    told = Told(injected=answer)
    assert result("injection-dropped", look(told_direct=told)).result == outcome


@pytest.mark.parametrize(("name", "asked"), [("tls-ciphers", "weak"), ("foreign-authority-refused", "foreign"), ("tls-groups", "group")])
def test_a_time_limit_that_passed_is_no_refusal(name: str, asked: str) -> None:
    served = Handshake("TLSv1.3", "TLS_AES_256_GCM_SHA384", serial="1")
    for silent, outcome in ((False, "pass"), (True, "fail")):
        told = Told(served=served, **{asked: Handshake(error="said no", silent=silent)})  # type: ignore[arg-type]
        assert result(name, look(told_direct=told)).result == outcome


@pytest.mark.parametrize(
    ("version", "old", "outcome"),
    [
        ("TLSv1.3", {"TLSv1": False, "TLSv1.1": False}, "pass"),
        ("TLSv1.3", {"TLSv1": False, "TLSv1.1": True}, "fail"),
        ("TLSv1.3", {"TLSv1": None, "TLSv1.1": False}, "fail"),
        ("TLSv1.1", {"TLSv1": False, "TLSv1.1": False}, "fail"),
    ],
)
def test_old_versions_must_be_refused_not_unanswered(version: str, old: dict[str, bool | None], outcome: str) -> None:
    told = Told(served=Handshake(version, "TLS_AES_256_GCM_SHA384"), old=old)  # type: ignore[arg-type]
    assert result("tls-versions", look(told_direct=told)).result == outcome


@pytest.mark.parametrize(
    ("asked", "outcome"),
    [
        (Answer("authentication", "10", mechanisms=("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256")), "pass"),
        (Answer("authentication", "10", mechanisms=("SCRAM-SHA-256", "OAUTHBEARER")), "fail"),
        (Answer("authentication", "10"), "fail"),
        (Answer("authentication", "0"), "fail"),
        (Answer("authentication", "3"), "fail"),
        (Answer("authentication", "5"), "fail"),
        (Answer("error", "28000", "no pg_hba.conf entry"), "fail"),
    ],
)
def test_a_password_is_asked_for_by_scram_alone(asked: Answer, outcome: str) -> None:
    assert result("scram-only", look(logins=logins(Tried(asked, right=RIGHT)))).result == outcome


@pytest.mark.parametrize(
    ("right", "wrong", "outcome"),
    [
        (RIGHT, Login(False, "FATAL:  password authentication failed"), "pass"),
        (RIGHT, Login(True), "fail"),
        (RIGHT, Login(False, "FATAL:  sorry, too many clients already"), "fail"),
        (RIGHT, Login(False, "Connection refused"), "fail"),
        (Login(False, "FATAL:  no"), Login(False, "FATAL:  no"), "skip"),
        (Login(False, "FATAL:  no"), Login(True), "fail"),
    ],
)
def test_a_refusal_counts_only_where_a_right_login_works(right: Login, wrong: Login, outcome: str) -> None:
    assert result("wrong-password-refused", look(logins=logins(Tried(right=right, wrong=wrong)))).result == outcome


def test_asking_for_no_password_is_a_refusal() -> None:
    assert Login(False, "fe_sendauth: no password supplied").refused


@pytest.mark.parametrize(
    ("backend", "server", "outcome"),
    [
        (Backend(7, None), PoolSession("server", "unix", backend=7), "pass"),
        (Backend(7, "127.0.0.1"), PoolSession("server", "unix", backend=7), "fail"),
        (Backend(7, None), PoolSession("server", "10.0.0.1", backend=7), "fail"),
        (Backend(8, None), PoolSession("server", "unix", backend=7), "fail"),
        (Backend(7, None), PoolSession("server", "unix", backend=8), "fail"),
    ],
)
def test_both_servers_must_say_that_the_second_hop_is_local(backend: Backend, server: PoolSession, outcome: str) -> None:
    found = look(logins=logins(Tried(right=RIGHT), Views([backend], [server])))
    assert result("second-hop-local", found, "pooled").result == outcome


@pytest.mark.parametrize(("pids", "outcome"), [((7, 7), "pass"), ((7, 8, 7), "pass"), ((7, 8, 9), "fail"), ((0,), "fail")])
def test_pooled_is_what_shares_a_backend(pids: tuple[int, ...], outcome: str) -> None:
    assert result("really-pooled", look(logins=logins(Tried(backends=pids))), "pooled").result == outcome


@pytest.mark.parametrize("name", ["control-role-refused", "lookup-role-refused"])
def test_a_service_role_is_turned_away_or_hidden(name: str) -> None:
    asks = Told(control=Answer("authentication", "10"), lookup=Answer("authentication", "10"))
    assert result(name, look(told_direct=asks)).result == "fail"
    hidden, altered = look(told_pooled=asks), look(told_pooled=asks)
    for found, right in ((hidden, True), (altered, False)):
        found.seen.__dict__["inside"] = {"postgres": Inside(lookup=True, lookup_right=right, lookup_connect=True)}
    assert [result(name, each, "pooled").result for each in (hidden, altered)] == ["pass", "fail"]


@pytest.mark.parametrize(
    ("rule", "tls", "outcome"),
    [
        (Rule(1, "hostssl", "all", "all", "all", "scram-sha-256"), True, "pass"),
        (Rule(1, "host", "all", "all", "all", "scram-sha-256"), True, "fail"),
        (Rule(1, "host", "all", "all", "all", "scram-sha-256"), False, "pass"),
        (Rule(1, "host", "all", "all", "all", "reject"), True, "pass"),
        (Rule(1, "hostnossl", "all", "all", "all", "scram-sha-256"), True, "fail"),
        (Rule(1, "hostssl", "all", "all", "all", "trust"), True, "fail"),
        (Rule(1, "hostssl", "all", "all", "all", "md5"), True, "fail"),
        (Rule(1, "hostssl", "all", "all", "all", "ident"), True, "fail"),
        (Rule(1, "local", "all", "postgres", "", "peer"), True, "pass"),
        (Rule(1, "local", "all", "all", "", "trust"), True, "fail"),
    ],
)
def test_rules_of_admission(rule: Rule, tls: bool, outcome: str) -> None:
    want = WANT if tls else replace(WANT, parameters={"ssl": "off"})
    assert result("rules-strict", look(want, rules=[rule])).result == outcome


def test_checksums_and_durability_are_read_from_the_server() -> None:
    good = {"data_checksums": "on", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
    found = look(server=Server("ready", settings=good))
    assert [result(name, found).result for name in ("checksums-on", "writes-durable")] == ["pass", "pass"]
    assert result("checksums-on", look(server=Server("ready", settings={**good, "data_checksums": "off"}))).result == "fail"
    assert result("writes-durable", look(server=Server("ready", settings={**good, "full_page_writes": "off"}))).result == "fail"
    assert result("writes-durable", look(server=Server("ready", settings={**good, "synchronous_commit": "off"}))).result == "warn"


@pytest.mark.parametrize(
    ("config", "outcome"),
    [
        ({}, "pass"),
        ({"max_db_connections": "0"}, "fail"),  # no limit at all
        ({"max_db_connections": "95"}, "fail"),
        ({"max_client_conn": "9999"}, "fail"),
        ({"max_db_connections": "90", "databases": "2"}, "pass"),
    ],
)
def test_connections_must_fit(config: dict[str, str], outcome: str) -> None:
    pooler = replace(POOLER, config={**POOLER.config, **config})
    assert result("connections-fit", look(pooler=pooler), "pooled").result == outcome


def test_an_authority_of_the_servers_own_user_is_skipped_and_says_why() -> None:
    kept = Kept("ca-key", "/h/ca/ca.key", 0o600, "postgres", 0o600, frozenset({"postgres"}))
    found = result("authority-apart", look(kept=[kept]))
    assert found.result == "skip" and "postgres" in str(found.evidence)
    assert result("authority-apart", look(kept=[replace(kept, mode=0o644)])).result == "fail"
    assert result("authority-apart", look(kept=[replace(kept, owner="root", owners=frozenset({"root"}))])).result == "pass"


FIT = Certificate("1", 0.0, 365 * 86400.0, frozenset({"localhost"}), "f" * 64, "prime256v1", "ecdsa-with-SHA256", False, True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"key": "secp384r1"}, ""),
        ({"key": "RSA 2048", "signature": "sha256WithRSAEncryption"}, ""),
        ({"key": "RSA 1024"}, "its key is RSA 1024"),
        ({"key": "secp521r1"}, "its key is secp521r1"),
        ({"signature": "sha1WithRSAEncryption"}, "it is signed by sha1WithRSAEncryption"),
        ({"authority": True}, "it may sign others"),
        ({"server": False}, "it is not for servers"),
        ({"names": frozenset()}, "it bears no name"),
        ({"not_after": 367 * 86400.0}, "it lives 367 days"),
    ],
)
def test_a_certificate_is_fit_or_says_why_not(changes: dict[str, object], words: str) -> None:
    served = replace(FIT, **changes)  # type: ignore[arg-type]
    found = result("certificate-fit", look(told_direct=Told(served=Handshake("TLSv1.3", certificate=served))))
    assert found.result == ("fail" if words else "pass")
    assert words in str(found.evidence)


@pytest.mark.parametrize(
    ("address", "allow", "outcome"),
    [
        ("127.0.0.1/255.255.255.255", (), "pass"),
        ("::1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", (), "pass"),
        ("10.1.2.0/255.255.255.0", ("10.1.0.0/16",), "pass"),
        ("10.0.0.0/255.0.0.0", ("10.1.0.0/16",), "fail"),
        ("0.0.0.0/0.0.0.0", ("10.1.0.0/16",), "fail"),
        ("0.0.0.0/0.0.0.0", ("0.0.0.0/0",), "pass"),
        ("all", ("0.0.0.0/0",), "fail"),
        ("samenet", (), "fail"),
        (".example.org", (), "fail"),
    ],
)
def test_a_rule_admits_from_allowed_networks_alone(address: str, allow: tuple[str, ...], outcome: str) -> None:
    want = replace(WANT, direct=replace(WANT.direct, allow=allow))
    rule = Rule(1, "hostssl", "all", "all", address, "scram-sha-256")
    assert result("networks-narrow", look(want, rules=[rule])).result == outcome
    assert result("networks-narrow", look(want, rules=[replace(rule, method="reject")])).result == "pass"


@pytest.mark.parametrize(
    ("direct", "bare", "outcome"),
    [
        (Handshake(error="closed"), Handshake(error="closed"), "pass"),
        (Handshake("TLSv1.3", fingerprint="a"), Handshake(error="closed"), "pass"),
        (Handshake("TLSv1.3", fingerprint="b"), Handshake(error="closed"), "fail"),
        (Handshake(error="closed"), Handshake("TLSv1.3", fingerprint="b"), "fail"),
    ],
)
def test_direct_tls_serves_the_same_certificate_or_nothing(direct: Handshake, bare: Handshake, outcome: str) -> None:
    told = Told(served=Handshake("TLSv1.3", fingerprint="a"), direct=direct, bare=bare)
    assert result("direct-tls", look(told_direct=told)).result == outcome


def test_what_a_right_login_did_not_reach_proves_nothing_of_cancels_and_words() -> None:
    found = look(logins=logins(Tried(right=Login(False, "FATAL:  no"))))
    assert [result(name, found).result for name in ("cancel-works", "refusals-alike", "locked-role-refused")] == ["skip"] * 3


def test_a_finding_is_what_its_maker_says() -> None:
    assert (passed(say("seen")).result, passed(say("seen")).fix) == ("pass", None)


def test_a_server_that_does_not_answer_is_not_waited_for() -> None:
    found = look(server=Server("unreachable"))
    for name in ("login-works", "rules-strict", "passwords-scram", "checksums-on", "configuration-loaded", "lookup-as-shipped"):
        assert str(result(name, found, "pooled").evidence) == "PostgreSQL is unreachable"
