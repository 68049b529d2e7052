"""Our own certificate authority, and the pairs of certificate and key that it issues, one for each hop of each instance.

Keys are P-256: Ed25519 breaks channel binding in older libpq, and RSA costs more per handshake. A pair is named by its serial, because
two renames are never one: the server's file names the pair, and that one line switches both. Beside each pair lies a note of what it
says, with digests of both files, so that looking costs no cryptography; a pair that differs from its note, or has none, is not there.
The authority is made once and never replaced here, for every client trusts its file: `succession` does that, and how its files lie is
`bundle`'s. `cryptography` (80 ms) is imported by what signs.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from howdah.certificate import Certificate, read_pem
from howdah.core.instance import Hop
from howdah.core.observed import Pair
from howdah.core.rotation import Authority, Bundle
from howdah.errors import Failed, Unavailable
from howdah.host import bundle, files
from howdah.phrase import say

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate as Signed
    from cryptography.x509 import KeyUsage

    from howdah.host.accounts import Account

CA_DAYS = 3653
KEPT_PAIRS = 3
_EARLY_SECONDS = 300  # a client's clock may be behind ours
_DAY = 86400.0
_ASTRAY_NS = 3600 * 10**9
_LOCK_SECONDS = 10.0


Bearer = Hop | Literal["console"]
"""Whom a certificate is for: one hop of an instance, or the console."""


def authority(home: Path) -> Bundle:
    """Return the authority of this home, made first where there is none. Failed `ca_broken` when half of it is lost."""
    directory = home / "ca"
    key, certificate = directory / "ca.key", directory / "ca.crt"
    if not (key.exists() and certificate.exists()):
        files.make_parents(home)
        files.make_directory(directory, 0o711)
        with alone(directory):
            if certificate.exists() and not key.exists():
                raise bundle.broken(home, "ca.key is missing")
            if key.exists() and not certificate.exists() and any(home.glob("instances/*/p*/tls/*.crt")):
                raise bundle.broken(home, "ca.crt is missing")
            if not key.exists():
                _put_key(key, _new_key(), None)
            if not certificate.exists():  # also after a crash between the two: nobody has seen a certificate of this key
                files.put(certificate, _pem(_self_signed(_load_key(home, "ca.key"))), 0o644)
    return bundle.show(home)


def make_successor(home: Path) -> str:
    """Make the key and the certificate of an authority that nobody knows yet, `next.key` and `next.crt`; return the certificate."""
    directory, key = home / "ca", _new_key()
    _put_key(directory / "next.key", key, None)
    text = _pem(_self_signed(key))
    files.put(directory / "next.crt", text, 0o644)
    return text


def holds(home: Path, name: str, pem: str) -> bool:
    """Tell whether that file is the key of this authority's certificate."""
    from cryptography.x509 import load_pem_x509_certificate

    with contextlib.suppress(Failed, Unavailable):
        return load_pem_x509_certificate(pem.encode()).public_key() == _load_key(home, name).public_key()
    return False


def issue(home: Path, directory: Path, hop: Bearer, names: Sequence[str], days: float, account: Account | None = None) -> Pair:
    """Issue a certificate for these DNS names and addresses and put the pair into `directory`, both owned by `account`, keys 0600.

    The newest 3 pairs of the hop stay; whatever else of it lies there is removed.
    """
    authority(home)
    key = _new_key()
    with alone(home / "ca"):  # who issues is who stands first in the file that clients have, at this moment
        ca = bundle.show(home).issuer
        text = _pem(_signed(home, ca, key, _canonical(names), days))
    said = read_pem(text)
    stem = f"{hop}.{said.serial}"
    files.make_directory(directory, 0o700, account)
    _put_key(directory / f"{stem}.key", key, account)
    files.put(directory / f"{stem}.crt", text, 0o644, account)
    files.put(directory / f"{stem}.json", json.dumps(_note(directory / stem, said, ca)), 0o600, account)
    _tidy(directory, hop, home / "ca" / "ca.crt")
    return Pair(said.serial, said.names, said.not_before, said.not_after, True)


def pairs(directory: Path, hop: Bearer, ca: Path) -> tuple[Pair, ...]:
    """Return the whole pairs of one hop that lie there, newest first; `ca` is the file that clients verify with. No cryptography."""
    return tuple(pair for _, pair in _dated(directory, hop, ca))


def _dated(directory: Path, hop: Bearer, ca: Path) -> list[tuple[int, Pair]]:
    trusted = bundle.digests(ca)
    try:
        notes = [entry for entry in directory.iterdir() if entry.name.startswith(f"{hop}.") and entry.name.endswith(".json")]
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [seen for note in notes if (seen := _look(note.with_suffix(""), trusted)) is not None]
    return sorted(found, key=lambda seen: seen[0], reverse=True)


