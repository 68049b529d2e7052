"""Our authority and its pairs, judged by OpenSSL: what is issued is believed by a strict client, and what is damaged is not there."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from howdah.certificate import read_pem
from howdah.core.observed import Pair
from howdah.errors import Failed, NotFound
from howdah.host.accounts import Account, account
from howdah.host.bundle import show as ca_show
from howdah.host.pki import authority, issue, pairs

NAMES = ["localhost", "db.example.org", "127.0.0.1", "0:0::1"]


def openssl(*arguments: str | Path) -> str:
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=True, timeout=30).stdout


def file_of(directory: Path, pair: Pair, ending: str) -> Path:
    return directory / f"direct.{pair.serial}.{ending}"


def issued(home: Path, days: float = 397) -> Pair:
    return issue(home, home / "tls", "direct", NAMES, days)


def seen(home: Path) -> tuple[Pair, ...]:
    return pairs(home / "tls", "direct", home / "ca" / "ca.crt")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_strict_client_believes_it(tmp_path: Path) -> None:
    pair = issued(tmp_path)
    certificate = file_of(tmp_path / "tls", pair, "crt")
    verified = openssl(
        *("verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "db.example.org", "-verify_ip", "127.0.0.1"),
        *("-CAfile", tmp_path / "ca" / "ca.crt", certificate),
    )
    assert verified.strip().endswith("OK")
    text = openssl("x509", "-in", certificate, "-noout", "-text")
    for fact in ("CA:FALSE", "Digital Signature", "TLS Web Server Authentication", "prime256v1", "ecdsa-with-SHA256", "DNS:localhost"):
        assert fact in text
    assert "CA:TRUE, pathlen:0" in openssl("x509", "-in", tmp_path / "ca" / "ca.crt", "-noout", "-text")


def test_it_says_what_it_was_asked_to(tmp_path: Path) -> None:
    before = time.time()
    pair = issued(tmp_path, days=60)
    assert pair.names == {"localhost", "db.example.org", "127.0.0.1", "::1"}
    assert before - 302 < pair.not_before < before - 298
    assert abs(pair.not_after - before - 60 * 86400) < 30
    assert pair.trusted and seen(tmp_path) == (pair,)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file_of(tmp_path / "tls", pair, "crt"), file_of(tmp_path / "tls", pair, "key"))


def test_our_reading_of_a_certificate_is_openssls(tmp_path: Path) -> None:
    pair = issued(tmp_path)
    said = read_pem(file_of(tmp_path / "tls", pair, "crt").read_text())
    shown = openssl("x509", "-in", file_of(tmp_path / "tls", pair, "crt"), "-noout", "-serial", "-fingerprint", "-sha256", "-dates")
    fields = dict(line.split("=", 1) for line in shown.splitlines())
    assert int(said.serial, 16) == int(fields["serial"], 16)
    assert said.fingerprint == fields["sha256 Fingerprint"].replace(":", "").lower()
    assert (said.not_before, said.not_after) == (
        ssl.cert_time_to_seconds(fields["notBefore"]),
        ssl.cert_time_to_seconds(fields["notAfter"]),
    )


@pytest.mark.parametrize("text", ["", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----", "-----BEGIN CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a certificate"):
        read_pem(text)


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_set_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        pair = issued(tmp_path)
    finally:
        os.umask(before)
    ca, tls = tmp_path / "ca", tmp_path / "tls"
    modes = [mode(path) for path in (ca, ca / "ca.key", ca / "ca.crt", tls, file_of(tls, pair, "key"), file_of(tls, pair, "crt"))]
    assert modes == [0o711, 0o600, 0o644, 0o700, 0o600, 0o644]


def test_a_pair_belongs_to_the_account_that_serves_it(tmp_path: Path) -> None:
    other = account("postgres")
    if os.geteuid() != 0 or other is None:
        pytest.skip("giving files to another user needs root, and the user postgres")
    pair = issue(tmp_path, tmp_path / "tls", "direct", NAMES, 397, other)
    paths = [tmp_path / "tls", *(file_of(tmp_path / "tls", pair, ending) for ending in ("key", "crt", "json"))]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in paths} == {(other.uid, other.gid)}
    assert (tmp_path / "ca" / "ca.key").stat().st_uid == 0
    assert seen(tmp_path) == (pair,)


def test_the_newest_three_stay_and_other_hops_are_left_alone(tmp_path: Path) -> None:
    pooled = issue(tmp_path, tmp_path / "tls", "pooled", ["localhost"], 397)
    made = [issued(tmp_path) for _ in range(5)]
    assert seen(tmp_path) == tuple(reversed(made[2:]))
    assert len(list((tmp_path / "tls").iterdir())) == 12
    assert pairs(tmp_path / "tls", "pooled", tmp_path / "ca" / "ca.crt") == (pooled,)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES: dict[str, Callable[[Path, Pair, Pair], object]] = {
    "key gone": lambda tls, old, new: file_of(tls, new, "key").unlink(),
    "certificate gone": lambda tls, old, new: file_of(tls, new, "crt").unlink(),
    "note gone": lambda tls, old, new: file_of(tls, new, "json").unlink(),
    "key of another": lambda tls, old, new: file_of(tls, new, "key").write_bytes(file_of(tls, old, "key").read_bytes()),
    "note of another": lambda tls, old, new: file_of(tls, new, "json").write_bytes(file_of(tls, old, "json").read_bytes()),
    "certificate flipped": lambda tls, old, new: _flip(file_of(tls, new, "crt")),
    "key truncated": lambda tls, old, new: file_of(tls, new, "key").write_bytes(b""),
    "note truncated": lambda tls, old, new: file_of(tls, new, "json").write_text("{"),
    "note of nonsense": lambda tls, old, new: file_of(tls, new, "json").write_text("[1]"),
    "key readable by all": lambda tls, old, new: file_of(tls, new, "key").chmod(0o644),
    "key a link": lambda tls, old, new: _link(file_of(tls, new, "key")),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_pair_is_not_there_and_goes_with_the_next(tmp_path: Path, damage: str) -> None:
    old, new = issued(tmp_path), issued(tmp_path)
    DAMAGES[damage](tmp_path / "tls", old, new)
    assert seen(tmp_path) == (old,)
    third = issued(tmp_path)
    assert seen(tmp_path) == (third, old)
    assert len(list((tmp_path / "tls").glob("direct.*"))) == 6


def test_a_pair_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    pair = issued(tmp_path)
    authority(tmp_path / "other")
    (found,) = pairs(tmp_path / "tls", "direct", tmp_path / "other" / "ca" / "ca.crt")
    assert found.serial == pair.serial and not found.trusted
    (lost,) = pairs(tmp_path / "tls", "direct", tmp_path / "nowhere")
    assert not lost.trusted
    assert pairs(tmp_path / "nowhere", "direct", tmp_path / "nowhere") == ()


def test_the_authority_is_made_once_also_by_many(tmp_path: Path) -> None:
    code = "import sys, pathlib; from howdah.host.pki import authority; print(authority(pathlib.Path(sys.argv[1])).fingerprint)"
    makers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert said == {ca_show(tmp_path).fingerprint}
    assert authority(tmp_path) == ca_show(tmp_path)
    assert ca_show(tmp_path).not_after - time.time() > 3650 * 86400


def test_a_leaf_does_not_outlive_the_authority(tmp_path: Path) -> None:
    assert issued(tmp_path, days=99999).not_after <= ca_show(tmp_path).not_after


def test_an_authority_interrupted_before_its_certificate_is_finished(tmp_path: Path) -> None:
    authority(tmp_path)
    key = (tmp_path / "ca" / "ca.key").read_bytes()
    (tmp_path / "ca" / "ca.crt").unlink()
    issued(tmp_path)
    assert (tmp_path / "ca" / "ca.key").read_bytes() == key


BREAKS: dict[str, Callable[[Path], object]] = {
    "key gone": lambda ca: (ca / "ca.key").unlink(),
    "key of nonsense": lambda ca: (ca / "ca.key").write_text("nonsense"),
    "certificate of nonsense": lambda ca: (ca / "ca.crt").write_text("nonsense"),
    "key of another": lambda ca: (ca / "ca.key").write_bytes((authority(ca / "x").file.parent / "ca.key").read_bytes()),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_authority_is_never_replaced(tmp_path: Path, what: str) -> None:
    authority(tmp_path)
    BREAKS[what](tmp_path / "ca")
    before = {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir() if path.is_file()}
    with pytest.raises(Failed) as broken:
        issued(tmp_path)
    assert broken.value.code == "ca_broken" and "every client" in str(broken.value.hint)
    assert {path.name: path.read_bytes() for path in (tmp_path / "ca").iterdir() if path.is_file()} == before


def test_no_authority_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as missing:
        ca_show(tmp_path)
    assert missing.value.code == "no_ca"


def test_looking_needs_no_cryptography(tmp_path: Path) -> None:
    issued(tmp_path)
    code = (
        "import sys, pathlib; from howdah.host.bundle import show as ca_show; from howdah.host.pki import pairs\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "print(len(pairs(home / 'tls', 'direct', ca_show(home).file)), 'cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "1 False"


def test_an_account_without_need_of_root_is_ones_own(tmp_path: Path) -> None:
    mine = Account("me", os.geteuid(), os.getegid())
    assert issue(tmp_path, tmp_path / "tls", "direct", ["localhost"], 1, mine).trusted
