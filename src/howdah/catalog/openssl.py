"""Published weaknesses of OpenSSL as far as a TLS server on a TCP port could show them to strangers, and why they do no harm here.

Flaws of parts that neither PostgreSQL nor PgBouncer uses (CMS, PKCS#12, CMP, OCSP, CRLs, DTLS, QUIC, raw public keys, DANE) are left out.
The source is OpenSSL's own list; a distribution mends old versions under old numbers, so its changelog counts beside the number.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from howdah.catalog.advisories import is_mended
from howdah.phrase import Phrase, say

Version = tuple[int, ...]

DATE: Final = "2026-11-20"
"""The day of the newest advisory that was read for this table."""


@dataclass(frozen=True)
class Flaw:
    """One weakness: the versions that have it (from, mended in; a pair for each branch), and why it does no harm here."""

    id: str
    branches: tuple[tuple[str, str], ...]
    consequence: str  # English, as OpenSSL's own descriptions are
    prevented: Phrase | None
    packages: tuple[str, ...] = ()  # of Debian, mended under an older number

    @property
    def source(self) -> str:
        """Where OpenSSL tells of it."""
        return f"https://openssl-library.org/news/vulnerabilities/#{self.id}"

    def fixed(self, version: str) -> str | None:
        """Return the release that mended it for the branch of a version that has it; None for one that has it not."""
        return next((fixed for since, fixed in self.branches if number(since) <= number(version) < number(fixed)), None)


_NO_CLIENT_CERTIFICATES: Final = say("no server here asks a client for a certificate")
_P256: Final = say("every key that Howdah makes is on the curve P-256, and no suite exchanges keys by RSA")
_LTS: Final = ("3.0.22-1~deb12u2", "3.5.7-1~deb13u3")
FLAWS: Final = (
    Flaw("CVE-2021-3449", (("1.1.1", "1.1.1k"),), "a stranger can crash the server by a malformed renegotiation", None),
    Flaw(
        "CVE-2022-0778",
        (("3.0.0", "3.0.2"), ("1.1.1", "1.1.1n")),
        "a client's certificate with bad curve parameters makes the server loop for ever",
        _NO_CLIENT_CERTIFICATES,
    ),
    Flaw("CVE-2022-2274", (("3.0.4", "3.0.5"),), "an RSA key of 2048 bits corrupts memory on processors with AVX512IFMA", _P256),
    Flaw(
        "CVE-2022-3602",
        (("3.0.0", "3.0.7"),),
        "a client's certificate can overwrite four bytes of the stack",
        _NO_CLIENT_CERTIFICATES,
    ),
    Flaw("CVE-2022-3786", (("3.0.0", "3.0.7"),), "a client's certificate can overflow the stack with dots", _NO_CLIENT_CERTIFICATES),
    Flaw(
        "CVE-2022-4304",
        (("3.0.0", "3.0.8"), ("1.1.1", "1.1.1t")),
        "timing of RSA decryption tells a recorded session's key after very many attempts",
        _P256,
    ),
    Flaw(
        "CVE-2023-2650",
        (("3.1.0", "3.1.1"), ("3.0.0", "3.0.9"), ("1.1.1", "1.1.1u")),
        "a client's certificate with huge object identifiers costs much time",
        _NO_CLIENT_CERTIFICATES,
    ),
    Flaw(
        "CVE-2024-2511",
        (("3.2.0", "3.2.2"), ("3.1.0", "3.1.6"), ("3.0.0", "3.0.14"), ("1.1.1", "1.1.1y")),
        "the cache of TLS 1.3 sessions grows without bound in a server that turned tickets off",
        say("PostgreSQL keeps no cache of sessions, and PgBouncer leaves tickets on"),
    ),
    Flaw(
        "CVE-2024-5535",
        (("3.3.0", "3.3.2"), ("3.2.0", "3.2.3"), ("3.1.0", "3.1.7"), ("3.0.0", "3.0.15"), ("1.1.1", "1.1.1za")),
        "an empty list of protocols (ALPN) makes the server read past it",
        say("a client's empty list never reaches the server's own code, and the server's list is not empty"),
    ),
    Flaw(
        "CVE-2024-13176",
        (
            ("3.4.0", "3.4.1"),
            ("3.3.0", "3.3.3"),
            ("3.2.0", "3.2.4"),
            ("3.1.0", "3.1.8"),
            ("3.0.0", "3.0.16"),
            ("1.1.1", "1.1.1zb"),
        ),
        "timing of ECDSA signatures, above all on P-521, can tell the private key",
        _P256,
    ),
    Flaw(
        "CVE-2025-66199",
        (("3.6.0", "3.6.1"), ("3.5.0", "3.5.5"), ("3.4.0", "3.4.4"), ("3.3.0", "3.3.6")),
        "a client's compressed certificate makes the server take 22 MiB of memory",
        _NO_CLIENT_CERTIFICATES,
    ),
    Flaw(
        "CVE-2026-2673",
        (("3.6.0", "3.6.2"), ("3.5.0", "3.5.6")),
        "the word DEFAULT in a list of groups makes a server agree on a worse group",
        say("the groups are named one by one"),
    ),
    Flaw(
        "CVE-2026-35189",
        (("4.0.0", "4.0.3"), ("3.6.0", "3.6.5"), ("3.5.0", "3.5.9"), ("3.4.0", "3.4.8"), ("3.0.0", "3.0.23"), ("1.1.1", "1.1.1zj")),
        "a client's certificate with many distribution points of CRLs takes much memory",
        _NO_CLIENT_CERTIFICATES,
        _LTS,
    ),
    Flaw(
        "CVE-2026-54872",
        (("4.0.0", "4.0.3"), ("3.6.0", "3.6.5"), ("3.5.0", "3.5.9"), ("3.4.0", "3.4.8"), ("3.0.0", "3.0.23"), ("1.1.1", "1.1.1zj")),
        "timing of signatures on curves that are not NIST's can tell the private key",
        _P256,
        _LTS,
    ),
    Flaw(
        "CVE-2026-35190",
        (("4.1.0", "4.1.1"), ("4.0.0", "4.0.4"), ("3.5.0", "3.5.10")),
        "a server with the Suite B flag reads past a list when a client offers none of its groups",
        say("neither server sets the Suite B flag"),
    ),
)
# The last day of each branch's makers (https://openssl-library.org/policies/releasestrat/); a distribution may go on for years.
LAST_DAYS: Final = {
    "1.1": "2023-09-11",
    "3.0": "2026-09-07",
    "3.1": "2025-03-14",
    "3.2": "2025-11-23",
    "3.3": "2026-04-09",
    "3.4": "2026-10-22",
    "3.5": "2030-04-08",
    "3.6": "2026-11-01",
    "4.0": "2027-05-14",
}


def number(version: str) -> Version:
    """Return a version as numbers that compare; the letters of 1.1.1 count on through z, za, zb.

    >>> number("3.0.19"), number("1.1.1k"), number("1.1.1zb")
    ((3, 0, 19), (1, 1, 1, 11), (1, 1, 1, 28))
    """
    found = re.match(r"(\d+(?:\.\d+)*)([a-z]*)", version)
    if found is None:
        return ()
    letters = sum(ord(each) - ord("a") + 1 for each in found[2])
    return (*(int(part) for part in found[1].split(".")), *([letters] if letters else []))


def branch(version: str) -> str:
    """Return the branch of a version: its first two numbers.

    >>> branch("3.0.19"), branch("1.1.1w")
    ('3.0', '1.1')
    """
    return ".".join("".join(takewhile(str.isdigit, part)) for part in version.split(".")[:2])


def of_openssl(version: str, package: str = "", mended: Collection[str] = ()) -> tuple[Flaw, ...]:
    """Return what concerns an OpenSSL; `mended` are the weaknesses that its package's changelog names.

    >>> [each.id for each in of_openssl("3.0.19")]
    ['CVE-2026-35189', 'CVE-2026-54872']
    >>> of_openssl("3.0.22", "3.0.22-1~deb12u2")
    ()
    """
    found = (each for each in FLAWS if each.fixed(version) is not None)
    return tuple(each for each in found if each.id not in mended and not any(is_mended(package, fixed) for fixed in each.packages))
