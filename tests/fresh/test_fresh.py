"""The proof that a clone is enough: whole Debian systems, made by debootstrap without any policy-rc.d, in which `./howdah quickstart`
is run as root and as a user with sudo. Each system has its own mounts and processes and shares only this machine's network; all that
it needs to reach packages is asked of this machine when the test runs.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest

CLONE = Path(__file__).resolve().parents[2]
RELEASES = ("bookworm", "trixie")
BUNDLE = "host-certificates.pem"
PASSED_ON = ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT", "PIP_PROXY", "http_proxy", "https_proxy", "no_proxy")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAST = "srv/clone.bundle"  # what a system gets last
POLICY = "usr/sbin/policy-rc.d"
PERSONS = {"root": "/root", "ada": "/home/ada", "bob": "/home/bob"}  # ada may use sudo, bob may not

# A first process that does nothing but reap, as a Debian system has one; everything ends with it.
INIT = """set -e
mount -t proc proc "$0/proc"
mount -t tmpfs tmpfs "$0/dev/shm"
exec chroot "$0" /bin/sh -c 'while sleep 3600; do :; done'
"""

pytestmark = pytest.mark.long
# Where only the shell, pip or sudo is asked something, one release speaks for both.
one_release = pytest.mark.parametrize("base", RELEASES[-1:], indirect=True, scope="module")


@dataclass(frozen=True)
class Machine:
    """A Debian system below `root` whose first process is `init`."""

    root: Path
    init: int

    def start(self, script: str, person: str = "root", isolated: bool = False) -> subprocess.Popen[str]:
        """Start a shell script in the person's clone; `isolated` takes the network away."""
        home = PERSONS[person]
        environment = {"HOME": home, "USER": person, "PATH": PATH, "LANG": "C.UTF-8", "PIP_CERT": f"/etc/ssl/{BUNDLE}"}
        environment |= {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        command = ["nsenter", f"--target={self.init}", "--mount", "--pid", *(["unshare", "--net"] if isolated else [])]
        command += ["chroot", f"--userspec={person}:{person}", f"--groups={person}", str(self.root), "/bin/sh", "-euc"]
        script = f"cd {home} && {{ [ ! -d howdah ] || cd howdah; }} && {script}"
        pipe = subprocess.PIPE
        return subprocess.Popen([*command, script], env=environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def run(self, script: str, person: str = "root", code: int = 0, isolated: bool = False) -> subprocess.CompletedProcess[str]:
        """Run a shell script as `start` does and expect its exit code, within 10 min."""
        with self.start(script, person, isolated) as process:
            out, err = process.communicate(timeout=600)
        assert process.returncode == code, f"{script}\nexit code {process.returncode}\n{out}\n{err}\n{self.logs()}"
        return subprocess.CompletedProcess(script, code, out, err)

    def logs(self) -> str:
        """Return the ends of howdah's own logs, for a failure's sake."""
        paths = [*self.root.glob("var/lib/howdah/log/*"), *self.root.glob("home/*/.local/share/howdah/log/*")]
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in paths)

    def clone(self, person: str) -> None:
        self.run("git clone --quiet /srv/clone.bundle howdah", person)

    def processes(self) -> list[int]:
        """Return the pids (as this machine sees them) of all that runs in it beside its first process."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                pid, line = int(entry.name), (entry / "cmdline").read_bytes()
                if (entry / "root").readlink() == self.root and pid != self.init and line and not line.startswith(b"sleep\0003600"):
                    found.append(pid)
        return found

    def enabled(self) -> set[str]:
        """Return what starts at the next boot."""
        wants = self.root.glob("etc/systemd/*/*.wants/*")
        return {str(path) for path in [*wants, *self.root.glob("etc/rc[2345S].d/S*")]}

    def leftovers(self) -> list[str]:
        """Return what an installation may leave only while it runs, and any Debian cluster."""
        patterns = (
            f"{POLICY}*",
            "etc/postgresql-common/createcluster.d/*",
            "var/cache/howdah*",
            "etc/postgresql/*/*",
            "var/lib/postgresql/*/*",
        )
        return [str(path) for pattern in patterns for path in self.root.glob(pattern)]


def mirror() -> str:
    """Return the Debian mirror that this machine's apt uses, or skip."""
    command = ["apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    address = next((line.split()[2] for line in lines if line.startswith("Debian Debian ")), None)
    if address is None:
        pytest.skip("apt knows no Debian mirror here (apt-get update was never run?)")
    try:
        urllib.request.urlopen(f"{address}dists/{RELEASES[0]}/Release", timeout=30).close()
    except OSError as reason:
        pytest.skip(f"the Debian mirror of this machine cannot be reached: {reason}")
    return address


def bootstrap(release: str, root: Path) -> None:
    """Make a minimal system with git, sudo and Python, two users, and this machine's way to packages."""
    command = ["debootstrap", "--variant=minbase", "--include=git,sudo,python3,ca-certificates", release, str(root), mirror()]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout[-2000:] + made.stderr
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc", name), root / "etc" / name)
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl" / BUNDLE)
    if Path("/etc/pip.conf").exists():
        shutil.copy("/etc/pip.conf", root / "etc/pip.conf")
    settings = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line for line in settings if re.match(r"Acquire::(http|https|Check)", line)]
    (root / "etc/apt/apt.conf.d/99this-machine").write_text("\n".join(ours) + "\n")
    subprocess.run(["chroot", str(root), "apt-get", "clean"], check=True)
    for person in ("ada", "bob"):
        subprocess.run(["chroot", str(root), "useradd", "--create-home", "--user-group", person], check=True)
    (root / "etc/sudoers.d/ada").write_text("ada ALL=(ALL) NOPASSWD: ALL\n")
    (root / "srv").mkdir(exist_ok=True)
    subprocess.run(["git", "-C", str(CLONE), "bundle", "create", "--quiet", str(root / LAST), "HEAD"], check=True)


@pytest.fixture(scope="module", params=RELEASES)
def base(request: pytest.FixtureRequest, shared: Path) -> Path:
    """A system that nothing was done to; tests run above it. It is made once, whoever of the workers comes first."""
    if os.getuid() != 0:
        pytest.skip("making a Debian system needs root")
    for program in ("debootstrap", "nsenter", "apt-get"):
        if shutil.which(program) is None:
            pytest.skip(f"making a Debian system needs {program}")
    if subprocess.run(["unshare", "--mount", "--pid", "--fork", "true"], check=False, capture_output=True).returncode:
        pytest.skip("namespaces of mounts and processes are not allowed here")
    root = Path(shared, request.param)
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / LAST).exists():
            shutil.rmtree(root, ignore_errors=True)
            bootstrap(request.param, root)
    return root


