"""Let PostgreSQL itself judge a configuration before it is put in place: a start that is meant to end before it reads any data.

A scratch directory beside the data directory holds a copy of `global/pg_control` and no `pg_wal`. So the postmaster does all that it
does at a start (every value and combination, preloaded libraries, certificate and key, shared memory, pg_hba.conf, pg_ident.conf) and
then stops with 'required WAL directory "pg_wal" does not exist'. Reaching these words is the proof. `postgres --check` sees values
and shared memory only, and 13 and 14 do not know it; this is the same on 13 to 18, and takes about 30 ms. No port is opened.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path

from howdah.core.host import Refused
from howdah.errors import Failed
from howdah.host import files, serverlog
from howdah.host.accounts import Account
from howdah.host.postgres import Seat, run_as
from howdah.phrase import say

CONFIGURATION = "postgresql.conf"
_REACHED = 'required WAL directory "pg_wal" does not exist'
_TORN = "incorrect checksum in control file"
# A start without one entry stops: "configuration file contains no entries"
_SOME_HBA = "local all all reject\n"


def check(seat: Seat, texts: Mapping[str, str]) -> None:
    """Raise Refused with PostgreSQL's own words unless it would start with these files.

    `texts` are the files of the data directory by name: postgresql.conf, and where wanted pg_hba.conf and pg_ident.conf. A relative
    path in them leads where it would from the data directory.
    """
    for left in seat.layout.pg.glob("try-*"):
        files.remove(left)
    scratch = seat.layout.pg / f"try-{secrets.token_hex(4)}"
    try:
        said = _TORN
        for _ in range(3):
            if _TORN in said:  # the live server wrote pg_control while it was copied
                _furnish(scratch, seat, texts)
                said = _start(scratch, seat)
    finally:
        files.remove(scratch)
    _judge(said.replace(f"{scratch}/", ""))


def fault(bindir: Path, account: Account | None, name: str, text: str) -> str:
    """Return PostgreSQL's own words on a value that it does not take, empty where it takes it; some 20 ms, without a server or its files.

    `postgres -C` reads its command line as a start does, refuses what each parameter's own check refuses, and ends.
    """
    asked: list[str | Path] = [bindir / "postgres", "-C", name, "-c", f"{name}={text}", "-c", "config_file=/dev/null", "-D", "/"]
    said = run_as(account, asked, Path("/"), seconds=5)
    words = serverlog.reason(said.stderr) if said.returncode and "FATAL" in said.stderr else ""
    return words if serverlog.of_configuration(words) else ""


def _furnish(scratch: Path, seat: Seat, texts: Mapping[str, str]) -> None:
    data = seat.layout.data
    files.make_directory(scratch, 0o700, seat.account)
    for name in ("global", "pg_notify"):  # pg_notify is read while shared memory is made (async.c)
        files.make_directory(scratch / name, 0o700, seat.account)
    for name in ("PG_VERSION", "global/pg_control"):
        files.scratch(scratch / name, files.read_bytes(data / name), seat.account)
    for name, text in {"pg_hba.conf": _SOME_HBA, "pg_ident.conf": "", **texts}.items():
        files.scratch(scratch / name, text.encode(), seat.account)


def _start(scratch: Path, seat: Seat) -> str:
    ours = {
        "config_file": scratch / CONFIGURATION,
        "data_directory": scratch,
        "hba_file": scratch / "pg_hba.conf",
        "ident_file": scratch / "pg_ident.conf",
        "listen_addresses": "",
        "unix_socket_directories": ".",  # relative to the scratch directory, so that no path is too long
        "external_pid_file": "",
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_min_messages": "warning",
        "log_error_verbosity": "default",
        "log_line_prefix": "",
        "lc_messages": "C",
        "huge_pages": "try",  # the live server may hold all there are
    }
    settings = [part for name, value in ours.items() for part in ("-c", f"{name}={value}")]
    return run_as(seat.account, [seat.bindir / "postgres", "-D", scratch, *settings], scratch, seconds=20).stderr


def _judge(said: str) -> None:
    if _REACHED in said:
        if "pg_ident.conf" not in said:
            return
        # PostgreSQL starts without a pg_ident.conf that it cannot read, and only logs why (postmaster.c, load_ident): not good enough
        said = said.partition(f"FATAL:  {_REACHED}")[0] + "FATAL:  could not load pg_ident.conf"
    words = serverlog.reason(said)
    if serverlog.of_configuration(words) or ("FATAL" in said and not serverlog.of_machine(words)):
        raise Refused("refused_by_postgres", say("PostgreSQL refuses this: {words}", words=words), serverlog.cure(words))
    raise Failed("cannot_check", say("cannot let PostgreSQL check its configuration: {words}", words=words))
