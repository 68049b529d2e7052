"""This machine's addresses and ports, asked of the kernel; nothing is resolved over a network."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from howdah.errors import Unsupported
from howdah.host.keeper import listening
from howdah.phrase import say

WILDCARDS = {4: "0.0.0.0", 6: "::"}
_SOCKET_PATH_LIMIT = 107


def socket_path(directory: Path, port: int) -> Path:
    """Return the socket of that port in a directory; refuse a path beyond 107 bytes, which would silently be cut off."""
    path = directory / f".s.PGSQL.{port}"
    if len(os.fsencode(path)) > _SOCKET_PATH_LIMIT:
        raise Unsupported(
            "socket_path_too_long",
            say("cannot use the socket {path}: it is longer than {limit} bytes", path=path, limit=_SOCKET_PATH_LIMIT),
            say("choose a shorter state directory"),
        )
    return path


def has_loopback_v6() -> bool:
    """Tell whether ::1 is there to listen on."""
    return _bind("::1", 0) is None


def hostname() -> str:
    """Return this machine's own name, empty where it is none that a certificate can bear."""
    name = socket.gethostname().lower()
    return name if re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name) else ""


def of_this_machine() -> tuple[str, ...]:
    """Return the addresses of this machine's interfaces, loopback and link-local left out."""
    found: set[ipaddress.IPv4Address | ipaddress.IPv6Address] = {*_v4(), *_v6()}
    plain = [each for each in found if not (each.is_loopback or each.is_link_local or each.is_multicast)]
    return tuple(str(each) for each in sorted(plain, key=lambda each: (each.version, int(each))))


def _v4() -> list[ipaddress.IPv4Address]:
    """Read the kernel's routing tree: each local address is a /32 leaf marked LOCAL (net/ipv4/fib_trie.c)."""
    try:
        text = Path("/proc/net/fib_trie").read_text("ascii")
    except OSError:
        return []
    return [ipaddress.IPv4Address(address) for address in re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", text)]


def _v6() -> list[ipaddress.IPv6Address]:
    try:
        lines = Path("/proc/net/if_inet6").read_text("ascii").splitlines()
    except OSError:
        return []
    return [ipaddress.IPv6Address(int(line.split()[0], 16)) for line in lines]


def fault(address: str) -> str | None:
    """Return why nothing can listen on an address, or None."""
    reason = _bind(address, 0)
    return os.strerror(reason.errno or 0) if reason is not None else None


def port_holder(listen: Sequence[str], port: int) -> str | None:
    """Return None where a plain bind succeeds on each address and on the wildcard, else who holds the port, or why it cannot be had."""
    versions = {ipaddress.ip_address(address).version for address in listen}
    for address in (*listen, *(WILDCARDS[version] for version in sorted(versions))):
        reason = _bind(address, port)
        if reason is not None:
            return _named(reason, address, port)
    return None


def _bind(address: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # what a server that was just stopped left in TIME_WAIT is no holder; a listener still is
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        return error
    return None


def _named(reason: OSError, address: str, port: int) -> str:
    if reason.errno != errno.EADDRINUSE:
        return f"{address}: {os.strerror(reason.errno or 0)}"
    inode = _listener(port)
    return _process_of(inode) if inode else "another process"


def _listener(port: int) -> int | None:
    return next((inode for _, number, inode in _listeners() if number == port), None)


def _listeners() -> Iterator[tuple[str, int, int]]:
    """Yield address, port and inode of every listening TCP socket."""
    for family in (socket.AF_INET, socket.AF_INET6):
        yield from listening(family)


def listened(pid: int) -> frozenset[tuple[str, int]]:
    """Return every address and port that a process listens on itself; none when it is gone or not ours to ask."""
    inodes = set()
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                inodes.add(os.readlink(entry))  # noqa: PTH115 the text is no path
    return frozenset((address, port) for address, port, inode in _listeners() if f"socket:[{inode}]" in inodes)


def _process_of(inode: int) -> str:
    """Name the process that has this socket, as far as we may look."""
    for directory in Path("/proc").glob("[0-9]*/fd"):
        try:
            if any(os.readlink(entry) == f"socket:[{inode}]" for entry in directory.iterdir()):  # noqa: PTH115
                pid = directory.parent.name
                return f"{Path(f'/proc/{pid}/comm').read_text().strip()} (pid {pid})"
        except OSError:
            continue
    return "another process"
