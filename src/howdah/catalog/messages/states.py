"""What a SQLSTATE may mean, as the ids of messages, the likelier first: for words that are not known, such as those of another language.

Codes of the manual's appendix A; one that an application's own statements bring about is not in here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

MEANS: Final[Mapping[str, Sequence[str]]] = {
    "28P01": ("wrong-password",),
    "28000": ("plaintext", "network", "no-login"),
    "3D000": ("no-database",),
    "53300": ("too-many", "too-many-of-role", "too-many-of-database"),
    "53100": ("log-no-room",),
    "57P01": ("ended",),
    "57P02": ("crash-of-another",),
    "57P03": ("shutting-down",),
    "57P05": ("idle-session",),
    "57014": ("cancelled", "statement-timeout"),
    "25P03": ("idle-in-transaction",),
    "55P03": ("lock-timeout",),
    "55P02": ("needs-restart",),
    "26000": ("prepared",),
    "42P05": ("prepared-twice",),
    "34000": ("no-cursor",),
    "08006": ("libpq-broken",),
    "08001": ("libpq-refused",),
}
