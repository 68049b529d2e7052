"""Process care on real processes: detached, clean, known by identity, ended within a limit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from howdah.errors import Failed, Unavailable, Unsupported
from howdah.host import accounts, process
from howdah.host.process import Process

STUBBORN = "trap '' TERM; echo up; while :; do sleep 1 & wait $!; done"


@pytest.fixture
def started() -> Iterator[list[Process]]:
    """Collect what a test starts; all of it is killed at the end."""
    every: list[Process] = []
    yield every
    for each in every:
        process.send(each, signal.SIGKILL)
        process.wait_gone(each, 5)


def ended_text(script: str, path: Path, **options: object) -> str:
    """Run a shell script detached and return what it wrote."""
    found = process.spawn(["/bin/sh", "-c", script], stdout=path, stderr=path, **options)  # type: ignore[arg-type]
    assert process.wait_gone(found, 10)
    return path.read_text()


def test_a_child_has_its_own_session_and_nothing_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "secret")
    read, write = os.pipe()
    os.set_inheritable(write, True)
    script = "env; echo --; ls /proc/$$/fd; echo --; umask; cut -d' ' -f6 /proc/$$/stat; echo $$; pwd"
    text = ended_text(script, tmp_path / "out", cwd=tmp_path)
    os.close(read)
    os.close(write)
    environment, descriptors, rest = (part.split("\n") for part in text.strip().split("\n--\n"))
    umask, session, pid, where = rest
    assert not [line for line in environment if line.startswith("PG")]
    assert descriptors == ["0", "1", "2"]
    assert int(umask, 8) == 0o077
    assert session == pid
    assert where == str(tmp_path)


def test_logs_are_appended_to_and_never_followed_through_a_link(tmp_path: Path) -> None:
    log = tmp_path / "log"
    ended_text("echo one", log)
    assert ended_text("echo two", log) == "one\ntwo\n"
    assert log.stat().st_mode & 0o777 == 0o600
    (tmp_path / "target").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        ended_text("echo three", tmp_path / "link")
    os.link(tmp_path / "target", tmp_path / "second")
    with pytest.raises(Failed, match="not a file of its own"):
        ended_text("echo four", tmp_path / "second")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of others")
def test_root_starts_it_as_another_account_for_good(tmp_path: Path) -> None:
    nobody = accounts.account("nobody")
    assert nobody is not None
    log = tmp_path / "log"
    text = ended_text("cat /proc/self/status", log, account=nobody)
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == [str(nobody.uid)] * 4
    assert fields["Gid"].split() == [str(nobody.gid)] * 4
    assert fields["Groups"].strip() == ""
    assert log.stat().st_uid == nobody.uid


@pytest.mark.skipif(os.geteuid() == 0, reason="root may")
def test_an_ordinary_user_cannot_start_it_as_another() -> None:
    root = accounts.account("root")
    with pytest.raises(Unsupported, match="only root"):
        process.spawn(["/bin/true"], account=root)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Unavailable, match=r"/nowhere/pgbouncer: No such file"):
        process.spawn(["/nowhere/pgbouncer"])


def test_a_zombie_is_dead_and_a_recycled_pid_is_another(started: list[Process]) -> None:
    child = process.spawn(["/bin/sleep", "60"])
    started.append(child)
    assert process.alive(child)
    assert process.identify(child.pid) == child
    assert process.cmdline(child.pid) == ("/bin/sleep", "60")
    assert process.cwd(child.pid) == Path("/")
    assert not process.alive(replace(child, started=child.started - 1))
    assert not process.send(replace(child, started=child.started - 1), signal.SIGKILL)
    os.kill(child.pid, signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # ended, and left in the table
    os.kill(child.pid, 0)
    assert process.identify(child.pid) is None
    assert process.wait_gone(child, 5)
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


def test_waits_are_bounded(started: list[Process]) -> None:
    child = process.spawn(["/bin/sleep", "60"])
    started.append(child)
    assert not process.wait_end(child, 0.01)
    assert not process.wait_gone(child, 0.01)
    assert not process.wait_until(lambda: False, 0.01)


def test_stop_is_gentle_then_sure(tmp_path: Path, started: list[Process]) -> None:
    gentle = process.spawn(["/bin/sleep", "60"])
    assert process.stop(gentle, signal.SIGTERM, 5)
    assert process.stop(gentle, signal.SIGTERM, 5)  # again: it has ended
    stubborn = process.spawn(["/bin/sh", "-c", STUBBORN], cwd=tmp_path, stdout=tmp_path / "out")
    started.append(stubborn)
    assert process.wait_until(lambda: (tmp_path / "out").read_text() == "up\n", 5)
    assert stubborn in process.in_directory(tmp_path)
    assert not process.stop(stubborn, signal.SIGTERM, 0.05)
    assert not process.alive(stubborn)
    for each in process.in_directory(tmp_path):  # the sleep that it was waiting for
        process.stop(each, signal.SIGKILL, 5)


def test_output_is_not_held_open() -> None:
    script = "from howdah.host import process; print(process.spawn(['/bin/sleep', '60']).pid)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stderr == ""
    found = process.identify(int(done.stdout))
    assert found is not None
    assert process.stop(found, signal.SIGTERM, 5)


def test_the_limit_of_files_is_inherited(started: list[Process]) -> None:
    hard = process.allow_files(64)
    assert hard >= 64
    child = process.spawn(["/bin/sleep", "60"])
    started.append(child)
    assert process.file_limit(child.pid) == process.file_limit(os.getpid())


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert process.tail(log) == ()
    log.write_text("".join(f"{n}\n" for n in range(100)))
    assert process.tail(log, 2) == ("98", "99")


def test_an_account_that_is_there_is_not_made() -> None:
    mine = accounts.current_account()
    assert accounts.account(mine.name) is None or accounts.ensure_account(mine.name) == accounts.account(mine.name)
    assert accounts.account("no-such-user-here") is None
    if os.geteuid() != 0:
        with pytest.raises(Unsupported, match="only root"):
            accounts.ensure_account("no-such-user-here")
