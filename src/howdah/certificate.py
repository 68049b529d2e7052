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

_SAN, _CONSTRAINTS, _PURPOSES = (bytes((0x55, 0x1D, last)) for last in (0x11, 0x13, 0x25))  # 2.5.29.17, .19 and .37
_SERVER = bytes.fromhex("2b06010505070301")  # id-kp-serverAuth
_RSA = bytes.fromhex("2a864886f70d010101")
# Names of algorithms and curves as OpenSSL has them, by their object identifiers in DER
_NAMES = {
    bytes.fromhex(oid): name
    for oid, name in {
        "2a8648ce3d040302": "ecdsa-with-SHA256",
        "2a8648ce3d040303": "ecdsa-with-SHA384",
        "2a8648ce3d040304": "ecdsa-with-SHA512",
        "2a864886f70d01010b": "sha256WithRSAEncryption",
        "2a864886f70d01010c": "sha384WithRSAEncryption",
        "2a864886f70d01010d": "sha512WithRSAEncryption",
        "2a864886f70d010105": "sha1WithRSAEncryption",
        "2a8648ce3d030107": "prime256v1",
        "2b81040022": "secp384r1",
        "2b81040023": "secp521r1",
        "2b6570": "ED25519",
    }.items()
}
# What others will take for sound: Mozilla's "intermediate" profile (5.7, maximum_certificate_lifespan)
LONGEST_DAYS = 366
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_DAY = 86400
_UTC_TIME, _DNS, _ADDRESS, _VERSION, _EXTENSIONS = 0x17, 0x82, 0x87, 0xA0, 0xA3


@dataclass(frozen=True)
class Certificate:
    """What a certificate says. Serial and fingerprint (SHA-256) are lower-case hexadecimal; dates are seconds since the epoch.

    `key` is the curve, or `RSA` with its bits; `signature` how it was signed; what is not known here stays an object identifier in hex.
    """

    serial: str
    not_before: float
    not_after: float
    names: frozenset[str]
    fingerprint: str
    key: str = ""
    signature: str = ""
    authority: bool = False  # may sign others
    server: bool = False  # made for servers (serverAuth)

    @property
    def days(self) -> int:
        """How many whole days it lives."""
        return int((self.not_after - self.not_before) // _DAY)


def read_pem(pem: str) -> Certificate:
    """Return what the first certificate of a PEM text says; ValueError when it cannot be read."""
    first = next(iter(pems(pem)), None)
    if first is None:
        raise ValueError("not a certificate")
    return read_der(binascii.a2b_base64(first.removeprefix(_BEGIN).partition(_END)[0]))


def pems(text: str) -> list[str]:
    r"""Return each certificate of a PEM text, whatever stands between them, as a text of its own that ends with a newline.

    >>> pems("of ours:\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----")
    ['-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n']
    """
    bodies = (part.partition(_END) for part in text.split(_BEGIN)[1:])
    return [f"{_BEGIN}{body}{closed}\n" for body, closed, _ in bodies if closed]


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
    (_, serial), (_, signature), _, (_, validity), _, (_, key), *rest = fields
    not_before, not_after = (_seconds(tag, value) for tag, value in _parts(validity))
    number = int.from_bytes(serial, "big", signed=True)
    extensions = dict(_extensions(rest))
    return Certificate(
        f"{number:x}",
        not_before,
        not_after,
        frozenset(_names(extensions.get(_SAN, b""))),
        hashlib.sha256(der).hexdigest(),
        _key(key),
        _known(next(_parts(signature))[1]),
        authority=b"\x01\x01\xff" in extensions.get(_CONSTRAINTS, b""),
        server=_SERVER in {oid for _, oid in _parts(extensions.get(_PURPOSES, b""))},
    )


def _key(info: bytes) -> str:
    """Name the key of a SubjectPublicKeyInfo: its curve, or RSA with the bits of its modulus."""
    (_, algorithm), (_, public) = _parts(info)
    (_, oid), *parameters = _parts(algorithm)
    if oid == _RSA:
        (_, modulus), *_ = _parts(next(_parts(public[1:]))[1])
        return f"RSA {int.from_bytes(modulus, 'big').bit_length()}"
    return _known(parameters[0][1] if parameters else oid)


def _known(oid: bytes) -> str:
    return _NAMES.get(oid, oid.hex())


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


def _extensions(rest: list[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """Yield identifier and content of each extension; content is what stands in the outermost sequence."""
    extensions = next((next(_parts(value))[1] for tag, value in rest if tag == _EXTENSIONS), b"")
    for _, extension in _parts(extensions):
        (_, oid), *_, (_, value) = _parts(extension)
        yield oid, next(_parts(value))[1]


def _names(alternative: bytes) -> Iterator[str]:
    for tag, name in _parts(alternative):
        if tag == _DNS:
            yield name.decode("ascii")
        elif tag == _ADDRESS:
            yield str(ipaddress.ip_address(name))
