"""A PostgreSQL of a test's own: seated below the session's root, with files small enough to read, started and ended by pid."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from howdah.core.instance import Instance
from howdah.core.layout import Layout
from howdah.host import accounts, files, installed, postgres, process
from howdah.host.installed import Binary
from howdah.host.postgres import Seat

HBA = "local all postgres peer map=howdah\nlocal all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
PORTS = range(20_000, 32_000)  # below /proc/sys/net/ipv4/ip_local_port_range
_ASKED = itertools.count(secrets.randbelow(len(PORTS)))  # other sessions on this machine begin elsewhere


def server_account() -> accounts.Account | None:
    """Return the account that servers run under here: root may not run PostgreSQL."""
    return accounts.account("postgres") if os.geteuid() == 0 else None


def free_port() -> int:
    """Return a port that was free a moment ago: of those that the kernel gives to no client, and to no other worker, each once."""
    share = len(PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = share * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for asked in itertools.islice(_ASKED, share):
        port = PORTS[own + asked % share]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("", port))
            return port
    raise AssertionError(f"no port of {PORTS} is free")


def poolers() -> tuple[Binary, ...]:
    """Return the PgBouncers to try, one of each version, oldest first: the one of HOWDAH_PGBOUNCER alone, else the system's, those that
    HOWDAH_TEST_POOLERS names, and those that lie in /opt.
    """
    if named := os.environ.get("HOWDAH_PGBOUNCER"):
        return (installed.binary(Path(named)),)
    system = installed.find_binary()
    named_too = [Path(each) for each in os.environ.get("HOWDAH_TEST_POOLERS", "").split(":") if each]
    found = [*sorted(Path("/opt").glob("pgbouncer-*/bin/pgbouncer")), *named_too, *([system] if system is not None else [])]
    by_version = {each.version: each for each in map(installed.binary, found)}
    return tuple(by_version[version] for version in sorted(by_version))


def version_of(program: Binary) -> str:
    """Return a PgBouncer's version as people write it, for the names of tests."""
    return ".".join(map(str, program.version))


def new_home() -> Path:
    """Make a home that the server's user may pass through."""
    home = Path(tempfile.mkdtemp(prefix="h"))
    home.chmod(0o711)
    return home


def new_seat(home: Path, name: str = "a") -> Seat:
    """Return a seat for the newest PostgreSQL here; nothing is made yet."""
    bindir = list(postgres.majors().values())[-1]
    return Seat(Layout(home, name), bindir, free_port(), server_account())


def texts(seat: Seat, digest: str, extra: str = "", hba: str = HBA) -> dict[str, str]:
    """Return the server's files by name."""
    layout = seat.layout
    conf = f"""listen_addresses = '127.0.0.1'
port = {seat.port}
unix_socket_directories = '"{layout.socket_dir}"'
shared_buffers = 16MB
logging_collector = on
log_directory = '{layout.log}'
lc_messages = 'C'
{extra}
howdah.digest = '{digest}'
"""
    own, server = accounts.current_account().name, seat.account.name if seat.account else accounts.current_account().name
    ident = "".join(f'howdah "{name}" postgres\n' for name in {own, server})
    return {"postgresql.conf": conf, "pg_hba.conf": hba, "pg_ident.conf": ident}


def write(seat: Seat, digest: str = "first", extra: str = "", hba: str = HBA) -> None:
    """Put the server's files in place."""
    for name, text in texts(seat, digest, extra, hba).items():
        files.put(seat.layout.data / name, text, 0o600, seat.account)


@contextmanager
def running(seat: Seat) -> Iterator[process.Process]:
    """Run the seat's server for a while; its directory and files must be there."""
    try:
        yield postgres.start(seat, 30)
    finally:
        postgres.stop(seat, 20)


def wish(seat: Seat, **fields: object) -> Instance:
    """Return an instance at this seat."""
    major = int(postgres.server_version(seat.bindir).split(".")[0])
    return Instance(seat.layout.id, "shop", major, seat.port).next(**fields)
