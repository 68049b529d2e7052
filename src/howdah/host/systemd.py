"""The systemd of this machine, or of one user: put units in place, start what starts the servers, take all of it away again.

The texts are `core.boot`'s. Files that others wrote under our names are neither overwritten nor removed. No server is stopped here: taking
the units away leaves everything running.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from howdah import settings
from howdah.core import boot as units
from howdah.core.boot import Boot, BootSeen
from howdah.errors import Conflict, Failed, Invalid, Unavailable, Unsupported
from howdah.host import accounts, files, process
from howdah.phrase import say

_SECONDS = 90.0  # as long as systemctl itself waits for a reload of all units
_START_SECONDS = 300.0  # one pass over every instance
_LAST_SYSTEM_UID = 999  # logind leaves what belongs to system users alone (SYS_UID_MAX of login.defs)
_PASSED_ON: Final = frozenset(each.name for each in settings.SETTINGS) - {"HOWDAH_HOME", "HOWDAH_LANG", "HOWDAH_ADMIN_PASSWORD"}


@dataclass(frozen=True)
class Place:
    """Where one systemd has its units and remembers its timers, and whose it is."""

    units: Path
    stamps: Path
    user: str = ""  # the ordinary user whose own systemd it is; empty for the machine's
    running: bool = True  # it runs this machine; where it does not, files can still be taken away

    @property
    def personal(self) -> bool:
        """Whether it is an ordinary user's own."""
        return bool(self.user)


def booted() -> bool:
    """Tell whether systemd runs this machine (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def here() -> Place:
    """Return the systemd under which our servers would be started: the machine's for root, else our own."""
    if os.geteuid() == 0:
        return Place(Path("/etc/systemd/system"), Path("/var/lib/systemd/timers"), running=booted())
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError:
        return Place(Path("/nonexistent"), Path("/nonexistent"), str(os.geteuid()), running=False)
    own = Path(entry.pw_dir)
    return Place(own / ".config/systemd/user", own / ".local/share/systemd/timers", entry.pw_name, running=booted())


def boot(home: Path, place: Place, open_files: int = units.FEWEST_FILES) -> Boot:
    """Return what is to be started at boot: this howdah, with the settings that it was called with."""
    given = {name: value for name in _PASSED_ON if (value := os.environ.get(name))}
    name = units.unit_name(home, default=_is_default(home))
    ours = units.switched_lingering_on(files.read(place.units / f"{name}.service") or "")
    serve = units.serve_in(files.read(place.units / f"{name}-serve.service") or "")
    return Boot(name, home, Path(sys.executable), place.personal, given, open_files, ours, serve)


def _is_default(home: Path) -> bool:
    with contextlib.suppress(Invalid):  # there is no default where HOME names no directory
        return home == settings.home({name: value for name, value in os.environ.items() if name != "HOWDAH_HOME"})
    return False


def seen(place: Place, wanted: Boot) -> BootSeen:
    """Return what is there of it now."""
    lying = _ours(place, wanted)
    texts = units.texts(wanted)
    current = {*texts, *units.links(wanted)} == {*lying} and all(
        units.same(files.read(place.units / name) or "", text) for name, text in texts.items()
    )
    active = place.running and bool(lying) and _asked(place, "is-active", "--quiet", wanted.service) is None
    found = tuple(str(place.units / name) for name in lying)
    return BootSeen(place.running, place.personal, wanted.service, found, current, active, wanted.serve, lingering(place))


def _ours(place: Place, wanted: Boot) -> list[str]:
    """Return those files and links of it that lie there and were written by us."""
    texts, links = units.texts(wanted), units.links(wanted)
    written = [name for name in texts if (files.read(place.units / name) or "").startswith(units.MARK)]
    return [*written, *(name for name in links if (place.units / name).is_symlink())]


def renews(place: Place, wanted: Boot) -> bool:
    """Tell whether something renews certificates while nobody types: our timer, under a systemd that is there without a login."""
    link = place.units / next(name for name, unit in units.links(wanted).items() if unit == wanted.timer)
    return place.running and link.exists() and lingering(place) is not False


def lingering(place: Place) -> bool | None:
    """Tell whether a user's servers outlive its last session, and start without one; None where that is not in question."""
    if not place.personal or not place.running:
        return None
    return Path("/var/lib/systemd/linger", place.user).exists()


def logging_out_harms(place: Place) -> bool:
    """Tell whether logging out may break servers: without lingering, logind removes a user's shared memory (logind.conf, RemoveIPC)."""
    return lingering(place) is False and os.geteuid() > _LAST_SYSTEM_UID and _removes_ipc()


def _removes_ipc() -> bool:
    places = ("/etc/systemd/logind.conf", *sorted(map(str, Path("/etc/systemd/logind.conf.d").glob("*.conf"))))
    said = [each for place in places for each in re.findall(r"^RemoveIPC=(\w+)", files.read(Path(place)) or "", re.MULTILINE)]
    return not said or said[-1].lower() not in ("no", "false", "off", "0")


