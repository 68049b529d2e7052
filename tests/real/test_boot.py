"""`service install --serve` on a machine that boots: systemd as the first process of namespaces of its own, over a disk of its own.

What is killed comes back, what is ended in good order needs no recovery, and after a reboot all is there again, with nobody typing.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import pytest
from tests.real.served import wait

REPOSITORY = Path(__file__).parents[2]
HOME = "/var/lib/hbox"
NEEDED = ("unshare", "nsenter", "chroot", "ip", "curl")
BOOTS = Path("/lib/systemd/systemd").exists() and all(map(shutil.which, NEEDED))
CLEAN = ("env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", f"HOWDAH_HOME={HOME}", "HOWDAH_LANG=en", "HOWDAH_SPARES=0")
pytestmark = [
    pytest.mark.long,
    pytest.mark.alone,
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces, mounts and system units are root's"),
    pytest.mark.skipif(not BOOTS, reason="there is no systemd to boot"),
]


@dataclass
class Box:
    """A machine that runs, and what is done there."""

    outer: subprocess.Popen[bytes]
    log: Path

    def first(self) -> int:
        """Return the pid of its first process, as seen from here; 0 while there is none."""
        children = [self.outer.pid]
        for _ in range(2):  # the script, unshare, systemd
            found = [Path(f"/proc/{pid}/task/{pid}/children") for pid in children]
            children = [int(each) for path in found if path.exists() for each in path.read_text().split()]
        return next((pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"), 0)

    def run(self, *words: str, check: bool = True) -> str:
        """Run a command there; return what it says."""
        enter = ("nsenter", "-t", str(self.first()), "-m", "-p", "-n", "-i", "-u", "-C", "-r", "-w")
        done = subprocess.run([*enter, *CLEAN, *words], capture_output=True, text=True, timeout=120, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def howdah(self, *words: str) -> str:
        """Run howdah there."""
        return self.run(sys.executable, "-P", "-m", "howdah", *words)

    def up(self) -> bool:
        """Tell whether it has booted."""
        return self.first() > 0 and self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")

    def serves(self) -> bool:
        """Tell whether pooler and server answer, and the loop makes its rounds."""
        healthy = self.run("curl", "-sk", "https://127.0.0.1:8779/healthz", check=False) == "ok\n"
        return healthy and "running" in self.run(sys.executable, "-P", "-m", "howdah", "list", check=False)

    def postmaster(self) -> int:
        """Return the pid of PostgreSQL there, 0 while it is not ready."""
        said = self.run("sh", "-c", f"cat {HOME}/instances/*/pg/data/postmaster.pid", check=False).split("\n")
        return int(said[0]) if len(said) > 7 and said[7].strip() == "ready" else 0


@pytest.fixture
def box() -> Iterator[Box]:
    place = Path(mkdtemp(prefix="box"))
    log = place.with_suffix(".log")
    others = {path.resolve() for path in (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))}
    apart = sorted(str(path) for path in others if path.stat().st_dev != Path("/").stat().st_dev)
    command = ["unshare", "--mount", "bash", str(REPOSITORY / "tests/real/box.sh"), str(place), "2", *apart]
    with log.open("wb") as said:
        made = Box(subprocess.Popen(command, stdout=said, stderr=said, stdin=subprocess.DEVNULL, start_new_session=True), log)
    try:
        wait(lambda: made.up() or made.outer.poll() is not None, 60, log.read_text)
        if made.outer.poll() is not None:
            pytest.skip(f"this machine lets nobody boot another within it: {log.read_text()[-300:]}")
        yield made
    finally:
        first = made.first()
        made.outer.kill()
        if first:
            os.kill(first, signal.SIGKILL)  # the kernel ends all that runs in its namespace
        made.outer.wait(60)
        place.rmdir()
        log.unlink()


def test_what_is_installed_keeps_it_running_over_kills_and_a_reboot(box: Box) -> None:
    box.howdah("create", "shop", "--database", "shop", "--user", "app", "--extension", "pooler:pool_mode=transaction", "--yes")
    said = box.howdah("service", "install", "--serve", "0.0.0.0:8779", "--yes")
    password = re.search(r"password for admin: (\S+)", said)
    assert password is not None
    unit = re.findall(r"(howdah\S*-serve)\.service", said)[0]
    wait(box.serves, 60, lambda: box.run("journalctl", "-u", unit))
    assert password[1] not in box.run("journalctl")

    before = box.postmaster()
    box.run("kill", "-9", str(before))  # who starts it again is serve: it belongs to that unit from now on
    wait(lambda: box.postmaster() not in (0, before), 30, lambda: box.run("journalctl", "-u", unit))
    main = box.run("systemctl", "show", "-p", "MainPID", "--value", unit).strip()
    box.run("kill", "-9", main)
    wait(lambda: box.run("systemctl", "show", "-p", "MainPID", "--value", unit).strip() not in ("0", main), 30)
    wait(box.serves, 30)
    box.run("systemctl", "reload", unit)
    running = box.postmaster()
    box.run("systemctl", "restart", unit)
    wait(box.serves, 30)
    assert box.postmaster() == running != 0, "a new loop ends no server"

    first = box.first()
    box.run("systemctl", "reboot")
    wait(lambda: box.first() not in (0, first) and box.up(), 90, box.log.read_text)
    wait(box.serves, 60, lambda: box.run("journalctl", "-u", unit))
    newest, before_that = (box.run("sh", "-c", f"cat $(ls -t {HOME}/instances/*/pg/log/postgresql-*.log | sed -n {n}p)") for n in (1, 2))
    assert "received fast shutdown request" in before_that
    assert "database system was shut down at" in newest and "was interrupted" not in newest, "no recovery: it was ended in good order"
    running = box.postmaster()
    box.howdah("service", "remove")
    assert "howdah" not in box.run("ls", "-R", "/etc/systemd/system")
    assert box.postmaster() == running != 0, "what runs goes on"