@contextmanager
def booted(base: Path) -> Iterator[Machine]:
    """Run the system, with what is written laid over it; when it ends, so does every process in it, and its mounts are gone."""
    place = Path(tempfile.mkdtemp(prefix="m-"))
    place.chmod(0o711)
    root, upper, work = place / "root", place / "upper", place / "work"
    for each in (root, upper, work):
        each.mkdir()
        each.chmod(0o755)
    overlay = ["mount", "-t", "overlay", "howdah-test", "-o", f"lowerdir={base},upperdir={upper},workdir={work}", str(root)]
    mounted = subprocess.run(overlay, check=False, capture_output=True).returncode == 0
    if not mounted:  # within a container, for one, which lies on an overlay itself
        subprocess.run(["cp", "-a", f"{base}/.", str(root)], check=True)
        root.chmod(0o755)
    outer = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INIT, str(root)])
    try:
        yield Machine(root, first_process(outer.pid, root))
    finally:
        outer.kill()
        outer.wait()
        if mounted:
            subprocess.run(["umount", root], check=True)
        shutil.rmtree(place)


def first_process(outer: int, root: Path) -> int:
    """Wait up to 10 s until the system's first process has entered it."""
    deadline = monotonic() + 10
    while monotonic() < deadline:
        for child in Path(f"/proc/{outer}/task/{outer}/children").read_text().split():
            with suppress(OSError):
                if Path(f"/proc/{child}/root").readlink() == root:
                    return int(child)
    raise AssertionError("the system did not start")


@pytest.fixture
def machine(base: Path) -> Iterator[Machine]:
    with booted(base) as running:
        yield running


def kill_everything(machine: Machine) -> int:
    pids = machine.processes()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


@pytest.mark.parametrize("person", ["root", "ada"])
def test_one_command_from_nothing_to_a_pooled_instance(machine: Machine, person: str) -> None:
    enabled = machine.enabled()
    machine.clone(person)
    first = machine.run("./howdah quickstart", person)
    assert "python3-venv postgresql pgbouncer" in first.stderr
    assert "sslmode=" in first.stdout
    assert machine.leftovers() == []
    assert machine.enabled() == enabled
    shown = machine.run("./howdah show demo --json", person)
    assert shown.stderr == ""
    assert json.loads(shown.stdout)["status"] == "running"

    assert kill_everything(machine) > 0
    machine.run("./howdah quickstart", person)
    assert json.loads(machine.run("./howdah show demo --json", person).stdout)["status"] == "running"
    running = sorted(machine.processes())
    again = machine.run("./howdah quickstart --json", person)
    json.loads(again.stdout)
    assert set(running) & set(machine.processes())
    assert json.loads(machine.run("./howdah verify demo --json", person).stdout)["verdict"] == "proven"

    machine.run("HOWDAH_TRASH=0 ./howdah delete demo --yes", person)
    machine.run("./howdah show demo", person, code=3)
    assert machine.leftovers() == []
    assert machine.enabled() == enabled
    if person != "root":
        assert machine.run(f"find {PERSONS[person]} ! -user {person}").stdout == ""


