"""What systemd is told so that servers outlive a reboot: the texts of the units, and what was seen of them; pure.

One unit stands for all instances of a home. It does not supervise them: it starts what is wanted at boot, stops every server in good order
at shutdown, and is reloaded, which repairs, by a second unit on a timer. Its processes are never systemd's to kill or to start again.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

# the pooler's end, then PostgreSQL's fast shutdown (60 s), its immediate one (8 s) and what it leaves (10 s), with room; below the 120 s
# that user@.service has for everything in it (systemd 252)
STOP_SECONDS: Final = 100
FEWEST_FILES: Final = 65_536
MARK: Final = "# Written by `howdah service install`; `howdah service remove` takes it away."
_LINGERING: Final = "# Lingering was switched on for it, and goes with it."


@dataclass(frozen=True)
class Boot:
    """What is started at boot: a home, by which Python, with which settings, under the machine's systemd or that of one user."""

    name: str  # of the units
    home: Path
    python: Path
    personal: bool = False  # the systemd of an ordinary user
    settings: Mapping[str, str] = field(default_factory=dict)  # HOWDAH_… as they were when it was installed
    open_files: int = FEWEST_FILES
    lingering_is_ours: bool = False  # switched on by us, for this
    serve: str = ""  # where the console is reached, HOST:PORT; empty where the loop is not kept running

    @property
    def service(self) -> str:
        """The unit that starts and stops."""
        return f"{self.name}.service"

    @property
    def repair(self) -> str:
        """The unit that repairs."""
        return f"{self.name}-repair.service"

    @property
    def serving(self) -> str:
        """The unit that keeps the loop running, with the console."""
        return f"{self.name}-serve.service"

    @property
    def timer(self) -> str:
        """The unit that says when to repair."""
        return f"{self.name}-repair.timer"


@dataclass(frozen=True)
class BootSeen:
    """What is there of it now."""

    systemd: bool  # whether systemd runs this machine
    personal: bool
    unit: str
    files: tuple[str, ...] = ()  # every file and link of it that lies there
    current: bool = False  # all of them lie there as this howdah would write them
    active: bool = False  # so that a shutdown will stop the servers in good order
    serve: str = ""  # where the console is reached, where a unit keeps it running
    lingering: bool | None = None  # whether it outlives a logout; None: it does so anyway


def unit_name(home: Path, default: bool) -> str:
    """Return the name of a home's units: `howdah`, and for a home that is not the default one a name that no other home has.

    >>> unit_name(Path("/var/lib/howdah"), True), unit_name(Path("/srv/pg"), False)
    ('howdah', 'howdah-2b91295b')
    """
    return "howdah" if default else f"howdah-{zlib.crc32(bytes(home)):08x}"


def quoted(text: str) -> str:
    r"""Return a text as one word of a unit file (systemd.syntax(7), systemd.unit(5)): in quotes, with specifiers spelled out.

    >>> print(quoted('/srv/100 %/"x"'))
    "/srv/100 %%/\"x\""
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def texts(boot: Boot) -> Mapping[str, str]:
    """Return the text of each unit by its name."""
    kept_running = {boot.serving: _serving(boot)} if boot.serve else {}
    return {boot.service: _service(boot), boot.repair: _repair(boot), boot.timer: _timer(boot), **kept_running}


def links(boot: Boot) -> Mapping[str, str]:
    """Return the links by which systemd starts them (what `systemctl enable` makes): each with the unit that it leads to."""
    kept_running = {f"{_target(boot)}.wants/{boot.serving}": boot.serving} if boot.serve else {}
    return {f"{_target(boot)}.wants/{boot.service}": boot.service, f"timers.target.wants/{boot.timer}": boot.timer, **kept_running}


def serve_in(text: str) -> str:
    """Return where the unit of the console has it listen, empty where it is no such unit.

    >>> serve_in(_serving(Boot("howdah", Path("/srv/h"), Path("/usr/bin/python3"), serve="127.0.0.1:8779")))
    '127.0.0.1:8779'
    """
    said = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith("ExecStart=") and " --listen " in line]
    return said[0] if said else ""


def same(text: str, wanted: str) -> bool:
    """Tell whether a unit says what is wanted; the settings and limits that it was installed with may be others than today's."""
    return _lasting(text) == _lasting(wanted)


def _lasting(text: str) -> list[str]:
    passing = ("Environment=", "LimitNOFILE=", "#")
    return [line for line in text.splitlines() if not line.startswith(passing)]


