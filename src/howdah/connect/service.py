"""A section of pg_service.conf, and the passfile's line where Howdah does not keep one.

The file has no quoting: after `key=` libpq takes the line as it is, but for blanks at its end, and refuses a line that does not fit into
its 1024 bytes (parseServiceFile in fe-connect.c, 14 and newer). What such a line cannot carry is refused here.
"""

from __future__ import annotations

from howdah.connect import Snippet, Target, _libpq, _trial
from howdah.core.instance import shown
from howdah.errors import Unsupported
from howdah.phrase import say
from howdah.secret import Secret

LONGEST_LINE = 1021  # bytes, without the newline: libpq 15 takes this and refuses one more


def snippet(target: Target) -> Snippet:
    """Return the section, named by instance and hop."""
    lines = [f"[{target.label}]", *(_line(key, value) for key, value in _libpq.keywords(target).items())]
    text = "\n".join(lines) + "\n"
    opened = f"PGSERVICEFILE=./pg_service.conf psql service={target.label}"
    files = {"pg_service.conf": text, _trial.name(target): _trial.program(target, opened)}
    if target.passfile is None:
        files["pgpass"] = _libpq.passfile_line(target, Secret("PASSWORD")).reveal() + "\n"
    place = say("add it to ~/.pg_service.conf, or the file that PGSERVICEFILE names; then: psql service={service}", service=target.label)
    title = say("service file pg_service.conf, with passfile")
    notes = (place, *_libpq.notes(target), _trial.note(target))
    return Snippet("service", title, "ini", text, "pg_service.conf", _trial.NEEDS, notes, files)


def _line(key: str, value: str) -> str:
    line = f"{key}={value}"
    if value.endswith(" ") or len(line.encode()) > LONGEST_LINE:
        hint = say("use another client, such as uri: this file has no quoting and lines of at most {limit} bytes", limit=LONGEST_LINE)
        raise Unsupported("unwritable_value", say("cannot write {key}={value} into pg_service.conf", key=key, value=shown(value)), hint)
    return line
