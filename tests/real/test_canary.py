"""No password is ever anywhere but in the passfile: known ones are used in every way, with the servers' logs as talkative as they get, and
searched for in every file of the home, in what commands print, and, all the while, in the titles and environments of all processes.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

import psycopg
import pytest
from tests.conftest import processes_below
from tests.real.test_cli_walk import Shell
from tests.real.test_cli_walk import shell as shell

from howdah.host.process import wait_until

CORE = "CANARY93417xyzzy"
GIVEN, LATER, WRONG, REFUSED = (f"{CORE}-{word} 'q\"\\ü%" for word in ("given", "later", "wrong", "refused"))


def needles(secret: str) -> set[bytes]:
    """Return the forms in which a secret might lie somewhere: plain, quoted for a URI, in hex, in base64 at each of its three phases."""
    plain = secret.encode()
    aligned = {base64.b64encode(b"\0" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)}
    return {plain, quote(secret).encode(), plain.hex().encode(), plain.hex().upper().encode(), *aligned}


def found(text: bytes, sought: set[bytes]) -> bool:
    return any(each in text for each in sought)


def files_with(home: Path, sought: set[bytes]) -> set[str]:
    """Return the files of a home in which one of the forms is, by their path in it."""
    hits = set()
    for path in home.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.is_symlink() and found(path.read_bytes(), sought):
                hits.add(str(path.relative_to(home)))
    return hits


@contextmanager
def watched(sought: set[bytes]) -> Iterator[list[str]]:
    """Look at the command line and the environment of every process, again and again, meanwhile."""
    over, hits = Event(), ["looks: 0"]

    def look() -> None:
        looks = 0
        while not over.wait(0.03):
            looks += 1
            for entry in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    with suppress(OSError):
                        if found((entry / name).read_bytes(), sought):
                            hits.append(f"{name} of {(entry / 'cmdline').read_bytes()!r}")
        hits[0] = f"looks: {looks}"

    watcher = Thread(target=look)
    watcher.start()
    try:
        yield hits
    finally:
        over.set()
        watcher.join()


def log_in(shell: Shell, hop: str, user: str, password: str, database: str = "shop") -> bool:
    """Log in as a client does, in this very process; tell whether it was let in."""
    place = next(each for each in shell.json("show", "shop")["endpoints"] if each["kind"] == hop)
    try:
        psycopg.connect(
            host="127.0.0.1", port=place["port"], user=user, password=password, dbname=database, sslmode="require", connect_timeout=10
        ).close()
    except psycopg.OperationalError:
        return False
    return True


def every_way(shell: Shell) -> str:
    """Use the passwords in every way there is; return all that was printed, but for the lines that show a made one, and the made one."""
    said = []

    def run(*words: str, code: int = 0, given: str = "") -> None:
        done = shell.run(*words, code=code, given=given)
        said.append(done.stdout + done.stderr)

    shell.create("--extension", "pooler", "--extension", "pg_stat_statements")
    loud = ("log_statement=all", "log_min_duration_statement=0", "log_connections=on", "log_disconnections=on", "log_min_messages=debug1")
    run("params", "set", "shop", *loud, "log_error_verbosity=verbose", "debug_print_parse=on", "--yes")
    run("users", "add", "shop", "app", "--password-stdin", given=GIVEN)
    run("databases", "add", "shop", "shop")
    run("users", "grant", "shop", "app", "--database", "shop")
    for hop in ("direct", "pooled"):
        assert log_in(shell, hop, "app", GIVEN)
        for user, password, database in (
            ("app", WRONG, "shop"),
            ("nobody", WRONG, "shop"),
            ("app", WRONG, "nowhere"),
            ("app", GIVEN, "postgres"),
        ):
            log_in(shell, hop, user, password, database)
    run("users", "add", "shop", "app", "--password-stdin", code=4, given=REFUSED)
    run("users", "add", "shop", "postgres", "--password-stdin", code=2, given=REFUSED)
    run("users", "password", "shop", "nobody", "--password-stdin", code=3, given=REFUSED)
    run("users", "password", "shop", "app", "--password-stdin", given=LATER)
    for hop in ("direct", "pooled"):
        assert not log_in(shell, hop, "app", GIVEN)
        assert log_in(shell, hop, "app", LATER)
    made = shell.json("users", "add", "shop", "made", "--database", "shop")["password"]["password"]
    assert log_in(shell, "pooled", "made", made)
    said.append(shell.sh(f"{sys.executable} -P -m howdah verify shop 2>&1").stdout)  # whatever its verdict: others log in meanwhile
    assert "pooled" in said[-1]
    for client in ("psql", "uri", "env", "service", "python", "sqlalchemy", "django"):
        run("connect", "shop", "--client", client, "--user", "made")
    for source in ("postgres", "pooler", "howdah"):
        run("logs", "shop", "--source", source)
    for words in (["show", "shop"], ["operations", "shop"], ["users", "list", "shop"], ["list"]):
        run(*words)
        run(*words, "--json")
    run("repair", "shop")
    run("restart", "shop", "--yes")
    assert log_in(shell, "pooled", "app", LATER)
    return json.dumps(said, ensure_ascii=False).replace('\\"', '"').replace("\\\\", "\\") + f"\n{made}"


def test_no_password_is_anywhere_but_in_the_passfile(shell: Shell) -> None:
    sought = needles(CORE)
    with watched(sought) as hits:
        said, made = every_way(shell).rsplit("\n", 1)
    assert hits[1:] == [] and int(hits[0].split()[1]) > 5, hits
    assert CORE not in said and made not in said
    assert files_with(shell.home, sought) == set(), "one that people gave lies nowhere"
    identity = shell.json("show", "shop")["id"]
    assert files_with(shell.home, needles(made)) == {f"passfiles/{identity}"}, "one that howdah made lies in the passfile alone"
    assert (shell.home / "passfiles" / identity).stat().st_mode & 0o777 == 0o600
    own = processes_below(shell.home)
    assert own, "the servers run"
    for pid in own:
        with suppress(OSError):
            assert not found(Path(f"/proc/{pid}/environ").read_bytes(), sought | needles(made))


@pytest.mark.parametrize("form", sorted(needles(CORE)))
def test_the_search_finds_what_it_is_for(tmp_path: Path, form: bytes) -> None:
    (tmp_path / "log").write_bytes(b"a line\n" * 10 + form + b"\n")
    assert files_with(tmp_path, needles(CORE)) == {"log"}
    pid = os.spawnve(os.P_NOWAIT, "/bin/sleep", ["sleep", "60"], {"SECRET": form.decode()})
    with watched(needles(CORE)) as hits:
        seen = wait_until(lambda: any("environ" in each for each in hits), 30)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen
