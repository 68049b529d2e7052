"""What is asked of a living PgBouncer through its console: reload, resume, enable and disable, who is connected, drain.

Every command is idempotent: asking for what already is so is no error. Each says how the versions from 1.18 to 1.26 differ.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from howdah.errors import Failed, Unsupported
from howdah.host import pgbouncer, process
from howdah.host.console import ANSWER_SECONDS, Console, Row
from howdah.host.installed import version_in
from howdah.phrase import say

CONSOLE_DATABASE = "pgbouncer"
KILL_CLIENT_SINCE = (1, 24)
SETTLE_SECONDS = 1.0
HALF_OPEN_SECONDS = 3.0
LONGEST_PAUSE_BETWEEN_LOOKS = 0.05
TCP_SYN_RECV = "03"


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
    since: float  # when it connected, in seconds since the epoch


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
        with unless("client not found", "no such client", "not found"):
            asked.ask(f"KILL_CLIENT {int(number)}")


def resume(directory: Path) -> None:
    """Let everything serve again that is paused or disabled, whoever did it."""
    with pgbouncer.enter(directory) as asked:
        with unless("not paused"):
            asked.ask("RESUME")
        for row in asked.ask("SHOW DATABASES"):
            name = quoted(row["name"] or "")
            if row["paused"] == "1":
                with unless("not paused"):
                    asked.ask(f"RESUME {name}")
            if row["disabled"] == "1":
                asked.ask(f"ENABLE {name}")


def clients(directory: Path, *, seconds: float = ANSWER_SECONDS) -> tuple[Client, ...]:
    """Return who is connected, the console's own users left out."""
    with pgbouncer.enter(directory, seconds=seconds) as asked:
        rows = asked.ask("SHOW CLIENTS", seconds=seconds)
    return tuple(_client(row) for row in rows if row.get("database") != CONSOLE_DATABASE)


def lent(directory: Path) -> dict[int, str]:
    """Return the client's address for the pid of each server connection that is lent to one."""
    with pgbouncer.enter(directory) as asked:
        where = {row["ptr"]: f"{row['addr']}:{row['port']}" for row in asked.ask("SHOW CLIENTS")}
        servers = asked.ask("SHOW SERVERS")
    return {int(row["remote_pid"] or 0): where[row["link"]] for row in servers if row["link"] in where}


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
        since=_moment(cell("connect_time")),
    )


def _moment(text: str) -> float:
    """Read a time as the console prints it, on this machine's clock: 2026-01-31 12:30:00 CET; 0 for none."""
    try:
        return time.mktime(time.strptime(text[:19], "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return 0.0


def drain(directory: Path, *, seconds: float) -> int:
    """Wait until logins under way are done, then up to `seconds` until the clients have left; return how many have not.

    New logins must come to another generation by now (`take_over`). A login under way lives in three places: half open in the
    kernel, in the queue of the listening socket, in PgBouncer; one look at the first and two at the last cover them all.
    """
    plan = pgbouncer.read_plan(directory)
    ports = [port for _, port in plan.addresses] if plan else []
    # On a slow network, or from a busy machine, the first packet follows later. Who begins from now on comes to another generation
    begun = half_open(ports)
    process.wait_until(lambda: not begun & half_open(ports), HALF_OPEN_SECONDS)
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


def await_logins(directory: Path, seconds: float) -> None:
    """Wait until no login is under way in PgBouncer, at most so long."""
    with pgbouncer.enter(directory) as asked:
        process.wait_until(lambda: not _connected(asked)[0], seconds)


def _connected(asked: Console) -> tuple[int, int]:
    """Return how many clients are logging in, and how many there are in all, the console's own left out."""
    counts = {row["list"]: int(row["items"] or 0) for row in asked.ask("SHOW LISTS")}
    pools = [row for row in asked.ask("SHOW POOLS") if row["database"] == CONSOLE_DATABASE]
    own = sum(int(row["cl_active"] or 0) for row in pools)
    return counts.get("login_clients", 0), counts.get("used_clients", 0) - own


def half_open(ports: Sequence[int]) -> frozenset[str]:
    """Return the connections to these local ports that are on their way, by their other ends: begun, and the first packet not yet here.

    With TCP_DEFER_ACCEPT, PgBouncer's default, a connection stays in this state until its first packet comes.
    """
    wanted, found = {f"{port:04X}" for port in ports}, set[str]()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(FileNotFoundError), Path(table).open(encoding="ascii") as lines:
            for line in lines:
                fields = line.split(None, 4)
                if fields[3] == TCP_SYN_RECV and fields[1].rpartition(":")[2] in wanted:
                    found.add(fields[2])
    return frozenset(found)


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
def unless(*words: str) -> Iterator[None]:
    """Let a refused command pass when PgBouncer's answer says that what was asked for is already so."""
    try:
        yield
    except Failed as refused:
        if not any(word in str(refused.message) for word in words):
            raise
