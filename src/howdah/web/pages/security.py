"""What is proven of both hops: client to pooler, pooler to PostgreSQL, with the evidence; certificates; the switch to TLS in stages."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from howdah import compose
from howdah.core.instance import HOPS, Hop, Instance
from howdah.phrase import Phrase, say
from howdah.web import urls
from howdah.web.desk import Found, Proven
from howdah.web.pages.instance import head
from howdah.web.pages.instances import SOON_DAYS
from howdah.web.visit import Sent, Shown, Visit

if TYPE_CHECKING:
    from howdah.core.observed import Session

# what speaks for the way from the pooler to PostgreSQL; all else of the pooled hop is seen from a client's seat
_SECOND_HOP = frozenset({"second-hop-local", "lookup-as-shipped", "pooler-secrets", "pool-targets", "sockets-private"})
# what stands at the arrow itself, in this order; all else is evidence below
_TELLING = ("tls-spoken", "plaintext-refused", "second-hop-local")
_ORDER = ("fail", "warn", "pass", "skip")
_WAYS: Mapping[str, Phrase] = {
    "pooled": say("client → PgBouncer"),
    "second": say("PgBouncer → PostgreSQL"),
    "direct": say("client → PostgreSQL, direct"),
    "instance": say("the instance itself"),
}
_RESULTS: Mapping[str, Phrase] = {
    "fail": say("does not hold"),
    "warn": say("a warning"),
    "pass": say("holds"),
    "skip": say("not looked at"),
}


@dataclass(frozen=True)
class Checked:
    """One check of the proof."""

    id: str
    title: str
    result: str
    said: str
    evidence: str
    fix: str


@dataclass(frozen=True)
class Way:
    """One hop, or what belongs to none: what is wanted of it, what was proven of it, and the evidence."""

    key: str
    title: str
    wanted: str
    tone: str  # good: proven; bad: refuted, or in plaintext by wish; calm: not looked at yet
    told: tuple[str, ...]
    held: int
    checks: tuple[Checked, ...]
    open: bool  # something in it does not hold, or is a warning


@dataclass(frozen=True)
class Proof:
    """What `verify` found, and when."""

    proven: bool
    at: str
    iso: str
    took: str
    held: int
    failed: int
    warned: int


@dataclass(frozen=True)
class Certificate:
    """One that is served."""

    hop: str
    days: str
    soon: bool
    until: str
    iso: str
    names: tuple[str, ...]
    serial: str


@dataclass(frozen=True)
class Security:
    """The two hops."""

    name: str
    running: bool
    tls: bool
    pooler: bool
    direct: str
    pooled: str
    ways: Mapping[str, Way]
    certificates: tuple[Certificate, ...]
    authority: str
    until: str
    until_iso: str
    proof: Proof | None
    plaintext: tuple[str, ...]


def security(visit: Visit) -> Shown:
    """Show what is known of the two hops; the latest proof that was run through this console stands at each."""
    seen, top = head(visit)
    want, proven = seen.instance, visit.desk.proven.get(seen.instance.id)
    authority, running = visit.service.authority(), seen.status == "running"
    page = Security(
        name=want.name,
        running=running,
        tls=want.tls,
        pooler=want.pooler is not None,
        direct=f"{want.direct.listen[0]}:{want.port}",
        pooled=f"{want.pooled.listen[0]}:{want.hop_port('pooled')}" if want.pooler is not None else "",
        ways={key: _way(visit, want, key, proven) for key in _WAYS if want.pooler is not None or key not in ("pooled", "second")},
        certificates=_certificates(visit, want, seen.quick.days_left) if want.tls else (),
        authority=str(authority.fingerprint),
        until=visit.say.moment(float(authority.not_after)),
        until_iso=visit.say.iso(float(authority.not_after)),
        proof=_proof(visit, proven) if proven is not None else None,
        plaintext=tuple(f"{visit.say.hop(each.hop)}: {each}" for each in _plaintext(visit)) if running else (),
    )
    return Shown("security.html", page, say("Security"), tab="security", head=top)


def _way(visit: Visit, want: Instance, key: str, proven: Proven | None) -> Way:
    lines = [line for line in proven.checks if _key(line) == key] if proven is not None else []
    checks = tuple(sorted((_checked(visit, line) for line in lines), key=lambda each: _ORDER.index(each.result)))
    worst = checks[0].result if checks else ""
    encrypted = want.tls or key in ("second", "instance")
    tone = "bad" if not encrypted or worst == "fail" else "good" if checks else "calm"
    told = {each.id: each.evidence for each in checks if each.result in ("pass", "fail")}
    wanted = say("unix socket, SCRAM") if key == "second" else say("TLS only") if want.tls else say("plaintext")
    return Way(
        key=key,
        title=visit.say(_WAYS[key]),
        wanted=visit.say(wanted),
        tone=tone,
        told=tuple(told[name] for name in _TELLING if name in told),
        held=sum(each.result == "pass" for each in checks),
        checks=checks,
        open=worst in ("fail", "warn"),
    )


def _key(line: Found) -> str:
    return "second" if line.id in _SECOND_HOP else line.hop


def _checked(visit: Visit, line: Found) -> Checked:
    fix = visit.say(line.fix) if line.fix is not None else ""
    return Checked(line.id, visit.say(line.title), line.result, visit.say(_RESULTS[line.result]), visit.say(line.evidence), fix)


def _proof(visit: Visit, proven: Proven) -> Proof:
    results = [line.result for line in proven.checks]
    return Proof(
        proven=proven.proven,
        at=visit.say.moment(proven.at),
        iso=visit.say.iso(proven.at),
        took=visit.say.took(proven.seconds),
        held=results.count("pass"),
        failed=results.count("fail"),
        warned=results.count("warn"),
    )


def _certificates(visit: Visit, want: Instance, days_left: Mapping[Hop, float | None]) -> tuple[Certificate, ...]:
    served = {hop: pair for hop, pair, is_served in visit.service.certificates(want.name) if is_served}
    return tuple(
        Certificate(
            visit.say.hop(hop),
            visit.say.number(left := days_left.get(hop)),
            left is not None and left < SOON_DAYS,
            visit.say.moment(served[hop].not_after) if hop in served else "",
            visit.say.iso(served[hop].not_after) if hop in served else "",
            tuple(sorted(served[hop].names)) if hop in served else (),
            served[hop].serial if hop in served else "",
        )
        for hop in HOPS
        if want.hop_port(hop) is not None
    )


def _plaintext(visit: Visit) -> tuple[Session, ...]:
    """Return the sessions that are open without TLS: whom a switch to ssl=on would cut off."""
    seen = visit.service.host.observe(visit.service.store.find(visit.name))
    return (*seen.server.plaintext, *(session for each in seen.pooler for session in each.plaintext))


def change(visit: Visit) -> Sent:
    """Run the proof, renew certificates, or go one stage further with the switch to TLS."""
    return {"renew": _renew, "keep": _encrypt, "end": _encrypt}.get(visit.form.get("do"), _prove)(visit)


def _prove(visit: Visit) -> Sent:
    """Run the proof from a client's seat."""
    want, begun = visit.service.store.find(visit.name), time.monotonic()
    report = compose.verify(visit.desk.home, want.name)
    checks = tuple(
        Found(line.check.id, line.hop, line.check.title, line.finding.result, line.finding.evidence, line.finding.fix)
        for line in report.checks
    )
    visit.desk.proven[want.id] = Proven(report.verdict == "proven", checks, time.time(), time.monotonic() - begun)
    return Sent(f"{urls.tab(want.name, 'security')}#proof", verb="verify", words=f"verify {want.name}: {report.verdict}")


def _renew(visit: Visit) -> Sent:
    words = f"certificates renew {visit.name}"
    done = visit.service.renew(visit.name, HOPS, visit.caller(words))
    after = urls.operation(visit.name, done.operation.id) if done.operation is not None else urls.tab(visit.name, "security")
    return Sent(after, verb="certificates renew", words=words)


def _encrypt(visit: Visit) -> Sent:
    """Turn TLS on; who is connected in plaintext stays until it leaves, or is ended once that was agreed to by name."""
    keep = visit.form.get("do") == "keep"
    words = f"params set {visit.name} ssl=on{' --keep-plaintext' if keep else ''}"
    caller = visit.caller(words, agreed=keep or visit.form.get("agreed") == "yes")
    done = visit.service.set_parameters(visit.name, {"ssl": "on"}, (), caller, keep_plaintext=keep)
    after = urls.operation(visit.name, done.operation.id) if done.operation is not None else urls.tab(visit.name, "security")
    if done.operation is None:
        visit.notice(say("nothing to change: it is so already"))
    return Sent(after, verb="params set", words=words)
