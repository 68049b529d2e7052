"""Where a client reaches an instance: one endpoint for each hop, and the names that its certificate must bear."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Final

from howdah.core.instance import HOPS, Hop, Instance, Reach
from howdah.core.observed import Facts

LOCAL_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""What every certificate bears: names by which a client on this machine comes."""


@dataclass(frozen=True)
class Endpoint:
    """One place to connect to; `host` is one that a client on this machine can reach."""

    kind: Hop
    host: str
    port: int
    tls: bool
    addresses: tuple[str, ...]
    hostnames: tuple[str, ...] = ()


def endpoints(want: Instance) -> tuple[Endpoint, ...]:
    """Return the endpoints of an instance, direct first."""
    return tuple(_endpoint(want, hop, port) for hop in HOPS if (port := want.hop_port(hop)) is not None)


def _endpoint(want: Instance, hop: Hop, port: int) -> Endpoint:
    reach = want.reach(hop)
    return Endpoint(hop, _host(reach), port, want.tls, reach.listen, reach.hostnames)


def _host(reach: Reach) -> str:
    """Return the loopback address where it is listened on, else the first address."""
    if "127.0.0.1" in reach.listen or "0.0.0.0" in reach.listen:
        return "127.0.0.1"
    return "::1" if "::1" in reach.listen or "::" in reach.listen else reach.listen[0]


def certificate_names(want: Instance, hop: Hop, facts: Facts) -> frozenset[str]:
    """Return every name and address under which `hop` is advertised; a wildcard stands for all addresses of this machine."""
    reach = want.reach(hop)
    every = any(ipaddress.ip_address(address).is_unspecified for address in reach.listen)
    addresses = {address for address in reach.listen if not ipaddress.ip_address(address).is_unspecified}
    machine = {*facts.addresses, facts.hostname} - {""} if every else set()
    return LOCAL_NAMES | addresses | {*reach.hostnames} | machine
