"""What every test session has: its own temporary root, a header with the versions it ran on, and a look at its end for processes
that it left behind. It finds them below that root alone, so that servers of other sessions and of the machine are never touched.
Each worker of pytest-xdist is such a session.
"""

from __future__ import annotations

import os
import platform
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import settings

ROOT, SHARED, ABOVE = pytest.StashKey[Path](), pytest.StashKey[Path](), pytest.StashKey[str]()
# Detached children (a refill of spares, the removal of trash) may still be on their way out when the last test ends.
GRACE_SECONDS = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="run the long tests too")
    parser.addoption("--machine", choices=["shared", "alone"], help="run only the tests that may share the machine, or only the others")


def pytest_configure(config: pytest.Config) -> None:
    # Short, because the paths of unix sockets end at 107 bytes; enterable, because as root the servers run as other users.
    if hasattr(config, "workerinput"):  # beside the root of the session that started this worker, not below it
        tempfile.tempdir, config.option.basetemp = config.workerinput["above"], None
    config.stash[ABOVE] = tempfile.gettempdir()
    root = Path(tempfile.mkdtemp(prefix="hw-"))
    root.chmod(0o711)
    os.environ["TMPDIR"] = tempfile.tempdir = str(root)
    config.stash[ROOT] = root
    config.stash[SHARED] = Path(getattr(config, "workerinput", {}).get("shared", root / "shared"))
    # How long an example takes says how busy the machine is, and nothing else.
    settings.register_profile("howdah", deadline=None, max_examples=1000 if config.getoption("--all") else 100)
    settings.load_profile("howdah")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker where to make its root, and what is there for all of them."""
    node.workerinput |= {"above": node.config.stash[ABOVE], "shared": str(node.config.stash[SHARED])}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return how many workers `-n auto` means: one more than cores, since most tests wait for servers; none for tests that were named."""
    return 0 if any("::" in each for each in config.args) else (os.cpu_count() or 1) + 1


def pytest_report_header() -> list[str]:
    named = [Path(each, "postgres") for each in os.environ.get("HOWDAH_POSTGRES_BINDIRS", "").split(":") if each]
    servers = [*named, *sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))]
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    pgbouncer = os.environ.get("HOWDAH_PGBOUNCER") or found
    programs = [*map(str, servers), *([pgbouncer] if pgbouncer else [])]
    versions = [subprocess.run([p, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0] for p in programs]
    return [f"howdah on: {', '.join(versions) or 'no server'}; Linux {platform.release()}; {os.cpu_count()} cores; uid {os.getuid()}"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: runs with --all"))
    elif hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.get_closest_marker("long") is None)  # first, lest one worker ends long after the others
    if machine := config.getoption("--machine"):
        alone = [item for item in items if item.get_closest_marker("alone")]
        shared = [item for item in items if not item.get_closest_marker("alone")]
        items[:], left_out = (alone, shared) if machine == "alone" else (shared, alone)
        config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Remove the session's root, but for a failure, which is looked into there."""
    if not hasattr(session.config, "workerinput"):
        shutil.rmtree(session.config.stash[SHARED], ignore_errors=True)
    if exitstatus != pytest.ExitCode.TESTS_FAILED:
        shutil.rmtree(session.config.stash[ROOT], ignore_errors=True)


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Path:
    """Return a directory that all workers of a run share: for what is dear to make, below a lock."""
    made = pytestconfig.stash[SHARED]
    made.mkdir(exist_ok=True)
    return made


@pytest.fixture(scope="session", autouse=True)
def nothing_left_running(pytestconfig: pytest.Config) -> Iterator[None]:
    """End and report every process whose working directory or command line lies below the session's root."""
    yield
    root = pytestconfig.stash[ROOT]
    deadline = monotonic() + GRACE_SECONDS
    left = {pid: line for pid, line in processes_below(root).items() if not ends_by(pid, deadline)}
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left:
        pytest.fail("left running:\n" + "\n".join(f"  {pid}  {line}" for pid, line in left.items()), pytrace=False)


def processes_below(root: Path) -> dict[int, str]:
    """Return pid and command line of each process that works in `root` or was given a path in it."""
    found = {}
    inside = re.compile(re.escape(str(root)) + r"(/|\0|$)")
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_text(errors="replace")
            if line and int(entry.name) != os.getpid() and (inside.search(line) or inside.match(str((entry / "cwd").readlink()))):
                found[int(entry.name)] = line.replace("\0", " ").strip()
    return found


def ends_by(pid: int, deadline: float) -> bool:
    """Wait for the end of `pid` until `deadline`; a process that is gone already has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([pidfd], [], [], max(0.0, deadline - monotonic()))[0])
    finally:
        os.close(pidfd)
