"""Look at an instance's files: which lie there, with which owner, mode and content, and which certificates hold."""

from __future__ import annotations

import hashlib
import pwd
import stat
from pathlib import Path
from typing import Final

from howdah.core.instance import HOPS
from howdah.core.layout import Layout
from howdah.core.observed import Disk, FileSeen
from howdah.host import bundle, files, pki, postgres, trash

_SERVER_FILES: Final = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postgresql.auto.conf")


def look(layout: Layout) -> Disk:
    """Return what lies on disk."""
    found = {name: seen for name in _SERVER_FILES if (seen := seen_file(layout.data / name)) is not None}
    pairs = {hop: pki.pairs(layout.tls(hop), hop, layout.ca_file) for hop in HOPS}
    data = postgres.data_ready(layout.data)
    trashed = not data and trash.place(layout.home, layout.id) is not None
    return Disk(
        "ready" if data else "absent", layout.root.exists(), layout.pool.exists(), found, pairs, trashed, bundle.looked(layout.ca_file)
    )


def seen_file(path: Path) -> FileSeen | None:
    """Return a file as it lies there, or None."""
    try:
        found, text = path.lstat(), files.read(path)
    except OSError:
        return None
    if text is None or not stat.S_ISREG(found.st_mode):
        return None
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return FileSeen(digest, stat.S_IMODE(found.st_mode), owner_name(found.st_uid), found.st_ctime)


def owner_name(uid: int) -> str:
    """Return a user's name, or the number of one without a name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
