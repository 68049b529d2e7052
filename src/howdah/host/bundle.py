"""The authority's files, as they lie: which certificates clients verify with, which of them issues, and where a change of it stands.

`ca.crt` is what clients have, who issues first. `ca.key` is the key of who issued first; while the authority changes, `next.crt` and
`next.key` are the successor's, so that every turn of the change is one rename of `ca.crt`. Nothing is changed here, and no cryptography
is needed.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from howdah.certificate import pems, read_pem
from howdah.core.rotation import Authority, Bundle, Phase
from howdah.errors import Failed, NotFound, Unavailable
from howdah.host import files
from howdah.phrase import say


def show(home: Path) -> Bundle:
    """Return the authority of this home. NotFound `no_ca` before the first instance was made, Failed `ca_broken`."""
    file = home / "ca" / "ca.crt"
    try:
        found = [_authority(pem) for pem in pems(files.read_bytes(file).decode("ascii"))]
        if not found:
            raise ValueError("not a certificate")
    except FileNotFoundError:
        raise NotFound("no_ca", say("cannot find {file}: there is no authority yet", file=file), say("make an instance first")) from None
    except OSError as error:
        raise unreadable(file, error) from error
    except ValueError as error:
        raise broken(home, str(error)) from error
    return _bundle(file, found, _successor(home))


def looked(file: Path) -> Bundle | None:
    """Return the same for whoever only looks: None where there is none, or none that makes sense."""
    with contextlib.suppress(NotFound, Unavailable, Failed):
        return show(file.parent.parent)
    return None


def _bundle(file: Path, found: list[Authority], successor: Authority | None) -> Bundle:
    issuer, other = found[0], found[1] if found[1:] else None
    if other is None:
        left = successor is not None or (file.parent / "next.key").exists()
        return Bundle(file, issuer, cut_off=left)
    # without next.crt the younger of the two is taken for the successor
    younger = successor.fingerprint if successor is not None else max(found[:2], key=lambda each: each.not_after).fingerprint
    phase: Phase = "switched" if issuer.fingerprint == younger else "announced"
    return Bundle(file, issuer, other, phase)


def _successor(home: Path) -> Authority | None:
    text = files.read(home / "ca" / "next.crt")
    with contextlib.suppress(ValueError):
        return _authority(text) if text is not None else None
    return None


def _authority(pem: str) -> Authority:
    said = read_pem(pem)
    return Authority(pem, said.fingerprint, said.not_before, said.not_after)


def digests(file: Path) -> list[str]:
    """Return by what name a pair's note calls each authority of a file, who issues first."""
    text = files.read(file) if file.parent.is_dir() else None
    return [digest(pem) for pem in pems(text or "")]


def digest(pem: str) -> str:
    """Return by what name a pair's note calls its authority."""
    return hashlib.sha256(pem.encode()).hexdigest()


def unreadable(file: Path, error: OSError) -> Unavailable:
    """Say that a file of the authority cannot be read."""
    hint = say("put it back from a copy: every client trusts that authority, and no other is made")
    return Unavailable("ca_unreadable", say("cannot read {file}: {reason}", file=file, reason=error.strerror), hint)


def broken(home: Path, reason: str) -> Failed:
    """Say that the authority is not whole."""
    hint = say(
        "put both ca.key and ca.crt back from a copy, or move the directory away: a new authority is then made, "
        "and every client needs its new certificate file"
    )
    return Failed("ca_broken", say("cannot use the authority in {path}: {reason}", path=home / "ca", reason=reason), hint)
