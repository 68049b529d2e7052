"""What a check is, what it finds, and the report that they make together. One check is one function with a name; nothing here looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from howdah.core.instance import HOPS, Hop
from howdah.phrase import Phrase

if TYPE_CHECKING:
    from howdah.verify.look import Context

Result = Literal["pass", "fail", "warn", "skip"]
Verdict = Literal["proven", "refuted"]
Severity = Literal["critical", "high", "medium", "low"]
Where = Literal["direct", "pooled", "both", "instance"]
Place = Literal["direct", "pooled", "instance"]


@dataclass(frozen=True)
class Finding:
    """What a check found: `evidence` is what was seen, or why it was not looked at; `fix` is what to do about it."""

    result: Result
    evidence: Phrase
    fix: Phrase | None = None


def passed(evidence: Phrase) -> Finding:
    """It holds, and this was seen."""
    return Finding("pass", evidence)


def failed(evidence: Phrase, fix: Phrase | None) -> Finding:
    """It does not hold; one such finding refutes the whole."""
    return Finding("fail", evidence, fix)


def warned(evidence: Phrase, fix: Phrase | None) -> Finding:
    """It holds, but somebody should know; it refutes nothing."""
    return Finding("warn", evidence, fix)


def skipped(reason: Phrase, fix: Phrase | None = None) -> Finding:
    """It was not looked at, for this reason; it refutes nothing."""
    return Finding("skip", reason, fix)


@dataclass(frozen=True)
class Check:
    """One thing that is to hold. `id` is stable; `tls` marks a check that has no sense where TLS is not wanted."""

    id: str
    hop: Where
    title: Phrase
    severity: Severity
    run: Callable[[Context], Finding]
    tls: bool = False

    def places(self, pooler: bool) -> tuple[tuple[Place, Hop], ...]:
        """Return where it is to be run, and the hop that it then looks at; nothing of the pooled hop without a pooler."""
        if self.hop == "instance":
            return (("instance", "direct"),)
        return tuple((hop, hop) for hop in HOPS if self.hop in (hop, "both") and (pooler or hop == "direct"))


def check(
    name: str, hop: Where, title: Phrase, severity: Severity, *, tls: bool = False
) -> Callable[[Callable[[Context], Finding]], Check]:
    """Make a check of the function below: its id, the hop it looks at, what it says, and how bad it is when it does not hold."""

    def make(run: Callable[[Context], Finding]) -> Check:
        return Check(name, hop, title, severity, run, tls)

    return make


@dataclass(frozen=True)
class Line:
    """One check at one place, with what it found there."""

    check: Check
    hop: Place
    finding: Finding


@dataclass(frozen=True)
class Report:
    """What is proven of an instance, line by line."""

    instance: str
    checks: tuple[Line, ...]

    @property
    def verdict(self) -> Verdict:
        """`refuted` exactly when a check failed."""
        return "refuted" if any(line.finding.result == "fail" for line in self.checks) else "proven"

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON values, English."""
        return {"instance": self.instance, "verdict": self.verdict, "checks": [_plain(line) for line in self.checks]}


def _plain(line: Line) -> dict[str, Any]:
    found = line.finding
    return {
        "id": line.check.id,
        "hop": line.hop,
        "title": str(line.check.title),
        "result": found.result,
        "evidence": str(found.evidence),
        "fix": str(found.fix) if found.fix is not None else None,
    }