# --- putting in place ---------------------------------------------------------------------------------------------------------------


def install(place: Place, wanted: Boot) -> None:
    """Have systemd start what is wanted at boot, stop it in good order at shutdown, and repair daily; from now on."""
    if not place.running:
        hint = say("let cron run howdah repair --all @reboot and @daily, or the container's first command")
        raise Unsupported("no_systemd", say("cannot install a service: systemd does not run this machine"), hint)
    _refuse_foreign(place, wanted)
    _refuse_unfit(wanted)
    if lingering(place) is False:
        _linger(place, "enable-linger")
        wanted = replace(wanted, lingering_is_ours=True)
    write(place, wanted)
    _systemctl(place, "daemon-reload")
    _systemctl(place, "start", wanted.service, seconds=_START_SECONDS)
    _systemctl(place, "start", wanted.timer)
    if wanted.serve:
        _systemctl(place, "restart", wanted.serving)


def _refuse_foreign(place: Place, wanted: Boot) -> None:
    for name in units.texts(wanted):
        path = place.units / name
        if path.is_symlink() or not (files.read(path) or units.MARK).startswith(units.MARK):
            hint = say("move it away, then try again")
            raise Conflict("unit_taken", say("cannot write {path}: somebody else's unit is there", path=path), hint)


def _refuse_unfit(wanted: Boot) -> None:
    """Refuse what systemd would not read as it was meant: it starts no program whose path has quotes (string_is_safe)."""
    python, values = str(wanted.python), wanted.settings.values()
    if any(each in "'\"\\" for each in python) or not all(word.isprintable() for word in (python, *values)):
        named = ", ".join(ascii(word) for word in (python, *values))
        raise Unsupported("unfit_for_unit", say("cannot write these into a unit: {text}: quotes or control characters", text=named))


def write(place: Place, wanted: Boot) -> None:
    """Put the units in place, and the links by which systemd starts them; each whole or not at all."""
    for directory in reversed(_directories(place, wanted)):
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in units.texts(wanted).items():
        files.put(place.units / name, text, 0o644)
    for name, unit in units.links(wanted).items():
        link = place.units / name
        with contextlib.suppress(FileNotFoundError):
            link.unlink()
        link.symlink_to(f"../{unit}")


def _directories(place: Place, wanted: Boot) -> list[Path]:
    """Return the directories that are made where they are missing, the innermost first."""
    wants = sorted({(place.units / name).parent for name in units.links(wanted)})
    return [*wants, place.units, *([place.units.parent] if place.personal else [])]


# --- taking away --------------------------------------------------------------------------------------------------------------------


def remove(place: Place, wanted: Boot) -> bool:
    """Take every file of it away, and lingering where it was switched on for it; what runs goes on. False when nothing was there."""
    lying = _ours(place, wanted)
    if place.running and lying:
        for unit in (wanted.timer, *([wanted.serving] if wanted.serve else [])):
            _asked(place, "stop", unit)
    for name in lying:
        (place.units / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        (place.stamps / f"stamp-{wanted.timer}").unlink()
    for directory in _directories(place, wanted) if lying else ():
        with contextlib.suppress(OSError):  # others have units there
            directory.rmdir()
    if place.running and lying:
        _systemctl(place, "daemon-reload")
        _asked(place, "reset-failed", wanted.repair)
        if wanted.lingering_is_ours:
            _linger(place, "disable-linger")
    return bool(lying)


# --- asking systemd -----------------------------------------------------------------------------------------------------------------


def _linger(place: Place, verb: str) -> None:
    said = _run(["loginctl", "--no-ask-password", verb, place.user])
    if said is not None:
        hint = say("let an administrator run: sudo loginctl {verb} {user}", verb=verb, user=place.user)
        raise Unavailable("lingering_refused", say("cannot switch lingering for {user}: {reason}", user=place.user, reason=said), hint)
    # logind starts the user's own systemd now; its bus is there in a moment
    if verb == "enable-linger":
        process.wait_until(_bus().exists, _SECONDS)


def _bus() -> Path:
    return Path(f"/run/user/{os.geteuid()}/bus")


def _systemctl(place: Place, *words: str, seconds: float = _SECONDS) -> None:
    if (said := _asked(place, *words, seconds=seconds)) is not None:
        raise Failed("systemctl_failed", say("cannot have systemd {words}: {reason}", words=" ".join(words), reason=said))


def _asked(place: Place, *words: str, seconds: float = _SECONDS) -> str | None:
    return _run(["systemctl", "--no-ask-password", *(["--user"] if place.personal else []), *words], seconds)


def _run(command: list[str], seconds: float = _SECONDS) -> str | None:
    """Run a program of systemd's; return None when it did what was asked, else its last words."""
    runtime = f"/run/user/{os.geteuid()}"
    env = {**accounts.CLEAN_ENVIRONMENT, "XDG_RUNTIME_DIR": runtime, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus"}
    try:
        done = subprocess.run(command, env=env, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:g} s"
    last = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return None if done.returncode == 0 else (last[-1] if last else f"exit code {done.returncode}")
