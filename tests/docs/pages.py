"""The documents as tests read them: pages, their blocks of commands, and how a page is run in one shell on a state of its own.

A block marked `console` holds `$ command` lines (`> ` continues one) and what they print. `…` stands for anything; what differs from
machine to machine (durations, ports, ids, passwords, days, dates, versions) is made the same on both sides before it is compared.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.real.instances import stock
from tests.real.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
PAGES = tuple(sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]))
SECONDS = 300
LAST_SECONDS = 30
HOME_IN_DOCUMENTS = "/var/lib/howdah"
_FENCE = re.compile(r"^( {0,3})```(\w*)\s*$")
_NOT_RUN = re.compile(r"<!-- not run: (.+) -->")
_PORT = re.compile(r"(?<=port[= ])\d{4,5}\b")
_END = "\x1e"
_SAME = (
    (re.compile(r"\b\d+(\.\d+)? (ms|s|мс|с)\b"), "0 s"),
    (re.compile(r"\b54\d\d\b"), "5432"),
    (re.compile(r"\b64\d\d\b"), "6432"),
    (re.compile(r"\b127\.0\.0\.1, ::1"), "127.0.0.1"),
    (re.compile(r"(?<=\bid )[a-z0-9]{8}\b|(?<=files/)[a-z0-9]{8}\b|(?<=instances/)[a-z0-9]{8}\b|\b[a-z0-9]{8}(?=-1\b)"), "abcd1234"),
    (re.compile(r"(?<=: )[A-Za-z0-9]{24}$"), "PASSWORD"),
    (re.compile(r"\b[0-9a-f]{40}\b"), "SERIAL"),
    (re.compile(r"\b\d+ (days|дн\.|дней|дня|день)"), "396 days"),
    (re.compile(r"\bPostgreSQL 1\d\b"), "PostgreSQL 15"),
    (re.compile(r"пройдено \d+, не пройдено 0, предупреждений \d+, пропущено \d+"), "пройдено 63, не пройдено 0"),
    (re.compile(r"\bpassed \d+, failed 0, warnings \d+, skipped \d+"), "passed 63, failed 0, warnings 0, skipped 0"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+Z)?"), "DATE"),
)


@dataclass(frozen=True)
class Command:
    """One command of a page, and the lines that it is said to print."""

    text: str
    output: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its lines, and why it is not run, if so."""

    language: str
    lines: tuple[str, ...]
    not_run: str | None

    def commands(self) -> list[Command]:
        """Return the commands of a console block, each with its output."""
        found: list[tuple[list[str], list[str]]] = []
        for line in self.lines:
            if line.startswith("$ "):
                found.append(([line[2:]], []))
            elif line.startswith("> ") and not found[-1][1]:
                found[-1][0].append(line[2:])
            elif line.strip():
                found[-1][1].append(line)
        return [Command("\n".join(words), tuple(output)) for words, output in found]


def name(page: Path) -> str:
    """Return the name of a page within the project."""
    return str(page.relative_to(ROOT))


def blocks(text: str) -> Iterator[Block]:
    """Return the fenced blocks of a page."""
    language: str | None = None
    lines: list[str] = []
    indent = 0
    reason: str | None = None
    for line in text.splitlines():
        fence = _FENCE.match(line)
        if language is not None and fence:
            yield Block(language, tuple(lines), reason)
            language, reason = None, None
        elif fence:
            indent, language, lines = len(fence[1]), fence[2], []
        elif language is not None:
            lines.append(line[indent:])
        elif line.strip():
            found = _NOT_RUN.match(line.strip())
            reason = found[1] if found else None


def console(page: Path) -> list[Block]:
    """Return the console blocks of a page."""
    return [block for block in blocks(page.read_text()) if block.language == "console"]


def commands(page: Path) -> list[Command]:
    """Return the commands of a page that are to be run, in order."""
    return [command for block in console(page) if block.not_run is None for command in block.commands()]


# ------------------------------------------------------------------------------------------------ running


@dataclass(frozen=True)
class Ran:
    """What a command did."""

    command: Command
    code: int
    output: str
    checked: bool  # the next command asks for the exit code

    def wrong(self) -> str | None:
        """Return what is not as documented, or None."""
        if self.code and not self.checked:
            return f"$ {self.command.text}\nexit code {self.code}:\n{self.output}"
        lines = iter(same(line) for line in self.output.splitlines())
        for wanted in self.command.output:
            pattern = re.compile(".*".join(re.escape(part) for part in same(wanted).split("…")))
            if not any(pattern.fullmatch(line) for line in lines):
                return f"$ {self.command.text}\ndoes not print, or not in this order:\n{wanted}\nbut:\n{self.output}"
        return None


