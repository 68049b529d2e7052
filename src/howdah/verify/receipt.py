"""The receipt of a proof: when, of what, by which programs and with which result, as plain JSON values that stand on their own.

Everything is in it that an auditor needs to repeat the proof or to doubt it, and no secret. Nothing is looked at here and no file is
written; what was not seen is null.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from howdah.certificate import Certificate, read_pem
from howdah.core.endpoint import endpoints
from howdah.core.instance import Hop
from howdah.errors import Refusal
from howdah.verify.look import Look
from howdah.verify.report import Report, Result

FORMAT = "howdah-receipt/1"
RESULTS: tuple[Result, ...] = ("pass", "fail", "warn", "skip")


@dataclass(frozen=True)
class Making:
    """How a receipt was made: by whom, where, with which programs, and how long it took."""

    user: str
    host: str
    seconds: float
    programs: Mapping[str, str]  # of the client: howdah, libpq, OpenSSL, Python, kernel


def receipt(report: Report, look: Look, making: Making) -> dict[str, Any]:
    """Return a receipt as JSON values, English, times in UTC by RFC 3339."""
    results = [line.finding.result for line in report.checks]
    return {
        "format": FORMAT,
        "made_at": _moment(look.now),
        "seconds": round(making.seconds, 3),
        "made_by": {"user": making.user, "host": making.host, "programs": dict(making.programs)},
        "how": "checks from a client's seat, over TCP, on this host; the probe role's password was made for this one look and is gone",
        "instance": _instance(look),
        "versions": _versions(look),
        "certificates": {"authority": _authority(look), **{hop: _leaf(look, hop) for hop in look.endpoints}},
        "verdict": report.verdict,
        "counts": {name: results.count(name) for name in RESULTS},
        "checks": [
            {**plain, "severity": line.check.severity} for plain, line in zip(report.to_json()["checks"], report.checks, strict=True)
        ],
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _instance(look: Look) -> dict[str, Any]:
    want = look.want
    told = [
        {"kind": each.kind, "host": each.host, "port": each.port, "tls": each.tls, "listen": each.addresses} for each in endpoints(want)
    ]
    return {"name": want.name, "id": want.id, "project": want.project, "generation": want.generation, "endpoints": told}


def _versions(look: Look) -> dict[str, str | None]:
    postgresql = pgbouncer = None
    with contextlib.suppress(Refusal, OSError):
        postgresql = look.server.version
    with contextlib.suppress(Refusal, OSError):
        pgbouncer = ".".join(map(str, look.seen.pooler[-1].version)) if look.seen.pooler else None
    return {"postgresql": postgresql or None, "pgbouncer": pgbouncer or None}


def _authority(look: Look) -> dict[str, Any] | None:
    with contextlib.suppress(Refusal, OSError, ValueError):
        return _certificate(read_pem(look.seen.layout.ca_file.read_text()))
    return None


def _leaf(look: Look, hop: Hop) -> dict[str, Any] | None:
    """Return the certificate as served on one hop."""
    with contextlib.suppress(Refusal, OSError):
        served = look.told(hop).served.certificate
        return _certificate(served) if served is not None else None
    return None


def _certificate(said: Certificate) -> dict[str, Any]:
    return {
        "serial": said.serial,
        "sha256": said.fingerprint,
        "not_before": _moment(said.not_before),
        "not_after": _moment(said.not_after),
        "names": sorted(said.names),
        "key": said.key,
        "signature": said.signature,
    }
