"""This machine under a pane of glass: run within `unshare --mount --pid --fork`, it lays an overlay over the whole file system, runs shell
scripts in it as root, and answers with what there is after each: every path that differs from the machine below, and every process.

    python overlay.py CLONE SCRIPT...   →   one JSON object a script: code, output, differs, processes
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

LAST_SECONDS = 30
ENDS = "# leaves nothing running"
MEMORY = ("dev/shm", "run", "tmp")
PATH = "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "HOWDAH_LANG": "en"}
Seen = dict[str, str]


def sh(*words: object) -> None:
    """Run a command that must succeed."""
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


def lay(place: Path, bound: Collection[str]) -> tuple[Path, Path]:
    """Lay the overlay, with some directories of the machine itself in it; return its root, and where all that differs is kept."""
    sh("mount", "--make-rprivate", "/")
    sh("mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", place)
    root, upper, work = place / "root", place / "upper", place / "work"
    for each in (root, upper, work):
        each.mkdir()
        each.chmod(0o755)
    sh("mount", "-t", "overlay", "overlay", "-o", f"lowerdir=/,upperdir={upper},workdir={work}", root)
    sh("mount", "-t", "proc", "proc", root / "proc")
    sh("mount", "--rbind", "/dev", root / "dev")
    for name in MEMORY:
        sh("mount", "-t", "tmpfs", "-o", "mode=1777", "tmpfs", root / name)
    for needed in bound:
        inside = root / needed.lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        sh("mount", "--bind", needed, inside)
    return root, upper


def look(upper: Path, root: Path, bound: Collection[str]) -> Seen:
    """Return all that differs from the machine below: path and what is there now. What is as it is below is left out, as is what lies in
    the directories of the machine itself, where others write meanwhile.
    """
    found = {f"/{path.relative_to(upper)}": told(path) for path in below(upper)}
    changed = {name: said for name, said in found.items() if said != told(Path(name))}
    in_memory = {f"/{path.relative_to(root)}": path for top in MEMORY for path in below(root / top)}
    theirs = tuple(f"{each}/" for each in bound)
    return {**changed, **{name: told(path) for name, path in in_memory.items() if not name.startswith(theirs)}}


def below(top: Path) -> list[Path]:
    """Return all that lies below a directory; one that goes away meanwhile, as a spare in the making does, is no error."""
    return [Path(place, name) for place, directories, files in os.walk(top) for name in (*directories, *files)]


def told(path: Path) -> str:
    """Return kind, mode, owner and content of a path in one word; empty where nothing is, or no longer."""
    try:
        seen = path.lstat()
        content = os.readlink(path) if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""  # noqa: PTH115
    except OSError:
        return ""
    return f"{seen.st_mode >> 12:o} {seen.st_mode & 0o7777:o} {seen.st_uid}:{seen.st_gid} {content}"


def processes() -> dict[int, str]:
    """Return what runs in this namespace beside us."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if line and int(entry.name) != os.getpid():
            found[int(entry.name)] = line
    return found


def run(script: str, root: Path, upper: Path, bound: Collection[str]) -> dict[str, object]:
    """Run one script, give what it left running some seconds to end if that is expected of it, and tell."""
    with tempfile.TemporaryFile("w+") as output:  # a file: what goes on detached would keep a pipe open
        command = ["chroot", str(root), "/bin/bash", "-c", script]
        done = subprocess.run(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=240, check=False)
        output.seek(0)
        said = output.read()
    deadline = time.monotonic() + LAST_SECONDS
    while ENDS in script and processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    return {"code": done.returncode, "output": said, "differs": look(upper, root, bound), "processes": list(processes().values())}


def main(clone: str, *scripts: str) -> None:
    """Lay the overlay, run the scripts in order."""
    sh("mount", "-t", "proc", "proc", "/proc")
    place = Path(tempfile.mkdtemp(prefix="overlay-"))
    try:
        bound = {clone, sys.prefix, sys.base_prefix} - {"/usr"}
        root, upper = lay(place, bound)
        for script in scripts:
            print(json.dumps(run(script, root, upper, bound)), flush=True)
    finally:
        subprocess.run(["umount", "-l", place], check=False)
        place.rmdir()


if __name__ == "__main__":
    main(*sys.argv[1:])
