"""The same as an ordinary user, under whom both servers run: the life, the crashes and the damages, in a session of their own through
setpriv. Runs only where the tests themselves run as root; elsewhere every test is already this one.
"""

from __future__ import annotations

import os
import pwd
import shutil
import site
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

USER = "nobody"
CLONE = Path(__file__).parents[2]
NEEDED = (
    "psycopg",
    "cryptography",
    "cffi",
    "_cffi_backend",
    "pytest",
    "pluggy",
    "iniconfig",
    "packaging",
    "typing_extensions",
    "pygments",
    "typer",
    "hypothesis",
    "sortedcontainers",
)
LIFE = ["tests/real/test_life.py", "-k", "create or stop_and_start or keeps_pooled or refuses or delete or reloaded"]
CRASH = ["tests/real/test_crash.py", "-k", "takeover or parameter or delete"]
BOOT = ["tests/real/test_service.py", "-k", "reboot or down"]
DAMAGE = ["tests/real/test_damage.py", "-k", "killed or reboot or halted or PAUSE"]
EACH = {"life": LIFE, "crash": CRASH, "damage": DAMAGE, "boot": BOOT}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="these tests run as an ordinary user already")


def may_read(path: Path) -> bool:
    asked = ["setpriv", f"--reuid={USER}", "--clear-groups", "test", "-r", str(path)]
    return subprocess.run(asked, check=False).returncode == 0


@pytest.fixture(scope="module")
def clone() -> Path:
    """Return a clone that the user may read: this one, or a copy of it with the few packages that are needed."""
    packages = Path(site.getsitepackages()[0])
    if may_read(CLONE / "src" / "howdah" / "__init__.py") and may_read(packages / "psycopg" / "__init__.py"):
        return CLONE
    copy = Path(tempfile.mkdtemp(prefix="clone-"))
    copy.chmod(0o755)
    for part in ("src", "tests"):
        shutil.copytree(CLONE / part, copy / part)
    shutil.copy2(CLONE / "pyproject.toml", copy)
    for found in packages.iterdir():
        if found.name.startswith((*NEEDED, "_pytest")):
            (shutil.copytree if found.is_dir() else shutil.copy2)(found, copy / "src" / found.name)
    return copy


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A part of each file on every day; all of it with --all, where that of the boot is short and stays."""
    everything = metafunc.config.getoption("--all")
    for_all = [pytest.param(words[:1], id=name, marks=pytest.mark.long) for name, words in EACH.items() if name != "boot"]
    each = [pytest.param(words, id=name) for name, words in EACH.items()]
    metafunc.parametrize("chosen", [*for_all, each[-1]] if everything else each)


def test_as_an_ordinary_user(clone: Path, chosen: list[str]) -> None:
    home = Path(tempfile.mkdtemp(prefix="u"))
    shutil.chown(home, USER)
    python = sys.executable if clone == CLONE else os.path.realpath(sys.executable)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONPATH": f"{clone}/src:{clone}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = ["setpriv", f"--reuid={USER}", f"--regid={pwd.getpwnam(USER).pw_gid}", "--clear-groups", python, "-m", "pytest"]
    options = ["-q", "-x", "--tb=short", "-p", "no:cacheprovider", "-c", f"{clone}/pyproject.toml", f"--rootdir={clone}"]
    done = subprocess.run([*command, *options, *chosen], cwd=clone, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    assert " passed" in done.stdout
