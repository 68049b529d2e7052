"""Server programs of other Debian releases, unpacked into a directory of their own, so that the tests can be run with each.

Nothing is installed: apt gets configuration, lists and cache of its own below that directory, from the mirror that this machine's apt
uses; what it downloads is unpacked, and the programs are made to load their own release's libraries. Needs neither root nor a container.
`releases.py` names the releases that this machine is not; `releases.py RELEASE DIRECTORY` fetches one, and prints its versions and the
environment by which Howdah runs it as JSON, or why it cannot be had, with exit code 1. `releases.py --unpack RELEASE DIRECTORY PACKAGE...`
unpacks packages that stand on nothing but themselves, such as Go.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RELEASES = {"bookworm": 15, "trixie": 17, "forky": 18}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SECONDS = 600.0
# What the dependencies bring and no server needs to run: JIT's compiler, Perl, locales.
_LEFT_OUT = re.compile(r"(libllvm|libz3|libperl|perl|locales|openssl_|libc-l10n|debconf|adduser)")


class Unavailable(Exception):
    """Programs of another release cannot be had here, and why."""


@dataclass(frozen=True)
class Programs:
    """The servers of one release, and the environment by which Howdah runs them."""

    release: str
    versions: tuple[str, ...]
    environment: Mapping[str, str]


def own_release() -> str:
    """Return the codename of this machine's release."""
    found = re.search(r"^VERSION_CODENAME=(\S+)$", Path("/etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def unpack(release: str, into: Path, *packages: str) -> None:
    """Download packages of a release, and unpack just those, not what they depend on, into `into`."""
    with tempfile.TemporaryDirectory(dir=into.parent) as scratch:
        place = Path(scratch, "unpacked")
        place.mkdir()
        for package in _download(release, Path(scratch), *packages):
            if package.name.split("_")[0] in packages:
                _run(["dpkg", "-x", package, place])
        place.rename(into)


def others() -> list[str]:
    """Return the releases whose programs this machine does not have itself."""
    return [release for release in RELEASES if release != own_release()]


def fetch(release: str, into: Path) -> Programs:
    """Download and unpack PostgreSQL and PgBouncer of a release into `into`, which others may pass through; a minute or so."""
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise Unavailable(f"this machine has no {program}")
    into.mkdir(parents=True)
    into.chmod(0o711)
    root, major = into / "root", RELEASES[release]
    root.mkdir()
    for package in _download(release, into, f"postgresql-{major}", "pgbouncer"):
        if not _LEFT_OUT.match(package.name):
            _run(["dpkg", "-x", package, root])
    root.chmod(0o755)
    bindir, pgbouncer = root / f"usr/lib/postgresql/{major}/bin", root / "usr/sbin/pgbouncer"
    _bind(root, [*bindir.iterdir(), pgbouncer], _patchelf(into))
    for library in (bindir.parent / "lib").glob("llvmjit*"):
        library.unlink()
    versions = tuple(_run([program, "--version"]).splitlines()[0] for program in (bindir / "postgres", pgbouncer))
    return Programs(release, versions, {"HOWDAH_POSTGRES_BINDIRS": str(bindir), "HOWDAH_PGBOUNCER": str(pgbouncer)})


def mirror() -> str:
    """Return the Debian mirror that this machine's apt uses."""
    form = "$(ORIGIN) $(LABEL) $(REPO_URI)"
    lines = _run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines()
    found = next((line.split()[2] for line in lines if line.startswith("Debian Debian ")), None)
    if found is None:
        raise Unavailable("apt knows no Debian mirror here (apt-get update was never run?)")
    return found


def _download(release: str, into: Path, *packages: str) -> Sequence[Path]:
    """Download packages with all that they depend on, as if nothing were installed; return the files."""
    for directory in ("lists/partial", "archives/partial"):
        (into / directory).mkdir(parents=True)
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (into / "sources.list").write_text(f"deb {signed}{mirror()} {release} main\n")
    (into / "status").touch()
    options = {
        "Dir::Etc::sourcelist": into / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::State": into,
        "Dir::State::lists": into / "lists",
        "Dir::State::status": into / "status",
        "Dir::Cache": into,
        "Dir::Cache::archives": into / "archives",
        "APT::Sandbox::User": "",
        "APT::Install-Recommends": "0",
        "APT::Update::Error-Mode": "any",
        "Acquire::Languages": "none",
        "Debug::NoLocking": "1",
    }
    apt = ["apt-get", "-qq", *(word for key, value in options.items() for word in ("-o", f"{key}={value}"))]
    _run([*apt, "update"])
    _run([*apt, "--yes", "--download-only", "install", *packages])
    return sorted((into / "archives").glob("*.deb"))


def _patchelf(into: Path) -> Path:
    """Return patchelf: this machine's, or that of its own release, unpacked here."""
    found = shutil.which("patchelf")
    if found is not None:
        return Path(found)
    place = into / "patchelf"
    place.mkdir()
    _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", "patchelf"], cwd=place)
    _run(["dpkg", "-x", *place.glob("patchelf*.deb"), place])
    return place / "usr/bin/patchelf"


def _bind(root: Path, programs: Sequence[Path], patchelf: Path) -> None:
    """Have programs load their own release's C library and all others from `root`; DT_RPATH, unlike DT_RUNPATH, holds for those, too."""
    loader = next((each for each in sorted(root.glob("usr/lib/*/ld-linux*.so.*")) + sorted(root.glob("lib/*/ld-linux*.so.*"))), None)
    if loader is None:
        raise Unavailable(f"no dynamic loader for {platform.machine()} is among the packages")
    for program in programs:
        if program.is_file() and not program.is_symlink() and program.read_bytes()[:4] == b"\x7fELF":
            libraries = f"{loader.parent}:{root}/usr/lib/{loader.parent.name}"
            _run([patchelf, "--set-interpreter", loader, "--force-rpath", "--set-rpath", libraries, program])


def _run(command: Sequence[str | Path], cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise Unavailable(f"{Path(command[0]).name} failed: {last}")
    return done.stdout


def main() -> int:
    """Name the releases, or fetch one."""
    asked = sys.argv[1:]
    if asked[:1] == ["--unpack"]:
        return _told(lambda: unpack(asked[1], Path(asked[2]), *asked[3:]))
    if len(asked) != 2:
        print("\n".join(others()))
        return 0
    return _told(lambda: _print(fetch(asked[0], Path(asked[1]))))


def _print(found: Programs) -> None:
    print(json.dumps({"versions": found.versions, "environment": dict(found.environment)}))


def _told(act: Callable[[], None]) -> int:
    try:
        act()
    except (Unavailable, OSError) as reason:
        print(reason, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
