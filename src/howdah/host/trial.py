"""Try a pooler's files, byte for byte, in a throw-away PgBouncer beside the live one, before a RELOAD or a start may trust them.

PgBouncer takes a bad file badly: it resets what stands behind the bad line to its defaults, TLS to off, and goes on serving. So the
files must first start a process of their own on sockets of its own, show the wanted settings, log no complaint, and pass the caller's
probe (a login over TLS, a refusal of plaintext). The trial always ends, and leaves nothing.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah.errors import Refusal
from howdah.host import files, process
from howdah.host.accounts import Account
from howdah.host.addresses import socket_path
from howdah.host.console import console
from howdah.host.installed import Binary
from howdah.host.pgbouncer import differences, end_signal, show_config
from howdah.phrase import Phrase, say

# The shell hands over what it was given as standard input and output: exactly the descriptors 3 and 4, and its own pid, which
# PgBouncer then has.
HAND_OVER = 'exec 3<&0 4<&1 0</dev/null 1>/dev/null; LISTEN_FDS=2 LISTEN_PID=$$ exec "$@"'
COMPLAINT = re.compile(r" (ERROR|FATAL|WARNING|CRIT) (.*)")
# being handed its sockets; our own question whether it is paused (pgbouncer.py, _paused); what it has to say of one client
HARMLESS = re.compile(r"sockets passed from service manager, cf_\w+ ignored|a database is required|^C-0x")

LOOPBACK = "127.0.0.1"

Probe = Callable[[str, int], Phrase | None]


@dataclass(frozen=True)
class Verdict:
    """What came of a trial; `reason` is None when the files are good."""

    reason: Phrase | None
    log: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """The files may be trusted."""
        return self.reason is None


def try_files(
    program: Binary,
    directory: Path,
    texts: Mapping[str, str],
    *,
    unix_port: int,
    wanted: Mapping[str, str],
    account: Account | None = None,
    probe: Probe | None = None,
    seconds: float = 20,
) -> Verdict:
    """Start `pgbouncer.ini` and its companions of `texts` in `directory`, made for this and removed again, and judge what comes of it.

    `wanted` are settings as SHOW CONFIG must show them; `probe(address, port)` returns why it is not content, or None.
    """
    path = socket_path(directory, unix_port)
    files.remove(directory)
    try:
        files.make_directory(directory, 0o700, account)
        for name, text in texts.items():
            files.scratch(directory / name, text.encode(), account)
        with _running(program, path, account) as port:
            reason = _judge(path, wanted, account, seconds)
            # Its own words are better than ours, also where it started in spite of them.
            reason = complaint(_log(directory)) or reason
            if reason is None and probe is not None:
                reason = probe(LOOPBACK, port)
            return Verdict(reason, _log(directory))
    finally:
        files.remove(directory)


@contextlib.contextmanager
def _running(program: Binary, path: Path, account: Account | None) -> Iterator[int]:
    """Run PgBouncer on a unix socket and a free TCP port of its own, the latter being returned; end it whatever happens."""
    with socket.socket(socket.AF_UNIX) as admin, socket.socket(socket.AF_INET) as clients:
        admin.bind(str(path))
        admin.listen()
        clients.bind((LOOPBACK, 0))
        clients.listen()
        port = int(clients.getsockname()[1])
        if account is not None and os.geteuid() == 0:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        # Not -q: the line that is bad may stand before the one that names the log file.
        command: list[str | Path] = ["/bin/sh", "-c", HAND_OVER, "sh", program.path, "pgbouncer.ini"]
        started = process.spawn(
            command, account=account, cwd=path.parent, stdin=admin.fileno(), stdout=clients.fileno(), stderr=path.parent / "stderr"
        )
    # Our copies of the sockets are closed now: when the process ends, whoever waits on them is told at once.
    try:
        yield port
    finally:
        process.stop(started, end_signal(program.version), 1)


def _judge(path: Path, wanted: Mapping[str, str], account: Account | None, seconds: float) -> Phrase | None:
    uid = os.geteuid() if account is None else account.uid
    try:
        with console(path, uid=uid, seconds=seconds) as asked:
            wrong = differences(show_config(asked), wanted)
    except Refusal as refusal:
        return refusal.message
    for name, value in wrong.items():
        return say(
            "PgBouncer takes {name} as {seen}, not {wanted}", name=name, seen="unknown" if value is None else value, wanted=wanted[name]
        )
    return None


def complaint(log: Sequence[str]) -> Phrase | None:
    """Return the first thing that PgBouncer's log complains about and that we are not the cause of."""
    found = (COMPLAINT.search(line) for line in log)
    texts = [each[2] for each in found if each and not HARMLESS.search(each[2])]
    return say("PgBouncer says: {text}", text=texts[0]) if texts else None


def _log(directory: Path) -> tuple[str, ...]:
    return process.tail(directory / "stderr", 50)
