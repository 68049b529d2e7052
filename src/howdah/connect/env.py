"""Environment variables for a shell; every program that stands on libpq reads them (libpq-envars)."""

from __future__ import annotations

import shlex

from howdah.connect import Snippet, Target, _libpq
from howdah.phrase import say

# What an earlier snippet or a profile may have left, and what would then win or break: a service and a host address take precedence over
# PGHOST (libpq-envars), a root certificate makes require into verify-ca, channel binding is refused by the pooler.
LEFTOVERS = ("PGSERVICE", "PGHOSTADDR", "PGSSLROOTCERT", "PGCHANNELBINDING")


def snippet(target: Target) -> Snippet:
    """Return lines to be read by a shell (`. FILE`)."""
    wanted = {_libpq.VARIABLES[key]: value for key, value in _libpq.keywords(target).items()}
    unset = "unset " + " ".join(name for name in LEFTOVERS if name not in wanted)
    lines = [unset, *(f"export {name}={shlex.quote(value)}" for name, value in wanted.items())]
    text = "\n".join(lines) + "\n"
    return Snippet("env", say("environment variables"), "sh", text, f"{target.label}.env.sh", notes=_libpq.notes(target))
