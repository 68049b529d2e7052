"""The tutorial's walk by the command line, as a person types it: each command a process of its own, on real servers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic
from typing import Any

import pytest
from tests.real.instances import stock
from tests.real.servers import free_port

from howdah.settings import SETTINGS


class Shell:
    """A person at a prompt, with a home of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        named = {setting.name for setting in SETTINGS}
        kept = {name: value for name, value in os.environ.items() if name not in named and not name.startswith("PG")}
        self.environment = {**kept, "HOWDAH_HOME": str(home), "HOWDAH_TRASH": "0", "HOWDAH_LANG": "en"}

    def run(self, *words: str, code: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command and expect its exit code."""
        command = [sys.executable, "-P", "-m", "howdah", *words]
        done = subprocess.run(command, input=given, capture_output=True, text=True, env=self.environment, timeout=120, check=False)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def create(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Create the instance `shop` on a port that no other test looks for."""
        return self.run("create", "shop", "--port", str(free_port()), *words)

    def json(self, *words: str) -> Any:
        """Run one command and return its answer."""
        return json.loads(self.run(*words, "--json").stdout)

    def sh(self, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell, such as a connection command that was just shown."""
        return subprocess.run(
            ["sh", "-c", line], capture_output=True, text=True, env={**self.environment, **environment}, timeout=60, check=False
        )


@pytest.fixture
def shell() -> Iterator[Shell]:
    above = Path(mkdtemp(prefix="w"))
    above.chmod(0o711)  # as root, the servers are other users
    person = Shell(above / "h")
    person.home.mkdir(mode=0o711)
    stock(person.home)
    person.environment["HOWDAH_SPARES"] = "0"  # the documents' first pages begin with nothing, and make them
    yield person
    for each in json.loads(person.run("list", "--json").stdout):
        person.run("delete", each["name"], "--yes")


def test_the_walk_of_the_tutorial(shell: Shell) -> None:
    created = shell.create("--param", "ssl=off", "--database", "shop", "--user", "app").stdout
    assert "running" in created and "no TLS" in created and created.count("password for app: ") == 1
    assert shell.json("show", "shop")["status"] == "running"

    changed = shell.run("params", "set", "shop", "ssl=on").stdout
    assert changed.startswith("ssl:  off → on  (reload, ")
    assert shell.json("show", "shop")["endpoints"][0]["tls"] is True

    shell.run("extensions", "add", "shop", "pooler", "pool_mode=session", "max_client_conn=50", "listen_port=" + str(free_port()))
    seen = shell.json("show", "shop")
    assert [(each["name"], each["status"]) for each in seen["extensions"]] == [("pooler", "running")]
    assert {"pool_mode": "session", "max_client_conn": "50"}.items() <= seen["extensions"][0]["parameters"].items()

    for via in ("direct", "pooled"):
        for mode in ("require", "verify-full"):
            line = shell.run("connect", "shop", "--client", "psql", "--via", via, "--sslmode", mode).stdout.strip()
            asked = shell.sh(f"{line} -XAtw -c 'SELECT 6 * 7'")
            assert asked.stdout == "42\n", asked.stderr
            plaintext = shell.sh(
                line.replace(f"sslmode={mode}", "sslmode=disable").replace("channel_binding=require", "") + " -Xw -c 'SELECT 1'"
            )
            assert plaintext.returncode != 0

    report = shell.json("verify", "shop")
    assert report["verdict"] == "proven" and len(report["checks"]) >= 20

    shell.run("delete", "shop", code=2)  # nobody can be asked
    shell.run("delete", "shop", "--yes")
    shell.run("show", "shop", code=3)
    assert shell.json("list") == [] and shell.json("list", "--trash") == []
    assert_nothing_left(shell, seen)


def assert_nothing_left(shell: Shell, seen: Any) -> None:
    """No port answers, no file of the instance lies there but its log and the store's."""
    import socket

    for place in seen["endpoints"]:
        with socket.socket() as probe:
            assert probe.connect_ex((place["host"], place["port"])) != 0
    left = [path for path in shell.home.rglob("*") if seen["id"] in path.name and path.suffix != ".lock"]
    assert left == []


def test_the_same_wish_again_and_another(shell: Shell) -> None:
    first = json.loads(shell.create("--database", "shop", "--user", "app", "--json").stdout)
    assert first["password"]["user"] == "app" and first["operation"]["outcome"] == "done"
    again = shell.json("create", "shop", "--database", "shop", "--user", "app")
    assert "password" not in again
    shell.run("create", "shop", "--param", "ssl=off", code=4)
    assert "it is so already" in shell.run("params", "set", "shop", "ssl=on").stdout
    assert "it is so already" in shell.run("params", "set", "shop", "ssl=yes").stdout
    shell.run("undelete", "shop", code=3)
    told = json.loads(shell.run("members", "remove", "shop", "x", "--json", code=5).stderr)
    assert told["code"] == "single_member"


def test_what_waits_for_a_restart_is_seen(shell: Shell) -> None:
    shell.create()
    shell.run("params", "set", "shop", "shared_buffers=64MB", "--no-restart")
    assert shell.json("show", "shop")["pending_restart"] == ["shared_buffers"]
    (row,) = shell.json("params", "list", "shop")
    assert row["pending_restart"] is True and row["applied_by"] == "restart"
    shell.run("restart", "shop")
    assert shell.json("show", "shop")["pending_restart"] == []
    one, two = (shell.run("params", "list", "shop", "--json").stdout for _ in range(2))
    assert one == two


def holders(home: Path, secret: str) -> list[Path]:
    """Return the files that hold a secret, the passfiles left out; a spare that is being made beside comes and goes."""
    found = []
    for place, names, files in os.walk(home):
        names[:] = [name for name in names if name not in ("passfiles", "spares")]
        for path in (Path(place, name) for name in files):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and secret.encode() in path.read_bytes():
                    found.append(path)
    return found


def test_users_and_their_passwords(shell: Shell) -> None:
    shell.create("--database", "shop", "--user", "app")
    shell.run("users", "add", "shop", "report", "--database", "shop", "--password-stdin", given="correct horse\n")
    line = shell.run("connect", "shop", "--user", "report").stdout.strip()
    assert shell.sh(f"{line} -XAtw -c 'SELECT current_user'", PGPASSWORD="correct horse").stdout == "report\n"
    made = shell.json("users", "password", "shop", "report")["password"]
    assert shell.sh(f"{line} -XAtw -c 'SELECT 1'", PGPASSWORD="correct horse").returncode != 0
    line = shell.run("connect", "shop", "--user", "report").stdout.strip()
    assert shell.sh(f"{line} -XAtw -c 'SELECT 1'").stdout == "1\n"
    assert not holders(shell.home, made["password"])
    shell.run("users", "delete", "shop", "report", "--yes")
    assert shell.json("users", "list", "shop") == [{"name": "app", "databases": ["shop"]}]


def test_down_comes_with_the_command_that_puts_it_right(shell: Shell) -> None:
    shell.create()
    identity = shell.json("show", "shop")["id"]
    pidfile = next(path for path in (shell.home / "instances" / identity).rglob("postmaster.pid"))
    os.kill(int(pidfile.read_text().split()[0]), 9)
    for _ in range(500):
        if (seen := shell.json("show", "shop"))["status"] == "down":
            break
    assert seen["status"] == "down" and seen["fix"] == "howdah repair shop"
    assert "howdah repair shop" in shell.run("list").stdout
    assert shell.json("repair", "shop")["operation"]["steps"]
    assert shell.json("show", "shop")["status"] == "running"


def test_quickstart_twice(shell: Shell) -> None:
    if shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/sbin") is None:
        pytest.skip("PgBouncer is not installed")
    first, second = shell.json("quickstart"), shell.json("quickstart")
    assert first["verify"]["verdict"] == second["verify"]["verdict"] == "proven"
    assert set(first["connect"]) == {"direct", "pooled"} and first["password"]["user"] == "demo"
    assert second["changes"] == [] and "password" not in second and not (second["operation"] or {"steps": []})["steps"]
    for line in first["connect"].values():
        assert shell.sh(f"{line} -XAtw -c 'SELECT 1'").stdout == "1\n"


def test_work_left_to_a_detached_process_can_be_followed(shell: Shell) -> None:
    told = shell.create("--no-wait").stdout
    assert "howdah operations shop" in told
    for _ in range(300):
        if (seen := shell.json("show", "shop"))["status"] == "running":
            break
    assert seen["status"] == "running"
    assert shell.json("operations", "shop")[-1]["verb"] == "create"


def test_ctrl_c_leaves_the_work_to_another_process(shell: Shell) -> None:
    command = [sys.executable, "-P", "-m", "howdah", "create", "shop", "--port", str(free_port()), "--database", "shop", "--user", "app"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=shell.environment) as running:
        deadline = monotonic() + 30
        while not shell.json("operations", "shop") and running.poll() is None and monotonic() < deadline:
            pass
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    if running.returncode == 0:
        return  # it was done before the signal came: nothing was left to another process
    assert running.returncode == 130 and "howdah operations shop" in err.splitlines()[-1] and "password for" not in out
    deadline = monotonic() + 60
    while shell.json("show", "shop")["status"] != "running" and monotonic() < deadline:
        pass
    again = shell.run("create", "shop", "--database", "shop", "--user", "app").stdout
    assert again.count("password for app: ") == 1
