"""Programs that keep several connections open by a snippet's own settings, and do with them what they are told, a line at a time.

They stand in tests/drivers/probes, one for each driver. One whose settings are text in the snippet is put behind them, in place of what
the snippet would do; one whose settings are a URL gets it from its environment.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.real import recipes
from tests.real.hops import CLEAN, PASSWORDS, SECONDS
from tests.real.recipes import built, drivers

from howdah.connect import Snippet, Target, snippet
from howdah.connect import rust as manifest

PLACE = Path(__file__).resolve().parents[1] / "drivers" / "probes"
Command = tuple[list[str], Mapping[str, str]]
Make = Callable[[Snippet, Path], Command]


@dataclass
class Probe:
    """A running one."""

    process: subprocess.Popen[str]

    def say(self, line: str) -> str:
        """Give it a line, and return what it says; an error begins with `error: `."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        for answer in self.process.stdout:
            if answer.startswith("= "):
                return answer[2:].strip()
        raise AssertionError(f"it ended at {line!r}")


@contextmanager
def probe(client: str, wanted: Target, home: Path, made: Make | None = None) -> Iterator[Probe]:
    """Start the probe of a client, or what is `made` otherwise of its snippet, and end it."""
    command, environment = (made or PROBES[client])(snippet(client, wanted), home)
    clean = {**CLEAN, "HOME": str(home), **environment, "PGPASSWORD": PASSWORDS[wanted.user]}
    with (home / "stderr").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=home, env=clean, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, bufsize=1
        )
    with process:
        try:
            yield Probe(process)
            assert process.stdin is not None
            process.stdin.close()
            process.wait(SECONDS)
        finally:
            process.kill()


def behind(program: list[str], name: str, end: str, *changes: tuple[str, str]) -> Make:
    """Return how a probe is put behind the settings of a snippet, which end where `end` begins."""

    def made(found: Snippet, home: Path) -> Command:
        head = found.text[: found.text.index(end)]
        for before, after in changes:
            assert before in head
            head = head.replace(before, after)
        file = f"probe{Path(name.removesuffix('.in')).suffix}"  # psycopg2.py would be imported in place of the driver
        (home / file).write_text(head + (PLACE / name).read_text())
        if name.endswith(".mjs"):
            recipes.modules("node", home)
        return [*program, file], {}

    return made


def within(name: str, pattern: str) -> Make:
    """Return how a probe of PHP gets the snippet's own call that connects."""

    def made(found: Snippet, home: Path) -> Command:
        call = re.search(pattern, found.text, re.DOTALL)
        assert call is not None
        fresh = call[0].replace("pg_connect(", "pg_connect(flags: PGSQL_CONNECT_FORCE_NEW, connection_string: ")
        (home / name).write_text((PLACE / name).read_text().replace("CONNECT;", f"{fresh};", 1))
        return ["php", name], {}

    return made


def java(found: Snippet, home: Path) -> Command:
    def build(place: Path) -> None:
        shutil.copy(PLACE / "Probe.java", place)
        drivers.run(["javac", "-cp", recipes.JARS, "Probe.java"], place)

    classes = built("probe-java", (PLACE / "Probe.java").read_text(), build)
    return ["java", *recipes.QUICK, "-cp", f"{classes}:{recipes.JARS}", "Probe"], found.environment


def go(found: Snippet, home: Path) -> Command:
    return [str(go_program("probe.go"))], found.environment


def go_program(name: str) -> Path:
    """Return a program of this folder, compiled."""

    def build(place: Path) -> None:
        for locked in ("go.mod", "go.sum"):
            shutil.copy(drivers.LOCKED / "go" / locked, place)
        shutil.copy(PLACE / name, place / "main.go")
        drivers.run([drivers.go_program(), "build", "-o", "client", "."], place, drivers.go_environment())

    return built(f"{Path(name).stem}-go", (PLACE / name).read_text(), build) / "client"


def rust(found: Snippet, home: Path) -> Command:
    return [str(rust_program("probe.rs"))], {**found.environment, **({"TYPED": "1"} if "query_typed(" in found.text else {})}


def rust_program(name: str) -> Path:
    """Return a program of this folder, compiled with the snippet's own crates."""
    text = (PLACE / name).read_text()
    return built(f"{Path(name).stem}-rust", text, lambda place: recipes.build_rust(place, manifest.MANIFEST, text)) / "client"


def sqlx_program(name: str) -> Path:
    """Return a program of this folder, compiled with sqlx."""
    text, crates = (PLACE / name).read_text(), (drivers.LOCKED / "sqlx" / "Cargo.toml").read_text()
    return built(Path(name).stem, text, lambda place: recipes.build_rust(place, crates, text, "sqlx")) / "client"


PYTHON = [sys.executable]
PROBES: Mapping[str, Make] = {
    "python": behind(PYTHON, "python.py.in", "with psycopg.connect"),
    "psycopg2": behind(PYTHON, "psycopg2.py.in", "connection = psycopg2"),
    "asyncpg": behind(PYTHON, "asyncpg.py.in", "async def main"),
    "odbc": behind(PYTHON, "odbc.py.in", 'string = ";"'),
    "node": behind(["node"], "node.mjs", "try {", ("const client = new pg.Client({", "const make = () => new pg.Client({")),
    "ruby": behind(["ruby"], "ruby.rb", "begin\n"),
    "php": within("php.php", r"pg_connect\('(?:[^'\\]|\\.)*'\)"),
    "pdo": within("pdo.php", r"new PDO\(.*?\n    \]\)"),
    "jdbc": java,
    "go": go,
    "rust": rust,
}
