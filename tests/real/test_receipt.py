"""The receipt of a proof: whole, true, without a secret, and put in place without harm to anything that lies there."""

from __future__ import annotations

import json
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.real.bed import BOTH, CALLER, Bed, made, server_files
from tests.real.instances import in_child
from tests.real.servers import free_port, new_home

from howdah import __version__, wire
from howdah.certificate import read_pem
from howdah.core.instance import to_record
from howdah.errors import Conflict, Failed, NotFound, Unavailable
from howdah.host import receipts

OLD = '{"format": "howdah-receipt/1", "made_at": "2026-01-01T00:00:00Z"}\n'


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with made(new_home(), "shop", {"pooler": {"listen_port": str(free_port())}}) as bed:
        yield bed


def run(bed: Bed, *words: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOWDAH_HOME": str(bed.host.home), "HOWDAH_LANG": "en", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", "-m", "howdah", "verify", "shop", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def proven(bed: Bed, file: Path) -> dict[str, Any]:
    done = run(bed, "--receipt", file)
    assert done.returncode == 0, done.stderr
    assert f"SHA-256 {sha256(file.read_bytes()).hexdigest()}" in done.stderr
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_receipt_says_of_what_when_by_what_and_with_which_result(bed: Bed, tmp_path: Path) -> None:
    told = proven(bed, tmp_path / "receipt.json")
    assert set(told) == {
        *("format", "made_at", "seconds", "made_by", "how", "instance", "versions", "certificates", "verdict", "counts", "checks")
    }
    assert datetime.now(UTC) - datetime.fromisoformat(told["made_at"]) < timedelta(minutes=2)
    assert told["made_by"]["programs"]["howdah"] == __version__
    assert (told["instance"]["name"], told["instance"]["id"]) == ("shop", bed.want.id)
    seen = bed.seat.observe()
    assert told["versions"] == {"postgresql": seen.server.version, "pgbouncer": ".".join(map(str, seen.pooler[-1].version))}
    assert told["verdict"] == "proven"
    report = bed.report()
    assert [(each["id"], each["hop"], each["severity"]) for each in told["checks"]] == [
        (line.check.id, line.hop, line.check.severity) for line in report.checks
    ]
    assert sum(told["counts"].values()) == len(report.checks)


def test_its_fingerprints_are_those_that_are_served(bed: Bed, tmp_path: Path) -> None:
    told = proven(bed, tmp_path / "receipt.json")["certificates"]
    served = {hop: wire.handshake("127.0.0.1", bed.want.hop_port(hop) or 0).fingerprint for hop in BOTH}
    assert {hop: told[hop]["sha256"] for hop in BOTH} == served
    assert told["authority"]["sha256"] == read_pem(bed.host.layout(bed.want.id).ca_file.read_text()).fingerprint


def test_it_holds_no_secret_and_nobody_else_may_read_it(bed: Bed, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        proven(bed, tmp_path / "receipt.json")
    finally:
        os.umask(before)
    text = (tmp_path / "receipt.json").read_text()
    verifiers = [user["verifier"] for user in to_record(bed.want)["users"]]
    assert verifiers
    for secret in (bed.password.reveal(), *verifiers, "SCRAM-SHA-256$", "PRIVATE KEY"):
        assert secret not in text
    assert stat.S_IMODE((tmp_path / "receipt.json").stat().st_mode) == 0o600


def test_what_is_refuted_has_a_receipt_too(bed: Bed, tmp_path: Path) -> None:
    with server_files(bed, settings="fsync = off"):
        done = run(bed, "--receipt", tmp_path / "receipt.json")
    assert done.returncode == 1
    assert "cannot prove shop" in done.stderr
    told = json.loads((tmp_path / "receipt.json").read_text())
    assert told["verdict"] == "refuted"
    assert {"writes-durable"} <= {each["id"] for each in told["checks"] if each["result"] == "fail"}


def test_a_stopped_server_leaves_gaps_and_no_error(bed: Bed, tmp_path: Path) -> None:
    bed.service.stop("shop", CALLER)
    try:
        done = run(bed, "--receipt", tmp_path / "receipt.json")
    finally:
        bed.service.start("shop", CALLER)
    assert done.returncode == 1
    told = json.loads((tmp_path / "receipt.json").read_text())
    assert told["versions"] == {"postgresql": None, "pgbouncer": None}
    assert [told["certificates"][hop] for hop in BOTH] == [None, None]


# --- where it is put ------------------------------------------------------------------------------------------------------------------


def test_a_newer_receipt_takes_the_place_of_an_older_one_and_of_nothing_else(tmp_path: Path) -> None:
    old, other, link, directory = (tmp_path / name for name in ("old.json", "other.json", "link.json", "directory"))
    old.write_text(OLD)
    other.write_text('{"format": "something else"}')
    link.symlink_to(old)
    directory.mkdir()
    receipts.check(old)
    receipts.check(tmp_path / "new.json")
    receipts.write(old, OLD.replace("2026", "2027"))
    assert "2027" in old.read_text()
    for there in (other, link, directory):
        with pytest.raises(Conflict, match="something else is there"):
            receipts.check(there)
    with pytest.raises(NotFound, match="no directory"):
        receipts.check(tmp_path / "nowhere" / "receipt.json")


def test_a_place_that_is_refused_costs_no_look(bed: Bed, tmp_path: Path) -> None:
    done = run(bed, "--receipt", tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    assert "cannot write" in done.stderr.splitlines()[-1]


def test_a_link_on_the_way_is_the_persons_own(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to(tmp_path / "real")
    receipts.write(tmp_path / "way" / "receipt.json", OLD)
    assert (tmp_path / "real" / "receipt.json").read_text() == OLD


def test_no_right_to_write_is_said_before_anything_is_looked_at(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)

    def act() -> None:
        if os.geteuid() == 0:
            os.setuid(65534)
        with pytest.raises(Unavailable, match="no right to write"):
            receipts.check(tmp_path / "receipt.json")

    assert not in_child(act)


def test_a_disk_without_room_leaves_the_old_receipt_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    file.write_text(OLD)

    def act() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        with pytest.raises(Failed, match=r"cannot write .*receipt.json: File too large"):
            receipts.write(file, OLD * 100)

    assert not in_child(act)
    assert (file.read_text(), [*tmp_path.iterdir()]) == (OLD, [file])
