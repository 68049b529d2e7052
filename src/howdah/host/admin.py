"""What is asked of a living PgBouncer through its console: reload, pause and resume, enable and disable, who is connected, drain.

Every command is idempotent: asking for what already is so is no error. Each says how the versions from 1.18 to 1.26 differ.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah.errors import Failed, Refusal, Unsupported
from howdah.host import files, installed, pgbouncer, process
from howdah.host import guard as guarding
from howdah.host.accounts import Account
from howdah.host.console import ANSWER_SECONDS, Console, Row
from howdah.host.installed import version_in
from howdah.host.process import Process
from howdah.phrase import say

CONSOLE_DATABASE = "pgbouncer"
KILL_CLIENT_SINCE = (1, 24)
SETTLE_SECONDS = 1.0
LONGEST_PAUSE_BETWEEN_LOOKS = 0.05
TCP_SYN_RECV = "03"
# Longer than any restart that goes well, shorter than query_wait_timeout (120 s): whom we hold longer had better hear of it
LONGEST_HOLD_SECONDS = 60.0
GUARD_ANSWERS_SECONDS = 20.0


@dataclass(frozen=True)
class Client:
    """One line of SHOW CLIENTS; `id` is empty before 1.24, `tls` when the session is plain."""

    address: str
    port: int
    user: str
    database: str
    tls: str
    application_name: str
    state: str
    id: str


def reload(directory: Path, *, seconds: float = 5) -> None:
    """Make PgBouncer read its files. Says nothing about what came of it: before 1.25 a failed RELOAD answers like a good one; look."""
    _tell(directory, "RELOAD", seconds)


def reconnect(directory: Path) -> None:
    """Replace every server connection as soon as its client releases it."""
    _tell(directory, "RECONNECT", ANSWER_SECONDS)


def enable(directory: Path, database: str) -> None:
    """Let a database accept clients again."""
    _tell(directory, f"ENABLE {quoted(database)}", ANSWER_SECONDS)


def disable(directory: Path, database: str) -> None:
    """Refuse new clients of a database."""
    _tell(directory, f"DISABLE {quoted(database)}", ANSWER_SECONDS)


def kill_client(directory: Path, number: str) -> None:
    """End one client's session by its id from `clients`; before 1.24 PgBouncer cannot, and one that has left is no error."""
    with pgbouncer.enter(directory) as asked:
        if _version(asked) < KILL_CLIENT_SINCE:
            raise Unsupported("kill_client_unsupported", say("cannot end one client: PgBouncer can since 1.24"))
        with _unless("client not found", "no such client", "not found"):
            asked.ask(f"KILL_CLIENT {int(number)}")


def pause(directory: Path, *, seconds: float) -> None:
    """Let running transactions end and hold every further query back; where they do not end within `seconds`, resume and raise `Failed`.

    A PAUSE outlives whoever asked for it: only `held`, which leaves a guard first, pauses for the loop. Never database by database: one
    without connections is not listed, yet would stay paused.
    """
    try:
        with pgbouncer.enter(directory) as asked, _unless("already"):
            asked.ask("PAUSE", seconds=seconds)
    except Refusal as refusal:
        resume(directory)
        message = say("cannot pause the pooler within {seconds} s: {reason}", seconds=seconds, reason=refusal.message)
        raise Failed("pause_failed", message) from refusal


@contextlib.contextmanager
def held(directory: Path, *, seconds: float) -> Iterator[None]:
    """Hold every query back while this lasts, as `pause` does, and resume after it; a guard does so if we die before, or after a minute.

    In session mode a client keeps its server connection until it leaves: then the answer to PAUSE is not waited for, and who has a
    connection goes on until that ends. RECONNECT is not needed, and harms: it ends logins that RESUME has begun, and PgBouncer then
    refuses everybody for server_login_retry.
    """
    with pgbouncer.enter(directory) as asked:
        keeps = pgbouncer.show_config(asked).get("pool_mode", ("", True))[0] == "session"
        guard = _leave_guard(directory, asked.path)
        try:
            if keeps:
                asked.begin("PAUSE")
            else:
                pause(directory, seconds=seconds)
            yield
        finally:
            resume(directory)
            # Only now, and not where that was refused: then the guard goes on trying when we have ended
            process.stop(guard, signal.SIGTERM, GUARD_ANSWERS_SECONDS)


