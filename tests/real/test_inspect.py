"""What the doctor sees of this machine, beside what its own programs say; one server runs from a program that an update removed."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from howdah.core.doctor import Condition, judge
from howdah.host import postgres
from howdah.host.inspect import inspect
from howdah.host.local import LocalHost

from .servers import new_home, new_seat, running, wish, write


def look(home: Path, *instances: object) -> Condition:
    return inspect(home, LocalHost(home, lambda _: None), instances)  # type: ignore[arg-type]


def test_programs_tell_their_versions() -> None:
    home = new_home()
    found = look(home)
    bindirs = postgres.majors()
    assert set(found.servers) == set(bindirs)
    for major, program in found.servers.items():
        said = subprocess.run([bindirs[major] / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
        assert program.version in said
        assert program.number[0] == major
    assert found.pooler is not None
    said = subprocess.run([found.pooler.path, "--version"], capture_output=True, text=True, check=True).stdout
    assert found.pooler.version in said
    assert found.pooler.openssl is not None
    assert f"tls: OpenSSL {found.pooler.openssl.version} " in said
    assert found.pooler.systemd == ("systemd: yes" in said)
    assert not list(home.iterdir()), "a look makes nothing"


def test_packages_are_known_where_dpkg_knows_them() -> None:
    found = look(new_home())
    assert found.pooler is not None
    if not found.pooler.package:
        assert not found.pooler.package_version
        return
    told = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "pgbouncer"], capture_output=True, text=True, check=True).stdout
    assert found.pooler.package_version == told
    if told.startswith("1.18.0-1+deb12"):
        assert "CVE-2025-2291" not in {each.id for each in judge(found)}


def test_the_machine_is_seen() -> None:
    home = new_home()
    found = look(home / "not" / "yet")
    assert found.root == (os.geteuid() == 0)
    assert found.kernel.release == platform.release()
    assert found.kernel.pidfd
    assert 0 < found.available_mib <= found.memory_mib
    assert 0 < found.space.free <= found.space.total
    assert found.space.total == shutil.disk_usage(home).total
    assert found.open_files > 0
    assert found.socket_bytes > len(str(home))
    assert set(found.ports) == {5432, 6432}
    assert isinstance(found.keeper_python, str)


@pytest.mark.alone
def test_the_holder_of_a_port_is_named() -> None:
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind(("127.0.0.1", 6432))
        except OSError:
            assert look(new_home()).ports[6432] is not None, "somebody else holds it"
            return
        held.listen()
        assert f"pid {os.getpid()}" in (look(new_home()).ports[6432] or "")


def test_a_server_whose_program_was_replaced_is_told() -> None:
    # A program of its own: the server's copy is taken away while it runs, as an update does.
    seat = new_seat(new_home())
    copy = seat.layout.home / "pg"
    shutil.copytree(seat.bindir, copy / "bin")
    (copy / "lib").symlink_to(seat.bindir.parent / "lib")
    (copy / "share").symlink_to(f"/usr/share/postgresql/{seat.bindir.parent.name}")
    own = replace(seat, bindir=copy / "bin")
    seat.layout.root.parent.mkdir(mode=0o711)
    seat.layout.root.mkdir(mode=0o711)
    postgres.initialise(seat)
    write(seat)
    with running(own):
        want = wish(seat)
        [before] = look(seat.layout.home, want).instances
        assert before.quick.alive
        assert before.older == ()
        (copy / "bin" / "postgres").unlink()
        [after] = look(seat.layout.home, want).instances
        [older] = after.older
        assert older.files == ("postgres",)
        assert older.running == older.installed == postgres.server_version(seat.bindir)
        findings = {each.id: each for each in judge(look(seat.layout.home, want))}
        assert findings["shop-postgresql-older"].result == "warn"
