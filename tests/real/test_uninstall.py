"""Uninstalling as the page says leaves the machine as it was before: tried on this very machine, below an overlay that shows changes."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from typing import Any

import pytest
from tests.docs import pages
from tests.real import overlay
from tests.real.servers import free_port

PAGE = pages.ROOT / "docs" / "how-to" / "uninstall.md"
# useradd and userdel keep the last state of what they change, with their locks beside it; nobody reads that but them.
KEPT_BY_USERDEL = {f"/etc/{name}-" for name in ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")} | {"/etc/.pwd.lock"}
LIVE = """
howdah users add shop app
howdah databases add shop stock
howdah users grant shop app --database stock
howdah extensions add shop pg_stat_statements --yes
howdah params set shop work_mem=8MB
howdah verify shop >/dev/null
howdah create gone --port {port}
howdah delete gone --yes
howdah list
"""


def scripts() -> list[str]:
    """Return the machine made ready, a life with howdah, and the page's commands but those about the program itself."""
    shim = f'#!/bin/sh\nexec env PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={pages.ROOT / "src"} {sys.executable} -P -m howdah "$@"\n'
    ready = f"""
        getent passwd howdah-pool >/dev/null && userdel howdah-pool
        getent group howdah-pool >/dev/null && groupdel howdah-pool
        rm -rf /var/lib/howdah
        printf %s {shlex.quote(shim)} >/usr/local/bin/howdah && chmod 755 /usr/local/bin/howdah
    """
    told = [command.text for block in pages.console(PAGE) for command in block.commands()]
    own = [text for text in told if not text.startswith(("rm -rf ~/howdah", "pipx", "sudo apt-get", "howdah service"))]
    assert own[0].startswith("howdah create shop ") and own[-1] == "userdel howdah-pool"
    create = own[0].replace("howdah create", f"howdah create --port {free_port()}").replace("pooler:", f"pooler:listen_port={free_port()},")
    return [ready, "set -e\n" + create + LIVE.format(port=free_port()), f"{overlay.ENDS}\n" + "\n".join(own[1:])]


@pytest.fixture(scope="module")
def lived() -> list[dict[str, Any]]:
    if os.geteuid() != 0:
        pytest.skip("laying an overlay over the machine takes root")
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", sys.executable, overlay.__file__, str(pages.ROOT), *scripts()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    if done.returncode and not done.stdout:
        pytest.skip(f"no overlay can be laid over this machine: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the paths that were made, changed or taken away from one script's end to another's."""
    old, new = before["differs"], after["differs"]
    return {path for path in {*old, *new} if old.get(path) != new.get(path)} - KEPT_BY_USERDEL


def test_a_life_with_howdah_makes_what_the_page_lists_and_nothing_else(lived: list[dict[str, Any]]) -> None:
    ready, life, _ = lived
    assert life["code"] == 0, life["output"]
    home = "/var/lib/howdah"
    shared = {path for path in changed(ready, life) if path.rpartition("/")[2].startswith("PostgreSQL.")}
    made = {path for path in changed(ready, life) - shared if path != home and not path.startswith(f"{home}/")}
    assert made == {"/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow"}
    inside = {
        path.removeprefix(f"{home}/").partition("/")[0].partition("-")[0] for path in changed(ready, life) if path.startswith(f"{home}/")
    }
    assert inside == {"instances", "spares", "trash", "ca", "passfiles", "locks", "log", "store.sqlite3"}
    for program in ("bin/postgres", "pgbouncer", "keeper.py", "sweeper.py"):
        assert any(program in line for line in life["processes"]), program


def test_uninstalling_leaves_the_machine_as_it_was(lived: list[dict[str, Any]]) -> None:
    ready, _, end = lived
    assert end["processes"] == [], end["output"]
    assert "No such file" in end["output"], end["output"]
    assert changed(ready, end) == set()
