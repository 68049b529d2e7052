"""What is proven of both hops: client to pooler, pooler to PostgreSQL, with the evidence; certificates; who still connects in plaintext."""

from __future__ import annotations

import time
from dataclasses import dataclass

from howdah import compose
from howdah.phrase import say
from howdah.web import urls
from howdah.web.pages.instance import head
from howdah.web.visit import Sent, Shown, Visit


@dataclass(frozen=True)
class Checked:
    """One check of the proof."""

    id: str
    title: str
    result: str
    evidence: str
    fix: str


@dataclass(frozen=True)
class Proof:
    """What `verify` found, and when."""

    verdict: str
    at: str
    iso: str
    took: str
    counts: tuple[tuple[str, int], ...]
    checks: tuple[Checked, ...]


@dataclass(frozen=True)
class Security:
    """The two hops."""

    name: str
    running: bool
    tls: bool
    pooler: bool
    direct: str
    pooled: str
    days: tuple[tuple[str, str, bool], ...]
    authority: str
    until: str
    proof: Proof | None
    plaintext: tuple[str, ...]


def security(visit: Visit) -> Shown:
    """Show what is known of the two hops; a proof that was run in this session stands below."""
    seen, top = head(visit)
    want = seen.instance
    authority = visit.service.authority()
    proof: Proof | None = visit.desk.drafts.take(visit.account, f"proof:{want.id}", leave=True)
    running = seen.status == "running"
    page = Security(
        name=want.name,
        running=running,
        tls=want.tls,
        pooler=want.pooler is not None,
        direct=f"{want.direct.listen[0]}:{want.port}",
        pooled=f"{want.pooled.listen[0]}:{want.hop_port('pooled')}" if want.pooler is not None else "",
        days=tuple((visit.say.hop(hop), visit.say.number(left), (left or 99) < 14) for hop, left in seen.quick.days_left.items()),
        authority=str(authority.fingerprint),
        until=visit.say.moment(float(authority.not_after)),
        proof=proof,
        plaintext=_plaintext(visit) if running else (),
    )
    return Shown("security.html", page, say("Security"), tab="security", head=top)


def _plaintext(visit: Visit) -> tuple[str, ...]:
    """Return the sessions that are open without TLS: whom a switch to ssl=on would cut off."""
    seen = visit.service.host.observe(visit.service.store.find(visit.name))
    found = (*seen.server.plaintext, *(session for each in seen.pooler for session in each.plaintext))
    return tuple(f"{visit.say.hop(each.hop)}: {each}" for each in found)


def change(visit: Visit) -> Sent:
    """Run the proof from a client's seat."""
    want, begun = visit.service.store.find(visit.name), time.monotonic()
    report = compose.verify(visit.desk.home, want.name)
    told = report.to_json()
    checks = tuple(
        Checked(line.check.id, visit.say(line.check.title), line.finding.result, visit.say(line.finding.evidence), _fix(visit, line))
        for line in report.checks
    )
    order = ("fail", "warn", "skip", "pass")
    now = time.time()
    proof = Proof(
        verdict=report.verdict,
        at=visit.say.moment(now),
        iso=visit.say.iso(now),
        took=visit.say.took(time.monotonic() - begun),
        counts=tuple((each, sum(c.result == each for c in checks)) for each in order),
        checks=tuple(sorted(checks, key=lambda each: order.index(each.result))),
    )
    del told
    visit.desk.drafts.put(visit.account, proof, key=f"proof:{want.id}")
    return Sent(urls.tab(want.name, "security"), verb="verify", words=f"verify {want.name}: {report.verdict}")


def _fix(visit: Visit, line: object) -> str:
    fix = getattr(getattr(line, "finding", None), "fix", None)
    return visit.say(fix) if fix is not None else ""
