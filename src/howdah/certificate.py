"""Read from an X.509 certificate what people are told of it: serial, names, dates, fingerprint. A few lines of DER instead of a library.

A library that does all of X.509 costs 80 ms of imports, on every command that only wants to say how many days are left. What is read
here has been parsed by OpenSSL already, or was written by us; nothing is verified.
"""

from __future__ import annotations

import binascii
import calendar
import hashlib
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

_SAN = bytes((0x55, 0x1D, 0x11))  # 2.5.29.17
# What others will take for sound: Mozilla's "intermediate" profile (5.7, maximum_certificate_lifespan)
LONGEST_DAYS = 366
_DAY = 86400
_UTC_TIME, _DNS, _ADDRESS, _VERSION, _EXTENSIONS = 0x17, 0x82, 0x87, 0xA0, 0xA3


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Serial and fingerprint (SHA-256) are lower-case hexadecimal; dates are seconds since the epoch."""

    serial: str
    not_before: float
    not_after: float
    names: frozenset[str]
    fingerprint: str

    @property
    def days(self) -> int:
        """How many whole days it lives."""
        return int((self.not_after - self.not_before) // _DAY)


def read_pem(pem: str) -> Certificate:
    """Return what the first certificate of a PEM text says; ValueError when it cannot be read."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    _, found, rest = pem.partition(begin)
    body, closed, _ = rest.partition(end)
    if not (found and closed):
        raise ValueError("not a certificate")
    return read_der(binascii.a2b_base64(body))


def read_der(der: bytes) -> Certificate:
    """Return what a certificate in DER says; ValueError when it cannot be read."""
    try:
        return _read(der)
    except (IndexError, StopIteration) as error:
        raise ValueError("not a certificate") from error


def _read(der: bytes) -> Certificate:
    _, tbs = next(_parts(next(_parts(der))[1]))
    fields = list(_parts(tbs))
    if fields[0][0] == _VERSION:
        del fields[0]
    (_, serial), _, _, (_, validity), *rest = fields
    not_before, not_after = (_seconds(tag, value) for tag, value in _parts(validity))
    number = int.from_bytes(serial, "big", signed=True)
    return Certificate(f"{number:x}", not_before, not_after, frozenset(_names(rest)), hashlib.sha256(der).hexdigest())


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each element that stands in `data`, one after the other."""
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(data[at : at + size], "big"), at + size
        if at + length > len(data):
            raise ValueError("truncated certificate")
        yield tag, data[at : at + length]
        at += length


def _seconds(tag: int, value: bytes) -> float:
    text = value.decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year: 50 and later are of the last century (RFC 5280)
        text = ("20" if text < "5" else "19") + text
    # not time.strptime, whose first use imports 3 ms of locale
    return float(calendar.timegm((int(text[:4]), *(int(text[at : at + 2]) for at in range(4, 14, 2)))))


def _names(rest: list[tuple[int, bytes]]) -> Iterator[str]:
    extensions = next((next(_parts(value))[1] for tag, value in rest if tag == _EXTENSIONS), b"")
    for _, extension in _parts(extensions):
        (_, oid), *_, (_, value) = _parts(extension)
        if oid == _SAN:
            for tag, name in _parts(next(_parts(value))[1]):
                if tag == _DNS:
                    yield name.decode("ascii")
                elif tag == _ADDRESS:
                    yield str(ipaddress.ip_address(name))
