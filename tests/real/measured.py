"""What was measured of each client: tests/real/clients.json, held against every new measurement, and written by HOWDAH_MEASURED=write."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("clients.json")


def read() -> dict[str, dict[str, Any]]:
    """Return everything measured, by client."""
    found: dict[str, dict[str, Any]] = json.loads(FILE.read_text())
    return found


def check(client: str, kind: str, found: Mapping[str, str], version: str) -> None:
    """Compare with what was measured before, or write it down."""
    if os.environ.get("HOWDAH_MEASURED") == "write":
        _write(client, kind, found, version)
    assert read()[client][kind] == dict(found), f"{client}: HOWDAH_MEASURED=write writes what is now, then tools/reference.py"


def _write(client: str, kind: str, found: Mapping[str, str], version: str) -> None:
    with FILE.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        everything = json.loads(file.read() or "{}")
        everything[client] = {**everything.get(client, {}), "by": version, kind: dict(found)}
        file.seek(0)
        file.truncate()
        file.write(json.dumps(everything, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
