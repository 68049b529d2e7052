"""Fetches the drivers that the clients of `connect` are tried with into .drivers, by the lock files in tests/drivers.

    python tools/drivers.py [--install] [NAME...]

Without --install it only says what is there. With it, Debian's packages are installed (as root, or by sudo where that asks nothing), and
npm, Go and cargo fetch what is locked, with its hashes. What cannot be had is told with the reason, and the tests on it are skipped. Go is
taken from a newer Debian release, unpacked here, where this one's is too old for the driver. It never compiles a client: tests do.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".drivers"
LOCKED = ROOT / "tests" / "drivers"
JARS = Path("/usr/share/java")
SECONDS = 600.0
GO_NEEDED = (1, 25)
GO_FROM = ("forky", "golang-1.26-go", "golang-1.26-src")


class Missing(Exception):
    """A driver is not there, and why."""


@dataclass(frozen=True)
class Driver:
    """What one language's clients need: Debian packages, what is fetched besides, and how to see that it is there."""

    name: str
    packages: tuple[str, ...]
    look: Callable[[], str]  # the version, or Missing
    fetch: Callable[[], None] | None = None


def run(command: Sequence[str | Path], cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed; Missing with its last words when it fails."""
    try:
        env = {**os.environ, "LC_ALL": "C.UTF-8", **(environment or {})}
        done = subprocess.run(
            command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()
        reason = next((line for line in said if line.startswith(("error:", "npm error ", "E: "))), said[-1])
        raise Missing(f"{Path(command[0]).name} failed: {reason}")
    return done.stdout


@contextmanager
def locked(place: Path) -> Iterator[None]:
    """Keep other processes from making the same."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with Path(f"{place}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def found(program: str, hint: str) -> str:
    """Return the path of a program."""
    path = shutil.which(program)
    if path is None:
        raise Missing(f"{program} is not installed ({hint})")
    return path


# ------------------------------------------------------------------------------------------------ from Debian alone


def php() -> str:
    """Return the versions of PHP and of the libpq that it stands on."""
    said = run([found("php", "php-cli"), "-r", "echo PHP_VERSION, ' ', extension_loaded('pdo_pgsql') ? PGSQL_LIBPQ_VERSION : '-';"])
    if said.endswith("-"):
        raise Missing("PHP has no pgsql extension (php-pgsql)")
    version, libpq = said.split(" ", 1)
    return f"PHP {version}, libpq {libpq.split()[0]}"


def ruby() -> str:
    """Return the versions of ruby-pg and of Ruby."""
    said = run([found("ruby", "ruby"), "-e", "require 'pg'; print PG::VERSION, ' ', RUBY_VERSION, ' ', PG.library_version"])
    version, language, libpq = said.split()
    return f"pg {version}, Ruby {language}, libpq {int(libpq) // 10000}.{int(libpq) % 10000}"


def odbc() -> str:
    """Return the version of psqlODBC."""
    registered = Path("/etc/odbcinst.ini")
    if not registered.exists() or "[PostgreSQL Unicode]" not in registered.read_text():
        raise Missing("psqlODBC is not registered in /etc/odbcinst.ini (odbc-postgresql)")
    return f"psqlODBC {package_version('odbc-postgresql')}, unixODBC {package_version('libodbc2')}"


def package_version(package: str) -> str:
    """Return the version of an installed Debian package, without what Debian adds to it."""
    said = run(["dpkg-query", "-W", "-f", "${Version}", package])
    return re.sub(r"^\d+:|[-+].*$", "", said)


def java() -> str:
    """Return the versions of pgJDBC, HikariCP and Java."""
    for jar in ("postgresql.jar", "HikariCP.jar", "slf4j-api.jar"):
        if not (JARS / jar).exists():
            raise Missing(f"{JARS / jar} is not there (libpostgresql-jdbc-java, libhikaricp-java)")
    version = run([found("javac", "default-jdk-headless"), "-version"]).split()[-1]
    drivers = f"pgJDBC {package_version('libpostgresql-jdbc-java')}, HikariCP {package_version('libhikaricp-java')}"
    return f"{drivers}, Java {version}"


# ------------------------------------------------------------------------------------------------ from npm


def node_major() -> int:
    """Return the major version of Node.js."""
    return int(run([found("node", "nodejs"), "--version"]).lstrip("v").split(".")[0])


def npm_version(project: str, module: str) -> str:
    """Return the version of a module that npm has put into a project's place."""
    manifest = HOME / project / "node_modules" / module / "package.json"
    if not manifest.exists() or not fresh(project, "package-lock.json"):
        raise Missing("its modules are not fetched (python tools/drivers.py --install)")
    version = re.search(r'^ {0,4}"version": "([^"]+)"', manifest.read_text(), re.MULTILINE)
    return version[1] if version else "?"


def fresh(project: str, lock: str) -> bool:
    """Tell whether what was fetched is by the lock file of today."""
    copy = HOME / project / lock
    return copy.exists() and copy.read_bytes() == (LOCKED / project / lock).read_bytes()


def npm_fetch(project: str) -> None:
    """Fetch what is locked; no module's own installation runs."""
    place = HOME / project
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    shutil.copy(LOCKED / project / "package.json", place)
    shutil.copy(LOCKED / project / "package-lock.json", place / "package-lock.json.new")
    (place / "package-lock.json.new").rename(place / "package-lock.json")
    run([found("npm", "npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], place)


def node() -> str:
    """Return the versions of pg and Node.js."""
    return f"pg {npm_version('node', 'pg')}, Node.js {run(['node', '--version']).strip().lstrip('v')}"


def prisma() -> str:
    """Return the versions of Prisma and Node.js."""
    if node_major() < 20:
        raise Missing(f"Prisma 7 needs Node.js 20, this is {node_major()}")
    version = npm_version("prisma", "@prisma/client")
    if not (HOME / "prisma" / "node_modules" / ".prisma" / "client" / "index.js").exists():
        raise Missing("its client is not generated (python tools/drivers.py --install)")
    return f"Prisma {version}, Node.js {run(['node', '--version']).strip().lstrip('v')}"


def prisma_fetch() -> None:
    """Fetch Prisma and generate its client; the schema engine, which it would download besides, is for migrations alone."""
    if node_major() < 20:
        raise Missing(f"Prisma 7 needs Node.js 20, this is {node_major()}")
    npm_fetch("prisma")
    sys.path.insert(0, str(ROOT / "src"))
    from howdah.connect import prisma as client

    place = HOME / "prisma"
    (place / "schema.prisma").write_text(client.SCHEMA)
    (place / "prisma.config.ts").write_text(client.CONFIG)
    told = {"PRISMA_SCHEMA_ENGINE_BINARY": "/bin/true", "DIRECT_URL": "postgresql://nobody@localhost/nothing", "CHECKPOINT_DISABLE": "1"}
    run(["node", "node_modules/prisma/build/index.js", "generate"], place, told)


# ------------------------------------------------------------------------------------------------ Go


@cache
def go_program() -> Path:
    """Return a Go that is new enough: this machine's, or the one unpacked here."""
    own = shutil.which("go")
    unpacked = sorted(HOME.glob("golang/usr/lib/go-*/bin/go"))
    for program in ([Path(own)] if own else []) + unpacked:
        if go_version(program) >= GO_NEEDED:
            return program
    needed = ".".join(map(str, GO_NEEDED))
    raise Missing(f"Go {needed} or newer is not there (python tools/drivers.py --install)")


def go_version(program: Path) -> tuple[int, ...]:
    """Return the version of a Go, (0,) where it does not run."""
    try:
        said = re.search(r"go(\d+)\.(\d+)", run([program, "version"], environment={"GOTOOLCHAIN": "local"}))
    except Missing:
        return (0,)
    return (int(said[1]), int(said[2])) if said else (0,)


def go_environment() -> dict[str, str]:
    """Return what a build is told: nothing is fetched but what is locked, and no other Go takes over."""
    return {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -buildvcs=false -trimpath", "GOWORK": "off", "CGO_ENABLED": "0"}


def go() -> str:
    """Return the versions of pgx and Go."""
    program = go_program()
    module = re.search(r"jackc/pgx/v5 v([\d.]+)", (LOCKED / "go" / "go.mod").read_text())
    if not (HOME / "go" / "fetched").exists() or not fresh("go", "go.sum"):
        raise Missing("its modules are not fetched (python tools/drivers.py --install)")
    return f"pgx {module[1] if module else '?'}, Go {'.'.join(map(str, go_version(program)))}"


def go_fetch() -> None:
    """Fetch the locked modules, and compile them once."""
    try:
        program = go_program()
    except Missing:
        run([sys.executable, ROOT / "tools" / "releases.py", "--unpack", *GO_FROM[:1], HOME / "golang", *GO_FROM[1:]])
        go_program.cache_clear()
        program = go_program()
    place = HOME / "go"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(LOCKED / "go", place)
    run([program, "mod", "download"], place, go_environment())
    run([program, "build", "-o", "fetched", "."], place, go_environment())


# ------------------------------------------------------------------------------------------------ Rust


def crate(project: str, name: str) -> str:
    """Return the versions of a project's crate and of Rust."""
    compiler = run([found("rustc", "rustc-web"), "--version"]).split()[1]
    if not (HOME / project / "fetched").exists() or not fresh(project, "Cargo.lock.in"):
        raise Missing("its crates are not fetched (python tools/drivers.py --install)")
    version = re.search(rf'name = "{name}"\nversion = "([^"]+)"', (LOCKED / project / "Cargo.lock.in").read_text())
    return f"{name} {version[1] if version else '?'}, Rust {compiler}"


def crates_fetch(project: str) -> None:
    """Fetch the locked crates, and compile them once; cargo itself says what it calls its registry, so that the lock file need not.

    What is locked is what Debian 12's compiler takes: `rust-version` says so to who locks anew.
    """
    place = HOME / project
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(LOCKED / project, place)
    (place / "src").mkdir()
    (place / "src" / "main.rs").write_text("fn main() {}\n")
    cargo = found("cargo", "cargo-web")
    run([cargo, "generate-lockfile", "--quiet"], place)
    registry = re.search(r'^source = ".*"$', (place / "Cargo.lock").read_text(), re.MULTILINE)
    if registry is None:
        raise Missing("cargo names no registry")
    (place / "Cargo.lock").write_text((place / "Cargo.lock.in").read_text().replace('source = "registry"', registry[0]))
    run([cargo, "build", "--quiet", "--locked"], place, rust_environment())
    (place / "fetched").touch()


def rust_environment() -> dict[str, str]:
    """Return what a build is told: nothing to debug by, which saves a third of its time."""
    return {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_INCREMENTAL": "0"}


# ------------------------------------------------------------------------------------------------ .NET


def dotnet() -> str:
    """Return the version of the .NET SDK, which Debian does not have."""
    return f"Npgsql 9, .NET SDK {run([found('dotnet', 'Debian has no .NET SDK'), '--version']).strip()}"


RUST = ("cargo-web", "rustc-web", "libssl-dev", "pkg-config", "gcc")
DRIVERS = {
    each.name: each
    for each in (
        Driver("php", ("php-cli", "php-pgsql"), php),
        Driver("ruby", ("ruby", "ruby-pg"), ruby),
        Driver("odbc", ("odbc-postgresql", "unixodbc"), odbc),
        Driver("java", ("default-jdk-headless", "libpostgresql-jdbc-java", "libhikaricp-java", "libslf4j-java"), java),
        Driver("node", ("nodejs", "npm"), node, lambda: npm_fetch("node")),
        Driver("prisma", ("nodejs", "npm"), prisma, prisma_fetch),
        Driver("go", (), go, go_fetch),
        Driver("rust", RUST, lambda: crate("rust", "tokio-postgres"), lambda: crates_fetch("rust")),
        Driver("sqlx", RUST, lambda: crate("sqlx", "sqlx"), lambda: crates_fetch("sqlx")),
        Driver("dotnet", (), dotnet),
    )
}
# Where a program is there already, from wherever, its package is not installed besides.
PROGRAMS = {
    "php-cli": "php", "ruby": "ruby", "default-jdk-headless": "javac", "nodejs": "node", "npm": "npm", "cargo-web": "cargo",
    "rustc-web": "rustc", "pkg-config": "pkg-config", "gcc": "gcc",
}  # fmt: skip


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return the Debian packages to install."""
    wanted = dict.fromkeys(package for name in names for package in DRIVERS[name].packages)
    return [package for package in wanted if not _there(package)]


def _there(package: str) -> bool:
    if package in PROGRAMS and shutil.which(PROGRAMS[package]):
        return True
    asked = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", package], capture_output=True, text=True, check=False)
    return asked.stdout == "installed"


def install_packages(packages: Sequence[str]) -> None:
    """Install Debian packages; as another user than root by sudo, where it asks nothing."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    run([*as_root, "sh", str(ROOT / "tools" / "install.sh"), *packages])


def install(names: Sequence[str]) -> None:
    """Install what is not there; each failure is told, and the others go on."""
    if packages := missing_packages(names):
        print(f"drivers: installing {' '.join(packages)} …", file=sys.stderr, flush=True)
        try:
            install_packages(packages)
        except (Missing, OSError) as reason:
            print(f"drivers: Debian's packages: {reason}", file=sys.stderr, flush=True)
    with ThreadPoolExecutor(2) as pool:  # some wait for a registry while others compile
        list(pool.map(_fetch, names))


def _fetch(name: str) -> None:
    fetch = DRIVERS[name].fetch
    if fetch is None or state(name)[0]:
        return
    try:
        with locked(HOME / name):
            fetch()
    except (Missing, OSError) as reason:
        print(f"drivers: {name}: {reason}", file=sys.stderr, flush=True)


def state(name: str) -> tuple[str | None, str]:
    """Return the version of a driver, or None; and why it is not there."""
    try:
        return DRIVERS[name].look(), ""
    except Missing as reason:
        return None, str(reason)


def main(arguments: Sequence[str]) -> int:
    """Install if asked to, then say what is there."""
    names = [each for each in arguments if not each.startswith("-")] or list(DRIVERS)
    if "--install" in arguments:
        install(names)
    for name in names:
        version, reason = state(name)
        print(f"{name}: {version or f'skipped: {reason}'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
