"""Checks from a client's seat, on both hops: each one sends something, sees what comes back, and says it as evidence.

`verify` speaks the network itself and asks everything else of the `Seat` that it is handed. It changes nothing but the probe role,
which gets a password for that one look and loses it at the end. What could not be looked at counts as failed: a proof has no gaps.
"""

from __future__ import annotations

from howdah.core.instance import Hop, Instance
from howdah.core.seat import Seat
from howdah.errors import Refusal
from howdah.phrase import say
from howdah.verify.checks import checks
from howdah.verify.look import Context, Look
from howdah.verify.receipt import Making, receipt
from howdah.verify.report import Check, Finding, Line, Place, Report, failed, skipped

__all__ = ["Look", "Making", "Report", "Seat", "judged", "looked", "receipt", "verify"]

_ORDER: tuple[Place, ...] = ("direct", "pooled", "instance")


def verify(want: Instance, seat: Seat, now: float) -> Report:
    """Run every check that concerns this instance and return what was found; `now` in seconds since the epoch."""
    return judged(looked(want, seat, now))


def looked(want: Instance, seat: Seat, now: float) -> Look:
    """Look at everything that takes long; the rest is looked at when a check asks for it."""
    look = Look(want, seat, now)
    look.begin()
    return look


def judged(look: Look) -> Report:
    """Run every check on what was looked at."""
    want = look.want
    pooler = want.pooler is not None
    lines = [Line(each, place, judge(each, look, hop)) for each in checks() for place, hop in each.places(pooler)]
    if not pooler:
        lines.append(Line(NO_POOLER, "pooled", judge(NO_POOLER, look, "pooled")))
    return Report(want.name, tuple(sorted(lines, key=lambda line: _ORDER.index(line.hop))))


def judge(each: Check, look: Look, hop: Hop) -> Finding:
    """Run one check for one hop; what keeps it from looking is a finding, too."""
    context = Context(look, hop)
    if each.tls and not look.want.tls:
        return skipped(say("TLS is off"), say("run `howdah params set {name} ssl=on`", name=look.want.name))
    try:
        return each.run(context)
    except Refusal as refusal:
        return failed(refusal.message, refusal.hint or context.repair)
    except OSError as error:
        return failed(say("cannot look: {reason}", reason=error.strerror or str(error)), context.repair)


def _no_pooler(context: Context) -> Finding:
    return skipped(say("there is no pooler"), say("run `howdah extensions add {name} pooler`", name=context.want.name))


NO_POOLER = Check("pooler", "pooled", say("connections are pooled"), "low", _no_pooler)
