"""Look at this machine for the doctor: programs and their packages, limits, space, ports, the kernel, and each instance without a login.

Nothing is made, changed or started here but a program that is asked for its version; nothing is judged. A fact that cannot be had is
empty, and the judge says so.
"""

from __future__ import annotations

import array
import os
import platform
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from howdah.catalog.parameters import MAJORS
from howdah.core.budget import largest_clients
from howdah.core.doctor import Condition, Doctored, Kernel, Space
from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.core.programs import Program
from howdah.errors import Refusal
from howdah.host import accounts, addresses, aging, bundle, files, installed, postgres, programs, systemd
from howdah.host.accounts import CLEAN_ENVIRONMENT
from howdah.host.keeper import BPF_RET_K, SO_ATTACH_REUSEPORT_CBPF
from howdah.host.local import LocalHost
from howdah.host.watch import POOLER_USER, SERVER_USER
from howdah.phrase import Phrase

PORTS = (5432, 6432)
_VERSION_SECONDS = 5.0
_ANY = Instance("", "", MAJORS[-1], PORTS[0])  # as `create` makes it


def inspect(home: Path, host: LocalHost, instances: Iterable[Instance] = ()) -> Condition:
    """Return what this machine is and has; a few programs are asked at the same time, about 50 ms."""
    facts, root = host.facts(), os.geteuid() == 0
    with ThreadPoolExecutor(8) as at_once:
        said = at_once.submit(_pooler_says)
        python = at_once.submit(_keeper_python)
        majors = postgres.majors()
        servers = dict(zip(majors, at_once.map(_server, majors.values()), strict=True))
        seen = list(at_once.map(lambda want: _instance(host, want, home), instances))
        held = dict(zip(PORTS, at_once.map(lambda port: host.port_holder(("127.0.0.1",), port), PORTS), strict=True))
        pooler_found = _pooler(said.result())
    return Condition(
        now=facts.now,
        home=str(home),
        socket_bytes=_socket_bytes(home),
        root=root,
        sudo=shutil.which("sudo") is not None,
        server_user=accounts.account(SERVER_USER) is not None,
        python=platform.python_version(),
        keeper_python=python.result(),
        servers=servers,
        pooler=pooler_found,
        open_files=facts.nofile,
        clients=largest_clients(_ANY, facts),
        backlog=facts.backlog,
        half_open=_half_open(),
        memory_mib=facts.memory_mib,
        available_mib=_available_mib(),
        space=_space(home),
        kernel=Kernel(os.uname().release, _has_pidfd(), _can_steer()),
        loopback_v6=addresses.has_loopback_v6(),
        ports=held,
        boots=systemd.booted(),
        lingering=systemd.lingering(systemd.here()),
        logout_harms=facts.logout_harms,
        renews=facts.renews,
        authority=bundle.looked(home / "ca" / "ca.crt"),
        instances=tuple(seen),
    )


def _half_open() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/tcp_max_syn_backlog").read_text())
    except (OSError, ValueError):
        return 0


# --- programs and packages ----------------------------------------------------------------------------------------------------------


def _server(bindir: Path) -> Program:
    """Look at an installed PostgreSQL; its version is what it says itself, its path the directory of its programs."""
    return replace(programs.server(bindir), path=str(bindir), version=postgres.server_version(bindir))


def _pooler_says() -> tuple[Path, str] | None:
    path = installed.find_binary()
    return None if path is None else (path, _run([path, "--version"]))


def _pooler(found: tuple[Path, str] | None) -> Program | None:
    if found is None:
        return None
    path, said = found
    version = ".".join(map(str, installed.version_in(said)))
    return replace(programs.pooler_program(path), version=version, systemd="systemd: yes" in said)


def _run(command: list[str | Path], *passed: int) -> str:
    try:
        said = subprocess.run(
            command,
            pass_fds=passed,
            env=CLEAN_ENVIRONMENT,
            cwd="/",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout


def _keeper_python() -> Phrase | str:
    account = accounts.account(POOLER_USER) if os.geteuid() == 0 else None
    try:
        return str(installed.interpreter(account))
    except Refusal as refusal:
        return refusal.message


# --- the machine --------------------------------------------------------------------------------------------------------------------


def _available_mib() -> int:
    found = re.search(r"^MemAvailable:\s+(\d+) kB", files.read(Path("/proc/meminfo")) or "", re.MULTILINE)
    return int(found[1]) // 1024 if found else 0


def _space(home: Path) -> Space:
    """Ask the file system that holds the home, or will hold it."""
    there = next(each for each in (home, *home.parents) if each.exists())
    found = os.statvfs(there)
    room = (found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)
    return Space(*room, read_only=bool(found.f_flag & os.ST_RDONLY))


def _socket_bytes(home: Path) -> int:
    layout = Layout(home, "x" * 8)
    return max(len(bytes(place / ".s.PGSQL.65535")) for place in (layout.socket_dir, layout.lane(99, 9)))


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _can_steer() -> bool:
    """Steer a group of one socket on a port of its own, as the keeper does."""
    program = array.array("B", struct.pack("=HBBI", BPF_RET_K, 0, 0, 0))
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            probe.bind(("127.0.0.1", 0))
            probe.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", 1, program.buffer_info()[0]))
    except OSError:
        return False
    return True


# --- an instance --------------------------------------------------------------------------------------------------------------------


def _instance(host: LocalHost, want: Instance, home: Path) -> Doctored:
    layout = host.layout(want.id)
    apart = layout.data.exists() and layout.data.stat().st_dev != home.stat().st_dev
    return Doctored(want.name, host.quick(want), aging.older(layout, want), _space(layout.data) if apart else None)