def test_a_machine_that_has_servers_keeps_them_as_they_were(machine: Machine) -> None:
    """An enabled pgbouncer, a cluster, a policy and a createcluster.conf of the administrator are the same afterwards."""
    machine.run("printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d")
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends pgbouncer >/dev/null 2>&1")
    machine.run("echo 'start_conf = manual' >>/etc/postgresql-common/createcluster.conf")
    watched = (POLICY, "etc/postgresql-common/createcluster.conf")
    before = {name: (machine.root / name).read_text() for name in watched}
    enabled = machine.enabled()
    assert any("pgbouncer" in name for name in enabled)
    machine.clone("root")
    machine.run("sh tools/install.sh postgresql pgbouncer")
    assert machine.run("ls /usr/lib/postgresql/*/bin/postgres").stdout
    assert {name: (machine.root / name).read_text() for name in watched} == before
    assert machine.enabled() == enabled
    assert machine.leftovers() == [str(machine.root / POLICY)]
    assert machine.processes() == []


def test_an_installation_that_was_killed_is_finished_by_the_next(machine: Machine) -> None:
    enabled = machine.enabled()
    machine.clone("root")
    with machine.start("sh tools/install.sh postgresql pgbouncer 2>&1") as installer:
        assert installer.stdout
        for line in installer.stdout:
            if line.startswith("Setting up postgresql-common"):
                break
        while kill_everything(machine):
            pass
    machine.run("/usr/sbin/policy-rc.d anything start")  # it stands there still and forbids nothing
    machine.run("./howdah --version")
    machine.run("./howdah quickstart")
    assert machine.leftovers() == []
    assert machine.enabled() == enabled


@one_release
def test_without_root_and_sudo_one_message_has_the_command_to_run(machine: Machine) -> None:
    machine.clone("bob")
    refused = machine.run("./howdah quickstart", "bob", code=6)
    assert refused.stdout == ""
    assert len(refused.stderr.splitlines()) == 1
    command = refused.stderr.split("run: ")[1]
    assert command.startswith("apt-get update && apt-get install")
    answer = json.loads(machine.run("./howdah quickstart --json", "bob", code=6).stderr)
    assert set(answer) == {"code", "message", "hint"}
    machine.run("./howdah quickstart --help", "bob", code=6)  # Python itself has no venv yet
    assert not (machine.root / "usr/bin/postgres").exists()


@one_release
def test_an_environment_is_whole_or_not_there(machine: Machine) -> None:
    """Without network there is none; of launches at the same time one makes it; a clone that was moved or may only be read works."""
    machine.run("apt-get update -qq && apt-get install -qq -y --no-install-recommends python3-venv >/dev/null 2>&1")
    machine.clone("ada")
    refused = machine.run("./howdah --version", "ada", code=6, isolated=True)
    assert "pip failed" in refused.stderr.splitlines()[-1]
    assert machine.run("ls -d .venv* 2>/dev/null || true", "ada").stdout == ""
    together = machine.run("for i in 1 2 3; do ./howdah --version & done; wait", "ada")
    assert together.stderr.count("making the Python environment") == 1
    assert len(set(together.stdout.splitlines())) == 1
    moved = machine.run("cd .. && mv howdah 'a b' && ln -s 'a b/howdah' h && ./h --version; mv 'a b' howdah", "ada")
    assert moved.stderr == ""
    assert moved.stdout in together.stdout
    machine.run("chmod 755 /home/ada && chmod -R go+rX /home/ada/howdah")
    assert machine.run("/home/ada/howdah/howdah --version", "bob").stdout == moved.stdout
    machine.run("rm -rf .venv", "ada")
    refused = machine.run("/home/ada/howdah/howdah --version", "bob", code=6)
    assert "not writable" in refused.stderr


@one_release
def test_an_installed_howdah_is_the_same_program(machine: Machine) -> None:
    machine.run("apt-get update -qq && apt-get install -qq -y --no-install-recommends pipx python3-venv >/dev/null 2>&1")
    machine.clone("ada")
    machine.run("pipx install .", "ada")
    ours = machine.run("cd src && git ls-files howdah ':!*.po' ':!*.pot'", "ada").stdout.split()
    python = machine.run("sed -n '1s/^#!//p' ../.local/bin/howdah", "ada").stdout.strip()
    place = machine.run(f"{python} -c 'import howdah; print(howdah.__path__[0])'", "ada").stdout.strip()
    there = machine.run(f"cd {place}/.. && ls {' '.join(ours)}", "ada")
    assert sorted(there.stdout.split()) == sorted(ours)
    for command in ("--version", "params catalog --version 15 --json", "extensions catalog --json"):
        installed = machine.run(f"/home/ada/.local/bin/howdah {command}", "ada").stdout
        assert installed
        assert machine.run(f"./howdah {command}", "ada").stdout == installed
