"""The lease between real processes: one holder, a prompt successor, and nothing left of one that was killed."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from howdah.errors import Conflict, Unavailable
from howdah.store.lease import holder_of, lease, lock_path, remove_lock

_HOLDER = """
import subprocess, sys
from pathlib import Path
from howdah.store.lease import lease
with lease(Path(sys.argv[1]), "shop", "howdah params set shop ssl=on", 10):
    child = subprocess.Popen(["sleep", "30"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, close_fds=False)
    print(child.pid, flush=True)
    sys.stdin.readline()
child.kill(); child.wait()
"""


def held(home: Path) -> tuple[subprocess.Popen[str], int]:
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    return holder, int(holder.stdout.readline())


def ended(holder: subprocess.Popen[str]) -> None:
    holder.communicate("\n", timeout=30)


def test_the_second_waits_and_is_told_for_whom(tmp_path: Path) -> None:
    holder, _ = held(tmp_path)
    told: list[str] = []
    threading.Timer(0.2, ended, (holder,)).start()
    with lease(tmp_path, "shop", "second", 30, told.append):
        assert holder_of(tmp_path, "shop") == f"second, pid {os.getpid()}"
    assert told == [f"howdah params set shop ssl=on, pid {holder.pid}"]
    assert holder_of(tmp_path, "shop") is None
    holder.wait(30)


def test_waiting_ends_with_a_conflict_that_names_the_holder(tmp_path: Path) -> None:
    holder, _ = held(tmp_path)
    began = time.monotonic()
    with pytest.raises(Conflict) as busy, lease(tmp_path, "shop", "second", 0.1):
        pass
    assert time.monotonic() - began >= 0.1
    assert busy.value.code == "busy" and f"ssl=on, pid {holder.pid}" in str(busy.value)
    with lease(tmp_path, "other", "second", 0), lease(tmp_path, "create", "second", 0):
        pass
    ended(holder)


def test_it_dies_with_its_holder_though_a_child_lives_on(tmp_path: Path) -> None:
    holder, child = held(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait(10)
    try:
        os.kill(child, 0)
        with lease(tmp_path, "shop", "second", 5):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
    assert holder.stdin and holder.stdout
    holder.stdin.close()
    holder.stdout.close()


def test_an_error_within_lets_go(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lease(tmp_path, "shop", "first", 1):
        raise KeyError
    with lease(tmp_path, "shop", "second", 0):
        pass


def test_one_at_a_time_though_the_file_is_removed_between(tmp_path: Path) -> None:
    inside: list[int] = []
    worst: list[int] = []

    def work() -> None:
        for _ in range(20):
            with lease(tmp_path, "shop", "worker", 30):
                inside.append(1)
                worst.append(len(inside))
                time.sleep(0.0005)
                inside.pop()
                remove_lock(tmp_path, "shop")

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert len(worst) == 80 and max(worst) == 1
    assert not lock_path(tmp_path, "shop").exists()


def test_the_file_is_private_and_says_one_line(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with lease(tmp_path, "shop", "two\nlines" + "x" * 999, 1):
            path = lock_path(tmp_path, "shop")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            assert len(path.read_text()) < 400 and "\n" not in path.read_text()
    finally:
        os.umask(before)
    assert path.read_text() == ""


def test_a_place_that_cannot_be_locked_is_named(tmp_path: Path) -> None:
    (tmp_path / "locks").write_text("")
    with pytest.raises(Unavailable, match="cannot lock"), lease(tmp_path, "shop", "me", 1):
        pass