def same(line: str) -> str:
    """Return a line without what differs from machine to machine."""
    for pattern, word in _SAME:
        line = pattern.sub(word, line)
    return " ".join(line.split())


@dataclass
class Shell:
    """A state of its own, and how pages are run on it."""

    home: Path
    environment: dict[str, str]
    ports: dict[str, str] = field(default_factory=dict)

    def run(self, asked: list[Command]) -> list[Ran]:
        """Run commands in one bash, one after the other; all of them within the time limit."""
        script = "".join(
            f"eval {shlex.quote(self._ported(each.text))} </dev/null; code=$?; printf '\\n{_END}%d\\n' $code; (exit $code)\n"
            for each in asked
        )
        with tempfile.TemporaryFile("w+") as output:  # a file: a detached child would keep a pipe open
            subprocess.run(
                ["bash", "--noprofile", "--norc", "-c", script],
                env=self.environment,
                cwd=self.environment["HOME"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=SECONDS,
                check=False,
            )
            output.seek(0)
            said = self._unported(output.read().replace(str(self.home), HOME_IN_DOCUMENTS))
        parts = said.split(f"\n{_END}")
        outputs, codes = [parts[0], *(p.partition("\n")[2] for p in parts[1:-1])], [int(p.partition("\n")[0]) for p in parts[1:]]
        asks = [*(each.text.startswith("echo $?") for each in asked[1:]), False]
        return [Ran(*each) for each in zip(asked, codes, outputs, asks, strict=True)]

    def _ported(self, text: str) -> str:
        """Put ports that are free here in place of those that a page names and of the first ones, and our state in place of all state.

        A test beside this one may take the first free port while a server of ours is being restarted.
        """
        text = _PORT.sub(lambda found: self._port(found[0]), text.replace(HOME_IN_DOCUMENTS, str(self.home)))
        if text.startswith("howdah create ") and "--port" not in text:
            text = text.replace("howdah create ", f"howdah create --port {self._port('5432')} ")
        if "pooler:" in text and "listen_port" not in text:
            text = text.replace("pooler:", f"pooler:listen_port={self._port('6432')},")
        return text

    def _port(self, named: str) -> str:
        return self.ports.setdefault(named, str(free_port()))

    def _unported(self, text: str) -> str:
        for named, real in self.ports.items():
            text = re.sub(rf"\b{real}\b", named, text)
        return text


@contextmanager
def shell(language: str = "en", *, spared: bool = False) -> Iterator[Shell]:
    """Make a state of its own with `howdah` on PATH and as ./howdah; leave no process and no file behind.

    One that is `spared` has a spare data directory, and makes no further ones.
    """
    place = Path(tempfile.mkdtemp(prefix="d"))
    place.chmod(0o711)
    home, own = place / "h", place / "own"
    own.mkdir()
    shim = own / "howdah"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m howdah "$@"\n')
    shim.chmod(0o755)
    kept = {key: os.environ[key] for key in ("HOWDAH_PGBOUNCER", "HOWDAH_POSTGRES_BINDIRS", "TMPDIR") if key in os.environ}
    system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    python = Path(sys.executable).parent
    environment = {"PATH": f"{own}:{python}:{system}", "HOME": str(own), "HOWDAH_HOME": str(home), "HOWDAH_LANG": language, **kept}
    environment["LC_ALL"] = "C.UTF-8"
    if spared:
        home.mkdir(mode=0o711)
        stock(home)
        environment["HOWDAH_SPARES"] = "0"
    made = Shell(home, environment)
    try:
        yield made
    finally:
        _end(made)
        shutil.rmtree(place)


def _end(made: Shell) -> None:
    """Delete every instance, end what would only wait for the trash, and let what else works on this state come to its end."""
    listed = 'for name in $(howdah list --json | sed -n \'s/^    "name": "\\(.*\\)",$/\\1/p\'); do howdah delete $name --yes; done'
    environment = {**made.environment, "HOWDAH_TRASH": "0"}
    subprocess.run(
        ["bash", "-c", listed], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=SECONDS, check=False
    )
    deadline = time.monotonic() + LAST_SECONDS
    while left := _at_work(made.home):
        late = time.monotonic() > deadline
        for pid, line in left.items():
            if late or "empty-trash" in line:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _at_work(home: Path) -> dict[int, str]:
    """Return the processes that were started on this state: they bear its name in their environment or on their command line."""
    found = {}
    mark, place = f"HOWDAH_HOME={home}".encode(), f"{home}/".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (entry / "cmdline").read_bytes()
            if line and (place in line or mark in (entry / "environ").read_bytes().split(b"\0")):
                found[int(entry.name)] = line.decode(errors="replace")
    return found
