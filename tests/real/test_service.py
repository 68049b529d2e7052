"""From one boot to the next: every server stopped in good order and started again by one `repair --all`, and what is left of a machine that
was switched off. One home with three instances serves all tests, in turn.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from tests.conftest import processes_below
from tests.real.instances import Place, Voice, kill, known, place, prove, served_by, steps
from tests.real.servers import free_port

from howdah.core.observed import Facts
from howdah.host import process, systemd
from howdah.host.local import LocalHost
from howdah.host.process import wait_until

ROOT = os.geteuid() == 0
WANTED = {"shop": "running", "bare": "running", "idle": "stopped"}
DOWN = {"shop": "down", "bare": "down", "idle": "stopped"}


@pytest.fixture(scope="module")
def home() -> Iterator[Place]:
    """Three instances: one with a pooler, one without, and one that is stopped."""
    with place() as made:
        made.create("shop")
        made.create("bare", extensions={}, port=free_port())
        made.create("idle", extensions={}, port=free_port())
        made.service.stop("idle", Voice().caller())
        yield made


@pytest.fixture
def here(home: Place) -> Iterator[Place]:
    """The home, and afterwards again as it is wanted."""
    yield home
    for name in ("shop", "bare"):
        home.repair(name)


def howdah(here: Place, *words: str, code: int = 0) -> Any:
    """Run the real command line on a home, and return its answer, or its error."""
    command = [sys.executable, "-P", "-m", "howdah", *words, "--json"]
    env = {**os.environ, "HOWDAH_HOME": str(here.home)}
    done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stderr if code else done.stdout)


def statuses(here: Place) -> dict[str, str]:
    return {each["name"]: each["status"] for each in howdah(here, "list")}


# --- a reboot -----------------------------------------------------------------------------------------------------------------------


def switch_off(here: Place) -> None:
    """Stand for a machine that is switched off: every process of the home ends at once, and nothing is left of sockets, pids and locks."""
    running = [found for pid in processes_below(here.home / "instances") if (found := process.identify(pid)) is not None]
    assert len(running) > 10
    kill(*running)
    for name in WANTED:
        layout = here.layout(name)
        gone = [*layout.socket_dir.glob("*"), *layout.socket_dir.glob(".s*"), layout.data / "postmaster.pid"]
        gone += [
            path for generation in layout.pool.glob("g*") for path in (*generation.glob(".s*"), generation / "pid", generation / "lock")
        ]
        for path in gone:
            path.unlink(missing_ok=True)


def test_after_a_reboot_one_repair_brings_everything_back(here: Place) -> None:
    before = {name: here.want(name).generation for name in WANTED}
    switch_off(here)
    assert statuses(here) == DOWN
    howdah(here, "repair", "--all")
    assert statuses(here) == WANTED
    assert howdah(here, "verify", "shop")["verdict"] == "proven"
    for name in ("shop", "bare"):
        prove(here, name)
    assert {name: here.want(name).generation for name in before} == before


# --- the end of every server for a while ----------------------------------------------------------------------------------------------


def test_down_stops_all_in_good_order_and_changes_no_wish(here: Place) -> None:
    before = {name: here.want(name) for name in WANTED}
    told = {each["instance"] for each in howdah(here, "service", "down", "--yes")}
    assert told == {*before}
    assert not processes_below(here.home / "instances")
    assert statuses(here) == DOWN
    done = {name: here.service.operations(name)[0] for name in before}
    assert {name: steps(each) for name, each in done.items()} == {
        "shop": ("RetirePooler", "StopServer"),  # its clients have no server to ask any more before there is none
        "bare": ("StopServer",),
        "idle": (),
    }
    log = "".join(path.read_text() for path in here.host.logs(here.want("shop"), "postgres"))
    assert "received fast shutdown request" in log
    assert {name: here.want(name) for name in before} == before
    howdah(here, "repair", "--all")
    assert statuses(here) == WANTED


def test_down_asks_while_somebody_is_connected(here: Place) -> None:
    session = here.login("direct")
    refused = howdah(here, "service", "down", code=2)
    assert refused["code"] == "needs_yes"
    assert "sessions: 1" in refused["message"]
    session.close()
    assert statuses(here) == WANTED


def test_one_that_cannot_be_stopped_does_not_keep_the_others_up(here: Place) -> None:
    with here.service.lease(here.want("bare").id, "another command", 1.0, lambda _: None):
        refused = howdah(here, "service", "down", "--yes", code=1)
    assert refused["message"] == "cannot stop bare"
    assert statuses(here) == {"shop": "down", "bare": "running", "idle": "stopped"}


# --- when memory runs out -------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not ROOT, reason="only root may spare a process")
def test_the_kernel_takes_a_session_before_the_postmaster(here: Place) -> None:
    own = Path("/proc/self/oom_score_adj")
    was = own.read_text()
    here.service.down("bare", Voice().caller())
    own.write_text("300")  # as if started where more than usual is expendable
    try:
        here.repair("bare")
    finally:
        with suppress(PermissionError):
            own.write_text(was)
    postmaster = known(here.postmaster("bare"))
    assert len(_scores(postmaster.pid)) > 3
    # a child that was forked a moment ago has the postmaster's yet (fork_process.c)
    assert wait_until(lambda: {*_scores(postmaster.pid)} == {0}, 5), _scores(postmaster.pid)
    assert int(Path(f"/proc/{postmaster.pid}/oom_score_adj").read_text()) == (-900 if _may_spare() else 300)


def _scores(pid: int) -> list[int]:
    found = []
    for each in _children(pid):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            found.append(int(Path(f"/proc/{each}/oom_score_adj").read_text()))
    return found


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _may_spare() -> bool:
    """CAP_SYS_RESOURCE, bit 24."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    return bool(int(line.split()[1], 16) >> 24 & 1)


# --- the command line -----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(systemd.booted(), reason="systemd runs this machine: it would be told")
def test_without_systemd_it_is_said(here: Place) -> None:
    refused = howdah(here, "service", "install", code=5)
    assert (refused["code"], "cron" in refused["hint"]) == ("no_systemd", True)
    seen = howdah(here, "service", "status")
    assert (seen["systemd"], seen["installed"], seen["kind"]) == (False, False, "system" if ROOT else "user")
    assert howdah(here, "service", "remove")["removed"] == []


class Harmed(LocalHost):
    """A machine whose logind would remove shared memory at the end of this session."""

    def facts(self) -> Facts:
        """Return what this machine is and has."""
        return replace(super().facts(), logout_harms=True)


def test_create_warns_where_logging_out_may_break_servers(home: Place) -> None:
    host = Harmed(home.home, cast(Any, home.host.spawn_howdah))
    wish: dict[str, Any] = {"extensions": {}, "database": None, "user": None}
    for service, warns in ((served_by(home.service, host), True), (home.service, False)):
        made = replace(home, service=service).create("fleeting", port=free_port(), **wish)
        assert any("RemoveIPC" in str(note) and "howdah service install" in str(note) for note in made.notes) == warns
        home.delete("fleeting")
