"""Environment variables for a shell; every program that stands on libpq reads them (libpq-envars)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from howdah.connect import Snippet, Target, _libpq, _trial
from howdah.phrase import say

# What an earlier snippet or a profile may have left, and what would then win or break: a service and a host address take precedence over
# PGHOST (libpq-envars), a root certificate makes require into verify-ca, channel binding is refused by the pooler; the others demand what
# these servers do not do (GSSAPI, a client's certificate, TLS without asking first) or look at another list of revoked certificates.
LEFTOVERS = (
    *("PGSERVICE", "PGHOSTADDR", "PGSSLROOTCERT", "PGCHANNELBINDING", "PGREQUIREAUTH", "PGREQUIREPEER", "PGGSSENCMODE"),
    *("PGSSLCERTMODE", "PGSSLNEGOTIATION", "PGSSLCRL", "PGSSLCRLDIR", "PGTARGETSESSIONATTRS"),
)

NAMES = tuple(_libpq.VARIABLES.values())


def variables(target: Target) -> dict[str, str]:
    """Return each variable and its value, unquoted."""
    return {_libpq.VARIABLES[key]: value for key, value in _libpq.keywords(target).items()}


def leftovers(target: Target) -> tuple[str, ...]:
    """Return the variables that must not be there; a password there would win over the passfile's."""
    names = (*LEFTOVERS, "PGPASSWORD") if target.passfile is not None else LEFTOVERS
    return tuple(name for name in names if name not in variables(target))


def lines(wanted: Mapping[str, str], gone: Sequence[str]) -> list[str]:
    """Return the lines for a shell."""
    return [f"unset {' '.join(gone)}", *(f"export {name}={shlex.quote(value)}" for name, value in wanted.items())]


def snippet(target: Target) -> Snippet:
    """Return lines to be read by a shell (`. FILE`)."""
    text = "\n".join(lines(variables(target), leftovers(target))) + "\n"
    place = f"{target.label}.env.sh"
    files = {place: text, _trial.name(target): _trial.program(target, f". ./{place} && psql")}
    notes = (*_libpq.notes(target), _trial.note(target))
    return Snippet("env", say("environment variables"), "sh", text, place, _trial.NEEDS, notes, files)
