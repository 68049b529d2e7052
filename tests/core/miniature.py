"""A machine in memory: every step of the loop does here what it does on a real one, on dictionaries, and `observe` reports the effect.

It has the habits that the concerns are about: a file written is not yet loaded, a restart-only value waits for a start, a value may be
refused, a step may be in vain, and whoever works on it may be killed between two steps.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from howdah.catalog import parameters
from howdah.catalog.extensions import catalog
from howdah.core import files as texts
from howdah.core.endpoint import certificate_names
from howdah.core.host import Later, Leaving, WantedFile
from howdah.core.instance import HOPS, LOOKUP_ROLE, PROBE_ROLE, Database, Hop, Instance, User
from howdah.core.layout import Layout
from howdah.core.observed import DatabaseSeen, Disk, Facts, FileSeen, Generation, Inside, Looks, Observed, Pair, Role, Server, Wire
from howdah.core.rotation import Turn
from howdah.errors import Refusal
from howdah.phrase import say

HOME = Path("/srv/howdah")
YEAR = 365 * 86_400.0
FACTS = Facts("postgres", "pgbouncer", "root", (1, 25, 0), cores=2, memory_mib=4096, nofile=65_536, loopback_v6=True, now=1_790_000_000.0)
# what SHOW CONFIG marks as not changeable, of what Howdah writes
FIXED = frozenset({"listen_port", "listen_addr", "listen_backlog", "so_reuseport", "pidfile"})


class Killed(BaseException):
    """The process that worked was killed; nothing may catch it."""


def conf_values(text: str) -> dict[str, str]:
    """Read postgresql.conf as guc-file.l does: one quoted value a line; anything else in the file is an error."""
    found = {}
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("#"):
            continue
        name, quoted = line.split(" = ", 1)
        assert len(quoted) > 1 and quoted[0] == quoted[-1] == "'"
        value, rest = "", quoted[1:-1]
        while rest:
            if rest[0] in "'\\":
                assert rest[1] == rest[0]  # a lone quote or backslash would end or escape
                rest = rest[1:]
            value, rest = value + rest[0], rest[1:]
        found[name] = value
    return found


@dataclass
class Postgres:
    """A running server: what it has loaded, and what waits for a start."""

    identity: str
    settings: dict[str, str]
    loaded_at: float
    digest: str
    pending: frozenset[str] = frozenset()


class Beat:
    """A pulse by which nobody ever waits long."""

    def longest(self) -> float:
        return 7.0


@dataclass
class Miniature:
    """The machine of one instance.

    `refuses` are texts that it does not take, and what it raises then; `vain` steps do nothing; `dies_after` so many steps it is killed.
    """

    told: Facts = FACTS
    refuses: dict[str, Refusal] = field(default_factory=dict)
    vain: set[str] = field(default_factory=set)
    dies_after: int | None = None
    done: list[str] = field(default_factory=list)
    clock: float = 0.0
    data: bool = False
    files: dict[str, tuple[str, float]] = field(default_factory=dict)
    pairs: dict[Hop, tuple[Pair, ...]] = field(default_factory=dict)
    server: Postgres | None = None
    roles: dict[str, Role] = field(default_factory=dict)
    databases: dict[str, DatabaseSeen] = field(default_factory=dict)
    inside: dict[str, Inside] = field(default_factory=dict)
    generations: dict[int, Generation] = field(default_factory=dict)
    trash: bool = False
    swept: bool = True

    # ------------------------------------------------------------------------------------------------ looking

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def feel(self, want: Instance) -> contextlib.AbstractContextManager[Beat]:
        return contextlib.nullcontext(Beat())

    def facts(self) -> Facts:
        return self.told

    def observe(self, want: Instance) -> Observed:
        looks = Looks(
            disk=self._disk,
            server=self._server,
            inside=lambda: dict(self.inside) if self.server else {},
            pooler=lambda: tuple(self.generations.values()),
            wire=lambda hop: self._wire(want).get(hop),
            people=lambda server: replace(server, roles=dict(self.roles), databases=dict(self.databases)),
        )
        return Observed(self.told, Layout(HOME, want.id), looks)

    def _disk(self) -> Disk:
        seen = {name: FileSeen(texts.digest(text), 0o600, self.told.server_user, at) for name, (text, at) in self.files.items()}
        pooler = bool(self.pairs.get("pooled") or self.generations)
        present = self.data or bool(self.pairs)
        return Disk("ready" if self.data else "absent", present=present, pooler=pooler, files=seen, pairs=dict(self.pairs))

    def _server(self) -> Server:
        if self.server is None:
            return Server("absent")
        ours = self.server
        addresses = frozenset((each, int(ours.settings["port"])) for each in ours.settings["listen_addresses"].split(","))
        return Server(
            "ready",
            pid=1,
            identity=ours.identity,
            digest=ours.digest,
            settings=dict(ours.settings),
            pending=ours.pending,
            loaded_at=ours.loaded_at,
            roles=dict(self.roles),
            databases=dict(self.databases),
            listens=addresses,
            swept=self.swept,
        )

    def _wire(self, want: Instance) -> Mapping[Hop, Wire]:
        told: dict[Hop, Wire] = {}
        if self.server is not None:
            told["direct"] = _told(self.server.settings["ssl"] == "on", self.server.settings["ssl_cert_file"])
        if self.generations and want.pooler is not None:
            config = self.generations[max(self.generations)].config
            told["pooled"] = _told(config["client_tls_sslmode"] == "require", config.get("client_tls_cert_file", ""))
        return told

    # ------------------------------------------------------------------------------------------------ acting

    def _act(self, step: str, text: str = "") -> bool:
        """Count a step, and tell whether it is to have an effect."""
        if self.dies_after is not None and len(self.done) >= self.dies_after:
            raise Killed(step)
        self.done.append(step)
        self.clock += 1.0
        for part, refusal in self.refuses.items():
            if part in text:
                raise refusal
        return step not in self.vain

    def take_data(self, want: Instance) -> None:
        if self._act("take_data"):
            self.data = True
            self.databases = {"postgres": DatabaseSeen("postgres", made=False)}
            self.inside = {"postgres": Inside(), "template1": Inside()}

    def take_from_trash(self, want: Instance) -> None:
        if self._act("take_from_trash"):
            self.trash, self.data = False, True

    def turn_authority(self, want: Instance, asked: Turn | None) -> None:
        self.done.append(f"turn {asked}")

    def issue(self, want: Instance, hop: Hop) -> None:
        if self._act("issue"):
            earlier = self.pairs.get(hop, ())
            now = self.told.now
            new = Pair(f"{hop}{len(earlier)}", certificate_names(want, hop, self.told), now, now + YEAR, trusted=True)
            self.pairs[hop] = (new, *earlier)

    def write_server_files(self, want: Instance, files: Sequence[WantedFile]) -> None:
        if self._act("write_server_files", "".join(each.text for each in files)):
            self.files |= {each.name: (each.text, self.clock) for each in files}

    def start_server(self, want: Instance) -> None:
        if self._act("start_server"):
            self._boot(want)

    def restart_server(self, want: Instance) -> int:
        if self._act("restart_server"):
            self._boot(want)
        return 2

    def _boot(self, want: Instance) -> None:
        wanted = conf_values(self.files["postgresql.conf"][0])
        loads = wanted["shared_preload_libraries"].split(",")
        settings = {name: value for name, value in wanted.items() if "." not in name or name.split(".")[0] in loads}
        self.server = Postgres(f"postmaster {self.clock}", settings, self.clock, wanted[texts.DIGEST_SETTING])

    def stop_server(self, want: Instance) -> int:
        if self._act("stop_server"):
            self.server = None
        return 0

    def sweep_logs(self, want: Instance) -> None:
        if self._act("sweep_logs"):
            self.swept = True

    def reload_server(self, want: Instance, digest: str) -> None:
        assert self.server is not None
        if not self._act("reload_server"):
            return
        wanted = conf_values(self.files["postgresql.conf"][0])
        brought = {name: each for entry in catalog().values() for name, each in entry.parameters.items()}
        running, waits = self.server.settings, set()
        for name, value in wanted.items():
            if name == texts.DIGEST_SETTING or ("." in name and name not in running):
                continue
            if parameters.needs_restart(want.version, name, brought) and running.get(name) != value:
                waits.add(name)
            else:
                running[name] = value
        for name in running.keys() - wanted.keys():  # what left the file
            if parameters.needs_restart(want.version, name, brought):
                waits.add(name)
            else:
                del running[name]
        self.server = replace(self.server, pending=frozenset(waits), loaded_at=self.clock, digest=wanted[texts.DIGEST_SETTING])
        assert self.server.digest == digest

    def set_service_roles(self, want: Instance) -> None:
        if self._act("set_service_roles"):
            self.roles[PROBE_ROLE] = Role(login=False)
            if want.pooler is not None:
                self.roles[LOOKUP_ROLE] = Role(login=True)
            elif not any(each.lookup for each in self.inside.values()):
                self.roles.pop(LOOKUP_ROLE, None)

    def set_user(self, want: Instance, user: User) -> None:
        if self._act("set_user", user.name):
            self.roles[user.name] = Role(login=True, mark=texts.digest(user.verifier.reveal()))

    def drop_user(self, want: Instance, name: str) -> int:
        if self._act("drop_user"):
            del self.roles[name]
        return 0

    def create_database(self, want: Instance, database: Database) -> None:
        if self._act("create_database", database.name):
            self.databases[database.name] = DatabaseSeen(database.owner or "postgres", made=True)
            self.inside[database.name] = self.inside["template1"]

    def drop_database(self, want: Instance, name: str) -> int:
        if self._act("drop_database"):
            del self.databases[name], self.inside[name]
        return 0

    def set_access(self, want: Instance, database: str) -> None:
        if self._act("set_access"):
            access = frozenset(user.name for user in want.users if database in user.databases)
            self.databases[database] = replace(self.databases[database], access=access, public=False)

    def install_lookup(self, want: Instance, databases: Sequence[str]) -> None:
        if self._act("install_lookup"):
            for name in databases:
                self.inside[name] = replace(self.inside[name], lookup=True, lookup_right=True, lookup_connect=True)

    def remove_lookup(self, want: Instance, databases: Sequence[str]) -> None:
        if self._act("remove_lookup"):
            for name in databases:
                self.inside[name] = replace(self.inside[name], lookup=False, lookup_right=False, lookup_connect=False)

    def enter_database(self, want: Instance, database: str) -> None:
        if self._act("enter_database"):
            self.inside[database] = replace(self.inside[database], closed=False)

    def create_extension(self, want: Instance, database: str, name: str) -> None:
        if self._act("create_extension"):
            self.inside[database] = replace(self.inside[database], extensions=self.inside[database].extensions | {name})

    def drop_extension(self, want: Instance, database: str, name: str) -> None:
        if self._act("drop_extension"):
            self.inside[database] = replace(self.inside[database], extensions=self.inside[database].extensions - {name})

    def begin_pooler(self, want: Instance, files: Sequence[WantedFile]) -> None:
        if self._act("begin_pooler"):
            self.generations[1] = replace(self._born(1, files), proven=False)

    def start_pooler(self, want: Instance, number: int, files: Sequence[WantedFile]) -> None:
        if self._act("start_pooler", "".join(each.text for each in files)):
            self.generations[number] = self._born(number, files)

    def _born(self, number: int, files: Sequence[WantedFile]) -> Generation:
        born = Generation(number, True, True, True, f"pgbouncer {number}", self.told.pooler_version, fixed=FIXED)
        return self._loaded(self._lying(born, files), files)

    def _lying(self, each: Generation, files: Sequence[WantedFile]) -> Generation:
        return replace(each, files={f.name: FileSeen(texts.digest(f.text), f.mode, self.told.pooler_user, self.clock) for f in files})

    def _loaded(self, each: Generation, files: Sequence[WantedFile]) -> Generation:
        config, *further = texts.wanted_configs(files)
        return replace(each, config=config, further=tuple(further), loaded=texts.pooler_digest(files))

    def steer_pooler(self, want: Instance, number: int) -> None:
        if self._act("steer_pooler"):
            self.generations[number] = replace(self.generations[number], steered=True)

    def change_pooler(self, want: Instance, number: int, files: Sequence[WantedFile]) -> None:
        if self._act("change_pooler", "".join(each.text for each in files)):
            self.generations[number] = self._loaded(self._lying(self.generations[number], files), files)

    def reload_pooler(self, want: Instance, number: int) -> None:
        if self._act("reload_pooler"):
            layout = Layout(HOME, want.id)
            files = texts.pooler_files(want, layout, self.pairs["pooled"][0], self.told, number)
            self.generations[number] = self._loaded(self.generations[number], files)

    def retire_pooler(self, want: Instance, number: int, *, leaving: Leaving) -> int:
        if self._act("retire_pooler"):
            del self.generations[number]
        elif leaving == "empty":
            raise Later("pooler_in_use", say("clients log in there"))
        return 0

    def remove_pooler(self, want: Instance) -> None:
        if self._act("remove_pooler"):
            self.pairs.pop("pooled", None)

    def resume_pooler(self, want: Instance, number: int) -> None:
        if self._act("resume_pooler"):
            self.generations[number] = replace(self.generations[number], halted=())

    def end_plaintext(self, want: Instance, hop: Hop) -> int:
        assert hop in HOPS
        self._act("end_plaintext")
        return 0

    def move_to_trash(self, want: Instance) -> None:
        if self._act("move_to_trash"):
            self.trash, self.data = self.data, False
            self.files, self.pairs = {}, {}


def _told(tls: bool, certificate: str) -> Wire:
    serial = Path(certificate).name.split(".")[1] if tls else ""
    return Wire(answers=True, plaintext_refused=tls, serial=serial)