def switched_lingering_on(text: str) -> bool:
    """Tell from a service's text whether lingering was switched on for it."""
    return _LINGERING in text.splitlines()


def _target(boot: Boot) -> str:
    return "default.target" if boot.personal else "multi-user.target"


def _command(boot: Boot, *words: str) -> str:
    # The colon: nothing in the words is an environment variable. In quotes with it, for a path may have blanks.
    return " ".join([quoted(f":{boot.python}"), "-P", "-m", "howdah", *words])


def _unit(boot: Boot, description: str, *lines: str) -> list[str]:
    note = [_LINGERING] if boot.lingering_is_ours else []
    return [MARK, *note, "[Unit]", f"Description={description} in {str(boot.home).replace('%', '%%')}", *lines]


def _service(boot: Boot) -> str:
    settings = {**boot.settings, "HOWDAH_HOME": str(boot.home)}
    unit = _unit(boot, "PostgreSQL instances of Howdah", *_needs(boot))
    service = [
        "[Service]",
        # Without RemainAfterExit systemd would call it ended as soon as the servers run, and never stop them.
        "Type=oneshot",
        "RemainAfterExit=yes",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(settings.items())),
        # "-": one instance that cannot start shall not keep the others from being stopped in good order; the timer's unit then fails aloud.
        f"ExecStart=-{_command(boot, 'repair', '--all')}",
        f"ExecReload={_command(boot, 'repair', '--all')}",
        # Not ExecStop: that is left out when the stop comes in the middle of a start or a reload.
        f"ExecStopPost={_command(boot, 'service', 'down', '--yes')}",
        "KillMode=process",
        "OOMPolicy=continue",
        f"LimitNOFILE=1024:{max(boot.open_files, FEWEST_FILES)}",
        "TasksMax=infinity",
        "TimeoutStartSec=infinity",
        f"TimeoutStopSec={STOP_SECONDS}",
    ]
    return _written(unit, service, ["[Install]", f"WantedBy={_target(boot)}"])


def _serving(boot: Boot) -> str:
    settings = {**boot.settings, "HOWDAH_HOME": str(boot.home)}
    # After the one that starts and stops: so it is ended before the servers are, and does not start them again.
    unit = _unit(boot, "Console and loop of Howdah", f"After={boot.service}", *_needs(boot))
    service = [
        "[Service]",
        *(f"Environment={quoted(f'{name}={value}')}" for name, value in sorted(settings.items())),
        f"ExecStart={_command(boot, 'serve', '--listen', boot.serve)}",
        "ExecReload=kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=2",
        # what it put right belongs to its group, and has to outlive it
        "KillMode=process",
        "OOMPolicy=continue",
        f"LimitNOFILE=1024:{max(boot.open_files, FEWEST_FILES)}",
        "TasksMax=infinity",
        "TimeoutStopSec=40",
    ]
    return _written(unit, service, ["[Install]", f"WantedBy={_target(boot)}"])


def _needs(boot: Boot) -> Sequence[str]:
    """Return what has to be there first: the addresses that are listened on, and the disks. A user's systemd has no say in either."""
    if boot.personal:
        return ()
    mounts = f"RequiresMountsFor={quoted(str(boot.home))} {quoted(str(boot.python))}"
    return "Wants=network-online.target", "After=network-online.target", mounts


def _repair(boot: Boot) -> str:
    systemctl = "systemctl --user" if boot.personal else "systemctl"
    unit = _unit(boot, "Repair of the PostgreSQL instances of Howdah", f"After={boot.service}")
    # By way of the service: what is started then belongs to it, too.
    return _written(unit, ["[Service]", "Type=oneshot", f"ExecStart={systemctl} try-reload-or-restart {boot.service}"])


def _timer(boot: Boot) -> str:
    unit = _unit(boot, "Daily repair of the PostgreSQL instances of Howdah")
    # Soon after the start, for what was not there in time; daily, for certificates; in the night's place when the machine was off.
    # No random delay, which would hold the first of them, too (systemd.timer(5)).
    timer = ["[Timer]", "OnStartupSec=5min", "OnCalendar=daily", "Persistent=yes"]
    return _written(unit, timer, ["[Install]", "WantedBy=timers.target"])


def _written(*sections: Sequence[str]) -> str:
    return "\n\n".join("\n".join(section) for section in sections) + "\n"
