"""A scanner that knows nothing of Howdah agrees on both ports: Mozilla's *intermediate* profile, judged by sslyze.

The profile's rules on the certificate are judged too: its key, its signature, its life of at most 366 days, its chain, for which the
scanner is given our authority as any client is. OCSP stapling and HSTS, which the profile also names, are judged by no scanner of
PostgreSQL.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.real.bed import BOTH, Bed, another_certificate, made, pooler_file, server_files
from tests.real.servers import free_port, new_home

from howdah.core.instance import Hop
from howdah.verify.stranger import FOREIGN_AUTHORITY

SCANNER = Path(__file__).resolve().parents[2] / ".venv-scan" / "bin" / "sslyze"
pytestmark = pytest.mark.skipif(not os.access(SCANNER, os.X_OK), reason=f"no {SCANNER}: ./test makes it")
SECONDS = 60


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with made(new_home(), "shop", {"pooler": {"listen_port": str(free_port())}}) as bed:
        yield bed


def scan(bed: Bed, hop: Hop, out: Path, *, trusting: Path | None = None) -> tuple[bool, str]:
    """Tell whether a port complies, and what sslyze says about it; the whole scan lies in `out`."""
    authority = trusting or bed.host.layout(bed.want.id).ca_file
    words = ("--starttls", "postgres", "--mozilla_config", "intermediate", "--certinfo_ca_file", authority, "--json_out", out)
    command = (SCANNER, *words, f"127.0.0.1:{bed.want.hop_port(hop)}")
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False)
    _, judged, said = done.stdout.partition("COMPLIANCE AGAINST TLS CONFIGURATION")
    assert judged, done.stdout + done.stderr
    return done.returncode == 0 and "OK - Compliant" in said, said


@pytest.mark.parametrize("hop", BOTH)
def test_both_ports_comply_with_mozillas_intermediate_profile(bed: Bed, hop: Hop, tmp_path: Path) -> None:
    complies, said = scan(bed, hop, tmp_path / "scan.json")
    assert complies, said
    found = json.loads((tmp_path / "scan.json").read_text())["server_scan_results"][0]["scan_result"]
    taken = {name for name, each in found.items() if name.endswith("_cipher_suites") and each["result"]["accepted_cipher_suites"]}
    assert taken == {"tls_1_2_cipher_suites", "tls_1_3_cipher_suites"}
    assert found["session_renegotiation"]["result"]["is_vulnerable_to_client_renegotiation_dos"] is False


def test_it_complies_for_those_alone_who_have_our_authority(bed: Bed, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.crt"
    foreign.write_text(FOREIGN_AUTHORITY)
    complies, said = scan(bed, "direct", tmp_path / "scan.json", trusting=foreign)
    assert not complies
    assert "certificate_path_validation" in said


def test_a_certificate_that_lives_too_long_does_not_comply(bed: Bed, tmp_path: Path) -> None:
    with another_certificate(bed, bed.host.home, 397):
        complies, said = scan(bed, "direct", tmp_path / "scan.json")
    assert not complies
    assert "maximum_certificate_lifespan" in said


def test_a_weakened_postgresql_does_not_comply(bed: Bed, tmp_path: Path) -> None:
    weak = "ssl_min_protocol_version = 'TLSv1'\nssl_ciphers = 'ALL:@SECLEVEL=0'\nssl_ecdh_curve = 'secp521r1'"
    with server_files(bed, settings=weak.replace("ssl_ecdh_curve", "ssl_groups" if bed.want.version >= 18 else "ssl_ecdh_curve")):
        complies, said = scan(bed, "direct", tmp_path / "scan.json")
    assert not complies
    assert all(fault in said for fault in ("tls_versions", "ciphers", "tls_curves")), said


def test_a_weakened_pgbouncer_does_not_comply(bed: Bed, tmp_path: Path) -> None:
    def weak(ini: str) -> str:
        ini = ini.replace("_protocols = secure", "_protocols = all").replace("_ciphers = ", "_ciphers = ALL:@SECLEVEL=0:")
        return ini.replace("ecdhcurve = prime256v1", "ecdhcurve = secp521r1")

    with pooler_file(bed, weak):
        complies, said = scan(bed, "pooled", tmp_path / "scan.json")
    assert not complies
    assert all(fault in said for fault in ("tls_versions", "ciphers", "tls_curves")), said
