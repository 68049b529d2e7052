"""Runs every check of the project one after the other, then pytest, and ends with one line of counts in which each check is one test.

It decides nothing: what is checked, and how strictly, stands in `pyproject.toml`. Tests run in several processes at once, most of them wait
more than they compute; those marked `alone` run after them, one by one. With `--all` alone, the tests on whole instances are run with the
servers of other Debian releases, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
CHECKS = (
    ("ruff", "check"),
    ("ruff", "format", "--check"),
    ("mypy",),
    ("lint-imports", "--no-cache"),
)
# What is run again with the servers of other releases.
ON_INSTANCES = tuple(
    f"tests/real/test_{name}.py"
    for name in ("life", "pooler_life", "tls", "people", "verify", "programs", "parsers_pooler", "parsers_server")
)
# What the marker `alone` says. A worker that has nothing left takes from the others, so a file's own instance may be made twice, no more.
SHARED, ALONE = ("-n", "auto", "--dist", "worksteal", "--machine", "shared"), ("-n", "0", "--machine", "alone")
NONE_COLLECTED = 5  # pytest's exit code
# Real servers on a busy machine: a few failures are looked at twice. More than these are a fault, not chance.
MOST_AGAIN = 5


@dataclass(frozen=True)
class Count:
    """How many tests passed, failed and were skipped; an error in a fixture is a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)


def run(check: tuple[str, ...]) -> Count:
    """Run one tool in the root; its output is shown only when it fails."""
    began = monotonic()
    done = subprocess.run([BIN / check[0], *check[1:]], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(f"{' '.join(check)}: {'ok' if done.returncode == 0 else 'failed'} ({monotonic() - began:.1f} s)", flush=True)
    if done.returncode:
        print(done.stdout, flush=True)
    return Count(failed=1) if done.returncode else Count(passed=1)


def count(report: Path) -> Count:
    """Read the counts of a JUnit report.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile("w", suffix=".xml") as file:
    ...     _ = file.write('<testsuites><testsuite tests="5" failures="1" errors="1" skipped="1"/></testsuites>')
    ...     file.flush()
    ...     count(Path(file.name))
    Count(passed=2, failed=2, skipped=1)
    """
    total = Count()
    for suite in ElementTree.parse(report).iter("testsuite"):
        tests, failures, errors, skipped = (int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped"))
        total += Count(tests - failures - errors - skipped, failures + errors, skipped)
    return total


def pytest(options: list[str], environment: Mapping[str, str] | None = None) -> Count:
    """Run pytest; a few that failed are run once more, and what passes then is said to be unsteady, aloud, before it counts as passed."""
    ran = [_pytest([*how, *options], environment or {}) for how in (SHARED, ALONE)]
    first, codes = sum((counted for counted, _ in ran), Count()), {code for _, code in ran}
    if codes - {0, 1, NONE_COLLECTED} or codes == {NONE_COLLECTED} or not 0 < first.failed <= MOST_AGAIN:
        return first if first.failed or (codes <= {0, NONE_COLLECTED} and 0 in codes) else first + Count(failed=1)
    print(f"{first.failed} failed; once more, alone:", flush=True)
    again, _ = _pytest(["-n", "0", *options, "--last-failed", "--last-failed-no-failures=none"], environment or {})
    unsteady = first.failed - again.failed if again.passed else 0
    print(f"unsteady, failed above and passed alone: {unsteady}", flush=True)
    return Count(first.passed + unsteady, first.failed - unsteady, first.skipped)


def _pytest(options: list[str], environment: Mapping[str, str]) -> tuple[Count, int]:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch, "report.xml")
        command = [sys.executable, "-P", "-m", "pytest", "-rfEs", "--durations=10", f"--junitxml={report}", *options]
        code = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=False).returncode
        return (count(report) if report.exists() else Count()), code


@dataclass(frozen=True)
class Release:
    """The servers of another Debian release: what they are, and the environment by which the tests run with them."""

    name: str
    versions: tuple[str, ...]
    environment: Mapping[str, str]


@contextmanager
def other_releases(wanted: bool) -> Iterator[list[Release | str]]:
    """Fetch the servers of each other Debian release, if they are wanted, side by side; what cannot be had is told by name and reason."""
    fetch = [sys.executable, "-P", str(ROOT / "tools/releases.py")]
    names = subprocess.run(fetch, stdout=subprocess.PIPE, text=True, check=True).stdout.split() if wanted else []
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as fetching:
        Path(scratch).chmod(0o711)  # the servers are other users
        begun = [subprocess.Popen([*fetch, name, str(Path(scratch, name))], stdout=-1, stderr=-1, text=True) for name in names]
        for each in begun:
            fetching.enter_context(each)
        yield [_fetched(name, each) for name, each in zip(names, begun, strict=True)]


def _fetched(name: str, fetch: subprocess.Popen[str]) -> Release | str:
    out, err = fetch.communicate()
    if fetch.returncode:
        return f"the servers of {name}: {err.strip()}"
    programs = json.loads(out)
    return Release(name, tuple(programs["versions"]), programs["environment"])


def with_all_poolers(releases: Iterable[Release | str]) -> dict[str, str]:
    """Return the environment in which tests that try each PgBouncer find those of the other releases, too."""
    found = [each.environment["HOWDAH_PGBOUNCER"] for each in releases if isinstance(each, Release)]
    return {"HOWDAH_TEST_POOLERS": ":".join(found)} if found else {}


def with_other_release(release: Release | str) -> Count:
    """Run the tests on instances with the servers of another Debian release; one that cannot be had is told and skipped."""
    if isinstance(release, str):
        print(f"skipped: {release}", flush=True)
        return Count(skipped=1)
    print(f"with the servers of {release.name}: {', '.join(release.versions)}", flush=True)
    return pytest(list(ON_INSTANCES), release.environment)


def main() -> int:
    """Check and test; exit code 1 when anything failed."""
    began = monotonic()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # thousands of commands would compile the same modules, each for itself
    options = sys.argv[1:]
    with other_releases(wanted=options == ["--all"]) as releases:
        total = sum((run(check) for check in CHECKS), Count()) + pytest(options, with_all_poolers(releases))
        total += sum((with_other_release(release) for release in releases), Count())
    print(f"all of it took {monotonic() - began:.0f} s", flush=True)
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
