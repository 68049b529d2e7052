"""Look at this machine for the doctor: programs and their packages, limits, space, ports, the kernel, and each instance without a login.

Nothing is made, changed or started here but a program that is asked for its version; nothing is judged. A fact that cannot be had is
empty, and the judge says so.
"""

from __future__ import annotations

import array
import os
import platform
import pwd
import re
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from howdah.core.doctor import Condition, Doctored, Kernel, Space
from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.core.programs import Program
from howdah.errors import Refusal
from howdah.host import addresses, files, installed, pgbouncer, pooler, postgres, process, programs
from howdah.host.keeper import BPF_RET_K, SO_ATTACH_REUSEPORT_CBPF
from howdah.host.local import POOLER_USER, SERVER_USER, LocalHost
from howdah.host.postgres import Seat
from howdah.host.process import CLEAN_ENVIRONMENT, Process
from howdah.phrase import Phrase

PORTS = (5432, 6432)
_VERSION_SECONDS = 5.0


def inspect(home: Path, host: LocalHost, instances: Iterable[Instance] = ()) -> Condition:
    """Return what this machine is and has; a few programs are asked at the same time, about 50 ms."""
    facts, root = host.facts(), os.geteuid() == 0
    with ThreadPoolExecutor(8) as at_once:
        said = at_once.submit(_pooler_says)
        python = at_once.submit(_keeper_python)
        majors = postgres.majors()
        servers = dict(zip(majors, at_once.map(_server, majors.values()), strict=True))
        seen = list(at_once.map(lambda want: _instance(host, want, majors.get(want.version)), instances))
        held = dict(zip(PORTS, at_once.map(lambda port: host.port_holder(("127.0.0.1",), port), PORTS), strict=True))
        pooler_found = _pooler(said.result())
    return Condition(
        now=facts.now,
        home=str(home),
        socket_bytes=_socket_bytes(home),
        root=root,
        sudo=shutil.which("sudo") is not None,
        server_user=process.account(SERVER_USER) is not None,
        python=platform.python_version(),
        keeper_python=python.result(),
        servers=servers,
        pooler=pooler_found,
        open_files=facts.nofile,
        memory_mib=facts.memory_mib,
        available_mib=_available_mib(),
        space=_space(home),
        kernel=Kernel(os.uname().release, _has_pidfd(), _can_steer()),
        loopback_v6=addresses.has_loopback_v6(),
        ports=held,
        lingering=_lingering(root),
        renews=facts.renews,
        instances=tuple(seen),
    )


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
    account = process.account(POOLER_USER) if os.geteuid() == 0 else None
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
    return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize, found.f_favail, found.f_files)


def _socket_bytes(home: Path) -> int:
    layout = Layout(home, "x" * 8)
    return max(len(bytes(place / ".s.PGSQL.65535")) for place in (layout.socket_dir, layout.generation(99)))


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


def _lingering(root: bool) -> bool | None:
    """Tell whether this user's servers outlive its last session; None where systemd does not care (logind.conf, RemoveIPC)."""
    if root or not Path("/run/systemd/system").exists() or not _removes_ipc():
        return None
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None
    return Path("/var/lib/systemd/linger", name).exists()


def _removes_ipc() -> bool:
    places = ("/etc/systemd/logind.conf", *sorted(map(str, Path("/etc/systemd/logind.conf.d").glob("*.conf"))))
    said = [each for place in places for each in re.findall(r"^RemoveIPC=(\w+)", files.read(Path(place)) or "", re.MULTILINE)]
    return not said or said[-1].lower() not in ("no", "false", "off", "0")


# --- an instance --------------------------------------------------------------------------------------------------------------------


def _instance(host: LocalHost, want: Instance, bindir: Path | None) -> Doctored:
    layout = host.layout(want.id)
    server = postgres.postmaster(Seat(layout, bindir or Path("/nonexistent"), want.port))
    numbers = pooler.numbers(layout)
    member = pgbouncer.quick_look(layout.generation(numbers[-1])).member if numbers else None
    server_versions = _versions(server, bindir / "postgres" if bindir else None)
    pooler_versions = _versions(member, installed.find_binary())
    gone = {name for found in (server, member) if found is not None for name in _replaced(found)}
    return Doctored(want.name, host.quick(want), *server_versions, *pooler_versions, tuple(sorted(gone)))


def _versions(running: Process | None, program: Path | None) -> tuple[str, str]:
    """Return the version that runs and the one that is installed; both empty when nothing runs or it cannot be told."""
    if running is None or program is None:
        return "", ""
    try:
        descriptor = os.open(f"/proc/{running.pid}/exe", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return "", ""
    try:
        seen = os.fstat(descriptor)
        # A server's user may be hostile to root: what it could have written is not executed.
        if seen.st_uid not in (0, os.geteuid()) or seen.st_mode & 0o022:
            return "", ""
        if os.path.samestat(seen, program.stat()):
            return "", ""  # the very program that is installed
        told = _version_in(_run([f"/proc/self/fd/{descriptor}", "--version"], descriptor))
        return told, _version_in(_run([program, "--version"]))
    except OSError:
        return "", ""
    finally:
        os.close(descriptor)


def _version_in(said: str) -> str:
    found = re.search(r"(?:\(PostgreSQL\)|PgBouncer) (\d+[\w.]*)", said)
    return found[1] if found else ""


def _replaced(found: Process) -> list[str]:
    """Return the program and libraries that a process has in use and that are no longer on disk."""
    text = files.read(Path(f"/proc/{found.pid}/maps"), 2**20) or ""
    gone = {line.split(maxsplit=5)[5].removesuffix(" (deleted)") for line in text.splitlines() if line.endswith(" (deleted)")}
    return sorted(Path(each).name for each in gone if re.search(r"\.so(\.|$)|/(postgres|pgbouncer)$", each))