def _look(stem: Path, trusted: Sequence[str]) -> tuple[int, Pair] | None:
    """Return a pair and when it was issued (ns), or None when a file is missing, differs from the note, or the note makes no sense."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads(files.read_bytes(_beside(stem, "json")))
        key = _beside(stem, "key")
        if int(note["issued"]) > time.time_ns() + _ASTRAY_NS:
            return None  # made while the clock was wrong: it would be the newest for as long as that
        whole = note["crt"] == _digest(_beside(stem, "crt")) and note["key"] == _digest(key) and _private(key)
        if whole and stem.name.endswith(f".{note['serial']}"):
            dates = float(note["not_before"]), float(note["not_after"])
            issued = {"trusted": note["ca"] in trusted, "current": note["ca"] in trusted[:1]}
            return int(note["issued"]), Pair(str(note["serial"]), frozenset(note["names"]), *dates, **issued)
    return None


def _private(key: Path) -> bool:
    """Whether a server would load it: PostgreSQL refuses a key that its group can read, and whose owner is another."""
    seen = key.lstat()
    return not stat.S_IMODE(seen.st_mode) & 0o077 and seen.st_uid == key.parent.stat().st_uid


def _note(stem: Path, said: Certificate, ca: Authority) -> dict[str, object]:
    return {
        "serial": said.serial,
        "names": sorted(said.names),
        "not_before": said.not_before,
        "not_after": said.not_after,
        "fingerprint": said.fingerprint,
        "issued": time.time_ns(),
        "crt": _digest(_beside(stem, "crt")),
        "key": _digest(_beside(stem, "key")),
        "ca": bundle.digest(ca.pem),
    }


def _tidy(directory: Path, hop: Bearer, ca: Path) -> None:
    kept = {f"{hop}.{pair.serial}" for _, pair in _dated(directory, hop, ca)[:KEPT_PAIRS]}
    for entry in tuple(directory.iterdir()):
        ours = entry.name.lstrip(".").startswith(f"{hop}.") and (entry.is_symlink() or not entry.is_dir())
        if ours and entry.name.rpartition(".")[0] not in kept:
            files.unlink(entry)


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(f"{stem.name}.{ending}")  # not with_suffix: the serial would be taken for one


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(files.read_bytes(file)).hexdigest()
    except OSError:
        return ""


def _canonical(names: Sequence[str]) -> list[str]:
    """Return the names once each, addresses in canonical form."""
    return list(dict.fromkeys(str(_address(name) or name.lower()) for name in names))


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name)
    return None


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Keep every other process out while the authority is made, issues or changes."""
    deadline = time.monotonic() + _LOCK_SECONDS
    with files.directory(directory) as descriptor:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                message = say("cannot use the authority in {path}: another process holds it for {seconds} s", path=directory, seconds=10)
                raise Unavailable("ca_busy", message, say("try again in a moment"))
            time.sleep(0.003)
        yield


# -- below, everything signs and so needs `cryptography`


def _new_key() -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.generate_private_key(ec.SECP256R1())


def _put_key(file: Path, key: EllipticCurvePrivateKey, account: Account | None) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    files.put(file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(), 0o600, account)


def _load_key(home: Path, name: str) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    file = home / "ca" / name
    try:
        key = load_pem_private_key(files.read_bytes(file), password=None)
    except OSError as error:
        raise bundle.unreadable(file, error) from error
    except (ValueError, TypeError) as error:
        raise bundle.broken(home, f"{name} cannot be read") from error
    if not isinstance(key, EllipticCurvePrivateKey):
        raise bundle.broken(home, f"{name} is not a P-256 key")
    return key


def _key_of(home: Path, issuer: Authority) -> EllipticCurvePrivateKey:
    """Return the key of one who issues: the authority's, or its successor's."""
    if holds(home, "next.key", issuer.pem):
        return _load_key(home, "next.key")
    key = _load_key(home, "ca.key")
    if not holds(home, "ca.key", issuer.pem):
        raise bundle.broken(home, "ca.key does not belong to ca.crt")
    return key


def _pem(signed: Signed) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    return signed.public_bytes(Encoding.PEM).decode()


def _self_signed(key: EllipticCurvePrivateKey) -> Signed:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Howdah CA {os.urandom(4).hex()}")])
    public = key.public_key()
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    start, end = _dates(CA_DAYS * _DAY)
    return (
        x509.CertificateBuilder(name, name, public, x509.random_serial_number(), start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(leaf=False), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, SHA256())
    )


def _signed(home: Path, ca: Authority, key: EllipticCurvePrivateKey, names: Sequence[str], days: float) -> Signed:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    issuer = x509.load_pem_x509_certificate(ca.pem.encode())
    issuer_key = _key_of(home, ca)
    seconds = min(days * _DAY, ca.not_after - time.time())  # a leaf does not outlive who vouches for it
    if seconds <= 0:
        raise bundle.broken(home, "ca.crt has expired")
    start, end = _dates(seconds)
    # A CN holds 64 characters and is read by nobody beside the alternative names.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    addresses = {name: address for name in names if (address := _address(name)) is not None}
    known = x509.SubjectAlternativeName([x509.IPAddress(addresses[n]) if n in addresses else x509.DNSName(n) for n in names])
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    public = key.public_key()
    return (
        x509.CertificateBuilder(issuer.subject, subject, public, x509.random_serial_number(), start, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(leaf=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(known, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(issuer_key, SHA256())
    )


def _usage(*, leaf: bool) -> KeyUsage:
    """Return what a key is for: handshakes (`leaf`), or certificates and revocation lists."""
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=leaf,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _dates(seconds: float) -> tuple[datetime, datetime]:
    from datetime import UTC, datetime

    now = time.time()
    return datetime.fromtimestamp(int(now - _EARLY_SECONDS), UTC), datetime.fromtimestamp(int(now + seconds), UTC)
