"""The console's certificate: by Howdah's own authority, for every name and address by which this machine is reached."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path

from howdah.certificate import LONGEST_DAYS
from howdah.core.endpoint import LOCAL_NAMES
from howdah.host import addresses, pki


def pair(home: Path, host: str) -> tuple[Path, Path]:
    """Return certificate and key, newly issued where there is none, a name is missing, or less than a third of its life is left."""
    directory = home / "console"
    every = ipaddress.ip_address(host).is_unspecified
    names = LOCAL_NAMES | ({*addresses.of_this_machine(), addresses.hostname()} - {""} if every else {host})
    now = time.time()
    found = next((each for each in pki.pairs(directory, "console", home / "ca" / "ca.crt") if each.trusted), None)
    if (
        found is None
        or not names <= found.names
        or not found.not_before <= now <= found.not_after - (found.not_after - found.not_before) / 3
    ):
        found = pki.issue(home, directory, "console", sorted(names), LONGEST_DAYS - 1.0)
    return directory / f"console.{found.serial}.crt", directory / f"console.{found.serial}.key"