def _leave_guard(directory: Path, console_path: Path) -> Process:
    """Start the process that resumes this PgBouncer if we die, or after LONGEST_HOLD_SECONDS; return when it is on guard."""
    seat = directory.stat()
    account = Account(str(seat.st_uid), seat.st_uid, seat.st_gid)
    files.scratch(directory / "guard.py", Path(guarding.__file__).read_bytes(), account)
    said, says = os.pipe()
    ourselves = os.pidfd_open(os.getpid())
    try:
        # Not in the generation's directory: there it would be taken for a member of it
        command = [installed.interpreter(account), "-I", "-S", directory / "guard.py", console_path, ourselves, LONGEST_HOLD_SECONDS]
        guard = process.spawn([str(part) for part in command], account=account, stdout=says, pass_fds=[ourselves])
        os.close(says)
        says = -1
        answered = select.select([said], [], [], GUARD_ANSWERS_SECONDS)[0] and os.read(said, 16)
    finally:
        for each in (said, says, ourselves):
            if each >= 0:
                os.close(each)
    if not answered:
        process.stop(guard, signal.SIGKILL, GUARD_ANSWERS_SECONDS)
        raise Failed("no_guard", say("cannot pause the pooler: the process that would resume it, should we die, does not start"))
    return guard


def resume(directory: Path) -> None:
    """Let everything serve again that is paused or disabled, whoever did it."""
    with pgbouncer.enter(directory) as asked:
        with _unless("not paused"):
            asked.ask("RESUME")
        for row in asked.ask("SHOW DATABASES"):
            name = quoted(row["name"] or "")
            if row["paused"] == "1":
                with _unless("not paused"):
                    asked.ask(f"RESUME {name}")
            if row["disabled"] == "1":
                asked.ask(f"ENABLE {name}")


def clients(directory: Path, *, seconds: float = ANSWER_SECONDS) -> tuple[Client, ...]:
    """Return who is connected, the console's own users left out."""
    with pgbouncer.enter(directory, seconds=seconds) as asked:
        rows = asked.ask("SHOW CLIENTS", seconds=seconds)
    return tuple(_client(row) for row in rows if row.get("database") != CONSOLE_DATABASE)


def _client(row: Row) -> Client:
    def cell(name: str) -> str:
        return row.get(name) or ""

    return Client(
        address=cell("addr"),
        port=int(cell("port") or 0),
        user=cell("user"),
        database=cell("database"),
        tls=cell("tls"),
        application_name=cell("application_name"),
        state=cell("state"),
        id=cell("id"),
    )


def drain(directory: Path, *, seconds: float) -> int:
    """Wait until logins under way are done, then up to `seconds` until the clients have left; return how many have not.

    New logins must come to another generation by now (`take_over`). A login under way lives in three places: half open in the
    kernel, in the queue of the listening socket, in PgBouncer; one look at the first and two at the last cover them all.
    """
    plan = pgbouncer.read_plan(directory)
    ports = [port for _, port in plan.addresses] if plan else []
    # On a slow network the first packet follows a round trip later; a flood that never ends must not hold us.
    process.wait_until(lambda: not half_open(ports), SETTLE_SECONDS)
    deadline = time.monotonic() + seconds
    settled = time.monotonic() + max(seconds, SETTLE_SECONDS)
    between = process.POLL_SECONDS
    quiet = 0
    with pgbouncer.enter(directory) as asked:
        while True:
            logins, left = _connected(asked)
            quiet = 0 if logins else quiet + 1
            now = time.monotonic()
            if now > settled or (quiet > 1 and (left == 0 or now > deadline)):
                return left
            time.sleep(between)
            between = min(between * 1.5, LONGEST_PAUSE_BETWEEN_LOOKS)


def _connected(asked: Console) -> tuple[int, int]:
    """Return how many clients are logging in, and how many there are in all, the console's own left out."""
    counts = {row["list"]: int(row["items"] or 0) for row in asked.ask("SHOW LISTS")}
    pools = [row for row in asked.ask("SHOW POOLS") if row["database"] == CONSOLE_DATABASE]
    own = sum(int(row["cl_active"] or 0) for row in pools)
    return counts.get("login_clients", 0), counts.get("used_clients", 0) - own


def half_open(ports: Sequence[int]) -> bool:
    """Tell whether a connection to one of these local ports is on its way: begun, and its first packet not yet here.

    With TCP_DEFER_ACCEPT, PgBouncer's default, a connection stays in this state until its first packet comes.
    """
    wanted = {f"{port:04X}" for port in ports}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), Path(table).open(encoding="ascii") as lines:
            for line in lines:
                fields = line.split(None, 4)
                if fields[3] == TCP_SYN_RECV and fields[1].rpartition(":")[2] in wanted:
                    return True
    return False


def quoted(name: str) -> str:
    """Quote a database name for a console command.

    >>> print(quoted('my "own" one'))
    "my ""own"" one"
    """
    return '"' + name.replace('"', '""') + '"'


def _tell(directory: Path, command: str, seconds: float) -> None:
    with pgbouncer.enter(directory, seconds=min(seconds, ANSWER_SECONDS)) as asked:
        asked.ask(command, seconds=seconds)


def _version(asked: Console) -> tuple[int, ...]:
    return version_in(asked.ask("SHOW VERSION")[0]["version"] or "")


@contextlib.contextmanager
def _unless(*words: str) -> Iterator[None]:
    """Let a refused command pass when PgBouncer's answer says that what was asked for is already so."""
    try:
        yield
    except Failed as refused:
        if not any(word in str(refused.message) for word in words):
            raise
