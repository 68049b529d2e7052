"""What a clone brings to run at all: its lock files, and a launcher whose refusals a script can read."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

CLONE = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-dev.lock")
SCANNER = "requirements-scan.lock"


def locked(name: str) -> dict[str, str]:
    """Return each package of a lock file with its exact version."""
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (CLONE / name).read_text(), re.MULTILINE))


def wanted(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in requirements}


@pytest.mark.parametrize("name", [*LOCKS, SCANNER])
def test_a_lock_file_pins_by_hash_and_names_no_index(name: str) -> None:
    text = (CLONE / name).read_text()
    assert not re.search(r"://|index|find-links|trusted-host", text.replace("--hash", ""))
    for entry in re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]:
        assert re.match(r"[a-z0-9-]+==\S+.*(\n    --hash=sha256:[0-9a-f]{64}.*)+\n$", entry), entry


def test_the_developers_lock_holds_what_users_have_and_all_that_is_asked_for() -> None:
    project = tomllib.loads((CLONE / "pyproject.toml").read_text())
    users, developers = map(locked, LOCKS)
    assert users.items() <= developers.items()
    assert wanted(project["project"]["dependencies"]) <= users.keys()
    assert wanted(project["dependency-groups"]["dev"]) <= developers.keys()
    assert wanted(project["dependency-groups"]["scan"]) <= locked(SCANNER).keys()


def test_a_refusal_of_the_launcher_is_one_line_or_one_object(tmp_path: Path) -> None:
    """Python is too old here: a `python3` that says so stands in front, and the launcher is told of no other."""
    clone = tmp_path / 'a "quoted" clone'
    (clone / "tools").mkdir(parents=True)
    script = (CLONE / "tools/environment.sh").read_text().replace("/usr/bin/python3", str(tmp_path / "python3"))
    (clone / "tools/environment.sh").write_text(script)
    shutil.copy(CLONE / "howdah", clone)
    (tmp_path / "python3").write_text('#!/bin/sh\n[ "$1" = --version ] && exec echo Python 3.9.2 \'or "so"\'\nexit 1\n')
    (tmp_path / "python3").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    for option in ([], ["--json"]):
        done = subprocess.run([clone / "howdah", "list", *option], env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (6, "", 1)
        assert "3.9.2" in done.stderr
    assert set(json.loads(done.stderr)) == {"code", "message", "hint"}
    russian = subprocess.run([clone / "howdah"], env=environment | {"LANG": "ru_RU.UTF-8"}, capture_output=True, text=True, check=False)
    assert russian.stderr.startswith("ошибка: не подходит Python 3.9.2")
