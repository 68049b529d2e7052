"""A machine that is slow, or busy with other things: whatever answers late is not taken for broken, nor for having refused.

A control group gives howdah and the servers of an instance a fortieth of one processor.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import processes_below
from tests.real.instances import place

GROUPS = Path("/sys/fs/cgroup")
PERIOD, QUOTA = 40_000, 1_000  # in microseconds
SECONDS = 300

pytestmark = pytest.mark.long


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group whose processes get little of the processor, by the interface that is there (cgroup v2, else v1)."""
    unified = (GROUPS / "cgroup.subtree_control").exists()
    made = (GROUPS if unified else GROUPS / "cpu") / f"howdah-{secrets.token_hex(4)}"
    limits = {"cpu.max": f"{QUOTA} {PERIOD}"} if unified else {"cpu.cfs_period_us": str(PERIOD), "cpu.cfs_quota_us": str(QUOTA)}
    try:
        made.mkdir()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    try:
        if not all((made / name).exists() for name in limits):
            pytest.skip(f"{made.parent} does not share the processor out")
        for name, value in limits.items():
            (made / name).write_text(value)
        yield made
    finally:
        for pid in (made / "cgroup.procs").read_text().split():
            (made.parent / "cgroup.procs").write_text(pid)
        made.rmdir()


def slowly(group: Path, home: Path, *words: str) -> Any:
    """Run howdah in the group and return its answer, whatever its exit code."""
    enter = ["sh", "-c", f'echo $$ >{group}/cgroup.procs && exec "$@"', "sh"]
    command = [*enter, sys.executable, "-P", "-m", "howdah", *words, "--json"]
    environment = {**os.environ, "HOWDAH_HOME": str(home)}
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_what_serves_is_proven_and_left_alone_on_a_slow_machine(group: Path) -> None:
    with place() as here:
        here.create()
        for pid in processes_below(here.home):
            (group / "cgroup.procs").write_text(str(pid))
        report = slowly(group, here.home, "verify", "shop")
        assert [each for each in report["checks"] if each["result"] == "fail"] == []
        (repaired,) = slowly(group, here.home, "repair", "--all")
        assert repaired["operation"]["steps"] == []
