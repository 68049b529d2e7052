"""Everything that a stranger without a password is told on one hop, asked at once. It judges nothing; an answer is a value."""

from __future__ import annotations

import ssl
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from howdah import wire
from howdah.core.endpoint import Endpoint
from howdah.core.instance import CONTROL_ROLE, LOOKUP_ROLE
from howdah.hello import TlsVersion
from howdah.wire import Answer, Handshake, Trust

# What must be refused: no forward secrecy, or no authenticated encryption. All of it is still in OpenSSL's default list.
WEAK_CIPHERS = (
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA:"
    "ECDHE-RSA-AES128-SHA256:ECDHE-RSA-AES128-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384:AES128-SHA"
)
# Mozilla's profile names X25519, P-256 and P-384; this one is among OpenSSL's defaults, too.
OTHER_GROUP = "secp521r1"
# Silence may be the right answer: a server that knows no direct TLS may wait for the rest of what it takes for a packet (PgBouncer 1.24),
# one that threw injected bytes away for a real startup message. It is only told from slowness by how long the same server takes to speak.
DIRECT_SECONDS = 0.5
INJECTED_SECONDS = 3.0
PACES = 4
OLD_VERSIONS: tuple[TlsVersion, ...] = ("TLSv1", "TLSv1.1")
# An authority that has signed nothing and never will: its key was thrown away when this was made.
FOREIGN_AUTHORITY = """\
-----BEGIN CERTIFICATE-----
MIIBXjCCAQOgAwIBAgIBATAKBggqhkjOPQQDAjArMSkwJwYDVQQDDCBhbiBhdXRo
b3JpdHkgdGhhdCBzaWduZWQgbm90aGluZzAgFw0yNjAxMDEwMDAwMDBaGA8yMTI2
MDEwMTAwMDAwMFowKzEpMCcGA1UEAwwgYW4gYXV0aG9yaXR5IHRoYXQgc2lnbmVk
IG5vdGhpbmcwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQbdbilsyGhpkB7xcVr
Y6Y0zQtmXJWl8O2bf0H5pGiDQkty9wZZe7pZeygOpPOESuMcn76BuTgG6JggcPMJ
yBlYoxYwFDASBgNVHRMBAf8ECDAGAQH/AgEAMAoGCCqGSM49BAMCA0kAMEYCIQD4
SAeqAh+IHZWQ1jhShN8X+g71f2uclyrd9rY85t6mHwIhAPYlbMEyHsfynsi03Pk9
I+rzRF8OYfg2VLx0A7/SSpvB
-----END CERTIFICATE-----
"""
_TLS12 = ssl.TLSVersion.TLSv1_2
_NOTHING = Answer("unreachable", message="not asked")
_NO_TLS = Handshake(error="not asked")


@dataclass(frozen=True)
class Told:
    """What one hop told; `error` says why it was not asked further."""

    error: str = ""
    plaintext: Answer = _NOTHING
    served: Handshake = _NO_TLS
    chain: Handshake = _NO_TLS  # verified with our CA
    names: Mapping[str, Handshake] = field(default_factory=dict)  # verified with our CA, under each name that is given out
    foreign: Handshake = _NO_TLS  # verified with an authority that is not ours
    tls12: Handshake = _NO_TLS
    weak: Handshake = _NO_TLS
    group: Handshake = _NO_TLS  # with a group that nobody should need
    direct: Handshake = _NO_TLS  # begun without asking for it
    bare: Handshake = _NO_TLS  # the same, without ALPN
    gss: Answer | None = _NOTHING
    old: Mapping[TlsVersion, bool | None] = field(default_factory=dict)
    injected: Answer = _NOTHING
    control: Answer = _NOTHING  # the beginning of a login, as each of these
    lookup: Answer = _NOTHING
    console: Answer = _NOTHING


@contextmanager
def foreign_authority() -> Iterator[Path]:
    """Lend the foreign authority's certificate as a file."""
    with tempfile.NamedTemporaryFile("w", prefix="howdah-", suffix=".crt") as file:
        file.write(FOREIGN_AUTHORITY)
        file.flush()
        yield Path(file.name)


def listen(endpoint: Endpoint, ca: Path, foreign: Path, threads: Executor) -> Told:
    """Ask every question of one hop and return the answers; when nobody answers the first, the others are not asked."""
    host, port = endpoint.host, endpoint.port
    first = wire.startup_plain(host, port)
    if first.kind in ("unreachable", "silent", "nonsense") or first.too_early:
        return Told(error=first.message or first.kind, plaintext=first)
    said = [
        threads.submit(begin, endpoint, user, database)
        for user, database in (
            (CONTROL_ROLE, "postgres"),
            (LOOKUP_ROLE, "postgres"),
            ("pgbouncer", "pgbouncer"),
        )
    ]
    told = _encrypted(endpoint, first, str(ca), str(foreign), threads) if endpoint.tls else Told(plaintext=first)
    control, lookup, console = (each.result() for each in said)
    return replace(told, control=control, lookup=lookup, console=console)


def begin(endpoint: Endpoint, user: str, database: str = "postgres") -> Answer:
    """Begin a login, over TLS where it is wanted, and return what is asked for."""
    ask = wire.auth_methods if endpoint.tls else wire.startup_plain
    return ask(endpoint.host, endpoint.port, user, database)


def _encrypted(endpoint: Endpoint, first: Answer, ca: str, foreign: str, threads: Executor) -> Told:
    host, port = endpoint.host, endpoint.port

    def shake(trust: Trust, seconds: float = wire.SECONDS) -> Future[Handshake]:
        return threads.submit(wire.handshake, host, port, trust=trust, seconds=seconds)

    begun = time.monotonic()
    served, chain, other = shake(Trust()), shake(Trust(ca)), shake(Trust(foreign))
    names = {name: shake(Trust(ca, name)) for name in dict.fromkeys((host, *endpoint.hostnames))}
    tls12, weak = shake(Trust(maximum=_TLS12)), shake(Trust(maximum=_TLS12, ciphers=WEAK_CIPHERS))
    old = {version: threads.submit(wire.tls_version_accepted, host, port, version) for version in OLD_VERSIONS}
    group, gss = shake(Trust(group=OTHER_GROUP)), threads.submit(wire.ask_for_gss, host, port)
    spoken = served.result()
    pace = PACES * (time.monotonic() - begun)
    injected = threads.submit(wire.inject, host, port, seconds=max(INJECTED_SECONDS, pace))
    direct, bare = (shake(Trust(direct=True, alpn=alpn), max(DIRECT_SECONDS, pace)) for alpn in (True, False))
    return Told(
        plaintext=first,
        served=spoken,
        chain=chain.result(),
        names={name: each.result() for name, each in names.items()},
        foreign=other.result(),
        tls12=tls12.result(),
        weak=weak.result(),
        group=group.result(),
        direct=direct.result(),
        bare=bare.result(),
        gss=gss.result(),
        old={version: each.result() for version, each in old.items()},
        injected=injected.result(),
    )
